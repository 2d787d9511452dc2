"""Maps of a few pictures for the first page of an imported experiment, within seconds."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Iterator

import torch

from kdviz.core.devices import choose_device
from kdviz.core.errors import KdvizError
from kdviz.experiment import Experiment
from kdviz.models.inputs import InputSpec
from kdviz.studies.predictions.showcase import make

_SECONDS = 6.0
_LEAST, _MOST = 64, 4000  # masks of a map
_STORIES = 4
_PROBED = 4  # pictures of which the time of a pass is known


def first_maps(experiment: Experiment, device: str = "auto", seconds: float = _SECONDS) -> Iterator[str]:
    """Write showcase.parquet with as many masks as fit into the time; yield each kind of example when it is done.

    An experiment whose pictures have no labels, or a model that cannot be explained, gets none.
    """
    gc.collect()  # what is left of an evaluation is large, and refers to itself
    masks = _affordable(experiment, device, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a map does not say is said where it is looked at
            for step in make(experiment, device, masks):
                gc.collect()  # so are traced models and maps
                if isinstance(step, str):
                    yield step
                else:
                    experiment.write_table("showcase", step)
    except KdvizError:
        return  # the page then offers to make them


def _affordable(experiment: Experiment, device: str, seconds: float) -> int:
    """A power of two of masks, by the time of one pass of each model."""
    where = choose_device(device)
    cost = sum(_seconds_a_picture(run.on(where), experiment.input, where) for run in experiment.models.values())
    masks = int(seconds / max(cost * _STORIES, 1e-9))
    return min(_MOST, max(_LEAST, 1 << max(0, masks.bit_length() - 1)))


def _seconds_a_picture(model: torch.nn.Module, picture: InputSpec, device: torch.device) -> float:
    inputs = torch.zeros(_PROBED, picture.channels, *picture.size, device=device)
    with torch.inference_mode():
        model(inputs[:2])
        start = time.perf_counter()
        model(inputs)
        if device.type == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - start) / _PROBED
