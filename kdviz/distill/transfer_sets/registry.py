"""The transfer sets by name. Names can be read without torch.

A transfer set is what the student is distilled on (Hinton et al., 2015, section 2). One is a file of
:mod:`kdviz.distill.transfer_sets.sets`, or of a plugin, and is registered by a decorator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdviz.distill.training import TrainingProgress
    from kdviz.experiment import InputSpec


TRAINING = "training"
"""The transfer set that is the training pictures themselves."""


@dataclass(frozen=True)
class TransferTask:
    """What a transfer set is made from. There is no picture and no label of the task in it.

    Attributes:
        teacher: (N, C, H, W), normalised -> logits (N, classes); in evaluation mode, on ``device``.
        spec: Its input.
        classes: Number of classes.
        count: Number of pictures to make.
        seed: Seed of all chance.
        device: A torch device.
        student: Makes a student with fresh weights.
        steps: Steps of a training that makes the pictures; 0: as many as draw each picture once.
    """

    teacher: nn.Module
    spec: InputSpec
    classes: int
    count: int
    seed: int
    device: str
    student: Callable[[], nn.Module]
    steps: int = 0


Make = Callable[[TransferTask], "Generator[TrainingProgress, None, Tensor]"]
"""Yields its progress, and returns uint8 pictures (count, C, H, W)."""


@dataclass(frozen=True)
class TransferSet:
    """One transfer set.

    Attributes:
        make: Makes its pictures.
        is_trained: Whether making them is a training, which takes steps.
    """

    make: Make
    is_trained: bool = False

    @property
    def description(self) -> str:
        """The first line of its documentation."""
        return (self.make.__doc__ or "").partition("\n")[0]


transfer_sets: Registry[TransferSet] = Registry(
    "transfer set", "kdviz.distill.transfer_sets.sets", one_per_file=True, listed="transfer-sets"
)
"""What a student can be distilled on beside the training pictures themselves."""


def register_transfer_set(name: str, *, is_trained: bool = False) -> Callable[[Make], Make]:
    """Register a transfer set, as a decorator of the function that makes its pictures.

    Args:
        name: Name of the transfer set; the first line of the function's docstring describes it in lists.
        is_trained: Whether making its pictures is a training, which takes steps.
    """

    def register(make: Make) -> Make:
        transfer_sets.add(name, TransferSet(make, is_trained))
        return make

    return register


def transfer_set_names() -> list[str]:
    """All names, that of the training pictures first."""
    return [TRAINING, *sorted(transfer_sets)]


def check_transfer_set(name: str) -> None:
    """Refuse what is neither a name nor the path of a folder or file.

    Raises:
        UnknownNameError: It is no name.
        SettingError: It is a path, and nothing is there.
    """
    if name == TRAINING or name in transfer_sets or Path(name).exists():
        return
    if len(Path(name).parts) > 1 or Path(name).suffix:
        raise SettingError("The transfer set '{path}' is not there: no folder and no picture has this path.", path=name)
    raise UnknownNameError("transfer set", name, transfer_set_names(), transfer_sets.listed)


def check_transfer_steps(names: Sequence[str], steps: int) -> None:
    """Refuse steps of a training that none of some transfer sets has.

    Raises:
        SettingError: None of them is made by a training.
    """
    if not steps or any(name in transfer_sets and transfer_sets[name].is_trained for name in names):
        return
    raise SettingError(
        "transfer_steps are of a training that makes pictures, and the transfer set '{name}' has none; leave them "
        "away, or choose {trained}.",
        name=names[0],
        trained=" or ".join(name for name in sorted(transfer_sets) if transfer_sets[name].is_trained),
    )


def path_fingerprint(name: str) -> str:
    """A hash of the pictures at a path; empty for a name."""
    path = Path(name)
    if name == TRAINING or name in transfer_sets or not path.exists():
        return ""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
