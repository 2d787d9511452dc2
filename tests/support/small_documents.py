"""Records of experiments with every field that there is, and values that break what expects others."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

from kdviz.distill.config import TrainingConfig
from kdviz.experiment import Experiment

Place = tuple[str | int, ...]


def _nested(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


NASTY: tuple[Any, ...] = (
    *(None, True, 0, -1, 0.5, 2**63, 10**400, 1e308, -1e308, 1e-320, math.nan, math.inf),
    *("", "x", "\ud800", "a\0b", "a\nb", "$\\frac{$", "{folder}", "<script>", "=1+1", "1:4", "\u202e", "../x"),
    *([], {}, [[]], {"": 0}, {"a": {"b": {}}}, [1, "a", None], ["a", "a"], [math.nan], _nested(400), "x" * 100_000),
)
"""Values of every type, empty ones, too large ones, and such as mean something to a file format."""


def full_documents(experiment: Experiment) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of an experiment of three runs in formats 1 and 2, with every field."""
    one = copy.deepcopy(experiment.to_json())
    one["picture_source"] = {"dataset": "torchvision/MNIST", "site": "x", "megabytes": 1, "jpeg_quality": 75}
    one["opening_pictures"] = ["cat"]
    training = TrainingConfig().to_json() | {"loss_options": {"weight": 1.0}}
    training |= {"teacher_mix": [0.5], "taught_by": ["teacher"], "continues": True, "labelled": 5, "data": "ab"}
    training["planted"] = {"kind": "corner", "share": 0.5, "shown_to": "all", "seed": 1}
    training["doubts"] = [{"kind": "x", "split": "test", "role": "teacher", "figures": {}}]
    training["import"] = {"file": "a.pt", "notes": ["b"]}
    one["runs"][1]["training"] = training
    two = copy.deepcopy(one)
    two["format"], two["picture"] = 2, two.pop("input")
    for run in two["runs"]:
        run |= {"input": dict(two["picture"]), "logits": 10, "settings": {}, "title": "T", "parent": "teacher"}
    return one, two


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """The places of a document: every field, the first two elements of a list, and of the runs the second."""
    if isinstance(value, dict):
        parts: Any = value
    else:
        parts = range(min(len(value), 2)) if isinstance(value, list) else ()
    for part in parts:
        if (*place, part) != ("runs", 0):
            yield (*place, part)
            yield from places(value[part], (*place, part))


def with_value(document: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """A copy of a document with another value in one place."""
    changed: Any = copy.deepcopy(document)
    target = changed
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    return changed
