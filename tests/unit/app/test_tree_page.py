"""The page Tree: its sentences, the diagram, paths and disagreements, and what it says without a study; no browser."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kdviz.core.files import MODELS
from kdviz.experiment import load_experiment
from kdviz.narrative.tree import tree_sentences
from kdviz.studies.tree import read_tree_report, tree_answers

PAGE = "tree"


def html_of(page):
    return " ".join(element.proto.body for element in page.get("html"))


def test_the_page_says_what_the_study_found_and_draws_a_whole_tree(page_of):
    page = page_of(MODELS / "mnist")
    report = read_tree_report(load_experiment(MODELS / "mnist"))
    texts = " ".join(element.value for element in page.markdown).replace("\\", "")
    for sentence in tree_sentences(report):
        assert texts.count(sentence) == 1
    drawn = html_of(page)
    assert len(re.findall(r'class="tr-cell', drawn)) == 31  # of a tree of depth 4, and as many rows of the narrow form
    assert len(re.findall(r'class="tr-row', drawn)) == 31
    assert len(re.findall(r'class="tr-cell[^"]* on', drawn)) == 5  # the path
    assert len(re.findall(r'class="tr-step', drawn)) == 4
    (table,) = (element.value for element in page.dataframe)
    assert table["Depth"].tolist() == [*(str(tree.depth) for tree in report.trees), "linear, sparse"]
    assert table["With the teacher"].tolist()[:-1] == [f"{tree.kd.accuracy:.2%}" for tree in report.trees]


def test_a_deep_tree_is_drawn_above_and_its_path_is_whole(page_of):
    page = page_of(MODELS / "mnist", depth="8", teacher="without")
    drawn = html_of(page)
    assert len(re.findall(r'class="tr-cell', drawn)) == 31
    assert len(re.findall(r'class="tr-step', drawn)) == 8
    assert drawn.count("tr-box") > 0  # subtrees


@pytest.mark.slow
def test_the_next_disagreement_is_one(page_of):
    page = page_of(MODELS / "mnist", depth="8")
    answers = tree_answers(load_experiment(MODELS / "mnist"), "bundled")
    own, teacher = answers["kd_student", 8], answers["teacher", 0]
    button = next(button for button in page.button if button.label.startswith("Disagree"))
    assert f"({(own != teacher).sum():,})" in button.label
    button.click().run(timeout=600)
    assert not page.exception
    number = int(re.search(r"Sample (\d+), true class", " ".join(element.value for element in page.markdown))[1])
    assert own[number] != teacher[number]
    assert number == np.flatnonzero(own != teacher)[0]


def test_without_a_study_one_sentence_says_how_to_make_one(page_of, tiny):
    page = page_of(tiny.folder)
    assert "kdviz study --study tree" in page.code[0].value
    assert not page.dataframe
