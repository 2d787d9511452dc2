"""Losses beside each other: both figures of each less those of the softened targets, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kdviz import figures
from kdviz.core.files import MODELS
from kdviz.core.language import speaking
from kdviz.experiment import load_experiment
from kdviz.metrics.equivalence import BETTER, EQUIVALENT, UNDECIDED, WORSE
from kdviz.narrative.losses import further_sentences, limit_sentences, verdict_sentences
from kdviz.studies.attention import read_attention
from kdviz.studies.losses import LossComparison, compare_losses
from kdviz.studies.sweep.report import read_report

RISE, GRADIENT, ATTENTION = (
    f"soft_targets + {loss}" for loss in ("20 rise_maps", "5 input_gradient", "10 attention_transfer")
)


def compared(name: str) -> LossComparison:
    experiment = load_experiment(MODELS / name)
    comparison = compare_losses(read_report(experiment, "loss"), read_attention(experiment, "loss", "pearson"))
    assert comparison is not None
    return comparison


@pytest.fixture(scope="module")
def mnist() -> LossComparison:
    return compared("mnist")


@pytest.fixture(scope="module")
def cifar() -> LossComparison:
    return compared("cifar10")


def by_loss(comparison):
    return {result.loss: result for result in comparison.results}


def test_each_is_less_the_softened_targets(mnist):
    """Held against means that are taken from the tables, whatever pair of values the studies put first."""
    table = load_experiment(MODELS / "mnist").table("loss").to_pandas()
    test = table[table["split"] == "test"]
    accuracy = test[test["role"] == "kd_student"].groupby("kd_loss")["accuracy"].mean()
    alone = test[test["role"] == "student"]["accuracy"].mean()
    results = by_loss(mnist)
    for loss in (RISE, GRADIENT):
        gain = results[loss].accuracy_gain
        assert gain.value == pytest.approx(accuracy[loss] - accuracy["soft_targets"], abs=1e-9)
        assert gain.low < gain.value < gain.high
        gain = results[loss].agreement_gain
        expected = results[loss].agreement.value - results["soft_targets"].agreement.value
        assert gain.value == pytest.approx(expected, abs=1e-9)
        assert gain.low < gain.value < gain.high
    assert results[None].accuracy_gain.value == pytest.approx(alone - accuracy["soft_targets"], abs=1e-9)
    assert results["soft_targets"].accuracy_gain is results["soft_targets"].agreement_gain is None


def test_the_order_and_what_has_no_maps(mnist, cifar):
    assert [result.loss for result in mnist.results] == ["soft_targets", RISE, GRADIENT, None]
    assert mnist.without_maps == ("decoupled",)
    agreements = [result.agreement.value for result in cifar.losses]
    assert len(agreements) == 5
    assert agreements == sorted(agreements, reverse=True)


def test_outcomes_are_those_of_the_studies(mnist, cifar):
    results = by_loss(mnist)
    outcomes = {loss: (result.agreement_gain, result.accuracy_gain) for loss, result in results.items()}
    assert [gain.outcome for gain in outcomes[RISE]] == [BETTER, WORSE]
    assert [gain.outcome for gain in outcomes[GRADIENT]] == [BETTER, EQUIVALENT]
    assert [gain.outcome for gain in outcomes[None]] == [WORSE, WORSE]
    changes = {change.second: change for change in cifar.attention.changes if change.first == "soft_targets"}
    changes |= {change.first: change for change in cifar.attention.changes if change.second == "soft_targets"}
    for result in cifar.losses:
        assert (result.agreement_gain.outcome != UNDECIDED) == changes[result.loss].differs


def test_a_loss_that_is_measured_by_its_own_maps_is_named(mnist, cifar):
    assert [result.loss for result in mnist.losses if result.trained_on_maps] == [RISE]
    assert [sentence for sentence in further_sentences(mnist) if RISE in sentence and "very method" in sentence]
    assert not [sentence for sentence in further_sentences(cifar) if "very method" in sentence]


def test_sentences_follow_from_the_outcomes(mnist, cifar):
    """Each loss is in exactly one sentence about its maps, and no price is left out."""
    said = verdict_sentences(mnist)
    assert [sentence.split(" brings")[0] for sentence in said] == [GRADIENT, RISE]
    assert "as accurate within 0.5 points" in said[0]
    assert "at the price of accuracy (-0.55 [-0.71, -0.39] points)" in said[1]
    assert verdict_sentences(cifar) == [
        "No loss is shown to bring the maps closer to the teacher's than soft_targets alone."
    ]
    (told,) = further_sentences(cifar)
    start = "Whether the maps are closer or further than with soft_targets alone cannot be told of "
    assert told.startswith(start)
    assert told.removeprefix(start).removesuffix(".").split(", ") == [result.loss for result in cifar.losses]


@pytest.mark.parametrize(
    ("agreement", "accuracy", "expected"),
    [
        (WORSE, BETTER, ["Further from the teacher", "More accurate"]),
        (WORSE, WORSE, ["Further from the teacher", "Less accurate"]),
        (UNDECIDED, EQUIVALENT, ["Whether the maps"]),
        (BETTER, WORSE, []),
    ],
)
def test_what_is_said_of_losses_that_are_not_closer(mnist, agreement, accuracy, expected):
    result = by_loss(mnist)[GRADIENT]
    result = replace(
        result,
        agreement_gain=replace(result.agreement_gain, outcome=agreement),
        accuracy_gain=replace(result.accuracy_gain, outcome=accuracy),
    )
    said = further_sentences(replace(mnist, results=(result,)))
    assert [sentence[: len(start)] for sentence, start in zip(said, expected, strict=True)] == expected


def test_what_limits_the_comparison(mnist, cifar):
    assert "3 seeds and 10,000 samples, maps over 200 images" in limit_sentences(mnist)[0]
    assert "their maps were not studied: decoupled." in limit_sentences(mnist)[-1]
    assert limit_sentences(cifar)[-1].startswith("All students have one teacher")


def test_without_the_softened_targets_nothing_is_compared(mnist):
    attention = mnist.attention
    report = read_report(load_experiment(MODELS / "mnist"), "loss")
    others = tuple(effect for effect in attention.values if effect.value != "soft_targets")
    assert compare_losses(report, replace(attention, values=others)) is None
    only = tuple(effect for effect in attention.values if effect.value == "soft_targets")
    assert compare_losses(report, replace(attention, values=only)) is None


def test_the_chart_has_each_loss_at_its_gains(mnist):
    chart = figures.accuracy_and_agreement(mnist)
    points = {trace.name: trace for trace in chart.data}
    assert list(points) == ["+ 20 rise_maps", "+ 5 input_gradient", "Student alone"]
    for trace, result in zip(points.values(), mnist.results[1:], strict=True):
        assert np.allclose([trace.x[0], trace.y[0]], [100 * result.accuracy_gain.value, result.agreement_gain.value])
        assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(100 * result.accuracy_gain.low)
        assert trace.y[0] + trace.error_y.array[0] == pytest.approx(result.agreement_gain.high)
    assert points["+ 20 rise_maps"].marker.symbol.endswith("-open")
    assert not points["+ 5 input_gradient"].marker.symbol.endswith("-open")


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_the_chart_has_a_file_form(cifar, language):
    with speaking(language):
        assert figures.accuracy_and_agreement.file("png", cifar)[1:4] == b"PNG"
