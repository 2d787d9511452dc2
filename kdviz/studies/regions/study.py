"""A study of regions: maps of every model by some methods, and how much of each lies inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.errors import ExperimentError, SettingError
from kdviz.core.jobs import run_local
from kdviz.core.vocabulary import Role
from kdviz.experiment import ROLES, Experiment
from kdviz.explanation.captum.attribution import incompatibility
from kdviz.metrics.localisation import (
    PlaceTotals,
    area,
    energy_by_place,
    energy_chance,
    energy_inside,
    pointing_game,
)
from kdviz.saliency import methods
from kdviz.studies.attention.maps import GroupMaps, read_maps
from kdviz.studies.attention.models import StudyModel, own_model, own_models
from kdviz.studies.attention.study import AttentionStudy
from kdviz.studies.attention.worker import make_group_maps
from kdviz.studies.regions.pictures import RegionPictures
from kdviz.studies.regions.samples import write_regions
from kdviz.studies.regions.table import ABOUT, NAME, SCHEMA

_RISE = "rise"


def region_models(experiment: Experiment) -> list[StudyModel]:
    """All models of an experiment whose weights it has: the teacher first, its students, and the others.

    Raises:
        ExperimentError: The teacher or the KD student is missing, or has no weights.
    """
    others = [role for role in experiment.models if role not in ROLES]
    return [*own_models(experiment), *(model for role in others if (model := _further_model(experiment, role)))]


def _further_model(experiment: Experiment, role: str) -> StudyModel | None:
    """A model beside the three, unless its weights are not stored."""
    try:
        return own_model(experiment, role, role, Role.TEACHER)
    except ExperimentError:
        return None


@dataclass
class RegionsStudy:
    """How much of the maps of several models lies inside regions that people drew.

    Every model's map explains the teacher's answer. Maps are kept as those of :class:`AttentionStudy` are, so that a
    study continues where it was stopped.

    Args:
        experiment: The experiment, into whose folder the table goes.
        pictures: Pictures with their regions.
        models: See :func:`region_models`.
        methods: Names of the methods.
        settings: Settings for the methods that have them.
        results: Folder for the maps, a path or an fsspec URL; default ``study`` in the experiment's folder.
        device, threads, batch: As in :class:`AttentionStudy`.
        tolerance: Of the pointing game, in pixels.
        about: What else the table is to say of how it was made.

    Attributes:
        map_studies: Method -> the study that makes its maps, of the models that the method fits.

    Raises:
        KdvizError: A method or setting is not acceptable, or a method fits no model.
    """

    experiment: Experiment
    pictures: RegionPictures
    models: Sequence[StudyModel]
    methods: Sequence[str] = (_RISE,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    results: str | Path | None = None
    device: str = "auto"
    threads: int = 0
    batch: int | None = None
    tolerance: float = 0.0
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.map_studies = {method: self._map_study(method) for method in self.methods}

    @cached_property
    def unfit(self) -> dict[tuple[str, str], str]:
        """(Method, role) -> why the method does not fit the model."""
        spec, classes = self.experiment.input, len(self.experiment.classes)
        networks = {model.key: model.build(spec, classes) for model in self.models}
        reasons = {
            (method, key): incompatibility(method, network)
            for method in self.methods
            if method != _RISE
            for key, network in networks.items()
        }
        return {pair: reason for pair, reason in reasons.items() if reason is not None}

    def _map_study(self, method: str) -> AttentionStudy:
        known = {setting.name for setting in methods[method].settings}
        models = [model for model in self.models if (method, model.key) not in self.unfit]
        if not models:
            raise SettingError(next(reason for (name, _), reason in self.unfit.items() if name == method))
        return AttentionStudy(
            self.experiment,
            self.pictures.samples,
            models,
            len(self.pictures),
            NAME,
            method,
            {name: value for name, value in self.settings.items() if name in known},
            self.results,
            self.device,
            self.threads,
            self.batch,
        )

    def run(self, engine: Callable[..., Iterator[tuple[int, Any]]] = run_local) -> Iterator[float]:
        """Make the maps that are left, and write regions.parquet; yields the share that is done.

        Args:
            engine: :func:`kdviz.core.jobs.run_local`, or another of its form.
        """
        for number, study in enumerate(self.map_studies.values()):
            for share in _make_maps(study, engine):
                yield (number + share) / len(self.methods)
        self.write()

    def write(self) -> None:
        """Write regions.parquet of maps that are made, and the regions themselves."""
        write_regions(self.experiment, self.pictures.samples.split, self.pictures)
        tables = [table for study in self.map_studies.values() for table in self._tables(study)]
        about = {
            "pictures": len(self.pictures),
            "tolerance": self.tolerance,
            "settings": {method: _plain(study.settings) for method, study in self.map_studies.items()},
            "teacher": self.experiment.runs[Role.TEACHER].sha256[:8],
            **self.about,
        }
        table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
        self.experiment.write_table(NAME, table.replace_schema_metadata({ABOUT: json.dumps(about)}))

    def _tables(self, study: AttentionStudy) -> Iterator[pa.Table]:
        totals: list[PlaceTotals] = []
        for part, maps in _groups(study):
            regions = self.pictures.regions[study.chosen.samples[part]]
            sums = [PlaceTotals.of(halves.mean(1), regions) for halves in maps.halves]
            totals = [total + more for total, more in zip(totals, sums, strict=True)] if totals else sums
        for part, maps in _groups(study):
            yield self._table(study, part, maps, totals)

    def _table(self, study: AttentionStudy, part: slice, maps: GroupMaps, totals: Sequence[PlaceTotals]) -> pa.Table:
        """The rows of a group: every picture of every model."""
        indices = study.chosen.samples[part]
        labels = study.samples.labels.numpy()[indices]
        regions = self.pictures.regions[indices]
        rows = []
        of_models = zip(study.models, maps.halves, maps.predicted, totals, strict=True)
        for model, halves, predicted, sums in of_models:
            columns = {
                "split": [study.samples.split] * len(indices),
                "sample": self.pictures.numbers[indices],
                "label": labels,
                "target": study.targets[part],
                "role": [model.key] * len(indices),
                "method": [study.method] * len(indices),
                "predicted": predicted,
                "right": pa.array(predicted == labels, mask=labels < 0),
                **measured(halves.mean(1), regions, sums, self.tolerance),
            }
            rows.append(pa.table(columns).cast(SCHEMA))
        return pa.concat_tables(rows)


def _groups(study: AttentionStudy) -> Iterator[tuple[slice, GroupMaps]]:
    """Every group's part of the pictures, and its maps."""
    for group in range(len(study.bounds) - 1):
        maps = read_maps(study.store, group)
        assert maps is not None  # they were made just now
        yield slice(study.bounds[group], study.bounds[group + 1]), maps


def measured(
    maps: np.ndarray, regions: np.ndarray, totals: PlaceTotals, tolerance: float = 0.0
) -> dict[str, np.ndarray]:
    """The measures that the table has, each (N,); see :mod:`kdviz.metrics.localisation`.

    Args:
        maps: (N, H, W).
        regions: (N, H, W), in [0, 1].
        totals: The sums over all pictures of the study.
        tolerance: Of the pointing game, in pixels.
    """
    others_inside, inside_others = energy_by_place(maps, regions, totals)
    return {
        "energy": energy_inside(maps, regions),
        "pointing": pointing_game(maps, regions, tolerance),
        "area": area(regions),
        "chance": energy_chance(maps, regions),
        "others_inside": others_inside,
        "inside_others": inside_others,
    }


def _make_maps(study: AttentionStudy, engine: Callable[..., Iterator[tuple[int, Any]]]) -> Iterator[float]:
    groups = [group for group in range(len(study.bounds) - 1) if read_maps(study.store, group) is None]
    done = 0
    for _, share in engine(make_group_maps, groups, (study.work,)):
        done += share is None
        yield (done + (share or 0.0)) / len(groups)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if isinstance(value, (int, float, str))}
