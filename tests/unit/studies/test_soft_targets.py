"""Softened targets against scipy, and what a person would check by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from kdviz.core.errors import ExperimentError, SettingError
from kdviz.studies.predictions.evaluation import predictions_table
from kdviz.studies.predictions.soft_targets import (
    TEMPERATURES,
    entropy_bits,
    entropy_curve,
    least_sure,
    read_logits,
    soft_targets,
    softened_table,
)

LOGITS = np.random.default_rng(0).normal(size=(50, 7)) * 5


@pytest.mark.parametrize("temperature", [0.01, 0.5, 1, 4, 64, 1e6])
def test_softened_is_scipys_softmax_of_the_divided_logits(temperature: float) -> None:
    probabilities = soft_targets(LOGITS, temperature)
    np.testing.assert_allclose(probabilities, softmax(LOGITS / temperature, axis=-1), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(probabilities.sum(-1), 1)


def test_large_logits_do_not_overflow() -> None:
    np.testing.assert_allclose(soft_targets(np.array([1e4, 1e4, -1e4]), 0.5), [0.5, 0.5, 0])


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_a_temperature_is_a_finite_number_above_zero(temperature: float) -> None:
    with pytest.raises(SettingError, match="above 0"):
        soft_targets(LOGITS, temperature)


def test_entropy_is_scipys_in_bits() -> None:
    targets = soft_targets(LOGITS, 2)
    np.testing.assert_allclose(entropy_bits(targets), entropy(targets, base=2, axis=-1))


def test_entropy_goes_from_one_class_to_all_alike() -> None:
    certain = entropy_bits(np.array([0.0, 1.0, 0.0, 0.0]))
    assert certain == 0
    assert not np.signbit(certain)
    assert entropy_bits(np.full(4, 0.25)) == 2


def test_entropy_never_falls_as_the_temperature_rises() -> None:
    curve = entropy_curve(LOGITS)
    assert curve.shape == (len(TEMPERATURES), len(LOGITS))
    assert (np.diff(curve, axis=0) >= 0).all()
    assert (curve <= np.log2(7)).all()
    assert (TEMPERATURES[0], TEMPERATURES[-1]) == (0.5, 64)
    assert {1, 2, 4, 8, 16, 32} <= set(TEMPERATURES)


def test_the_least_sure_is_the_one_with_the_flattest_answer() -> None:
    logits = np.array([[9.0, 0, 0], [1, 1, 1], [2, 0, 0], [1, 1, 1]])
    assert least_sure(logits).tolist() == [1, 3, 2, 0]


def test_logits_come_back_from_the_table(small_digits) -> None:
    import torch

    logits = {"teacher": torch.randn(30, 10), "student": torch.randn(30, 10)}
    table = predictions_table("test", small_digits.labels[:30], logits)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    read = read_logits(shuffled, "test")
    assert set(read) == set(logits)
    for role, values in logits.items():
        np.testing.assert_array_equal(read[role], values.numpy())
    with pytest.raises(ExperimentError, match="validation"):
        read_logits(table, "validation")
    with pytest.raises(ExperimentError, match="no logits"):
        read_logits(table.drop_columns(["logits"]), "test")


def test_the_table_is_tidy() -> None:
    rows = softened_table({"teacher": LOGITS[0]}, list("abcdefg"), (1.0, 4.0)).to_pylist()
    assert len(rows) == 14
    four = [row for row in rows if row["temperature"] == 4]
    np.testing.assert_allclose([row["probability"] for row in four], softmax(LOGITS[0] / 4))
    assert [row["class"] for row in four] == list("abcdefg")
    assert {row["entropy_bits"] for row in four} == {float(entropy_bits(soft_targets(LOGITS[0], 4)))}
