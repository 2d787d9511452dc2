"""The sections of a document of results, which the modules beside this one register."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kdviz.core.registry import Registry
from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment

sections: Registry[Callable[[Experiment], str]] = Registry("section")
"""Name -> Markdown of an experiment; raises ExperimentError where its tables are missing."""

NAMES: Mapping[str, str] = {Role.TEACHER: Role.TEACHER, Role.KD_STUDENT: "KD student", Role.STUDENT: "student alone"}
"""Role -> what a model is called."""
