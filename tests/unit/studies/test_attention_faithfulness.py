"""Faithfulness over the images of a study: the intervals, the time that it takes, and whose maps they are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from kdviz.core.vocabulary import Role
from kdviz.studies.attention import AttentionStudy, budget, own_models
from kdviz.studies.attention import faithfulness as module
from kdviz.studies.attention.faithfulness import NAME, SCHEMA, TRIVIAL, faithfulness_summary, run_faithfulness


@pytest.fixture
def study(tiny, small_digits, monkeypatch):
    monkeypatch.setattr(module, "_STEPS", 14)
    monkeypatch.setattr(module, "_FEWER_SAMPLES", {"kernel_shap": {"n_samples": 50}})
    samples = small_digits.take(np.arange(0, 1500, 100), "test")
    study = AttentionStudy(tiny, samples, own_models(tiny), 4, settings={"n_masks": 64}, device="cpu")
    list(study.run())
    return study


def summaries(experiment, draws, weights):
    """The rows of models whose maps gain this much over the trivial one, (draws, images), each as a method."""
    about = {"split": "test", "label": 0, "target": 0, "role": Role.TEACHER, "deletion": 0.5}
    rows = [
        {**about, "sample": number, "weight": weight, "method": method, "insertion": 0.5 + gain}
        for method, gains in [(TRIVIAL, np.zeros(len(weights))), *enumerate(draws)]
        for number, (gain, weight) in enumerate(zip(gains, weights, strict=True))
    ]
    table = pa.Table.from_pylist([{**row, "method": str(row["method"])} for row in rows], SCHEMA)
    experiment.write_table(NAME, table)
    return [row for row in faithfulness_summary(experiment) if row["method"] != TRIVIAL]


@pytest.mark.parametrize("count", [2, 5, 20])
@pytest.mark.parametrize("heavy", [1, 4])
def test_intervals_cover_the_truth(tiny, count, heavy):
    generator, truth, draws = np.random.default_rng(count), 0.1, 400
    weights = np.where(np.arange(count) % 2, heavy, 1).astype(float)
    rows = summaries(tiny, generator.normal(truth, 0.2, (draws, count)), weights)
    assert len(rows) == draws
    covered = sum(row["insertion_gain_low"] <= truth <= row["insertion_gain_high"] for row in rows)
    assert covered / draws > 0.95 - 3 * (0.95 * 0.05 / draws) ** 0.5


def test_two_images_are_measured_however_little_time_there_is(study):
    assert list(run_faithfulness(study, 4, seconds=0.0)) == [1, 2]
    rows = study.experiment.table(NAME).to_pylist()
    assert {row["sample"] for row in rows} == set(study.chosen.samples[:2].tolist())
    assert list(run_faithfulness(study, 4)) == [1, 2, 3, 4]  # goes on where it stopped


def test_the_maps_of_the_study_are_not_made_again(study, monkeypatch):
    asked = []
    original = module.explain

    def explain(experiment, picture, target, name, **more):
        asked.append(name)
        return original(experiment, picture, target, name, **more)

    monkeypatch.setattr(module, "explain", explain)
    list(run_faithfulness(study, 2))
    assert "occlusion" in asked
    assert "rise" not in asked
    assert {row["method"] for row in study.experiment.table(NAME).to_pylist()} >= {"rise", "occlusion"}


def test_the_class_is_the_one_that_the_maps_explain(study):
    """Whatever the teacher says of the picture now: the study's maps are of the study's targets."""
    study.__dict__["targets"] = np.array([4, 7, 4, 7])
    list(run_faithfulness(study, 2))
    targets = {row["sample"]: row["target"] for row in study.experiment.table(NAME).to_pylist()}
    assert [targets[sample] for sample in study.chosen.samples[:2].tolist()] == [4, 7]


def test_as_many_images_as_the_time_allows(tiny, monkeypatch):
    monkeypatch.setattr(budget, "seconds_of_a_pass", lambda *_: 0.01)
    models = own_models(tiny)
    count = budget.affordable_images(models, tiny.input, 10, 1000, 600, "cpu")
    assert count == int(600 / (3 * 0.01 * 1000 * 1.25))
    assert budget.affordable_images(models, tiny.input, 10, 1000, 1, "cpu") == budget.FEWEST
