"""A large experiment to measure the pages on: the trained MNIST models and tens of thousands of stored digits."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import torch

from kdviz.core.files import MODELS
from kdviz.data import LabelledImages, bundled_digits, mnist
from kdviz.experiment import load_experiment
from kdviz.studies.predictions.evaluation import evaluate

_SHIFTS = sorted(product(range(-2, 3), repeat=2), key=lambda shift: (abs(shift[0]) + abs(shift[1]), shift))
"""Down and right, in pixels; the smallest first."""


def large_experiment(folder: Path, data: Path | None = None, samples: int = 50_000) -> Path:
    """Copy the trained MNIST experiment, with pictures and predictions of many digits as its test split.

    Args:
        folder: To make; what is in it is replaced.
        data: The official MNIST, of which these are training digits; without it, shifted copies of the bundled ones.
        samples: How many digits to keep.

    Returns:
        The folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(MODELS / "mnist", folder, ignore=shutil.ignore_patterns("*.parquet"))
    experiment = load_experiment(folder)
    experiment.title = f"{samples:,} digits"
    digits = mnist(data)["train"] if data is not None else _shifted(samples)
    kept = digits.take(torch.arange(min(samples, len(digits))), "test")
    for run in experiment.runs.values():
        run.metrics.clear()
    for _ in evaluate(experiment, kept):
        pass
    experiment.write_samples([kept])
    return folder


def _shifted(samples: int) -> LabelledImages:
    """The bundled digits, again and again, each time moved by some pixels in another direction."""
    digits = bundled_digits()["bundled"]
    times = -(-samples // len(digits))
    moved = [digits.images.roll(_SHIFTS[time % len(_SHIFTS)], (2, 3)) for time in range(times)]
    return LabelledImages(torch.cat(moved), digits.labels.repeat(times), digits.classes, "test")
