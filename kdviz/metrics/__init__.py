"""Measures: agreement between maps, and the quality and likeness of predictions."""

from kdviz.metrics.agreement import AgreementReport, PairAgreement, agreement
from kdviz.metrics.predictions import classification_metrics, inherited_errors, mcnemar

__all__ = [
    "AgreementReport",
    "PairAgreement",
    "agreement",
    "classification_metrics",
    "inherited_errors",
    "mcnemar",
]
