"""Pictures of drawn lines, which no data set is needed for."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from kdviz.distill.training import TrainingProgress
from kdviz.distill.transfer_sets.registry import TransferTask, register_transfer_set

_LINES = 4  # of a picture, at most
_POINTS = 24  # by which a line is drawn
_ENDS = 0.15, 0.85  # where a line's control points lie, in sides of the picture
_WIDTHS = 0.02, 0.07  # half a line's width, in sides
_SOFT = 0.02  # over how much a line's edge fades, in sides
_PLAIN = 0.5  # share of the pictures that are white on black, or black on white one time in four
_NUMBERS = 30_000_000  # distances that are computed at once


@register_transfer_set("strokes")
def strokes(task: TransferTask) -> Generator[TrainingProgress, None, Tensor]:
    """One to four curved lines of random form, width and colour on a plain ground: for writing and drawings.

    A picture is made by a formula alone, as those of Kataoka et al. (2020) and Baradad et al. (2021), who learn
    features from such pictures. Each line is a cubic Bézier curve.
    """
    random = torch.Generator().manual_seed(task.seed)
    at_once = max(1, _NUMBERS // (_LINES * _POINTS * task.spec.size[0] * task.spec.size[1]))
    parts = []
    for start in range(0, task.count, at_once):
        count = min(at_once, task.count - start)
        parts.append(_coloured(_ink(count, task.spec.size, random), task.spec.channels, random))
        yield TrainingProgress(1, 1, start + count, task.count)
    return torch.cat(parts)


def _ink(count: int, size: tuple[int, int], random: torch.Generator) -> Tensor:
    """How much ink is at each pixel, in [0, 1], (count, H, W)."""
    low, high = _ENDS
    controls = low + (high - low) * torch.rand(count, _LINES, 4, 2, generator=random)
    points = _curve(controls)  # (count, lines, points, 2)
    rows, columns = ((torch.arange(side) + 0.5) / side for side in size)
    down = (points[..., 0, None] - rows).square()  # (count, lines, points, H)
    across = (points[..., 1, None] - columns).square()
    distance = (down[..., :, None] + across[..., None, :]).amin(2).sqrt()  # (count, lines, H, W)
    width = _WIDTHS[0] + (_WIDTHS[1] - _WIDTHS[0]) * torch.rand(count, 1, 1, 1, generator=random)
    lines = ((width - distance) / _SOFT + 0.5).clamp(0, 1)
    number = torch.randint(1, _LINES + 1, (count, 1, 1, 1), generator=random)
    return (lines * (torch.arange(_LINES).view(1, -1, 1, 1) < number)).amax(1)


def _curve(controls: Tensor) -> Tensor:
    """Points of cubic Bézier curves: control points (..., 4, 2) -> (..., points, 2)."""
    at = torch.linspace(0, 1, _POINTS)
    weights = torch.stack([(1 - at) ** 3, 3 * at * (1 - at) ** 2, 3 * at**2 * (1 - at), at**3], 1)
    return weights @ controls


def _coloured(ink: Tensor, channels: int, random: torch.Generator) -> Tensor:
    """Ink and ground in colours, uint8 (count, C, H, W)."""
    count = len(ink)
    ground, colour = torch.rand(2, count, channels, 1, 1, generator=random)
    is_plain = (torch.rand(count, 1, 1, 1, generator=random) < _PLAIN).expand_as(ground)
    is_dark = (torch.rand(count, 1, 1, 1, generator=random) < 0.75).float().expand_as(ground)
    ground, colour = torch.where(is_plain, 1 - is_dark, ground), torch.where(is_plain, is_dark, colour)
    pictures = ground + (colour - ground) * ink[:, None]
    return (pictures * 255).round().to(torch.uint8)
