"""The page Losses: its sentences, chart and table, and what it says without the studies; no browser."""

from __future__ import annotations

import pytest

from kdviz.core.files import MODELS
from kdviz.experiment import load_experiment
from kdviz.narrative.losses import further_sentences, limit_sentences, verdict_sentences
from kdviz.studies.attention import read_attention
from kdviz.studies.losses import compare_losses
from kdviz.studies.sweep.report import read_report

PAGE = "losses"


@pytest.mark.slow
def test_the_page_says_what_the_studies_found_and_shows_it(page_of):
    page = page_of(MODELS / "mnist")
    experiment = load_experiment(MODELS / "mnist")
    comparison = compare_losses(read_report(experiment, "loss"), read_attention(experiment, "loss", "pearson"))
    texts = " ".join(element.value for element in page.markdown).replace("\\", "")
    said = (*verdict_sentences(comparison), *further_sentences(comparison), *limit_sentences(comparison))
    assert all(texts.count(sentence) == 1 for sentence in said)
    assert len(page.get("plotly_chart")) == 1
    table = page.dataframe[0].value
    assert table["Loss"].tolist() == [
        "soft_targets",
        "soft_targets + 20 rise_maps",
        "soft_targets + 5 input_gradient",
        "Student alone",
    ]
    assert table["Maps"].tolist() == ["reference", "closer", "closer", "further"]
    assert table["Its accuracy"].tolist() == ["reference", "lower", "equal", "lower"]


def test_without_both_studies_it_says_how_to_make_them(page_of, tiny):
    page = page_of(tiny.folder)
    assert "once both studies are made" in page.info[0].value
    assert all(f"kdviz {verb}" in page.code[0].value for verb in ("sweep loss", "study --study loss"))
    assert not page.get("plotly_chart")
