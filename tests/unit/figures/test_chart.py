"""A chart's two forms, and that drawing files leaves nothing behind in Matplotlib."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from kdviz import figures
from kdviz.core.errors import UnknownNameError
from kdviz.core.language import speaking
from kdviz.figures import files

LOGITS = {"teacher": np.array([3.0, 1.0, 0.0]), "kd_student": np.array([0.0, 1.0, 2.0])}
CHARTS = [value for name in figures.__all__ if isinstance(value := getattr(figures, name), figures.Chart)]


def drawn(language: str) -> bytes:
    with speaking(language):
        return figures.soft_target_bars.file("png", LOGITS, "abc", 4.0)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_each_chart_is_documented_has_a_file_form_and_refuses_other_kinds(chart: figures.Chart) -> None:
    assert chart.__doc__
    assert chart._static is not None
    with pytest.raises(UnknownNameError, match="picture format"):
        chart.file("gif")


def test_all_that_have_a_file_form_are_known() -> None:
    assert {chart for chart, _place in figures._FILE_FUNCTIONS.values()} == set(CHARTS) - {
        figures.accuracy_against_depth,
        figures.accuracy_and_agreement,
        figures.layer_likeness,
        figures.search_coordinates,
        figures.search_front,
        figures.search_history,
        figures.search_importance,
        figures.shares_against_severity,
        figures.shortcut_use,
    }  # which have no earlier form


def test_both_forms_are_made_of_the_same_arguments() -> None:
    assert list(figures.soft_target_bars(LOGITS, "abc", 4.0).data[0].x) == ["a", "b", "c"]
    assert "plotly" in figures.soft_target_bars.html(LOGITS, "abc", 4.0)
    assert figures.soft_target_bars.file("svg", LOGITS, "abc", 4.0, log=True).startswith(b"<?xml")


def test_functions_of_earlier_versions_warn_and_make_the_same_file() -> None:
    with pytest.warns(DeprecationWarning, match=r"softened_file is now kdviz\.figures\.soft_target_bars\.file"):
        earlier = figures.softened_file
    picture = earlier(LOGITS, "abc", 4.0, "png")
    assert np.array_equal(pixels(picture), pixels(drawn("en")))
    with pytest.raises(AttributeError):
        _ = figures.no_such_file


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.slow
def test_files_drawn_by_several_threads_are_those_of_one_and_settings_are_untouched() -> None:
    alone = {language: pixels(drawn(language)) for language in ("en", "zh_CN")}
    before = dict(matplotlib.rcParams)
    wanted = ["en", "zh_CN"] * 4
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(drawn, wanted))
    assert dict(matplotlib.rcParams) == before
    for language, png in zip(wanted, together, strict=True):
        assert np.array_equal(pixels(png), alone[language])


def test_every_text_has_the_fonts_whatever_somebody_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_installed_fonts", lambda name: ("DejaVu Sans Mono",))
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["DejaVu Serif"])
    figure = files.new_figure(3, 2)
    axis = figure.subplots()
    axis.plot([1, 2], label="one")
    axis.legend()
    files.file_bytes(figure, "png")
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert len(texts) > 4
    assert {tuple(text.get_fontfamily()) for text in texts} == {("DejaVu Sans", "DejaVu Sans Mono")}
    assert matplotlib.rcParams["font.family"] == ["DejaVu Serif"]
