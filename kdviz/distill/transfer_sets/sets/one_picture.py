"""Crops of one bundled photograph."""

from __future__ import annotations

from collections.abc import Generator

from torch import Tensor

from kdviz.data.photographs import photographs
from kdviz.distill.training import TrainingProgress
from kdviz.distill.transfer_sets.one_picture import crops_of
from kdviz.distill.transfer_sets.registry import TransferTask, register_transfer_set

PHOTOGRAPH = "cat"
"""Its name in assets/photographs."""


@register_transfer_set("one_picture")
def one_picture(task: TransferTask) -> Generator[TrainingProgress, None, Tensor]:
    """Crops of one photograph, turned, sheared, in other contrasts (Asano & Saeed, 2023); a larger one is a path."""
    yield TrainingProgress(1, 1, 1, 1)
    return crops_of(photographs()[PHOTOGRAPH].picture(), task.spec, task.count, task.seed)
