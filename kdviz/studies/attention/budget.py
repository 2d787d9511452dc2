"""How many images a study can afford: the time of RISE is that of its forward passes, which is measured."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import nn

from kdviz.core.devices import choose_device
from kdviz.models.inputs import InputSpec
from kdviz.studies.attention.models import StudyModel

FEWEST = 8
"""Images of a study, however slow its models are."""

_PROBED = 4  # pictures of which a pass is timed
_OVERHEAD = 1.25  # of maps over bare passes: masks, sums, and the comparison of the maps


def seconds_of_a_pass(model: nn.Module, spec: InputSpec, device: torch.device) -> float:
    """Time of one picture in a forward pass of a small batch, in seconds.

    Args:
        model: Takes what ``spec`` describes.
        spec: Size and channels of the input.
        device: Where the model is.
    """
    inputs = torch.zeros(_PROBED, spec.channels, *spec.size, device=device)
    with torch.inference_mode():
        model(inputs[:2])
        start = time.perf_counter()
        model(inputs)
        if device.type == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - start) / _PROBED


def affordable_images(
    models: Sequence[StudyModel], spec: InputSpec, classes: int, n_masks: int, seconds: float, device: str = "auto"
) -> int:
    """How many images get maps of every model within a time on this machine; at least :data:`FEWEST`.

    Args:
        models: The models of the study.
        spec: The study's input.
        classes: Number of classes.
        n_masks: Masks of a map.
        seconds: The time.
        device: A torch device, or ``auto``.
    """
    where = choose_device(device)
    passes = sum(seconds_of_a_pass(model.build(spec, classes).to(where), spec, where) for model in models)
    return max(FEWEST, int(seconds / (passes * n_masks * _OVERHEAD)))
