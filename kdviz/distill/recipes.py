"""From names and files to a training: data sets, networks with their weights, a teacher's logits, usual settings."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kdviz.core.errors import DatasetError, SettingError, UnknownNameError
from kdviz.core.files import Store, parquet_of
from kdviz.data import MHIST_IMAGES, LabelledImages, image_folder, mhist, mnist
from kdviz.data.folders import images_below
from kdviz.data.pictures import Reading, files_below, left_out, read_pictures
from kdviz.distill.config import TrainingConfig
from kdviz.distill.experiment_trainer import MNIST_INPUT, Origin, labelled_part
from kdviz.distill.training import predict_logits
from kdviz.distill.transfer import HEAD, frozen_backbone, trains_head_only
from kdviz.experiment import Experiment, InputSpec
from kdviz.models.checkpoints import download_pretrained, pretrained_input, read_checkpoint
from kdviz.models.networks import RENORMALISED, are_probabilities


@dataclass(frozen=True)
class Recipe:
    """What is usual for a data set.

    Attributes:
        title: Of the experiment.
        teacher, student: Networks by name.
        pretrained: Whether they begin with ImageNet's weights.
        epochs, teacher_epochs: Passes over the training split.
        batch_size: Samples a step.
        learning_rate: Of Adam.
        unfreeze: Which weights are trained; see :class:`kdviz.distill.TrainingConfig`.
    """

    title: str
    teacher: str
    student: str
    pretrained: bool
    epochs: int
    teacher_epochs: int
    batch_size: int
    learning_rate: float
    unfreeze: str


RECIPES = {
    "mnist": Recipe("MNIST", "paper_cnn", "paper_fc", False, 20, 12, 256, 1e-3, "all"),
    "mhist": Recipe("MHIST", "timm/resnetv2_50", "torchvision/mobilenet_v2", True, 30, 30, 32, 1e-3, "head"),
    "folder": Recipe("Images", "timm/resnetv2_50", "torchvision/mobilenet_v2", True, 30, 30, 32, 1e-3, "head"),
}
"""By data set. The transfer learning is the paper's (ResNet50V2 into MobileNetV2, frozen backbones, batch 32)."""


# data -----------------------------------------------------------------------------------------------------------------


def read_splits(dataset: str, data: str | Path | None, spec: InputSpec, **options: Any) -> dict[str, LabelledImages]:
    """The splits ``train``, ``validation`` and ``test`` of a data set by name.

    Args:
        dataset: One of ``RECIPES``.
        data: Its folder; None downloads MNIST.
        spec: Of the networks' input.
        options: Of its reader.

    Raises:
        UnknownNameError: No such data set.
        DatasetError: The folder is missing or cannot be used.
    """
    if dataset not in RECIPES:
        raise UnknownNameError("data set", dataset, RECIPES)
    if dataset == "mnist":
        return mnist(data)
    if data is None:
        raise DatasetError(f"The data set '{dataset}' is not downloaded; name its folder with --data.")
    if dataset == "mhist":
        return mhist(data, spec.size, **options)
    return image_folder(data, spec.size, channels=spec.channels, **options)


def title_of(dataset: str, splits: Mapping[str, LabelledImages]) -> str:
    """A heading for an experiment on these splits; other images in MHIST's layout must not pass for MHIST."""
    is_other = dataset == "mhist" and sum(map(len, splits.values())) != MHIST_IMAGES
    return "Images in MHIST's layout" if is_other else RECIPES[dataset].title


def input_for(dataset: str, student: str, size: Sequence[int] | None = None) -> InputSpec:
    """The input of all models of an experiment: MNIST's, or what the student's pretrained weights want.

    Args:
        dataset: One of ``RECIPES``.
        student: Network by name.
        size: Height and width; default the student's own.
    """
    if dataset == "mnist":
        return MNIST_INPUT
    try:
        own = pretrained_input(student)
    except SettingError:  # a network of kdviz's own has no weights of ImageNet
        own = pretrained_input("torchvision/mobilenet_v2")
    height, width = size or own.size
    return InputSpec((height, width), 3, own.mean, own.std)


def read_unlabelled(folder: str | Path, like: LabelledImages, spec: InputSpec) -> LabelledImages:
    """Images of a folder, in any subfolders, whose labels nobody knows (they are all 0).

    Raises:
        DatasetError: There are none, or one cannot be read.
    """
    root = Path(folder)
    names = images_below(root, root)
    if not names:
        instead = "".join(f" ({doubt.text.rstrip('.')})" for doubt in left_out(files_below(root, root), ()))
        raise DatasetError(f"There are no images in '{folder}'{instead}.")
    reading = Reading()
    images = read_pictures(root, names, spec.size, spec.channels, reading)
    labels = torch.zeros(len(names), dtype=torch.int64)
    doubts = (*left_out(files_below(root, root), names), *reading.doubts())
    notes = tuple(f"In '{folder}': {doubt.text}" for doubt in doubts)
    return LabelledImages(images, labels, like.classes, "unlabelled", tuple(names), notes=notes, doubts=doubts)


def read_logits(path: str | Path, samples: LabelledImages) -> Tensor:
    """A teacher's logits of the training samples, from a file made elsewhere: float32 (len(samples), classes).

    A parquet file has the columns ``sample`` and ``logits`` (a list a row), an .npz the arrays ``sample`` (N,) and
    ``logits`` (N, classes). A sample is its name in the data set (``train/123`` for MNIST, a path in the data folder),
    or its number in the training split. Rows of other samples are left alone.

    Raises:
        DatasetError: The file cannot be read, has another form, lacks a training sample, or holds probabilities.
    """
    names, values = _logits_file(Path(path))
    if values.ndim != 2 or values.shape[1] != len(samples.classes) or len(names) != len(values):
        shape = tuple(values.shape)
        raise DatasetError(
            f"The logits in '{path}' have shape {shape} for {len(names)} samples; (samples, {len(samples.classes)}) is "
            "needed, one column a class."
        )
    if not np.isfinite(values).all():
        raise DatasetError(f"The logits in '{path}' must be finite.")
    place = {str(name): number for number, name in enumerate(names)}
    if len(place) < len(names):
        raise DatasetError(f"'{path}' has several rows of one sample; leave one of each.")
    named = samples.names is not None and any(name in place for name in samples.names)
    wanted = samples.names if named and samples.names else tuple(map(str, range(len(samples))))
    missing = [name for name in wanted if name not in place]
    if missing:
        raise DatasetError(f"'{path}' lacks the logits of {len(missing)} training samples (first '{missing[0]}').")
    if are_probabilities(values):
        raise DatasetError(
            f"'{path}' holds probabilities, each row from 0 to 1 with sum 1, and not logits; write what the teacher "
            "gives before its softmax, or the logarithm of the probabilities."
        )
    return torch.from_numpy(values[[place[name] for name in wanted]].astype(np.float32))


def _logits_file(path: Path) -> tuple[list[Any], np.ndarray]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return np.atleast_1d(archive["sample"]).tolist(), np.asarray(archive["logits"], dtype=np.float64)
        table = parquet_of(path.read_bytes(), ["sample", "logits"])
        return table["sample"].to_pylist(), np.array(table["logits"].to_pylist(), dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError, EOFError, pa.ArrowException, BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"'{path}' cannot be read as a teacher's logits; it must be .npz or .parquet with sample and logits."
        ) from error


# networks -------------------------------------------------------------------------------------------------------------


def origin(
    network: str,
    spec: InputSpec,
    *,
    weights: str | Path | None = None,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
) -> Origin:
    """A network by name, with the weights it begins with.

    Args:
        network: By name.
        spec: Of the experiment's input.
        weights: A file of weights that were trained on other classes.
        checkpoint: A file of a finished classifier of the experiment's classes, which is used as it is.
        pretrained: Without a file, begin with ImageNet's weights, which are downloaded.

    Raises:
        SettingError: Both files are given.
        ModelError: A file cannot be used, or the weights cannot be downloaded.
    """
    if weights and checkpoint:
        raise SettingError("Give a network either pretrained weights or a finished checkpoint, not both.")
    if not weights and not checkpoint and not pretrained:
        return Origin(network)
    if checkpoint:
        state, source = read_checkpoint(checkpoint), Path(checkpoint).name
    elif weights:
        state, source = read_checkpoint(weights), Path(weights).name
    else:
        state, source = download_pretrained(network), "ImageNet"
    return Origin(network, state, bool(checkpoint), None if checkpoint else _other_input(network, spec), source)


def _other_input(network: str, spec: InputSpec) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std that pretrained weights want, where the experiment's input has others."""
    try:
        own = pretrained_input(network.removesuffix(RENORMALISED))
    except SettingError:
        return None
    wanted, given = (own.mean, own.std), (spec.mean, spec.std)
    return None if np.allclose(wanted, given, atol=1e-3) else wanted


# studies --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Material:
    """What the trainings of a study are made of.

    Attributes:
        splits, teacher_splits: As the students and teachers see them: images, or features where heads are trained.
        network, teacher_network: By name.
        spec, teacher_spec: Of their input.
        start: The name in the store of the weights that students begin with; empty: fresh ones.
        answers: What the experiment's teacher says: split -> logits.
    """

    splits: Mapping[str, LabelledImages]
    teacher_splits: Mapping[str, LabelledImages]
    network: str
    teacher_network: str
    spec: InputSpec
    teacher_spec: InputSpec
    start: str = ""
    answers: Mapping[str, Tensor] | None = None


def material(
    experiment: Experiment, splits: Mapping[str, LabelledImages], store: Store, config: TrainingConfig
) -> Material:
    """What a study of this experiment is made of: as its KD student and its teacher were trained.

    Args:
        experiment: Has a teacher and a KD student.
        splits: Of its data set, whole.
        store: Of the study's files; features are kept there.
        config: The recipe of the students.
    """
    teacher, student = experiment.runs["teacher"], experiment.runs["kd_student"]
    record, spec = student.training, experiment.input
    if record.get("labelled"):
        part, _ = labelled_part(splits["train"], int(record["labelled"]), int(record["seed"]))
        splits = {**splits, "train": splits["train"].take(part)}
    plain = Material(splits, splits, student.network, teacher.network, spec, spec)
    # The models are only loaded where their features are needed.
    backbone = frozen_backbone(student.model, spec, store, config) if trains_head_only(config) else None
    if backbone is None:
        return replace(plain, start=_start(experiment, store, str(record.get("start", ""))))
    own = {name: backbone.as_samples(samples) for name, samples in splits.items()}
    heads = replace(plain, splits=own, network=HEAD, spec=backbone.head_spec())
    other = frozen_backbone(teacher.model, spec, store, config)
    if other is None:
        answers = {
            name: predict_logits(teacher.model, samples, spec.normalise, device=config.device)
            for name, samples in splits.items()
        }
        return replace(heads, answers=answers)
    heads = replace(heads, answers={name: other.logits(samples) for name, samples in splits.items()})
    if teacher.training.get("unfreeze") != "head":
        return heads
    features = {name: other.as_samples(samples) for name, samples in splits.items()}
    return replace(heads, teacher_splits=features, teacher_network=HEAD, teacher_spec=other.head_spec())


def _start(experiment: Experiment, store: Store, name: str) -> str:
    """The weights that the experiment's students began with, in this store too."""
    if name and not store.has(name):
        content = Store(experiment.folder / "runs").read(name)
        if content is None:
            raise SettingError(
                f"'{experiment.folder}/runs/{name}', the weights that its students began with, is missing; train the "
                "experiment again."
            )
        store.write(name, content)
    return name
