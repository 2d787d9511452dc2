"""Mistakes by what a step of compression broke, as the address asks for it; no browser."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kdviz.core.vocabulary import Split
from kdviz.narrative.products.broken_answers import broken_sentences
from kdviz.studies.predictions.broken_by_steps import broken, made_runs
from kdviz.studies.predictions.evaluation import evaluate
from kdviz.studies.predictions.mistakes import read_predictions

PAGE = "mistakes"


@pytest.fixture
def compressed(tiny, small_digits):
    """The student alone as if pruning had made it of the KD student."""
    samples = replace(small_digits.take(torch.arange(200)), split=str(Split.TEST))
    tiny.dataset = "folder"
    tiny.runs["student"].parent, tiny.runs["student"].made_by = "kd_student", "prune 0.5"
    tiny.save()
    tiny.write_samples([samples])
    list(evaluate(tiny, samples, device="cpu"))
    return tiny


def test_the_address_asks_for_what_a_step_broke(page_of, compressed):
    predictions = read_predictions(compressed.table("predictions"), Split.TEST)
    (run,) = made_runs(compressed, predictions)
    page = page_of(compressed.folder, group="broken-student")
    texts = " ".join(element.value for element in page.markdown).replace("\\", "")
    assert f"**{broken(predictions, run).sum()} images** · Broken by pruning: student" in texts
    assert "'kd_student' is right, 'student', which was made from it, is wrong." in texts
    assert all(sentence in texts for sentence in broken_sentences(predictions, run, [run]))
    assert page.selectbox(key="mistakes-model").value == "student"
    assert not page.error


def test_a_role_that_no_step_made_is_said(page_of, compressed):
    page = page_of(compressed.folder, group="broken-teacher")
    assert "'broken-teacher' in the page's address is not a known group" in page.error[0].value.replace("\\", "")
