"""UniCAM's scores in the study of what was transferred: against the features, their nulls, and tables without them."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace

import pytest
import torch

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment, load_experiment
from kdviz.metrics.distance_correlation import (
    Distances,
    class_distances,
    distance_correlation,
    partial_distance_correlation,
)
from kdviz.metrics.feature_similarity import Gram
from kdviz.narrative.results.studies import transfer
from kdviz.studies.transfer import TransferReport, TransferStudy, read_transfer_report
from kdviz.studies.transfer.report import NOT_CLOSER, UNKNOWN
from kdviz.studies.transfer.table import RELEVANCE, SCORES, SIMILARITY, UNIQUE

PAIR = ("kd_student", "student")


@pytest.fixture
def samples(small_digits):
    """60 digits of 14 x 14, as a test split."""
    return small_digits.take(torch.arange(60), "test")


def study(experiment: Experiment, samples) -> TransferReport:
    list(TransferStudy(experiment, samples, device="cpu").run())
    report = read_transfer_report(experiment)
    assert report is not None
    return report


def score(report: TransferReport, measure: str, role: str, less: str = ""):
    """That of the last layer before the logits."""
    entry = report.last_score(measure, role, less)
    assert entry is not None
    return entry.score


def same_models(folder, role, other):
    """Give a model the network and the weights of another one."""
    document = json.loads((folder / "experiment.json").read_text())
    runs = {run["role"]: run for run in document["runs"]}
    runs[role].update({name: runs[other][name] for name in ("network", "weights", "sha256")})
    (folder / "experiment.json").write_text(json.dumps(document))


def test_scores_in_the_table_are_those_of_the_features(tiny, samples):
    report, inputs = study(tiny, samples), tiny.input.normalise(samples.images)
    with torch.no_grad():
        logits = {role: run.model(inputs) for role, run in tiny.runs.items()}
    teacher, own, alone = (Distances(Gram(logits[role])) for role in ("teacher", *PAIR))
    classes, between = class_distances(samples.labels), distance_correlation(own, alone)
    depth = report.depths("kd_student")
    for measure, target in ((SIMILARITY, teacher), (RELEVANCE, classes)):
        first, second = (distance_correlation(each, target) for each in (own, alone))
        beyond = [partial_distance_correlation(*pair) for pair in ((first, between, second), (second, between, first))]
        for name, pair in ((measure, [first, second]), (UNIQUE[measure], beyond)):
            for role, value in zip(PAIR, pair, strict=True):
                assert report.score(name, depth, role).score.value == pytest.approx(value.value, abs=1e-5)
            found, expected = report.score(name, depth, *PAIR).score, pair[0].less(pair[1])
            assert found.value == pytest.approx(expected.value, abs=1e-5)
            assert found.inner_low == pytest.approx(expected.low, abs=1e-5)  # 90 % of both of two: 95 % of each
    relevance = report.score(RELEVANCE, report.teacher_depths, "teacher").score.value
    assert relevance == pytest.approx(distance_correlation(teacher, classes).value, abs=1e-5)


def test_scores_have_their_nulls_and_the_last_layer_stands_alone(tiny, samples):
    report = study(tiny, samples)
    assert {entry.measure for entry in report.scores} == set(SCORES)
    assert {entry.role for entry in report.scores} == {"teacher", *PAIR, "untrained"}
    for entry in report.scores:
        has_null = not entry.less and entry.role != "teacher"
        assert (entry.shuffled == entry.shuffled) == has_null
        assert (entry.within == entry.within) == (has_null and entry.measure == SIMILARITY)
        if has_null:
            assert abs(entry.shuffled) < 0.03
            assert entry.shuffled < entry.shuffled_high < 0.2
    differences = [entry for entry in report.scores if entry.less and entry.measure == RELEVANCE]
    assert [entry.score.together for entry in differences] == [2, 1, 2]  # layer 1 and the logits hold together
    assert report.last_score(RELEVANCE, *PAIR) is differences[1]
    assert len(report.to_json()["scores"]) == len(report.scores)


def test_two_identical_students_have_nothing_of_their_own(tiny_folder, samples):
    same_models(tiny_folder, "student", "kd_student")
    report = study(load_experiment(tiny_folder), samples)
    for measure in UNIQUE.values():
        own = score(report, measure, "kd_student")
        assert (own.value, own.low, own.high) == (0, 0, 0)
    for measure in SCORES:
        assert score(report, measure, *PAIR).verdict() == NOT_CLOSER


def test_without_labels_there_is_no_relevance_and_with_other_layers_nothing_unique(tiny_folder, samples):
    same_models(tiny_folder, "kd_student", "teacher")
    unlabelled = dataclasses.replace(samples, labels=torch.full_like(samples.labels, -1))
    report = study(load_experiment(tiny_folder), unlabelled)
    assert {entry.measure for entry in report.scores} == {SIMILARITY}
    assert not any(entry.less for entry in report.scores)
    assert score(report, SIMILARITY, "kd_student").value == pytest.approx(1)


def test_what_hangs_on_a_single_picture_is_not_told(tiny, samples):
    """Without one of two pictures of a class nothing varies, so that nothing is known of the score's chance."""
    few = replace(samples, labels=(torch.arange(60) >= 58).long())
    entry = score(study(tiny, few), RELEVANCE, "kd_student")
    assert all(math.isnan(end) for end in (entry.low, entry.high))
    assert entry.verdict() == UNKNOWN
    alone = replace(samples, labels=(torch.arange(60) >= 59).long())
    assert study(tiny, alone).last_score(RELEVANCE, "kd_student") is None  # its variance is rounding alone


def test_pictures_of_a_single_class_have_no_relevance(tiny, samples):
    report = study(tiny, dataclasses.replace(samples, labels=torch.full_like(samples.labels, 3)))
    assert {entry.measure for entry in report.scores} == {SIMILARITY, UNIQUE[SIMILARITY]}


def test_a_table_of_an_earlier_version_is_read_without_scores(tiny, samples):
    whole = study(tiny, samples)
    assert "| score |" in transfer(tiny)
    table = tiny.table("transfer")
    tiny.write_table("transfer", table.filter([measure not in SCORES for measure in table["measure"].to_pylist()]))
    report = read_transfer_report(tiny)
    assert report is not None
    assert report.scores == ()
    assert report.last_score(SIMILARITY, "kd_student") is None
    assert report.layers == whole.layers
    assert "| score |" not in transfer(tiny)


def test_a_measure_of_another_name_is_damage(tiny, samples):
    study(tiny, samples)
    table = tiny.table("transfer")
    names = ["other" if measure == RELEVANCE else measure for measure in table["measure"].to_pylist()]
    column = table.schema.get_field_index("measure")
    tiny.write_table("transfer", table.set_column(column, "measure", [names]))
    with pytest.raises(ExperimentError, match="make it anew with: kdviz study --study transfer"):
        read_transfer_report(tiny)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_scores_of_the_shipped_models_are_above_their_nulls(name):
    from kdviz.core.files import MODELS

    report = read_transfer_report(load_experiment(MODELS / name))
    assert report is not None
    for measure in (SIMILARITY, RELEVANCE):
        assert score(report, measure, "untrained").high < score(report, measure, "kd_student").low
        for role in PAIR:
            entry = report.last_score(measure, role)
            assert entry is not None
            assert entry.shuffled_high < 0.01 < entry.score.low
