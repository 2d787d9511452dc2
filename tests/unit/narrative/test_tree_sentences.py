"""What is said of trees, held against the numbers of the report, in both languages."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kdviz.core.files import MODELS
from kdviz.core.language import LANGUAGES, speaking
from kdviz.experiment import load_experiment
from kdviz.metrics import Difference
from kdviz.narrative.tree import tree_sentences, verdict_sentence
from kdviz.studies.tree import TreeReport, read_tree_report
from kdviz.studies.tree.report import Comparison, ModelFigures

MEANS = {
    "loss": 0.2,
    "same_as_teacher": 0.9612,
    "path_accuracy": 0.951,
    "path_is_answer": 0.987,
    "path_probability": 0.93,
    "leaves": 90,
    "weights": 1234,
}


def difference(value, width, seeds=3):
    """With standard errors that give about that interval."""
    error = width / 1.96 if seeds == 1 else 0.001 * width
    parts = Difference(value, value, value, seeds, 10_000, error, width / 1.96)
    low, high = parts.interval(0.95)
    return replace(parts, low=low, high=high)


def comparison(depth, value, width, seeds=3):
    accuracy = difference(value, width, seeds)
    kd = ModelFigures("kd_student", depth, (0.96,) * seeds, MEANS, 0.955, 0.965)
    alone = ModelFigures("student", depth, (0.96 - value,) * seeds, MEANS | {"same_as_teacher": 0.94}, 0.94, 0.97)
    return Comparison(depth, kd, alone, accuracy, accuracy, accuracy.low, accuracy.high, difference(-0.03, 0.002))


def report(*trees, best=8):
    teacher = ModelFigures("teacher", None, (0.9914,), {}, 0.989, 0.993)
    return TreeReport({"backbone": ""}, teacher, trees, None, best, 10_000)


@pytest.mark.parametrize(
    ("value", "width", "words"),
    [
        (0.02, 0.004, "is more accurate than"),
        (-0.02, 0.004, "is less accurate than"),
        (0.001, 0.002, "is as accurate as"),
        (0.003, 0.006, "cannot tell"),
        (-0.003, 0.006, "cannot tell"),
    ],
)
def test_the_verdict_is_what_the_interval_allows(value, width, words):
    sentence = verdict_sentence(report(comparison(8, value, width)))
    assert words in sentence
    others = {"is more accurate", "is less accurate", "is as accurate", "cannot tell"}
    assert sum(other in sentence for other in others) == 1
    assert f"{100 * value:+.2f} points" in sentence


def test_one_seed_says_nothing_about_others():
    assert "cannot tell" in verdict_sentence(report(comparison(8, 0.05, 0.004, seeds=1)))


def test_each_depth_is_named_once_by_its_own_interval():
    trees = [comparison(2, -0.03, 0.01), comparison(4, 0.001, 0.01), comparison(8, 0.02, 0.004)]
    (sentence,) = [text for text in tree_sentences(report(*trees)) if text.startswith("By depth")]
    assert "more accurate with the teacher at depth 8" in sentence
    assert "less accurate at depth 2" in sentence
    assert "no difference is shown at depth 4" in sentence


def test_what_differs_from_the_teacher_is_said_of_both_trees():
    text = " ".join(tree_sentences(report(comparison(8, 0.02, 0.004))))
    assert "3.88% of the samples it says something else" in text
    assert "Without a teacher that share is 6.00%" in text
    assert "98.70% of the samples" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_the_same_numbers(language):
    known = read_tree_report(load_experiment(MODELS / "mnist"))
    english = tree_sentences(known)
    with speaking(language):
        sentences = tree_sentences(known)
    assert len(sentences) == len(english)
    for first, second in zip(english, sentences, strict=True):
        assert sorted(re.findall(r"[\d.,]*\d", first)) == sorted(re.findall(r"[\d.,]*\d", second))


def test_the_trees_of_mnist_are_as_accurate_as_promised():
    # 96 % on the official test digits, and every sentence holds the table's figures.
    known = read_tree_report(load_experiment(MODELS / "mnist"))
    assert known.samples == 10_000
    assert known.chosen.kd.accuracy >= 0.96
    verdict = verdict_sentence(known)
    assert f"{known.chosen.kd.accuracy:.2%}" in verdict
    assert f"{known.chosen.alone.accuracy:.2%}" in verdict
    assert (known.chosen.outcome == "cannot tell") == ("cannot tell" in verdict)
    assert ("more accurate" in verdict) == (known.chosen.outcome == "better")
