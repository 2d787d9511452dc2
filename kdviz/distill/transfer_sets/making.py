"""The data that a student is distilled on where these are not the training pictures: made once, and kept.

::

    <store>/transfer/<identity>-pictures.npy    uint8 (N, C, H, W)
    <store>/transfer/<identity>-logits.npy      float32 (N, classes), the teacher's; written last
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import SettingError
from kdviz.core.files import Store
from kdviz.data import LabelledImages
from kdviz.data.readers.folders import images_below
from kdviz.distill.config import TrainingConfig
from kdviz.distill.prediction import predict_logits
from kdviz.distill.recipes import read_unlabelled
from kdviz.distill.storage.run_files import new_network, read_array, write_array
from kdviz.distill.training import TrainingProgress
from kdviz.distill.transfer_sets.one_picture import crops_of_file
from kdviz.distill.transfer_sets.registry import (
    TRAINING,
    TransferTask,
    check_transfer_steps,
    path_fingerprint,
    transfer_sets,
)
from kdviz.experiment import InputSpec

HELD_OUT = 0.1
"""Share of a transfer set on which the best epoch is chosen, by agreement with the teacher."""

_FEWEST = 20  # pictures of a folder


@dataclass(frozen=True)
class StudentData:
    """What a network is trained on.

    Attributes:
        training, validation: Its samples, and those by which the best epoch is chosen. Of a transfer set, the labels
            are the teacher's classes.
        logits: The teacher's logits of the training samples; None where it runs in every step, or without a teacher;
            with views, a list with one tensor a view.
    """

    training: LabelledImages
    validation: LabelledImages
    logits: Tensor | Sequence[Tensor] | None = None


@dataclass(frozen=True)
class TransferSource:
    """What decides the pictures and logits of a transfer set.

    Attributes:
        teacher: Makes the network, in evaluation mode; only called where pictures or logits are missing.
        teacher_key: Name of that network's logits in the store, which stands for its weights.
        spec: Its input.
        network: Name of the student's network, which some transfer sets are made against.
        config: The recipe of the student.
        like: The data set's training samples, of which only the classes and the number are used.
    """

    teacher: Callable[[], nn.Module]
    teacher_key: str
    spec: InputSpec
    network: str
    config: TrainingConfig
    like: LabelledImages

    @property
    def identity(self) -> str:
        """A hash of all that decides the result."""
        name = self.config.transfer_set
        inputs = [name, self.teacher_key, self.spec.to_json(), self.network, len(self.like), self.config.seed]
        steps = [self.config.transfer_steps] if self.config.transfer_steps else []
        text = json.dumps([*inputs, path_fingerprint(name), *steps])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def transfer_data(source: TransferSource, store: Store) -> Generator[TrainingProgress, None, StudentData]:
    """Make a transfer set, or read it where it was made before.

    Raises:
        KdvizError: Pictures cannot be read, or there are too few.
    """
    stem = f"transfer/{source.identity}"
    names = f"{stem}-pictures.npy", f"{stem}-logits.npy"
    if not store.has(names[1]):
        teacher = source.teacher().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        pictures = yield from _pictures(source, teacher)
        samples = LabelledImages(pictures, torch.zeros(len(pictures), dtype=torch.int64), source.like.classes, "train")
        config = source.config
        logits = predict_logits(teacher, samples, source.spec.normalise, device=config.device, bf16=config.bf16)
        for name, values in zip(names, (pictures, logits), strict=True):
            write_array(store, name, values)
    return _split(read_array(store, names[0]), read_array(store, names[1]), source)


def _pictures(source: TransferSource, teacher: nn.Module) -> Generator[TrainingProgress, None, Tensor]:
    spec, config, name = source.spec, source.config, source.config.transfer_set
    count = len(source.like) + round(HELD_OUT * len(source.like))
    if name not in transfer_sets:
        yield TrainingProgress(1, 1, 1, 1)
        if Path(name).is_file():
            return crops_of_file(Path(name), spec, count, config.seed)
        return read_unlabelled(name, source.like, spec).images
    classes, device = len(source.like.classes), choose_device(config.device)
    task = TransferTask(
        teacher.to(device),
        spec,
        classes,
        count,
        config.seed,
        str(device),
        lambda: new_network(source.network, spec, classes, config.seed),
        config.transfer_steps,
    )
    pictures = yield from transfer_sets[name].make(task)
    return pictures


def check_transfer_sets(names: Sequence[str], steps: int, spec: InputSpec) -> None:
    """Refuse transfer sets that cannot be made, before anything is trained; pictures are not all read.

    Args:
        names: Names and paths.
        steps: Steps of the trainings that make pictures; 0: as many as draw each picture once.
        spec: Input of the teacher.

    Raises:
        KdvizError: There are too few pictures in a folder, a file is no picture that is large enough, or there are
            steps and no training that takes them.
    """
    check_transfer_steps(names, steps)
    for name in names:
        _check_pictures(name, spec)


def _check_pictures(name: str, spec: InputSpec) -> None:
    path = Path(name)
    if name == TRAINING or name in transfer_sets:
        return
    if path.is_file():
        crops_of_file(path, spec, 1, 0)
        return
    _require_enough(name, len(images_below(path, path)))


def _require_enough(name: str, count: int) -> None:
    if count < _FEWEST:
        raise SettingError(
            "A transfer set needs at least {fewest} pictures, and '{name}' has {count}.",
            fewest=_FEWEST,
            name=name,
            count=count,
        )


def _split(pictures: Tensor, logits: Tensor, source: TransferSource) -> StudentData:
    """The pictures in a random order, the last of them held out."""
    _require_enough(source.config.transfer_set, len(pictures))
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(source.config.seed))
    held_out = min(len(pictures) - 1, max(1, round(len(pictures) * HELD_OUT / (1 + HELD_OUT))))
    samples = LabelledImages(pictures, logits.argmax(1), source.like.classes, "train")
    training, validation = order[:-held_out], order[-held_out:]
    return StudentData(samples.take(training), samples.take(validation, "validation"), logits[training])
