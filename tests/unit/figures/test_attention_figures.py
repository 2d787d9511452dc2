"""Figures of the attention study, and its answers as a table and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import isfinite

import numpy as np
import pytest
from study_maps import CLASSES, TEMPERATURES, made_up

from kdviz import figures
from kdviz.core.errors import UnknownNameError
from kdviz.narrative.attention.document import as_json
from kdviz.narrative.attention.narrative import narrate
from kdviz.studies.attention.statistics.report import report_of


@pytest.fixture(scope="module")
def report():
    table, _ = made_up({1.0: 0.0, 4.0: 0.3, 16.0: 0.6}, images=40)
    return report_of(table, "temperature", {"method": "rise", "settings": {"baseline": "black"}}, CLASSES, 4.0)


def test_the_claim_stands_beside_its_controls(report):
    chart = figures.claim_and_controls(report)
    shown = {trace.y[0]: trace.x[0] for trace in chart.data if trace.error_x.array is not None}
    assert shown.pop("KD student, T = 4") == report.chosen.difference.value
    assert shown == {f"Control: {control.name}": control.difference.value for control in report.controls}
    claim = chart.data[0]
    assert claim.x[0] - claim.error_x.arrayminus[0] == pytest.approx(report.chosen.difference.interval.low)
    assert claim.x[0] + claim.error_x.array[0] == pytest.approx(report.chosen.difference.interval.high)


def test_the_effect_against_temperature_has_its_controls(report):
    chart = figures.effect_against_value(report)
    lines = {trace.name: trace for trace in chart.data}
    controls = {f"Control: {name}" for name in ("second student alone", "shuffled teacher", "maps of other images")}
    assert set(lines) == {"KD student", *controls}
    for line in lines.values():
        assert list(line.x) == list(TEMPERATURES)
    assert list(lines["KD student"].y) == [value.difference.value for value in report.values]
    assert chart.layout.xaxis.type == "log"


def test_no_hover_has_a_minus_before_zero(report):
    zero = replace(report.chosen.difference, value=-0.0004, by_training=(-0.0004, 0.0))
    values = tuple(replace(each, difference=zero) for each in report.values)
    changed = replace(report, values=values, chosen=replace(report.chosen, difference=zero))
    for chart in (figures.claim_and_controls(changed), figures.effect_against_value(changed)):
        texts = [str(text) for trace in chart.data for text in np.ravel(trace.customdata)]
        assert "-4e-04" in texts  # an end of an interval, which is not zero
        assert not {"-0.000", "+0.000"} & set(texts)
        shown = {field for trace in chart.data for field in re.findall(r"%\{(\w+)", trace.hovertemplate)}
        assert shown == {"customdata"}  # no number that Plotly formats


def test_the_distribution_has_a_ceiling(report):
    traces = {trace.name: trace for trace in figures.agreement_distribution(report).data}
    assert list(traces) == ["KD student", "Student alone", "Second student alone", "Noise ceiling"]
    assert all(len(trace.x) == 40 for trace in traces.values())
    assert np.mean(traces["KD student"].x) == pytest.approx(report.chosen.raw_kd.value, abs=1e-6)
    assert np.mean(figures.agreement_distribution(report, 16.0).data[0].x) > np.mean(traces["KD student"].x)


@pytest.mark.parametrize(
    "draw",
    [figures.agreement_distribution, figures.claim_and_controls, figures.effect_against_value],
    ids=lambda draw: draw.__name__,
)
def test_files(report, draw):
    assert draw.file("png", report).startswith(b"\x89PNG")
    assert b"<svg" in draw.file("svg", report)[:500]
    with pytest.raises(UnknownNameError):
        draw.file("gif", report)


def test_the_document_is_json_with_every_interval(report):
    document = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert document["outcome"] == narrate(report).outcome
    assert document["value"] == 4
    difference = document["difference"]
    assert difference["effect"] == pytest.approx(report.chosen.difference.value)
    for over in ("interval", "images", "seeds", "both", "seeds_t"):
        low, high = difference[over]
        assert isfinite(low)
        assert low <= difference["effect"] <= high
    assert len(document["controls"]) == len(report.all_controls)
    assert [change["effect"] for change in document["changes"]] == [change.effect.value for change in report.changes]
    assert {control["outcome"] for control in document["controls"]} <= {"passed", "failed", "cannot tell"}
    assert document["verdicts"][0]["rule"] in document["rules"]
