"""kdviz tune on a few digits, with Optuna: what it writes, how it goes on after a kill, and what it refuses."""

from __future__ import annotations

import builtins
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from faulty import holding
from optional import needs
from sweeps import small_splits

from kdviz.cli import main
from kdviz.distill import TrainingConfig
from kdviz.experiment import load_experiment
from kdviz.studies.search import storage
from kdviz.studies.search.objectives import objectives_of
from kdviz.studies.search.report import read_search_report
from kdviz.studies.search.space import settings_of, space_of
from kdviz.studies.search.trainings import Trainings
from kdviz.studies.search.trials import Search

pytestmark = needs("optuna")

COMMAND = ["--device", "cpu", "--epochs", "1:4", "--batch-size", "50", "--test-seeds", "7,8"]


@pytest.fixture
def folder(tiny, small_digits, monkeypatch):
    """The folder of a small experiment whose data are a few digits."""
    from kdviz.cli.studies import tune

    for run in tiny.runs.values():
        run.training = {"epochs": 2, "batch_size": 50, "temperature": 4.0, "alpha": 0.5, "bf16": "off"}
    tiny.save()
    monkeypatch.setattr(tune, "splits_of", lambda experiment, options: small_splits(small_digits))
    return tiny.folder


def tune(folder: Path, *options: str) -> int:
    return main(["tune", "-e", str(folder), *COMMAND, *options])


def rows(folder: Path, name: str = "search") -> list[dict]:
    return load_experiment(folder).table(name).to_pylist()


@pytest.mark.slow
def test_a_search_ends_with_a_tested_winner_and_can_be_prolonged(folder, capsys):
    assert tune(folder, "--trials", "4", "--width", ".5:1.5", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    report = read_search_report(load_experiment(folder))
    assert len(document["trials"]) == len(report.trials) == 4
    first, *_others = report.trials
    assert (first["temperature"], first["alpha"], first["width"]) == (4.0, 0.5, 1.0)  # the default recipe
    assert document["winner"]["accuracy"] == max(row["accuracy"] for row in report.complete)
    assert {row["seed"] for row in report.trials} == {0}
    final = rows(folder, "search_final")
    assert [(row["candidate"], row["seed"]) for row in final] == [
        *(("winner", seed) for seed in (7, 8)),
        *(("default", seed) for seed in (7, 8)),
    ]
    assert document["candidates"]["winner"]["test"] == pytest.approx(sum(row["accuracy"] for row in final[:2]) / 2)
    before = rows(folder)
    assert tune(folder, "--trials", "6", "--width", ".5:1.5") == 0
    assert rows(folder)[:4] == [{**row, "front": new["front"]} for row, new in zip(before, rows(folder), strict=False)]
    assert len(rows(folder)) == 6
    assert "trial state" in capsys.readouterr().out
    assert tune(folder, "--trials", "6", "--width", "1") == 1
    assert "begun with other ranges" in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_begins_no_trial_after_its_time_and_goes_on_with_more_of_it(folder, capsys, monkeypatch):
    monkeypatch.setattr(Trainings, "seconds", lambda trainings, run: 10.0)
    assert tune(folder, "--trials", "6", "--no-pruning", "--timeout", "20", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["trials"]) == 2  # the second one ends the time
    assert document["found"]["seconds"] in (10.0, 20.0)
    assert tune(folder, "--trials", "6", "--no-pruning", "--timeout", "20") == 0  # nothing is left
    assert len(rows(folder)) == 2
    assert tune(folder, "--trials", "6", "--no-pruning", "--timeout", "21") == 0
    assert len(rows(folder)) == 3
    assert tune(folder, "--trials", "4", "--no-pruning") == 0
    assert len(rows(folder)) == 4


_KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from faulty import holding
from optional import needs
from sweeps import small_splits
from conftest import bundled_digits, LabelledImages
from kdviz.cli import main
from kdviz.cli.studies import tune
from kdviz.studies.search import trials
d = bundled_digits()["bundled"]
small = LabelledImages(d.images[:, :, ::2, ::2].contiguous(), d.labels, d.classes, d.split)
tune.splits_of = lambda experiment, options: small_splits(small)
hopeless = trials._Watch.is_hopeless
def kill(watch, *epoch):
    if watch._trial.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return hopeless(watch, *epoch)
trials._Watch.is_hopeless = kill
main({arguments!r})
"""


@pytest.mark.slow
def test_a_killed_search_keeps_its_trials_and_ends_as_an_uninterrupted_one(folder, tmp_path, capsys):
    whole = tmp_path / "whole"
    subprocess.run(["cp", "-r", str(folder), str(whole)], check=True)
    paths = [part for part in sys.path if part]
    arguments = ["tune", "-e", str(folder), *COMMAND, "--trials", "4"]
    process = subprocess.run(
        [sys.executable, "-c", _KILLED.format(paths=paths, arguments=arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=3600,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()[-2000:]
    kept = rows(folder)
    assert len(kept) == 2
    assert tune(folder, "--trials", "4") == 0
    assert tune(whole, "--trials", "4") == 0
    timeless = [[{**row, "seconds": None} for row in rows(each)] for each in (folder, whole)]
    assert timeless[0] == timeless[1]
    assert [row["run"] for row in rows(folder)[:2]] == [row["run"] for row in kept]
    ended = rows(folder)
    (folder / storage.FILE).unlink()  # trained anew, of runs that are all in the store: they are stopped as they were
    assert tune(folder, "--trials", "4") == 0
    assert rows(folder) == ended


def test_the_first_trial_is_the_default_recipe_also_after_it_was_interrupted(folder, small_digits):
    experiment, config = load_experiment(folder), TrainingConfig(epochs=2, device="cpu", temperature=5.0)
    default, space = settings_of(config), space_of({"alpha": ".1:.9"}, config)

    def search() -> Search:
        trainings = Trainings(experiment, small_splits(small_digits), config)
        return Search(trainings, space, objectives_of(["accuracy"]), 0, default)

    first = search()
    first._try_again()
    first._ask()
    second = search()  # of another process, while the trial of the first one looks as if it ran
    second._try_again()
    assert second._ask().user_attrs["settings"] == default
    assert second.ended == []


@pytest.mark.slow
def test_several_objectives_are_measured_of_every_trial(folder):
    objectives = "accuracy,operations,latency,agreement,inherited"
    options = ("--trials", "3", "--width", ".5:1", "--images", "3", "--masks", "100", "--objectives", objectives)
    assert tune(folder, *options) == 0
    complete = [row for row in rows(folder) if row["state"] == "complete"]
    assert complete
    assert all(row["latency"] > 0 for row in complete)
    assert all(row["mflop"] > 0 and row["inherited"] is not None and row["agreement"] is not None for row in complete)
    assert any(row["front"] for row in complete)
    by_width = sorted(complete, key=lambda row: row["width"])
    assert [row["mflop"] for row in by_width] == sorted(row["mflop"] for row in by_width)


def test_a_storage_that_another_program_locks_is_one_sentence_and_stays_whole(folder, capsys, monkeypatch):
    monkeypatch.setattr(storage, "_WAIT", 0.2)
    study = storage.open_study(folder, ["maximize"], {"a": 1}, prunes=False)
    study.enqueue_trial({"alpha": 0.5})
    path = folder / storage.FILE
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert tune(folder, "--trials", "1") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is locked by another program" in error
    other.execute("ROLLBACK")
    assert len(storage.open_study(folder, ["maximize"], {"a": 1}, prunes=False).trials) == 1
    path.write_bytes(b"not a database" * 100)
    assert tune(folder, "--trials", "1") == 1
    assert "cannot be used" in capsys.readouterr().err


def test_two_searches_of_one_folder_do_not_run_at_once(folder, capsys):
    with holding(folder) as holder:
        assert tune(folder, "--trials", "1") == 1
        holder.kill()
    assert "Another process is writing" in capsys.readouterr().err


def test_without_optuna_one_sentence_says_what_to_install(folder, capsys, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **more):
        if name == "optuna":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert tune(folder) == 1
    assert 'pip install "kdviz[tune]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--objectives", "operations"], "The objectives begin with accuracy"),
        (["--temperature", "8:1"], "'8:1' is no range of --temperature"),
        (["--test-seeds", "0,7"], "The seed 0 was searched with"),
        (["--test-seeds", "7"], "at least two new seeds"),
        (["--train-samples", "500"], "There are 200 training samples"),
        (["--objectives", "accuracy,latency", "--pruning"], "--pruning cannot be had here: with several objectives"),
        (["--engine", "ray", "--pruning"], "--pruning cannot be had here: trials on Ray report no epochs"),
    ],
)
def test_one_sentence_says_what_is_wrong(folder, capsys, options, words):
    assert tune(folder, *options) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (folder / "search.parquet").exists()


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_time_that_is_none_is_wrong_usage(folder, capsys, seconds):
    with pytest.raises(SystemExit) as exit_:
        tune(folder, "--timeout", seconds)
    assert exit_.value.code == 2
    assert "--timeout" in capsys.readouterr().err
