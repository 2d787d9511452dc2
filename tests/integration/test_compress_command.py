"""kdviz compress: what it makes, prints and refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from kdviz.cli import main
from kdviz.experiment import load_experiment


@pytest.fixture
def trained_folder(tiny, small_digits, monkeypatch):
    """The folder of a small experiment whose data are a few digits."""
    from kdviz.cli import compress

    for run in tiny.runs.values():
        run.training = {"epochs": 1, "batch_size": 50, "temperature": 4.0, "alpha": 0.5}
    tiny.save()
    parts = zip(("train", "validation", "test"), torch.arange(400).split([200, 80, 120]), strict=True)
    splits = {name: replace(small_digits.take(part), split=name) for name, part in parts}
    monkeypatch.setattr(compress, "splits_of", lambda experiment, options: splits)
    return tiny.folder


def command(folder, *options: str) -> list[str]:
    return ["compress", "-e", str(folder), "--device", "cpu", "--images", "6", "--masks", "100", *options]


@pytest.mark.slow
def test_a_pruned_student_is_a_run_like_any_other(trained_folder, capsys):
    assert main(command(trained_folder, "--of", "kd_student", "--prune", ".5")) == 0
    printed = capsys.readouterr().out
    assert "kd_student_pruned" in printed
    assert "'kd_student_pruned' was made from 'kd_student', pruned by 0.5" in printed
    assert "kdviz compress --of kd_student --other-seed" in printed
    experiment = load_experiment(trained_folder)
    run = experiment.runs["kd_student_pruned"]
    assert (run.parent, run.made_by) == ("kd_student", "prune 0.5")
    assert json.loads((trained_folder / "experiment.json").read_text())["format"] == 2
    assert set(run.metrics) == {"validation", "test"}
    assert set(experiment.table("predictions")["role"].to_pylist()) == set(experiment.runs)

    assert main(command(trained_folder, "--measure", "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["made"] == ["kd_student_pruned"]
    (entry,) = document["compression"]
    assert entry["accuracy"] == pytest.approx(run.metrics["test"]["accuracy"], abs=1e-6)
    assert entry["answers"] == "cannot tell"

    assert main(command(trained_folder, "--prune", ".5")) == 1  # the name is taken
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "one of --prune F, --qat, --int8, --int4, --other-seed and --measure is required"),
        (["--other-seed", "--qat"], "argument --other-seed: not allowed with"),
        (["--qat", "--int8", "dynamic"], "argument --int8: with --qat the ranges are those of the training"),
    ],
)
def test_wrong_usage(trained_folder, capsys, options, words):
    with pytest.raises(SystemExit) as stopped:
        main(command(trained_folder, *options))
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prune", "1"], "must be between 0 and 1, got 1."),
        (["--prune", ".3", "--pattern", "2:4"], "2:4 prunes a share of 0.5"),
        (["--of", "nobody", "--qat"], "Unknown role 'nobody'"),
        (["--qat", "--as", "teacher"], "The role 'teacher' is taken"),
        (["--measure"], "Nothing was made of 'kd_student' yet"),
        (["--of", "teacher", "--prune", ".5", "--teacher"], "There is no teacher to learn from beside 'teacher'"),
    ],
)
def test_one_sentence_says_what_is_wrong_and_nothing_changes(trained_folder, capsys, options, words):
    before = (trained_folder / "experiment.json").read_bytes()
    assert main(command(trained_folder, *options)) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert (trained_folder / "experiment.json").read_bytes() == before
