"""What all sessions share of the experiments: which there are, and of each its pictures, predictions and studies.

No widgets here. What is read is kept until the files change.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from kdviz.app.samples import SampleView, VersionedCache
from kdviz.app.uploads import session_store
from kdviz.core.devices import choose_device
from kdviz.core.errors import ExperimentError, UnknownNameError
from kdviz.core.files import MODELS
from kdviz.core.language import N_, _
from kdviz.data import bundled_digits
from kdviz.data.doubts import Doubt, known
from kdviz.data.samples import SPLITS, as_picture
from kdviz.data.store import StoredSamples
from kdviz.experiment import ROLES, Experiment, Run, list_experiments, load_experiment
from kdviz.serving import fingerprint
from kdviz.studies.attention import AttentionReport, read_attention
from kdviz.studies.attention.pictures import read_pictures
from kdviz.studies.predictions.mistakes import read_predictions, showcase
from kdviz.studies.predictions.soft_targets import read_logits
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.report import StudyReport, read_report

FIRST = "mnist"
_FIRST_LOOK = 16  # samples, where no predictions say which are worth a look
_FILES = ("experiment.json", "predictions.parquet", "samples.parquet", "attention_samples.parquet")
"""Files that make an open experiment another one when they change."""
_RESULTS = 64  # about one experiment
_SMALL = 64 * 64  # pixels up to which thousands of masks take seconds
_NONE_YET = N_("There are no predictions of these images yet; make them with: {command}")
_OF_OTHERS = N_("The predictions are of other images; make them anew with: {command}")
_PICTURES = {
    (True, "bundled"): N_("{title}: bundled digits"),
    (True, "test"): N_("{title}: test digits"),
    (True, "validation"): N_("{title}: validation digits"),
    (False, "bundled"): N_("{title}: bundled images"),
    (False, "test"): N_("{title}: test images"),
    (False, "validation"): N_("{title}: validation images"),
}
"""(Whether they are digits, split) -> what pictures are called."""
_Stamp = tuple[tuple[int, int] | None, ...]


def folders() -> dict[str, Path]:
    """Name -> folder of every experiment: of kdviz, of the folder ``KDVIZ_MODELS``, and those this session brought.

    Where the first two both have a name, it is that of ``KDVIZ_MODELS``.
    """
    found = {name: MODELS / name for name in list_experiments(MODELS)}
    more = os.environ.get("KDVIZ_MODELS")
    if more:
        found |= {name: Path(more) / name for name in list_experiments(Path(more))}
    return {name: found[name] for name in sorted(found)} | session_store.folders()


def first(names: Sequence[str]) -> str:
    """The experiment to begin with.

    Raises:
        ExperimentError: There is none.
    """
    if not names:
        raise ExperimentError(
            "There is no experiment; make one with kdviz train, or name their folder in KDVIZ_MODELS."
        )
    asked = os.environ.get("KDVIZ_FIRST", "")
    return next((one for one in (asked, FIRST) if one in names), names[0])


def title(name: str, folder: Path) -> str:
    """What an experiment is called in a list; its weights are not read for that."""
    try:
        said = json.loads((folder / "experiment.json").read_text(encoding="utf-8")).get("title", "")
    except (OSError, ValueError, AttributeError):
        return name
    brought = session_store.experiments().get(name)
    if brought is not None and isinstance(said, str) and said:
        return f"{said} ({brought.source})"
    return f"{said} ({name})" if isinstance(said, str) and said and said.lower() != name.lower() else said or name


@dataclass(eq=False)
class OpenExperiment:
    """An experiment and what its pages need.

    Attributes:
        experiment: The experiment.
        cache: What was made of it. Nothing of that is kept elsewhere: it ends with the experiment, and so with the
            session that uploaded it.
    """

    experiment: Experiment
    cache: VersionedCache = field(default_factory=lambda: VersionedCache(_RESULTS), repr=False)

    @property
    def is_private(self) -> bool:
        """Whether only the session that uploaded it may see it."""
        return session_store.is_private(self.experiment.name)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a model does, or what it is given."""
        return fingerprint(self.experiment)

    @property
    def is_mnist(self) -> bool:
        return self.experiment.dataset == "mnist"

    @cached_property
    def title(self) -> str:
        """What its data are called: titles repeat, names do not."""
        return title(self.experiment.name, self.experiment.folder)

    @property
    def pictures(self) -> str:
        """What its pictures are, before a verb: ``MNIST: bundled digits``."""
        return _(_PICTURES.get((self.is_mnist, self.shown.split if self.shown else ""), "{title}"), title=self.title)

    @property
    def command_folder(self) -> str:
        """Its folder as one would name it in a command."""
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
        """What makes an imported experiment anew, of the files that it was made of, with pictures."""
        options = [_import_option(run) for run in self.experiment.runs.values()]
        return " ".join(["kdviz import --out", shlex.quote(self.command_folder), "--data DIR", *options])

    @property
    def is_large(self) -> bool:
        """Whether thousands of masks would take minutes here."""
        height, width = self.experiment.input.size
        return height * width > _SMALL and choose_device("auto").type == "cpu"

    @cached_property
    def shown(self) -> SampleView | None:
        """Samples to show, of the first split that has both pictures and predictions; None without any picture."""
        found = [one for one in map(self._shown, SPLITS) if one is not None]
        return next((one for one in found if one.predictions is not None), found[0] if found else None)

    def _shown(self, split: str) -> SampleView | None:
        pictured = self._digits() if split == "bundled" else self._stored(split)
        if pictured is None:
            return None
        data = "" if self.is_mnist or self.experiment.is_imported else " --data DIR"
        evaluate = f"kdviz evaluate -e {self.command_folder}{data}"
        missing = replace(pictured, why=_NONE_YET, command=evaluate)
        if not self.experiment.has_table("predictions"):
            return missing
        table = self.experiment.table("predictions")
        try:
            said = pictured.with_predictions(read_predictions(table, split), read_logits(table, split))
        except ExperimentError:
            return missing
        return said or replace(missing, why=_OF_OTHERS)

    def _stored(self, split: str) -> SampleView | None:
        try:
            samples = self.experiment.samples(split)
        except UnknownNameError:
            return None
        except ExperimentError:
            if (self.experiment.folder / "samples.parquet").exists():
                raise
            return None
        return SampleView(split, samples.numbers.numpy(), samples.labels.numpy(), _reader(samples))

    def _digits(self) -> SampleView | None:
        if not self.is_mnist or (self.experiment.input.size, self.experiment.input.channels) != ((28, 28), 1):
            return None
        digits = bundled_digits()["bundled"]
        return SampleView(
            "bundled",
            np.arange(len(digits)),
            digits.labels.numpy(),
            lambda places: [digits.picture(place) for place in places],
        )

    @cached_property
    def doubts(self) -> list[Doubt]:
        """What is known to look wrong with its data and its models; nothing is computed with a model for that."""
        return known(self.experiment)

    @cached_property
    def showcase(self) -> list[int]:
        """Places of samples for a first look."""
        shown = self.shown
        if shown is None:
            return []
        if shown.predictions is None:
            firsts = [np.flatnonzero(shown.labels == label)[:4] for label in np.unique(shown.labels)]
            return [int(place) for place in np.concatenate(firsts)[:_FIRST_LOOK]]
        return showcase(shown.predictions, len(self.experiment.classes)) or [0]

    def attention(self, study: str, measure: str) -> AttentionReport:
        """A study of attention as it is by now.

        Raises:
            ExperimentError: See :func:`kdviz.studies.attention.read_attention`.
        """
        stamp = _stamp(self.experiment.folder, "agreement.parquet")
        return self.cache.get(
            ("attention", study, measure), stamp, lambda: read_attention(self.experiment, study, measure)
        )

    @cached_property
    def studied(self) -> SampleView | None:
        """The pictures at the ends of the studies of attention; None: there are none."""
        found = read_pictures(self.experiment)
        if found is None:
            return None
        return SampleView(
            found.split, found.numbers, found.labels, lambda places: [found.picture(place) for place in places]
        )

    def report(self, study: str) -> StudyReport:
        """A study as it is by now.

        Raises:
            ExperimentError: See :func:`kdviz.studies.sweep.report.read_report`.
        """
        names = (STUDIES[study].table, "curves", "study_predictions")
        stamp = _stamp(self.experiment.folder, *(f"{name}.parquet" for name in names))
        return self.cache.get(("report", study), stamp, lambda: read_report(self.experiment, study))


def _import_option(run: Run) -> str:
    """A run as an option of kdviz import."""
    file = str(run.training.get("import", {}).get("file", "FILE"))
    if not run.has_model:
        return f"--predictions {shlex.quote(f'{run.role}={file}')}"
    if run.role in ROLES:
        return f"--{run.role.replace('_', '-')} {shlex.quote(file)}"
    return f"--model {shlex.quote(f'{run.title or run.role}={file}')}"


def _reader(samples: StoredSamples) -> Callable[[Sequence[int]], list[Image.Image]]:
    return lambda places: [as_picture(pixels) for pixels in samples.images(list(places))]


def open_experiment(name: str) -> OpenExperiment:
    """Open once for all sessions; again when its files have changed.

    Raises:
        ExperimentError, UnknownNameError: See :func:`kdviz.load_experiment`.
    """
    known = folders()
    if name not in known:
        raise UnknownNameError("experiment", name, known)
    folder = known[name]
    stamp = _stamp(folder, *_FILES)
    if session_store.is_private(name):
        return session_store.opened(folder, stamp, lambda: OpenExperiment(load_experiment(folder)))
    return _opened(folder, stamp)


@lru_cache(maxsize=8)
def _opened(folder: Path, stamp: _Stamp) -> OpenExperiment:
    return OpenExperiment(load_experiment(folder))


def _stamp(folder: Path, *names: str) -> _Stamp:
    """Changes when one of the files does."""
    found = []
    for name in names:
        try:
            status = (folder / name).stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)


def table_version(opened: OpenExperiment, table: str) -> int:
    """Changes when a table does."""
    try:
        return (opened.experiment.folder / f"{table}.parquet").stat().st_mtime_ns
    except OSError:
        return 0
