"""The kinds of shortcuts by name. Names can be read without torch.

A kind is a file of :mod:`kdviz.data.shortcuts.kinds`, or of a plugin, and is registered by a decorator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdviz.core.registry import Registry

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Mark:
    """What is drawn over a picture.

    Attributes:
        values: uint8 (C, H, W), the mark's colour; any value where it is not.
        opacity: float (H, W) in [0, 1], how much of the picture it hides; 0 where it is not.
    """

    values: np.ndarray
    opacity: np.ndarray


Draw = Callable[[int, int, tuple[int, int, int]], Mark]
"""(class, number of classes, (channels, height, width)) -> the mark that says this class."""


@dataclass(frozen=True)
class Shortcut:
    """A kind of shortcut.

    Attributes:
        draw: Draws the mark of a class.
    """

    draw: Draw

    @property
    def description(self) -> str:
        """The first line of its documentation."""
        return (self.draw.__doc__ or "").partition("\n")[0]


shortcuts: Registry[Shortcut] = Registry(
    "shortcut", "kdviz.data.shortcuts.kinds", one_per_file=True, listed="shortcuts"
)
"""The shortcuts that can be planted."""


def register_shortcut(name: str) -> Callable[[Draw], Draw]:
    """Register a shortcut, as a decorator of the function that draws its marks."""

    def register(draw: Draw) -> Draw:
        shortcuts.add(name, Shortcut(draw))
        return draw

    return register
