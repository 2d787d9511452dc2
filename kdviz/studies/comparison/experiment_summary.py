"""The results of an experiment that an overview is made of: predictions, costs, a study, and their differences.

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
from kdviz.core.vocabulary import Role
from kdviz.data.doubts import Doubt, recorded_doubts
from kdviz.data.samples import SPLITS
from kdviz.experiment import Experiment, Run
from kdviz.metrics import Difference, paired_difference, paired_shares
from kdviz.studies.comparison.reservations import Reservation, reservations
from kdviz.studies.predictions.mistakes import COLUMNS, Predictions, read_predictions
from kdviz.studies.sweep.report import StudyReport

TEACHER, KD_STUDENT, STUDENT = Role.TEACHER, Role.KD_STUDENT, Role.STUDENT

MAPS, EARLIER_MAPS = ("pearson", "difference", "corrected"), ("spearman", "difference", "corrected")
"""Measure, what and part of the row of attention.parquet that is the study's headline effect; ``EARLIER_MAPS``: in
tables without intervals for two one-sided tests. Only :func:`attention_row` reads them."""


@dataclass(frozen=True)
class Accuracy:
    """A model's accuracy with both kinds of spread.

    Attributes:
        role: Role of the model.
        value: Accuracy on ``samples`` samples of ``split``.
        low, high: Wilson's 95 % interval, over samples; NaN when their number is not known.
        mean, spread, seeds: Mean and standard deviation over seeds of the study's runs with this setting, and number of
            seeds; None and 0 where there is no study of several.
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
    """Predictions of the students of several seeds.

    Attributes:
        labels: Ground truth, int (samples,).
        alone, kd: Predicted classes of the students alone and of the KD students, int (seeds, samples), paired.
    """

    labels: np.ndarray
    alone: np.ndarray
    kd: np.ndarray


@dataclass(frozen=True)
class ExperimentSummary:
    """The results of an experiment.

    Attributes:
        experiment: The experiment.
        cost: Its cost table; None: not measured.
        study: Its study of temperature; None: not made.
        split: Split of the predictions; None: the first of ``SPLITS`` that they have.
    """

    experiment: Experiment
    cost: CostReport | None = None
    study: StudyReport | None = None
    split: str | None = None

    @cached_property
    def predictions(self) -> Predictions | None:
        """The predictions on :attr:`split`, or else on the first of ``SPLITS`` that has any; None: there are none."""
        if not self.experiment.has_table("predictions"):
            return None
        try:
            table = self.experiment.table("predictions", COLUMNS)
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
        """What limits every conclusion from these predictions."""
        return [] if self.predictions is None else reservations(self.predictions, self.experiment.classes)

    @cached_property
    def doubts(self) -> list[Doubt]:
        """Doubts that allow no verdict on a model: its input or the order of its classes seems wrong.

        An accuracy at chance is such a doubt for a model that was trained elsewhere: a wrong input is then as likely
        as a bad model.
        """
        kinds = ("normalisation", "order", "chance") if self.experiment.is_imported else ("normalisation", "order")
        return [doubt for doubt in recorded_doubts(self.experiment) if doubt.kind in kinds]

    def gain(self, role: str, over: str) -> Difference | None:
        """Accuracy of ``role`` less that of ``over``, paired by sample; None without labels or predictions of both."""
        predictions = self.predictions
        if (
            predictions is None
            or not {role, over} <= set(predictions.predicted)
            or not len(predictions.labels)
            or not predictions.labelled
        ):
            return None
        return paired_shares(predictions.right(over), predictions.right(role))

    @cached_property
    def seeds(self) -> Seeds | None:
        """Predictions of the study's students, at the temperature of the experiment's KD student; None: not known."""
        run = self.experiment.runs.get(Role.KD_STUDENT)
        temperature = run.training.get("temperature") if run is not None else None
        if self.study is None or self.study.predictions is None or not isinstance(temperature, (int, float)):
            return None
        return _paired_predictions(self.study, float(temperature))

    @cached_property
    def distillation(self) -> Difference | None:
        """Accuracy of the KD student less that of the student alone: over the study's seeds where it has several."""
        seeds = self.seeds
        right = None if seeds is None else (seeds.alone == seeds.labels, seeds.kd == seeds.labels)
        if right is not None and len(right[0]) > 1:
            return paired_difference(*right)
        gain = self.gain(Role.KD_STUDENT, Role.STUDENT)
        return paired_shares(right[0][0], right[1][0]) if gain is None and right is not None else gain

    @cached_property
    def copied(self) -> CopiedErrors | None:
        """How many of the teacher's errors each student repeats; None without labels or predictions of a teacher and a
        KD student."""
        predictions = self.predictions
        if (
            predictions is None
            or not {Role.TEACHER, Role.KD_STUDENT} <= set(predictions.predicted)
            or not predictions.labelled
        ):
            return None
        wrong = ~predictions.right(Role.TEACHER)
        same = {
            role: (predicted == predictions.predicted[Role.TEACHER])[wrong]
            for role, predicted in predictions.predicted.items()
        }
        if not wrong.any() or Role.STUDENT not in same:
            return CopiedErrors(int(wrong.sum()), _share(same[Role.KD_STUDENT]), math.nan, None)
        alone, kd = self._repeats_by_seed(predictions, wrong) or (same[Role.STUDENT][None], same[Role.KD_STUDENT][None])
        difference = paired_difference(alone, kd) if len(kd) > 1 else paired_shares(alone[0], kd[0])
        return CopiedErrors(int(wrong.sum()), float(kd.mean()), float(alone.mean()), difference)

    def _repeats_by_seed(self, predictions: Predictions, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Which errors the student alone and the KD student repeat, bool (seeds, errors) each; None without seeds."""
        seeds = self.seeds
        if seeds is None or len(seeds.alone) < 2 or not np.array_equal(seeds.labels, predictions.labels):
            return None
        assert self.study is not None
        teachers = [row["accuracy"] for row in self.study.rows if row["role"] == Role.TEACHER]
        if any(abs(accuracy - predictions.right(Role.TEACHER).mean()) > 1e-4 for accuracy in teachers):
            return None  # the study had another teacher
        teacher = predictions.predicted[Role.TEACHER][wrong]
        return seeds.alone[:, wrong] == teacher, seeds.kd[:, wrong] == teacher

    @cached_property
    def attention(self) -> Mapping[str, Any] | None:
        """The headline effect of the attention study; see :func:`attention_row`."""
        return attention_row(self.experiment)

    @cached_property
    def accuracies(self) -> list[Accuracy]:
        """The accuracy of every model, in the experiment's order, on the first split that all were measured on."""
        runs = self.experiment.runs.values()
        split = next((split for split in SPLITS if all("accuracy" in run.metrics.get(split, {}) for run in runs)), None)
        return [] if split is None else [self._accuracy(run, split) for run in runs]

    def _accuracy(self, run: Run, split: str) -> Accuracy:
        metrics = run.metrics[split]
        value, samples = metrics["accuracy"], int(metrics.get("samples", 0))
        low, high = wilson(value, samples) if samples else (math.nan, math.nan)
        on_samples = Accuracy(run.role, split, samples, value, low, high)
        row = self._study_row(run, split)
        if row is None or row["seeds"] < 2:
            return on_samples
        return Accuracy(
            run.role, split, samples, value, low, high, row["accuracy"], row["accuracy_sd"], int(row["seeds"])
        )

    def _study_row(self, run: Run, split: str) -> dict[str, Any] | None:
        """The row of the study's runs that were trained as this one was; None: there is none."""
        if self.study is None or self.study.split != split:
            return None
        temperature = run.training.get("temperature") if run.role == Role.KD_STUDENT else None
        matching = [row for row in self.study.rows if row["role"] == run.role and row["value"] == temperature]
        return matching[0] if matching else None


@dataclass(frozen=True)
class CopiedErrors:
    """How many of the teacher's errors the students repeat, with the same wrong class.

    Attributes:
        errors: Number of errors of the teacher.
        kd: Share of them that the KD student repeats, the mean over seeds; NaN without errors.
        alone: Share that the student alone repeats; NaN when there is none.
        difference: ``kd`` less ``alone``, paired on the errors; None without one of them.
    """

    errors: int
    kd: float
    alone: float
    difference: Difference | None


def attention_row(experiment: Experiment) -> Mapping[str, Any] | None:
    """The row of attention.parquet with the headline effect for the experiment's own KD student; None: not made."""
    if not experiment.has_table("attention") or Role.KD_STUDENT not in experiment.runs:
        return None
    temperature = experiment.runs[Role.KD_STUDENT].training.get("temperature")
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
        and row["value"] in (None, temperature)
    ]
    return claims[0] if claims else None


def _paired_predictions(study: StudyReport, temperature: float) -> Seeds | None:
    """Predictions of the students of each seed that has both; None: none has, or predictions or labels are missing."""
    alone, kd = (
        _rows_by_seed(study, role, value) for role, value in ((Role.STUDENT, None), (Role.KD_STUDENT, temperature))
    )
    both = sorted(alone.keys() & kd.keys())
    if not both or study.predictions is None:
        return None
    names = [runs[seed]["run"] for runs in (alone, kd) for seed in both]
    split = rows_where(study.predictions, "split", study.split)
    rows = rows_where(split, "run", *names).to_pylist() + rows_where(split, "role", "label").to_pylist()
    predicted = {row["run"]: np.array(row["predicted"]) for row in rows if row["role"] != "label"}
    first = predicted.get(names[0], np.array([]))
    accuracy = alone[both[0]]["accuracy"]
    # Studies of other data leave their labels in the same file; these give another accuracy.
    labels = [np.array(row["predicted"]) for row in rows if row["role"] == "label"]
    fitting = [
        candidate
        for candidate in labels
        if len(candidate) == len(first) and abs((first == candidate).mean() - accuracy) < 1e-5
    ]
    if not fitting or any(len(predicted.get(name, ())) != len(first) for name in names):
        return None
    tables = [np.array([predicted[runs[seed]["run"]] for seed in both]) for runs in (alone, kd)]
    return Seeds(fitting[0], *tables)


def _rows_by_seed(study: StudyReport, role: str, temperature: float | None) -> dict[int, dict[str, Any]]:
    """Seed -> row, for one setting of the study."""
    rows, setting = study.table.to_pylist(), (study.split, role, temperature)
    return {row["seed"]: row for row in rows if (row["split"], row["role"], row["temperature"]) == setting}


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


__getattr__ = renamed(__name__, {"Findings": "ExperimentSummary"})
