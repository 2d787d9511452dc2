"""A plugin: one installed distribution, one file each for a loss and a data set, found wherever names are listed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LOSS = '''
from kdviz.distill import register_teacher_loss

@register_teacher_loss("test_gap")
def gap(student_logits, teacher_logits, *, power: float = 2.0):
    """|student - teacher|^power, mean over the batch. Lower is better; >= 0."""
    return (student_logits - teacher_logits.detach()).abs().pow(power).mean()
'''

DATA = """
from kdviz.data import DataSet, Recipe, datasets

def read(data, *, size, channels, **options):
    import torch
    from kdviz.data import LabelledImages

    def split(name, count):
        labels = torch.arange(count) % 2
        images = (200 * labels)[:, None, None, None].expand(count, channels, *size).to(torch.uint8)
        return LabelledImages(images, labels, ("dark", "light"), name)

    return {"train": split("train", 16), "validation": split("validation", 6), "test": split("test", 6)}

SMALL = {"size": (6, 6), "channels": 1, "mean": (0.0,), "std": (1.0,)}
RECIPE = Recipe("paper_fc", "paper_fc", False, epochs=1, teacher_epochs=1, batch_size=4)
datasets.add("test-shades", DataSet("Shades", "Dark and light squares.", read, RECIPE, SMALL, needs_folder=False))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with a distribution as pip lays it out."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "kdviz_test_loss.py").write_text(LOSS)
    (folder / "kdviz_test_data.py").write_text(DATA)
    about = folder / "kdviz_test_plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: kdviz-test-plugin\nVersion: 1.0\n")
    lines = [
        "[kdviz.plugins]",
        "test-loss = kdviz_test_loss",
        "test-data = kdviz_test_data",
        "test-none = kdviz_absent",
    ]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def kdviz(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)]), "COLUMNS": "500"}
    command = [sys.executable, "-m", "kdviz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_plugin_is_listed_with_what_comes_with_kdviz(installed):
    losses = json.loads(kdviz(installed, "list", "losses", "--json").stdout)["losses"]
    assert losses["test_gap"].startswith("|student - teacher|^power")
    assert "options: power (default 2)" in losses["test_gap"]
    assert "soft_targets" in losses
    datasets = json.loads(kdviz(installed, "list", "datasets", "--json").stdout)["datasets"]
    assert datasets["test-shades"] == "Dark and light squares."
    assert "mnist" in datasets


def test_a_plugin_is_in_the_help_and_a_broken_one_is_named_once(installed):
    done = kdviz(installed, "train", "--help")
    assert "test-shades (Shades)" in done.stdout
    assert "test_gap" in done.stdout
    assert done.stderr.count("'test-none' (kdviz_absent) cannot be loaded") == 1


def test_a_plugins_data_set_and_loss_can_be_trained_with(installed, tmp_path):
    out = tmp_path / "shades"
    more = ["--loss", "test_gap", "--loss-option", "power=1", "--device", "cpu", "--threads", "1", "--json"]
    done = kdviz(installed, "train", "test-shades", "--out", str(out), *more)
    assert done.returncode == 0, done.stderr
    written = json.loads((out / "experiment.json").read_text())
    assert (written["dataset"], written["title"], written["input"]["size"]) == ("test-shades", "Shades", [6, 6])
    assert next(run for run in written["runs"] if run["role"] == "kd_student")["training"]["loss"] == "test_gap"


def test_an_unknown_data_set_is_refused_with_those_that_there_are(installed):
    done = kdviz(installed, "train", "shades", "--out", "nowhere")
    assert done.returncode == 2
    assert "invalid choice: 'shades'" in done.stderr
    assert "'test-shades'" in done.stderr
