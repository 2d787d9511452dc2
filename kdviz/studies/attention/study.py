"""A study of attention: which models, which images, the work that is left, and the table that comes out."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from kdviz.core.devices import choose_device
from kdviz.core.errors import DatasetError
from kdviz.core.files import Store
from kdviz.core.jobs import run_local
from kdviz.data import LabelledImages
from kdviz.distill import predict_logits
from kdviz.experiment import ROLES, Experiment
from kdviz.saliency import methods
from kdviz.studies.attention.budget import PROBED, seconds_of_a_pass, seconds_of_an_image
from kdviz.studies.attention.maps import MapStore, StudyImages, StudyJob
from kdviz.studies.attention.models import StudyModel
from kdviz.studies.attention.sampling import StratifiedSample, stratified_sample
from kdviz.studies.attention.statistics.table import write_agreement
from kdviz.studies.attention.worker import make_group, read_rows, rows_name

GROUP = 32
"""Images that share a series of masks, and are one file; a part of the study, so that a chunk size changes nothing."""


@dataclass(frozen=True)
class MapsProgress:
    """How far the maps are.

    Attributes:
        done: Images with maps of all models; a share of a group while it is made.
        images: Of the study.
        seconds: That the rest will take on this machine, as far as one knows; None: nothing is timed yet.
    """

    done: float
    images: int
    seconds: float | None


@dataclass
class AttentionStudy:
    """Maps of several models for many images of a split, and how alike they are.

    Args:
        experiment: Of whose teacher and students; the table goes into its folder.
        samples: The split.
        models: Teachers first; see :mod:`kdviz.studies.attention.models`.
        images: How many images, at most those of the split.
        study: ``models``, or the name of the sweep that made them.
        method: Of the maps.
        settings: Of the method; ``seed`` also chooses the images.
        results: Folder for the maps, a path or an fsspec URL; default ``study`` in the experiment's folder.
        device, threads: Where and how it runs.
        batch: Masked images in a forward pass; changes time and memory only. Default: the fastest.

    Raises:
        DatasetError: The data's classes are not the experiment's.
        KdvizError: A setting is not acceptable.
    """

    experiment: Experiment
    samples: LabelledImages
    models: Sequence[StudyModel]
    images: int = 2000
    study: str = "models"
    method: str = "rise"
    settings: Mapping[str, Any] = field(default_factory=dict)
    results: str | Path | None = None
    device: str = "auto"
    threads: int = 0
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.samples.classes != self.experiment.classes:
            raise DatasetError(
                "The data's classes {data_classes} are not those of the experiment {expected}.",
                data_classes=list(self.samples.classes),
                expected=list(self.experiment.classes),
            )
        self.settings = methods[self.method].complete(dict(self.settings))
        if self.threads:
            torch.set_num_threads(self.threads)

    @property
    def seed(self) -> int:
        return int(self.settings.get("seed", 0))

    @property
    def baseline(self) -> Any:
        """What a removed pixel becomes."""
        return self.settings.get("baseline", "black")

    @cached_property
    def _answers(self) -> dict[str, np.ndarray]:
        """Role -> what the experiment's own models say of the whole split, int64 (N,).

        They are kept beside the maps, so that a study that continues does not ask again.
        """
        answers = self._stored_answers
        if answers is None:
            normalise, answers = self.experiment.input.normalise, {}
            for role in self._own_roles:
                model = self.experiment.runs[role].on(choose_device(self.device))
                logits = predict_logits(model, self.samples, normalise, device=self.device, bf16="off")
                answers[role] = logits.argmax(1).numpy()
            if all(self.experiment.runs[role].sha256 for role in answers):
                self._folder.write(self._answers_name, save_arrays(answers))
        return answers

    @property
    def _own_roles(self) -> list[str]:
        return [role for role in ROLES if role in self.experiment.models]

    @property
    def _folder(self) -> Store:
        """Of all studies of this experiment."""
        return Store(str(self.results or self.experiment.folder / "study"))

    @cached_property
    def _answers_name(self) -> str:
        about = {
            "models": {role: self.experiment.runs[role].sha256 for role in self._own_roles},
            "data": self.samples.fingerprint,
            "input": self.experiment.input.to_json(),
        }
        return f"answers/{hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]}.safetensors"

    @property
    def _stored_answers(self) -> dict[str, np.ndarray] | None:
        """The answers of an earlier process; None: there are none, or they are damaged."""
        content = self._folder.read(self._answers_name)
        try:
            answers = load_arrays(content or b"")
        except Exception:  # safetensors has its own errors for a damaged file
            return None
        if set(answers) != set(self._own_roles) or any(len(said) != len(self.samples) for said in answers.values()):
            return None
        return {role: answers[role] for role in self._own_roles}

    @cached_property
    def chosen(self) -> StratifiedSample:
        """The images."""
        labels = self.samples.labels.numpy()
        right = {role: said == labels for role, said in self._answers.items()}
        return stratified_sample(labels, right, self.images, self.seed)

    @cached_property
    def targets(self) -> np.ndarray:
        """The class that is explained, of each image: the teacher's answer, for every model."""
        return self._answers["teacher"][self.chosen.samples].astype(np.int64)

    @cached_property
    def bounds(self) -> tuple[int, ...]:
        """Where each group of images begins, and the end."""
        count = len(self.chosen.samples)
        groups = -(-count // GROUP)
        return tuple(int(bound) for bound in np.linspace(0, count, groups + 1).round())

    @cached_property
    def identity(self) -> str:
        """A hash of everything that decides the maps, and of nothing else."""
        settings = {name: str(value) for name, value in self.settings.items() if name != "precision"}
        about = {
            "models": [model.identity for model in self.models],
            "data": self.samples.fingerprint,
            "samples": self.chosen.samples.tolist(),
            "targets": self.targets.tolist(),
            "input": self.experiment.input.to_json(),
            "method": self.method,
            "settings": settings,
            "group": GROUP,
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def store(self) -> Store:
        return Store(f"{self.results or self.experiment.folder / 'study'}/{self.identity}")

    @cached_property
    def work(self) -> StudyJob:
        """What is sent to whoever makes a group."""
        chosen = self.chosen
        labels = self.samples.labels.numpy()[chosen.samples]
        images = StudyImages(chosen.samples, labels, self.targets, chosen.weights, chosen.who)
        pixels = self.samples.images[torch.from_numpy(chosen.samples)]
        return self._job(self.identity, pixels, images, self.bounds, self.store.url)

    def _job(
        self, identity: str, pixels: torch.Tensor, images: StudyImages, bounds: tuple[int, ...], url: str = ""
    ) -> StudyJob:
        return StudyJob(
            identity,
            replace(self.experiment, runs={}),
            tuple(self.models),
            pixels,
            images,
            bounds,
            self.study,
            self.samples.split,
            self.method,
            self.settings,
            url,
            self.device,
            self.threads,
            self.batch,
        )

    @property
    def maps(self) -> MapStore:
        """The maps that are made."""
        return MapStore(self.store, [model.key for model in self.models], self.chosen.samples.tolist(), self.bounds)

    def left(self) -> list[int]:
        """Groups that are not done."""
        return [group for group in range(len(self.bounds) - 1) if not self.store.has(rows_name(group))]

    def run(self, engine: Callable[..., Iterator[tuple[int, Any]]] = run_local) -> Iterator[MapsProgress]:
        """Do the groups that are left, and at the end write agreement.parquet.

        Args:
            engine: :func:`kdviz.core.jobs.run_local`, or another of its form.
        """
        left, clock = self.left(), _Clock(self)
        yield clock.progress()
        for number, share in engine(make_group, left, (self.work,)):
            clock.tick(left[number], share)
            yield clock.progress()
        self.write()

    def estimate(self) -> MapsProgress:
        """What is left and how long it will take on this machine, from some passes of each model; nothing is made.

        What is done is known once the study has begun. Before, the time includes that of the models' answers, by which
        the images are chosen.
        """
        count = min(self.images, len(self.samples))
        if self._stored_answers is not None:
            done = self._done()
            return MapsProgress(done, count, (count - done) * seconds_of_an_image(self.work) if done < count else 0.0)
        job = self._job_of_first(min(count, PROBED))
        return MapsProgress(0, count, count * seconds_of_an_image(job) + self._seconds_of_answers())

    def _done(self) -> int:
        bounds, left = self.bounds, set(self.left())
        return sum(bounds[group + 1] - bounds[group] for group in range(len(bounds) - 1) if group not in left)

    def _job_of_first(self, count: int) -> StudyJob:
        """A job of the split's first images, which explains any class: that takes the same time."""
        samples = np.arange(count)
        images = StudyImages(samples, samples, np.zeros(count, np.int64), np.ones(count), ("",) * count)
        return self._job("", self.samples.images[:count], images, (0, count))

    def _seconds_of_answers(self) -> float:
        where, spec = choose_device(self.device), self.experiment.input
        passes = [seconds_of_a_pass(self.experiment.runs[role].on(where), spec, where) for role in self._own_roles]
        return sum(passes) * len(self.samples)

    def write(self) -> None:
        """Write agreement.parquet: this study's rows in the place of its earlier ones, those of others stay.

        A group whose files are damaged is made again.
        """
        costs: list[dict[str, Any]] = []
        # The rows are read twice: the costs stand in the head of the file, and nothing is kept in memory.
        for _, cost in self._rows():
            costs.append(cost)
        write_agreement(self.experiment, self.study, (table for table, _ in self._rows()), self._about(costs))

    def _rows(self) -> Iterator[tuple[pa.Table, dict[str, Any]]]:
        for group in range(len(self.bounds) - 1):
            stored = read_rows(self.store, group)
            if stored is None:
                self.store.remove(rows_name(group))
                deque(make_group(group, self.work), maxlen=0)
                stored = read_rows(self.store, group)
            assert stored is not None  # it was made just now
            yield stored

    def _about(self, costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the rows do not say."""
        return {
            "identity": self.identity,
            "teacher": self.experiment.runs["teacher"].sha256[:8],
            "split": self.samples.split,
            "images": len(self.chosen.samples),
            "of": len(self.samples),
            "models": len(self.models),
            "alone": any(model.role == "student" for model in self.models),
            "method": self.method,
            "settings": {name: value for name, value in self.settings.items() if isinstance(value, (int, float, str))},
            "seconds": round(sum(cost["seconds"] for cost in costs), 1),
            "memory_mb": round(max(cost["memory_mb"] for cost in costs)),
        }


class _Clock:
    """What is done of a study, and how long the rest will take."""

    def __init__(self, study: AttentionStudy):
        self._bounds = study.bounds
        self._total = len(study.chosen.samples)
        self._done = self._total - sum(self._size(group) for group in study.left())
        self._part = 0.0  # of the group that is under way
        self._began, self._here = time.perf_counter(), 0.0

    def _size(self, group: int) -> int:
        return self._bounds[group + 1] - self._bounds[group]

    def tick(self, group: int, share: float | None) -> None:
        """A group is done to this share; None: done."""
        size = self._size(group)
        self._part = 0.0 if share is None else share * size
        if share is None:
            self._done += size
            self._here += size

    def progress(self) -> MapsProgress:
        done = self._done + self._part
        here = self._here + self._part
        each = (time.perf_counter() - self._began) / here if here else None
        left = self._total - done
        return MapsProgress(done, self._total, 0.0 if not left else None if each is None else left * each)
