"""Whether a step changed the use of a planted mark: shortcuts.parquet, of a model and its parent, in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdviz.experiment import Experiment
from kdviz.studies.compression.names import SEED
from kdviz.studies.regions.report import Mean, mean_of
from kdviz.studies.shortcuts import ShortcutsReport, read_shortcut_reports


@dataclass(frozen=True)
class ShortcutUse:
    """What the mark of another class does to one model and to the one that it was made from, on the same pictures.

    Attributes:
        child, parent: Roles.
        step: As in experiment.json.
        own, parents: Mean rise of the probability of the mark's class by the mark.
        change: The child's less the parent's, picture by picture.
        nulls: Roles of the runs that are the model where the steps began, trained with another seed.
        beyond: The change less the mean of those of the other seeds, against that model; None without any.
    """

    child: str
    parent: str
    step: str
    own: Mean
    parents: Mean
    change: Mean
    nulls: tuple[str, ...] = ()
    beyond: Mean | None = None

    @property
    def is_null(self) -> bool:
        """Whether it is the same model trained with another seed."""
        return self.step == SEED

    def to_json(self) -> dict[str, Any]:
        """The numbers."""
        means = {name: getattr(self, name).to_json() for name in ("own", "parents", "change")}
        beyond = None if self.beyond is None else self.beyond.to_json()
        return {"child": self.child, "parent": self.parent, "step": self.step, **means, "beyond": beyond}


@dataclass(frozen=True)
class ShortcutUses:
    """All steps of one condition of shortcuts.parquet."""

    report: ShortcutsReport
    uses: tuple[ShortcutUse, ...]


def read_shortcut_uses(experiment: Experiment) -> list[ShortcutUses]:
    """The conditions of shortcuts.parquet that have a compressed model and its parent; empty without the table.

    Raises:
        ExperimentError: The table is damaged.
    """
    conditions = [shortcut_uses(report) for report in read_shortcut_reports(experiment)]
    return [condition for condition in conditions if condition.uses]


def shortcut_uses(report: ShortcutsReport) -> ShortcutUses:
    """The steps among the models of one condition."""
    made_from: Mapping[str, list[str]] = report.about.get("made_from", {})
    values: dict[str, np.ndarray] = {}
    for (_method, role), (use, _inside) in report.points.items():  # the same with every method
        values.setdefault(role, use)
    steps = {role: (parent, step) for role, (parent, step) in made_from.items() if {role, parent} <= values.keys()}
    return ShortcutUses(report, tuple(_use(role, steps, values) for role in steps))


def _use(role: str, steps: Mapping[str, tuple[str, str]], values: Mapping[str, np.ndarray]) -> ShortcutUse:
    parent, step = steps[role]
    change = values[role] - values[parent]
    root = _root(role, steps)
    nulls = tuple(other for other, (of, kind) in steps.items() if kind == SEED and of == root and other != role)
    beyond = None
    if nulls and step != SEED:
        by_seed = np.mean([values[other] - values[root] for other in nulls], axis=0)
        beyond = mean_of(change - by_seed)
    return ShortcutUse(
        role, parent, step, mean_of(values[role]), mean_of(values[parent]), mean_of(change), nulls, beyond
    )


def _root(role: str, steps: Mapping[str, tuple[str, str]]) -> str:
    """The model at the beginning of a chain of steps."""
    seen: set[str] = set()
    while role in steps and role not in seen:
        seen.add(role)
        role = steps[role][0]
    return role
