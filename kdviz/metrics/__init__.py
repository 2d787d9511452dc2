"""Measures: agreement between maps, faithfulness of maps, and the quality and likeness of predictions."""

from kdviz.metrics.agreement import AgreementReport, PairAgreement, agreement, agreement_table
from kdviz.metrics.faithfulness import Curve, Faithfulness, faithfulness, faithfulness_of_maps, trivial_map
from kdviz.metrics.predictions import (
    McNemar,
    class_accuracy,
    classification_metrics,
    divergence_from_teacher,
    inherited_errors,
    mcnemar,
)
from kdviz.metrics.proportions import median_interval, paired_shares, score_interval
from kdviz.metrics.similarity import Measure, TopOverlap, measures
from kdviz.metrics.uncertainty import Difference, paired_difference

__all__ = [
    "AgreementReport",
    "Curve",
    "Difference",
    "Faithfulness",
    "McNemar",
    "Measure",
    "PairAgreement",
    "TopOverlap",
    "agreement",
    "agreement_table",
    "class_accuracy",
    "classification_metrics",
    "divergence_from_teacher",
    "faithfulness",
    "faithfulness_of_maps",
    "inherited_errors",
    "mcnemar",
    "measures",
    "median_interval",
    "paired_difference",
    "paired_shares",
    "score_interval",
    "trivial_map",
]
