"""A temperature that is trained against the student, more from epoch to epoch (Li et al., 2023)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.distill.schedules import LEARNED_START, Schedule

RISE = 10
"""Epochs after which the temperature is trained with its full gradient, in the paper and here."""


def reversal(epoch: int) -> float:
    """(1 - cos(pi * min(epoch, 10) / 10)) / 2, from 0 to 1: how much the temperature works against the student.

    The curriculum from easy to hard of CTKD (Li et al., 2023, eq. 8, with the values of the authors' script).

    >>> [round(reversal(epoch), 3) for epoch in (1, 5, 10, 40)]
    [0.024, 0.5, 1.0, 1.0]
    """
    return (1 - math.cos(math.pi * min(epoch, RISE) / RISE)) / 2


def temperature_of(weight: Tensor, low: float, high: float) -> Tensor:
    """Low + (high - low) * sigmoid(weight), (): between both ends.

    Li et al. (2023), section 3.3, with low 1 and high 21 in their script: the temperature of all samples (Global-T).

    Args:
        weight: Its only trained number, ().
        low, high: Ends of the range, > 0.
    """
    return low + (high - low) * weight.sigmoid()


def reversed_gradient(values: Tensor, strength: float) -> Tensor:
    """The values themselves, whose gradient is multiplied by -strength (Ganin & Lempitsky, 2015, section 3.2).

    Args:
        values: (...).
        strength: >= 0.
    """
    return _Reversed.apply(values, strength)


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return -context.strength * gradient, None


class LearnedTemperature(nn.Module):
    """The temperature of CTKD (Li et al., 2023): trained along with the student to make its loss larger.

    The student minimises its loss over its weights while the temperature maximises it, by a reversed gradient whose
    strength :func:`reversal` gives. It is saved and resumed with the training, and thrown away at its end.

    Args:
        schedule: Its range, as ``1:21:learned`` says.
    """

    def __init__(self, schedule: Schedule):
        super().__init__()
        self._low, self._high = schedule.values
        self.weight = nn.Parameter(torch.tensor(LEARNED_START))

    def forward(self, epoch: int) -> Tensor:
        """The temperature in ``epoch``, from 1, (), for the loss."""
        return temperature_of(reversed_gradient(self.weight, reversal(epoch)), self._low, self._high)

    @property
    def value(self) -> float:
        """The temperature as it is now."""
        return float(temperature_of(self.weight.detach(), self._low, self._high))
