"""Whether pruning or quantising changed the use of a planted mark, on tables whose answers are known."""

from __future__ import annotations

import json

import pytest
from shortcut_rows import ABOUT, rows_of, write

from kdviz.narrative.products.shortcut_use import shortcut_use_sentences
from kdviz.studies.compression.shortcut_use import read_shortcut_uses

STEPS = {
    "small": ["kd_student", "prune 0.5"],
    "small_int8": ["small", "int8"],
    "int8": ["kd_student", "int8"],
    "seed": ["kd_student", "seed"],
    "unseen": ["kd_student", "qat"],  # which the study did not have
}
USES = {"teacher": 0.7, "kd_student": 0.3, "small": 0.6, "small_int8": 0.61, "int8": 0.12, "seed": 0.32}


def written(experiment, uses, made_from=STEPS, count=40):
    rows = [row for role, use in uses.items() for row in rows_of(role, use, 0.1, count=count)]
    write(experiment, rows, about={**ABOUT, "made_from": made_from})
    return read_shortcut_uses(experiment)


@pytest.fixture
def condition(tiny):
    (condition,) = written(tiny, USES)
    return condition


def test_each_step_is_held_against_its_parent_on_the_same_pictures(condition):
    uses = {use.child: use for use in condition.uses}
    assert list(uses) == ["small", "small_int8", "int8", "seed"]
    expected = {"small": 0.3, "small_int8": 0.01, "int8": -0.18, "seed": 0.02}
    for role, use in uses.items():
        assert use.change.value == pytest.approx(expected[role], abs=1e-6)
        assert use.own.value == pytest.approx(USES[role], abs=1e-6)
        assert use.parents.value == pytest.approx(USES[use.parent], abs=1e-6)
        assert use.change.pictures == 40


def test_what_another_seed_changes_is_taken_from_every_step_of_its_chain(condition):
    uses = {use.child: use for use in condition.uses}
    assert uses["small"].beyond.value == pytest.approx(0.28, abs=1e-6)
    assert uses["small_int8"].beyond.value == pytest.approx(-0.01, abs=1e-6)
    assert uses["int8"].beyond.value == pytest.approx(-0.2, abs=1e-6)
    assert uses["seed"].beyond is None
    assert uses["small_int8"].nulls == ("seed",)


def test_the_sentences_say_what_the_intervals_allow(condition):
    text = " ".join(shortcut_use_sentences(condition))
    assert "'small' (pruned by 0.5) uses the mark more than 'kd_student' does: 60.0 points against 30.0 points" in text
    assert "'int8' (quantised to int8 without training) uses the mark less than 'kd_student' does: 12.0 points" in text
    assert "'small_int8' (quantised to int8 without training) uses the mark as 'small' does, within 5 points" in text
    assert "'seed'" not in text
    assert "less that, the step's change is +28.0 points" in text
    assert "over 40 pictures" in text


def test_few_pictures_that_differ_say_nothing(tiny):
    rows = [row for role in ("kd_student", "small") for row in rows_of(role, 0.3, 0.1, count=4)]
    for number, row in enumerate(row for row in rows if row["role"] == "small" and row["planted"]):
        row["probability"] = min(1, row["probability"] + (0.4 if number % 4 == 1 else -0.1))
    write(tiny, rows, about={**ABOUT, "made_from": STEPS})
    (condition,) = read_shortcut_uses(tiny)
    assert "One cannot tell whether 'small'" in shortcut_use_sentences(condition)[0]


def test_a_study_without_compressed_models_says_nothing_of_them(tiny):
    assert read_shortcut_uses(tiny) == []
    assert written(tiny, {"teacher": 0.7, "kd_student": 0.3}) == []
    assert written(tiny, USES, {}) == []  # of an earlier version


def test_the_numbers_are_json(condition):
    document = json.loads(json.dumps([use.to_json() for use in condition.uses], allow_nan=False))
    assert document[0]["change"]["value"] == pytest.approx(0.3, abs=1e-6)
    assert document[-1]["beyond"] is None
