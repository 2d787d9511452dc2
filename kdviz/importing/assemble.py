"""Several models and a data set become one experiment: its folder is made beside its place, and moved there whole."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdviz.core.errors import ExperimentError, ModelError, SettingError
from kdviz.data.doubts import known
from kdviz.data.given_predictions import read_predictions
from kdviz.data.labels.class_names import class_order
from kdviz.data.labels.imagenet import COUNT, imagenet
from kdviz.data.picture_files import PictureFiles
from kdviz.experiment import PREDICTIONS, Experiment, Run, load_experiment
from kdviz.importing.model import ImportedModel, import_model
from kdviz.importing.spec import ModelSpec
from kdviz.models.inputs import InputSpec, common_picture
from kdviz.studies.predictions.file_evaluation import KEPT, evaluate_files

DATASET = "imported"
"""What experiment.json says as the data set of an imported experiment."""

RECORD = "import"
"""The key of a run's training record under which it is said how the model came."""

_UNKNOWN_INPUT = InputSpec((224, 224), 3, (0.0,) * 3, (1.0,) * 3)


@dataclass(frozen=True)
class ImportProgress:
    """Where an import is: what is done now, and how far."""

    stage: str
    done: int = 0
    total: int = 0


@dataclass
class ImportPlan:
    """What is to become of which files.

    Attributes:
        out: The experiment's folder.
        models: One at least.
        pictures: To measure the models on; None: no figures, no pictures.
        classes: Names of the experiment's classes; empty: those of the data, or of the models.
        aliases: What classes are called elsewhere, such as their folders -> their names.
        predictions: (role, title, file) of models of which only the predictions are known.
        title: Of the experiment.
        trust: Whether code in files may run.
        device: A torch device, or ``auto``.
        keep: The most pictures that are kept.
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
    """Make the experiment; its folder is replaced at the end, or left as it was.

    Raises:
        KdvizError: A file cannot be used; the text says what to do.
    """
    require_replaceable(plan.out)
    with beside(plan.out) as folder:
        models = []
        for number, spec in enumerate(plan.models):
            yield ImportProgress(f"read {spec.path.name}", number, len(plan.models))
            models.append(import_model(spec, folder, _count_of(plan), trust=plan.trust))
        pictures = plan.pictures and numbered_as(plan.pictures, models)
        title = plan.title or plan.out.name
        experiment = assembled(folder, models, plan.classes, pictures, title, plan.aliases)
        given = _with_predictions(plan, pictures, experiment)
        experiment.save()
        if pictures is not None:
            total = len(pictures)
            for done in evaluate_files(experiment, pictures, plan.device, keep=plan.keep, given=given):
                yield ImportProgress("evaluate", done, total)
        load_experiment(folder)  # what is moved into place can be opened
        move_into_place(folder, plan.out)


def report(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Of each role of an imported experiment what was assumed, and what it is worth, as JSON holds it.

    Keys: ``title``, ``network``, ``network_from``, ``input``, ``input_from``, ``accuracy``, ``doubts``, ``notes``.
    """
    doubts = known(experiment)
    found = {}
    for role, run in experiment.runs.items():
        record = run.training.get(RECORD, {})
        accuracy = next((values["accuracy"] for values in run.metrics.values() if "accuracy" in values), None)
        found[role] = {
            "title": run.title or role,
            "network": run.network,
            "network_from": record.get("network_from"),
            "input": run.spec.to_json() if run.has_model else None,
            "input_from": record.get("input_from"),
            "accuracy": accuracy,
            "doubts": [one.text for one in doubts if one.role == role],
            "notes": record.get("notes", []),
        }
    return found


# the experiment -------------------------------------------------------------------------------------------------------


def _count_of(plan: ImportPlan) -> int | None:
    classes = plan.classes or (plan.pictures.classes if plan.pictures else ())
    return len(classes) or None


def assembled(
    folder: Path,
    models: Sequence[ImportedModel],
    classes: tuple[str, ...],
    pictures: PictureFiles | None,
    title: str,
    aliases: Mapping[str, str],
) -> Experiment:
    """The experiment of imported models; nothing is written.

    Args:
        folder: Where their weights are.
        models: One at least.
        classes: Names; empty: those of the data, or of the models.
        pictures: The data; None: there are none.
        title: Heading.
        aliases: As in :class:`ImportPlan`.

    Raises:
        KdvizError: A model's classes cannot be matched to the experiment's.
    """
    names = _classes(classes, pictures, models)
    picture = common_picture([one.input for one in models]) if models else _UNKNOWN_INPUT
    experiment = Experiment(folder, DATASET, names, picture, {}, title)
    same = pictures is not None and len(pictures.numbers) == len(names)  # as logits
    for one in models:
        order = None if same and one.logits == len(names) else _order(names, one, aliases)
        experiment.runs[one.spec.role] = _run(experiment, one, order)
    return experiment


def numbered_as(pictures: PictureFiles, models: Sequence[ImportedModel]) -> PictureFiles:
    """Pictures that are labelled by the numbers of the models' logits, with all of these as classes.

    Then a model is right where its largest logit is the label's, as its own library counts; where the data name their
    classes, the other logits are left out.

    Args:
        pictures: Others are given back as they are.
        models: That must have the same number of logits.
    """
    counts = {one.logits for one in models}
    if not pictures.numbers or pictures.labels is None or len(counts) != 1:
        return pictures
    (count,) = counts
    if max(pictures.numbers) >= count or len(pictures.numbers) == count:
        return pictures
    named = next((one.class_names for one in models if one.class_names), None) or logit_names(count)
    names = list(named)
    for number, name in zip(pictures.numbers, pictures.classes, strict=True):
        names[number] = name
    labels = torch.tensor(pictures.numbers)[pictures.labels]
    return replace(pictures, labels=labels, classes=unique(names), numbers=tuple(range(count)))


def logit_names(count: int) -> tuple[str, ...]:
    """What logits are called of which nobody says more: ImageNet's classes if there are 1,000."""
    if count == COUNT:
        return tuple(names[-1] for names in imagenet().names)
    return tuple(f"class {number}" for number in range(count))


def _with_predictions(plan: ImportPlan, pictures: PictureFiles | None, experiment: Experiment) -> dict[str, Tensor]:
    """Role -> logits of the models of which only these are known; they become runs."""
    given = {}
    for role, shown, path in plan.predictions:
        if pictures is None:
            raise SettingError("Predictions are of pictures or labels: name them with --data.")
        given[role] = read_predictions(path, pictures, experiment.classes)
        record = {RECORD: {"file": path.name, "network_from": "given"}}
        count, picture = len(experiment.classes), experiment.input
        run = Run(role, PREDICTIONS, "", "", record, {}, experiment.folder, picture, count, picture, title=shown)
        experiment.runs[role] = run
    return given


def _run(experiment: Experiment, one: ImportedModel, order: tuple[int, ...] | None) -> Run:
    record = {
        "file": one.spec.path.name,
        "network_from": one.network_from,
        "input_from": one.input_from,
        "notes": list(one.notes),
    }
    return Run(
        one.spec.role,
        one.network,
        one.weights,
        one.sha256,
        {RECORD: record},
        {},
        experiment.folder,
        one.input,
        one.logits,
        picture=experiment.input,
        class_order=order,
        settings=dict(one.settings),
        title=one.spec.title,
    )


def _order(classes: tuple[str, ...], one: ImportedModel, aliases: Mapping[str, str]) -> tuple[int, ...] | None:
    """Which of the model's logits each class is; None where they are the same in the same order."""
    try:
        order = class_order(one.class_names or one.logits, classes, aliases)
    except ModelError as error:
        raise ModelError(f"The model '{one.spec.role}' does not fit the data: {error}") from error
    return None if order is None or order == tuple(range(one.logits)) else tuple(order)


def _classes(said: tuple[str, ...], pictures: PictureFiles | None, models: Sequence[ImportedModel]) -> tuple[str, ...]:
    if said:
        return said
    if pictures is not None and pictures.classes:
        return pictures.classes
    named = next((one.class_names for one in models if one.class_names), None)
    if named:
        return unique(named)
    counts = {one.logits for one in models}
    if len(counts) != 1:
        each = ", ".join(f"{one.spec.role} {one.logits}" for one in models)
        raise ModelError(f"The models have other numbers of classes ({each}); name the classes with --classes.")
    return unique(logit_names(counts.pop()))


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names, the second of a kind with a number: ImageNet has two cranes."""
    counts, seen, found = Counter(names), Counter(), []
    for name in names:
        seen[name] += 1
        found.append(name if counts[name] == 1 or seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)


# the folder -----------------------------------------------------------------------------------------------------------


def require_replaceable(out: Path) -> bool:
    """Whether an earlier import is there, which may be replaced; nothing, or an empty folder, is no obstacle either.

    Raises:
        ExperimentError: Something else is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    dataset: Any = None
    with suppress(OSError, ValueError, AttributeError):
        dataset = json.loads((out / "experiment.json").read_text(encoding="utf-8")).get("dataset")
    if dataset != DATASET:
        raise ExperimentError(f"'{out}' holds something that no import made; choose another folder with --out.")
    return True


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A folder on the same disk, which is gone afterwards unless it was moved."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ExperimentError(f"No experiment can be made in '{out.parent}': {error.strerror or error}.") from error
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_into_place(folder: Path, out: Path) -> None:
    """Put a finished folder where ``out`` is or was.

    Raises:
        ExperimentError: It cannot be moved; what was there stays.
    """
    old = folder.with_name(f"{folder.name}-old")
    if out.exists():
        out.replace(old)
    try:
        folder.replace(out)
    except OSError as error:
        if old.exists():
            old.replace(out)
        raise ExperimentError(f"The experiment cannot be moved to '{out}': {error.strerror or error}.") from error
    shutil.rmtree(old, ignore_errors=True)
