"""Evaluation and import of many pictures of many classes: in parts, and continued where they were stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from kdviz.core.errors import DatasetError, ExperimentError, KdvizError
from kdviz.core.files import replacing
from kdviz.data.picture_files import PictureFiles, read_picture_files
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment, InputSpec, load_experiment
from kdviz.importing import ImportPlan, import_experiment, parse_spec
from kdviz.metrics import divergence_from_teacher, predictions
from kdviz.studies.predictions import evaluation, file_evaluation, unfinished
from kdviz.studies.predictions.evaluation import model_metrics, record_predictions
from kdviz.studies.predictions.file_evaluation import evaluate_files
from kdviz.studies.predictions.stored_logits import StoredLogits, stored_logits
from kdviz.studies.predictions.unfinished import LogitsFile, unfinished_evaluation

CLASSES = tuple(f"class {number}" for number in range(1000))
INPUT = InputSpec((6, 6), 3, (0.5,) * 3, (0.5,) * 3, resize=8)
ROLES = ("teacher", "kd_student", "student")
COUNT = 70


def experiment_in(folder: Path) -> Experiment:
    """Three random networks of 1,000 classes."""
    folder.mkdir(parents=True)
    experiment = Experiment(folder, "imported", CLASSES, INPUT, {}, "Many")
    for seed, role in enumerate(ROLES):
        experiment.add_run(role, "paper_fc", new_network("paper_fc", INPUT, 1000, seed).eval(), {}, {})
    experiment.save()
    return experiment


@pytest.fixture
def data(tmp_path) -> Path:
    """Noise in 70 of 1,000 classes, in a CSV file."""
    folder = tmp_path / "data"
    folder.mkdir()
    draw = np.random.default_rng(0)
    lines = ["file,label"]
    for number in range(COUNT):
        Image.fromarray(draw.integers(0, 255, (9, 10, 3), np.uint8)).save(folder / f"{number:03}.png")
        lines.append(f"{number:03}.png,{number * 13 % 1000}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def pictures_of(data: Path) -> PictureFiles:
    from kdviz.data.labels.class_names import read_classes

    return read_picture_files(data, classes=read_classes(list(CLASSES)))


class Opened:
    """Counts which pictures are opened."""

    def __init__(self, monkeypatch):
        self.pictures: list[int] = []
        true = PictureFiles.open

        def counted(files, index):
            self.pictures.append(index)
            return true(files, index)

        monkeypatch.setattr(PictureFiles, "open", counted)


def logits_of(experiment: Experiment) -> dict[str, np.ndarray]:
    return stored_logits(load_experiment(experiment.folder), "test")


def same_logits(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert list(first) == list(second)
    for role, values in first.items():
        np.testing.assert_allclose(values, second[role], rtol=1e-5, atol=1e-6)


# continuing -----------------------------------------------------------------------------------------------------------


def test_a_stopped_evaluation_goes_on_where_it_was(data, tmp_path, monkeypatch):
    monkeypatch.setattr(file_evaluation, "_TRIED", 5)
    whole = experiment_in(tmp_path / "whole")
    assert list(evaluate_files(whole, pictures_of(data), "cpu", keep=9)) == [32, 64, COUNT]
    stopped = experiment_in(tmp_path / "stopped")
    steps = evaluate_files(stopped, pictures_of(data), "cpu", keep=9)
    assert next(steps) == 32
    steps.close()
    assert not stopped.has_table("predictions")
    opened = Opened(monkeypatch)
    assert list(evaluate_files(load_experiment(stopped.folder), pictures_of(data), "cpu", keep=9)) == [32, 64, COUNT]
    again = [index for index in opened.pictures if index < 32]
    assert len(again) == len(set(again)) <= 9 + 5  # copies are needed of those that are kept or tried
    assert [index for index in opened.pictures if index >= 32] == list(range(32, COUNT))
    same_logits(logits_of(whole), logits_of(stopped))
    assert load_experiment(stopped.folder).runs["student"].metrics == whole.runs["student"].metrics
    kept, expected = (stored.samples("test") for stored in (load_experiment(stopped.folder), whole))
    assert kept.numbers.tolist() == expected.numbers.tolist()
    assert torch.equal(kept.images(range(9)), expected.images(range(9)))
    assert not (stopped.folder / "runs" / "evaluation").exists()


def test_other_pictures_are_another_evaluation(data, tmp_path):
    experiment = experiment_in(tmp_path / "e")
    steps = evaluate_files(experiment, pictures_of(data), "cpu")
    next(steps)
    steps.close()
    (left,) = (experiment.folder / "runs" / "evaluation").iterdir()
    Image.new("RGB", (9, 9), "red").save(data / "003.png")
    steps = evaluate_files(experiment, pictures_of(data), "cpu")
    next(steps)
    assert not left.exists()
    assert list(steps) == [64, COUNT]


def test_a_damaged_picture_loses_nothing_that_is_done(data, tmp_path):
    experiment = experiment_in(tmp_path / "e")
    content = (data / "069.png").read_bytes()
    stamp = (data / "069.png").stat().st_mtime_ns
    (data / "069.png").write_bytes(bytes(len(content)))
    os.utime(data / "069.png", ns=(stamp, stamp))
    with pytest.raises(KdvizError, match=r"069\.png"):
        list(evaluate_files(experiment, pictures_of(data), "cpu"))
    (data / "069.png").write_bytes(content)
    os.utime(data / "069.png", ns=(stamp, stamp))
    assert list(evaluate_files(experiment, pictures_of(data), "cpu")) == [64, COUNT]


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from test_many_pictures import evaluate_files, load_experiment, pictures_of, unfinished
from pathlib import Path
unfinished._SECONDS = 0
for done in evaluate_files(load_experiment({folder!r}), pictures_of(Path({data!r})), "cpu"):
    if done == 64:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_killed_evaluation_goes_on(data, tmp_path):
    experiment = experiment_in(tmp_path / "e")
    code = KILLED.format(path=[str(Path(__file__).parent), *sys.path], folder=str(experiment.folder), data=str(data))
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=3600)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert list(evaluate_files(experiment, pictures_of(data), "cpu")) == [64, COUNT]
    whole = experiment_in(tmp_path / "whole")
    list(evaluate_files(whole, pictures_of(data), "cpu"))
    same_logits(logits_of(whole), logits_of(experiment))


def test_a_stopped_import_goes_on(data, tmp_path, monkeypatch):
    files = experiment_in(tmp_path / "files")
    weights = files.folder / files.runs["teacher"].weights
    spec = f"{weights},network=paper_fc,size=6,resize=8,channels=3,mean=.5,std=.5"

    def steps():
        models = [parse_spec("teacher", spec)]
        plan = ImportPlan(tmp_path / "out" / "mine", models, pictures_of(data), CLASSES, keep=9)
        return import_experiment(plan)

    monkeypatch.setattr(file_evaluation, "_TRIED", 5)
    first = steps()
    assert next(step for step in first if step.stage == "evaluate").done == 32
    first.close()
    assert not (tmp_path / "out" / "mine").exists()
    opened = Opened(monkeypatch)
    assert [step.done for step in steps() if step.stage == "evaluate"] == [32, 64, COUNT]
    assert [index for index in opened.pictures if index >= 32] == list(range(32, COUNT))
    assert len(opened.pictures) <= COUNT - 32 + 9 + 5
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


# the logits under way -------------------------------------------------------------------------------------------------


def test_rows_in_a_file_are_read_like_those_of_a_tensor(tmp_path):
    values = torch.randn(10, 7)
    file = LogitsFile(tmp_path / "x", 7)
    for part in values.split(4):
        file.append(part)
    assert (len(file), file.shape) == (10, (10, 7))
    for part in (slice(0, 10), slice(3, 5), slice(8, 99), slice(4, 4), slice(None)):
        assert torch.equal(file[part], values[part])
    file.truncate(6)
    file.sync()
    file.close()
    again = LogitsFile(tmp_path / "x", 7)
    assert torch.equal(again[:], values[:6])
    again.close()


def test_two_processes_do_not_share_an_evaluation(tmp_path):
    def under_way():
        return unfinished_evaluation(tmp_path / "u", "same", ["a"], 3, dict)

    with under_way() as first:
        first.add({"a": torch.ones(2, 3)}, [b"small"] * 2)
        with under_way() as second:
            assert second.done == 0
            second.add({"a": torch.zeros(1, 3)}, [b"small"])
            assert second.logits["a"][:].tolist() == [[0, 0, 0]]
        assert first.logits["a"][:].tolist() == [[1, 1, 1]] * 2
    assert not (tmp_path / "u").exists()


def test_what_is_damaged_or_empty_is_not_continued(tmp_path):
    def fail(count):
        with unfinished_evaluation(tmp_path / "u", "one", ["a"], 3, lambda: {"deep": []}) as evaluation:
            evaluation.add({"a": torch.ones(count, 3)}, [b"small"] * count)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail(0)
    assert not (tmp_path / "u").exists()
    with pytest.raises(ZeroDivisionError):
        fail(5)
    state = tmp_path / "u" / "one" / "state.json"
    assert json.loads(state.read_text()) == {"done": 5, "notes": {"deep": []}}
    state.write_bytes(b"{")
    with unfinished_evaluation(tmp_path / "u", "one", ["a"], 3, dict) as evaluation:
        assert (evaluation.done, len(evaluation.logits["a"])) == (0, 0)


def test_a_full_disk_is_one_sentence(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    file = LogitsFile(Path("/dev/full"), 3)
    with pytest.raises(KdvizError, match="Cannot write"):
        file.append(torch.ones(100_000, 3))
    file.close()


# metrics --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 60.0])  # where probabilities are 0 and 1, many are tied
def test_metrics_in_blocks_are_those_of_torchmetrics(monkeypatch, tmp_path, scale):
    from torchmetrics.functional.classification import (
        multiclass_auroc,
        multiclass_calibration_error,
        multiclass_f1_score,
    )

    monkeypatch.setattr(predictions, "_VALUES", 1000)
    monkeypatch.setattr(predictions, "_COLUMNS", 2000)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 20
    logits = torch.randn(300, 20, generator=generator)
    logits[torch.arange(300), labels] += 1
    logits *= scale
    file = LogitsFile(tmp_path / "x", 20)
    file.append(logits)
    metrics = model_metrics(file, labels, logits * 0.9)
    shares = logits.softmax(1)
    expected = {
        "f1": multiclass_f1_score(shares, labels, 20, average="macro"),
        "auc": multiclass_auroc(shares, labels, 20),
        "ece": multiclass_calibration_error(shares, labels, 20, n_bins=15, norm="l1"),
        "loss": torch.nn.functional.cross_entropy(logits, labels),
        "accuracy": (logits.argmax(1) == labels).float().mean(),
    }
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4, abs=2e-6), name
    assert metrics["kl_to_teacher"] == pytest.approx(divergence_from_teacher(logits * 0.9, logits), abs=1e-6)
    file.close()


# the table ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> tuple[Experiment, dict[str, torch.Tensor]]:
    """Two splits, in row groups of a few rows."""
    monkeypatch.setattr(evaluation, "_GROUP_BYTES", 4 * 1000 * 7)
    experiment = experiment_in(tmp_path / "e")
    logits = {role: torch.randn(30, 1000) for role in ROLES}
    record_predictions(experiment, "validation", torch.arange(8), {role: values[:8] for role, values in logits.items()})
    record_predictions(experiment, "test", torch.arange(30), logits)
    return experiment, logits


def test_the_table_is_written_in_parts_and_keeps_other_splits(recorded):
    experiment, logits = recorded
    file = pq.ParquetFile(experiment.folder / "predictions.parquet")
    assert max(file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)) == 7
    table = experiment.table("predictions")
    assert len(table) == 3 * 38
    assert table["sample"].to_pylist()[-30:] == list(range(30))
    for split, count in (("validation", 8), ("test", 30)):
        stored = stored_logits(experiment, split)
        assert list(stored) == list(ROLES)
        for role, values in stored.items():
            np.testing.assert_array_equal(values, logits[role][:count].numpy())


def test_logits_of_some_samples_are_read_without_the_others(recorded, monkeypatch):
    experiment, logits = recorded
    groups: list[int] = []
    true = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda file, group, **more: groups.append(group) or true(file, group, **more)
    )
    numbers = np.array([25, 3, 24])
    lazy = StoredLogits(experiment, "test", numbers, ROLES)
    assert (list(lazy), len(lazy), "teacher" in lazy, groups) == (list(ROLES), 3, True, [])
    np.testing.assert_array_equal(lazy["student"], logits["student"][numbers].numpy())
    assert len(groups) == 2
    assert lazy["student"] is lazy["student"]
    with pytest.raises(KeyError):
        lazy["nobody"]
    with pytest.raises(ExperimentError, match="not all samples"):
        stored_logits(experiment, "test", np.array([30]))
    with pytest.raises(ExperimentError, match="no predictions of the split"):
        stored_logits(experiment, "train")


def test_columns_are_read_alone_and_old_tables_too(recorded):
    experiment, _ = recorded
    assert experiment.table("predictions", ["sample", "role"]).column_names == ["sample", "role"]
    table = experiment.table("predictions")
    experiment.write_table("predictions", table.drop_columns(["logits"]))
    with pytest.raises(ExperimentError, match="holds no logits"):
        StoredLogits(experiment, "test", np.array([1]), ROLES)
    (experiment.folder / "predictions.parquet").write_bytes(b"damaged")
    with pytest.raises(ExperimentError, match="damaged"):
        experiment.table("predictions", ["sample"])


def test_a_table_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise DatasetError("No.")

    with pytest.raises(DatasetError):
        fail()
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_only_a_few_pictures_are_decoded_ahead(data, tmp_path, monkeypatch):
    experiment = experiment_in(tmp_path / "e")
    monkeypatch.setattr(file_evaluation, "_BATCH", 4)
    opened = Opened(monkeypatch)
    steps = evaluate_files(experiment, pictures_of(data), "cpu")
    for done in steps:
        assert len(opened.pictures) <= done + 3 * 4
    assert sorted(opened.pictures) == list(range(COUNT))
    assert unfinished._SECONDS <= 10  # what a killed process loses
