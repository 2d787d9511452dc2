"""Experiments: their folders, their runs, and the validation of their records."""

from kdviz.core.errors import KdvizError
from kdviz.experiment.baselines import MORE_BASELINES
from kdviz.experiment.folder import FORMATS, IMPORTED, ROLES, Experiment
from kdviz.experiment.loading import list_experiments, load_experiment
from kdviz.experiment.run import PREDICTIONS, Run
from kdviz.models.inputs import BASELINES, InputSpec

__all__ = [
    "BASELINES",
    "FORMATS",
    "IMPORTED",
    "MORE_BASELINES",
    "PREDICTIONS",
    "ROLES",
    "Experiment",
    "InputSpec",
    "KdvizError",
    "Run",
    "list_experiments",
    "load_experiment",
]
