"""The figures of the guide on searches are those of the tables that ship."""

from __future__ import annotations

from pathlib import Path

from kdviz.core.files import MODELS
from kdviz.experiment import load_experiment
from kdviz.narrative.products.search import further_sentences, verdict_sentences
from kdviz.studies.search.report import read_search_report

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "search.md"


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
