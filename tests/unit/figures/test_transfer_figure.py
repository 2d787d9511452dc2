"""The chart of layers: its points, intervals and ticks are the report's, in both forms."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from kdviz import figures
from kdviz.core.files import MODELS
from kdviz.experiment import load_experiment
from kdviz.studies.transfer import read_transfer_report


@pytest.fixture(scope="module")
def report():
    return read_transfer_report(load_experiment(MODELS / "mnist"))


def test_points_and_intervals_are_those_of_the_report(report):
    chart = figures.layer_likeness(report)
    traces = {trace.name: trace for trace in chart.data if trace.error_x.array is not None}
    assert list(traces) == ["KD student", "Student alone", "Random weights"]
    for role, name in (("kd_student", "KD student"), ("untrained", "Random weights")):
        entries = report.counterparts(role)
        assert list(traces[name].x) == [entry.cka.value for entry in entries]
        ends = zip(traces[name].x, traces[name].error_x.arrayminus, traces[name].error_x.array, strict=True)
        for entry, (value, below, above) in zip(entries, ends, strict=True):
            assert (value - below, value + above) == pytest.approx((entry.cka.low, entry.cka.high))
    within = [list(trace.x) for trace in chart.data if trace.showlegend is False]
    assert within == [[entry.within for entry in report.counterparts(role)] for role in report.roles]


def test_layers_are_named_and_the_models_of_one_do_not_overlap(report):
    chart = figures.layer_likeness(report)
    assert list(chart.layout.yaxis.ticktext) == ["1 · 1", "2 · 3", "logits"]
    heights = {tuple(trace.y) for trace in chart.data if trace.error_x.array is not None}
    assert len({height for row in heights for height in row}) == 9
    assert all(abs(height - round(height)) < 0.5 for row in heights for height in row)


def test_the_file_has_the_same(report):
    picture = Image.open(io.BytesIO(figures.layer_likeness.file("png", report)))
    assert picture.width > 900
