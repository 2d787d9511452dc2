"""Large experiments for measurements of the pages: tens of thousands of stored digits, and a thousand classes."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import torch

from kdviz.core.files import MODELS
from kdviz.core.vocabulary import Role, Split
from kdviz.data import LabelledImages, bundled_digits, mnist
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment, InputSpec, load_experiment
from kdviz.studies.predictions.evaluation import evaluate, record_predictions

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


def many_classes(folder: Path, samples: int = 50_000, classes: int = 1000) -> Path:
    """An experiment of many classes, whose models are right on about two of three samples.

    Answers, and not their computation, are what the pages are measured with: logits are drawn, with most mistakes in a
    class's own block of ten, and the pictures are digits.

    Args:
        folder: Folder to create; its content is replaced.
        samples: Number of pictures.
        classes: Number of classes; their names are numbers as WordNet writes them.

    Returns:
        The folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
    names = tuple(f"n{number:08}" for number in range(classes))
    experiment = Experiment(folder, "folder", names, InputSpec((28, 28), 1, (0.1307,), (0.3081,)), {}, "Many classes")
    for seed, role in enumerate((Role.TEACHER, Role.KD_STUDENT, Role.STUDENT)):
        network = new_network("paper_fc", experiment.input, classes, seed).eval()
        experiment.add_run(role, "paper_fc", network, {"epochs": 0}, {})
    labels = torch.arange(samples) % classes
    record_predictions(
        experiment,
        Split.TEST,
        labels,
        {role: _logits(labels, classes, seed) for seed, role in enumerate(experiment.runs)},
    )
    experiment.save()
    pictures = LabelledImages(_shifted(samples).images[:samples], labels, names, Split.TEST)
    experiment.write_samples([pictures], 2000)
    return folder


def _logits(labels: torch.Tensor, classes: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(labels), classes, generator=draw)
    rows, block = torch.arange(len(labels)), labels // 10 * 10
    logits[rows, (block + torch.randint(10, labels.shape, generator=draw)).clamp(max=classes - 1)] += 5
    logits[rows, labels] += 6
    return logits


def _shifted(samples: int) -> LabelledImages:
    """Copies of the bundled digits, each shifted by some pixels in another direction."""
    digits = bundled_digits()[Split.BUNDLED]
    repeats = -(-samples // len(digits))
    shifted = [digits.images.roll(_SHIFTS[repeat % len(_SHIFTS)], (2, 3)) for repeat in range(repeats)]
    return LabelledImages(torch.cat(shifted), digits.labels.repeat(repeats), digits.classes, Split.TEST)
