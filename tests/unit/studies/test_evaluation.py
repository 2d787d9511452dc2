"""predictions.parquet and the runs' metrics, against a direct forward pass."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from kdviz.core.errors import DatasetError
from kdviz.experiment import load_experiment
from kdviz.metrics import class_accuracy, classification_metrics, divergence_from_teacher
from kdviz.studies.predictions.evaluation import evaluate, model_metrics

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
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert metrics["loss"] == pytest.approx(-np.log(chances[np.arange(520), labels]).mean(), abs=1e-5)
        scores, areas = [], []
        for number in range(10):
            own_samples, said = labels == number, predicted == number
            both = (own_samples & said).sum()
            scores.append(2 * both / (own_samples.sum() + said.sum()))
            # The area is the chance that a sample of the class is believed to be of it more than another one is.
            inside, outside = chances[own_samples, number][:, None], chances[~own_samples, number][None]
            areas.append(((inside > outside) + 0.5 * (inside == outside)).mean())
        assert metrics["f1"] == pytest.approx(np.mean(scores), abs=1e-5)
        assert metrics["auc"] == pytest.approx(np.mean(areas), abs=1e-4)
        if role != "teacher":
            assert metrics["same_as_teacher"] == pytest.approx((predicted == teacher).mean(), abs=1e-6)
            wrong = teacher != labels
            assert metrics["inherited_errors"] == pytest.approx((predicted == teacher)[wrong].mean(), abs=1e-6)
            spoken = np.exp([row["logits"] for row in rows(table, role="teacher")])
            spoken /= spoken.sum(1, keepdims=True)
            divergence = (spoken * np.log(spoken / chances)).sum(1).mean()
            assert metrics["kl_to_teacher"] == pytest.approx(divergence, abs=1e-5)
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
    metrics = model_metrics(torch.eye(10), labels, 5 * torch.eye(10))
    assert "inherited_errors" not in metrics
    assert not any(math.isnan(value) for value in metrics.values())
    json.dumps(metrics, allow_nan=False)


def test_an_experiment_without_a_teacher(tiny, samples):
    del tiny.runs["teacher"]
    assert list(evaluate(tiny, samples, "cpu")) == ["kd_student", "student"]
    assert "same_as_teacher" not in tiny.runs["student"].metrics["test"]


def test_classes_without_samples_have_no_area_and_no_recall():
    labels = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 3.0, 0.0], [0.0, 1.0, 0.5]])
    assert math.isnan(classification_metrics(logits, labels)["auc"])
    assert "auc" not in model_metrics(logits, labels, None)
    assert class_accuracy(logits, labels) == [0.5, 1.0, None]


def test_f1_is_not_flattered_by_a_large_class():
    labels = torch.tensor([0] * 98 + [1] * 2)
    always_first = torch.tensor([[1.0, 0.0]]).expand(100, 2)
    metrics = classification_metrics(always_first, labels)
    assert metrics["accuracy"] == pytest.approx(0.98)
    assert metrics["f1"] == pytest.approx((2 * 98 / (98 + 100) + 0) / 2)
    assert metrics["auc"] == pytest.approx(0.5)


def test_the_divergence_is_zero_for_the_same_answers_and_exact():
    logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    assert divergence_from_teacher(logits, logits + 3.0) == pytest.approx(0, abs=1e-12)  # softmax knows no offset
    certain = torch.tensor([[math.log(3), 0.0]])  # 3/4 and 1/4
    even = torch.zeros(1, 2)
    assert divergence_from_teacher(certain, even) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert divergence_from_teacher(even, certain) == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2))
