"""The augmentations by name. Names can be read without torch.

An augmentation is a file of :mod:`kdviz.distill.augment.changes`, or of a plugin, and is registered by a decorator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdviz.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """One way to change a batch, drawn from torch's global generator on the CPU.

    Attributes:
        function: For images: uint8 (n, C, H, W) -> the same, changed. For a mix: the network's input (n, C, H, W) ->
            the mixed input, each sample's weight in its own mix in [0, 1] (n,), and the index of its partner (n,).
        mixes: Whether it mixes pairs.
    """

    function: Callable[[Tensor], Any]
    mixes: bool

    @property
    def description(self) -> str:
        """The first line of its documentation."""
        return (self.function.__doc__ or "").partition("\n")[0]


augmentations: Registry[Augmentation] = Registry(
    "augmentation", "kdviz.distill.augment.changes", one_per_file=True, listed="augmentations"
)
"""The augmentations of training images."""


def register_augmentation(
    name: str, *, mixes: bool = False
) -> Callable[[Callable[[Tensor], Any]], Callable[[Tensor], Any]]:
    """Register an augmentation, as a decorator of a function that changes a batch.

    The function draws from torch's global generator on the CPU, and the first line of its docstring describes it in
    lists. It takes images, uint8 (n, 1 or 3, H, W) on any device, and gives changed copies of the same shape, type and
    device. A mix takes the network's input, float (n, C, H, W), and gives the mixed input, each sample's weight in its
    own mix in [0, 1], (n,), and the index of its partner, int64 (n,). Labels are mixed in the same way.

    Args:
        name: Name of the augmentation.
        mixes: Whether it mixes pairs.
    """

    def register(function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        augmentations.add(name, Augmentation(function, mixes))
        return function

    return register
