"""Time of RISE over that of bare forward passes, and over that of RISE as published."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from kdviz.bench.rise.forward import best_batches, explain_all, fast_form, run_bare, seconds_in_turn
from kdviz.bench.rows import Measurement
from kdviz.rise.engine import Forward
from kdviz.rise.states import softmax
from kdviz.saliency import ModelWithActivation, RandomMasks, estimate, stream_scores

_PUBLISHED_BATCH = 100  # in the published code (github.com/eclique/RISE)


def overheads(
    teacher: nn.Module, models: Mapping[str, nn.Module], digit: Tensor, count: int, tries: int
) -> Iterator[Measurement]:
    yield overhead("overhead_mnist_teacher", "MNIST teacher", {"teacher": teacher}, digit, count, tries)
    yield overhead("overhead_mnist_three", "three MNIST models together", models, digit, count, tries)


def overhead(
    key: str, text: str, models: Mapping[str, nn.Module], image: Tensor, count: int, tries: int
) -> Measurement:
    """Time of RISE, from the image to the map, over that of as many bare forward passes at the best batch size."""
    probes = image * RandomMasks((image.shape[2], image.shape[3])).render(0, 8, image.device)
    forms = {name: fast_form(model, probes) for name, model in models.items()}
    precision = next(iter(forms.values())).precision
    # Each model's best batch size is measured with the rest, in turn: the choice must not depend on one noisy moment.
    sizes = [(name, size) for name, form in forms.items() for size in best_batches(form, probes)]

    def run_rise() -> None:
        explain_all(models, image, count, precision)

    bare = [partial(run_bare, forms[name], probes, size, count) for name, size in sizes]
    ours, *seconds = seconds_in_turn([run_rise, *bare], tries, image.device)
    best = {
        name: min((least, size) for least, (owner, size) in zip(seconds, sizes, strict=True) if owner == name)
        for name in forms
    }
    reference = sum(least for least, _ in best.values())
    return Measurement(
        key,
        f"{text}: time of RISE / bare forward passes, {count} masks",
        ours / reference,
        "x",
        {
            "rise_seconds": ours,
            "bare_seconds": reference,
            "batch": {name: size for name, (_, size) in best.items()},
            "precision": precision,
            "masks": count,
        },
    )


def three_models(models: Mapping[str, nn.Module], digit: Tensor, tries: int) -> Measurement:
    """Time of the maps of all classes of three models, from enough masks that r is about .99."""
    count = 512
    masks = RandomMasks((digit.shape[2], digit.shape[3]), sampler="auto")
    wrapped = {role: ModelWithActivation(model, softmax) for role, model in models.items()}

    def work() -> None:
        states = deque(stream_scores(wrapped, digit, None, masks, count), maxlen=1).pop()
        _ = estimate(masks, torch.cat([state.scores[0].T for state in states.values()])).map

    (seconds,) = seconds_in_turn([work], max(tries, 5), digit.device)
    return Measurement(
        "seconds_mnist_three_all_classes",
        f"three MNIST models, maps of all classes, {count} masks (r about .99)",
        seconds,
        "s",
        {"masks": count},
    )


def published_rise(model: Forward, image: Tensor, masks: Tensor, probability: float) -> Tensor:
    """RISE as in its authors' code: float32, contiguous, batches of 100; (classes, H, W).

    Args:
        model: (n, C, H, W) to probabilities (n, classes).
        image: (1, C, H, W).
        masks: All masks, (N, 1, H, W), computed before.
        probability: Expected value of a mask.
    """
    stack = masks * image  # (N, C, H, W)
    scores = torch.cat([model(batch) for batch in stack.split(_PUBLISHED_BATCH)])
    return (scores.T @ masks.flatten(1)).unflatten(1, masks.shape[2:]) / len(masks) / probability


def same_masks(model: nn.Module, image: Tensor, count: int, ours: int, tries: int) -> Measurement:
    """Seconds per mask, published code over kdviz; the published code's masks are made beforehand, kdviz's are not."""
    masks = RandomMasks((image.shape[2], image.shape[3])).render(0, count, image.device)
    precision = fast_form(model, image * masks[:8]).precision

    @torch.inference_mode()
    def published() -> None:
        published_rise(lambda images: model(images).softmax(1), image, masks, 0.5)

    def run_rise() -> None:
        explain_all({"model": model}, image, ours, precision)

    fast, slow = seconds_in_turn([run_rise, published], tries, image.device)
    return Measurement(
        "same_masks_speedup",
        "MobileNetV2, 224 px, the same number of masks: published code / kdviz",
        (slow / count) / (fast / ours),
        "x",
        {"published_per_second": count / slow, "kdviz_per_second": ours / fast},
    )
