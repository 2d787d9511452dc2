"""The settings of RISE, declared once. Reading this module does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MINIMUM_MASKS = 4  # two for each half
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class RISESettings:
    """How :class:`kdviz.saliency.RISE` makes a map: the keyword arguments of its ``attribute`` and ``stream``.

    Attributes:
        n_masks: Number of masks, at least 4.
        grid: Cells per side, or (rows, columns).
        probability: Probability that a cell is kept.
        seed: The same seed gives the same masks for every image and model.
        sampler: ``auto`` (the best for the probability), ``hadamard``, ``sobol``, or ``iid`` as published.
        estimator: ``logistic`` (default), ``ridge`` and ``centred``, change of score when a pixel is kept, the
            first with the least noise; ``rise``, as published, or ``normalised``; see the registry ``estimators``.
        precision: ``auto``: an ``nn.Module`` runs in bfloat16 or float16, and with its layers fused, where that is
            faster and the scores stay the same; or ``float32``, ``bfloat16``, ``float16``.
        reliability: Stop when the map of every image has this predicted correlation with that of infinitely
            many masks, for example 0.99; None: never.
        seconds: Stop after this time, in seconds; None: never.
        chunk_size: Masked images in one forward pass; changes time and memory, not the map. None: the fastest, found
            while it runs and remembered for as long as the model lives.
        devices: Devices besides that of the inputs, such as other GPUs, that take chunks in parallel; the model
            is copied to them.
    """

    n_masks: int = 4000
    grid: int | tuple[int, int] = 7
    probability: float = 0.5
    seed: int = 0
    sampler: str = "auto"
    estimator: str = "logistic"
    precision: str = "auto"
    reliability: float | None = None
    seconds: float | None = None
    chunk_size: int | None = None
    devices: Sequence[str | torch.device] = ()
