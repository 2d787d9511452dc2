"""Figures of studies and of softened targets: what is drawn is what the tables say."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from kdviz import figures
from kdviz.core.errors import ExperimentError, UnknownNameError
from kdviz.figures.studies.sweeps import _draw_against_value
from kdviz.studies.predictions.soft_targets import soft_targets
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.report import FIGURES, Point, StudyReport, present, read_report
from kdviz.studies.sweep.tables import STUDY_SCHEMA

ACCURACY = {(None, 0): 0.5, (None, 1): 0.7, (1.0, 0): 0.6, (1.0, 1): 0.8, (4.0, 0): 0.9}


def report(name: str = "temperature", values: dict | None = None, split: str = "test") -> StudyReport:
    column = STUDIES[name].column
    rows = [
        {
            "run": f"{value}-{seed}",
            "role": "student" if value is None else "kd_student",
            column: value,
            "seed": seed,
            "split": split,
            "accuracy": accuracy,
            "ece": 0.1,
        }
        for (value, seed), accuracy in (values or ACCURACY).items()
    ]
    rows.append({"run": "t", "role": "teacher", "seed": None, "split": split, "accuracy": 0.95, "ece": 0.02})
    curves = [
        {"run": row["run"], "role": row["role"], "epoch": epoch}
        | dict.fromkeys(("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"), 1 / epoch)
        for row in rows
        if row["role"] != "teacher"
        for epoch in (1, 2, 3)
    ]
    table = pa.Table.from_pylist(rows, STUDY_SCHEMA)
    return StudyReport(name, split, table, pa.Table.from_pylist(curves), None)


def test_points_are_means_and_sample_deviations_over_seeds() -> None:
    points = {(point.role, point.value): point for point in report().points("accuracy")}
    point = points["kd_student", 1.0]
    assert point.mean == pytest.approx(0.7)
    assert point.spread == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert point.runs == ((0, 0.6), (1, 0.8))
    assert points["kd_student", 4.0].spread is None
    assert points["student", None].mean == pytest.approx(0.6)
    assert points["teacher", None] == Point("teacher", None, 0.95, None, ((None, 0.95),))


def test_only_figures_that_a_student_has_are_offered() -> None:
    assert [figure.name for figure in report().figures] == ["accuracy", "ece"]


def test_a_report_without_predictions_has_no_verdict() -> None:
    assert report().verdict is None


def test_curves_carry_value_and_seed() -> None:
    rows = report().curves.to_pylist()
    assert len(rows) == 3 * len(ACCURACY)
    assert {(row["value"], row["seed"]) for row in rows} == set(ACCURACY)
    assert [row["epoch"] for row in rows[:3]] == [1, 2, 3]


def test_the_chart_shows_each_mean_and_each_seed() -> None:
    chart = figures.against_value(report().points("accuracy"), STUDIES["temperature"], FIGURES["accuracy"])
    named = {trace.name: trace for trace in chart.data if trace.name}
    assert list(named["KD student"].x) == [1, 4]
    np.testing.assert_allclose(named["KD student"].y, [0.7, 0.9])
    np.testing.assert_allclose(named["KD student"].error_y.array, [np.std([0.6, 0.8], ddof=1), 0])
    seeds = next(trace for trace in chart.data if trace.customdata is not None and not trace.name)
    assert list(zip(seeds.x, seeds.customdata, seeds.y, strict=True)) == [(1, 0, 0.6), (1, 1, 0.8)]
    assert {"Student alone, 60.00%", "Teacher, 95.00%"} <= set(named)
    assert chart.layout.xaxis.type == "log"
    assert "test split" in chart.layout.yaxis.title.text
    dashes = {named[name].line.dash for name in named}
    assert len(dashes) == 3  # not by colour alone


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("alpha", {(None, 0): 0.5, (0.1, 0): 0.6, (0.9, 0): 0.7}, "linear"),
        ("teacher-epochs", {(None, 0): 0.5, (1, 0): 0.6, (3, 0): 0.7}, "linear"),
        ("loss", {(None, 0): 0.5, ("soft_targets", 0): 0.6, ("dist", 0): 0.7}, "category"),
    ],
)
def test_every_study_can_be_drawn(name: str, values: dict, kind: str) -> None:
    study_report = report(name, values)
    points, study, figure = study_report.points("accuracy"), STUDIES[name], FIGURES["accuracy"]
    assert figures.against_value(points, study, figure).layout.xaxis.type == kind
    assert len(figures.against_value.file("svg", points, study, figure)) > 1000
    assert len(figures.curves.file("svg", study_report.curves.to_pylist(), study)) > 1000


def test_a_teacher_that_was_stopped_is_a_line_of_its_own() -> None:
    points = [Point("teacher", value, 0.5, None, ((0, 0.5),)) for value in (1, 3)]
    chart = figures.against_value(points, STUDIES["teacher-epochs"], FIGURES["accuracy"])
    line = next(trace for trace in chart.data if trace.name == "Teacher")
    assert (list(line.x), line.marker.symbol, line.line.dash) == ([1, 3], "square", "dash")


def test_curves_are_named_once_and_training_is_dotted() -> None:
    study_report = report()
    chart = figures.curves(study_report.curves.to_pylist(), study_report.study)
    named = [trace.name for trace in chart.data if trace.showlegend]
    assert sorted(named) == ["KD student, T = 1", "KD student, T = 4", "Student alone"]
    lines = [trace for trace in chart.data if trace.hovertemplate]
    assert len(lines) == 2 * 2 * len(ACCURACY)  # two panels, training and validation
    assert {trace.line.dash for trace in lines if "training" in trace.hovertemplate} == {"dot"}
    looks = {(trace.line.color, trace.marker.symbol) for trace in lines}
    assert len(looks) == 3
    loss_chart = figures.curves(study_report.curves.to_pylist(), study_report.study, ("loss",))
    assert len([trace for trace in loss_chart.data if trace.hovertemplate]) == 2 * len(ACCURACY)


def test_bars_are_the_softened_targets() -> None:
    logits = {"teacher": np.array([3.0, 1.0, 0.0]), "student": np.array([0.0, 1.0, 2.0])}
    chart = figures.soft_target_bars(logits, ("a", "<b>", "c"), 4.0, true_class=1)
    for trace, values in zip(chart.data, logits.values(), strict=True):
        np.testing.assert_allclose(trace.y, soft_targets(values, 4.0))
    assert list(chart.data[0].x) == ["a", "&lt;b> (true)", "c"]  # a name from a file is no HTML
    assert len({trace.marker.pattern.shape for trace in chart.data}) == 2
    assert figures.soft_target_bars(logits, "abc", 4.0, log=True).layout.yaxis.type == "log"


def test_of_many_classes_those_with_the_largest_logits_are_shown() -> None:
    values = np.random.default_rng(0).normal(size=100)
    chart = figures.soft_target_bars({"teacher": values}, [str(number) for number in range(100)], 1.0)
    shown = [int(name) for name in chart.data[0].x]
    assert shown == sorted(np.argsort(values)[-16:].tolist())


def test_the_linear_axis_is_the_same_at_every_temperature() -> None:
    logits = {"teacher": np.array([3.0, 1.0, 0.0])}
    ranges = {
        tuple(figures.soft_target_bars(logits, "abc", temperature).layout.yaxis.range)
        for temperature in (0.5, 4.0, 64.0)
    }
    assert len(ranges) == 1
    assert next(iter(ranges))[1] >= soft_targets(logits["teacher"], 0.5).max()


def test_entropy_marks_the_temperature() -> None:
    chart = figures.entropy_against_temperature({"teacher": np.array([3.0, 1.0, 0.0])}, 4.0)
    mark = next(trace for trace in chart.data if trace.mode == "markers")
    line = next(trace for trace in chart.data if trace.mode == "lines")
    assert mark.x == (4.0,)
    assert mark.y[0] == pytest.approx(line.y[list(line.x).index(4.0)])


def test_files_are_pictures_and_other_kinds_are_refused() -> None:
    logits = {"teacher": np.array([3.0, 1.0, 0.0]), "kd_student": np.array([0.0, 1.0, 2.0])}
    png = figures.soft_target_bars.file("png", logits, ("a_$x$", "b", "c"), 4.0, 0)
    assert Image.open(io.BytesIO(png)).width > 1000
    svg = figures.soft_target_bars.file("svg", logits, "abc", 4.0, log=True)
    assert svg.startswith(b"<?xml")
    points = report().points("accuracy")
    png = figures.against_value.file("png", points, STUDIES["temperature"], FIGURES["accuracy"])
    assert Image.open(io.BytesIO(png)).width > 1000
    with pytest.raises(UnknownNameError, match="picture format"):
        figures.against_value.file("gif", points, STUDIES["temperature"], FIGURES["accuracy"])


def test_an_old_or_missing_table_is_one_sentence(tiny) -> None:
    with pytest.raises(ExperimentError, match=r"no temperature\.parquet"):
        read_report(tiny, "temperature")
    table = report().table
    tiny.write_table("temperature", table.drop_columns(["run"]))
    assert present(tiny) == ["temperature"]
    with pytest.raises(ExperimentError, match="earlier version"):
        read_report(tiny, "temperature")
    tiny.write_table("temperature", table.slice(0, 0))
    with pytest.raises(ExperimentError, match="no finished run"):
        read_report(tiny, "temperature")
    tiny.write_table("temperature", table)
    assert read_report(tiny, "temperature").split == "test"
    tiny.write_table("temperature", report(split="validation").table)
    assert read_report(tiny, "temperature").split == "validation"


def test_long_names_of_losses_leave_room_for_the_plot():
    names = ["dist", "soft_targets + hints", "logit_standardisation + 1000000 attention_transfer", "hard_distillation"]
    names += ["logit_standardisation + hints", "hard_distillation + mmd", "logit_standardisation"]
    points = [Point("kd_student", name, 0.5, None, ((0, 0.5),)) for name in names]
    args = STUDIES["loss"], FIGURES["accuracy"]
    few, many = (figures.against_value(some, *args).layout for some in (points[:1], points))
    assert few.height == 440
    assert "logit standardisation<br>+ 1000000 attention transfer" in many.xaxis.ticktext
    assert many.height - few.height >= 7 * (len("+ 1000000 attention transfer") - 12)
    picture = _draw_against_value(points, *args)
    picture.draw_without_rendering()
    boxes = [label.get_window_extent() for label in picture.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize(("count", "named"), [(3, 3), (12, 12), (25, 9), (100, 12)])
def test_an_axis_of_many_numbers_names_some_of_them(count, named):
    points = [Point("kd_student", value, 0.5, None, ((0, 0.5),)) for value in range(1, count + 1)]
    args = STUDIES["teacher-epochs"], FIGURES["accuracy"]
    axis = figures.against_value(points, *args).layout.xaxis
    assert len(axis.tickvals) == len(axis.ticktext) == named
    assert axis.tickvals[0] == 1
    assert len(_draw_against_value(points, *args).axes[0].get_xticklabels()) == named
