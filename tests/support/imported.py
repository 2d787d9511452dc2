"""Experiments of format 2 as an import makes them: models of several libraries, each with its own input."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from shared_folders import made_once
from torch import Tensor
from torch.nn.functional import cross_entropy

from kdviz.core.files import atomic_write
from kdviz.data import LabelledImages
from kdviz.data.samples import as_pixels
from kdviz.data.store import samples_table
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import PREDICTIONS, Experiment, InputSpec, Run
from kdviz.models.inputs import common_picture
from kdviz.studies.predictions.evaluation import evaluate, model_metrics, predictions_table

CLASSES = ("blue", "green", "red", "grey")
_TINTS = np.array([[30, 50, 200], [60, 220, 70], [220, 60, 40], [130, 130, 130]])
UNKNOWN = -1

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LARGE = InputSpec((96, 96), 3, *_IMAGENET, resize=110)
SMALL = InputSpec((64, 64), 3, (0.5,) * 3, (0.5,) * 3, resize=72, interpolation="bilinear")
GREY = InputSpec((28, 28), 1, (0.4,), (0.3,), resize=32)


@dataclass(frozen=True)
class Given:
    """One model to put in: see :class:`kdviz.experiment.Run`; ``epochs`` 0 leaves its weights random."""

    role: str
    network: str
    spec: InputSpec
    title: str = ""
    order: tuple[int, ...] | None = None
    logits: int = len(CLASSES)
    epochs: int = 12


TEACHER = Given("teacher", "timm/mobilenetv3_small_050", LARGE)
KD_STUDENT = Given("kd_student", "torchvision/shufflenet_v2_x0_5", SMALL, "KD, T = 16", order=(2, 0, 3, 1))
STUDENT = Given("student", "paper_cnn", GREY)
FREE = Given("kd-t16", "torchvision/shufflenet_v2_x0_5", SMALL, "KD, T = 16")
OTHER = Given("dkd", "timm/mobilenetv3_small_050", LARGE, "DKD <b>bold</b>")


def pictures(count: int, seed: int = 0) -> tuple[list[Image.Image], Tensor]:
    """Noisy rectangles of a class's colour on a dark ground, 120 x 140 pixels, and their labels."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    drawn = []
    for label in labels:
        ground = np.full((120, 140, 3), draw.integers(0, 90))
        top, left = draw.integers(10, 40, 2)
        ground[top : top + 70, left : left + 80] = _TINTS[label]
        noisy = (ground + draw.normal(0, 25, ground.shape)).clip(0, 255).astype(np.uint8)
        drawn.append(Image.fromarray(noisy))
    return drawn, torch.from_numpy(labels).long()


def inputs(images: Sequence[Image.Image], spec: InputSpec) -> Tensor:
    """uint8 (N, C, H, W), as an input's own transforms make them."""
    return torch.stack([torch.from_numpy(as_pixels(spec.transform(image)).copy()) for image in images])


@cache
def weights_of(given: Given, seed: int) -> dict[str, Tensor]:
    """The weights of a network after some steps on :func:`pictures`; variants of an experiment share them."""
    network = new_network(given.network, given.spec, given.logits, seed)
    if given.epochs:
        images, labels = pictures(32, 100)
        wanted = labels if given.order is None else torch.tensor(given.order)[labels]
        batch = given.spec.normalise(inputs(images, given.spec))
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        network.train()
        for _ in range(given.epochs):
            optimizer.zero_grad()
            cross_entropy(network(batch), wanted).backward()
            optimizer.step()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0  # so few steps leave the running statistics far behind
        with torch.no_grad():
            network(batch)
    return {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}


def experiment_of(
    folder: Path,
    models: Sequence[Given],
    classes: Sequence[str] = CLASSES,
    *,
    labelled: bool = True,
    count: int = 48,
    stored: int | None = None,
    tables: bool = True,
) -> Experiment:
    """The experiment, written into a folder.

    Args:
        folder: To be made.
        models: In their order.
        classes: Names; the pictures are of the first four.
        labelled: Whether the pictures' labels are known.
        count: Pictures that are predicted.
        stored: The most that are kept; None: all.
        tables: Whether there are predictions and pictures at all.
    """
    folder.mkdir(parents=True)
    picture = common_picture([model.spec for model in models])
    experiment = Experiment(folder, "imported", tuple(classes), picture, {}, f"Imported {folder.name}")
    for seed, given in enumerate(models):
        experiment.runs[given.role] = _run(experiment, given, seed)
    experiment.save()
    if tables:
        images, labels = pictures(count, 1)
        labels = labels if labelled else torch.full_like(labels, UNKNOWN)
        names = tuple(f"val/{number:03}.jpg" for number in range(count))
        samples = LabelledImages(inputs(images, picture), labels, experiment.classes, "test", names)
        _predict(experiment, samples)
        atomic_write(folder / "samples.parquet", samples_table([samples], stored))
    return experiment


def with_predictions(experiment: Experiment, role: str, title: str, of: str) -> Experiment:
    """One more run of which only the predictions are known: those of another, with noise."""
    table = experiment.table("predictions")
    rows = table.filter([role == of for role in table["role"].to_pylist()]).sort_by("sample")
    logits = torch.from_numpy(np.stack(rows["logits"].to_numpy(zero_copy_only=False)).copy())
    logits += torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    labels = torch.from_numpy(rows["label"].to_numpy().astype(np.int64))
    known = None if bool((labels < 0).any()) else labels
    run = Run(role, PREDICTIONS, "", "", {"import": {"file": "x.npz", "network_from": "given"}}, {}, experiment.folder,
              experiment.input, len(experiment.classes), picture=experiment.input, title=title)  # fmt: skip
    run.metrics["test"] = model_metrics(logits, known, None)
    import pyarrow as pa

    more = predictions_table("test", labels, {role: logits})
    experiment.write_table("predictions", pa.concat_tables([table, more]).unify_dictionaries())
    experiment.runs[role] = run
    experiment.save()
    return experiment


def _run(experiment: Experiment, given: Given, seed: int) -> Run:
    content = save(weights_of(replace(given, role="", title=""), seed))
    digest = hashlib.sha256(content).hexdigest()
    file = f"{given.role}-{digest[:8]}.safetensors"
    atomic_write(experiment.folder / file, content)
    record = {
        "file": f"{given.role}.pth",
        "network_from": "matched",
        "input_from": "library",
        "notes": ["The weights under 'model_ema' were taken."],
    }
    return Run(
        given.role,
        given.network,
        file,
        digest,
        {"import": record},
        {},
        experiment.folder,
        given.spec,
        given.logits,
        picture=experiment.input,
        class_order=given.order,
        title=given.title,
    )


def _predict(experiment: Experiment, samples: LabelledImages) -> None:
    if bool((samples.labels >= 0).all()):
        for _ in evaluate(experiment, samples, "cpu"):
            pass
        return
    values = experiment.input.normalise(samples.images)
    with torch.inference_mode():
        logits = {role: run.model(values).clone() for role, run in experiment.models.items()}
    for role, run in experiment.models.items():
        run.metrics["test"] = model_metrics(logits[role], None, None if role == "teacher" else logits.get("teacher"))
    experiment.write_table("predictions", predictions_table("test", samples.labels, logits))
    experiment.save()


# the variants ---------------------------------------------------------------------------------------------------------


def three(folder: Path, **more: object) -> Experiment:
    """Teacher at 96 px, KD student at 64 px with its classes in another order, grey student at 28 px."""
    return experiment_of(folder, [TEACHER, KD_STUDENT, STUDENT], **more)  # type: ignore[arg-type]


def pair(folder: Path, **more: object) -> Experiment:
    return experiment_of(folder, [TEACHER, KD_STUDENT], **more)  # type: ignore[arg-type]


def free_pair(folder: Path, **more: object) -> Experiment:
    """Two models of which none has a usual role."""
    return experiment_of(folder, [FREE, OTHER], **more)  # type: ignore[arg-type]


def students(folder: Path, **more: object) -> Experiment:
    """No teacher."""
    return experiment_of(folder, [KD_STUDENT, STUDENT], **more)  # type: ignore[arg-type]


def thousand(folder: Path) -> Experiment:
    """1,000 classes, of which the data show four."""
    names = (*CLASSES, *(f"class {number}" for number in range(len(CLASSES), 1000)))
    models = [replace(model, order=None, logits=1000) for model in (TEACHER, KD_STUDENT)]
    return experiment_of(folder, models, names)


def subset(folder: Path) -> Experiment:
    """The teacher has ten outputs, of which four are the experiment's classes."""
    return experiment_of(folder, [replace(TEACHER, order=(7, 1, 5, 3), logits=10), KD_STUDENT])


# for tests ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def imported_folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Name of a variant, and more -> its folder; each is made once."""

    def make(name: str, **more: object) -> Path:
        key = re.sub(r"\W+", "-", name + repr(more))
        return made_once(tmp_path_factory, f"imported-{key}/{name}", lambda folder: globals()[name](folder, **more))

    return make
