"""Faithfulness of a saliency map to its model: insertion and deletion (Petsiuk et al., 2018, section 4.1).

Deletion removes the pixels of a picture, the most salient first: with a good map the probability falls early. Insertion
puts them back on the baseline: it rises early. Neither needs to know what is in the picture. The baseline is part of
the question; and a map that has never seen the model can do well too, so compare with :func:`trivial_map`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import ModelError, SettingError, TargetError

Forward = Callable[[Tensor], Tensor]

_MOST_STEPS = 224  # one row of an ImageNet picture per step, as published
_CPU_ELEMENTS = 128 * 784  # inputs' elements in a batch: larger ones lose time to memory allocation
_GPU_ELEMENTS = 16_000_000
_ROUNDING = 1e-3  # tolerance for probabilities outside [0, 1]: half precision


@dataclass(frozen=True, eq=False)
class Curve:
    """Probability of the class as a function of the share of changed pixels.

    Attributes:
        fraction: Share of changed pixels, float64 (steps + 1,), from 0 to 1.
        probability: Probability of the class, float64 (steps + 1,).
        better: Whether a faithful map has a ``lower`` or a ``higher`` :attr:`auc`.
    """

    fraction: np.ndarray = field(repr=False)
    probability: np.ndarray = field(repr=False)
    better: Literal["lower", "higher"]

    @property
    def auc(self) -> float:
        """Area under the curve by trapezoids, in [0, 1]: the mean probability along the curve."""
        return float(np.trapezoid(self.probability, self.fraction))

    def to_json(self) -> dict[str, Any]:
        return {
            "auc": self.auc,
            "better": self.better,
            "fraction": self.fraction.tolist(),
            "probability": self.probability.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Curves of the class's probability when pixels are changed in the map's order.

    Attributes:
        deletion: Pixels removed, the most salient first; a lower AUC is better.
        insertion: Pixels put on the baseline, the most salient first; a higher AUC is better.
    """

    deletion: Curve
    insertion: Curve

    def to_json(self) -> dict[str, Any]:
        return {"deletion": self.deletion.to_json(), "insertion": self.insertion.to_json()}

    def __str__(self) -> str:
        return f"deletion {self.deletion.auc:.3f} (lower is better), insertion {self.insertion.auc:.3f} (higher)"


def faithfulness(
    forward: Forward,
    inputs: Tensor,
    saliency: Any,
    target: int | None,
    baseline: float | Tensor,
    *,
    steps: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Faithfulness:
    """Insertion and deletion curves of one saliency map.

    Pixels of equal saliency come in a random order, so that a map does not profit from the position of its
    ties: a constant map is a random order.

    Args:
        forward: (n, C, H, W) to probabilities (n, classes), or (n,) for the class alone.
        inputs: (1, C, H, W), as the model takes it; everything runs on its device, without gradients.
        saliency: (H, W): anything that converts to an array, a tensor, or a ``SaliencyMap``.
        target: Index of the class; None when ``forward`` returns (n,).
        baseline: What a removed pixel becomes, in the inputs' units: a number, or a tensor that broadcasts to them.
        steps: Number of steps, of (nearly) equally many pixels; by default 224, or
            one per pixel where there are fewer.
        batch_size: Pictures in a forward pass, which bounds the memory; changes no value.
        seed: Seed of the order of equal pixels.

    Raises:
        SettingError: Map, picture and baseline do not fit together, the map has NaN, or a number is out of range.
        TargetError: The model has no such class.
        ModelError: The model does not return probabilities.
    """
    maps = {"map": saliency}
    options = {"steps": steps, "batch_size": batch_size, "seed": seed}
    return faithfulness_of_maps(forward, inputs, maps, target, baseline, **options)["map"]


@torch.inference_mode()
def faithfulness_of_maps(
    forward: Forward,
    inputs: Tensor,
    maps: Mapping[str, Any],
    target: int | None,
    baseline: float | Tensor,
    *,
    steps: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> dict[str, Faithfulness]:
    """Insertion and deletion curves of several maps of one picture and one model: name -> map in, name -> curves out.

    The same as :func:`faithfulness` for each map, in fuller batches.
    """
    if not maps:
        return {}
    _check_inputs(inputs)
    base = _expanded(baseline, inputs)
    size, pixels = (inputs.shape[2], inputs.shape[3]), inputs[0, 0].numel()
    ranks = torch.from_numpy(
        np.stack([_ranks(_as_map(values, size), seed) for values in maps.values()])
    )  # (maps, pixels)
    counts = _counts(pixels, steps)
    batch_size = _batch_size(inputs) if batch_size is None else batch_size
    if batch_size < 1:
        raise SettingError("The batch size is {batch_size}; it must be at least 1.", batch_size=batch_size)
    jobs = _jobs(len(maps), counts)
    probabilities = [
        _probability(forward, _pictures(inputs, base, ranks, batch), target)
        for batch in jobs.split(batch_size)  # each (n, 3)
    ]
    curves = torch.cat(probabilities).view(len(maps), 2, len(counts)).numpy()
    fraction = counts / pixels
    return {
        name: Faithfulness(Curve(fraction, deletion, "lower"), Curve(fraction, insertion, "higher"))
        for name, (deletion, insertion) in zip(maps, curves, strict=True)
    }


def trivial_map(inputs: Tensor) -> np.ndarray:
    """A map that ignores the model: the blurred picture, float32 (H, W). A useful method is more faithful.

    Each pixel's distance from the picture's median colour (its background, black on MNIST), the mean over channels,
    blurred by a Gaussian whose sigma is 1/14 of the shorter side, half of a cell of RISE's 7 x 7 grid.

    Args:
        inputs: (1, C, H, W), in any units.
    """
    from torchvision.transforms.v2.functional import gaussian_blur

    _check_inputs(inputs)
    shorter = min(inputs.shape[2:])
    background = inputs.flatten(2).median(2).values[..., None, None]
    distance = (inputs - background).abs().mean(1, keepdim=True)  # (1, 1, H, W)
    reach = min(math.ceil(3 * shorter / 14), shorter - 1)
    return gaussian_blur(distance, [2 * reach + 1] * 2, [shorter / 14] * 2)[0, 0].float().cpu().numpy()


# settings -------------------------------------------------------------------------------------------------------------


def _check_inputs(inputs: Tensor) -> None:
    if inputs.ndim != 4 or len(inputs) != 1 or not inputs.numel():
        raise SettingError(
            "Faithfulness takes one picture of shape (1, C, H, W), got {shape}.", shape=tuple(inputs.shape)
        )


def _expanded(baseline: float | Tensor, inputs: Tensor) -> Tensor:
    """The baseline as a picture, (1, C, H, W)."""
    base = torch.as_tensor(baseline, dtype=inputs.dtype, device=inputs.device)
    try:
        return base.expand_as(inputs)
    except RuntimeError as error:
        raise SettingError(
            "A baseline of shape {baseline} does not fit a picture of shape {picture}.",
            baseline=tuple(base.shape),
            picture=tuple(inputs.shape),
        ) from error


def _as_map(saliency: Any, size: tuple[int, int]) -> np.ndarray:
    """The map as an array, float64 (H, W)."""
    values = saliency.detach().double().cpu().numpy() if isinstance(saliency, Tensor) else saliency
    values = np.asarray(values, dtype=np.float64)
    if values.shape != size:
        raise SettingError(
            "A saliency map of shape {shape} does not fit a picture of {size} pixels.", shape=values.shape, size=size
        )
    if np.isnan(values).any():
        raise SettingError("The saliency map has NaN, so its pixels have no order.")
    return values


def _ranks(values: np.ndarray, seed: int) -> np.ndarray:
    """Rank of each pixel in the order of change, int64 (pixels,): 0 is the most salient; ties in random order."""
    shuffled = np.random.default_rng(seed).permutation(values.size)
    order = shuffled[np.argsort(-values.ravel()[shuffled], kind="stable")]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(values.size)
    return ranks


def _counts(pixels: int, steps: int | None) -> np.ndarray:
    """Pixels changed after each step, int64 (steps + 1,), from 0 to all."""
    steps = min(pixels, _MOST_STEPS) if steps is None else steps
    if not 1 <= steps <= pixels:
        raise SettingError(
            "The number of steps is {steps}; it must be from 1 to {pixels}, the number of pixels.",
            steps=steps,
            pixels=pixels,
        )
    return np.arange(steps + 1) * pixels // steps


def _batch_size(inputs: Tensor) -> int:
    budget = _CPU_ELEMENTS if inputs.device.type == "cpu" else _GPU_ELEMENTS
    return max(8, min(1024, budget // inputs.numel()))


# the pictures ---------------------------------------------------------------------------------------------------------


def _jobs(maps: int, counts: np.ndarray) -> Tensor:
    """One row per picture, int64 (maps * 2 * counts, 3): map, 0 deletion or 1 insertion, pixels changed."""
    return torch.cartesian_prod(torch.arange(maps), torch.arange(2), torch.from_numpy(counts))


def _pictures(inputs: Tensor, base: Tensor, ranks: Tensor, jobs: Tensor) -> Tensor:
    """The changed pictures of a batch of jobs, (n, C, H, W)."""
    map_index, inserted, count = jobs.unbind(1)
    changed = ranks[map_index] < count[:, None]  # (n, pixels)
    original = changed == inserted[:, None].bool()
    original = original.view(-1, 1, *inputs.shape[2:]).to(inputs.device)
    return torch.where(original, inputs, base)


def _probability(forward: Forward, pictures: Tensor, target: int | None) -> Tensor:
    """Probability of the class, float64 (n,), on the CPU."""
    output = forward(pictures)
    if output.ndim not in (1, 2) or len(output) != len(pictures):
        raise ModelError(
            "The model returned shape {shape} for {n_pictures} pictures; expected probabilities, (n, classes) or (n,).",
            shape=tuple(output.shape),
            n_pictures=len(pictures),
        )
    probability = _select_class(output, target).double().cpu()
    if not ((probability >= -_ROUNDING) & (probability <= 1 + _ROUNDING)).all():
        raise ModelError("The model returned values outside 0 to 1; give probabilities, as softmax makes them.")
    return probability


def _select_class(output: Tensor, target: int | None) -> Tensor:
    if output.ndim == 1:
        if target is not None:
            raise TargetError(
                "The model returns one value a picture and no classes; leave out the target {target}.", target=target
            )
        return output
    if target is None or not 0 <= target < output.shape[1]:
        raise TargetError(
            "The class to explain is {target}; it must be from 0 to {shape}.", target=target, shape=output.shape[1] - 1
        )
    return output[:, target]
