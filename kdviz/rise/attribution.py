"""RISE: Randomized Input Sampling for Explanation (Petsiuk, Das & Saenko, 2018, arXiv:1806.07421).

The model is a black box: a callable from a batch of images to scores. Masked images go through it, and
a pixel matters when keeping it goes together with a higher score. One pass serves every class, and
the same masks serve every model that is compared.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from math import isfinite
from numbers import Integral
from typing import Any

import numpy as np
import torch
from captum.attr import PerturbationAttribution
from torch import Tensor
from tqdm import tqdm

from kdviz.core.errors import ModelError, SettingError, TargetError
from kdviz.rise.engine import BatchSize, Forward, Prepared, as_given, prepare, seconds_now
from kdviz.rise.estimators import MINIMUM_MASKS, Estimate, estimate, estimators, reliability
from kdviz.rise.masks import RandomMasks

Activation = Callable[[Tensor], Tensor]
Target = int | tuple[int, ...] | Tensor | Sequence[int] | Sequence[tuple[int, ...]] | None

_CPU_ELEMENTS = 64 * 784  # of the inputs of the first CPU batch; larger batches are tried, and mostly slower
_MOST_ELEMENTS = {"cpu": 2_000_000, "cuda": 64_000_000}  # of the inputs of a batch
_CHUNK_SECONDS = 0.04  # of a chunk on a CPU, where one batch takes less; a person sees, and can stop, each
_CHUNK_MASKS = 512
_PROBES = 7  # masked pictures on which a model is tried before it is used: no chunk has as many
_CHECKED_EVERY = 32  # chunks between looks for NaN on a GPU, since every look waits for the device
_NEXT_LOOK = 1.25  # whether maps have settled is looked at when there are so many times more masks


@dataclass(frozen=True)
class Explained:
    """A model and what is made of its output: ``activation`` turns logits into the scores that are explained."""

    forward: Forward
    activation: Activation | None = None


@dataclass(frozen=True)
class RISEState:
    """What is known after ``n_masks`` of ``total`` masks, for one model. Maps are computed when asked for.

    Attributes:
        n_masks, total: Masks done, and masks asked for.
        scores: (N, n_masks, ...): the model's output for each image under each mask.
        stopped: Why it ended early: ``settled`` or ``time``; None if it goes on, or all masks are done.
        precision: In which the model was run.
    """

    n_masks: int
    total: int
    scores: Tensor
    masks: RandomMasks
    estimator: str
    target: Target = None
    stopped: str | None = None
    precision: str = "float32"

    def first(self, count: int) -> RISEState:
        """What was known after ``count`` masks."""
        return replace(self, n_masks=count, scores=self.scores[:, :count])

    def estimate(self, target: Target = None) -> Estimate:
        """The maps of the N images, one target each, as the N targets of one :class:`Estimate`.

        Args:
            target: As in :meth:`RISE.attribute`; default the one given there.
        """
        chosen = _select(self.scores, self.target if target is None else target)
        return estimate(self.masks, chosen, self.estimator)

    @cached_property
    def _estimate(self) -> Estimate:
        return self.estimate()

    @property
    def map(self) -> Tensor:
        """Saliency so far, float32 (N, 1, H, W)."""
        return self._estimate.map.unsqueeze(1).to(self.scores.device)

    @property
    def standard_error(self) -> Tensor:
        """Standard error of :attr:`map`, float32 (N, 1, H, W)."""
        return self._estimate.standard_error.unsqueeze(1).to(self.scores.device)

    @property
    def halves(self) -> Tensor:
        """Maps from two independent halves of the masks, float32 (2, N, 1, H, W)."""
        return self._estimate.halves.unsqueeze(2).to(self.scores.device)

    @property
    def reliability(self) -> Tensor:
        """Predicted correlation of each image's map with that of infinitely many masks, (N,)."""
        return self._estimate.reliability


class RISE(PerturbationAttribution):
    """Saliency of a black-box model by random masks, as a Captum attribution method.

    Like every Captum method it explains what ``forward_func`` returns. For the published method, which
    explains probabilities, give ``activation="softmax"`` when the model returns logits.

    Args:
        forward_func: (N, C, H, W), and ``additional_forward_args``, to scores (N, ...) or (N,).
        activation: ``None``, ``"softmax"`` over dimension 1, ``"sigmoid"``, or a callable on the scores.
    """

    def __init__(self, forward_func: Forward, activation: str | Activation | None = None):
        super().__init__(forward_func)
        self._model = Explained(forward_func, _activation(activation))

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
        estimator: str = "logistic",
        precision: str = "auto",
        reliability: float | None = None,
        seconds: float | None = None,
        chunk_size: int | None = None,
        devices: Sequence[str | torch.device] = (),
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
            estimator: ``logistic`` (default), ``ridge`` and ``centred``, change of score when a pixel is kept, the
                first with the least noise; ``rise``, as published, or ``normalised``; see the registry ``estimators``.
            precision: ``auto``: an ``nn.Module`` runs in bfloat16 or float16, and with its layers fused, where that is
                faster and the scores stay the same; or ``float32``, ``bfloat16``, ``float16``.
            reliability: Stop when the map of every image has this predicted correlation with that of infinitely
                many masks, say .99.
            seconds: Stop after so much time.
            chunk_size: Masked images in a forward pass; changes time and memory, not the map. Default: the
                fastest, found while it works and remembered.
            devices: Further devices than the inputs', such as other GPUs, that take chunks in parallel; the model
                is copied to them.
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
            precision=precision,
            reliability=reliability,
            seconds=seconds,
            chunk_size=chunk_size,
            devices=devices,
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
        estimator: str = "logistic",
        precision: str = "auto",
        reliability: float | None = None,
        seconds: float | None = None,
        chunk_size: int | None = None,
        devices: Sequence[str | torch.device] = (),
    ) -> Iterator[RISEState]:
        """The same, as it comes: one :class:`RISEState` after each chunk. Stop by not asking for the next."""
        images, base = _only(inputs), _only(baselines)
        _check_images(images)
        masks = _masks(images, grid, probability, seed, sampler).suited(n_masks)
        arguments = _as_tuple(additional_forward_args)
        states = stream_scores(
            {"model": self._model}, images, base, masks, n_masks, estimator, precision, chunk_size, arguments, devices
        )
        stop = Stop(masks, estimator, reliability, seconds)
        for state in (one["model"] for one in states):
            if state.n_masks < MINIMUM_MASKS:
                continue
            chosen = _select(state.scores, target)  # a wrong target fails on the first chunk
            ended = stop.reason(chosen, state.n_masks)
            if ended:
                yield replace(state.first(ended[1]), target=target, stopped=ended[0])
                return
            yield replace(state, target=target)


class Stop:
    """Whether enough is known: maps, and the differences of maps that are compared, are reliable, or time is up.

    Args:
        masks, estimator: Of the maps.
        wanted: Reliability of every map and difference, 0 to 1; None: not looked at.
        seconds: From now; None: no limit.
        compared: Whether the maps are of one image by several models, so that their differences matter too.

    Raises:
        SettingError: A limit is outside its range.
    """

    def __init__(
        self,
        masks: RandomMasks,
        estimator: str,
        wanted: float | None = None,
        seconds: float | None = None,
        compared: bool = False,
    ):
        if wanted is not None and not 0 < wanted < 1:
            raise SettingError(f"reliability must be between 0 and 1 (exclusive), got {wanted:g}.")
        if seconds is not None and not seconds > 0:
            raise SettingError(f"seconds must be above 0, got {seconds:g}.")
        self._masks, self._estimator, self._wanted, self._compared = masks, estimator, wanted, compared
        self._end = None if seconds is None else time.monotonic() + seconds
        self._next = 2 * masks.block

    def reason(self, scores: Tensor, done: int) -> tuple[str, int] | None:
        """``settled`` or ``time`` and with how many masks, or None; ``scores``, (maps, done), are those of the targets.

        It looks at fixed numbers of whole blocks, whatever the chunks are: when maps settle does not depend on speed.
        """
        while self._wanted is not None and done >= self._next:
            count, block = self._next, self._masks.block
            self._next = max(count + block, int(count * _NEXT_LOOK) // block * block)
            if self._settled(scores[:, :count], self._wanted):
                return "settled", count
        if self._end is not None and time.monotonic() >= self._end:
            return "time", done
        return None

    def _settled(self, scores: Tensor, wanted: float) -> bool:
        halves = estimate(self._masks, scores, self._estimator).halves  # (2, maps, H, W)
        if self._compared:
            pairs = [halves[:, a] - halves[:, b] for a, b in combinations(range(halves.shape[1]), 2)]
            halves = torch.cat([halves, *(pair.unsqueeze(1) for pair in pairs)], dim=1)
        return bool((reliability(halves) >= wanted).all())


def stream_scores(
    models: Mapping[str, Explained | Forward],
    inputs: Tensor,
    baselines: float | Tensor | None,
    masks: RandomMasks,
    n_masks: int,
    estimator: str = "logistic",
    precision: str = "auto",
    chunk_size: int | None = None,
    arguments: tuple[Any, ...] = (),
    devices: Sequence[str | torch.device] = (),
) -> Iterator[dict[str, RISEState]]:
    """Scores of several models under the same masks: one dict of states after each chunk.

    Masks and masked images are made once for all models of a precision. A chunk that does not fit the device's memory
    is halved and tried again.

    Args:
        models: Name to callable from (n, C, H, W) to scores (n, ...).
        inputs: (N, C, H, W).
        baselines: See :meth:`RISE.attribute`.
        masks: The series of masks, of the inputs' size.
        n_masks: At least 4.
        estimator: A name in ``estimators``.
        precision, chunk_size: See :meth:`RISE.attribute`.
        arguments: Further arguments of the callables.
        devices: See :meth:`RISE.attribute`.

    Raises:
        SettingError, ModelError: See :meth:`RISE.attribute`.
    """
    _check_images(inputs)
    _check_settings(n_masks, estimator, chunk_size)
    first = _Place.make(models, inputs, _baseline(inputs, baselines), masks, precision, chunk_size, arguments)
    places = [first, *(first.copied(torch.device(device), models, precision, chunk_size) for device in devices)]
    scores: dict[str, Tensor] = {}
    done = checked = chunk = 0
    with ThreadPoolExecutor(len(places), "kdviz-rise") as pool:
        while done < n_masks:
            cuts = _cuts(done, n_masks, first.length(), len(places))
            if len(cuts) == 1:  # not in a thread of its own: the caller's settings of torch hold here
                parts = [first.run(*cuts[0])]
            else:
                parts = list(pool.map(_call, (place.run for place in places), cuts))
            for (start, _), part in zip(cuts, parts, strict=True):
                for name, values in part.items():
                    _store(scores, name, values, start, n_masks)
            done = cuts[-1][1]
            chunk += 1
            if inputs.device.type == "cpu" or chunk % _CHECKED_EVERY == 0 or done == n_masks:
                _check_finite(scores, checked, done)
                checked = done
            yield {
                name: RISEState(
                    done, n_masks, kept[:, :done], masks, estimator, precision=first.runners[name].prepared.precision
                )
                for name, kept in scores.items()
            }


def _cuts(done: int, total: int, length: int, places: int) -> list[tuple[int, int]]:
    """The next masks, a chunk for each place: (start, stop)."""
    starts = range(done, min(done + length * places, total), length)
    return [(start, min(start + length, total)) for start in starts]


def _call(run: Callable[[int, int], dict[str, Tensor]], cut: tuple[int, int]) -> dict[str, Tensor]:
    return run(*cut)


@dataclass(frozen=True)
class _Place:
    """One device, with everything that is needed to run the models there.

    Attributes:
        blend, runners: What is run.
        given: The chunk size that was asked for.
        seconds: Of a mask, lately.
    """

    blend: _Blend
    runners: Mapping[str, _Runner]
    given: int | None = None
    seconds: list[float] = field(default_factory=list, repr=False)

    @classmethod
    def make(
        cls,
        models: Mapping[str, Explained | Forward],
        inputs: Tensor,
        base: Tensor,
        masks: RandomMasks,
        precision: str,
        chunk_size: int | None,
        arguments: tuple[Any, ...],
    ) -> _Place:
        blend = _Blend(inputs.detach(), base, masks)
        runners = {
            name: _runner(name, model, blend, precision, arguments, chunk_size) for name, model in models.items()
        }
        return cls(blend, runners, chunk_size)

    def copied(
        self,
        device: torch.device,
        models: Mapping[str, Explained | Forward],
        precision: str,
        chunk_size: int | None,
    ) -> _Place:
        """The same on another device.

        Raises:
            SettingError: A model is no ``nn.Module``, and cannot be copied.
        """
        moved = {name: _on(name, model, device) for name, model in models.items()}
        arguments = next(iter(self.runners.values())).arguments
        arguments = tuple(one.to(device) if isinstance(one, Tensor) else one for one in arguments)
        inputs, base = self.blend.inputs.to(device), self.blend.base.to(device)
        return _Place.make(moved, inputs, base, self.blend.masks, precision, chunk_size, arguments)

    def length(self) -> int:
        """Masks of the next chunk: of the largest batch, or more on a CPU where that is small work.

        Each model runs in batches of its own best size; masks are made, and scores kept, for a chunk.
        """
        largest = max(runner.size.current for runner in self.runners.values())
        if self.given or not self.seconds or self.blend.inputs.device.type != "cpu":
            return largest
        fitting = int(_CHUNK_SECONDS / self.seconds[-1]) // largest
        return largest * max(1, min(fitting, _CHUNK_MASKS // largest))

    def run(self, start: int, stop: int) -> dict[str, Tensor]:
        """Scores under masks start to stop - 1; see ``_chunk``. Without enough memory, in two halves."""
        try:
            begin = time.perf_counter()
            scores = _chunk(self.runners, self.blend, start, stop)
            self.seconds[:] = [(time.perf_counter() - begin) / (stop - start)]
            return scores
        except torch.OutOfMemoryError:
            max(self.runners.values(), key=lambda runner: runner.size.current).size.halve()
            if stop - start == 1:
                raise ModelError("The device's memory is too small for one masked image.") from None
        middle = (start + stop) // 2
        halves = self.run(start, middle), self.run(middle, stop)
        return {name: torch.cat([half[name] for half in halves], dim=1) for name in self.runners}


def _on(name: str, model: Explained | Forward, device: torch.device) -> Explained:
    model = model if isinstance(model, Explained) else Explained(model)
    if not isinstance(model.forward, torch.nn.Module):
        raise SettingError(f"The model '{name}' is a plain callable: only an nn.Module can be copied to {device}.")
    return replace(model, forward=copy.deepcopy(model.forward).to(device))


class _Blend:
    """Images and baseline, ready to be mixed by masks: baseline + mask * (image - baseline)."""

    def __init__(self, inputs: Tensor, base: Tensor, masks: RandomMasks):
        self.inputs, self.base, self.masks = inputs, base, masks
        self._laid_out: dict[tuple[torch.dtype, bool], tuple[Tensor, Tensor]] = {}
        self._rendered: dict[tuple[torch.dtype, bool], tuple[tuple[int, int], Tensor]] = {}

    def masked(self, form: Prepared, images: slice, start: int, stop: int) -> Tensor:
        """Some images under masks start to stop - 1, image by image, (images * masks, C, H, W)."""
        key = (form.dtype, form.channels_last)
        base, change = self._layout(key)
        masks = self._masks(key, start, stop).unsqueeze(0)  # (1, masks, H, W * C) or (1, masks, 1, H, W)
        mixed = torch.addcmul(base[images].unsqueeze(1), masks, change[images].unsqueeze(1)).flatten(0, 1)
        if not form.channels_last:
            return mixed
        channels, height, width = self.inputs.shape[1:]
        return mixed.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def _layout(self, key: tuple[torch.dtype, bool]) -> tuple[Tensor, Tensor]:
        if key not in self._laid_out:
            base, change = self.base, self.inputs - self.base
            if key[1]:
                base, change = (one.permute(0, 2, 3, 1).flatten(2).contiguous() for one in (base, change))
            self._laid_out[key] = base.to(key[0]), change.to(key[0])
        return self._laid_out[key]

    def _masks(self, key: tuple[torch.dtype, bool], start: int, stop: int) -> Tensor:
        """Made once for all models of a form."""
        kept = self._rendered.get(key)
        if kept is None or kept[0] != (start, stop):
            device = self.inputs.device
            if key[1]:
                made = self.masks.rows_of_pixels(start, stop, self.inputs.shape[1], device, key[0])
            else:
                made = self.masks.render(start, stop, device, key[0])
            kept = self._rendered[key] = ((start, stop), made)
        return kept[1]


@dataclass(frozen=True)
class _Runner:
    """A model as it is run: what it is fed with, how much at once, and what is made of its output."""

    name: str
    prepared: Prepared
    activation: Activation | None
    arguments: tuple[Any, ...]
    size: BatchSize
    expected: Tensor | None = field(default=None, repr=False)

    @property
    def form(self) -> tuple[torch.dtype, bool]:
        return self.prepared.dtype, self.prepared.channels_last

    def __call__(self, masked: Tensor, images: slice, of: int) -> Tensor:
        """Scores of one batch, float32 (images * masks, ...)."""
        rows = [_rows(argument, images, of, len(masked)) for argument in self.arguments]
        return _run(self.name, self.prepared.forward, self.activation, masked, rows)

    def in_batches(self, masked: Tensor, images: slice, of: int) -> Tensor:
        """The same for any number, in batches; one that does not fit into memory is halved and tried again."""
        if self.arguments and images.stop - images.start > 1:
            return self(masked, images, of)  # which row of an argument goes where depends on the whole
        outputs, done = [], 0
        while done < len(masked):
            batch = masked[done : done + self.size.current]
            start = None if self.size.settled else seconds_now(masked.device)
            try:
                outputs.append(self(batch, images, of))
            except torch.OutOfMemoryError:
                self.size.halve()
                continue
            if start is not None:
                self.size.record(len(batch), seconds_now(masked.device) - start)
            done += len(batch)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _runner(
    name: str,
    model: Explained | Forward,
    blend: _Blend,
    precision: str,
    arguments: tuple[Any, ...],
    chunk_size: int | None,
) -> _Runner:
    model = model if isinstance(model, Explained) else Explained(model)
    plain = replace(as_given(model.forward), dtype=blend.inputs.dtype)
    probes = blend.masked(plain, slice(0, 1), 0, _PROBES)
    runner = _Runner(name, plain, model.activation, arguments, _batch_size(blend.inputs, model.forward, chunk_size))
    try:
        if not arguments and probes.dtype == torch.float32:
            prepared = prepare(model.forward, probes, precision)
            if prepared.forward is not model.forward:
                return replace(runner, prepared=prepared)
        # Not compared with a copy, so asked twice: Dropout or batch statistics that were left on would show.
        with torch.inference_mode():
            return replace(runner, expected=runner(probes, slice(0, 1), len(blend.inputs)))
    except torch.OutOfMemoryError:
        return runner


@torch.inference_mode()
def _chunk(runners: Mapping[str, _Runner], blend: _Blend, start: int, stop: int) -> dict[str, Tensor]:
    """Name -> (N, chunk, ...): each model's output for each image under each mask."""
    count = len(blend.inputs)
    most = max(runner.size.most for runner in runners.values())
    # On a GPU several images fill a batch; on a CPU one image's masks do.
    group = max(1, min(count, most // (stop - start))) if blend.inputs.device.type != "cpu" else 1
    parts: dict[str, list[Tensor]] = {name: [] for name in runners}
    for first in range(0, count, group):
        images = slice(first, min(first + group, count))
        masked: dict[tuple[torch.dtype, bool], Tensor] = {}
        for name, runner in runners.items():
            if runner.form not in masked:
                masked[runner.form] = blend.masked(runner.prepared, images, start, stop)
            output = runner.in_batches(masked[runner.form], images, count)
            parts[name].append(output.unflatten(0, (images.stop - images.start, stop - start)))
    result = {name: outputs[0] if len(outputs) == 1 else torch.cat(outputs) for name, outputs in parts.items()}
    if start == 0:
        _check_again(runners, result)
    return result


def _check_again(runners: Mapping[str, _Runner], scores: Mapping[str, Tensor]) -> None:
    for name, runner in runners.items():
        if runner.expected is None or not torch.isfinite(runner.expected).all():
            continue
        again = scores[name][0, :_PROBES]
        first = runner.expected[: len(again)]
        if first.shape != again.shape or not torch.isfinite(again).all():
            continue
        error = (again - first).square().mean().sqrt()
        if error > 0.03 * (first - first.mean(0)).square().mean().sqrt() + 1e-4 * first.abs().max():
            raise ModelError(
                f"The model '{name}' gave different scores for the same images in another batch; Dropout or batch "
                "statistics may be on: call model.eval() first."
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
            f"The model '{name}' failed on a batch of shape {tuple(masked.shape)}: {first_line}"
        ) from error
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != len(masked):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(f"The model '{name}' must return a tensor with {len(masked)} rows, got {shape}.")
    return output.float()


def _check_finite(scores: Mapping[str, Tensor], start: int, stop: int) -> None:
    for name, values in scores.items():
        part = values[:, start:stop]
        # One NaN or infinity makes the sum one; so may, rarely, very large scores, which are then looked at one by one.
        if not isfinite(float(part.sum())) and not torch.isfinite(part).all():
            raise ModelError(f"The model '{name}' returned NaN or infinite scores; it cannot be explained.")


def _store(scores: dict[str, Tensor], name: str, values: Tensor, done: int, total: int) -> None:
    if name not in scores:
        scores[name] = values.new_zeros(len(values), total, *values.shape[2:])
    if scores[name].shape[2:] != values.shape[2:]:
        raise ModelError(
            f"The model '{name}' changed its output's shape from {tuple(scores[name].shape[2:])} "
            f"to {tuple(values.shape[2:])}."
        )
    scores[name][:, done : done + values.shape[1]] = values.to(scores[name].device)


_sizes: dict[Any, BatchSize] = {}


def _batch_size(inputs: Tensor, model: Forward, chunk_size: int | None) -> BatchSize:
    """The one given, or the one that was found to be fast for this model and kind of image, or a first guess."""
    if chunk_size is not None:
        return BatchSize(chunk_size, chunk_size)
    device, elements = inputs.device, inputs[0].numel()
    key = (device, torch.get_num_threads(), inputs.shape[1:], id(model))
    if key not in _sizes:
        if len(_sizes) >= 256:
            _sizes.clear()
        longest = 512 if device.type == "cpu" else 4096  # on a CPU more takes so long that nothing is seen meanwhile
        most = max(8, min(longest, _MOST_ELEMENTS.get(device.type, 16_000_000) // elements))
        _sizes[key] = BatchSize(max(4, min(64, most, _CPU_ELEMENTS // elements)), most)
    return _sizes[key]


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


def _rows(argument: Any, images: slice, of: int, count: int) -> Any:
    """Captum's rule: a tensor with a row for each image is repeated for its masks, anything else is passed on."""
    if not isinstance(argument, Tensor) or argument.ndim == 0 or len(argument) != of:
        return argument
    return argument[images].repeat_interleave(count // (images.stop - images.start), 0)


def _as_tuple(arguments: Any) -> tuple[Any, ...]:
    if arguments is None:
        return ()
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _activation(name: str | Activation | None) -> Activation | None:
    if name is None or (callable(name) and not isinstance(name, str)):
        return name
    if name == "softmax":
        return softmax
    if name == "sigmoid":
        return torch.sigmoid
    raise SettingError(f"activation must be None, 'softmax', 'sigmoid' or a callable, got '{name}'.")


def softmax(logits: Tensor) -> Tensor:
    """What RISE explains by default in kdviz: probabilities (Petsiuk et al., 2018, section 3.1)."""
    return logits.softmax(1)


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
