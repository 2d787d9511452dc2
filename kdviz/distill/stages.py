"""Progress of the training of an experiment, and the records that it leaves."""

from __future__ import annotations

import platform
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from kdviz.data import LabelledImages
from kdviz.data.doubts import KEY, Doubt
from kdviz.data.shortcuts.planting import KEY as PLANTED
from kdviz.data.shortcuts.planting import PlantedShortcut, ShownTo
from kdviz.distill.config import TEACHER_SETTINGS, TrainingConfig
from kdviz.distill.training import TrainingProgress


@dataclass(frozen=True)
class Stage:
    """Progress of one of several trainings: training ``name``, ``number`` of ``count``; ``progress`` None is its end.

    A stage with ``warnings`` is no progress: they are sentences about the data, or about a model that is not trained.
    """

    name: str
    number: int
    count: int
    progress: TrainingProgress | None
    warnings: tuple[str, ...] = ()


Made = TypeVar("Made")


def making_stages(
    role: str, number: int, count: int, steps: Generator[TrainingProgress, None, Made]
) -> Generator[Stage, None, Made]:
    """The progress of what is made before a training as stages, and what was made."""
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return end.value
        yield Stage(role, number, count, progress)


def training_stages(role: str, number: int, count: int, steps: Iterable[TrainingProgress]) -> Iterator[Stage]:
    return (Stage(role, number, count, progress) for progress in steps)


def doubt_stages(name: str, number: int, count: int, doubts: Sequence[Doubt]) -> Iterator[Stage]:
    """A stage of warnings, or none."""
    if doubts:
        yield Stage(name, number, count, None, tuple(doubt.text for doubt in doubts))


def doubts_record(doubts: Sequence[Doubt]) -> dict[str, Any]:
    """The entry of a training record for these doubts; empty for none."""
    return {KEY: [doubt.to_json() for doubt in doubts]} if doubts else {}


def planted_record(shortcut: PlantedShortcut | None, *, is_student: bool) -> dict[str, Any]:
    """The entry of a training record for a shortcut; empty where the run did not see it."""
    unseen = ShownTo.TEACHER if is_student else ShownTo.STUDENTS
    if shortcut is None or shortcut.shown_to == unseen:
        return {}
    return {PLANTED: shortcut.to_json()}


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var"))


def concatenate(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    """The samples of both, in one split."""
    have_names = first.names is not None and second.names is not None
    return replace(
        first,
        images=torch.cat([first.images, second.images]),
        labels=torch.cat([first.labels, second.labels]),
        names=(*first.names, *second.names) if have_names else None,  # type: ignore[misc]
        annotators=None,
    )


def training_record(
    config: TrainingConfig, training: LabelledImages, validation: LabelledImages, *, distilled: bool
) -> dict[str, Any]:
    """The entry of experiment.json on how a run was trained: everything needed to repeat it."""
    record: dict[str, Any] = {
        **config.to_json(),
        "train_samples": len(training),
        "validation_samples": len(validation),
        "selected_by": "validation accuracy",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if distilled and config.has_own_pictures:
        record |= {"selected_by": "agreement with the teacher", "transfer_data": training.fingerprint[:16]}
    if not distilled:
        record = {name: value for name, value in record.items() if name not in TEACHER_SETTINGS}
    return record
