"""Whether distillation teaches where to look: agreement of maps over a whole test set."""

from kdviz.analysis.attention.models import StudyModel, own_models, shuffles, sweep_for, swept_models
from kdviz.analysis.attention.report import AttentionReport, read_attention, studies_of
from kdviz.analysis.attention.study import AttentionStudy, MapsProgress
from kdviz.analysis.attention.words import Words, in_words

__all__ = [
    "AttentionReport",
    "AttentionStudy",
    "MapsProgress",
    "StudyModel",
    "Words",
    "in_words",
    "own_models",
    "read_attention",
    "shuffles",
    "studies_of",
    "sweep_for",
    "swept_models",
]
