"""Maps of a few pictures for the first page of an imported experiment, within seconds."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

from kdviz.core.devices import choose_device
from kdviz.core.errors import KdvizError
from kdviz.experiment import Experiment
from kdviz.studies.attention.budget import seconds_of_a_pass
from kdviz.studies.predictions.showcase import make

_SECONDS = 6.0
_LEAST, _MOST = 64, 4000  # masks of a map
_STORIES = 4


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
    cost = sum(seconds_of_a_pass(run.on(where), experiment.input, where) for run in experiment.models.values())
    masks = int(seconds / max(cost * _STORIES, 1e-9))
    return min(_MOST, max(_LEAST, 1 << max(0, masks.bit_length() - 1)))
