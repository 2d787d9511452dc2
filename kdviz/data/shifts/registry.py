"""The shifts of pictures by name. Names can be read without torch.

A shift is a file of :mod:`kdviz.data.shifts.kinds`, or of a plugin, and is registered by a decorator. As in ImageNet-C
(Hendrycks and Dietterich, 2019) and MNIST-C (Mu and Gilmer, 2019), it keeps what a picture shows and has severities
from 1 to 5. Lengths are shares of a picture's shorter side, so that digits and photographs of any size shift alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdviz.core.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SEVERITIES = (1, 2, 3, 4, 5)
"""How much a picture is changed, the least first."""

Change = Callable[["Tensor", int, "np.random.Generator"], "Tensor"]
"""(picture, uint8 (1 or 3, H, W) on the CPU; severity; source of chance) -> the shifted picture, likewise."""


@dataclass(frozen=True)
class Shift:
    """One way to shift a picture.

    Attributes:
        change: Shifts one picture.
    """

    change: Change

    @property
    def description(self) -> str:
        """The first line of its documentation."""
        return (self.change.__doc__ or "").partition("\n")[0]


shifts: Registry[Shift] = Registry("shift", "kdviz.data.shifts.kinds", one_per_file=True, listed="shifts")
"""The shifts of pictures."""


def register_shift(name: str) -> Callable[[Change], Change]:
    """Register a shift, as a decorator of the function that changes a picture.

    The function takes a picture, uint8 (1 or 3, H, W) on the CPU, a severity from 1 to 5 and the only source of chance
    that it may use, and returns a changed copy of the same shape and type. It draws the same whatever the severity is:
    a picture is then turned to the same side at each.
    """

    def register(change: Change) -> Change:
        shifts.add(name, Shift(change))
        return change

    return register
