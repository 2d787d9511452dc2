"""What is known of an experiment before anything is said about it: predictions, costs, a study; and their differences.

Nothing here depends on a margin, so that another margin costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.compute as pc

from kdviz.analysis.cost import CostReport, wilson
from kdviz.analysis.mistakes import Predictions, read_predictions
from kdviz.analysis.reservations import Reservation, reservations
from kdviz.analysis.series import SPLITS, Report
from kdviz.analysis.verdict import Verdict, verdict
from kdviz.errors import ExperimentError
from kdviz.experiment import Experiment, Run
from kdviz.metrics import Difference, paired_difference, paired_shares

TEACHER, KD_STUDENT, STUDENT = "teacher", "kd_student", "student"

MAPS = ("spearman", "difference", "corrected")
"""Measure, what and part of the row of attention.parquet that is the study's headline. Only :func:`attention_row` reads
it."""


@dataclass(frozen=True)
class Accuracy:
    """A model's accuracy with both kinds of spread.

    Attributes:
        role: Whose.
        value: On ``samples`` samples of ``split``.
        low, high: Wilson's 95 % interval, over samples; NaN when their number is not known.
        mean, spread, seeds: Over seeds of the study's runs with this setting; None where there is no study of several.
    """

    role: str
    split: str
    samples: int
    value: float
    low: float
    high: float
    mean: float | None = None
    spread: float | None = None
    seeds: int = 0


@dataclass(frozen=True)
class Findings:
    """What is known of an experiment.

    Attributes:
        experiment: Which.
        cost: Its cost table; None: not measured.
        study: Its study of temperature; None: not made.
        split: Of the predictions; None: the first of ``SPLITS`` that they have.
    """

    experiment: Experiment
    cost: CostReport | None = None
    study: Report | None = None
    split: str | None = None

    @cached_property
    def predictions(self) -> Predictions | None:
        """Of the split that was asked for, or that results are wanted of first."""
        if not self.experiment.has_table("predictions"):
            return None
        try:
            table = self.experiment.table("predictions")
        except ExperimentError:
            return None
        for split in SPLITS if self.split is None else (self.split,):
            try:
                return read_predictions(table, split)
            except (ExperimentError, KeyError):
                continue
        return None

    @cached_property
    def reservations(self) -> list[Reservation]:
        """What limits all that is said of these predictions."""
        return [] if self.predictions is None else reservations(self.predictions, self.experiment.classes)

    def gain(self, role: str, over: str) -> Difference | None:
        """Accuracy of one model less another's, sample by sample."""
        said = self.predictions
        if said is None or not {role, over} <= set(said.predicted) or not len(said.labels):
            return None
        return paired_shares(said.right(over), said.right(role))

    @cached_property
    def seeds_verdict(self) -> Verdict | None:
        """Of the study, at the temperature of the experiment's own KD student, over its seeds."""
        own = self._temperature
        if self.study is None or self.study.predictions is None or own is None:
            return None
        return verdict(self.study.table, self.study.predictions, "temperature", split=self.study.split, value=own)

    @property
    def _temperature(self) -> float | None:
        run = self.experiment.runs.get(KD_STUDENT)
        own = run.training.get("temperature") if run is not None else None
        return float(own) if isinstance(own, (int, float)) else None

    @cached_property
    def distillation(self) -> Difference | None:
        """Accuracy of the KD student less that of the student alone: over the study's seeds where it has several."""
        known = self.seeds_verdict
        if known is not None and known.difference.seeds > 1:
            return known.difference
        return self.gain(KD_STUDENT, STUDENT) or (None if known is None else known.difference)

    @cached_property
    def copied(self) -> Copied | None:
        """Who repeats how many of the teacher's errors; None without predictions of a teacher and a KD student."""
        said = self.predictions
        if said is None or not {TEACHER, KD_STUDENT} <= set(said.predicted):
            return None
        wrong = ~said.right(TEACHER)
        same = {role: (one == said.predicted[TEACHER])[wrong] for role, one in said.predicted.items()}
        if not wrong.any() or STUDENT not in same:
            return Copied(int(wrong.sum()), _share(same[KD_STUDENT]), math.nan, None)
        seeds = self._same_by_seed(said, wrong)
        if seeds is None:
            own, alone = same[KD_STUDENT], same[STUDENT]
            return Copied(int(wrong.sum()), _share(own), _share(alone), paired_shares(alone, own))
        alone, own = seeds
        return Copied(int(wrong.sum()), float(own.mean()), float(alone.mean()), paired_difference(alone, own))

    def _same_by_seed(self, said: Predictions, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Bool (seeds, errors) of the student alone and of the KD student: who repeats which; None without seeds."""
        study, own = self.study, self._temperature
        if study is None or study.predictions is None or own is None or study.split != said.split:
            return None
        alone, taught = (_runs(study, role, value) for role, value in ((STUDENT, None), (KD_STUDENT, own)))
        seeds = sorted(alone.keys() & taught.keys())
        if len(seeds) < 2 or not _same_data(study, said):
            return None
        spoken = _spoken(study, [runs[seed] for runs in (alone, taught) for seed in seeds])
        teacher = said.predicted[TEACHER][wrong]
        tables = [[spoken.get(runs[seed], np.array([])) for seed in seeds] for runs in (alone, taught)]
        if any(len(one) != len(wrong) for table in tables for one in table):
            return None
        first, second = (np.array([one[wrong] == teacher for one in table]) for table in tables)
        return first, second

    @cached_property
    def accuracies(self) -> list[Accuracy]:
        """Of every model, in the experiment's order, on the first split that all were measured on."""
        runs = self.experiment.runs.values()
        split = next((one for one in SPLITS if all("accuracy" in run.metrics.get(one, {}) for run in runs)), None)
        return [] if split is None else [self._accuracy(run, split) for run in runs]

    def _accuracy(self, run: Run, split: str) -> Accuracy:
        said = run.metrics[split]
        value, samples = said["accuracy"], int(said.get("samples", 0))
        low, high = wilson(value, samples) if samples else (math.nan, math.nan)
        known = Accuracy(run.role, split, samples, value, low, high)
        row = self._study_row(run, split)
        if row is None or row["seeds"] < 2:
            return known
        return Accuracy(
            run.role, split, samples, value, low, high, row["accuracy"], row["accuracy_sd"], int(row["seeds"])
        )

    def _study_row(self, run: Run, split: str) -> dict[str, Any] | None:
        """The study's runs that were trained as this one was."""
        if self.study is None or self.study.split != split:
            return None
        own = run.training.get("temperature") if run.role == KD_STUDENT else None
        found = [row for row in self.study.rows if row["role"] == run.role and row["value"] == own]
        return found[0] if found else None


@dataclass(frozen=True)
class Copied:
    """The teacher's errors, and who repeats them with the same wrong class.

    Attributes:
        errors: How many the teacher makes.
        own: Share of them that the KD student repeats, over seeds the mean; NaN without errors.
        alone: The same of the student alone; NaN when there is none.
        more: own less alone, paired on the errors; None without one of them.
    """

    errors: int
    own: float
    alone: float
    more: Difference | None


def attention_row(experiment: Experiment) -> Mapping[str, Any] | None:
    """The headline effect of the study of attention for the experiment's own KD student; None: not made."""
    if not experiment.has_table("attention") or KD_STUDENT not in experiment.runs:
        return None
    own = experiment.runs[KD_STUDENT].training.get("temperature")
    try:
        rows = experiment.table("attention").to_pylist()
    except ExperimentError:
        return None
    claims = [
        row
        for row in rows
        if (row["measure"], row["what"], row["part"]) == MAPS
        and row["study"] in ("temperature", "models")
        and row["value"] in (None, own)
    ]
    return claims[0] if claims else None


def _runs(study: Report, role: str, temperature: float | None) -> dict[int, str]:
    """Seed -> run, of one setting of the study."""
    rows = study.table.to_pylist()
    asked = (study.split, role, temperature)
    return {row["seed"]: row["run"] for row in rows if (row["split"], row["role"], row["temperature"]) == asked}


def _same_data(study: Report, said: Predictions) -> bool:
    """Whether the study was made on these samples, and with this teacher."""
    assert study.predictions is not None
    table = study.predictions.filter((pc.field("split") == study.split) & (pc.field("role") == "label"))
    labels = any(np.array_equal(row["predicted"], said.labels) for row in table.to_pylist())
    teachers = [row["accuracy"] for row in study.rows if row["role"] == TEACHER]
    return labels and all(abs(one - said.right(TEACHER).mean()) < 1e-4 for one in teachers)


def _spoken(study: Report, runs: Sequence[str]) -> dict[str, np.ndarray]:
    """Run -> its predictions on the study's split."""
    assert study.predictions is not None
    table = study.predictions.filter((pc.field("split") == study.split) & pc.field("run").isin(list(set(runs))))
    return {row["run"]: np.array(row["predicted"]) for row in table.to_pylist()}


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
