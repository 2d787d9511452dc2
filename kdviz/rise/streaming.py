"""Scores of several models under the same masks, chunk by chunk, over one device or several."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from kdviz.core.errors import ModelError, SettingError
from kdviz.rise.engine import Forward
from kdviz.rise.masked_batches import MaskedBatches
from kdviz.rise.masks import RandomMasks
from kdviz.rise.model_runner import ModelRunner, model_runner, run_chunk
from kdviz.rise.states import ModelWithActivation, RISEState
from kdviz.rise.validation import check_finite, check_images, check_settings, expand_baseline

_CHUNK_SECONDS = 0.04  # of a chunk on a CPU, where a batch takes less; progress shows after each
_CHUNK_MASKS = 512
_CHECK_INTERVAL = 32  # chunks between checks for NaN on a GPU, since every check waits for the device


def stream_scores(
    models: Mapping[str, ModelWithActivation | Forward],
    inputs: Tensor,
    baselines: float | Tensor | None,
    masks: RandomMasks,
    n_masks: int,
    estimator: str = "logistic",
    precision: str = "auto",
    chunk_size: int | None = None,
    arguments: tuple[Any, ...] = (),
    devices: Sequence[str | torch.device] = (),
    targets: Tensor | None = None,
    earlier: Mapping[str, Tensor] | None = None,
) -> Iterator[dict[str, RISEState]]:
    """Scores of several models under the same masks: a dict of states after each chunk.

    Masks and masked images are made once for all models of a precision. A chunk that does not fit the device's memory
    is halved and tried again.

    Args:
        models: Name -> callable from (n, C, H, W) to scores (n, ...).
        inputs: (N, C, H, W).
        baselines: See :meth:`kdviz.saliency.RISE.attribute`.
        masks: The series of masks, of the inputs' size.
        n_masks: Number of masks, at least 4.
        estimator: A name in ``estimators``.
        precision: See :class:`kdviz.rise.settings.RISESettings`.
        chunk_size: See :class:`kdviz.rise.settings.RISESettings`.
        arguments: Further arguments of the callables.
        devices: See :class:`kdviz.rise.settings.RISESettings`.
        targets: int64 (N,), the one class of each image whose scores are kept, which are then (N, masks): with
            thousands of masks and classes all of them take gigabytes. None: all.
        earlier: Name -> scores of the first masks, which are taken over instead of computed.

    Raises:
        SettingError: A setting is outside its range, or a model cannot be copied to another device.
        ModelError: A model fails, or returns NaN, infinity or a wrong shape.
    """
    check_images(inputs)
    check_settings(n_masks, estimator, chunk_size)
    base = expand_baseline(inputs, baselines)
    first = _DeviceRunner.make(models, inputs, base, masks, precision, chunk_size, arguments)
    runners = [first, *(first.copied(torch.device(device), models, precision, chunk_size) for device in devices)]
    scores: dict[str, Tensor] = {}
    for name, values in (earlier or {}).items():
        _store(scores, name, values.to(inputs.device), 0, n_masks)
    done = checked = min((values.shape[1] for values in (earlier or {}).values()), default=0)
    rounds = 0
    with ThreadPoolExecutor(len(runners), "kdviz-rise") as pool:
        while done < n_masks:
            chunks = _split_chunks(done, n_masks, first.length(), len(runners))
            for (start, _), chunk_scores in zip(chunks, _run_chunks(pool, runners, chunks), strict=True):
                for name, values in chunk_scores.items():
                    _store(scores, name, _of_targets(values, targets), start, n_masks)
            done = chunks[-1][1]
            rounds += 1
            if inputs.device.type == "cpu" or rounds % _CHECK_INTERVAL == 0 or done == n_masks:
                check_finite(scores, checked, done)
                checked = done
            yield {
                name: RISEState(
                    done, n_masks, values[:, :done], masks, estimator, precision=first.runners[name].prepared.precision
                )
                for name, values in scores.items()
            }


def _split_chunks(done: int, total: int, length: int, devices: int) -> list[tuple[int, int]]:
    """The ranges of the next chunks, one for each device: (start, stop)."""
    starts = range(done, min(done + length * devices, total), length)
    return [(start, min(start + length, total)) for start in starts]


def _run_chunks(
    pool: ThreadPoolExecutor, runners: Sequence[_DeviceRunner], chunks: Sequence[tuple[int, int]]
) -> list[dict[str, Tensor]]:
    """The scores of each chunk: name -> (N, chunk, ...)."""
    if len(chunks) == 1:  # in the caller's thread, where its settings of torch apply
        return [runners[0].run(*chunks[0])]
    return list(pool.map(lambda runner, chunk: runner.run(*chunk), runners, chunks))


@dataclass(frozen=True)
class _DeviceRunner:
    """A device, with everything that is needed to run the models there.

    Attributes:
        batches: The masked images.
        runners: Name -> runner of the model.
        chunk_size: The requested chunk size.
        seconds: Seconds per mask in the last chunk; empty before the first.
    """

    batches: MaskedBatches
    runners: Mapping[str, ModelRunner]
    chunk_size: int | None = None
    seconds: list[float] = field(default_factory=list, repr=False)

    @classmethod
    def make(
        cls,
        models: Mapping[str, ModelWithActivation | Forward],
        inputs: Tensor,
        base: Tensor,
        masks: RandomMasks,
        precision: str,
        chunk_size: int | None,
        arguments: tuple[Any, ...],
    ) -> _DeviceRunner:
        batches = MaskedBatches(inputs.detach(), base, masks)
        runners = {
            name: model_runner(name, model, batches, precision, arguments, chunk_size) for name, model in models.items()
        }
        return cls(batches, runners, chunk_size)

    def copied(
        self,
        device: torch.device,
        models: Mapping[str, ModelWithActivation | Forward],
        precision: str,
        chunk_size: int | None,
    ) -> _DeviceRunner:
        """The same models on another device.

        Raises:
            SettingError: A model is no ``nn.Module``, and cannot be copied.
        """
        copies = {name: _copied_model(name, model, device) for name, model in models.items()}
        arguments = next(iter(self.runners.values())).arguments
        arguments = tuple(value.to(device) if isinstance(value, Tensor) else value for value in arguments)
        inputs, base = self.batches.inputs.to(device), self.batches.base.to(device)
        return _DeviceRunner.make(copies, inputs, base, self.batches.masks, precision, chunk_size, arguments)

    def length(self) -> int:
        """Number of masks in the next chunk: the largest batch, or more on a CPU where batches are short.

        Each model runs in batches of its own best size; masks are rendered, and scores stored, chunk by chunk.
        """
        largest = max(runner.size.current for runner in self.runners.values())
        if self.chunk_size or not self.seconds or self.batches.inputs.device.type != "cpu":
            return largest
        fitting = int(_CHUNK_SECONDS / self.seconds[-1]) // largest
        return largest * max(1, min(fitting, _CHUNK_MASKS // largest))

    def run(self, start: int, stop: int) -> dict[str, Tensor]:
        """Scores under masks start to stop - 1; see :func:`run_chunk`. Without enough memory, in two halves."""
        try:
            begin = time.perf_counter()
            scores = run_chunk(self.runners, self.batches, start, stop)
            self.seconds[:] = [(time.perf_counter() - begin) / (stop - start)]
            return scores
        except torch.OutOfMemoryError:
            max(self.runners.values(), key=lambda runner: runner.size.current).size.halve()
            if stop - start == 1:
                raise ModelError("The device's memory is too small for one masked image.") from None
        middle = (start + stop) // 2
        halves = self.run(start, middle), self.run(middle, stop)
        return {name: torch.cat([half[name] for half in halves], dim=1) for name in self.runners}


def _copied_model(name: str, model: ModelWithActivation | Forward, device: torch.device) -> ModelWithActivation:
    model = model if isinstance(model, ModelWithActivation) else ModelWithActivation(model)
    if not isinstance(model.forward, torch.nn.Module):
        raise SettingError(
            "The model '{name}' is a plain callable: only an nn.Module can be copied to {device}.",
            name=name,
            device=device,
        )
    return replace(model, forward=copy.deepcopy(model.forward).to(device))


def _of_targets(values: Tensor, targets: Tensor | None) -> Tensor:
    """The scores of each image's target, (N, masks), of those of all classes (N, masks, classes)."""
    if targets is None:
        return values
    return values.gather(2, targets.to(values.device).view(-1, 1, 1).expand(-1, values.shape[1], 1)).squeeze(2)


def _store(scores: dict[str, Tensor], name: str, values: Tensor, start: int, total: int) -> None:
    if name not in scores:
        scores[name] = values.new_zeros(len(values), total, *values.shape[2:])
    if scores[name].shape[2:] != values.shape[2:]:
        raise ModelError(
            "The model '{name}' changed its output's shape from {earlier} to {shape}.",
            name=name,
            earlier=tuple(scores[name].shape[2:]),
            shape=tuple(values.shape[2:]),
        )
    scores[name][:, start : start + values.shape[1]] = values.to(scores[name].device)
