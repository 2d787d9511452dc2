"""The predictions and maps of one model for the four views of each picture of a study of shortcuts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kdviz.experiment import Experiment
from kdviz.studies.shortcuts.table import damaged


@dataclass(frozen=True)
class PictureSeries:
    """The pictures of one model by one method, in the order of their numbers; every array is (N,).

    The first word says whose mark a view has or would have (own or other class), the second whether it is planted.
    """

    sample: np.ndarray
    label: np.ndarray
    cue: np.ndarray
    predicted: Mapping[str, np.ndarray]
    probability: Mapping[str, np.ndarray]
    energy: Mapping[str, np.ndarray]
    area: np.ndarray

    @property
    def use(self) -> np.ndarray:
        return self.probability["other planted"] - self.probability["other clean"]

    @property
    def use_own(self) -> np.ndarray:
        return self.probability["own planted"] - self.probability["own clean"]

    @property
    def flips(self) -> np.ndarray:
        flipped = (self.predicted["other planted"] == self.cue) & (self.predicted["other clean"] != self.cue)
        return flipped.astype(float)

    def is_of(self, other: PictureSeries) -> bool:
        """Whether another model saw the same pictures with the same marks."""
        return np.array_equal(self.sample, other.sample) and np.array_equal(self.cue, other.cue)

    def right(self, view: str) -> np.ndarray:
        return (self.predicted[view] == self.label).astype(float)


Series = dict[tuple[str, str], PictureSeries]
"""(Method, role) -> its pictures."""


def read_series(arrays: Mapping[str, np.ndarray], experiment: Experiment) -> Series:
    """The pictures of each model and method of a condition.

    Args:
        arrays: Column -> values of the condition's rows.
        experiment: For messages.

    Raises:
        ExperimentError: A picture's views are not all there.
    """
    keys = dict.fromkeys(zip(arrays["method"], arrays["role"], strict=True))
    return {key: _pictures(arrays, key, experiment) for key in keys}


def _pictures(arrays: Mapping[str, np.ndarray], key: tuple[str, str], experiment: Experiment) -> PictureSeries:
    own = arrays["label"] == arrays["cue"]
    rows = {}
    for view, chosen in {
        "own clean": own & (arrays["planted"] == False),  # noqa: E712  objects
        "own planted": own & (arrays["planted"] == True),  # noqa: E712
        "other clean": ~own & (arrays["planted"] == False),  # noqa: E712
        "other planted": ~own & (arrays["planted"] == True),  # noqa: E712
    }.items():
        indices = np.flatnonzero(chosen & (arrays["method"] == key[0]) & (arrays["role"] == key[1]))
        rows[view] = indices[np.argsort(arrays["sample"][indices].astype(np.int64))]
    samples = [arrays["sample"][indices].tolist() for indices in rows.values()]
    if any(numbers != samples[0] or len(set(numbers)) < len(numbers) for numbers in samples):
        raise damaged(experiment)
    columns = {
        name: {view: arrays[name][indices].astype(float) for view, indices in rows.items()}
        for name in ("predicted", "probability", "energy")
    }
    other = rows["other planted"]
    return PictureSeries(
        arrays["sample"][other].astype(np.int64),
        arrays["label"][other].astype(float),
        arrays["cue"][other].astype(float),
        columns["predicted"],
        columns["probability"],
        columns["energy"],
        arrays["area"][other].astype(float),
    )
