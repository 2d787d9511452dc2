"""Whoever writes an experiment's folder is told who is writing it already: programs, commands and pages alike."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from faulty import ROOT, half_written, holding, pictures_of_two_classes
from hostile_files import everything_below
from torch import nn

import kdviz
from kdviz.app.pages.bring_models import process
from kdviz.cli import main
from kdviz.core.errors import Sentence
from kdviz.core.files import PART
from kdviz.core.processes import folder_lock
from kdviz.core.processes.folder_lock import FROM_PYTHON, FolderInUseError, writing, writing_within
from kdviz.data import LabelledImages
from kdviz.data.picture_files import read_picture_files
from kdviz.data.readers.folders import image_folder
from kdviz.distill import TrainingConfig, train_experiment
from kdviz.distill.experiment_trainer import ModelSource
from kdviz.experiment import Experiment, load_experiment
from kdviz.models.inputs import InputSpec
from kdviz.studies.predictions.file_evaluation import evaluate_files

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files are locked as POSIX does it")
SPEC = InputSpec((14, 14), 1, (0.0,), (1.0,))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return pictures_of_two_classes(tmp_path / "data", 8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of one untrained model of two classes."""
    out = tmp_path_factory.mktemp("made") / "e"
    kdviz.import_models({"teacher": model()}, classes=["dark", "light"], inputs=INPUTS, out=out)
    assert half_written(out) == []
    return out


@pytest.fixture
def experiment(made: Path, tmp_path: Path) -> Experiment:
    return load_experiment(shutil.copytree(made, tmp_path / "e"))


@pytest.fixture
def held(experiment: Experiment) -> Iterator[str]:
    """How the sentence begins that says who holds its folder."""
    with holding(experiment.folder) as holder:
        yield f"Another process is writing '{experiment.folder}' (kdviz sweep, process {holder.pid} on "
        holder.kill()


INPUTS = {"size": 14, "channels": 1, "mean": 0.0, "std": 1.0}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(196, 2)).eval()


def trained(experiment: Experiment, data: Path) -> None:
    config = TrainingConfig(epochs=1, batch_size=8, device="cpu", bf16="off")
    source = {"teachers": [ModelSource("paper_fc")], "student": ModelSource("paper_fc")}
    list(
        train_experiment(image_folder(data, (14, 14), channels=1), SPEC, "folder", experiment.folder, config, **source)
    )


def evaluated(experiment: Experiment, data: Path) -> None:
    list(evaluate_files(experiment, read_picture_files(data / "test"), "cpu"))


def stored(experiment: Experiment, data: Path) -> None:
    images = LabelledImages(
        torch.zeros(2, 1, 14, 14, dtype=torch.uint8), torch.zeros(2).long(), experiment.classes, "test"
    )
    experiment.write_samples([images])


WRITERS: dict[str, Callable[[Experiment, Path], object]] = {
    "import_models": lambda e, _: kdviz.import_models({"teacher": model()}, inputs=INPUTS, out=e.folder),
    "import_models with data": lambda e, data: kdviz.import_models({"a": model()}, data=data / "test", out=e.folder),
    "train_experiment": trained,
    "evaluate_files": evaluated,
    "save": lambda e, _: e.save(),
    "add_run": lambda e, _: e.add_run("more", "paper_fc", model(), {}, {}),
    "write_table": lambda e, _: e.write_table("cost", pa.table({"a": [1]})),
    "write_stored": lambda e, _: e.write_stored(b"table"),
    "write_samples": stored,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_program_is_told_who_writes_the_folder(name: str, experiment: Experiment, data: Path, held: str) -> None:
    before = everything_below(experiment.folder)
    with pytest.raises(FolderInUseError) as caught:
        WRITERS[name](experiment, data)
    assert str(caught.value).startswith(held)
    assert str(caught.value).endswith(" UTC); wait until it has ended, or stop it.")
    assert everything_below(experiment.folder) == before


def test_commands_and_programs_hold_the_folder_while_they_write(experiment: Experiment, data: Path) -> None:
    seen = [refused(experiment.folder) for _ in evaluate_files(experiment, read_picture_files(data / "test"), "cpu")]
    assert seen
    assert all(f"({FROM_PYTHON}, process {os.getpid()} on " in text for text in seen)
    with writing(experiment.folder, "after it"):
        experiment.save()  # by whoever holds it
        with writing_within(experiment.folder):
            pass
        with pytest.raises(FolderInUseError, match="after it"), writing(experiment.folder, "another one"):
            pass
    assert half_written(experiment.folder) == []


def refused(folder: Path) -> str:
    """What another process is told that would write the folder now."""
    command = "import sys; from kdviz.core.processes.folder_lock import *\nwith writing(sys.argv[1], 'other'): pass"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = subprocess.run([sys.executable, "-c", command, folder], capture_output=True, text=True, env=environment)
    return other.stderr.splitlines()[-1]


def test_threads_of_one_program_exclude_each_other(experiment: Experiment, data: Path) -> None:
    first, second = experiment, load_experiment(experiment.folder)

    def write() -> None:
        second.write_table("cost", pa.table({"a": [1]}))

    evaluation = evaluate_files(first, read_picture_files(data / "test"), "cpu")
    next(evaluation)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(FolderInUseError) as caught:
            pool.submit(write).result()
        assert not second.has_table("cost")
        said = f"This program is writing '{first.folder}' already ({FROM_PYTHON}, since "
        assert str(caught.value).startswith(said)
        assert str(caught.value).endswith(" UTC); wait until that has ended.")
        first.write_table("cost", pa.table({"a": [2]}))  # by the thread that holds it, within
        with pytest.raises(FolderInUseError):
            pool.submit(write).result()  # that has not let it go
        for _ in evaluation:
            pass
        pool.submit(write).result()
    assert second.table("cost").to_pylist() == [{"a": 1}]
    assert half_written(first.folder) == []


def test_what_a_thread_has_begun_goes_on_after_its_end(experiment: Experiment, data: Path) -> None:
    evaluation = evaluate_files(experiment, read_picture_files(data / "test"), "cpu")
    thread = threading.Thread(target=next, args=(evaluation,))
    thread.start()
    thread.join()
    for _ in evaluation:
        pass
    assert experiment.has_table("predictions")
    assert half_written(experiment.folder) == []


def test_of_many_threads_one_writes_at_a_time(tmp_path: Path) -> None:
    inside, most, done, together = [0], [0], [0], threading.Barrier(8)

    def write() -> None:
        together.wait()
        while True:
            with suppress(FolderInUseError), writing_within(tmp_path / "e"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.005)
                inside[0] -= 1
                done[0] += 1
                return
            time.sleep(0.001)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == ([1], [8])


def test_threads_exclude_each_other_where_files_cannot_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "lock_file", lambda descriptor: None)
    with (
        writing(tmp_path, "first"),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(FolderInUseError, match=re.escape("already (first, since")),
    ):
        pool.submit(lambda: writing_within(tmp_path).__enter__()).result()


def test_a_folder_that_is_being_made_needs_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / f".e-abcdefgh{PART}"
    folder.mkdir()
    with writing_within(folder):
        assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    "arguments",
    [
        ["study", "-e", "{other}", "--study", "shortcuts", "--plant", "patch", "--into", "{held}"],
        ["study", "-e", "{held}", "--study", "shortcuts", "--plant", "patch", "--into", "{other}"],
        ["explain", "--showcase", "-e", "{held}"],
        ["import", "--out", "{held}", "--teacher", "none.pth"],
    ],
    ids=["study --into", "study of", "explain --showcase", "import"],
)
def test_a_command_is_told_who_writes_any_of_its_folders(
    arguments: list[str], tiny_folder: Path, experiment: Experiment, held: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {"other": tiny_folder, "held": experiment.folder}
    assert main([argument.format(**folders) for argument in arguments]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"kdviz: {held}")
    assert half_written(tiny_folder) == []


def test_a_study_into_its_own_experiment_is_one_folder(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["-e", str(tiny_folder), "--into", str(tiny_folder / ".." / tiny_folder.name)]
    assert main(["study", *own, "--study", "shortcuts"]) == 1
    assert "No shortcut was planted" in capsys.readouterr().err  # and not that it is in use


def test_the_page_that_brings_models_is_told(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = {"role": "teacher", "path": str(tmp_path / "x.onnx"), "title": "", "network": "", "given": {}, "classes": ""}
    plan = {"work": str(tmp_path), "title": "", "models": [sent], "data": None, "classes": "", "renamed": []}
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "largest": 2**40}))
    with holding(tmp_path / "experiment") as holder:
        assert process.main(str(tmp_path / "plan.json")) == 3
        holder.kill()
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert f"(kdviz sweep, process {holder.pid} on " in str(Sentence.from_json(said["error"]))
