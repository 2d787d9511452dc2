"""The answers of the first page, and the samples that it shows with their maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdviz.analysis import answers as module
from kdviz.analysis.answers import Findings, answers, decision
from kdviz.analysis.evaluation import evaluate
from kdviz.analysis.mistakes import Predictions
from kdviz.analysis.showcase import STORIES, choose, make, read_showcase
from kdviz.cli import main
from kdviz.errors import ExperimentError
from kdviz.experiment import load_experiment
from kdviz.figures.overlay import overlay

N = 2000


def findings(experiment, teacher: float, kd: float, alone: float, copied: float = 0.0) -> Findings:
    """Of models that are wrong on so many of 2,000 samples; the KD student repeats a share of the teacher's errors."""
    labels = np.zeros(N, int)
    said = {}
    for role, wrong, start in (("teacher", teacher, 0), ("kd_student", kd, 500), ("student", alone, 1000)):
        said[role] = labels.copy()
        said[role][start : start + round(wrong * N)] = 1 + (role == "student")
    shared = round(copied * teacher * N)
    said["kd_student"][:shared] = 1
    found = Findings(experiment)
    predictions = Predictions("test", labels, said, {role: np.ones(N) for role in said})
    found.__dict__["predictions"] = predictions
    return found


def words(found: Findings) -> dict[str, str]:
    return {one.name: one.word for one in answers(found)}


def test_a_student_that_is_nearly_as_good_and_better_than_alone(tiny):
    found = findings(tiny, teacher=0.01, kd=0.018, alone=0.04)
    assert words(found)["accurate"] == "Nearly"
    assert words(found)["helped"] == "Yes"
    top = decision(found, answers(found))
    assert (top.tone, top.sentence) == (
        "mixed",
        "The KD student may be shipped if 0.80 points of accuracy can be spared.",
    )


@pytest.mark.parametrize(
    ("rates", "accurate", "helped", "tone", "said"),
    [
        ((0.02, 0.02, 0.06), "Yes", "Yes", "good", "may stand in for its teacher."),
        ((0.06, 0.02, 0.05), "Better", "Yes", "good", "may stand in for its teacher."),
        ((0.01, 0.09, 0.15), "No", "Yes", "bad", "no substitute for its teacher: it loses 8.00 points"),
        ((0.01, 0.019, 0.02), "Nearly", "No difference found", "mixed", "distillation is not why"),
        ((0.02, 0.06, 0.02), "No", "It hurt", "bad", "Do not ship the KD student"),
    ],
)
def test_every_outcome_has_its_own_answer(tiny, rates, accurate, helped, tone, said):
    found = findings(tiny, *rates)
    assert (words(found)["accurate"], words(found)["helped"]) == (accurate, helped)
    top = decision(found, answers(found))
    assert top.tone == tone
    assert said in top.sentence


def test_copying_is_told_from_chance(tiny):
    assert words(findings(tiny, 0.05, 0.05, 0.05, copied=0.6))["copied"] == "Yes"
    assert words(findings(tiny, 0.05, 0.05, 0.05))["copied"] == "No more than by chance"
    assert words(findings(tiny, 0.0, 0.05, 0.05))["copied"] == "None to copy"


def test_what_is_not_known_is_said(tiny):
    found = Findings(tiny)
    said = answers(found)
    assert {one.tone for one in said} == {"unknown"}
    assert "It is not known yet" in decision(found, said).sentence
    assert found.accuracies == []
    assert len(said) == len({one.name for one in said}) == 5
    assert module.attention(found) in said


def test_the_shipped_experiment_has_seeds_in_its_accuracies():
    from kdviz.analysis.series import read_report

    experiment = load_experiment("mnist")
    found = Findings(experiment, study=read_report(experiment, "temperature"))
    by = {one.role: one for one in found.accuracies}
    assert (by["kd_student"].value, by["kd_student"].seeds) == (0.9876, 3)
    assert by["kd_student"].mean == pytest.approx(0.98733, abs=1e-4)  # of T = 4, as it was trained
    assert by["student"].mean == pytest.approx(0.98107, abs=1e-4)
    assert by["teacher"].mean is None


# the showcase ---------------------------------------------------------------------------------------------------------


def test_each_story_is_told_by_a_sample_of_its_own(tiny):
    labels = np.zeros(6, int)
    said = {
        "teacher": np.array([0, 0, 1, 0, 0, 0]),
        "kd_student": np.array([0, 1, 1, 0, 0, 0]),
        "student": np.array([1, 0, 1, 0, 0, 1]),
    }
    sure = {role: np.array([0.5, 0.5, 0.5, 0.6, 0.9, 0.9]) for role in said}
    predictions = Predictions("test", labels, said, sure)
    assert choose(predictions, np.arange(6)) == [("fixed", 5), ("lost", 1), ("inherited", 2), ("easy", 4)]
    assert choose(predictions, np.array([0, 3])) == [("fixed", 0), ("easy", 3)]  # only those with pictures


@pytest.fixture
def shown(tiny, small_digits):
    """``tiny`` with stored test samples and predictions of them."""
    test = small_digits.take(torch.arange(60), "test")
    tiny.write_samples([test])
    list(evaluate(tiny, test, device="cpu"))
    return load_experiment(tiny.folder)


def test_made_and_read_again(shown, small_digits):
    *_, table = make(shown, device="cpu", masks=64)
    shown.write_table("showcase", table)
    samples = read_showcase(load_experiment(shown.folder))
    assert samples
    for one in samples:
        assert one.story in STORIES
        assert one.label == int(small_digits.labels[one.sample])
        assert np.array_equal(np.asarray(one.picture), small_digits.images[one.sample, 0].numpy())
        assert list(one.examples) == list(shown.runs)
        for role, example in one.examples.items():
            said = shown.runs[role].model(shown.preprocess(one.picture)).softmax(1)[0]
            assert example.predicted == int(said.argmax())
            assert example.confidence == pytest.approx(float(said.max()), abs=1e-4)
            assert example.values.shape == (14, 14)
            assert np.isnan(example.agreement) == (role == "teacher")


def test_maps_of_other_weights_are_not_shown_and_a_foreign_table_is_refused(shown):
    *_, table = make(shown, device="cpu", masks=64)
    shown.write_table("showcase", table)
    shown.runs["student"].sha256 = "0" * 64
    assert read_showcase(shown) == []
    shown.write_table("showcase", table.drop_columns(["map"]))
    with pytest.raises(ExperimentError, match="another version"):
        read_showcase(shown)


def test_the_command_makes_it(shown, capsys):
    assert main(["explain", "--showcase", "-e", str(shown.folder), "--masks", "64", "--device", "cpu"]) == 0
    assert "teacher" in capsys.readouterr().out
    assert read_showcase(load_experiment(shown.folder))


@pytest.mark.parametrize("wrong", [["--showcase", "a.png"], ["--showcase", "--out", "x.npz"], ["a.png"], []])
def test_wrong_usage_is_status_two(wrong):
    with pytest.raises(SystemExit) as ended:
        main(["explain", *wrong])
    assert ended.value.code == 2


def test_the_shipped_showcase_is_of_the_shipped_models():
    samples = read_showcase(load_experiment("mnist"))
    assert [one.story for one in samples] == list(STORIES)
    right = [{role: one.predicted == sample.label for role, one in sample.examples.items()} for sample in samples]
    assert right[0] == {"teacher": True, "kd_student": True, "student": False}
    assert not any(right[2].values())
    assert all(right[3].values())


def test_zero_is_clear_and_signs_have_their_colours():
    from PIL import Image

    picture = Image.fromarray(np.full((2, 2), 100, np.uint8))
    drawn = np.asarray(overlay(picture, np.array([[0.0, 1.0], [-1.0, 0.0]]), 1.0)).astype(int)
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert drawn[0, 1, 0] > drawn[0, 1, 2] + 100  # orange
    assert drawn[1, 0, 2] > drawn[1, 0, 0] + 100  # blue
    assert overlay(picture, np.zeros((2, 2)), 0.0, side=9).size == (8, 8)
