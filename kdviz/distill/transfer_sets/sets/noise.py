"""Pictures of noise: the null case."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from kdviz.distill.training import TrainingProgress
from kdviz.distill.transfer_sets.registry import TransferTask, register_transfer_set


@register_transfer_set("noise")
def noise(task: TransferTask) -> Generator[TrainingProgress, None, Tensor]:
    """Each pixel drawn alone and evenly: the null case, which has no structure at all."""
    shape = (task.count, task.spec.channels, *task.spec.size)
    random = torch.Generator().manual_seed(task.seed)
    pictures = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)  # (count, C, H, W)
    yield TrainingProgress(1, 1, 1, 1)
    return pictures
