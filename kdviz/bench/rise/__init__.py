"""RISE: its speed, memory and mask efficiency against the bare forward pass and against RISE as published."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.bench.intervals import bench_intervals
from kdviz.bench.rise.efficiency import masks_needed
from kdviz.bench.rise.forward import SIDE, mobilenet
from kdviz.bench.rise.memory import memory
from kdviz.bench.rise.timing import overhead, overheads, same_masks, three_models
from kdviz.bench.rows import Measurement
from kdviz.core.vocabulary import Role, Split
from kdviz.data import bundled_digits
from kdviz.experiment import Experiment, load_experiment
from kdviz.models.networks import build_network


def bench_rise(
    device: torch.device, quick: bool = False, mobilenet_weights: str | None = None, seed: int = 0
) -> Iterator[Measurement]:
    """RISE against the bare forward pass and against RISE as published, row by row.

    Args:
        device: Device of the models.
        quick: Finish within a minute on two CPU cores: fewer images, masks and tries, no large networks, no memory.
        mobilenet_weights: A torchvision state dict for MobileNetV2. Time does not depend on it; without it the
            weights are random.
        seed: Seed of masks and of the selection of images.
    """
    experiment = load_experiment("mnist")
    digits = _digits(experiment, 4 if quick else 24, seed).to(device)
    teacher = experiment.runs[Role.TEACHER].on(device)
    models = {role: run.on(device) for role, run in experiment.runs.items()}
    tries = 3 if quick else 5

    yield from overheads(teacher, models, digits[:1], 2000 if quick else 4000, tries)
    yield three_models(models, digits[:1], tries)
    model = mobilenet(mobilenet_weights).to(device)
    photo = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).to(device)
    count = 512 if quick else 1024
    yield overhead("overhead_mobilenet_v2", "MobileNetV2, 224 px", {"model": model}, photo, count, tries)
    speedup = same_masks(model, photo, 100 if quick else 200, count, 1 if quick else 3)
    yield speedup
    if not quick:
        yield from _large_networks(photo)
    yield from bench_intervals(models[Role.STUDENT], digits[: 2 if quick else 6], quick)
    yield from masks_needed("", teacher, digits, (28, 28), 0.5, quick)
    teacher_224 = nn.Sequential(nn.AvgPool2d(SIDE // 28), teacher).eval()
    enlarged = F.interpolate(digits[: 2 if quick else 8], size=(SIDE, SIDE))
    at_224 = list(masks_needed("_224", teacher_224, enlarged, (SIDE, SIDE), 0.5, quick))
    yield from at_224
    ratio = next(row.value for row in at_224 if row.key == "masks_ratio_r99_224")
    yield Measurement(
        "equal_quality_speedup",
        "time to a map of r = .99, MobileNetV2, 224 px: published code / kdviz",
        ratio * speedup.value,
        "x",
        {"masks_ratio_r99_224": ratio, "same_masks_speedup": speedup.value},
    )
    if not quick:
        for probability in (0.1, 0.2, 0.3):
            yield from masks_needed(f"_p{round(100 * probability)}", teacher, digits[:12], (28, 28), probability, quick)
        yield from memory(device)


def _large_networks(photo: Tensor) -> Iterator[Measurement]:
    """The overhead of networks for which the pass outweighs all else, with random weights."""
    for name, title, count in (("resnet50", "ResNet50", 256), ("vit_b_16", "ViT-B/16", 128)):
        network = build_network(f"torchvision/{name}", classes=1000, channels=3, size=(SIDE, SIDE))
        network = network.eval().requires_grad_(False).to(photo.device)
        yield overhead(f"overhead_{name}", f"{title}, 224 px, 1,000 classes", {"model": network}, photo, count, 3)


def _digits(experiment: Experiment, count: int, seed: int) -> Tensor:
    """(count, 1, 28, 28): bundled digits, which no model was trained on, drawn at random."""
    samples = bundled_digits()[Split.BUNDLED]
    indices = np.random.default_rng(seed).choice(len(samples.labels), count, replace=False)
    return torch.cat([experiment.preprocess(samples.picture(int(index))) for index in indices])
