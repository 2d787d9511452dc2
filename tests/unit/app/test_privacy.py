"""What a session brought is gone with it: not only its files, also what was computed and kept of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sweeps import small_splits
from test_uploads import bring, files_of, zipped

from kdviz.app import library, results, service
from kdviz.app.pages.compare.state import MapSession
from kdviz.app.pages.cost.profiler_process import Measurer
from kdviz.app.pages.mistakes import page as mistakes
from kdviz.app.pages.overview import page as overview
from kdviz.app.uploads import session_store
from kdviz.app.widgets import gallery
from kdviz.core.jobs import Job
from kdviz.data import LabelledImages
from kdviz.experiment import load_experiment
from kdviz.serving import worker
from kdviz.serving.tasks import MapsTask
from kdviz.studies.predictions.evaluation import evaluate


@pytest.fixture
def sent(tiny_folder: Path, small_digits: LabelledImages) -> bytes:
    """A zip of an experiment with pictures and predictions."""
    experiment = load_experiment(tiny_folder)
    split = small_splits(small_digits, {"validation": 12, "test": 24})["test"]
    experiment.write_samples([split])
    list(evaluate(experiment, split, device="cpu"))
    return zipped(files_of(tiny_folder))


@dataclass
class OneWorker:
    """Computes at once, in this process, as the workers do in theirs."""

    forgotten: list[str] = field(default_factory=list)

    def jobs_ahead(self, job) -> int:
        return 0

    def submit(self, task: MapsTask, ended: Callable[[Job], None] | None = None, finished_states: tuple = ()) -> Job:
        job: Job = Job(lambda: iter(()), ended)
        states: dict[int, Any] = {}
        for row, state in task.states(worker.opened):
            states[row] = state
            job.latest = (*finished_states, *states.values())
        job.finish("done")
        return job

    def forget(self, folder: str) -> None:
        self.forgotten.append(folder)
        worker.forget(folder)


@dataclass
class Session:
    """One person's session, as Streamlit would keep it."""

    store: session_store.SessionStore
    results: results.Results

    def end(self) -> None:
        """As when the tab is closed: Streamlit drops what it keeps for the session."""
        self.store.end()
        del self.results


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> OneWorker:
    worker_pool = OneWorker()
    monkeypatch.setattr(service, "_pools", [worker_pool])
    return worker_pool


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    store = session_store.SessionStore("session-1")
    monkeypatch.setitem(session_store._stores, "session-1", store)
    visitor = Session(store, results.Results(results.ResultCache(24, 2**24), results.ResultCache(24, 2**24)))
    monkeypatch.setattr(session_store, "_session_id", lambda: "session-1")
    monkeypatch.setattr(session_store, "_session_store", lambda: store)
    monkeypatch.setattr(results, "session_results", lambda: visitor.results)
    yield visitor
    store.end()


def request(opened: library.OpenExperiment, picture: Image.Image, *, private: bool) -> service.Request:
    rows = ({"method": "rise", **service.methods["rise"].complete({}), "n_masks": 64},)
    return service.Request(opened, picture, rows, results=results.results_for(private=private))


def maps_of(wanted: service.Request) -> tuple[weakref.ref, weakref.ref]:
    """Compute maps as the page does; the finished state and one map."""
    current = MapSession()
    current.request(wanted)
    assert current.job is not None
    assert current.job.latest is not None
    state = current.job.latest[0]
    maps, _reports = current.maps(0, state, service.TEACHER, complete=True)
    return weakref.ref(state), weakref.ref(maps["teacher"])


def visited(opened: library.OpenExperiment) -> list[weakref.ref]:
    """Look at an experiment on the pages that keep something of it; what is kept."""
    samples = opened.samples
    assert samples is not None
    index = mistakes._index(opened, samples, [])
    gallery._sheet(samples, (0, 1), 32)
    objects: list[Any] = [opened, opened.experiment, samples, index, overview.experiment_summary(opened)]
    objects += [run.model for run in opened.experiment.runs.values()]
    return [weakref.ref(item) for item in objects]


def alive(references: list[weakref.ref]) -> list[Any]:
    gc.collect()
    return [referent for reference in references if (referent := reference()) is not None]


def test_nothing_of_an_uploaded_experiment_outlives_its_session(session: Session, pool: OneWorker, sent: bytes) -> None:
    uploaded = bring(session.store, sent)
    opened = library.open_experiment(uploaded.name)
    assert opened.is_private
    assert library.open_experiment(uploaded.name) is opened  # kept while the session lasts
    assert opened.samples is not None
    references = visited(opened)
    references += maps_of(request(opened, opened.samples.picture(0), private=opened.is_private))
    in_worker = weakref.ref(worker.opened(str(uploaded.folder.resolve()), opened.fingerprint))
    del opened
    assert len(alive([*references, in_worker])) == len(references) + 1
    session.end()
    assert alive([*references, in_worker]) == []
    assert pool.forgotten == [str(uploaded.folder.resolve())]


def test_nothing_of_an_own_picture_outlives_its_session(session: Session, pool: OneWorker, tiny_folder: Path) -> None:
    opened = library.OpenExperiment(load_experiment(tiny_folder))
    references = list(maps_of(request(opened, Image.new("L", (14, 14), 90), private=True)))
    assert len(alive(references)) == len(references)
    session.end()
    assert alive(references) == []


def test_a_removed_experiment_is_dropped_at_once(session: Session, pool: OneWorker, sent: bytes) -> None:
    uploaded = bring(session.store, sent)
    references = visited(library.open_experiment(uploaded.name))
    session.store.remove(uploaded.name)
    assert alive(references) == []
    assert uploaded.name not in library.folders()


def test_samples_of_everybodys_experiments_stay(session: Session, pool: OneWorker, tiny_folder: Path) -> None:
    opened = library.OpenExperiment(load_experiment(tiny_folder))
    assert not opened.is_private
    references = list(maps_of(request(opened, Image.new("L", (14, 14), 91), private=False)))
    session.end()
    assert len(alive(references)) == len(references)


def test_a_measurement_of_a_removed_experiment_is_dropped(tmp_path: Path) -> None:
    measurer = Measurer()
    measurer._tables[str(tmp_path), "a"] = measurer._tables["other", "b"] = (None, ())  # type: ignore[assignment]
    measurer.forget(tmp_path)
    assert measurer.result(tmp_path, "a") is None
    assert list(measurer._tables) == [("other", "b")]
