"""What each transfer set gives: figures against another computation, sentences against the figures."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from kdviz.narrative.other_data.transfer_sets import transfer_set_sentences
from kdviz.studies.sweep.transfer_values import transfer_values

SEEDS, SAMPLES = 3, 400
LABELS = np.arange(SAMPLES) % 4
CHANCE_OF = {"training": 0.95, "generated": 0.8, "one_picture": 0.95, "noise": 0.25, None: 0.9}


def study(seeds=SEEDS, right=CHANCE_OF):
    """Tables of a study whose students are right with these probabilities."""
    rng = np.random.default_rng(0)
    rows, predictions = [], [{"run": "data", "role": "label", "split": "test", "predicted": LABELS.tolist()}]
    for value, share in right.items():
        for seed in range(seeds):
            correct = rng.random(SAMPLES) < share
            predicted = np.where(correct, LABELS, (LABELS + 1) % 4)
            role = "student" if value is None else "kd_student"
            run = {"run": f"{value}-{seed}", "role": role, "split": "test"}
            same = float((predicted == LABELS).mean()) - 0.01
            rows.append(
                {**run, "transfer_set": value, "seed": seed, "accuracy": float(correct.mean()), "same_as_teacher": same}
            )
            predictions.append({**run, "predicted": predicted.tolist()})
    return pa.Table.from_pylist(rows), pa.Table.from_pylist(predictions)


def test_figures_are_those_of_the_tables():
    table, predictions = study()
    values = {each.value: each for each in transfer_values(table, predictions)}
    assert next(iter(values)) == "training"
    assert len(values) == 4
    rows = table.to_pylist()
    for name, value in values.items():
        own = [row for row in rows if row["transfer_set"] == name]
        assert value.accuracy.value == pytest.approx(np.mean([row["accuracy"] for row in own]), abs=1e-6)
        assert value.agreement == pytest.approx(np.mean([row["same_as_teacher"] for row in own]), abs=1e-6)
        assert value.low < value.agreement < value.high
        alone = np.mean([row["accuracy"] for row in rows if row["role"] == "student"])
        assert value.beside_alone.value == pytest.approx(value.accuracy.value - alone, abs=1e-6)
    assert values["training"].beside_training is None
    assert [each.value for each in values.values() if not each.above_chance] == ["noise"]
    assert values["noise"].chance == 0.25


def test_an_interval_of_agreement_is_not_narrower_than_that_over_seeds_alone():
    table, predictions = study()
    for value in transfer_values(table, predictions):
        shares = [row["same_as_teacher"] for row in table.to_pylist() if row["transfer_set"] == value.value]
        low, high = stats.t.interval(0.95, SEEDS - 1, np.mean(shares), stats.sem(shares))
        assert value.low <= low + 1e-9
        assert value.high >= min(1.0, high) - 1e-9


def test_sentences_say_what_the_intervals_allow():
    sentences = {re.search(r"set (\w+),", text)[1]: text for text in transfer_set_sentences(transfer_values(*study()))}
    assert sentences.keys() == {"generated", "one_picture", "noise"}
    assert "less accurate than distilled on the training pictures" in sentences["generated"]
    assert "less accurate than trained alone" in sentences["generated"]
    assert "than distilled on the training pictures cannot be told" in sentences["one_picture"]
    assert "not shown to be better than chance, 25.00%" in sentences["noise"]
    assert "teacher" not in sentences["noise"]


def test_with_one_seed_nothing_is_told():
    for text in transfer_set_sentences(
        transfer_values(*study(seeds=1, right={"training": 0.9, "generated": 0.5, None: 0.9}))
    ):
        assert text.count("cannot be told") == 2
        assert "one seed" in text


def test_without_other_students_nothing_is_compared():
    (text,) = transfer_set_sentences(transfer_values(*study(right={"generated": 0.9})))
    assert "than" not in text.replace("say the same", "")
