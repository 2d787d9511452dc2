"""Whether distillation teaches where to look: agreement of maps over a whole test set."""

from kdviz.analysis.attention.models import StudyModel, own_models, shuffles, sweep_for, swept_models
from kdviz.analysis.attention.study import AttentionStudy, MapsProgress

__all__ = ["AttentionStudy", "MapsProgress", "StudyModel", "own_models", "shuffles", "sweep_for", "swept_models"]
