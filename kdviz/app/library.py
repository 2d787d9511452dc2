"""The experiments that there are, with their pictures, predictions and studies, for all sessions. No widgets.

What is read is kept until the files change.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from kdviz.app.pictures.commands import get_command, import_command
from kdviz.app.pictures.views import (
    blank_view,
    bundled_view,
    photograph_view,
    stored_view,
    studied_view,
    thumbnail_view,
)
from kdviz.app.samples import SampleView, VersionedCache
from kdviz.app.uploads import session_store
from kdviz.core.devices import choose_device
from kdviz.core.errors import ExperimentError, UnknownNameError
from kdviz.core.files import MODELS, Stamp, stamp_of
from kdviz.core.language import N_, _
from kdviz.core.vocabulary import Split
from kdviz.data.doubts import Doubt, recorded_doubts
from kdviz.data.samples import SPLITS
from kdviz.data.thumbnails import NAME as THUMBNAILS
from kdviz.data.thumbnails import Thumbnails
from kdviz.experiment import Experiment, list_experiments, load_experiment
from kdviz.experiment.fetching import can_fetch
from kdviz.experiment.loading import stored_title
from kdviz.serving import fingerprint
from kdviz.studies.attention import AttentionReport, read_attention
from kdviz.studies.attention.pictures import read_pictures
from kdviz.studies.predictions.mistakes import COLUMNS, read_predictions, showcase
from kdviz.studies.predictions.stored_logits import StoredLogits
from kdviz.studies.regions import RegionShares, read_region_shares
from kdviz.studies.shortcuts import ShortcutsReport, read_shortcut_reports
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.report import StudyReport, read_report

FIRST = "mnist"
_FIRST_LOOK = 16  # samples of a showcase without predictions, which would say which ones are worth a look
_FILES = ("experiment.json", "predictions.parquet", "samples.parquet", "attention_samples.parquet", THUMBNAILS)
"""Files whose change makes an experiment be opened again."""
_RESULTS = 64  # results that are kept for one experiment
_SMALL = 64 * 64  # pixels up to which thousands of masks take only seconds
_NONE_YET = N_("There are no predictions of these images yet; make them with: {command}")
_OF_OTHERS = N_("The predictions are of other images; make them anew with: {command}")
_PICTURES: dict[tuple[bool, str], str] = {
    (True, Split.BUNDLED): N_("{title}: bundled digits"),
    (True, Split.TEST): N_("{title}: test digits"),
    (True, Split.VALIDATION): N_("{title}: validation digits"),
    (False, Split.BUNDLED): N_("{title}: bundled images"),
    (False, Split.TEST): N_("{title}: test images"),
    (False, Split.VALIDATION): N_("{title}: validation images"),
}
"""(Whether they are digits, split) -> name of the pictures."""


def folders() -> dict[str, Path]:
    """Name -> folder of every experiment: of kdviz, of the folder ``KDVIZ_MODELS``, and of this session's uploads.

    An experiment in ``KDVIZ_MODELS`` takes precedence over one of kdviz with the same name.
    """
    experiments = {name: MODELS / name for name in list_experiments(MODELS)}
    own_models = os.environ.get("KDVIZ_MODELS")
    if own_models:
        experiments |= {name: Path(own_models) / name for name in list_experiments(Path(own_models))}
    return {name: experiments[name] for name in sorted(experiments)} | session_store.folders()


def first(names: Sequence[str]) -> str:
    """Name of the experiment that is shown first.

    Raises:
        ExperimentError: There is none.
    """
    if not names:
        raise ExperimentError(
            "There is no experiment; make one with kdviz train, or name their folder in KDVIZ_MODELS."
        )
    preferred = os.environ.get("KDVIZ_FIRST", "")
    return next((name for name in (preferred, FIRST) if name in names), names[0])


def title(name: str, folder: Path) -> str:
    """Title of an experiment in a list; its weights are not read."""
    stored = stored_title(folder)
    uploaded = session_store.experiments().get(name)
    if uploaded is not None and stored:
        return f"{stored} ({uploaded.source})"
    return f"{stored} ({name})" if stored and stored.lower() != name.lower() else stored or name


@dataclass(eq=False)
class OpenExperiment:
    """An experiment, with what the pages need of it.

    Attributes:
        experiment: The experiment.
        cache: Results that were computed from it. They are kept nowhere else, so that they end with the experiment,
            and with the session that uploaded it.
    """

    experiment: Experiment
    cache: VersionedCache = field(default_factory=lambda: VersionedCache(_RESULTS), repr=False)

    @property
    def is_private(self) -> bool:
        """Whether only the session that uploaded it may see it."""
        return session_store.is_private(self.experiment.name)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that changes when a model changes, or the input that it gets."""
        return fingerprint(self.experiment)

    @property
    def is_mnist(self) -> bool:
        return self.experiment.dataset == "mnist"

    @cached_property
    def title(self) -> str:
        """Title of its data, with the name of the experiment where they differ: titles are not unique, names are."""
        return title(self.experiment.name, self.experiment.folder)

    @property
    def pictures(self) -> str:
        """Description of its pictures, such as ``MNIST: bundled digits``."""
        return _(
            _PICTURES.get((self.is_mnist, self.answered.split if self.answered else ""), "{title}"), title=self.title
        )

    @property
    def can_fetch(self) -> bool:
        """Whether its pictures are not here and are known to be had elsewhere."""
        return self.samples is None and can_fetch(self.experiment)

    @property
    def get_command(self) -> str:
        """The command that fetches its pictures."""
        return get_command(self.experiment, self.command_folder)

    @property
    def command_folder(self) -> str:
        """Its folder, as a command would name it."""
        if self.is_private:
            return session_store.folder_in_a_command(self.experiment.name)
        folder = self.experiment.folder.resolve()
        return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)

    @property
    def held_out(self) -> bool:
        """Whether it is known that no model was trained on its pictures."""
        return self.experiment.held_out

    @property
    def import_command(self) -> str:
        """The command that imports the same files again, with pictures."""
        return import_command(self.experiment.runs.values(), self.command_folder)

    @property
    def is_large(self) -> bool:
        """Whether thousands of masks would take minutes here."""
        height, width = self.experiment.input.size
        return height * width > _SMALL and choose_device("auto").type == "cpu"

    @cached_property
    def samples(self) -> SampleView | None:
        """Samples of the first split with pictures and predictions, else with pictures; None without any picture."""
        views = [view for view in map(self._samples_of, SPLITS) if view is not None]
        return next((view for view in views if view.predictions is not None), views[0] if views else None)

    @cached_property
    def browsed(self) -> SampleView | None:
        """:attr:`samples`, or all of their split where there are thumbnails of them and predictions.

        Raises:
            ExperimentError: The file of the thumbnails is damaged.
        """
        if self.can_fetch:
            return self.answered
        stored, path = self.samples, self.experiment.folder / THUMBNAILS
        if not path.exists() or (stored is not None and stored.predictions is None):
            return stored
        view = thumbnail_view(Thumbnails(path, len(self.experiment.classes)), stored)
        if view is None:
            return stored
        complete = self._with_predictions(view)
        return stored if stored is not None and complete.predictions is None else complete

    @cached_property
    def answered(self) -> SampleView | None:
        """The samples; where their pictures can be fetched and are not here, those with predictions, all blank."""
        if not self.can_fetch or not self.experiment.has_table("predictions"):
            return self.samples
        table = self.experiment.table("predictions", COLUMNS)
        for split in SPLITS:
            with suppress(ExperimentError):
                labels = read_predictions(table, split).labels.astype(np.int64)
                return self._with_predictions(blank_view(self.experiment, split, labels))
        return None

    @cached_property
    def photographs(self) -> SampleView | None:
        """The photographs of no data set with which it opens; None without any."""
        return photograph_view(self.experiment)

    def _samples_of(self, split: str) -> SampleView | None:
        if split == Split.BUNDLED:
            samples = bundled_view(self.experiment) if self.is_mnist else None
        else:
            samples = stored_view(self.experiment, split)
        return None if samples is None else self._with_predictions(samples)

    def _with_predictions(self, samples: SampleView) -> SampleView:
        """The samples with the models' predictions, or with the reason why there are none."""
        split = samples.split
        data = "" if self.is_mnist or self.experiment.is_imported else " --data DIR"
        evaluate = f"kdviz evaluate -e {self.command_folder}{data}"
        missing = replace(samples, why=_NONE_YET, command=evaluate)
        if not self.experiment.has_table("predictions"):
            return missing
        table = self.experiment.table("predictions", COLUMNS)
        try:
            complete = samples.with_predictions(read_predictions(table, split))
            if complete is None or complete.predictions is None:
                return replace(missing, why=_OF_OTHERS)
            roles = list(complete.predictions.predicted)
            return replace(complete, logits=StoredLogits(self.experiment, split, samples.numbers, roles))
        except ExperimentError:
            return missing

    @cached_property
    def doubts(self) -> list[Doubt]:
        """Doubts about its data and its models that are known without running a model."""
        return recorded_doubts(self.experiment)

    @cached_property
    def showcase(self) -> list[int]:
        """Indices of samples that are worth a first look."""
        samples = self.samples
        if samples is None:
            return []
        if samples.predictions is None:
            firsts = [np.flatnonzero(samples.labels == label)[:4] for label in np.unique(samples.labels)]
            return [int(index) for index in np.concatenate(firsts)[:_FIRST_LOOK]]
        return showcase(samples.predictions, len(self.experiment.classes)) or [0]

    def attention(self, study: str, measure: str) -> AttentionReport:
        """An attention study as it is by now.

        Raises:
            ExperimentError: See :func:`kdviz.studies.attention.read_attention`.
        """
        stamp = stamp_of(self.experiment.folder, "agreement.parquet")
        return self.cache.get(
            ("attention", study, measure), stamp, lambda: read_attention(self.experiment, study, measure)
        )

    def region_shares(self, samples: SampleView) -> list[RegionShares]:
        """What the study of regions found about single samples, by method; empty without one.

        Raises:
            ExperimentError: See :func:`kdviz.studies.regions.read_region_shares`.
        """
        stamp = (stamp_of(self.experiment.folder, "regions.parquet"), len(samples))
        return self.cache.get(
            ("region shares", samples.split),
            stamp,
            lambda: read_region_shares(self.experiment, samples.split, samples.numbers),
        )

    @cached_property
    def attention_samples(self) -> SampleView | None:
        """The pictures at both ends of the attention studies; None if there are none."""
        pictures = read_pictures(self.experiment)
        return None if pictures is None else studied_view(pictures)

    @property
    def studied_samples(self) -> SampleView | None:
        """The pictures among which are those at both ends of the attention studies; None if they are not here."""
        if self.attention_samples is not None or self.experiment.picture_source is None:
            return self.attention_samples
        return self.samples

    @property
    def shortcuts(self) -> list[ShortcutsReport]:
        """The conditions of the study of shortcuts as it is by now; empty: there is none.

        Raises:
            ExperimentError: See :func:`kdviz.studies.shortcuts.read_shortcut_reports`.
        """
        stamp = stamp_of(self.experiment.folder, "shortcuts.parquet")
        return self.cache.get("shortcuts", stamp, lambda: read_shortcut_reports(self.experiment))

    def report(self, study: str) -> StudyReport:
        """The report of a study as it is by now.

        Raises:
            ExperimentError: See :func:`kdviz.studies.sweep.report.read_report`.
        """
        names = (STUDIES[study].table, "curves", "study_predictions")
        stamp = stamp_of(self.experiment.folder, *(f"{name}.parquet" for name in names))
        return self.cache.get(("report", study), stamp, lambda: read_report(self.experiment, study))


def open_experiment(name: str) -> OpenExperiment:
    """Open an experiment, once for all sessions, and again when its files have changed.

    Raises:
        ExperimentError, UnknownNameError: See :func:`kdviz.load_experiment`.
    """
    experiments = folders()
    if name not in experiments:
        raise UnknownNameError("experiment", name, experiments)
    folder = experiments[name]
    stamp = stamp_of(folder, *_FILES)
    if session_store.is_private(name):
        return session_store.opened(folder, stamp, lambda: OpenExperiment(load_experiment(folder)))
    return _opened(folder, stamp)


@lru_cache(maxsize=8)
def _opened(folder: Path, stamp: Stamp) -> OpenExperiment:
    return OpenExperiment(load_experiment(folder))


def table_version(opened: OpenExperiment, table: str) -> int:
    """Time at which a table was last changed; 0 if there is none."""
    try:
        return (opened.experiment.folder / f"{table}.parquet").stat().st_mtime_ns
    except OSError:
        return 0
