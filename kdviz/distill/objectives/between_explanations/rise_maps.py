"""Where RISE says that a network looks, from a few masks a step."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.distill.objectives.explained import Explained
from kdviz.distill.objectives.registry import register_explanation_loss
from kdviz.distill.objectives.shapes import at_least_float32
from kdviz.rise.masks import RandomMasks

_DRAWS = 4096  # different masks; a sample's changes from epoch to epoch


def explain(explained: Explained, *, cells: float = 7.0, every: float = 6.0) -> Tensor:
    """How much the target's probability under a mask is above that under its complement, (n,).

    For bits b in {0, 1} of probability .5 and the score s(b) with the cells of bit 0 replaced by the baseline it is
    D(b) = s(b) - s(1 - b), where the mean score and all else that both masks share cancels. A RISE map is a sum of its
    grid's cells with the coefficients c_j = Cov(b_j, s) / Var(b_j) = E[(2 b_j - 1) D(b)]: they are linear in D.
    """
    masks = _masks(explained, int(cells))
    pictures = _masked(explained.inputs, masks, explained.baseline)
    probabilities = at_least_float32(explained.network(pictures)).softmax(1)
    scores = probabilities.gather(1, explained.target.repeat_interleave(2)[:, None]).view(-1, 2)
    return scores[:, 0] - scores[:, 1]


def check(*, cells: float, every: float) -> None:
    """Raise where an option is no whole number from 1."""
    for name, value in (("cells", cells), ("every", every)):
        if value < 1 or value != int(value):
            raise SettingError("{name} must be a whole number from 1, got {value:g}.", name=name, value=value)


@register_explanation_loss("rise_maps", explain, every_option="every", check=check, methods=("rise",))
def rise_maps_loss(student_explanation: Tensor, teacher_explanation: Tensor) -> Tensor:
    """(D_s - D_t)^2, D the score under a mask less that under its complement: bounds the distance of two RISE maps.

    By Parseval's identity for the 2^cells^2 masks, the mean of (D_s - D_t)^2 over all masks is
    ||c_s - c_t||^2 + the same of all combinations of 3, 5... cells, where c are the coefficients of the RISE maps of
    the teacher's class: equal for scores that add up over cells, and 0 only if the maps are equal. One mask of each
    sample estimates it without bias, and its gradient; the mean is over samples. From 0 to 4, lower is better.

    The first term alone can be estimated without bias, too, by the product of two masks' differences, but then its
    gradient has a random sign and ``cells`` times the size, and trainings with Adam came to nothing.

    In each epoch one sample in ``every`` is explained, with one mask of ``cells`` x ``cells`` and its complement, so
    that a step of the student costs about 1 + 2 / ``every`` of one without. The teacher's answers to the masked
    pictures are computed once where the pictures do not change from epoch to epoch.

    Args:
        student_explanation, teacher_explanation: (n,), of the same masks.
    """
    return (student_explanation - teacher_explanation).square().mean()


def _masks(explained: Explained, cells: int) -> Tensor:
    """A mask for each sample and its complement, (n, 2, H, W)."""
    inputs, draws = explained.inputs, (explained.draws % _DRAWS).cpu()
    grid = _grid((inputs.shape[2], inputs.shape[3]), cells)
    bits, shifts = _bits_and_shifts(grid)
    rows, columns = (matrix[shifts[draws, axis]] for axis, matrix in enumerate(grid.upsampling))
    kept = rows @ bits[draws] @ columns.mT
    return torch.stack([kept, 1 - kept], 1).to(inputs.device)  # the cells' shares of a pixel sum to 1


def _masked(inputs: Tensor, masks: Tensor, baseline: Tensor) -> Tensor:
    """The pictures under their masks, (n * masks, C, H, W); normalisation is affine, so that it may come first."""
    kept = masks[:, :, None].to(inputs.dtype)
    baseline = baseline.to(inputs.dtype)
    return (baseline + kept * (inputs.detach() - baseline)[:, None]).flatten(0, 1)


@lru_cache(maxsize=4)
def _grid(size: tuple[int, int], cells: int) -> RandomMasks:
    return RandomMasks(size, (min(cells, size[0]), min(cells, size[1])), sampler="iid")


@lru_cache(maxsize=4)
def _bits_and_shifts(grid: RandomMasks) -> tuple[Tensor, Tensor]:
    """Bits, float32 (draws, rows, columns), and shifts, int64 (draws, 2)."""
    return grid.draw(0, _DRAWS)
