"""Compression of a small experiment on real digits: its runs, their records, its table and its report."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from kdviz.compress.sparse_weights import zero_share
from kdviz.core.errors import ExperimentError, ModelError, SettingError, UnknownNameError
from kdviz.experiment import load_experiment
from kdviz.metrics import paired_shares
from kdviz.studies.compression.evaluating import evaluate_run
from kdviz.studies.compression.making import Making, make_run
from kdviz.studies.compression.maps import compare_maps
from kdviz.studies.compression.names import DYNAMIC, INT8, PRUNE, QAT, SEED, TWO_OF_FOUR, WEIGHTS
from kdviz.studies.compression.report import LESS, MORE, UNKNOWN, read_compression_report, report_of, side
from kdviz.studies.compression.rows import compression_rows, descendants
from kdviz.studies.compression.steps import Step, plan_steps, recorded_config, step_config
from kdviz.studies.compression.table import read_compression, write_compression
from kdviz.studies.predictions.mistakes import read_predictions

RECORD = {"epochs": 2, "batch_size": 32, "learning_rate": 0.002, "seed": 3, "unfreeze": "all"}
TAUGHT = {**RECORD, "temperature": 3.0, "alpha": 0.7, "loss": "soft_targets", "teacher_mix": []}


@pytest.fixture(scope="module")
def splits(small_digits):
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    parts = zip(("train", "validation", "test"), torch.arange(600).split([250, 120, 230]), strict=True)
    return {name: replace(small_digits.take(order[part]), split=name) for name, part in parts}


@pytest.fixture(scope="module")
def folder(_untrained, tmp_path_factory):
    folder = shutil.copytree(_untrained, tmp_path_factory.mktemp("compressed") / "tiny")
    experiment = load_experiment(folder)
    for role, run in experiment.runs.items():
        run.training = TAUGHT if role == "kd_student" else RECORD
    experiment.save()
    return folder


def make(experiment, splits, of, *steps, role="", with_teacher=None, evaluated=("test",)):
    """Make runs, measure them, and return their roles."""
    making = Making(experiment, splits, {}, "cpu", with_teacher)
    planned = plan_steps(experiment, of, list(steps), role)
    making.check(planned)
    for each in planned:
        for _stage in make_run(making, each):
            pass
        for split in evaluated:
            evaluate_run(experiment, each.role, splits[split], "cpu")
    return [each.role for each in planned]


@pytest.fixture(scope="module")
def compressed(folder, splits):
    """The experiment after a chain of two steps, int8 of both kinds, and another seed, with its table."""
    experiment = load_experiment(folder)
    made = make(experiment, splits, "kd_student", Step(PRUNE, 0.5), Step(QAT), role="small")
    made += make(experiment, splits, "kd_student", Step(INT8)) + make(experiment, splits, "kd_student", Step(SEED))
    with_maps = (made[0], made[3])
    maps = {role: list(compare_maps(experiment, role, splits["test"], 6, 150, "cpu"))[-1] for role in with_maps}
    write_compression(experiment, compression_rows(experiment, maps))
    return load_experiment(folder)


@pytest.mark.slow
def test_each_step_is_a_run_with_its_parent(compressed):
    made = {role: (run.parent, run.made_by) for role, run in compressed.runs.items() if run.parent}
    assert made == {
        "small_pruned": ("kd_student", "prune 0.5"),
        "small": ("small_pruned", "qat"),
        "kd_student_int8": ("kd_student", "int8"),
        "kd_student_seed": ("kd_student", "seed"),
    }
    assert descendants(compressed, "small_pruned") == ["small"]
    assert descendants(compressed, "kd_student") == list(made)
    assert compressed.runs["small_pruned"].settings == {"widths": [98, 98]}
    assert compressed.runs["small_pruned"].model(torch.zeros(2, 1, 14, 14)).shape == (2, 10)
    assert compressed.runs["small"].network == "onnx"
    assert compressed.runs["kd_student_seed"].training["seed"] == 4


@pytest.mark.slow
def test_the_files_shrink(compressed):
    rows = {row["child"]: row for row in read_compression(compressed)}
    weights = 196 * 98 + 98 * 98 + 98 * 10, 196 * 196 * 2 + 196 * 10
    assert rows["small_pruned"]["flops"] == 2 * weights[0]
    assert rows["small_pruned"]["parent_flops"] == 2 * weights[1]
    assert rows["small_pruned"]["bytes"] < 0.4 * rows["small_pruned"]["parent_bytes"]
    assert rows["small"]["bytes"] < 0.5 * rows["small"]["parent_bytes"]
    assert rows["small"]["flops"] == rows["small_pruned"]["flops"]
    assert rows["kd_student_int8"]["bytes"] < 0.5 * rows["kd_student_int8"]["parent_bytes"]


@pytest.mark.slow
def test_the_teacher_takes_part_where_it_did_before(compressed):
    assert compressed.runs["small_pruned"].training["temperature"] == 3.0
    rows = {row["child"]: row["with_teacher"] for row in read_compression(compressed)}
    assert rows == {"small_pruned": True, "small": True, "kd_student_int8": None, "kd_student_seed": True}


@pytest.mark.slow
def test_predictions_are_those_of_the_models_and_others_stay(compressed, splits):
    predictions = read_predictions(compressed.table("predictions"), "test")
    assert set(predictions.predicted) == set(compressed.runs)
    inputs = compressed.input.normalise(splits["test"].images)
    for role in ("small_pruned", "small", "kd_student"):
        assert (compressed.runs[role].model(inputs).argmax(1).numpy() == predictions.predicted[role]).all()
        assert compressed.runs[role].metrics["test"]["accuracy"] == pytest.approx(predictions.right(role).mean())


@pytest.mark.slow
def test_rows_are_counted_from_the_predictions(compressed):
    predictions = read_predictions(compressed.table("predictions"), "test")
    for row in read_compression(compressed):
        child, parent = predictions.right(row["child"]), predictions.right(row["parent"])
        assert row["fixed"] - row["broken"] == child.sum() - parent.sum()
        assert row["broken"] == sum(bool(p) and not c for c, p in zip(child, parent, strict=True))
        expected = paired_shares(parent, child)
        assert (row["difference"], row["low"], row["high"]) == (expected.value, expected.low, expected.high)
        worst = predictions.labels == int(row["worst_class"])
        assert row["worst_accuracy"] == child[worst].mean()
        assert all(row["worst_accuracy"] <= child[predictions.labels == k].mean() for k in range(10))


@pytest.mark.slow
def test_the_report_holds_steps_against_another_seed(compressed):
    report = read_compression_report(compressed)
    assert report is not None
    assert report.roots == ["kd_student"]
    assert report.root_of("small") == "kd_student"
    assert [run.child for run in report.children("small_pruned")] == ["small"]
    assert report.stale == ()
    predictions = read_predictions(compressed.table("predictions"), "test").predicted
    small, seed = report.runs["small"], report.runs["kd_student_seed"]
    assert seed.is_null
    assert seed.beyond_changed is None
    null = predictions["kd_student_seed"] != predictions["kd_student"]
    own = predictions["small"] != predictions["small_pruned"]
    assert small.beyond_changed is not None
    assert small.beyond_changed.value == pytest.approx(own.mean() - null.mean())
    assert report.runs["small_pruned"].beyond_maps is not None
    assert small.maps_parent is None  # not measured
    right = read_predictions(compressed.table("predictions"), "test").right
    assert small.since_root is not None
    assert small.since_root.value == pytest.approx(right("small").mean() - right("kd_student").mean())
    assert report.runs["small_pruned"].since_root is None
    assert report.to_json()["compression"][0]["child"] == "small_pruned"


@pytest.mark.slow
def test_maps_stay_where_the_models_do_and_go_where_they_do_not(compressed):
    before = {row["child"]: row["maps_parent"] for row in read_compression(compressed)}
    again = {row["child"]: row for row in compression_rows(compressed, {})}
    np.testing.assert_equal(again["small_pruned"]["maps_parent"], before["small_pruned"])
    other = load_experiment(compressed.folder)
    other.runs["kd_student"].sha256 = "0" * 64
    other.runs["kd_student"].model = compressed.runs["kd_student"].model
    other.runs["kd_student"].unadapted = compressed.runs["kd_student"].unadapted
    assert {row["child"]: row["maps_parent"] for row in compression_rows(other, {})}["small_pruned"] is None
    report = report_of(read_compression(compressed), other)
    assert set(report.stale) == {"small_pruned", "kd_student_int8", "kd_student_seed"}


@pytest.mark.slow
def test_rows_of_models_that_are_not_there_stay(compressed):
    before = {row["child"]: row for row in read_compression(compressed)}
    gone = replace(compressed, runs={**compressed.runs})
    for role in ("small_pruned", "small", "kd_student_seed"):
        del gone.runs[role]
    rows = compression_rows(gone, {"kd_student_int8": {"masks": 7}})
    assert [row["child"] for row in rows] == list(before)  # parents before their children
    after = {row["child"]: row for row in rows}
    assert after["kd_student_int8"]["masks"] == 7
    kept = ("small_pruned", "small", "kd_student_seed")
    assert {role: _plain(after[role]) for role in kept} == {role: _plain(before[role]) for role in kept}


def _plain(row):
    return {name: repr(value) for name, value in row.items()}  # NaN is NaN


@pytest.mark.slow
def test_the_agreement_of_a_model_with_itself_is_one(compressed, splits):
    copy = load_experiment(compressed.folder)
    twin = replace(copy.runs["kd_student"], role="twin", parent="kd_student", made_by="qat")
    copy.runs["twin"] = twin
    columns = list(compare_maps(copy, "twin", splits["test"], 8, 400, "cpu"))[-1]
    assert np.nanmean(columns["maps_parent"]) == pytest.approx(1, abs=0.1)
    assert columns["maps_teacher"] == pytest.approx(columns["parent_teacher"], nan_ok=True)


@pytest.mark.slow
def test_other_patterns_and_dynamic_ranges(folder, splits, tmp_path):
    experiment = load_experiment(shutil.copytree(folder, tmp_path / "copy"))
    (sparse,) = make(experiment, splits, "student", Step(PRUNE, 0.8, WEIGHTS), role="sparse")
    (half,) = make(experiment, splits, "student", Step(PRUNE, 0.5, TWO_OF_FOUR), role="half", with_teacher=True)
    (dynamic,) = make(experiment, splits, "student", Step(INT8, ranges=DYNAMIC), role="dynamic")
    opened = load_experiment(experiment.folder)
    assert zero_share(opened.runs[sparse].model) == pytest.approx(0.8, abs=0.001)
    assert zero_share(opened.runs[half].model) == pytest.approx(0.5)
    assert "temperature" not in opened.runs[sparse].training
    assert "temperature" in opened.runs[half].training
    assert [opened.runs[role].made_by for role in (sparse, half, dynamic)] == [
        "prune 0.8 weights",
        "prune 0.5 2:4",
        "int8 dynamic",
    ]
    inputs = opened.input.normalise(splits["test"].images[:20])
    answers = opened.runs[dynamic].model(inputs)
    assert (answers - opened.runs["student"].model(inputs)).abs().max() < 0.2


# refusals -------------------------------------------------------------------------------------------------------------


def refused(error, match, experiment, splits, of, *steps, **options):
    """The experiment's folder stays as it was."""
    before = {path.name: path.read_bytes() for path in experiment.folder.iterdir() if path.is_file()}
    with pytest.raises(error, match=match):
        make(experiment, splits, of, *steps, **options)
    assert {path.name: path.read_bytes() for path in experiment.folder.iterdir() if path.is_file()} == before


def test_what_cannot_be_compressed_is_refused(tiny, splits, monkeypatch):
    refused(UnknownNameError, "Unknown role 'kd_studen'", tiny, splits, "kd_studen", Step(PRUNE, 0.5))
    refused(SettingError, "is taken", tiny, splits, "kd_student", Step(PRUNE, 0.5), role="student")
    refused(SettingError, "no role name", tiny, splits, "kd_student", Step(PRUNE, 0.5), role="a b")
    refused(SettingError, "Name what is to be done", tiny, splits, "kd_student")
    tiny.runs["kd_student"].network = "onnx"
    refused(ModelError, "is an ONNX file, whose layers cannot be changed", tiny, splits, "kd_student", Step(QAT))
    tiny.runs["kd_student"].network = "predictions"
    refused(ModelError, "only the predictions are known", tiny, splits, "kd_student", Step(QAT))
    tiny.runs["kd_student"].network = "torchvision/resnet18"
    tiny.runs["kd_student"].unadapted = torch.nn.Linear(1, 1)
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    refused(SettingError, r'pip install "kdviz\[prune\]"', tiny, splits, "kd_student", Step(PRUNE, 0.5))


def test_a_teacher_that_is_not_there_is_refused(tiny, splits):
    refused(SettingError, "no teacher to learn from", tiny, splits, "teacher", Step(PRUNE, 0.5), with_teacher=True)


def test_calibration_pictures_of_one_class_are_refused(tiny, splits):
    one = splits["validation"]
    one = replace(one.take((one.labels == 3).nonzero()[:, 0]), split="validation")
    refused(SettingError, "all of one class", tiny, {**splits, "validation": one}, "kd_student", Step(INT8))


def test_an_operator_that_the_tool_lacks_leaves_earlier_steps_whole(tiny, splits, monkeypatch):
    from kdviz.studies.compression import making

    def fails(network, example):
        raise ModelError("torch cannot export this network to ONNX: {reason}", reason="an operator is missing")

    monkeypatch.setattr(making, "float_file", fails)
    tiny.runs["student"].training = RECORD
    tiny.save()
    with pytest.raises(ModelError, match="an operator is missing"):
        make(tiny, splits, "student", Step(PRUNE, 0.5), Step(QAT), evaluated=())
    assert list(load_experiment(tiny.folder).runs) == ["teacher", "kd_student", "student", "student_pruned"]


@pytest.mark.parametrize(
    ("share", "pattern"), [(0, "channels"), (1, "weights"), (0.4, "2:4"), (float("nan"), "channels")]
)
def test_shares_that_cannot_be_are_refused(share, pattern):
    with pytest.raises(SettingError, match=r"must be between 0 and 1|prunes a share of 0\.5"):
        Step(PRUNE, share, pattern)


def test_another_seed_is_of_a_model_trained_from_its_beginning(tiny):
    tiny.runs["student"].parent = "kd_student"
    with pytest.raises(SettingError, match="was itself made from 'kd_student'"):
        plan_steps(tiny, "student", [Step(SEED)])


# recipes and words ----------------------------------------------------------------------------------------------------


def test_a_step_trains_as_the_model_was_trained(tiny):
    run = tiny.runs["kd_student"]
    run.training = {**TAUGHT, "epochs": 7, "loss_options": {}, "views": 0, "augment": ""}
    pruned = step_config(run, Step(PRUNE, 0.5), {})
    assert (pruned.epochs, pruned.temperature, pruned.learning_rate_schedule) == (7, 3.0, "cosine")
    aware = step_config(run, Step(QAT), {"learning_rate": 0.01})
    assert (aware.epochs, aware.optimizer, aware.learning_rate) == (2, "adam", 0.01)
    assert step_config(run, Step(SEED), {}).seed == 4
    assert recorded_config(run.training).seed == 3


def test_a_damaged_table_is_refused(tiny):
    (tiny.folder / "compression.parquet").write_bytes(b"no table")
    with pytest.raises(ExperimentError, match="damaged"):
        read_compression_report(tiny)


def test_the_side_of_an_interval():
    first, second = np.zeros(100, bool), np.arange(100) < 30
    assert side(paired_shares(first, second)) == MORE
    assert side(paired_shares(second, first)) == LESS
    assert side(paired_shares(first, first)) == UNKNOWN
    assert side(None) == UNKNOWN
