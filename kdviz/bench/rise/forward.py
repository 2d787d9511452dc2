"""Bare forward passes, and their duration."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from kdviz.core.devices import fast_bf16
from kdviz.core.errors import SettingError
from kdviz.models.networks import build_network
from kdviz.rise.engine import Forward, Prepared, prepare, seconds_now
from kdviz.rise.states import softmax
from kdviz.saliency import ModelWithActivation, RandomMasks, estimate, stream_scores

_BATCHES = (4, 8, 16, 32, 64, 128, 256, 512)
SIDE = 224  # pixels, of the pictures of a large network


def mobilenet(weights: str | None) -> nn.Module:
    network = build_network("torchvision/mobilenet_v2", classes=1000, channels=3, size=(SIDE, SIDE))
    if weights is not None:
        try:
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:
            raise SettingError(
                "'{weights}' does not hold torchvision's weights of MobileNetV2.", weights=weights
            ) from error
    return network.eval().requires_grad_(False)


def fast_form(model: nn.Module, probes: Tensor) -> Prepared:
    """The model in half precision where that is fast, also with random weights, whose scores hardly vary with masks."""
    automatic = prepare(model, probes)
    if automatic.precision != "float32":
        return automatic
    return prepare(model, probes, "bfloat16") if fast_bf16(probes.device) else automatic


def explain_all(models: Mapping[str, Forward], image: Tensor, count: int, precision: str) -> None:
    """Scores of all models and the map of one class of each."""
    masks = RandomMasks((image.shape[2], image.shape[3]), sampler="auto").resolve_sampler(count)
    wrapped = {name: ModelWithActivation(model, softmax) for name, model in models.items()}
    states = deque(stream_scores(wrapped, image, None, masks, count, precision=precision), maxlen=1).pop()
    rows = torch.stack([state.scores[0, :, 0] for state in states.values()])
    _ = estimate(masks, rows).map


def _batch(form: Prepared, probes: Tensor, size: int) -> Tensor:
    images = probes[torch.arange(size, device=probes.device) % len(probes)].to(form.dtype)
    return images.contiguous(memory_format=torch.channels_last if form.channels_last else torch.contiguous_format)


@torch.inference_mode()
def run_bare(form: Prepared, probes: Tensor, size: int, count: int) -> None:
    batch = _batch(form, probes, size)
    for start in range(0, count, size):
        form.forward(batch[: min(size, count - start)])


def best_batches(form: Prepared, probes: Tensor) -> list[int]:
    """The three batch sizes with the highest rates."""
    limit = max(16, 8_000_000 // probes[0].numel()) if probes.device.type == "cpu" else 512
    rates = []
    for size in (size for size in _BATCHES if size <= limit):
        count = max(size, 64)
        run = partial(run_bare, form, probes, size, count)
        run()
        rates.append((count / min(_seconds(run, probes.device) for _ in range(3)), size))
    return [size for _, size in sorted(rates)[-3:]]


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    start = seconds_now(device)
    work()
    return seconds_now(device) - start


def seconds_in_turn(works: list[Callable[[], None]], tries: int, device: torch.device) -> list[float]:
    """The least seconds of each, after a warm-up round."""
    for work in works:
        work()
    rounds = [[_seconds(work, device) for work in works] for _ in range(tries)]
    return [min(column) for column in zip(*rounds, strict=True)]
