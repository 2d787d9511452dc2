"""The three runs of an experiment: teacher, KD student, the same student trained alone."""

from __future__ import annotations

import copy
import platform
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kdviz.datasets import LabelledImages, mnist
from kdviz.distill.training import Progress, TrainingConfig, fit, predict_logits
from kdviz.experiment import Experiment, InputSpec
from kdviz.files import require_writable
from kdviz.networks import build_network

MNIST_INPUT = InputSpec(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,), fit="digit")
"""Values in [0, 1] as the paper's nets take them, so that 0 is black."""


@dataclass(frozen=True)
class Stage:
    """Progress of one of several trainings: ``name`` says which, ``number`` of ``count``."""

    name: str
    number: int
    count: int
    progress: Progress


def new_network(name: str, spec: InputSpec, classes: int, seed: int) -> nn.Module:
    """A network whose initial weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(name, classes=classes, channels=spec.channels, size=spec.size)


def train_mnist(
    data: str | Path | None,
    out: str | Path,
    config: TrainingConfig,
    *,
    teacher: str = "paper_cnn",
    student: str = "paper_fc",
    teacher_epochs: int | None = None,
) -> Iterator[Stage]:
    """Train the three MNIST models and write them to ``out`` as an experiment without figures.

    An experiment that is there is replaced; its tables are kept under another name if its teacher was another.

    The teacher's logits of the training digits are computed once. Both students start from the same weights
    and see the digits in the same order; they differ by the loss alone.

    Args:
        data: Folder of MNIST, or None to download it.
        out: The experiment's folder.
        config: The recipe of all three; ``temperature`` and ``alpha`` are the KD student's.
        teacher, student: Networks by name.
        teacher_epochs: Another number of epochs for the teacher.
    """
    require_writable(out)
    splits = mnist(data)
    training, validation = splits["train"], splits["validation"]
    classes = len(training.classes)
    experiment = Experiment(Path(out), "mnist", training.classes, MNIST_INPUT, {}, title="MNIST")
    fresh = new_network(student, MNIST_INPUT, classes, config.seed)  # a wrong name fails before the teacher is trained

    teacher_config = replace(config, epochs=teacher_epochs or config.epochs)
    network = new_network(teacher, MNIST_INPUT, classes, config.seed)
    for progress in fit(network, training, validation, MNIST_INPUT.normalise, teacher_config):
        yield Stage("teacher", 1, 3, progress)
    record = training_record(teacher_config, training, validation, distilled=False)
    experiment.add_run("teacher", teacher, network, record, {})
    soft = predict_logits(network, training, MNIST_INPUT.normalise, device=config.device)

    for number, role in ((2, "kd_student"), (3, "student")):
        distilled = role == "kd_student"
        network = copy.deepcopy(fresh)
        for progress in fit(network, training, validation, MNIST_INPUT.normalise, config, soft if distilled else None):
            yield Stage(role, number, 3, progress)
        record = training_record(config, training, validation, distilled=distilled)
        experiment.add_run(role, student, network, record, {})
    experiment.set_aside_tables()
    experiment.save()


def training_record(
    config: TrainingConfig, training: LabelledImages, validation: LabelledImages, *, distilled: bool
) -> dict[str, object]:
    """What experiment.json says about how a run was trained: everything needed to do it again."""
    record: dict[str, object] = {
        **config.to_json(),
        "optimizer": "adam",
        "train_samples": len(training),
        "validation_samples": len(validation),
        "selected_by": "validation accuracy",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if not distilled:
        del record["temperature"], record["alpha"]
    return record


def train_student(
    splits: dict[str, LabelledImages], student: str, spec: InputSpec, config: TrainingConfig, soft: Tensor | None
) -> Generator[Progress, None, nn.Module]:
    """Train one student and return it: on the teacher's logits ``soft`` of the split ``train``, or alone.

    ``config.seed`` decides its initial weights and the order of samples, as in :func:`train_mnist`.
    """
    training = splits["train"]
    network = new_network(student, spec, len(training.classes), config.seed)
    yield from fit(network, training, splits["validation"], spec.normalise, config, soft)
    return network
