"""A plugin: one installed distribution, one file for each thing that it adds, found wherever names are listed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import plugins
import pytest

from kdviz.data import LabelledImages

pytestmark = pytest.mark.slow  # each process with a plugin imports all of kdviz: seconds

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with a distribution as pip lays it out."""
    return plugins.install(tmp_path_factory.mktemp("site"))


def environment(installed: Path, *more: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [installed, ROOT, *more])), "COLUMNS": "500"}


EACH = """
import contextlib, io, json, os, sys
from kdviz.cli import main
answers = []
for folder, commands in json.load(sys.stdin).items():
    os.chdir(folder)
    for arguments in commands:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(arguments)
            except SystemExit as end:
                code = end.code
        answers.append([code, out.getvalue(), err.getvalue()])
import generate
print(json.dumps([answers, generate.pages()]))
"""
Answers = dict[tuple[str, ...], tuple[int, str, str]]


def answers_of(installed: Path, work: dict[str, Sequence[Sequence[str]]]) -> tuple[Answers, dict[str, str]]:
    """What one process answers, which loads torch once.

    Args:
        installed: The folder of the plugin.
        work: Folder -> the commands that are run in it.

    Returns:
        Exit status, output and errors of each command; the pages of the documentation.
    """
    done = subprocess.run(
        [sys.executable, "-c", EACH],
        input=json.dumps(work),
        capture_output=True,
        text=True,
        env=environment(installed, ROOT / "docs"),
        check=True,
    )
    answered, pages = json.loads(done.stdout)
    commands = [tuple(command) for each in work.values() for command in each]
    return dict(zip(commands, map(tuple, answered), strict=True)), pages


LISTS = {name: ("list", name, "--json") for name in ("losses", "augmentations", "datasets", "methods")}
HELPS = {name: (name, "--help") for name in ("train", "explain")}
OUT = "refused"
REFUSED = [
    (["--augment", "test_negatives"], "Did you mean 'test_negative'?"),
    (["--feature-loss", "test_centre"], "Did you mean 'test_centres'?"),
    (["--feature-loss", "test_centres", "--feature-option", "weight=1"], "no option 'weight'; it has power"),
    (["--feature-loss", "test_centres", "--feature-option", "power=3"], "The power must be even."),
]
UNKNOWN = ("train", "shades", "--out", OUT)


def train(options: list[str]) -> tuple[str, ...]:
    return ("train", "test-shades", "--out", OUT, "--device", "cpu", *options)


ENDING = [*HELPS.values(), *LISTS.values(), UNKNOWN, *(train(options) for options, _ in REFUSED)]
"""Commands that end at once, and write nothing."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where nothing is written, and where commands train and explain."""
    return tmp_path_factory.mktemp("answers"), tmp_path_factory.mktemp("worked")


@pytest.fixture(scope="module")
def said(installed: Path, folders: tuple[Path, Path], digits: LabelledImages) -> tuple[Answers, dict[str, str]]:
    """What all commands answer, and the documentation."""
    nothing, worked = folders
    digits.picture(0).save(worked / "digit.png")
    answered = answers_of(installed, {str(nothing): ENDING, str(worked): [TRAINED, BY_METHOD, BY_SAMPLER]})
    assert list(nothing.iterdir()) == []
    return answered


@pytest.fixture(scope="module")
def answers(said: tuple[Answers, dict[str, str]]) -> Answers:
    return {command: answer for command, answer in said[0].items() if command in map(tuple, ENDING)}


def test_a_plugin_is_listed_with_what_comes_with_kdviz(answers):
    listed = {name: json.loads(answers[command][1])[name] for name, command in LISTS.items()}
    losses = listed["losses"]
    assert losses["test_gap"].startswith("|student - teacher|^power")
    assert "options: power (default 2)" in losses["test_gap"]
    assert losses["test_centres"].endswith("[train --feature-loss; options: power (default 2)]")
    assert {"soft_targets", "hints"} <= set(losses)
    assert listed["augmentations"]["test_negative"] == "Black and white exchanged in every image."
    assert "flip" in listed["augmentations"]
    assert listed["datasets"]["test-shades"] == "Dark and light squares."
    assert "mnist" in listed["datasets"]
    assert listed["methods"]["test_brightness"] == "Brightness, explains the probability; settings: power"


def test_a_plugin_is_in_the_help_and_a_broken_one_is_named_once(answers):
    _, train_help, _ = answers[HELPS["train"]]
    assert "test-shades (Shades)" in train_help
    assert "test_gap" in train_help
    _, explain_help, _ = answers[HELPS["explain"]]
    assert "test_brightness" in explain_help
    assert "--power" in explain_help
    counts = [errors.count("'test-none' (kdviz_absent) cannot be loaded") for _, _, errors in answers.values()]
    assert counts == [1] + [0] * (len(counts) - 1)  # once in a process


@pytest.mark.parametrize(("options", "reason"), REFUSED)
def test_what_a_plugin_does_not_have_is_refused_before_a_training(answers, options, reason):
    code, _, errors = answers[train(options)]
    assert code == 1
    assert reason in errors


def test_an_unknown_data_set_is_refused_with_those_that_there_are(answers):
    code, _, errors = answers[UNKNOWN]
    assert code == 2
    assert "unknown name 'shades'. Did you mean 'test-shades'" in errors
    assert "'test-shades'" in errors


TRAINED = [
    *("train", "test-shades", "--out", "shades", "--loss", "test_gap", "--loss-option", "power=1", "--device", "cpu"),
    *("--feature-loss", "test_centres", "--feature-option", "power=4", "--augment", "test_negative,flip"),
    *("--threads", "1", "--json"),
]
EXPLAINED = ["explain", "digit.png", "-e", str(ROOT / "models" / "mnist"), "--target", "3", "--out"]
BY_METHOD = [*EXPLAINED, "method.npz", "--method", "test_brightness", "--power", "2"]
BY_SAMPLER = [*EXPLAINED, "sampler.npz", "--masks", "128", "--sampler", "test_coins"]


@pytest.fixture(scope="module")
def worked(said: tuple[Answers, dict[str, str]], folders: tuple[Path, Path]) -> Path:
    """The folder in which commands trained and explained with the plugin."""
    for command in (TRAINED, BY_METHOD, BY_SAMPLER):
        code, _, errors = said[0][tuple(command)]
        assert code == 0, errors
    return folders[1]


def test_a_plugins_data_set_losses_and_augmentation_can_be_trained_with(worked):
    written = json.loads((worked / "shades" / "experiment.json").read_text())
    assert (written["dataset"], written["title"], written["input"]["size"]) == ("test-shades", "Shades", [6, 6])
    training = next(run for run in written["runs"] if run["role"] == "kd_student")["training"]
    assert training["loss"] == "test_gap"
    assert (training["feature_loss"], training["feature_options"]) == ("test_centres", {"power": 4})
    assert training["augment"] == "test_negative,flip"


def test_a_plugins_method_and_sampler_explain(worked):
    with np.load(worked / "method.npz") as maps:
        assert np.array_equal(maps["teacher"], maps["student"])  # it knows no model
    with np.load(worked / "sampler.npz") as maps:
        assert not np.array_equal(maps["teacher"], maps["student"])


def test_the_documentation_has_what_a_plugin_adds(said):
    _, pages = said
    assert "Brightness" in pages["methods.md"]
    assert "Exponent of the brightness." in pages["methods.md"]
    assert {"### test_gap", "### test_centres"} <= set(pages["losses.md"].splitlines())
    assert "| `test_negative` |" in pages["losses.md"]
    assert "test-shades" in pages["data-sets.md"]
    assert "test_coins" in pages["measures.md"]
    assert "--sampler" in pages["command-line.md"]
