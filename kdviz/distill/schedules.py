"""A setting that changes from epoch to epoch, written as a short text.

=======================  ==============================================================================
``4``                    the same in all epochs
``10:1``                 linear, from 10 in the first epoch to 1 in the last
``10:1:cosine``          from 10 to 1 along half a cosine: slow, fast, slow
``1:21:learned``         temperature only: trained against the student, between 1 and 21, as
                         :mod:`kdviz.distill.objectives.learned_temperature` says
``1=0.9,6=0.7,11=0.5``   piecewise: 0.9 from epoch 1 on, 0.7 from epoch 6 on, 0.5 from epoch 11 on
=======================  ==============================================================================

Epochs count from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from kdviz.core.errors import SettingError

LEARNED = "learned"
LEARNED_START = 1.0
"""What the sigmoid is taken of before the training of a learned temperature, as in its authors' code."""


def linear(first: float, last: float, epoch: int, epochs: int) -> float:
    """Linear interpolation from ``first`` in epoch 1 to ``last`` in epoch ``epochs``; ``first`` if there is one."""
    share = (epoch - 1) / max(1, epochs - 1)
    return (1 - share) * first + share * last


def cosine(first: float, last: float, epoch: int, epochs: int) -> float:
    """Half a cosine: last + (first - last) * (1 + cos(pi * share)) / 2, with the share of :func:`linear`, 0 to 1.

    Loshchilov & Hutter (2017), eq. 5, without restarts.
    """
    share = (epoch - 1) / max(1, epochs - 1)
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def learned(low: float, high: float, epoch: int, epochs: int) -> float:
    """What a learned temperature begins with: low + (high - low) * sigmoid(1), in every epoch."""
    return low + (high - low) / (1 + math.exp(-LEARNED_START))


SHAPES: dict[str, Callable[[float, float, int, int], float]] = {
    "linear": linear,
    "cosine": cosine,
    LEARNED: learned,
}


@dataclass(frozen=True)
class Schedule:
    """A setting as a function of the epoch.

    Attributes:
        values: The values of its steps, or at its two ends.
        starts: The first epoch of each step; empty for an interpolation between two ends.
        shape: Shape of the interpolation, a name in ``SHAPES``.
    """

    values: tuple[float, ...]
    starts: tuple[int, ...] = ()
    shape: str = "linear"

    @property
    def is_learned(self) -> bool:
        """Whether it is trained, and :meth:`at` says no more than what it begins with."""
        return self.shape == LEARNED

    def at(self, epoch: int, epochs: int) -> float:
        """The value in ``epoch``, 1 to ``epochs``."""
        if not self.starts:
            return SHAPES[self.shape](self.values[0], self.values[1], epoch, epochs)
        return next(value for start, value in zip(self.starts[::-1], self.values[::-1], strict=True) if start <= epoch)


def schedule(setting: str, text: float | str) -> Schedule:
    """Parse a number or one of the forms above.

    Args:
        setting: Its name, for messages.
        text: The value to parse.

    Raises:
        SettingError: It has none of these forms.

    >>> [schedule("temperature", "10:1").at(epoch, 3) for epoch in (1, 2, 3)]
    [10.0, 5.5, 1.0]
    >>> [schedule("alpha", "1=0.9,3=0.5").at(epoch, 4) for epoch in (1, 2, 3, 4)]
    [0.9, 0.9, 0.5, 0.5]
    """
    try:
        parsed = _parse(str(text))
    except ValueError:
        parsed = None
    if parsed is None or any(math.isnan(value) for value in parsed.values):
        raise SettingError(
            "{setting} must be a number, FROM:TO, FROM:TO:cosine, FROM:TO:learned, or EPOCH=VALUE,EPOCH=VALUE,... with "
            "rising epochs from 1; got '{text}'.",
            setting=setting,
            text=text,
        )
    if parsed.shape == LEARNED and setting != "temperature":
        raise SettingError("{setting} cannot be learned; only the temperature can.", setting=setting)
    if parsed.shape == LEARNED and not parsed.values[0] < parsed.values[1]:
        raise SettingError("A learned temperature needs LOW:HIGH:learned with rising values; got '{text}'.", text=text)
    return parsed


def _parse(text: str) -> Schedule | None:
    if "=" in text:
        starts, values = zip(*(part.split("=") for part in text.split(",")), strict=True)
        epochs = tuple(int(start) for start in starts)
        rising = epochs[0] == 1 and all(a < b for a, b in pairwise(epochs))
        return Schedule(tuple(float(value) for value in values), epochs) if rising else None
    if ":" in text:
        first, last, *shape = text.split(":")
        if len(shape) > 1 or not {*shape} <= {*SHAPES} - {"linear"}:
            return None
        return Schedule((float(first), float(last)), shape=shape[0] if shape else "linear")
    return Schedule((float(text),), (1,))
