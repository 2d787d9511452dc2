"""A study of shortcuts: pictures with the mark of their own class, of another one, and without; predictions and maps.

Each picture has four views, two by two: clean and with the mark, for the mark of its own class and for that of another
class drawn at random. The map of a view explains the class that the mark says, also where the mark is absent, so that
the two views of a pair differ by the mark alone; both are made with the same masks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from kdviz.core.errors import DatasetError, SettingError
from kdviz.core.files import Store
from kdviz.core.jobs import run_local
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.data.shortcuts.planting import PlantedShortcut, other_classes, plant, shortcut_regions
from kdviz.distill import predict_logits
from kdviz.experiment import Experiment
from kdviz.explanation.captum.attribution import incompatibility
from kdviz.metrics.localisation import area, energy_inside
from kdviz.saliency import methods
from kdviz.studies.attention.maps import StudyImages, StudyJob, read_maps
from kdviz.studies.attention.models import StudyModel
from kdviz.studies.attention.worker import make_group_maps
from kdviz.studies.shortcuts.table import SCHEMA, Condition, write_condition
from kdviz.studies.shortcuts.views import shown_pictures
from kdviz.studies.sweep.loss_values import DEFAULT_LOSS, loss_text

NOBODY = "none"
"""The condition of models in whose training no shortcut was planted."""

VIEWS = 4
"""Of a picture: own class clean and planted, other class clean and planted."""

_GROUP = 32  # views that share a series of masks
_RISE = "rise"


def planted_in(experiment: Experiment) -> PlantedShortcut | None:
    """The shortcut in the training pictures of an experiment's models; None: there was none."""
    return PlantedShortcut.from_records(run.training for run in experiment.runs.values())


@dataclass
class ShortcutsStudy:
    """Predictions and maps of an experiment's models for pictures with and without a shortcut.

    Maps are kept, so that a study continues where it was stopped.

    Args:
        experiment: The experiment.
        samples: Clean pictures, none of which was trained on.
        numbers: int64 (N,), their numbers in the split.
        models: See :func:`kdviz.studies.regions.region_models`.
        shortcut: Name of the shortcut.
        shown_to: In whose training pictures it was: one of :class:`kdviz.data.shortcuts.planting.ShownTo`, or
            :data:`NOBODY`.
        methods: Names of the methods of the maps.
        settings: Settings for the methods that have them; ``seed`` also draws the other classes.
        into: The experiment into whose folder the tables go; default: ``experiment``.
        results: Folder for the maps, a path or an fsspec URL; default ``study`` in the experiment's folder.
        device, threads, batch: As in :class:`kdviz.studies.attention.AttentionStudy`.
        about: What else the table is to say of how it was made.

    Raises:
        KdvizError: A method or setting is not acceptable, or a method fits no model; or the classes differ.
    """

    experiment: Experiment
    samples: LabelledImages
    numbers: np.ndarray
    models: Sequence[StudyModel]
    shortcut: str
    shown_to: str = NOBODY
    methods: Sequence[str] = (_RISE,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    into: Experiment | None = None
    results: str | Path | None = None
    device: str = "auto"
    threads: int = 0
    batch: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples.classes != self.experiment.classes:
            raise DatasetError(
                "The data's classes {data_classes} are not those of the experiment {expected}.",
                data_classes=list(self.samples.classes),
                expected=list(self.experiment.classes),
            )
        if bool((self.samples.labels < 0).any()):
            raise DatasetError("A study of shortcuts needs the true classes of its pictures, and some have none.")
        self.jobs = {method: self._job(method) for method in self.methods}

    @property
    def classes(self) -> int:
        return len(self.experiment.classes)

    @property
    def condition(self) -> Condition:
        return Condition(self.shortcut, str(self.shown_to), _loss_of(self.experiment))

    @cached_property
    def cues(self) -> torch.Tensor:
        """int64 (4 N,), the class that is explained in each view, and that its mark says."""
        labels = self.samples.labels.numpy()
        others = other_classes(labels, self.classes, int(self.settings.get("seed", 0)))
        return torch.from_numpy(np.stack([labels, labels, others, others], 1).reshape(-1))

    @cached_property
    def planted(self) -> np.ndarray:
        """Whether the mark is in the picture: bool (4 N,)."""
        return np.arange(VIEWS * len(self.samples)) % 2 == 1

    @cached_property
    def views(self) -> LabelledImages:
        """The four views of each picture."""
        views = self.samples.take(torch.arange(len(self.samples)).repeat_interleave(VIEWS))
        planted = torch.from_numpy(self.planted)
        images = views.images.clone()
        images[planted] = plant(images[planted], self.cues[planted], self.classes, self.shortcut)
        return replace(views, images=images)

    @cached_property
    def regions(self) -> np.ndarray:
        """float32 (4 N, H, W), where each view's mark is or would be."""
        channels, height, width = self.views.images.shape[1:]
        return shortcut_regions(self.cues, self.classes, (channels, height, width), self.shortcut)

    @cached_property
    def unfit(self) -> dict[tuple[str, str], str]:
        """(Method, role) -> why the method does not fit the model."""
        reasons = {}
        for model in self.models:
            network = model.build(self.experiment.input, self.classes)
            for method in self.methods:
                reason = None if method == _RISE else incompatibility(method, network)
                if reason is not None:
                    reasons[method, model.key] = reason
        return reasons

    def _job(self, method: str) -> StudyJob:
        known = {setting.name for setting in methods[method].settings}
        settings = {name: value for name, value in self.settings.items() if name in known}
        settings = methods[method].complete(settings)
        models = tuple(model for model in self.models if (method, model.key) not in self.unfit)
        if not models:
            raise SettingError(next(reason for (name, _), reason in self.unfit.items() if name == method))
        count = len(self.views)
        identity = self._identity(method, settings, models)
        folder = self.results or self.experiment.folder / "study"
        return StudyJob(
            identity,
            replace(self.experiment, runs={}),
            models,
            self.views.images,
            StudyImages(np.arange(count), self.views.labels.numpy(), self.cues.numpy(), np.ones(count), [""] * count),
            (*range(0, count, _GROUP), count),
            "shortcuts",
            self.samples.split,
            method,
            settings,
            Store(f"{folder}/{identity}").url,
            self.device,
            self.threads,
            self.batch,
        )

    def _identity(self, method: str, settings: Mapping[str, Any], models: Sequence[StudyModel]) -> str:
        """A hash of everything that decides the maps, and of nothing else."""
        about = {
            "models": [model.identity for model in models],
            "data": self.views.fingerprint,
            "targets": self.cues.tolist(),
            "input": self.experiment.input.to_json(),
            "method": method,
            "settings": {name: str(value) for name, value in settings.items() if name != "precision"},
            "group": _GROUP,
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

    def run(self, engine: Callable[..., Iterator[tuple[int, Any]]] = run_local) -> Iterator[float]:
        """Make the maps that are left, and write the tables; yields the share that is done.

        Args:
            engine: :func:`kdviz.core.jobs.run_local`, or another of its form.
        """
        for number, job in enumerate(self.jobs.values()):
            store = Store(job.store)
            left = [group for group in range(len(job.bounds) - 1) if read_maps(store, group) is None]
            done = 0
            for _, share in engine(make_group_maps, left, (job,)):
                done += share is None
                yield (number + (done + (share or 0.0)) / len(left)) / len(self.jobs)
        self.write()

    def write(self) -> None:
        """Write the tables of maps that are made."""
        maps = {method: _all_maps(job) for method, job in self.jobs.items()}
        answers = {model.key: self._answers(model) for model in self.models}
        table = pa.concat_tables(
            self._rows(job, model.key, maps[method][index], *answers[model.key])
            for method, job in self.jobs.items()
            for index, model in enumerate(job.models)
        )
        about = {
            "pictures": len(self.samples),
            "settings": {method: _plain(job.settings) for method, job in self.jobs.items()},
            "models": {role: run.sha256[:8] for role, run in self.experiment.runs.items()},
            "trained": {role: _recipe(run.training) for role, run in self.experiment.runs.items()},
            "made_from": {role: [run.parent, run.made_by] for role, run in self.experiment.runs.items() if run.made_by},
            **self.about,
        }
        into = self.into or self.experiment
        write_condition(into, self.condition, table.unify_dictionaries(), about)
        shown_pictures(self, maps, answers).write(into)

    def _answers(self, model: StudyModel) -> tuple[np.ndarray, np.ndarray]:
        """The predicted class and the probability of the mark's class, of each view."""
        network = model.build(self.experiment.input, self.classes)
        normalise = self.experiment.input.normalise
        logits = predict_logits(network, self.views, normalise, device=self.device, bf16="off")
        probabilities = logits.softmax(1)[torch.arange(len(logits)), self.cues]
        return logits.argmax(1).numpy(), probabilities.numpy()

    def _rows(
        self, job: StudyJob, role: str, maps: np.ndarray, predicted: np.ndarray, probability: np.ndarray
    ) -> pa.Table:
        count = len(self.views)
        columns = {
            **{name: [value] * count for name, value in asdict(self.condition).items()},
            "split": [self.samples.split] * count,
            "sample": np.repeat(self.numbers, VIEWS),
            "label": self.views.labels.numpy(),
            "cue": self.cues.numpy(),
            "planted": self.planted,
            "role": [role] * count,
            "method": [job.method] * count,
            "predicted": predicted,
            "probability": probability,
            "energy": energy_inside(maps, self.regions),
            "area": area(self.regions),
        }
        return pa.table(columns).cast(SCHEMA)


def _loss_of(experiment: Experiment) -> str:
    """The loss of the KD student; empty for softened targets, and of models that were trained elsewhere."""
    run = experiment.runs.get(Role.KD_STUDENT)
    if run is None or "loss" not in run.training:
        return ""
    loss = loss_text(run.training)
    return "" if loss == DEFAULT_LOSS else loss


def _all_maps(job: StudyJob) -> np.ndarray:
    """The maps of all views: float32 (models, views, H, W)."""
    store, groups = Store(job.store), []
    for group in range(len(job.bounds) - 1):
        maps = read_maps(store, group)
        assert maps is not None  # they were made just now
        groups.append(maps.halves.mean(2))
    return np.concatenate(groups, 1)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if isinstance(value, (int, float, str))}


def _recipe(training: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the table needs to repeat a training."""
    names = ("epochs", "batch_size", "learning_rate", "temperature", "alpha", "seed", "train_samples", "planted")
    return {name: training[name] for name in names if name in training}
