"""Pages of an experiment whose pictures are not here, and the button that gets them; without a browser."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import without_pictures as apart

from kdviz.app import library, service
from kdviz.app.library import OpenExperiment
from kdviz.app.pictures import commands, picture_job
from kdviz.app.pictures.absent_pictures import photograph_note
from kdviz.app.pictures.picture_job import BusyError, PictureFetcher, PictureJob
from kdviz.cli import main
from kdviz.core.errors import ERRORS_VARIABLE
from kdviz.core.language import error_text, speaking
from kdviz.experiment import load_experiment
from kdviz.experiment.fetching import fetch_pictures

pytest.importorskip("streamlit.testing.v1")
from streamlit.testing.v1 import AppTest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return apart.copies(tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return apart.make_experiment(tmp_path_factory.mktemp("made") / "cifar", data).folder


@pytest.fixture
def folder(_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDVIZ_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # nothing is in the user's cache
    picture_job.picture_fetcher.cache_clear()
    return Path(shutil.copytree(_made, tmp_path / "models" / "cifar"))


def _page(name: str) -> None:
    from kdviz.app.library import open_experiment
    from kdviz.app.pictures.absent_pictures import show_absent_pictures

    show_absent_pictures(open_experiment(name))


def page() -> AppTest:
    shown = AppTest.from_function(_page, args=("cifar",)).run(timeout=600)
    assert not shown.exception
    return shown


# what the pages have --------------------------------------------------------------------------------------------------


def test_predictions_without_pictures_then_with_them(folder: Path, data: Path) -> None:
    opened = library.open_experiment("cifar")
    assert opened.samples is None
    assert opened.can_fetch
    assert opened.answered is not None
    assert not opened.answered.has_pictures
    assert opened.answered.predictions is not None
    assert opened.answered.picture(3).size == (32, 32)
    assert len(np.unique(np.asarray(opened.answered.picture(3)))) == 1  # blank
    assert opened.studied_samples is None
    fetch_pictures(opened.experiment, data)
    again = library.open_experiment("cifar")
    assert again is not opened
    assert again.samples is not None
    assert again.answered is again.samples is again.studied_samples
    assert again.samples.predictions is not None
    assert not again.can_fetch


def test_photographs_are_what_is_opened_with(folder: Path) -> None:
    opened = library.open_experiment("cifar")
    assert opened.photographs is not None
    assert [apart.CLASSES[label] for label in opened.photographs.labels] == ["cat", "deer", "truck"]
    assert opened.photographs.picture(0).size == (32, 32)
    assert service._first_picture(opened) is not None
    note = photograph_note(opened.experiment.opening_pictures)
    assert "no test pictures" in note
    assert "cat by Stefan van der Walt (CC0), from scikit-image" in note
    assert "scikit-image" not in photograph_note(opened.experiment.opening_pictures, "truck")


def test_an_experiment_with_its_pictures_is_as_before() -> None:
    opened = OpenExperiment(load_experiment("mnist"))
    assert opened.photographs is None
    assert opened.answered is opened.samples
    assert not opened.can_fetch


# what is said ---------------------------------------------------------------------------------------------------------


def test_the_page_names_command_size_and_source(folder: Path) -> None:
    shown = page()
    assert "170 MB from data\\.example\\.org" in shown.info[0].value
    assert shown.code[0].value == f"kdviz get {folder}"
    assert shown.button[0].label == "Get the pictures (170 MB from data\\.example\\.org)"


def test_a_bundled_experiment_is_named_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MODELS", folder.parent)
    assert OpenExperiment(load_experiment(folder)).get_command == "kdviz get cifar"


@pytest.mark.parametrize("how", ["variable", "private", "read-only"])
def test_where_the_server_does_not_allow_it_there_is_no_button(
    folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "variable":
        monkeypatch.setenv("KDVIZ_GET", "0")
    elif how == "private":
        monkeypatch.setattr(OpenExperiment, "is_private", True)
    else:
        monkeypatch.setattr("kdviz.app.pictures.absent_pictures.os.access", lambda *_path: False)
    shown = page()
    assert shown.info
    assert not shown.button


def test_nothing_is_said_where_the_pictures_are_here(folder: Path, data: Path) -> None:
    fetch_pictures(load_experiment(folder), data)
    shown = page()
    assert not shown.info
    assert not shown.button


# the button -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_button_gets_them(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "kdviz", "get", str(folder), "--data", str(data)]
    monkeypatch.setattr(PictureJob, "command", command)
    shown = page()
    shown.button[0].click().run(timeout=600)
    job = picture_job.picture_fetcher().current
    assert job is not None
    assert job.wait(600)
    assert (job.status, job.error) == ("done", "")
    shown.run(timeout=600)
    assert not shown.exception
    assert not shown.info
    assert library.open_experiment("cifar").samples is not None


def test_what_failed_is_said_in_one_sentence_of_the_pages_language(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ERRORS_VARIABLE, "json")
    code = main(["get", str(folder), "--data", str(tmp_path / "nowhere")])
    # The command's own words, from a process that loads nothing else.
    said = f"import sys; sys.stderr.write({capfd.readouterr().err!r}); sys.exit({code})"
    monkeypatch.setattr(PictureJob, "command", [sys.executable, "-c", said])
    shown = page()
    shown.button[0].click().run(timeout=600)
    job = picture_job.picture_fetcher().current
    assert job is not None
    assert job.wait(600)
    assert job.status == "failed"
    with speaking("en"):
        assert error_text(job.error) == f"There is no folder '{tmp_path / 'nowhere'}'; name the one with the pictures."
    shown.run(timeout=600)
    assert "There is no folder" in shown.error[0].value
    assert shown.button[0].label.startswith("Get the pictures")  # it can be tried again


def test_a_job_shows_its_progress_and_can_be_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bar = "import sys, time; sys.stderr.write('\\r 42%|####      | 71.6M/170M'); sys.stderr.flush(); time.sleep(60)"
    monkeypatch.setattr(PictureJob, "command", [sys.executable, "-c", bar])
    fetcher = picture_job.picture_fetcher()
    job = fetcher.start(folder)
    with pytest.raises(BusyError):
        fetcher.start(folder)
    for _try in range(200):
        if job.share or job.wait(0.1):
            break
    assert job.share == 0.42
    job.stop()
    assert job.wait(600)
    assert (job.status, job.error) == ("stopped", "")
    assert not (folder / "samples.parquet").exists()


def test_a_process_that_cannot_be_started_or_dies_is_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["/nowhere/python"], [sys.executable, "-c", "raise SystemExit(9)"]):
        monkeypatch.setattr(PictureJob, "command", command)
        job = PictureFetcher().start(folder)
        assert job.wait(600)
        assert job.status == "failed"
        assert str(job.error).startswith("The pictures could not be fetched")
