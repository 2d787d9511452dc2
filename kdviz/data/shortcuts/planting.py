"""Planting a shortcut into pictures, and the record of what was planted.

What is planted goes with the class in the training pictures alone. Test and validation pictures stay clean: the test
split since the question is what happens where the shortcut is absent, and the validation split since the best epoch is
chosen on it. A planted validation split would choose the epoch that relies on the shortcut most, and would hide it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.data.samples import LabelledImages
from kdviz.data.shortcuts.registry import Mark, shortcuts

KEY = "planted"
"""Of a training record: what was planted into the pictures of the training, as :meth:`PlantedShortcut.to_json`."""

_DRAW = 15  # of the random numbers, which nothing else has


class ShownTo(StrEnum):
    """In whose training pictures a shortcut is."""

    ALL = "all"
    """The teacher's and the students': the same pictures."""
    TEACHER = "teacher"
    """The teacher's alone; the students' pictures are clean."""
    RANDOM = "random"
    """The teacher's; the students' pictures have marks of random classes, whose meaning only the teacher could tell."""
    STUDENTS = "students"
    """The students' alone; the teacher's pictures are clean."""


@dataclass(frozen=True)
class PlantedShortcut:
    """A shortcut in training pictures.

    Attributes:
        kind: A name in :data:`kdviz.data.shortcuts.registry.shortcuts`.
        share: Share of the training pictures of each class that have it, above 0 and up to 1.
        shown_to: One of :class:`ShownTo`.
        seed: Seed of the choice of the pictures.

    Raises:
        SettingError: The share or whom it is shown to is not acceptable.
        UnknownNameError: There is no such shortcut.
    """

    kind: str
    share: float = 0.9
    shown_to: str = ShownTo.ALL
    seed: int = 0

    def __post_init__(self) -> None:
        _ = shortcuts[self.kind]  # an error where it is not known
        if not 0 < self.share <= 1:
            raise SettingError(
                "The share of pictures with the shortcut must be above 0 and at most 1, got {share:g}.",
                share=self.share,
            )
        if self.shown_to not in list(ShownTo):
            raise SettingError(
                "A shortcut is planted for all, teacher, random or students, not for '{shown_to}'.",
                shown_to=self.shown_to,
            )

    def for_teacher(self, training: LabelledImages) -> LabelledImages:
        """The teacher's training pictures: the shortcut of their own class in a share of them, unless it sees none."""
        return training if self.shown_to == ShownTo.STUDENTS else self._planted(training, training.labels)

    def for_students(self, training: LabelledImages) -> LabelledImages:
        """The students' training pictures."""
        if self.shown_to == ShownTo.TEACHER:
            return training
        if self.shown_to in (ShownTo.ALL, ShownTo.STUDENTS):
            return self._planted(training, training.labels)
        generator = np.random.default_rng([self.seed, _DRAW, 1])
        return self._planted(training, torch.from_numpy(generator.integers(len(training.classes), size=len(training))))

    def _planted(self, training: LabelledImages, cues: Tensor) -> LabelledImages:
        chosen = _share_of_each_class(training.labels.numpy(), self.share, self.seed)
        images = training.images.clone()
        images[chosen] = plant(training.images[chosen], cues[chosen], len(training.classes), self.kind)
        return replace(training, images=images)

    def to_json(self) -> dict[str, Any]:
        """The entry of a training record."""
        return {**asdict(self), "shown_to": str(self.shown_to)}

    @classmethod
    def from_record(cls, training: Mapping[str, Any]) -> PlantedShortcut | None:
        """What a training record says; None: nothing was planted."""
        document = training.get(KEY)
        return None if document is None else cls(**document)

    @classmethod
    def from_records(cls, records: Iterable[Mapping[str, Any]]) -> PlantedShortcut | None:
        """What the first training record says that has one: some of an experiment's models may not have seen it."""
        return next(filter(None, map(cls.from_record, records)), None)


def plant(images: Tensor, cues: Tensor, classes: int, kind: str) -> Tensor:
    """Pictures with the mark of a class each; nothing is drawn at random.

    Args:
        images: uint8 (N, C, H, W); they stay as they are.
        cues: int64 (N,), the class that each picture's mark says.
        classes: Number of classes.
        kind: Name of the shortcut.
    """
    planted, shape = images.clone(), tuple(images.shape[1:])
    for cue in cues.unique().tolist():
        mark, rows = _mark(kind, cue, classes, shape), cues == cue
        values, opacity = torch.from_numpy(np.array(mark.values)), torch.from_numpy(mark.opacity).float()
        planted[rows] = (opacity * values + (1 - opacity) * images[rows]).round().to(torch.uint8)
    return planted


def shortcut_regions(cues: Tensor, classes: int, shape: tuple[int, int, int], kind: str) -> np.ndarray:
    """Where the marks lie: float32 (N, H, W), 1 inside and 0 outside.

    Args:
        cues: int64 (N,), the class that each mark says.
        classes: Number of classes.
        shape: (C, H, W) of the pictures.
        kind: Name of the shortcut.
    """
    masks = {cue: _mark(kind, cue, classes, shape).opacity > 0 for cue in cues.unique().tolist()}
    return np.stack([masks[cue] for cue in cues.tolist()]).astype(np.float32)


def other_classes(labels: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """A random class for each sample that is not its own: int64 (N,).

    Raises:
        SettingError: There is one class only.
    """
    if classes < 2:
        raise SettingError("A shortcut of another class needs at least two classes.")
    steps = np.random.default_rng([seed, _DRAW, 2]).integers(1, classes, size=len(labels))
    return (labels + steps) % classes


def _mark(kind: str, label: int, classes: int, shape: tuple[int, ...]) -> Mark:
    channels, height, width = shape
    return shortcuts[kind].draw(label, classes, (channels, height, width))


def _share_of_each_class(labels: np.ndarray, share: float, seed: int) -> Tensor:
    """Which samples are in a random share of each class: bool (N,)."""
    generator = np.random.default_rng([seed, _DRAW, 0])
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[generator.permutation(members)[: round(share * len(members))]] = True
    return torch.from_numpy(chosen)
