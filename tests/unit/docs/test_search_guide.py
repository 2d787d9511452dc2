"""The figures of the guide on searches are those of the tables that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdviz.core.files import MODELS
from kdviz.experiment import load_experiment
from kdviz.narrative.products.search import found_sentences, further_sentences, time_sentences, verdict_sentences
from kdviz.studies.search.report import read_search_report

DOCS = Path(__file__).resolve().parents[3] / "docs"
GUIDE = DOCS / "how-to" / "search.md"


def test_the_guide_says_what_the_tables_say():
    report = read_search_report(load_experiment(MODELS / "mnist"))
    assert report is not None
    text = " ".join(GUIDE.read_text(encoding="utf-8").split())
    for sentence in (*verdict_sentences(report), *further_sentences(report)):
        assert sentence in text
    done, grid = sum(row["epochs_done"] for row in report.trials), sum(row["epochs"] for row in report.grid)
    assert f"{done} epochs of training, the grid {grid}" in text
    best = report.candidates["grid"]
    assert f"T = {best.settings['temperature']:g} and alpha = {best.settings['alpha']:g}" in text
    assert report.winner["accuracy"] > max(row["accuracy"] for row in report.grid)


def test_the_guide_says_what_came_out_on_photographs():
    report = read_search_report(load_experiment(MODELS / "cifar10"))
    assert report is not None
    text = " ".join(GUIDE.read_text(encoding="utf-8").split()).partition("## On CIFAR-10")[2]
    _beside_default, beside_grid = verdict_sentences(report)
    assert beside_grid in text
    assert report.against("default").low > 0
    assert f"All trials took {report.seconds:.0f} seconds" in text
    assert f"{100 * report.seconds / report.grid_seconds:.1f}% of the {report.grid_seconds:.0f} seconds" in text
    assert report.winner["kd_loss"] == "dist"
    for sentence in found_sentences(report):
        assert sentence in text
    stopped = next(number for number in range(30) if report.seconds_of(number + 1) >= 0.2 * report.grid_seconds)
    assert f"`--timeout {0.2 * report.grid_seconds:.0f}`" in text
    assert f"would have ended with trial {stopped}," in text
    assert f"That {len(report.trials) - stopped - 1} more trials" in text


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_results_say_how_soon_the_winner_was_found(name):
    report = read_search_report(load_experiment(MODELS / name))
    assert report is not None
    text = " ".join((DOCS / "results" / f"{name}.md").read_text(encoding="utf-8").split())
    part = text.partition("## A search for the recipe")[2].partition("##")[0]
    for sentence in (verdict_sentences(report)[1], *time_sentences(report), *found_sentences(report)):
        assert sentence in part
    assert report.found is not None
    assert report.found.share_of_grid is not None
    assert report.found.share_of_grid < 0.2
