"""The runs of an experiment: a teacher or several, the KD student, the same student trained alone."""

from __future__ import annotations

import copy
import platform
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kdviz.datasets import LabelledImages, mnist
from kdviz.distill.check import check_teacher
from kdviz.distill.config import TEACHER_SETTINGS, TrainingConfig
from kdviz.distill.runs import new_network
from kdviz.distill.training import Progress, fit, predict_logits
from kdviz.experiment import Experiment, InputSpec
from kdviz.files import require_writable

MNIST_INPUT = InputSpec(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,), fit="digit")
"""Values in [0, 1] as the paper's nets take them, so that 0 is black."""


@dataclass(frozen=True)
class Stage:
    """Progress of one of several trainings: ``name`` says which, ``number`` of ``count``."""

    name: str
    number: int
    count: int
    progress: Progress


def train_mnist(
    data: str | Path | None,
    out: str | Path,
    config: TrainingConfig,
    *,
    teachers: Sequence[str] = ("paper_cnn",),
    student: str = "paper_fc",
    teacher_epochs: int | None = None,
) -> Iterator[Stage]:
    """Train the MNIST models and write them to ``out`` as an experiment without figures.

    An experiment that is there is replaced; its tables are kept under another name if its teacher was another.

    The teacher's logits of the training digits are computed once. Both students start from the same weights
    and see the digits in the same order; they differ by the loss alone.

    Args:
        data: Folder of MNIST, or None to download it.
        out: The experiment's folder.
        config: The recipe of all; what concerns the teacher is the KD student's, and ``label_smoothing`` the
            students': a teacher trained with it teaches less (Müller et al., 2019).
        teachers: Networks by name. Several have the roles ``teacher``, ``teacher_2``... and each its own seed, from
            ``config.seed`` on; the KD student learns from their mean.
        student: A network by name.
        teacher_epochs: Another number of epochs for the teachers.
    """
    config.check_teachers(len(teachers))
    require_writable(out)
    splits = mnist(data)
    training, validation = splits["train"], splits["validation"]
    classes = len(training.classes)
    experiment = Experiment(Path(out), "mnist", training.classes, MNIST_INPUT, {}, title="MNIST")
    fresh = new_network(student, MNIST_INPUT, classes, config.seed)  # a wrong name fails before the teacher is trained

    seeds = [(config.seed + number) % 2**31 for number in range(len(teachers))]
    untrained = [new_network(name, MNIST_INPUT, classes, seed) for name, seed in zip(teachers, seeds, strict=True)]
    count = len(teachers) + 2
    answers = []
    for number, (name, seed, network) in enumerate(zip(teachers, seeds, untrained, strict=True), 1):
        role = "teacher" if number == 1 else f"teacher_{number}"
        own = replace(config, epochs=teacher_epochs or config.epochs, seed=seed, label_smoothing=0.0)
        for progress in fit(network, training, validation, MNIST_INPUT.normalise, own):
            yield Stage(role, number, count, progress)
        check_teacher(network.requires_grad_(False), experiment.classes, training.classes)
        experiment.add_run(role, name, network, training_record(own, training, validation, distilled=False), {})
        answers.append(predict_logits(network, training, MNIST_INPUT.normalise, device=config.device))
    soft = answers[0] if len(answers) == 1 else torch.stack(answers)

    for number, role in ((count - 1, "kd_student"), (count, "student")):
        distilled = role == "kd_student"
        network = copy.deepcopy(fresh)
        for progress in fit(network, training, validation, MNIST_INPUT.normalise, config, soft if distilled else None):
            yield Stage(role, number, count, progress)
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
        record = {name: value for name, value in record.items() if name not in TEACHER_SETTINGS}
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
