"""How long a study takes, and how many images it can afford: that is the time of forward passes, which is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from kdviz.core.devices import choose_device
from kdviz.explanation.captum.attribution import attribute
from kdviz.models.inputs import InputSpec
from kdviz.rise.states import RISEState
from kdviz.studies.attention.maps import StudyJob, build_models, stream_targets
from kdviz.studies.attention.models import StudyModel

FEWEST = 8
"""Images of a study, however slow its models are."""

PROBED = 2
"""Images of a study of which maps are begun to time them."""

_PROBED = 4  # pictures of which a pass is timed
_PROBE_SECONDS = 2.0  # of maps, after the first chunk, in which models are prepared
_BESIDE = 1.1  # of a map over its passes: its estimate, and the comparison of the maps
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


def seconds_of_an_image(job: StudyJob) -> float:
    """Time of one image's maps by every model, from some masks of the study's first images; nothing is stored.

    For methods other than RISE, the time of the first image's maps.
    """
    device = choose_device(job.device)
    models = build_models(job, device)
    inputs, baselines = job.inputs(slice(0, min(PROBED, len(job.pixels))), device)
    targets = torch.from_numpy(job.images.targets[: len(inputs)])
    if job.method == "rise":
        states = stream_targets(job, models, job.masks(0), inputs, baselines, targets)
        return _BESIDE * _seconds_of_a_mask(states, device) * job.settings["n_masks"] / len(inputs)
    began = time.perf_counter()
    for model in models.values():
        attribute(job.method, model, inputs[:1], baselines[:1], int(targets[0]), job.settings)
    return _BESIDE * (time.perf_counter() - began)


def _seconds_of_a_mask(states: Iterator[dict[str, RISEState]], device: torch.device) -> float:
    """Time of one mask of all images and models, over some chunks after the first; else that of the first chunk."""
    began, first, each = time.perf_counter(), 0, 0.0
    for state in states:
        if device.type == "cuda":
            torch.cuda.synchronize()
        done, seconds = next(iter(state.values())).n_masks, time.perf_counter() - began
        each = seconds / (done - first)
        if not first:  # the models are also prepared in it
            first, began = done, time.perf_counter()
        elif seconds > _PROBE_SECONDS:
            break
    return each
