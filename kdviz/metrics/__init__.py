"""Metrics: agreement between maps, faithfulness of maps, and the quality and similarity of predictions."""

from kdviz.metrics.agreement import AgreementReport, PairAgreement, agreement, agreement_table
from kdviz.metrics.equivalence import MARGIN, Equivalence, judge_equivalence, samples_to_decide
from kdviz.metrics.faithfulness import Curve, Faithfulness, faithfulness, faithfulness_of_maps, trivial_map
from kdviz.metrics.predictions import (
    McNemar,
    Rows,
    class_accuracy,
    classification_metrics,
    divergence_from_teacher,
    inherited_errors,
    mcnemar,
    predicted_classes,
)
from kdviz.metrics.proportions import PairedShares, median_interval, paired_means, paired_shares, score_interval
from kdviz.metrics.similarity import Measure, TopOverlap, measures
from kdviz.metrics.uncertainty import (
    Difference,
    holm,
    interval_of,
    p_value_of,
    paired_difference,
    simultaneous_intervals,
    simultaneous_level,
)

__all__ = [
    "MARGIN",
    "AgreementReport",
    "Curve",
    "Difference",
    "Equivalence",
    "Faithfulness",
    "McNemar",
    "Measure",
    "PairAgreement",
    "PairedShares",
    "Rows",
    "TopOverlap",
    "agreement",
    "agreement_table",
    "class_accuracy",
    "classification_metrics",
    "divergence_from_teacher",
    "faithfulness",
    "faithfulness_of_maps",
    "holm",
    "inherited_errors",
    "interval_of",
    "judge_equivalence",
    "mcnemar",
    "measures",
    "median_interval",
    "p_value_of",
    "paired_difference",
    "paired_means",
    "paired_shares",
    "predicted_classes",
    "samples_to_decide",
    "score_interval",
    "simultaneous_intervals",
    "simultaneous_level",
    "trivial_map",
]
