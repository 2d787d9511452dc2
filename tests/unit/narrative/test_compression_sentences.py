"""Sentences on compression against the numbers that they are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compression_rows import SAMPLES, row, seed

from kdviz.metrics import paired_difference, paired_shares
from kdviz.narrative.products.compression import (
    accuracy_judgement,
    accuracy_sentence,
    answers_sentences,
    compression_sentences,
    hidden_sentences,
    map_sentences,
    run_sentences,
    saving_sentence,
    step_title,
)
from kdviz.studies.comparison.judgement import EQUAL, MUCH_LOWER, UNDECIDED
from kdviz.studies.compression.report import LESS, MORE, UNKNOWN, CompressedRun, report_of


def run_of(*rows: dict[str, Any]) -> CompressedRun:
    return report_of(rows).runs["small"]


def test_what_was_saved_is_said_with_its_share():
    text = saving_sentence(run_of(row()))
    assert text == (
        "'small' was made from 'kd_student', pruned by 0.5: its file has 0.47 MB, 9.4% of its parent's, and it "
        "computes 36.3% of its operations."
    )
    assert "operations" not in saving_sentence(run_of({**row(), "flops": None}))


@pytest.mark.parametrize(
    ("fixed", "broken", "outcome", "words"),
    [
        (20, 25, EQUAL, "It is as accurate as 'kd_student' within 0.5 points"),
        (10, 160, MUCH_LOWER, "It is less accurate than 'kd_student', by more than 0.5 points"),
        (900, 920, UNDECIDED, "One cannot tell whether it is as accurate as 'kd_student' within 0.5 points"),
    ],
)
def test_accuracy_is_judged_by_the_margin(fixed, broken, outcome, words):
    run = run_of(row(fixed=fixed, broken=broken))
    judged = accuracy_judgement(run)
    right = np.arange(SAMPLES) < 9000
    after = right.copy()
    after[:broken], after[-fixed:] = False, True
    expected = paired_shares(right, after)
    assert (judged.outcome, judged.value) == (outcome, pytest.approx(expected.value))
    assert (run.accuracy.low, run.accuracy.high) == pytest.approx((expected.low, expected.high))
    text = accuracy_sentence(run)
    assert text.startswith(words)
    assert f"{100 * expected.value:+.2f} points" in text


def test_answers_are_counted_and_held_against_another_seed():
    text = " ".join(answers_sentences(run_of(row(), seed())))
    assert "answers 0.60% otherwise than its parent: 20 errors are mended, 25 right answers are broken" in text
    assert "That is less than another seed changes, 1.20%: -0.60 points" in text
    text = " ".join(answers_sentences(run_of(row(changed=200), seed())))
    assert "That is more than another seed changes, 1.20%: +0.80 points" in text
    text = " ".join(answers_sentences(run_of(row(changed=121), seed())))
    assert "One cannot tell whether that is more than another seed changes" in text
    assert len(answers_sentences(run_of(row()))) == 1


def test_several_seeds_are_the_null_together():
    first, second = seed(), seed(child="kd_student_seed_2", changed=160, first=6000, maps=0.82)
    run = run_of(row(), first, second)
    assert run.nulls == ("kd_student_seed", "kd_student_seed_2")
    changed = np.zeros((2, SAMPLES), bool)
    changed[0, 5000:5120], changed[1, 6000:6160] = True, True
    own = np.broadcast_to(np.arange(SAMPLES) < 60, changed.shape)
    assert run.beyond_changed == paired_difference(changed, own)
    assert "another seed changes, 1.40%: -0.80 points" in " ".join(answers_sentences(run))
    assert run.beyond_maps is not None
    assert run.beyond_maps.value == pytest.approx(0.97 - 0.81)


def test_int8_with_training_is_held_against_int8_without_it():
    trained = row(step="qat", fixed=30, broken=20)
    plain = row(child="plain", step="int8", fixed=4, broken=9)
    run = run_of(trained, plain)
    assert run.untrained == "plain"
    assert run.beside_untrained is not None
    assert run.beside_untrained.value == pytest.approx(15 / SAMPLES)
    text = " ".join(run_sentences(run))
    assert "Beside 'plain', which was quantised from the same model without training: It is" in text
    assert "98.75% against 98.60%, +0.15 points" in text
    assert run_of(trained, {**plain, "parent": "other"}).untrained == ""
    assert run_of(row(), plain).untrained == ""  # pruning is another step


@pytest.mark.parametrize(
    ("maps", "verdict", "words"),
    [
        (0.6, MORE, "It looks elsewhere"),
        (0.97, LESS, "It looks where its parent looks, more than another seed does"),
        (0.8, UNKNOWN, "One cannot tell whether it looks elsewhere more than another seed does"),
    ],
)
def test_where_it_looks_is_held_against_another_seed(maps, verdict, words):
    run = run_of(row(maps=maps), seed())
    assert run.looks == verdict
    text = " ".join(map_sentences(run))
    assert words in text
    own, null = (np.array([each]) for each in (row(maps=maps)["maps_parent"], seed()["maps_parent"]))
    expected = paired_difference(null, own)
    assert run.beyond_maps is not None
    assert (run.beyond_maps.value, run.beyond_maps.low) == pytest.approx((expected.value, expected.low))
    assert f"agree with its parent's by {maps:.3f} over 40 images" in text


def test_maps_are_held_against_the_teacher():
    assert "One cannot tell whether they agree with the teacher's" in " ".join(map_sentences(run_of(row())))
    text = " ".join(map_sentences(run_of(row(teacher=0.7))))
    assert "They agree with the teacher's less than its parent's do: -0.150" in text
    assert "more than its parent's do: +0.100" in " ".join(map_sentences(run_of(row(teacher=0.95))))
    assert map_sentences(run_of(row(images=0))) == []


def test_an_accuracy_hides_a_change_only_where_both_are_shown():
    hides = "Its accuracy hides that it behaves otherwise"
    assert hidden_sentences(run_of(row(changed=300), seed()))[0].startswith(hides)
    assert hidden_sentences(run_of(row(maps=0.5), seed()))[0].startswith(hides)
    assert hidden_sentences(run_of(row(), seed()))[0].startswith("Its accuracy hides no change")
    assert hidden_sentences(run_of(row(changed=121), seed())) == []  # one cannot tell
    assert hidden_sentences(run_of(row())) == []  # there is no other seed
    assert hidden_sentences(run_of(row(broken=300, changed=600), seed())) == []  # the accuracy itself says it


def test_everything_is_said_once_and_what_is_missing_too():
    lines = compression_sentences(report_of([row(), row("tiny", "small", "qat")]))
    assert sum("Nothing says how much chance alone changes, since 'kd_student'" in line for line in lines) == 1
    assert not any("Nothing says" in line for line in compression_sentences(report_of([row(), seed()])))
    text = " ".join(run_sentences(run_of(row())))
    assert "Its calibration error is 1.23%, its parent's 0.59%." in text
    assert "weakest in the class 9: 97.1% of it are right, 97.9% with its parent" in text


def test_all_steps_of_a_chain_are_judged_together():
    whole = {
        "root": "kd_student",
        "root_accuracy": 0.987,
        "root_fixed": 10,
        "root_broken": 130,
        "root_bytes": 4_660_000,
    }
    run = run_of({**row(parent="small_pruned"), **whole})
    text = " ".join(run_sentences(run))
    assert "All steps since 'kd_student' together: its file has 10.0% of that one's." in text
    assert "It is less accurate than 'kd_student', by more than 0.5 points: 98.60% against 98.70%, -1.20 points" in text
    assert not any("All steps" in sentence for sentence in run_sentences(run_of(row())))


def test_steps_in_words():
    assert step_title("qat") == "trained with int8 in mind"
    assert step_title("prune 0.5 2:4") == "pruned by 0.5 2:4"
    assert step_title("distilled elsewhere") == "distilled elsewhere"
