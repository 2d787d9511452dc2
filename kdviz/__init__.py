"""kdviz: what knowledge distillation changes in an image classifier, seen and measured.

>>> import kdviz
>>> experiment = kdviz.load_experiment("mnist")
>>> experiment.classes[8]
'8'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kdviz.core import moved

if TYPE_CHECKING:
    from kdviz import figures
    from kdviz.core.errors import KdvizError
    from kdviz.experiment import Experiment, Run, list_experiments, load_experiment
    from kdviz.importing.launch import launch
    from kdviz.importing.memory import import_models
    from kdviz.metrics import agreement
    from kdviz.saliency import SaliencyMap, explain

__version__ = "0.1.0"

__all__ = [
    "Experiment",
    "KdvizError",
    "Run",
    "SaliencyMap",
    "agreement",
    "explain",
    "figures",
    "import_models",
    "launch",
    "list_experiments",
    "load_experiment",
]

moved.install()

# Imported when first used: `kdviz --help` must not wait for torch.
_HOMES = {
    "Experiment": "kdviz.experiment",
    "KdvizError": "kdviz.core.errors",
    "Run": "kdviz.experiment",
    "SaliencyMap": "kdviz.saliency",
    "agreement": "kdviz.metrics",
    "explain": "kdviz.saliency",
    "import_models": "kdviz.importing.memory",
    "launch": "kdviz.importing.launch",
    "list_experiments": "kdviz.experiment",
    "load_experiment": "kdviz.experiment",
}


def __getattr__(name: str) -> Any:
    if name == "figures":
        return importlib.import_module("kdviz.figures")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'kdviz' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
