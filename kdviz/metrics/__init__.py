"""Measures: agreement between maps, faithfulness of maps, and the quality and likeness of predictions."""

from kdviz.metrics.agreement import AgreementReport, PairAgreement, agreement, agreement_table
from kdviz.metrics.faithfulness import Curve, Faithfulness, faithfulness, faithfulness_of_maps, trivial_map
from kdviz.metrics.predictions import McNemar, classification_metrics, inherited_errors, mcnemar
from kdviz.metrics.similarity import Measure, TopOverlap, measures

__all__ = [
    "AgreementReport",
    "Curve",
    "Faithfulness",
    "McNemar",
    "Measure",
    "PairAgreement",
    "TopOverlap",
    "agreement",
    "agreement_table",
    "classification_metrics",
    "faithfulness",
    "faithfulness_of_maps",
    "inherited_errors",
    "mcnemar",
    "measures",
    "trivial_map",
]
