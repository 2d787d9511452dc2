"""A large experiment for measurements of the pages: the trained MNIST models and tens of thousands of stored digits."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import torch

from kdviz.core.files import MODELS
from kdviz.core.vocabulary import Split
from kdviz.data import LabelledImages, bundled_digits, mnist
from kdviz.experiment import load_experiment
from kdviz.studies.predictions.evaluation import evaluate

_SHIFTS = sorted(product(range(-2, 3), repeat=2), key=lambda shift: (abs(shift[0]) + abs(shift[1]), shift))
"""Shifts down and right, in pixels; the smallest first."""


def large_experiment(folder: Path, data: Path | None = None, samples: int = 50_000) -> Path:
    """Copy the trained MNIST experiment, with pictures and predictions of many digits as its test split.

    Args:
        folder: Folder to create; its content is replaced.
        data: The official MNIST, whose training digits are used; without it, shifted copies of the bundled ones.
        samples: Number of digits.

    Returns:
        The folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(MODELS / "mnist", folder, ignore=shutil.ignore_patterns("*.parquet"))
    experiment = load_experiment(folder)
    experiment.title = f"{samples:,} digits"
    digits = mnist(data)[Split.TRAIN] if data is not None else _shifted(samples)
    stored = digits.take(torch.arange(min(samples, len(digits))), Split.TEST)
    for run in experiment.runs.values():
        run.metrics.clear()
    for _ in evaluate(experiment, stored):
        pass
    experiment.write_samples([stored])
    return folder


def _shifted(samples: int) -> LabelledImages:
    """Copies of the bundled digits, each shifted by some pixels in another direction."""
    digits = bundled_digits()[Split.BUNDLED]
    repeats = -(-samples // len(digits))
    shifted = [digits.images.roll(_SHIFTS[repeat % len(_SHIFTS)], (2, 3)) for repeat in range(repeats)]
    return LabelledImages(torch.cat(shifted), digits.labels.repeat(repeats), digits.classes, Split.TEST)
