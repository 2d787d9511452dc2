"""Attention studies whose values are names: a loss has no neighbour, and of many losses some differ by chance."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from study_maps import CLASSES, made_up_table

from kdviz import figures
from kdviz.narrative.attention.controls import control_sentences
from kdviz.narrative.attention.dependence import dependence_sentences
from kdviz.narrative.attention.document import _value_columns
from kdviz.studies.attention.statistics.agreements import read_agreements, value_text
from kdviz.studies.attention.statistics.pairs import SCHEMA, in_schema
from kdviz.studies.attention.statistics.report import AttentionReport, report_of

NAMES = {1.0: "dist", 2.0: "hard_distillation", 3.0: "soft_targets", 4.0: "soft_targets + hints"}
SHARES = {1.0: 0.0, 2.0: 0.0, 3.0: 0.2, 4.0: 0.5}


def of_losses(shares: dict[float, float], seed: int = 0) -> pa.Table:
    """A made-up study whose values are the names of losses."""
    table, _ = made_up_table(shares, seed=seed)
    names = [NAMES.get(value) for value in table["value"].to_pylist()]
    named = pa.array(names, pa.string()).dictionary_encode().cast(SCHEMA.field("value_name").type)
    table = table.set_column(SCHEMA.get_field_index("value_name"), "value_name", named)
    numbers = pc.if_else(pc.is_valid(table["value"]), pa.scalar(None, pa.float64()), table["value"])
    return table.set_column(SCHEMA.get_field_index("value"), "value", numbers)


def report_with(shares: dict[float, float], seed: int = 0) -> AttentionReport:
    return report_of(read_agreements(of_losses(shares, seed), "temperature"), "loss", {}, CLASSES, "soft_targets")


@pytest.fixture(scope="module")
def report():
    return report_with(SHARES)


def test_the_effects_are_those_of_the_same_maps_under_numbers(report):
    table, _ = made_up_table(SHARES)
    by_number = report_of(read_agreements(table, "temperature"), "temperature", {}, CLASSES, 3.0)
    assert [value_effect.value for value_effect in report.values] == list(NAMES.values())
    for named, numbered in zip(report.values, by_number.values, strict=True):
        assert named.difference.value == pytest.approx(numbered.difference.value)
        assert named.difference.interval == numbered.difference.interval
    assert report.chosen.value == "soft_targets"
    assert [change.p_holm for change in report.changes] == [change.p_holm for change in by_number.changes]


def test_losses_have_no_neighbours(report):
    assert all(change.together is None for change in report.changes)
    assert len(report.changes) == 6
    assert not any("to the next" in sentence for sentence in dependence_sentences(report))


def test_the_losses_with_an_effect_are_named_and_the_others_are_not(report):
    sentences = " ".join(dependence_sentences(report))
    assert "closer to the teacher's (p < .05 for all losses together, Holm): soft_targets, soft_targets + hints." in (
        sentences
    )
    assert "it cannot be told (for all losses together, Holm): dist, hard_distillation." in sentences


def test_losses_that_turn_away_are_told_apart_from_those_that_teach(report):
    turned = report_with({1.0: -0.5, 3.0: 0.0})
    sentences = " ".join(dependence_sentences(turned))
    assert "move away from the teacher's (p < .05 for all losses together, Holm): dist." in sentences
    assert "closer to the teacher's (p" not in sentences


def test_of_many_pairs_that_differ_a_few_are_named(report):
    changes = tuple(replace(change, p_holm=0.01) for change in report.changes)
    sentences = {count: dependence_sentences(replace(report, changes=changes * count)) for count in (1, 2)}
    few, many = (next(text for text in texts if "these differ" in text) for texts in sentences.values())
    assert few.count(" and ") == 6
    assert many.count(" and ") == 11
    assert many.endswith(" and 2 more.")


def test_the_smallest_p_value_holds_for_all_losses_together(report):
    unadjusted = [value_effect.difference.p_value for value_effect in report.values]
    assert min(report.p_of_values) == pytest.approx(4 * min(unadjusted))
    assert max(report.p_of_values) >= max(unadjusted)


def test_controls_of_which_the_same_is_said_are_said_once():
    report = report_with(dict.fromkeys(NAMES, 0.0))
    short = [sentence for sentence in control_sentences(report) if sentence.startswith("Controls at ")]
    others = [name for name in NAMES.values() if name != report.chosen.value]
    assert all(sum(f" {name}" in sentence.partition(": ")[0] + "," for sentence in short) >= 1 for name in others)
    assert len({sentence.partition(": ")[2] for sentence in short}) == len(short) < len(others)


def test_each_loss_has_a_row_in_both_forms_of_the_figure(report):
    chart = figures.effect_against_value(report)
    assert list(chart.layout.yaxis.ticktext) == [
        "dist", "hard_distillation", "soft_targets", "soft_targets<br>+ hints",
    ]  # fmt: skip
    students = chart.data[0]
    assert list(students.x) == [value_effect.difference.value for value_effect in report.values]
    assert [round(row) for row in students.y] == [0, 1, 2, 3]
    assert [texts[3] for texts in students.customdata] == list(NAMES.values())
    heights = [trace.y[0] for trace in chart.data]
    assert len(set(heights)) == len(heights)
    assert max(abs(height) for height in heights) < 0.5
    assert b"soft_targets + hints" in figures.effect_against_value.file("svg", report)


def test_a_table_of_an_earlier_version_has_no_names():
    table, _ = made_up_table({4.0: 0.3}, images=40)
    earlier = table.drop_columns(["value_name"])
    assert in_schema(earlier).equals(in_schema(table))
    assert read_agreements(earlier, "temperature").values == [4.0]


def test_a_value_is_written_in_the_column_of_its_kind():
    assert _value_columns("from", "dist") == {"from_name": "dist"}
    assert _value_columns("value", 4.0) == {"value": 4.0}
    assert [value_text(value) for value in (None, 4.0, 0.5, "dist")] == ["", "4", "0.5", "dist"]
