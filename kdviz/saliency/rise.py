"""RISE: Randomized Input Sampling for Explanation (Petsiuk, Das & Saenko, 2018, arXiv:1806.07421).

The model is a black box: a callable from a batch of images to scores. Masked images go through it, and
a pixel matters when keeping it goes together with a higher score. One pass serves every class, and
the same masks serve every model that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from torch import Tensor
from tqdm import tqdm

from kdviz.errors import ModelError, SettingError, TargetError
from kdviz.saliency.estimators import MINIMUM_MASKS, Estimate, estimate, estimators
from kdviz.saliency.masks import RandomMasks

Forward = Callable[..., Tensor]
Target = int | tuple[int, ...] | Tensor | Sequence[int] | Sequence[tuple[int, ...]] | None

_FIRST_CHUNK = 64
_CPU_ELEMENTS = 128 * 784  # inputs' elements in a CPU chunk: larger ones pay for memory allocation
_GPU_ELEMENTS = 64_000_000


@dataclass(frozen=True)
class RISEState:
    """What is known after ``n_masks`` of ``total`` masks, for one model. Maps are computed when asked for.

    Attributes:
        n_masks, total: Masks done, and masks asked for.
        scores: (N, n_masks, ...): the model's output for each image under each mask.
    """

    n_masks: int
    total: int
    scores: Tensor
    masks: RandomMasks
    estimator: str
    target: Target = None

    def estimate(self, target: Target = None) -> list[Estimate]:
        """For each of the N images, the maps of its target: an :class:`Estimate` with one target.

        Args:
            target: As in :meth:`RISE.attribute`; default the one given there.
        """
        chosen = _select(self.scores, self.target if target is None else target)
        return [estimate(self.masks, row.unsqueeze(0), self.estimator) for row in chosen]

    @property
    def map(self) -> Tensor:
        """Saliency so far, float32 (N, 1, H, W)."""
        return torch.stack([item.map for item in self.estimate()])

    @property
    def standard_error(self) -> Tensor:
        """Standard error of :attr:`map`, float32 (N, 1, H, W)."""
        return torch.stack([item.standard_error for item in self.estimate()])

    @property
    def halves(self) -> Tensor:
        """Maps from two independent halves of the masks, float32 (2, N, 1, H, W)."""
        return torch.stack([item.halves for item in self.estimate()], dim=1)


class RISE(PerturbationAttribution):
    """Saliency of a black-box model by random masks, as a Captum attribution method.

    Like every Captum method it explains what ``forward_func`` returns. For the published method, which
    explains probabilities, give ``activation="softmax"`` when the model returns logits.

    Args:
        forward_func: (N, C, H, W), and ``additional_forward_args``, to scores (N, ...) or (N,).
        activation: ``None``, ``"softmax"`` over dimension 1, ``"sigmoid"``, or a callable on the scores.
    """

    def __init__(self, forward_func: Forward, activation: str | Callable[[Tensor], Tensor] | None = None):
        super().__init__(forward_func)
        self._score = _with_activation(forward_func, activation)

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor],
        baselines: float | Tensor | tuple[float | Tensor] | None = None,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        n_masks: int = 4000,
        grid: int | tuple[int, int] = 7,
        probability: float = 0.5,
        seed: int = 0,
        sampler: str = "auto",
        estimator: str = "ridge",
        chunk_size: int | None = None,
        show_progress: bool = False,
    ) -> Tensor | tuple[Tensor]:
        """Saliency maps of a batch of images, float32 (N, 1, H, W).

        Args:
            inputs: (N, C, H, W), as the model takes them. A tuple of one gives a tuple of one: Captum's metrics do so.
            baselines: What a removed pixel becomes, in the inputs' own units: a number or a tensor that
                broadcasts to ``inputs``. Default 0, as everywhere in Captum.
            target: The class explained, as in Captum: an int or a tuple for all images, or one for each;
                None for a model with one output per image.
            additional_forward_args: Further arguments of the model; tensors of N rows go with their image.
            n_masks: At least 4.
            grid: Cells a side, or (rows, columns).
            probability: That a cell is kept.
            seed: The same seed gives the same masks for every image and model.
            sampler: ``auto`` (the best for the probability), ``hadamard``, ``sobol``, or ``iid`` as published.
            estimator: ``ridge`` (default) and ``centred``, change of score when a pixel is kept, or ``rise``, as
                published; see :mod:`kdviz.saliency.estimators`.
            chunk_size: Masked images in a forward pass; changes time and memory, not the map.
            show_progress: A bar on stderr.

        Raises:
            TargetError: The target does not fit the model's output.
            SettingError: A setting is outside its range.
            ModelError: The model fails, or returns NaN, infinity or a wrong shape.
        """
        states = self.stream(
            inputs,
            baselines,
            target,
            additional_forward_args,
            n_masks=n_masks,
            grid=grid,
            probability=probability,
            seed=seed,
            sampler=sampler,
            estimator=estimator,
            chunk_size=chunk_size,
        )
        state = None
        with tqdm(total=n_masks, desc="RISE", disable=not show_progress) as bar:
            for state in states:
                bar.update(state.n_masks - bar.n)
        assert state is not None  # stream() yields at least once
        return (state.map,) if isinstance(inputs, tuple) else state.map

    def stream(
        self,
        inputs: Tensor | tuple[Tensor],
        baselines: float | Tensor | tuple[float | Tensor] | None = None,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        n_masks: int = 4000,
        grid: int | tuple[int, int] = 7,
        probability: float = 0.5,
        seed: int = 0,
        sampler: str = "auto",
        estimator: str = "ridge",
        chunk_size: int | None = None,
    ) -> Iterator[RISEState]:
        """The same, as it comes: one :class:`RISEState` after each chunk. Stop by not asking for the next."""
        images, base = _only(inputs), _only(baselines)
        _check_images(images)
        masks = _masks(images, grid, probability, seed, sampler).suited(n_masks)
        forwards = {"model": self._score}
        arguments = _as_tuple(additional_forward_args)
        for states in stream_scores(forwards, images, base, masks, n_masks, estimator, chunk_size, arguments):
            state = states["model"]
            if state.n_masks < MINIMUM_MASKS:
                continue
            _select(state.scores[:, :1], target)  # a wrong target fails on the first chunk
            yield RISEState(state.n_masks, state.total, state.scores, masks, estimator, target)


def stream_scores(
    forwards: Mapping[str, Forward],
    inputs: Tensor,
    baselines: float | Tensor | None,
    masks: RandomMasks,
    n_masks: int,
    estimator: str = "ridge",
    chunk_size: int | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[dict[str, RISEState]]:
    """Scores of several models under the same masks: one dict of states after each chunk.

    Masks and masked images are made once for all models. A chunk that does not fit the device's memory
    is halved and tried again.

    Args:
        forwards: Name to callable from (n, C, H, W) to scores (n, ...).
        inputs: (N, C, H, W).
        baselines: See :meth:`RISE.attribute`.
        masks: The series of masks, of the inputs' size.
        n_masks: At least 4.
        estimator: A name in ``estimators``.
        chunk_size: Masked images in a forward pass; None for a size that is fast on the device.
        arguments: Further arguments of the callables.

    Raises:
        SettingError, ModelError: See :meth:`RISE.attribute`.
    """
    _check_images(inputs)
    _check_settings(n_masks, estimator, chunk_size)
    base = _baseline(inputs, baselines)
    size = chunk_size or _chunk_size(inputs)
    scores: dict[str, Tensor] = {}
    done = 0
    while done < n_masks:
        # The first chunk is small so that a first picture is there at once.
        length = min(size if chunk_size or done else min(size, _FIRST_CHUNK), n_masks - done)
        try:
            part = _chunk(forwards, inputs, base, masks.render(done, done + length, inputs.device), arguments)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise ModelError("The device's memory is too small for one masked image.") from error
            size, chunk_size = max(1, size // 2), max(1, size // 2)
            continue
        for name, values in part.items():
            _store(scores, name, values, done, n_masks)
        done += length
        yield {name: RISEState(done, n_masks, kept[:, :done], masks, estimator) for name, kept in scores.items()}


@torch.inference_mode()
def _chunk(
    forwards: Mapping[str, Forward], inputs: Tensor, base: Tensor, rendered: Tensor, arguments: tuple[Any, ...]
) -> dict[str, Tensor]:
    """Name -> (N, chunk, ...): each model's output for each image under each mask."""
    parts: dict[str, list[Tensor]] = {name: [] for name in forwards}
    for number in range(len(inputs)):
        image = inputs[number : number + 1]
        masked = base[number : number + 1] + rendered * (image - base[number : number + 1])  # (chunk, C, H, W)
        rows = [_rows(argument, number, len(inputs), len(masked)) for argument in arguments]
        for name, forward in forwards.items():
            parts[name].append(_forward(name, forward, masked, rows))
    return {name: torch.stack(outputs) for name, outputs in parts.items()}


def _forward(name: str, forward: Forward, masked: Tensor, rows: list[Any]) -> Tensor:
    try:
        output = forward(masked, *rows)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"The model '{name}' failed on a batch of shape {tuple(masked.shape)}: {first_line}"
        ) from error
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != len(masked):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(f"The model '{name}' must return a tensor with {len(masked)} rows, got {shape}.")
    if not torch.isfinite(output).all():
        raise ModelError(f"The model '{name}' returned NaN or infinite scores; it cannot be explained.")
    return output.float()


def _store(scores: dict[str, Tensor], name: str, values: Tensor, done: int, total: int) -> None:
    if name not in scores:
        scores[name] = values.new_empty(len(values), total, *values.shape[2:])
    if scores[name].shape[2:] != values.shape[2:]:
        raise ModelError(
            f"The model '{name}' changed its output's shape from {tuple(scores[name].shape[2:])} "
            f"to {tuple(values.shape[2:])}."
        )
    scores[name][:, done : done + values.shape[1]] = values


def _only(value: Any) -> Any:
    """The one element of a tuple; anything else as it is."""
    if not isinstance(value, tuple):
        return value
    if len(value) != 1:
        raise SettingError(f"RISE takes one tensor of images, got a tuple of {len(value)}.")
    return value[0]


def _check_images(inputs: Tensor) -> None:
    if not isinstance(inputs, Tensor):
        raise SettingError(f"RISE takes a tensor of images, got {type(inputs).__name__}.")
    if inputs.ndim != 4 or not len(inputs) or not inputs.is_floating_point():
        raise SettingError(
            f"RISE takes float images of shape (N, C, H, W), got {inputs.dtype} of shape {tuple(inputs.shape)}."
        )
    if not torch.isfinite(inputs).all():
        raise SettingError("The image has NaN or infinite values.")


def _check_settings(n_masks: int, estimator: str, chunk_size: int | None) -> None:
    if n_masks < MINIMUM_MASKS:
        raise SettingError(f"RISE needs at least {MINIMUM_MASKS} masks, got {n_masks}.")
    if chunk_size is not None and chunk_size < 1:
        raise SettingError(f"chunk_size must be at least 1, got {chunk_size}.")
    _ = estimators[estimator]


def _chunk_size(inputs: Tensor) -> int:
    elements = inputs[0].numel()
    budget = _CPU_ELEMENTS if inputs.device.type == "cpu" else _GPU_ELEMENTS
    return max(8, min(1024, budget // elements))


def _masks(inputs: Tensor, grid: int | tuple[int, int], probability: float, seed: int, sampler: str) -> RandomMasks:
    cells = (grid, grid) if isinstance(grid, int) else tuple(grid)
    size = (inputs.shape[-2], inputs.shape[-1])
    return RandomMasks(size, cells, probability, seed, sampler)  # type: ignore[arg-type]


def _baseline(inputs: Tensor, baselines: float | Tensor | None) -> Tensor:
    value = torch.as_tensor(0.0 if baselines is None else baselines, dtype=inputs.dtype, device=inputs.device)
    try:
        return value.expand_as(inputs)
    except RuntimeError as error:
        raise SettingError(
            f"A baseline of shape {tuple(value.shape)} does not fit images of shape {tuple(inputs.shape)}."
        ) from error


def _rows(argument: Any, number: int, images: int, count: int) -> Any:
    """Captum's rule: a tensor with a row for each image is expanded to the batch, anything else is passed on."""
    if not isinstance(argument, Tensor) or argument.ndim == 0 or len(argument) != images:
        return argument
    return argument[number : number + 1].expand(count, *argument.shape[1:])


def _as_tuple(arguments: Any) -> tuple[Any, ...]:
    if arguments is None:
        return ()
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _with_activation(forward: Forward, activation: str | Callable[[Tensor], Tensor] | None) -> Forward:
    if activation is None:
        return forward
    if activation == "softmax":
        return lambda *arguments: forward(*arguments).float().softmax(1)
    if activation == "sigmoid":
        return lambda *arguments: forward(*arguments).float().sigmoid()
    if callable(activation):
        return lambda *arguments: activation(forward(*arguments))
    raise SettingError(f"activation must be None, 'softmax', 'sigmoid' or a callable, got '{activation}'.")


def _select(scores: Tensor, target: Target) -> Tensor:
    """Scores (N, n, ...) -> those of each image's target, (N, n)."""
    shape = tuple(scores.shape[2:])
    images = len(scores)
    if target is None:
        if scores[0, 0].numel() != 1:
            raise TargetError(f"The model returns {shape} scores an image; say which one with target.")
        return scores.flatten(1)
    places = _places(target, images)
    for place in places:
        if len(place) != len(shape) or any(not -side <= one < side for one, side in zip(place, shape, strict=True)):
            shown = place[0] if len(place) == 1 else place
            wanted = f"a number from 0 to {shape[0] - 1}" if len(shape) == 1 else f"a place in {shape}"
            raise TargetError(f"The target {shown} does not exist; this model's output needs {wanted}.")
    return torch.stack([scores[(image, slice(None), *place)] for image, place in enumerate(places)])


def _places(target: Any, images: int) -> list[tuple[int, ...]]:
    if hasattr(target, "tolist"):  # a tensor, or NumPy's number or array
        target = target.tolist()
    targets = target if isinstance(target, list) else [target]
    if len(targets) == 1:
        targets = targets * images
    if len(targets) != images:
        raise TargetError(f"{len(targets)} targets do not fit {images} images.")
    places = [tuple(one) if isinstance(one, (list, tuple)) else (one,) for one in targets]
    if not all(isinstance(number, Integral) for place in places for number in place):
        raise TargetError(f"A target is a whole number, or a tuple of them, got {target!r}.")
    return places
