"""What is known of an experiment before anything is said about it: predictions, costs, a study; and their differences.

Nothing here depends on a margin, so that another margin costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kdviz.compress.cost import CostReport, wilson
from kdviz.core.errors import ExperimentError
from kdviz.core.files import rows_where
from kdviz.core.moved import renamed
from kdviz.data.doubts import Doubt, known
from kdviz.data.samples import SPLITS
from kdviz.experiment import Experiment, Run
from kdviz.metrics import Difference, paired_difference, paired_shares
from kdviz.studies.comparison.reservations import Reservation, reservations
from kdviz.studies.predictions.mistakes import Predictions, read_predictions
from kdviz.studies.sweep.report import StudyReport

TEACHER, KD_STUDENT, STUDENT = "teacher", "kd_student", "student"

MAPS, EARLIER_MAPS = ("pearson", "difference", "corrected"), ("spearman", "difference", "corrected")
"""Measure, what and part of the row of attention.parquet that is the study's headline, and of tables without intervals
for two one-sided tests. Only :func:`attention_row` reads them."""


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
class Seeds:
    """What the students of several seeds say.

    Attributes:
        labels: Ground truth, int (samples,).
        alone, kd: Predicted classes of the students alone and of the KD students, int (seeds, samples), paired.
    """

    labels: np.ndarray
    alone: np.ndarray
    kd: np.ndarray


@dataclass(frozen=True)
class ExperimentSummary:
    """What is known of an experiment.

    Attributes:
        experiment: Which.
        cost: Its cost table; None: not measured.
        study: Its study of temperature; None: not made.
        split: Of the predictions; None: the first of ``SPLITS`` that they have.
    """

    experiment: Experiment
    cost: CostReport | None = None
    study: StudyReport | None = None
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

    @cached_property
    def doubts(self) -> list[Doubt]:
        """Those that take the ground from what is said of a model: its input or the order of its classes seems wrong.

        That it is right by chance alone is such a doubt where it was trained elsewhere: its input is then as likely to
        be the reason as the model.
        """
        kinds = ("normalisation", "order", "chance") if self.experiment.is_imported else ("normalisation", "order")
        return [one for one in known(self.experiment) if one.kind in kinds]

    def gain(self, role: str, over: str) -> Difference | None:
        """Accuracy of one model less another's, sample by sample."""
        said = self.predictions
        if said is None or not {role, over} <= set(said.predicted) or not len(said.labels) or not said.labelled:
            return None
        return paired_shares(said.right(over), said.right(role))

    @cached_property
    def seeds(self) -> Seeds | None:
        """What the study's students say, at the temperature of the experiment's own KD student; None: not known."""
        run = self.experiment.runs.get(KD_STUDENT)
        own = run.training.get("temperature") if run is not None else None
        if self.study is None or self.study.predictions is None or not isinstance(own, (int, float)):
            return None
        return _seeds(self.study, float(own))

    @cached_property
    def distillation(self) -> Difference | None:
        """Accuracy of the KD student less that of the student alone: over the study's seeds where it has several."""
        known = self.seeds
        right = None if known is None else (known.alone == known.labels, known.kd == known.labels)
        if right is not None and len(right[0]) > 1:
            return paired_difference(*right)
        own = self.gain(KD_STUDENT, STUDENT)
        return paired_shares(right[0][0], right[1][0]) if own is None and right is not None else own

    @cached_property
    def copied(self) -> Copied | None:
        """Who repeats how many of the teacher's errors; None without predictions of a teacher and a KD student,
        or without labels."""
        said = self.predictions
        if said is None or not {TEACHER, KD_STUDENT} <= set(said.predicted) or not said.labelled:
            return None
        wrong = ~said.right(TEACHER)
        same = {role: (one == said.predicted[TEACHER])[wrong] for role, one in said.predicted.items()}
        if not wrong.any() or STUDENT not in same:
            return Copied(int(wrong.sum()), _share(same[KD_STUDENT]), math.nan, None)
        alone, own = self._same_by_seed(said, wrong) or (same[STUDENT][None], same[KD_STUDENT][None])
        more = paired_difference(alone, own) if len(own) > 1 else paired_shares(alone[0], own[0])
        return Copied(int(wrong.sum()), float(own.mean()), float(alone.mean()), more)

    def _same_by_seed(self, said: Predictions, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Bool (seeds, errors) of the student alone and of the KD student: who repeats which; None without seeds."""
        known = self.seeds
        if known is None or len(known.alone) < 2 or not np.array_equal(known.labels, said.labels):
            return None
        assert self.study is not None
        teachers = [row["accuracy"] for row in self.study.rows if row["role"] == TEACHER]
        if any(abs(one - said.right(TEACHER).mean()) > 1e-4 for one in teachers):
            return None  # the study had another teacher
        teacher = said.predicted[TEACHER][wrong]
        return known.alone[:, wrong] == teacher, known.kd[:, wrong] == teacher

    @cached_property
    def attention(self) -> Mapping[str, Any] | None:
        """See :func:`attention_row`."""
        return attention_row(self.experiment)

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
        table = experiment.table("attention")
    except ExperimentError:
        return None
    headline = MAPS if "inner_low" in table.column_names else EARLIER_MAPS
    claims = [
        row
        for row in table.to_pylist()
        if (row["measure"], row["what"], row["part"]) == headline
        and row["study"] in ("temperature", "models")
        and row["value"] in (None, own)
    ]
    return claims[0] if claims else None


def _seeds(study: StudyReport, temperature: float) -> Seeds | None:
    """None when no seed has both students, or their predictions or labels are missing."""
    alone, kd = (_runs(study, role, value) for role, value in ((STUDENT, None), (KD_STUDENT, temperature)))
    both = sorted(alone.keys() & kd.keys())
    if not both or study.predictions is None:
        return None
    names = [runs[seed]["run"] for runs in (alone, kd) for seed in both]
    split = rows_where(study.predictions, "split", study.split)
    rows = rows_where(split, "run", *names).to_pylist() + rows_where(split, "role", "label").to_pylist()
    said = {row["run"]: np.array(row["predicted"]) for row in rows if row["role"] != "label"}
    first = said.get(names[0], np.array([]))
    accuracy = alone[both[0]]["accuracy"]
    # Studies of other data leave their labels in the same file; these give another accuracy.
    labels = [np.array(row["predicted"]) for row in rows if row["role"] == "label"]
    fitting = [one for one in labels if len(one) == len(first) and abs((first == one).mean() - accuracy) < 1e-5]
    if not fitting or any(len(said.get(name, ())) != len(first) for name in names):
        return None
    tables = [np.array([said[runs[seed]["run"]] for seed in both]) for runs in (alone, kd)]
    return Seeds(fitting[0], *tables)


def _runs(study: StudyReport, role: str, temperature: float | None) -> dict[int, dict[str, Any]]:
    """Seed -> row, of one setting of the study."""
    rows, asked = study.table.to_pylist(), (study.split, role, temperature)
    return {row["seed"]: row for row in rows if (row["split"], row["role"], row["temperature"]) == asked}


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


__getattr__ = renamed(__name__, {"Findings": "ExperimentSummary"})
