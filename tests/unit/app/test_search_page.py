"""The page Search: sentences, charts and the table of trials, and what it says without any; no browser."""

from __future__ import annotations

from itertools import pairwise

import pytest
from search_rows import ABOUT, SETTINGS, final, trial, trials

from kdviz import figures
from kdviz.experiment import load_experiment
from kdviz.figures.studies.search_coordinates import _lines
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
    assert list(figures.search_history(report).data[-1].y) == [0.9, 0.91, 0.92]
    for chart, *more in (
        (figures.search_front, report.objectives[1]),
        (figures.search_history,),
        (figures.search_coordinates,),
    ):
        assert chart.file("png", report, *more)[1:4] == b"PNG"


def test_trials_that_were_stopped_far_below_do_not_take_the_room_of_the_others(tiny):
    rows = [trial(0, 0.95), trial(1, 0.96), trial(2, 0.958, "pruned"), trial(3, 0.2, "pruned")]
    SEARCH.write(tiny, rows, ABOUT)
    chart = figures.search_history(read_search_report(tiny))
    low, high = chart.layout.yaxis.range
    assert 0.94 < low < 0.95
    assert 0.96 < high < 0.97
    shown = {trace.name: (list(trace.x), list(trace.y)) for trace in chart.data if trace.visible is not False}
    assert shown["stopped early"] == ([2], [0.958])
    below, heights = shown["stopped early, below this figure"]
    assert below == [3]
    assert low < heights[0] < 0.95
    (named,) = (trace for trace in chart.data if trace.name == "stopped early, below this figure")
    assert "20.00%" in named.text[0]  # at the edge it stands for this


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_titles_of_the_coordinates_do_not_touch_on_a_phone(name):
    chart = figures.search_coordinates(read_search_report(load_experiment(name)))
    axis, margin = chart.layout.xaxis, chart.layout.margin
    span = axis.range[1] - axis.range[0]
    apart = (358 - margin.l - margin.r) / span  # pixels between two axes on a phone
    halves = [0.5 * axis.tickfont.size * max(map(len, text.split("<br>"))) / 2 for text in axis.ticktext]
    assert all(left + right < apart - 4 for left, right in pairwise(halves))


def test_titles_without_spaces_are_broken_between_letters():
    assert _lines("针对教师的损失", 10) == ["针对教师的", "损失"]
    assert _lines("Weight of the teacher", 10) == ["Weight of", "the", "teacher"]


def test_no_line_crosses_a_label_of_the_coordinates(tiny):
    losses = ["dist", "soft_targets", "decoupled"] * 3
    rows = [trial(number, 0.9 + number / 100, kd_loss=loss) for number, loss in enumerate(losses)]
    SEARCH.write(tiny, rows, ABOUT)
    chart = figures.search_coordinates(read_search_report(tiny))
    lines = [(list(trace.x), list(trace.y)) for trace in chart.data]
    assert all(min(y) >= 0 and max(y) <= 1 and min(x) == 0 for x, y in lines)
    labels = chart.layout.annotations
    assert {label.text for label in labels} >= {*losses, "0.1", "0.5", "90.00%", "98.00%"}
    for label in labels:
        left_of_all = label.x == 0 and label.xanchor == "right"
        assert left_of_all or not 0 <= label.y <= 1


def test_without_a_table_one_sentence_says_how_to_make_one(page_of, tiny):
    page = page_of(tiny.folder)
    assert "kdviz tune -e" in page.code[0].value
    assert not page.dataframe
