"""Assembly of models and a data set into one experiment: its folder is made beside its target, then moved there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdviz.core.errors import ModelError, SettingError
from kdviz.data.doubts import recorded_doubts
from kdviz.data.given_predictions import read_predictions
from kdviz.data.labels.class_names import class_order
from kdviz.data.labels.imagenet import COUNT, imagenet
from kdviz.data.picture_files import PictureFiles
from kdviz.experiment import PREDICTIONS, Experiment, Run, load_experiment
from kdviz.importing.model import ImportedModel, import_model
from kdviz.importing.spec import ModelSpec
from kdviz.importing.staging import DATASET, move_into_place, require_replaceable, staging_folder, unfinished_of
from kdviz.models.inputs import InputSpec, common_picture
from kdviz.studies.predictions.file_evaluation import KEPT, evaluate_files

RECORD = "import"
"""Key of a run's training record that holds how the model was imported."""

_UNKNOWN_INPUT = InputSpec((224, 224), 3, (0.0,) * 3, (1.0,) * 3)


@dataclass(frozen=True)
class ImportProgress:
    """Progress of an import: its current stage, and how many steps of it are done.

    Attributes:
        stage: What is done.
        done, total: Steps of it.
        assumed: Before the measurement, what was found about each model: see :func:`report`.
    """

    stage: str
    done: int = 0
    total: int = 0
    assumed: Mapping[str, Mapping[str, Any]] | None = None


@dataclass
class ImportPlan:
    """Everything that an import needs to know.

    Attributes:
        out: The experiment's folder.
        models: The models, at least one.
        pictures: Pictures to measure the models on; None: no figures, and no pictures are stored.
        classes: Names of the experiment's classes; empty: those of the data, or of the models.
        aliases: Other names of classes, such as those of their folders -> their names.
        predictions: (role, title, file) of models of which only the predictions are known.
        title: Title of the experiment.
        trust: Whether code in files may run.
        device: A torch device, or ``auto``.
        keep: The most pictures to store.
    """

    out: Path
    models: Sequence[ModelSpec]
    pictures: PictureFiles | None = None
    classes: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    predictions: Sequence[tuple[str, str, Path]] = ()
    title: str = ""
    trust: bool = False
    device: str = "auto"
    keep: int = KEPT


def import_experiment(plan: ImportPlan) -> Iterator[ImportProgress]:
    """Import the experiment and yield progress; its folder is replaced at the end, or else stays as it was.

    Raises:
        FolderInUseError: Another process is writing the folder.
        KdvizError: A file cannot be used; the text says what to do.
    """
    require_replaceable(plan.out)
    small = plan.pictures.small_size if plan.pictures is not None else None
    with staging_folder(plan.out) as folder:
        models = []
        for number, spec in enumerate(plan.models):
            yield ImportProgress(f"read {spec.path.name}", number, len(plan.models))
            models.append(import_model(spec, folder, _class_count(plan), trust=plan.trust, pictures=small))
        pictures = plan.pictures and with_logit_labels(plan.pictures, models)
        title = plan.title or plan.out.name
        experiment = assemble_experiment(folder, models, plan.classes, pictures, title, plan.aliases)
        logits_of_role = _add_prediction_runs(plan, pictures, experiment)
        experiment.save()
        if pictures is not None:
            total = len(pictures)
            yield ImportProgress("read", len(models), len(models), report(experiment))
            steps = evaluate_files(
                experiment,
                pictures,
                plan.device,
                keep=plan.keep,
                given=logits_of_role,
                unfinished=unfinished_of(plan.out),
            )
            for done in steps:
                yield ImportProgress("evaluate", done, total)
        load_experiment(folder)  # raises an error before anything is replaced, if the result cannot be opened
        move_into_place(folder, plan.out)


def report(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """What was assumed about each model of an imported experiment, and its accuracy, as JSON can hold it.

    Role -> a dictionary with the keys ``title``, ``network``, ``network_from``, ``input``, ``input_from``,
    ``accuracy``, ``doubts`` and ``notes``.
    """
    doubts = recorded_doubts(experiment)
    summary = {}
    for role, run in experiment.runs.items():
        record = run.training.get(RECORD, {})
        accuracy = next((values["accuracy"] for values in run.metrics.values() if "accuracy" in values), None)
        summary[role] = {
            "title": run.title or role,
            "network": run.network,
            "network_from": record.get("network_from"),
            "input": run.spec.to_json() if run.has_model else None,
            "input_from": record.get("input_from"),
            "accuracy": accuracy,
            "doubts": [doubt.text for doubt in doubts if doubt.role == role],
            "notes": record.get("notes", []),
        }
    return summary


# the experiment -------------------------------------------------------------------------------------------------------


def _class_count(plan: ImportPlan) -> int | None:
    classes = plan.classes or (plan.pictures.classes if plan.pictures else ())
    return len(classes) or None


def assemble_experiment(
    folder: Path,
    models: Sequence[ImportedModel],
    classes: tuple[str, ...],
    pictures: PictureFiles | None,
    title: str,
    aliases: Mapping[str, str],
) -> Experiment:
    """Make the experiment of imported models; nothing is written.

    Args:
        folder: Folder of their weights.
        models: The models, at least one.
        classes: Class names; empty: those of the data, or of the models.
        pictures: The data; None: there are none.
        title: Title of the experiment.
        aliases: As in :class:`ImportPlan`.

    Raises:
        KdvizError: A model's classes cannot be matched to the experiment's.
    """
    names = _choose_classes(classes, pictures, models)
    picture = common_picture([model.input for model in models]) if models else _UNKNOWN_INPUT
    experiment = Experiment(folder, DATASET, names, picture, {}, title)
    are_logits = pictures is not None and len(pictures.numbers) == len(names)  # the data's classes are the logits
    for model in models:
        order = None if are_logits and model.logits == len(names) else _class_order(names, model, aliases)
        experiment.runs[model.spec.role] = _run(experiment, model, order)
    return experiment


def with_logit_labels(pictures: PictureFiles, models: Sequence[ImportedModel]) -> PictureFiles:
    """Pictures whose labels are numbers of the models' logits, with all logits as classes.

    A model is then right where its largest logit is the label's, as its library counts it. If the data name their
    classes instead, the other logits are left out.

    Args:
        pictures: Pictures; they are returned unchanged if their labels are not numbers of logits.
        models: Models; the pictures are returned unchanged if their numbers of logits differ.
    """
    counts = {model.logits for model in models}
    if not pictures.numbers or pictures.labels is None or len(counts) != 1:
        return pictures
    (count,) = counts
    if max(pictures.numbers) >= count or len(pictures.numbers) == count:
        return pictures
    class_names = next((model.class_names for model in models if model.class_names), None) or logit_names(count)
    names = list(class_names)
    for number, name in zip(pictures.numbers, pictures.classes, strict=True):
        names[number] = name
    labels = torch.tensor(pictures.numbers)[pictures.labels]
    return replace(pictures, labels=labels, classes=unique_names(names), numbers=tuple(range(count)))


def logit_names(count: int) -> tuple[str, ...]:
    """Default names of logits: ImageNet's classes if there are 1,000, else ``class 0``, ``class 1``, ..."""
    if count == COUNT:
        return tuple(names[-1] for names in imagenet().names)
    return tuple(f"class {number}" for number in range(count))


def _add_prediction_runs(plan: ImportPlan, pictures: PictureFiles | None, experiment: Experiment) -> dict[str, Tensor]:
    """Add runs for the models of which only predictions are known, and return role -> logits."""
    logits_of_role = {}
    for role, title, path in plan.predictions:
        if pictures is None:
            raise SettingError("Predictions are of pictures or labels: name them with --data.")
        logits_of_role[role] = read_predictions(path, pictures, experiment.classes)
        record = {RECORD: {"file": path.name, "network_from": "given"}}
        count, picture = len(experiment.classes), experiment.input
        run = Run(role, PREDICTIONS, "", "", record, {}, experiment.folder, picture, count, picture, title=title)
        experiment.runs[role] = run
    return logits_of_role


def _run(experiment: Experiment, model: ImportedModel, order: tuple[int, ...] | None) -> Run:
    record = {
        "file": model.spec.path.name,
        "network_from": model.network_from,
        "input_from": model.input_from,
        "notes": list(model.notes),
    }
    return Run(
        model.spec.role,
        model.network,
        model.weights,
        model.sha256,
        {RECORD: record},
        {},
        experiment.folder,
        model.input,
        model.logits,
        picture=experiment.input,
        class_order=order,
        settings=dict(model.settings),
        title=model.spec.title,
    )


def _class_order(classes: tuple[str, ...], model: ImportedModel, aliases: Mapping[str, str]) -> tuple[int, ...] | None:
    """The model's logit of each class; None if they are in the same order."""
    try:
        order = class_order(model.class_names or model.logits, classes, aliases)
    except ModelError as error:
        raise ModelError(
            "The model '{role}' does not fit the data: {error}", role=model.spec.role, error=error
        ) from error
    return None if order is None or order == tuple(range(model.logits)) else tuple(order)


def _choose_classes(
    classes: tuple[str, ...], pictures: PictureFiles | None, models: Sequence[ImportedModel]
) -> tuple[str, ...]:
    if classes:
        return classes
    if pictures is not None and pictures.classes:
        return pictures.classes
    class_names = next((model.class_names for model in models if model.class_names), None)
    if class_names:
        return unique_names(class_names)
    counts = {model.logits for model in models}
    if len(counts) != 1:
        counts_by_role = ", ".join(f"{model.spec.role} {model.logits}" for model in models)
        raise ModelError(
            "The models have other numbers of classes ({counts_by_role}); name the classes with --classes.",
            counts_by_role=counts_by_role,
        )
    return unique_names(logit_names(counts.pop()))


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with a number appended to repeated ones: ImageNet has two cranes."""
    counts, seen, distinct = Counter(names), Counter(), []
    for name in names:
        seen[name] += 1
        distinct.append(name if counts[name] == 1 or seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(distinct)
