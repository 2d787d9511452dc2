"""RISE: its speed, memory and mask efficiency against the bare forward pass and against RISE as published."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.bench.intervals import bench_intervals
from kdviz.bench.rows import Row
from kdviz.core.errors import SettingError
from kdviz.data import bundled_digits
from kdviz.experiment import Experiment, load_experiment
from kdviz.models.networks import build_network
from kdviz.rise.attribution import softmax
from kdviz.rise.engine import Forward, Prepared, prepare, seconds_now
from kdviz.saliency import Explained, RandomMasks, estimate, stream_scores

_PUBLISHED_BATCH = 100  # in the published code (github.com/eclique/RISE)
_BATCHES = (4, 8, 16, 32, 64, 128, 256, 512)
_COUNTS = (128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1536, 2048, 3072, 4096, 8192)
_LEVELS = (0.9, 0.95, 0.99)
_SIDE = 224


def bench_rise(
    device: torch.device, quick: bool = False, mobilenet_weights: str | None = None, seed: int = 0
) -> Iterator[Row]:
    """RISE against the bare forward pass and against RISE as published, row by row.

    Args:
        device: Where the models run.
        quick: Within a minute on two CPU cores: fewer images, masks and tries, no ResNet50, no memory.
        mobilenet_weights: A torchvision state dict for MobileNetV2. Time does not depend on it; without it the
            weights are random.
        seed: Of masks and of the choice of images.
    """
    experiment = load_experiment("mnist")
    digits = _digits(experiment, 4 if quick else 24, seed).to(device)
    teacher = experiment.runs["teacher"].on(device)
    three = {role: run.on(device) for role, run in experiment.runs.items()}
    tries = 3 if quick else 5

    yield from _overheads(teacher, three, digits[:1], 2000 if quick else 4000, tries)
    yield _three_models(three, digits[:1], tries)
    mobilenet = _mobilenet(mobilenet_weights).to(device)
    photo = torch.rand(1, 3, _SIDE, _SIDE, generator=torch.Generator().manual_seed(seed)).to(device)
    count = 512 if quick else 1024
    yield _overhead("overhead_mobilenet_v2", "MobileNetV2, 224 px", {"model": mobilenet}, photo, count, tries)
    same = _same_masks(mobilenet, photo, 100 if quick else 200, count, 1 if quick else 3)
    yield same
    if not quick:
        resnet = build_network("torchvision/resnet50", classes=1000, channels=3, size=(_SIDE, _SIDE)).eval().to(device)
        yield _overhead("overhead_resnet50", "ResNet50, 224 px", {"model": resnet}, photo, 256, 3)
    yield from bench_intervals(three["student"], digits[: 2 if quick else 6], quick)
    yield from _masks_needed("", teacher, digits, (28, 28), 0.5, quick)
    wide = nn.Sequential(nn.AvgPool2d(_SIDE // 28), teacher).eval()
    enlarged = F.interpolate(digits[: 2 if quick else 8], size=(_SIDE, _SIDE))
    at_224 = list(_masks_needed("_224", wide, enlarged, (_SIDE, _SIDE), 0.5, quick))
    yield from at_224
    ratio = next(row.value for row in at_224 if row.key == "masks_ratio_r99_224")
    yield Row(
        "equal_quality_speedup",
        "time to a map of r = .99, MobileNetV2, 224 px: published code / kdviz",
        ratio * same.value,
        "x",
        {"masks_ratio_r99_224": ratio, "same_masks_speedup": same.value},
    )
    if not quick:
        for probability in (0.1, 0.2, 0.3):
            yield from _masks_needed(
                f"_p{round(100 * probability)}", teacher, digits[:12], (28, 28), probability, quick
            )
        yield from _memory(device)


def _digits(experiment: Experiment, count: int, seed: int) -> Tensor:
    """(count, 1, 28, 28): bundled digits, which no model was trained on, drawn at random."""
    samples = bundled_digits()["bundled"]
    chosen = np.random.default_rng(seed).choice(len(samples.labels), count, replace=False)
    return torch.cat([experiment.preprocess(samples.picture(int(one))) for one in chosen])


def _mobilenet(weights: str | None) -> nn.Module:
    network = build_network("torchvision/mobilenet_v2", classes=1000, channels=3, size=(_SIDE, _SIDE))
    if weights is not None:
        try:
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:
            raise SettingError(f"'{weights}' does not hold torchvision's weights of MobileNetV2.") from error
    return network.eval().requires_grad_(False)


# time -----------------------------------------------------------------------------------------------------------------


def _overheads(
    teacher: nn.Module, three: Mapping[str, nn.Module], digit: Tensor, count: int, tries: int
) -> Iterator[Row]:
    yield _overhead("overhead_mnist_teacher", "MNIST teacher", {"teacher": teacher}, digit, count, tries)
    yield _overhead("overhead_mnist_three", "three MNIST models together", three, digit, count, tries)


def _overhead(key: str, text: str, models: Mapping[str, nn.Module], image: Tensor, count: int, tries: int) -> Row:
    """Time of RISE, from the image to the map, over that of as many bare forward passes at the best batch size."""
    probes = image * RandomMasks((image.shape[2], image.shape[3])).render(0, 8, image.device)
    forms = {name: _fast_form(model, probes) for name, model in models.items()}
    precision = next(iter(forms.values())).precision
    # Each model's best batch size is measured with the rest, in turn: the choice must not depend on one noisy moment.
    sizes = [(name, size) for name, form in forms.items() for size in _best_batches(form, probes)]

    def explained() -> None:
        _explain(models, image, count, precision)

    bare = [partial(_run_bare, forms[name], probes, size, count) for name, size in sizes]
    ours, *seconds = _in_turn([explained, *bare], tries, image.device)
    best = {
        name: min((one, size) for one, (whose, size) in zip(seconds, sizes, strict=True) if whose == name)
        for name in forms
    }
    reference = sum(one for one, _ in best.values())
    return Row(
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


def _fast_form(model: nn.Module, probes: Tensor) -> Prepared:
    """Half precision where it is fast, also for random weights, whose scores hardly differ from mask to mask."""
    automatic = prepare(model, probes)
    if automatic.precision != "float32":
        return automatic
    from kdviz.core.devices import fast_bf16

    return prepare(model, probes, "bfloat16") if fast_bf16(probes.device) else automatic


def _explain(models: Mapping[str, Forward], image: Tensor, count: int, precision: str) -> None:
    """Scores of all models and the map of one class of each."""
    masks = RandomMasks((image.shape[2], image.shape[3]), sampler="auto").suited(count)
    explained = {name: Explained(model, softmax) for name, model in models.items()}
    states = deque(stream_scores(explained, image, None, masks, count, precision=precision), maxlen=1).pop()
    rows = torch.stack([state.scores[0, :, 0] for state in states.values()])
    _ = estimate(masks, rows).map


def _batch(form: Prepared, probes: Tensor, size: int) -> Tensor:
    images = probes[torch.arange(size, device=probes.device) % len(probes)].to(form.dtype)
    return images.contiguous(memory_format=torch.channels_last if form.channels_last else torch.contiguous_format)


@torch.inference_mode()
def _run_bare(form: Prepared, probes: Tensor, size: int, count: int) -> None:
    batch = _batch(form, probes, size)
    for start in range(0, count, size):
        form.forward(batch[: min(size, count - start)])


def _best_batches(form: Prepared, probes: Tensor) -> list[int]:
    """The three batch sizes with the highest rates."""
    most = max(16, 8_000_000 // probes[0].numel()) if probes.device.type == "cpu" else 512
    rates = []
    for size in (one for one in _BATCHES if one <= most):
        count = max(size, 64)
        run = partial(_run_bare, form, probes, size, count)
        run()
        rates.append((count / min(_seconds(run, probes.device) for _ in range(3)), size))
    return [size for _, size in sorted(rates)[-3:]]


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    start = seconds_now(device)
    work()
    return seconds_now(device) - start


def _in_turn(works: list[Callable[[], None]], tries: int, device: torch.device) -> list[float]:
    """The least seconds of each, after one round that does not count."""
    for work in works:
        work()
    rounds = [[_seconds(work, device) for work in works] for _ in range(tries)]
    return [min(column) for column in zip(*rounds, strict=True)]


def _three_models(three: Mapping[str, nn.Module], digit: Tensor, tries: int) -> Row:
    """Three models, the maps of all their classes, from so many masks that r is about .99."""
    count = 512
    masks = RandomMasks((digit.shape[2], digit.shape[3]), sampler="auto")
    explained = {role: Explained(model, softmax) for role, model in three.items()}

    def work() -> None:
        states = deque(stream_scores(explained, digit, None, masks, count), maxlen=1).pop()
        _ = estimate(masks, torch.cat([state.scores[0].T for state in states.values()])).map

    (seconds,) = _in_turn([work], max(tries, 5), digit.device)
    return Row(
        "seconds_mnist_three_all_classes",
        f"three MNIST models, maps of all classes, {count} masks (r about .99)",
        seconds,
        "s",
        {"masks": count},
    )


def published_rise(model: Forward, image: Tensor, masks: Tensor, probability: float) -> Tensor:
    """RISE as its authors' code does it: float32, contiguous, batches of 100; (classes, H, W).

    Args:
        model: (n, C, H, W) to probabilities (n, classes).
        image: (1, C, H, W).
        masks: (N, 1, H, W), all of them, made before.
        probability: Expected value of a mask.
    """
    stack = masks * image  # (N, C, H, W)
    scores = torch.cat([model(part) for part in stack.split(_PUBLISHED_BATCH)])
    return (scores.T @ masks.flatten(1)).unflatten(1, masks.shape[2:]) / len(masks) / probability


def _same_masks(model: nn.Module, image: Tensor, count: int, ours: int, tries: int) -> Row:
    """Seconds a mask, published code over kdviz; the published code's masks are made beforehand, ours are not."""
    masks = RandomMasks((image.shape[2], image.shape[3])).render(0, count, image.device)
    precision = _fast_form(model, image * masks[:8]).precision

    @torch.inference_mode()
    def published() -> None:
        published_rise(lambda images: model(images).softmax(1), image, masks, 0.5)

    def explained() -> None:
        _explain({"model": model}, image, ours, precision)

    fast, slow = _in_turn([explained, published], tries, image.device)
    return Row(
        "same_masks_speedup",
        "MobileNetV2, 224 px, the same number of masks: published code / kdviz",
        (slow / count) / (fast / ours),
        "x",
        {"published_per_second": count / slow, "kdviz_per_second": ours / fast},
    )


# masks needed ---------------------------------------------------------------------------------------------------------


def _masks_needed(
    suffix: str, model: nn.Module, images: Tensor, size: tuple[int, int], probability: float, quick: bool
) -> Iterator[Row]:
    """Masks for a correlation with a long reference, ours against plain RISE; medians over the images.

    Plain RISE's error falls as 1 / sqrt(n), so that r(n) = 1 / sqrt(1 + c / n): c is measured at the largest n, and
    gives n for each r. Ours is measured at many n and interpolated.
    """
    long, plain_count = (8192, 4096) if quick else (32768, 16384)
    targets = model(images).argmax(1)
    reference = _map(model, images, targets, RandomMasks(size, probability=probability, seed=999, sampler="auto"), long)
    plain = RandomMasks(size, probability=probability, seed=1, sampler="iid")
    correlation = _correlation(_map(model, images, targets, plain, plain_count, "rise"), reference)
    constant = plain_count * (1 / correlation.clamp_min(1e-3).square() - 1)
    best = RandomMasks(size, probability=probability, seed=2, sampler="auto")
    counts = [count for count in _COUNTS if count <= long // 4]
    scores = _scores(model, images, targets, best, counts[-1])
    ours = [
        float(_correlation(estimate(best.suited(count), scores[:, :count]).map, reference).median()) for count in counts
    ]
    for level in _LEVELS:
        published = float((constant / (1 / level**2 - 1)).median())
        needed = _first(counts, ours, level)
        yield Row(
            f"masks_ratio_r{round(100 * level)}{suffix}",
            f"{size[0]} px, p = {probability:g}: masks for r = {level:g}, published / kdviz",
            published / needed,
            "x",
            {"published": round(published), "kdviz": round(needed), "images": len(images)},
        )
    means = {
        count: float(_correlation(estimate(best, scores[:, :count]).map, reference).mean())
        for count in (256, 1024)
        if count <= counts[-1]
    }
    for count, mean in means.items():
        yield Row(f"mean_r_{count}{suffix}", f"{size[0]} px, p = {probability:g}: mean r at {count} masks", mean, "")


def _first(counts: list[int], values: list[float], level: float) -> float:
    """Where the values first reach the level, between counts on a logarithmic scale; NaN where they don't."""
    for place, value in enumerate(values):
        if value < level:
            continue
        if place == 0:
            return float(counts[0])
        before, here = np.log(counts[place - 1]), np.log(counts[place])
        share = (level - values[place - 1]) / (value - values[place - 1])
        return float(np.exp(before + share * (here - before)))
    return float("nan")


def _scores(model: nn.Module, images: Tensor, targets: Tensor, masks: RandomMasks, count: int) -> Tensor:
    """(images, count), of each image's target."""
    states = deque(stream_scores({"model": Explained(model, softmax)}, images, None, masks, count), maxlen=1).pop()
    scores = states["model"].scores
    return torch.stack([scores[number, :, target] for number, target in enumerate(targets)])


def _map(
    model: nn.Module, images: Tensor, targets: Tensor, masks: RandomMasks, count: int, estimator: str = "logistic"
) -> Tensor:
    return estimate(masks, _scores(model, images, targets, masks, count), estimator).map


def _correlation(maps: Tensor, reference: Tensor) -> Tensor:
    """Of each image's map with its reference, (images,)."""
    first, second = (
        one.double().flatten(1) - one.double().flatten(1).mean(1, keepdim=True) for one in (maps, reference)
    )
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))


# memory ---------------------------------------------------------------------------------------------------------------

_MEMORY_PROGRAM = """
import sys, torch
from kdviz.bench.rise import memory_of
torch.set_num_threads(int(sys.argv[2]))
print(memory_of(sys.argv[1], int(sys.argv[3])))
"""


def memory_of(what: str, count: int) -> float:
    """Peak memory in MB of MobileNetV2 at 224 px above what the ready model has: ``bare`` or by ``rise``; on Linux."""
    model = _mobilenet(None)
    image = torch.rand(1, 3, _SIDE, _SIDE)
    probes = image * RandomMasks((_SIDE, _SIDE)).render(0, 8)
    form = _fast_form(model, probes)
    _run_bare(form, probes, 4, 4)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _status("VmRSS")
    if what == "bare":
        _run_bare(form, probes, count, 4 * count)
    else:
        _explain({"model": model}, image, count, form.precision)
    return _status("VmHWM") - before


def _status(name: str) -> float:
    """MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _memory(device: torch.device) -> Iterator[Row]:
    """Peak memory of RISE over that of the bare forward pass, each in a process of its own."""
    if device.type != "cpu" or not Path("/proc/self/clear_refs").exists():
        return
    bare = _memory_in_process("bare", 16)
    for count in (512, 4096):
        ours = _memory_in_process("rise", count)
        yield Row(
            f"memory_ratio_{count}",
            f"MobileNetV2, 224 px, {count} masks: peak memory of RISE / bare forward pass, batches of 16",
            ours / bare,
            "x",
            {"rise_mb": ours, "bare_mb": bare},
        )


def _memory_in_process(what: str, count: int) -> float:
    command = [sys.executable, "-c", _MEMORY_PROGRAM, what, str(torch.get_num_threads()), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
