"""A plugin: one installed distribution, one file for each thing that it adds, found wherever names are listed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import plugins
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with a distribution as pip lays it out."""
    return plugins.install(tmp_path_factory.mktemp("site"))


def kdviz(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)]), "COLUMNS": "500"}
    command = [sys.executable, "-m", "kdviz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_plugin_is_listed_with_what_comes_with_kdviz(installed):
    losses = json.loads(kdviz(installed, "list", "losses", "--json").stdout)["losses"]
    assert losses["test_gap"].startswith("|student - teacher|^power")
    assert "options: power (default 2)" in losses["test_gap"]
    assert losses["test_centres"].endswith("[train --feature-loss; options: power (default 2)]")
    assert {"soft_targets", "hints"} <= set(losses)
    augmentations = json.loads(kdviz(installed, "list", "augmentations", "--json").stdout)["augmentations"]
    assert augmentations["test_negative"] == "Black and white exchanged in every image."
    assert "flip" in augmentations
    datasets = json.loads(kdviz(installed, "list", "datasets", "--json").stdout)["datasets"]
    assert datasets["test-shades"] == "Dark and light squares."
    assert "mnist" in datasets
    methods = json.loads(kdviz(installed, "list", "methods", "--json").stdout)["methods"]
    assert methods["test_brightness"] == "Brightness, explains the probability; settings: power"


def test_a_plugin_is_in_the_help_and_a_broken_one_is_named_once(installed):
    done = kdviz(installed, "train", "--help")
    assert "test-shades (Shades)" in done.stdout
    assert "test_gap" in done.stdout
    explain = kdviz(installed, "explain", "--help").stdout
    assert "test_brightness" in explain
    assert "--power" in explain
    assert done.stderr.count("'test-none' (kdviz_absent) cannot be loaded") == 1


def test_a_plugins_data_set_losses_and_augmentation_can_be_trained_with(installed, tmp_path):
    out = tmp_path / "shades"
    more = ["--loss", "test_gap", "--loss-option", "power=1", "--device", "cpu", "--threads", "1", "--json"]
    more += ["--feature-loss", "test_centres", "--feature-option", "power=4", "--augment", "test_negative,flip"]
    done = kdviz(installed, "train", "test-shades", "--out", str(out), *more)
    assert done.returncode == 0, done.stderr
    written = json.loads((out / "experiment.json").read_text())
    assert (written["dataset"], written["title"], written["input"]["size"]) == ("test-shades", "Shades", [6, 6])
    training = next(run for run in written["runs"] if run["role"] == "kd_student")["training"]
    assert training["loss"] == "test_gap"
    assert (training["feature_loss"], training["feature_options"]) == ("test_centres", {"power": 4})
    assert training["augment"] == "test_negative,flip"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--augment", "test_negatives"], "Did you mean 'test_negative'?"),
        (["--feature-loss", "test_centre"], "Did you mean 'test_centres'?"),
        (["--feature-loss", "test_centres", "--feature-option", "weight=1"], "no option 'weight'; it has power"),
        (["--feature-loss", "test_centres", "--feature-option", "power=3"], "The power must be even."),
    ],
)
def test_what_a_plugin_does_not_have_is_refused_before_a_training(installed, tmp_path, options, reason):
    done = kdviz(installed, "train", "test-shades", "--out", str(tmp_path / "shades"), "--device", "cpu", *options)
    assert done.returncode == 1
    assert reason in done.stderr
    assert not (tmp_path / "shades").exists()


def test_an_unknown_data_set_is_refused_with_those_that_there_are(installed):
    done = kdviz(installed, "train", "shades", "--out", "nowhere")
    assert done.returncode == 2
    assert "invalid choice: 'shades'" in done.stderr
    assert "'test-shades'" in done.stderr


def test_a_plugins_method_and_sampler_explain(installed, digit_file, tmp_path):
    out = tmp_path / "maps.npz"
    command = ["explain", str(digit_file), "-e", str(ROOT / "models" / "mnist"), "--out", str(out), "--target", "3"]
    done = kdviz(installed, *command, "--method", "test_brightness", "--power", "2")
    assert done.returncode == 0, done.stderr
    with np.load(out) as maps:
        assert np.array_equal(maps["teacher"], maps["student"])  # it knows no model
    done = kdviz(installed, *command, "--masks", "128", "--sampler", "test_coins")
    assert done.returncode == 0, done.stderr


def test_the_documentation_has_what_a_plugin_adds(installed):
    script = "import generate, json; print(json.dumps(generate.pages()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT), str(ROOT / "docs")])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    pages = json.loads(done.stdout)
    assert "Brightness" in pages["methods.md"]
    assert "Exponent of the brightness." in pages["methods.md"]
    assert {"### test_gap", "### test_centres"} <= set(pages["losses.md"].splitlines())
    assert "| `test_negative` |" in pages["losses.md"]
    assert "test-shades" in pages["data-sets.md"]
    assert "test_coins" in pages["measures.md"]
    assert "--sampler" in pages["command-line.md"]
