"""The page Shortcuts: its sentences, chart, pictures and tables, and what it says without a study; no browser."""

from __future__ import annotations

import pytest
from patch_readers import reading_experiment

from kdviz.cli import main
from kdviz.core.language import signed
from kdviz.experiment import load_experiment
from kdviz.narrative.shortcuts.sentences import use_sentences, verdict_sentences
from kdviz.studies.shortcuts import read_shortcut_reports

PAGE = "shortcuts"


@pytest.fixture
def studied(tmp_path, digits):
    """An experiment with two conditions."""
    strengths = {"teacher": 12, "kd_student": 8, "student": 0}
    folder = reading_experiment(tmp_path / "readers", digits.classes, strengths).folder
    options = ["--split", "bundled", "--images", "12", "--method", "saliency", "--device", "cpu"]
    for kind in ("patch", "frame"):
        assert main(["study", "--study", "shortcuts", "-e", str(folder), "--plant", kind, *options]) == 0
    return folder


@pytest.mark.slow
def test_the_page_says_what_the_study_found_and_shows_it(page_of, studied):
    page = page_of(studied)
    patch, frame = read_shortcut_reports(load_experiment(studied))
    texts = " ".join(element.value for element in page.markdown).replace("\\", "")
    for sentence in (*verdict_sentences(patch), *use_sentences(patch)):
        assert sentence in texts
    assert page.dataframe[0].value["Model"].tolist() == ["Teacher", "KD student", "Student alone"]
    uses = dict(zip(page.dataframe[0].value["Model"], page.dataframe[0].value["Use (points)"], strict=True))
    for role, title in (("teacher", "Teacher"), ("kd_student", "KD student")):
        used = patch.role(role).use
        value, low, high = (signed(100 * each, 1) for each in (used.value, used.low, used.high))
        assert uses[title] == f"{value} [{low}, {high}]"
        assert f"by {value} points (95 % interval {low} to {high})" in texts  # the sentence has the same figures
    assert len(page.get("image")) == 3 * 2 * (1 + 3)
    assert len(page.get("plotly_chart")) == 1
    other = page_of(studied, condition="frame-none")
    texts = " ".join(element.value for element in other.markdown)
    assert "No model saw a frame in training" in texts
    assert verdict_sentences(frame) == []


def test_without_a_study_one_sentence_says_how_to_make_one(page_of, tiny):
    page = page_of(tiny.folder)
    (info,) = page.info
    assert info.value.startswith("This experiment has no study of shortcuts yet")
    assert "kdviz train mnist --out models/NAME --plant patch" in page.code[0].value
    assert f"--into {tiny.folder}" in page.code[0].value
