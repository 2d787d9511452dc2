"""Faithfulness over the images of a study: the intervals, the time that it takes, and whose maps they are."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from kdviz.core.vocabulary import Role
from kdviz.experiment import load_experiment
from kdviz.studies.attention import AttentionStudy, budget, own_models
from kdviz.studies.attention import faithfulness as module
from kdviz.studies.attention.faithfulness import NAME, SCHEMA, TRIVIAL, faithfulness_summary, run_faithfulness


@dataclass
class Measuring:
    """A study that was measured twice: first for as few images as can be, then for one more.

    Attributes:
        done: What each call yielded.
        rows: Of the table after each call.
        asked: (Method, class) of the maps that each call had made.
    """

    study: AttentionStudy
    done: list[list[int]]
    rows: list[list[dict]]
    asked: list[list[tuple[str, int]]]


@pytest.fixture(scope="module")
def measuring(_untrained, small_digits, tmp_path_factory):
    tiny = load_experiment(shutil.copytree(_untrained, tmp_path_factory.mktemp("measuring") / "tiny"))
    samples = small_digits.take(np.arange(0, 1500, 100), "test")
    study = AttentionStudy(tiny, samples, own_models(tiny), 4, settings={"n_masks": 64}, device="cpu")
    list(study.run())
    study.__dict__["targets"] = np.array([4, 7, 4, 7])  # whatever the teacher says of the pictures now
    measuring, original = Measuring(study, [], [], []), module.explain

    def explain(experiment, picture, target, name, **more):
        measuring.asked[-1].append((name, target))
        return original(experiment, picture, target, name, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STEPS", 14)
        patch.setattr(module, "_FEWER_SAMPLES", {"kernel_shap": {"n_samples": 50}})
        patch.setattr(module, "explain", explain)
        for count, seconds in ((4, 0.0), (3, None)):
            measuring.asked.append([])
            measuring.done.append(list(run_faithfulness(study, count, seconds)))
            measuring.rows.append(tiny.table(NAME).to_pylist())
    return measuring


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


def test_two_images_are_measured_however_little_time_there_is(measuring):
    samples = measuring.study.chosen.samples.tolist()
    assert measuring.done[0] == [1, 2]
    assert {row["sample"] for row in measuring.rows[0]} == set(samples[:2])
    assert measuring.done[1] == [1, 2, 3]  # goes on where it stopped
    assert {row["sample"] for row in measuring.rows[1]} == set(samples[:3])
    assert 2 * len(measuring.asked[1]) == len(measuring.asked[0])  # of one image, not of all three


def test_the_maps_of_the_study_are_not_made_again(measuring):
    asked = {name for name, _ in measuring.asked[0]}
    assert "occlusion" in asked
    assert "rise" not in asked
    assert {row["method"] for row in measuring.rows[0]} >= {"rise", "occlusion"}


def test_the_class_is_the_one_that_the_maps_explain(measuring):
    """Whatever the teacher says of the picture now: the study's maps are of the study's targets."""
    targets = {row["sample"]: row["target"] for row in measuring.rows[0]}
    assert [targets[sample] for sample in measuring.study.chosen.samples[:2].tolist()] == [4, 7]
    assert {target for _, target in measuring.asked[0]} == {4, 7}


def test_as_many_images_as_the_time_allows(tiny, monkeypatch):
    monkeypatch.setattr(budget, "seconds_of_a_pass", lambda *_: 0.01)
    models = own_models(tiny)
    count = budget.affordable_images(models, tiny.input, 10, 1000, 600, "cpu")
    assert count == int(600 / (3 * 0.01 * 1000 * 1.25))
    assert budget.affordable_images(models, tiny.input, 10, 1000, 1, "cpu") == budget.FEWEST
