"""predictions.parquet and the runs' metrics, against a direct forward pass."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from kdviz.analysis.evaluation import evaluate, model_metrics
from kdviz.errors import DatasetError
from kdviz.experiment import load_experiment

COLUMNS = ["split", "sample", "label", "role", "predicted", "confidence", "logits"]


@pytest.fixture
def samples(small_digits):
    return small_digits.take(torch.arange(520), "test")  # more than one batch of 500


def rows(table, **wanted) -> list[dict]:
    return [row for row in table.to_pylist() if all(row[name] == value for name, value in wanted.items())]


def test_the_table_holds_what_the_models_say(tiny, samples):
    assert list(evaluate(tiny, samples, "cpu")) == ["teacher", "kd_student", "student"]
    table = load_experiment(tiny.folder).table("predictions")
    assert table.column_names == COLUMNS
    assert table.num_rows == 3 * 520
    for role, run in tiny.runs.items():
        own = rows(table, role=role, split="test")
        assert [row["sample"] for row in own] == list(range(520))
        assert [row["label"] for row in own] == samples.labels.tolist()
        with torch.no_grad():
            logits = run.model(tiny.input.normalise(samples.images))
        np.testing.assert_allclose([row["logits"] for row in own], logits.numpy(), rtol=1e-4, atol=1e-5)
        confidence, predicted = logits.softmax(1).max(1)
        assert [row["predicted"] for row in own] == predicted.tolist()
        np.testing.assert_allclose([row["confidence"] for row in own], confidence.numpy(), atol=1e-5)


def test_metrics_follow_from_the_table(tiny, samples):
    list(evaluate(tiny, samples, "cpu"))
    again = load_experiment(tiny.folder)
    table = again.table("predictions")
    teacher = np.array([row["predicted"] for row in rows(table, role="teacher")])
    labels = samples.labels.numpy()
    for role, run in again.runs.items():
        own = rows(table, role=role)
        predicted = np.array([row["predicted"] for row in own])
        metrics = run.metrics["test"]
        assert metrics["samples"] == 520
        assert metrics["accuracy"] == pytest.approx((predicted == labels).mean(), abs=1e-6)
        logits = np.array([row["logits"] for row in own])
        chances = np.exp(logits)[np.arange(520), labels] / np.exp(logits).sum(1)
        assert metrics["loss"] == pytest.approx(-np.log(chances).mean(), abs=1e-5)
        if role != "teacher":
            assert metrics["same_as_teacher"] == pytest.approx((predicted == teacher).mean(), abs=1e-6)
            wrong = teacher != labels
            assert metrics["inherited_errors"] == pytest.approx((predicted == teacher)[wrong].mean(), abs=1e-6)
    assert "same_as_teacher" not in again.runs["teacher"].metrics["test"]


def test_another_split_keeps_the_first_and_the_same_replaces_it(tiny, small_digits):
    list(evaluate(tiny, small_digits.take(torch.arange(30), "validation"), "cpu"))
    first = rows(tiny.table("predictions"), split="validation")
    list(evaluate(tiny, small_digits.take(torch.arange(100, 140), "test"), "cpu"))
    assert rows(tiny.table("predictions"), split="validation") == first
    list(evaluate(tiny, small_digits.take(torch.arange(200, 225), "test"), "cpu"))
    table = tiny.table("predictions")
    assert rows(table, split="validation") == first
    assert len(rows(table, split="test")) == 3 * 25
    assert set(load_experiment(tiny.folder).runs["student"].metrics) == {"validation", "test"}


def test_other_classes_are_refused(tiny, samples):
    other = type(samples)(samples.images, samples.labels, tuple("abcdefghij"), "test")
    with pytest.raises(DatasetError, match="classes"):
        list(evaluate(tiny, other, "cpu"))
    assert not tiny.has_table("predictions")


def test_an_evaluation_that_is_stopped_changes_nothing(tiny, samples):
    before = (tiny.folder / "experiment.json").read_bytes()
    stream = evaluate(tiny, samples, "cpu")
    next(stream)
    stream.close()
    assert (tiny.folder / "experiment.json").read_bytes() == before
    assert not tiny.has_table("predictions")


def test_a_perfect_teacher_leaves_no_nan_behind(tiny):
    labels = torch.arange(10)
    metrics = model_metrics(torch.eye(10), labels, labels.numpy())
    assert not any(math.isnan(value) for value in metrics.values())
    json.dumps(metrics, allow_nan=False)


def test_an_experiment_without_a_teacher(tiny, samples):
    del tiny.runs["teacher"]
    assert list(evaluate(tiny, samples, "cpu")) == ["kd_student", "student"]
    assert "same_as_teacher" not in tiny.runs["student"].metrics["test"]
