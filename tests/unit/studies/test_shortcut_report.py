"""The statistics of a study of shortcuts, on tables whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr
from shortcut_rows import rows_of, write

from kdviz.core.errors import ExperimentError
from kdviz.studies.shortcuts import read_shortcut_reports
from kdviz.studies.shortcuts.report import _rise, auroc
from kdviz.studies.shortcuts.series import PictureSeries
from kdviz.studies.shortcuts.table import NAME, Condition


@pytest.fixture
def rows():
    return [
        *rows_of("teacher", 0.8, 0.5, seed=1),
        *rows_of("kd_student", 0.6, 0.4, seed=2),
        *rows_of("student", 0.0, 0.02, seed=3),
    ]


def test_use_flips_accuracies_and_inheritance(tiny, rows):
    write(tiny, rows)
    (report,) = read_shortcut_reports(tiny)
    teacher, student = report.role("teacher"), report.role("student")
    assert teacher.use.value == pytest.approx(0.8, abs=1e-6)
    assert (teacher.accuracy.value, teacher.accuracy_own.value, teacher.accuracy_other.value) == (1, 1, 0)
    assert (teacher.flips.value, student.flips.value) == (1, 0)
    assert teacher.flips.low < 1  # 40 of 40 are no proof of all
    assert student.use.value == pytest.approx(0, abs=1e-6)
    assert report.difference("student").use.value == pytest.approx(0.6, abs=1e-6)
    assert report.difference("teacher").use.value == pytest.approx(-0.2, abs=1e-6)
    assert report.difference("kd_student") is None


def test_maps_of_who_uses_it_and_of_who_does_not(tiny, rows):
    write(tiny, rows)
    (report,) = read_shortcut_reports(tiny)
    teacher, student = report.maps_of("teacher", "rise"), report.maps_of("student", "rise")
    assert teacher.auroc_used.value == 1
    assert teacher.inside.value == pytest.approx(0.5, abs=0.01)
    assert teacher.inside_clean.value == pytest.approx(0.02, abs=0.01)
    assert student.auroc_used is None
    assert student.auroc.low < 0.5 < student.auroc.high
    assert report.rises[0].correlation.low > 0.5
    assert {key: len(use) for key, (use, _) in report.points.items()} == {
        ("rise", role): 40 for role in ("teacher", "kd_student", "student")
    }
    document = report.to_json()
    json.dumps(document, allow_nan=False)
    assert (document["pictures"], document["shown_to"]) == (40, "random")


def test_a_condition_replaces_its_earlier_rows_only(tiny, rows):
    write(tiny, rows)
    write(tiny, rows_of("teacher", 0.8, 0.5, shown_to="none"), shown_to="none", about={"share": None})
    write(tiny, rows_of("teacher", 0.1, 0.5, count=12), about={"share": 0.5})
    none, random = read_shortcut_reports(tiny)
    assert (none.shown_to, random.shown_to) == ("none", "random")
    assert random.role("teacher").use.pictures == 12
    assert (random.about, none.about) == ({"share": 0.5}, {"share": None})


def test_another_loss_is_a_condition_beside_that_of_softened_targets(tiny, rows):
    loss = "soft_targets + 20 rise_maps"
    write(tiny, rows)
    write(tiny, rows_of("kd_student", 0.2, 0.3, loss=loss, seed=4), loss=loss)
    softened, other = read_shortcut_reports(tiny)
    assert (softened.loss, other.loss) == ("", loss)
    assert softened.beside_soft_targets is None
    assert other.beside_soft_targets.use.value == pytest.approx(0.2 - 0.6, abs=1e-6)
    assert other.beside_soft_targets.inside["rise"].value == pytest.approx(0.3 - 0.4, abs=0.01)
    document = other.to_json()["beside_soft_targets"]
    assert document["use"]["value"] == pytest.approx(-0.4, abs=1e-6)
    assert list(document["inside"]) == ["rise"]
    write(tiny, rows_of("kd_student", 0.2, 0.4, count=30, loss=loss), loss=loss)  # of fewer pictures
    assert read_shortcut_reports(tiny)[1].beside_soft_targets is None


def test_a_table_of_an_earlier_version_is_about_softened_targets(tiny, rows):
    write(tiny, rows)
    tiny.write_table(NAME, tiny.table(NAME).drop_columns("loss"))
    (report,) = read_shortcut_reports(tiny)
    assert report.condition == Condition("patch", "random")
    write(tiny, rows_of("teacher", 0.8, 0.5, shown_to="none"), shown_to="none")
    assert [report.shown_to for report in read_shortcut_reports(tiny)] == ["random", "none"]


def test_the_interval_of_the_auroc_covers_and_is_never_certain():
    assert auroc(np.ones(100), np.zeros(100)).low == pytest.approx(0.96, abs=0.002)
    generator = np.random.default_rng(0)
    truth, covered = 0.7602, 0  # of N(1, 1) above N(0, 1)
    for _ in range(300):
        interval = auroc(generator.normal(1, 1, 60), generator.normal(0, 1, 60))
        covered += interval.low <= truth <= interval.high
    assert covered / 300 > 0.93
    assert auroc(np.array([np.nan, 1.0]), np.zeros(2)).value == 0.75  # a map without positive values has nothing inside


def test_without_a_table_there_is_no_report_and_a_damaged_one_is_said(tiny, rows):
    assert read_shortcut_reports(tiny) == []
    write(tiny, [row for row in rows if row["sample"] != 3 or row["planted"]])
    with pytest.raises(ExperimentError, match=r"shortcuts\.parquet of .* is damaged; make it anew"):
        read_shortcut_reports(tiny)
    tiny.write_table("shortcuts", pa.table({"sample": [1]}))
    with pytest.raises(ExperimentError, match="is damaged"):
        read_shortcut_reports(tiny)


def series_of(use, inside):
    """Pictures whose probability a mark of another class changes by ``use``; so much of their maps is inside it."""
    zeros = np.zeros(len(use))
    probability = {"other planted": use, "other clean": zeros}
    return PictureSeries(zeros, zeros, zeros, {}, probability, {"other planted": inside}, zeros)


def test_the_interval_of_the_correlation_is_that_of_resampled_pictures():
    random = np.random.default_rng(5)
    use = random.integers(0, 9, (3, 40)) / 8  # with ties
    inside = 0.5 * use + random.random((3, 40))
    series = {("rise", role): series_of(use[number], inside[number]) for number, role in enumerate("abc")}
    correlation = _rise("rise", series).correlation
    resamples = np.random.default_rng(0).integers(40, size=(1000, 40))
    replicates = [spearmanr(use[:, rows].ravel(), inside[:, rows].ravel())[0] for rows in resamples]
    expected = [spearmanr(use.ravel(), inside.ravel())[0], *np.quantile(replicates, [0.025, 0.975])]
    assert [correlation.value, correlation.low, correlation.high] == pytest.approx(expected)


def test_where_all_pictures_use_it_alike_there_is_no_correlation():
    assert np.isnan(_rise("rise", {("rise", "teacher"): series_of(np.ones(12), np.arange(12.0))}).correlation.value)
