"""The page Search: sentences, charts and the table of trials, and what it says without any; no browser."""

from __future__ import annotations

from search_rows import ABOUT, SETTINGS, final, trial, trials

from kdviz import figures
from kdviz.narrative.products.search import search_sentences
from kdviz.studies.search.pareto import winner_of
from kdviz.studies.search.report import read_search_report
from kdviz.studies.search.table import FINAL, SEARCH

PAGE = "search"


def test_the_page_shows_the_verdict_the_trials_and_what_mattered(page_of, tiny):
    SEARCH.write(tiny, trials(), ABOUT)
    FINAL.write(tiny, [*final("winner", 360, winner_of(trials())), *final("default", 350, SETTINGS)], {})
    page = page_of(tiny.folder)
    report = read_search_report(tiny)
    texts = " ".join(element.value for element in page.markdown).replace("\\", "")
    assert all(sentence in texts for sentence in search_sentences(report))
    (table,) = (element.value for element in page.dataframe)
    assert table["Trial"].tolist()[0] == "3"
    assert table["State"].tolist()[-2:] == ["stopped early", "could not be trained"]
    assert len(page.get("plotly_chart")) == 3  # trials, importance, coordinates


def test_several_objectives_have_a_front(page_of, tiny):
    rows = [trial(number, 0.9 + number / 100, mflop=float(number), front=True) for number in range(3)]
    SEARCH.write(tiny, rows, {"objectives": ["accuracy", "operations"], "importance": {}})
    page = page_of(tiny.folder)
    assert len(page.get("plotly_chart")) == 3  # front, trials, coordinates
    report = read_search_report(tiny)
    _off, on = figures.search_front(report, report.objectives[1]).data
    assert list(on.x) == [0, 1, 2]
    assert list(figures.search_history(report).data[2].y) == [0.9, 0.91, 0.92]
    for chart, *more in (
        (figures.search_front, report.objectives[1]),
        (figures.search_history,),
        (figures.search_coordinates,),
    ):
        assert chart.file("png", report, *more)[1:4] == b"PNG"


def test_without_a_table_one_sentence_says_how_to_make_one(page_of, tiny):
    page = page_of(tiny.folder)
    assert "kdviz tune -e" in page.code[0].value
    assert not page.dataframe
