"""The steps of a compression: each makes one run from another, and records which one and how."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from kdviz.core.errors import ModelError, SettingError, UnknownNameError
from kdviz.core.vocabulary import Role
from kdviz.distill.config import TrainingConfig, recorded_name
from kdviz.experiment import Experiment, Run
from kdviz.experiment.run import check_new_role
from kdviz.models.networks import ONNX
from kdviz.studies.compression.names import (
    CHANNELS,
    DYNAMIC,
    INT4,
    INT8,
    PRUNE,
    QAT,
    SEED,
    STATIC,
    TWO_OF_FOUR,
    WEIGHTS,
)

_SUFFIX = {PRUNE: "pruned", QAT: "qat", INT8: "int8", INT4: "int4", SEED: "seed"}
_QAT_RECIPE: dict[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "learning_rate_schedule": "cosine",
    "weight_decay": 0.0,
    "feature_loss": "",
    "feature_options": {},
}
_UNKNOWN_RECIPE = TrainingConfig(epochs=6, batch_size=64, learning_rate=1e-4)
"""Trains a given model on whose own recipe is not known."""

_QAT_PART = 0.25  # of the parent's epochs


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: ``prune``, ``qat``, ``int8``, ``int4``, or ``seed``: the same model trained anew with another
            seed, which is what every other step is held against.
        share: Share that is pruned; with ``2:4`` always a half.
        pattern: One of ``PATTERNS``, for ``prune``.
        ranges: One of ``RANGES``, for ``int8``.
    """

    kind: str
    share: float = 0.0
    pattern: str = CHANNELS
    ranges: str = STATIC

    def __post_init__(self) -> None:
        if self.kind == PRUNE and not 0 < self.share < 1:
            raise SettingError("The share that is pruned must be between 0 and 1, got {share:g}.", share=self.share)
        if self.kind == PRUNE and self.pattern == TWO_OF_FOUR and self.share != 0.5:
            raise SettingError("2:4 prunes a share of 0.5, two of every four weights; got {share:g}.", share=self.share)

    @property
    def made_by(self) -> str:
        """What experiment.json records: ``prune 0.5``, ``prune 0.5 weights``, ``qat``, ``int8 dynamic``..."""
        if self.kind == PRUNE:
            return f"{PRUNE} {self.share:g}" + ("" if self.pattern == CHANNELS else f" {self.pattern}")
        return f"{INT8} {DYNAMIC}" if self.kind == INT8 and self.ranges == DYNAMIC else self.kind

    @property
    def trains(self) -> bool:
        return self.kind not in (INT8, INT4)


@dataclass(frozen=True)
class PlannedStep:
    """A step with the roles of the run that it begins with and of the one that it makes."""

    step: Step
    parent: str
    role: str


def plan_steps(experiment: Experiment, of: str, steps: list[Step], role: str = "") -> list[PlannedStep]:
    """The steps one after another, each from the product of the one before it.

    Args:
        experiment: The experiment.
        of: Role of the run that the first one begins with.
        steps: The steps, at least one.
        role: Role of the last product; empty: after the run and the step.

    Raises:
        SettingError: There is no step, or the role of a product is not valid or is taken.
        UnknownNameError: There is no such run.
        ModelError: The run cannot be compressed.
    """
    if of not in experiment.runs:
        raise UnknownNameError("role", of, experiment.runs)
    if not steps:
        raise SettingError(
            "Name what is to be done: --prune F, --qat, --int8, --int4, or --other-seed to compare with."
        )
    _check(experiment, experiment.runs[of], steps)
    planned: list[PlannedStep] = []
    parent = of
    for number, step in enumerate(steps, 1):
        suffix = _SUFFIX[step.kind]
        name = (role or f"{parent}_{suffix}") if number == len(steps) else f"{role or parent}_{suffix}"
        check_new_role(name, {**experiment.runs, **dict.fromkeys(each.role for each in planned)})
        planned.append(PlannedStep(step, parent, name))
        parent = name
    return planned


def _check(experiment: Experiment, run: Run, steps: list[Step]) -> None:
    if not run.has_model:
        raise ModelError(
            "Of '{role}' only the predictions are known, and only a model can be compressed; import its weights.",
            role=run.role,
        )
    if run.network == ONNX and run.parent not in experiment.models:
        raise ModelError(
            "'{role}' is an ONNX file, whose layers cannot be changed any more; import the checkpoint that it was made "
            "from, and compress that.",
            role=run.role,
        )
    if run.network == ONNX:
        raise ModelError(
            "'{role}' is an ONNX file, whose layers cannot be changed any more; compress what it was made from, "
            "such as --of {parent}.",
            role=run.role,
            parent=run.parent,
        )
    if not is_repeatable(run) and any(step.kind == SEED for step in steps):
        raise SettingError(
            "How '{role}' was trained is not known, so that it cannot be trained with another seed; compress it "
            "without that comparison.",
            role=run.role,
        )
    if run.parent and any(step.kind == SEED for step in steps):
        raise SettingError(
            "'{role}' was itself made from '{parent}'; another seed is trained of a model that was trained from its "
            "beginning.",
            role=run.role,
            parent=run.parent,
        )
    if sparsity_of(experiment, run) == TWO_OF_FOUR and any(_leaves_channels_out(step) for step in steps):
        raise SettingError(
            "'{role}' has two of every four weights; without some channels the fours would be others. Prune channels "
            "first, and 2:4 after it.",
            role=run.role,
        )


def _leaves_channels_out(step: Step) -> bool:
    return step.kind == PRUNE and step.pattern == CHANNELS


def sparsity_of(experiment: Experiment, run: Run) -> str:
    """The pattern of the last step before a run that set single weights to 0, ``weights`` or ``2:4``; empty: none."""
    for each in lineage(experiment, run):
        pattern = each.made_by.rpartition(" ")[2]
        if each.made_by.startswith(PRUNE) and pattern in (WEIGHTS, TWO_OF_FOUR):
            return pattern
    return ""


def lineage(experiment: Experiment, run: Run) -> list[Run]:
    """A run, the one that it was made from, and so on."""
    runs = [run]
    while runs[-1].parent in experiment.runs and experiment.runs[runs[-1].parent] not in runs:
        runs.append(experiment.runs[runs[-1].parent])
    return runs


# recipes --------------------------------------------------------------------------------------------------------------


def was_distilled(run: Run) -> bool:
    """Whether a run was trained with a teacher."""
    return "temperature" in run.training


def is_repeatable(run: Run) -> bool:
    """Whether it is known how a run was trained, so that it can be trained anew."""
    return "epochs" in run.training


def learned_from_teacher(experiment: Experiment, run: Run) -> bool:
    """Whether a run was trained with the experiment's teacher; of a given model its role says so."""
    if is_repeatable(run):
        return was_distilled(run)
    return run.role == Role.KD_STUDENT and Role.TEACHER in experiment.models


def recorded_config(record: Mapping[str, Any]) -> TrainingConfig:
    """The recipe in a training record; what it lacks is the default's.

    Raises:
        SettingError: A value in it cannot be used.
    """
    known = {each.name: record.get(recorded_name(each.name)) for each in fields(TrainingConfig)}
    known |= {"device": None, "teacher_mixture": tuple(known["teacher_mixture"] or ())}
    return TrainingConfig(**{name: value for name, value in known.items() if value is not None})


def step_config(run: Run, step: Step, given: Mapping[str, Any]) -> TrainingConfig:
    """The recipe of a step that trains.

    After pruning it is the parent's, with a rate that falls; with int8 in mind a quarter of its epochs, by Adam with a
    tenth of the usual rate. All weights are trained. Where the parent's recipe is not known, it is Adam with that rate.

    Args:
        run: The parent.
        step: The step.
        given: Settings that the user gave, by name; they count more.
    """
    known = recorded_config(run.training) if is_repeatable(run) else _UNKNOWN_RECIPE
    config = replace(known, trainable="all", teacher_mixture=())
    if step.kind == SEED:
        return replace(config, **{"seed": (config.seed + 1) % 2**31, **given})
    if step.kind == QAT:
        epochs = max(1, math.ceil(_QAT_PART * config.epochs))
        return replace(config, **{**_QAT_RECIPE, "epochs": epochs, **given})
    schedule = config.learning_rate_schedule
    falling = "cosine" if schedule == "constant" else schedule
    return replace(config, **{"learning_rate_schedule": falling, **given})
