"""One model run on masked images, in batches of the size that is fastest for it."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import ModelError
from kdviz.rise.engine import BatchSize, Forward, Prepared, as_given, prepare, seconds_now
from kdviz.rise.masked_batches import MaskedBatches
from kdviz.rise.states import Activation, ModelWithActivation

_CPU_ELEMENTS = 64 * 784  # of the inputs of the first CPU batch; larger batches are tried, and mostly slower
_MOST_ELEMENTS = {"cpu": 2_000_000, "cuda": 64_000_000}  # of the inputs of a batch, at most
_PROBE_MASKS = 7  # masked pictures on which a model is tried before use: a number that no chunk has


@dataclass(frozen=True)
class ModelRunner:
    """A model with its input format, batch size and activation.

    Attributes:
        name: Name of the model, for messages.
        prepared: The model or its faster copy.
        activation: Function applied to the output.
        arguments: Further arguments of the model.
        size: The batch size.
        expected: Scores of the first masked images, if they were computed before; see ``_check_reproducible``.
    """

    name: str
    prepared: Prepared
    activation: Activation | None
    arguments: tuple[Any, ...]
    size: BatchSize
    expected: Tensor | None = field(default=None, repr=False)

    @property
    def form(self) -> tuple[torch.dtype, bool]:
        """Data type and memory layout of the images that the model takes."""
        return self.prepared.dtype, self.prepared.channels_last

    def __call__(self, masked: Tensor, images: slice, image_count: int) -> Tensor:
        """Scores of one batch, float32 (images * masks, ...)."""
        rows = [_rows(argument, images, image_count, len(masked)) for argument in self.arguments]
        return _run(self.name, self.prepared.forward, self.activation, masked, rows)

    def in_batches(self, masked: Tensor, images: slice, image_count: int) -> Tensor:
        """Scores of any number of images, in batches; a batch that does not fit into memory is halved."""
        if self.arguments and images.stop - images.start > 1:
            return self(masked, images, image_count)  # rows of arguments are matched with images in the whole batch
        outputs, position = [], 0
        while position < len(masked):
            batch = masked[position : position + self.size.current]
            start = None if self.size.settled else seconds_now(masked.device)
            try:
                outputs.append(self(batch, images, image_count))
            except torch.OutOfMemoryError:
                self.size.halve()
                continue
            if start is not None:
                self.size.record(len(batch), seconds_now(masked.device) - start)
            position += len(batch)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def model_runner(
    name: str,
    model: ModelWithActivation | Forward,
    batches: MaskedBatches,
    precision: str,
    arguments: tuple[Any, ...],
    chunk_size: int | None,
) -> ModelRunner:
    """The runner of a model: of a faster copy where there is one that gives the same scores.

    Args:
        name: Name of the model, for messages.
        model: The model.
        batches: The masked images that it will see.
        precision: See :class:`kdviz.rise.settings.RISESettings`.
        arguments: Further arguments of the model.
        chunk_size: The batch size, where it is given.

    Raises:
        SettingError: No such precision.
        ModelError: The model is in training mode, or fails.
    """
    model = model if isinstance(model, ModelWithActivation) else ModelWithActivation(model)
    unprepared = replace(as_given(model.forward), dtype=batches.inputs.dtype)
    probes = batches.masked(unprepared, slice(0, 1), 0, _PROBE_MASKS)
    size = _batch_size(batches.inputs, model.forward, chunk_size)
    runner = ModelRunner(name, unprepared, model.activation, arguments, size)
    try:
        if not arguments and probes.dtype == torch.float32:
            prepared = prepare(model.forward, probes, precision)
            if prepared.forward is not model.forward:
                return replace(runner, prepared=prepared)
        # Not compared with a copy, so run twice: dropout or batch statistics that were left on would show.
        with torch.inference_mode():
            return replace(runner, expected=runner(probes, slice(0, 1), len(batches.inputs)))
    except torch.OutOfMemoryError:
        return runner


@torch.inference_mode()
def run_chunk(runners: Mapping[str, ModelRunner], batches: MaskedBatches, start: int, stop: int) -> dict[str, Tensor]:
    """Each model's output for each image under masks start to stop - 1.

    Returns:
        Name of the model to its scores, (N, stop - start, ...).

    Raises:
        ModelError: A model fails, or gives other scores for the same images in another batch.
        torch.OutOfMemoryError: Not even one image fits.
    """
    count = len(batches.inputs)
    batch_size = max(runner.size.limit for runner in runners.values())
    # On a GPU several images fill a batch; on a CPU one image's masks do.
    group = max(1, min(count, batch_size // (stop - start))) if batches.inputs.device.type != "cpu" else 1
    outputs_of: dict[str, list[Tensor]] = {name: [] for name in runners}
    for first in range(0, count, group):
        images = slice(first, min(first + group, count))
        masked: dict[tuple[torch.dtype, bool], Tensor] = {}
        for name, runner in runners.items():
            if runner.form not in masked:
                masked[runner.form] = batches.masked(runner.prepared, images, start, stop)
            output = runner.in_batches(masked[runner.form], images, count)
            outputs_of[name].append(output.unflatten(0, (images.stop - images.start, stop - start)))
    result = {name: outputs[0] if len(outputs) == 1 else torch.cat(outputs) for name, outputs in outputs_of.items()}
    if start == 0:
        _check_reproducible(runners, result)
    return result


def _check_reproducible(runners: Mapping[str, ModelRunner], scores: Mapping[str, Tensor]) -> None:
    for name, runner in runners.items():
        if runner.expected is None or not torch.isfinite(runner.expected).all():
            continue
        second = scores[name][0, :_PROBE_MASKS]
        first = runner.expected[: len(second)]
        if first.shape != second.shape or not torch.isfinite(second).all():
            continue
        error = (second - first).square().mean().sqrt()
        if error > 0.03 * (first - first.mean(0)).square().mean().sqrt() + 1e-4 * first.abs().max():
            raise ModelError(
                "The model '{name}' gave different scores for the same images in another batch; "
                "Dropout or batch statistics may be on: call model.eval() first.",
                name=name,
            )


def _run(name: str, forward: Forward, activation: Activation | None, masked: Tensor, rows: list[Any]) -> Tensor:
    try:
        output = forward(masked, *rows)
        output = torch.from_numpy(output) if isinstance(output, np.ndarray) else output
        if activation is not None and isinstance(output, Tensor):
            output = activation(output.float())
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ModelError(
            "The model '{name}' failed on a batch of shape {shape}: {reason}",
            name=name,
            shape=tuple(masked.shape),
            reason=first_line,
        ) from error
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != len(masked):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            "The model '{name}' must return a tensor with {n_masked} rows, got {shape}.",
            name=name,
            n_masked=len(masked),
            shape=shape,
        )
    return output.float()


# By model, for as long as it lives: its id could be reused by another model later.
_sizes: weakref.WeakKeyDictionary[Any, dict[Any, BatchSize]] = weakref.WeakKeyDictionary()
_MOST_SIZES = 64  # of one model: by device, threads and kind of image


def _batch_size(inputs: Tensor, model: Forward, chunk_size: int | None) -> BatchSize:
    """The given batch size, the one found to be fast for this model and kind of image, or a first guess."""
    if chunk_size is not None:
        return BatchSize(chunk_size, chunk_size)
    device, elements = inputs.device, inputs[0].numel()
    sizes = _known_sizes(model)
    key = (device, torch.get_num_threads(), inputs.shape[1:], getattr(model, "__name__", ""))
    if key not in sizes:
        if len(sizes) >= _MOST_SIZES:
            sizes.clear()
        largest = 512 if device.type == "cpu" else 4096  # on a CPU larger batches would delay progress for too long
        limit = max(8, min(largest, _MOST_ELEMENTS.get(device.type, 16_000_000) // elements))
        sizes[key] = BatchSize(max(4, min(64, limit, _CPU_ELEMENTS // elements)), limit)
    return sizes[key]


def _known_sizes(model: Forward) -> dict[Any, BatchSize]:
    """Batch sizes found for a model; empty for a callable without weak references."""
    owner = getattr(model, "__self__", model)  # each access to a bound method makes a new object
    try:
        return _sizes.setdefault(owner, {})
    except TypeError:
        return {}


def _rows(argument: Any, images: slice, image_count: int, count: int) -> Any:
    """Captum's rule: a tensor with a row for each image is repeated for its masks, anything else is passed on."""
    if not isinstance(argument, Tensor) or argument.ndim == 0 or len(argument) != image_count:
        return argument
    return argument[images].repeat_interleave(count // (images.stop - images.start), 0)
