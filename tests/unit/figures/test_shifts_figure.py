"""The chart of shifted pictures: its points are the report's, in both forms."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from kdviz import figures
from kdviz.core.files import MODELS
from kdviz.experiment import load_experiment
from kdviz.studies.shifts import read_shifts_report
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, ALL, UNSHIFTED

TITLES = {"teacher": "Teacher", "kd_student": "KD student", "student": "Student alone"}


@pytest.fixture(scope="module")
def report():
    return read_shifts_report(load_experiment(MODELS / "mnist"))


@pytest.mark.parametrize("shift", [ALL, "scale"])
def test_points_are_those_of_the_report(report, shift):
    chart = figures.shares_against_severity(report, shift)
    assert [trace.name for trace in chart.data] == [*TITLES.values(), "KD student", "Student alone"]
    measures = [ACCURACY] * 3 + [AGREEMENT] * 2
    roles = ["teacher", "kd_student", "student", "kd_student", "student"]
    for trace, measure, role in zip(chart.data, measures, roles, strict=True):
        assert trace.name == TITLES[role]
        assert list(trace.x) == [0, 1, 2, 3, 4, 5]
        expected = [report.share(measure, role, shift, severity) for severity in (1, 2, 3, 4, 5)]
        assert list(trace.y) == [report.share(measure, role, UNSHIFTED), *expected]
    assert [trace.showlegend for trace in chart.data] == [True] * 3 + [False] * 2
    assert len({trace.line.dash for trace in chart.data}) == 3  # colour is not the only difference
    assert list(chart.layout.xaxis.ticktext) == ["none", "1", "2", "3", "4", "5"]


def test_the_file_has_the_same(report):
    picture = Image.open(io.BytesIO(figures.shares_against_severity.file("png", report, "scale")))
    assert picture.width > 900
