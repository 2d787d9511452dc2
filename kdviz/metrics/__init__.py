"""Measures: agreement between maps, and the quality and likeness of predictions."""

from kdviz.metrics.agreement import AgreementReport, PairAgreement, agreement
from kdviz.metrics.predictions import McNemar, classification_metrics, inherited_errors, mcnemar

__all__ = [
    "AgreementReport",
    "McNemar",
    "PairAgreement",
    "agreement",
    "classification_metrics",
    "inherited_errors",
    "mcnemar",
]
