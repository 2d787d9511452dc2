"""From names and files to a training: data sets, networks with their weights, a teacher's logits, usual settings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import DatasetError, SettingError
from kdviz.core.files import Store, parquet_of
from kdviz.core.vocabulary import Role, Split
from kdviz.data.pictures import Reading, files_below, left_out, read_pictures
from kdviz.data.readers.folders import images_below
from kdviz.data.registry import DataSet, Recipe, find_dataset, trainable_datasets
from kdviz.data.samples import LabelledImages
from kdviz.data.shortcuts.planting import PlantedShortcut
from kdviz.distill.config import TrainingConfig
from kdviz.distill.prediction import predict_logits
from kdviz.distill.sources import ModelSource, labelled_part
from kdviz.distill.transfer import HEAD, frozen_backbone, trains_head_only
from kdviz.experiment import Experiment, InputSpec
from kdviz.models.checkpoints import download_pretrained, pretrained_input, read_checkpoint
from kdviz.models.networks import RENORMALISED, are_probabilities, require_network

# data -----------------------------------------------------------------------------------------------------------------


def recipe_for(dataset: str | DataSet) -> Recipe:
    """The usual training on a data set, by its name or declaration.

    Raises:
        UnknownNameError: There is no such data set to train on.
    """
    recipe = _entry(dataset).recipe
    assert recipe is not None, "only a data set that can be trained on is found by its name"
    return recipe


def _entry(dataset: str | DataSet) -> DataSet:
    return dataset if isinstance(dataset, DataSet) else find_dataset(dataset)


def dataset_for(dataset: str, data: str | Path | None, size: Sequence[int] | None = None, **options: Any) -> DataSet:
    """The declaration of a data set, by name, for given data: some have a recipe and an input that depend on them.

    Args:
        dataset: Name of a data set that can be trained on.
        data: Its folder; None where it is downloaded.
        size: Height and width that the user wants; None: what suits the data.
        options: Options of the data set's reader.

    Raises:
        UnknownNameError: There is no such data set.
        DatasetError: The folder is missing or cannot be used.
        SettingError: The data set has no such option.
    """
    entry = find_dataset(dataset)
    if data is None and entry.needs_folder:
        raise DatasetError("The data set '{dataset}' is not downloaded; name its folder with --data.", dataset=dataset)
    for option in options:
        if option not in entry.options:
            raise SettingError("The data set '{dataset}' has no option '{option}'.", dataset=dataset, option=option)
    return entry if entry.of_data is None else entry.of_data(data, tuple(size) if size else None, **options)


def read_splits(
    dataset: str | DataSet, data: str | Path | None, spec: InputSpec, **options: Any
) -> dict[str, LabelledImages]:
    """The splits ``train``, ``validation`` and ``test`` of a data set.

    Args:
        dataset: Name of a data set that can be trained on, or what :func:`dataset_for` returns for these data.
        data: Its folder; None where it is downloaded.
        spec: Input of the networks.
        options: Options of the data set's reader.

    Raises:
        UnknownNameError: There is no such data set.
        DatasetError: The folder is missing or cannot be used.
        SettingError: The data set has no such option.
    """
    entry = dataset if isinstance(dataset, DataSet) else dataset_for(dataset, data, spec.size, **options)
    return entry.read(data, size=spec.size, channels=spec.channels, **options)


def title_of(dataset: str | DataSet, splits: Mapping[str, LabelledImages]) -> str:
    """The title of an experiment on these splits."""
    entry = _entry(dataset)
    return entry.title if entry.title_of is None else entry.title_of(splits)


def input_for(dataset: str | DataSet, student: str, size: Sequence[int] | None = None) -> InputSpec:
    """The input of all models of an experiment: the data set's own, or what the student's pretrained weights expect.

    Args:
        dataset: Name of a data set, or what :func:`dataset_for` returns.
        student: Network by name.
        size: Height and width; default the student's own.
    """
    fixed = _entry(dataset).input
    if fixed is not None:
        return InputSpec(**fixed)
    try:
        pretrained = pretrained_input(student)
    except SettingError:  # a network of kdviz's own has no weights of ImageNet
        pretrained = pretrained_input("torchvision/mobilenet_v2")
    height, width = size or pretrained.size
    return InputSpec((height, width), 3, pretrained.mean, pretrained.std)


def read_unlabelled(folder: str | Path, like: LabelledImages, spec: InputSpec) -> LabelledImages:
    """Images of a folder, in any subfolders, without known labels (they are all set to 0).

    Raises:
        DatasetError: There are no images, or one cannot be read.
    """
    root = Path(folder)
    names = images_below(root, root)
    if not names:
        instead = "".join(f" ({doubt.text.rstrip('.')})" for doubt in left_out(files_below(root, root), ()))
        raise DatasetError("There are no images in '{folder}'{instead}.", folder=folder, instead=instead)
    reading = Reading()
    images = read_pictures(root, names, spec.size, spec.channels, reading)
    labels = torch.zeros(len(names), dtype=torch.int64)
    doubts = (*left_out(files_below(root, root), names), *reading.doubts())
    notes = tuple(f"In '{folder}': {doubt.text}" for doubt in doubts)
    return LabelledImages(images, labels, like.classes, "unlabelled", tuple(names), notes=notes, doubts=doubts)


def read_logits(path: str | Path, samples: LabelledImages) -> Tensor:
    """A teacher's logits of the training samples, from a file made elsewhere: float32 (len(samples), classes).

    A parquet file has the columns ``sample`` and ``logits`` (a list per row), an .npz file the arrays ``sample`` (N,)
    and ``logits`` (N, classes). A sample is given by its name in the data set (``train/123`` for MNIST, a path in the
    data folder), or its index in the training split. Rows of other samples are ignored.

    Raises:
        DatasetError: The file cannot be read, has another form, lacks a training sample, or holds probabilities.
    """
    names, values = _logits_file(Path(path))
    if values.ndim != 2 or values.shape[1] != len(samples.classes) or len(names) != len(values):
        shape = tuple(values.shape)
        raise DatasetError(
            "The logits in '{path}' have shape {shape} for {n_names} samples; (samples, {n_classes}) "
            "is needed, one column a class.",
            path=path,
            shape=shape,
            n_names=len(names),
            n_classes=len(samples.classes),
        )
    if not np.isfinite(values).all():
        raise DatasetError("The logits in '{path}' must be finite.", path=path)
    row_of = {str(name): row for row, name in enumerate(names)}
    if len(row_of) < len(names):
        raise DatasetError("'{path}' has several rows of one sample; leave one of each.", path=path)
    has_names = samples.names is not None and any(name in row_of for name in samples.names)
    keys = samples.names if has_names and samples.names else tuple(map(str, range(len(samples))))
    missing = [name for name in keys if name not in row_of]
    if missing:
        raise DatasetError(
            "'{path}' lacks the logits of {n_missing} training samples (first '{missing}').",
            path=path,
            n_missing=len(missing),
            missing=missing[0],
        )
    if are_probabilities(values):
        raise DatasetError(
            "'{path}' holds probabilities, each row from 0 to 1 with sum 1, and not logits; write what "
            "the teacher gives before its softmax, or the logarithm of the probabilities.",
            path=path,
        )
    return torch.from_numpy(values[[row_of[name] for name in keys]].astype(np.float32))


def _logits_file(path: Path) -> tuple[list[Any], np.ndarray]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return np.atleast_1d(archive["sample"]).tolist(), np.asarray(archive["logits"], dtype=np.float64)
        table = parquet_of(path.read_bytes(), ["sample", "logits"])
        return table["sample"].to_pylist(), np.array(table["logits"].to_pylist(), dtype=np.float64)
    except Exception as error:  # numpy and pyarrow have many ways to say that a file is damaged
        raise DatasetError(
            "'{path}' cannot be read as a teacher's logits; it must be .npz or .parquet with sample and logits.",
            path=path,
        ) from error


# networks -------------------------------------------------------------------------------------------------------------


def model_source(
    network: str,
    spec: InputSpec,
    *,
    weights: str | Path | None = None,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
) -> ModelSource:
    """A network by name, with the weights it begins with.

    Args:
        network: Name of the network.
        spec: Specification of the experiment's input.
        weights: A file of weights that were trained on other classes.
        checkpoint: A file of a finished classifier of the experiment's classes, which is used as it is.
        pretrained: Without a file, begin with ImageNet's weights, which are downloaded.

    Raises:
        UnknownNameError: There is no such network.
        SettingError: Both files are given.
        ModelError: A file cannot be used, or the weights cannot be downloaded.
    """
    if weights and checkpoint:
        raise SettingError("Give a network either pretrained weights or a finished checkpoint, not both.")
    require_network(network)
    if not weights and not checkpoint and not pretrained:
        return ModelSource(network)
    if checkpoint:
        state, source = read_checkpoint(checkpoint), Path(checkpoint).name
    elif weights:
        state, source = read_checkpoint(weights), Path(weights).name
    else:
        state, source = download_pretrained(network), "ImageNet"
    return ModelSource(network, state, bool(checkpoint), None if checkpoint else _other_input(network, spec), source)


def _other_input(network: str, spec: InputSpec) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std that the pretrained weights expect, where those of the experiment's input differ."""
    try:
        expected = pretrained_input(network.removesuffix(RENORMALISED))
    except SettingError:
        return None
    expected_norm, spec_norm = (expected.mean, expected.std), (spec.mean, spec.std)
    return None if np.allclose(expected_norm, spec_norm, atol=1e-3) else expected_norm


# studies --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudyInputs:
    """The data, networks and initial weights of the trainings of a study.

    Attributes:
        splits, teacher_splits: The samples as the students and teachers see them: images, or features where only heads
            are trained.
        network, teacher_network: Names of the networks.
        spec, teacher_spec: Specifications of their inputs.
        start: The name in the store of the weights that students begin with; empty: fresh ones.
        answers: Logits of the experiment's teacher: split -> logits.
    """

    splits: Mapping[str, LabelledImages]
    teacher_splits: Mapping[str, LabelledImages]
    network: str
    teacher_network: str
    spec: InputSpec
    teacher_spec: InputSpec
    start: str = ""
    answers: Mapping[str, Tensor] | None = None


def study_inputs(
    experiment: Experiment, splits: Mapping[str, LabelledImages], store: Store, config: TrainingConfig
) -> StudyInputs:
    """The inputs of a study that trains as the experiment's KD student and its teacher were trained.

    Args:
        experiment: An experiment with a teacher and a KD student.
        splits: All splits of its data set.
        store: Store of the study's files; features are kept there.
        config: The recipe of the students.
    """
    teacher, student = experiment.runs[Role.TEACHER], experiment.runs[Role.KD_STUDENT]
    record, spec = student.training, experiment.input
    if record.get("labelled"):
        labelled, _ = labelled_part(splits[Split.TRAIN], int(record["labelled"]), int(record.get("seed", 0)))
        splits = {**splits, Split.TRAIN: splits[Split.TRAIN].take(labelled)}
    shortcut = PlantedShortcut.from_records(run.training for run in experiment.runs.values())
    splits, teacher_splits = _with_shortcut(splits, shortcut)
    plain = StudyInputs(splits, teacher_splits, student.network, teacher.network, spec, spec)
    # The models are only loaded where their features are needed.
    backbone = frozen_backbone(student.model, spec, store, config) if trains_head_only(config) else None
    if backbone is None:
        return replace(plain, start=_start(experiment, store, str(record.get("start", ""))))
    student_features = {name: backbone.as_samples(samples) for name, samples in splits.items()}
    heads = replace(plain, splits=student_features, network=HEAD, spec=backbone.head_spec())
    teacher_backbone = frozen_backbone(teacher.model, spec, store, config)
    if teacher_backbone is None:
        logits = {
            name: predict_logits(teacher.model, samples, spec.normalise, device=config.device)
            for name, samples in splits.items()
        }
        return replace(heads, answers=logits)
    heads = replace(heads, answers={name: teacher_backbone.logits(samples) for name, samples in splits.items()})
    if teacher.training.get("unfreeze") != "head":
        return heads
    teacher_features = {name: teacher_backbone.as_samples(samples) for name, samples in teacher_splits.items()}
    return replace(
        heads, teacher_splits=teacher_features, teacher_network=HEAD, teacher_spec=teacher_backbone.head_spec()
    )


def _with_shortcut(
    splits: Mapping[str, LabelledImages], shortcut: PlantedShortcut | None
) -> tuple[Mapping[str, LabelledImages], Mapping[str, LabelledImages]]:
    """The splits of the students and of the teachers, whose training pictures have the experiment's shortcut."""
    if shortcut is None:
        return splits, splits
    training = splits[Split.TRAIN]
    return (
        {**splits, Split.TRAIN: shortcut.for_students(training)},
        {**splits, Split.TRAIN: shortcut.for_teacher(training)},
    )


def _start(experiment: Experiment, store: Store, name: str) -> str:
    """Copy the weights that the experiment's students began with into this store; return their name."""
    if name and not store.has(name):
        content = Store(experiment.folder / "runs").read(name)
        if content is None:
            raise SettingError(
                "'{folder}/runs/{name}', the weights that its students began with, is missing; train "
                "the experiment again.",
                folder=experiment.folder,
                name=name,
            )
        store.write(name, content)
    return name


def __getattr__(name: str) -> Any:
    if name == "RECIPES":
        text = "kdviz.distill.recipes.RECIPES is now kdviz.data.datasets[NAME].recipe; it goes with the next release."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return {dataset: recipe_for(dataset) for dataset in trainable_datasets()}
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
