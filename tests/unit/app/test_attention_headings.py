"""Headings of the page of attention stand above something only."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from kdviz.app.pages.attention import page


@pytest.mark.parametrize(("sentences", "shown"), [((), []), (("It varies",), ["What it depends on", "- It varies"])])
def test_what_it_depends_on_is_a_heading_of_sentences(monkeypatch, sentences, shown):
    said = []
    streamlit = SimpleNamespace(
        subheader=lambda text, **_: said.append(text),
        markdown=said.append,
        expander=lambda title: nullcontext(),
        dataframe=lambda table, **_: None,
        caption=lambda text: None,
    )
    monkeypatch.setattr(page, "st", streamlit)
    monkeypatch.setattr(page, "narrate", lambda report: SimpleNamespace(dependence=sentences))
    monkeypatch.setattr(page, "classes_table", lambda report: None)
    page._show_dependence(None)  # type: ignore[arg-type]  # only passed on
    assert said == shown


@pytest.mark.parametrize("study", ["temperature", "alpha"])
def test_the_values_of_a_study_have_a_heading_of_their_own(monkeypatch, study):
    said = []
    streamlit = SimpleNamespace(subheader=lambda text, **_: said.append(text), dataframe=lambda table, **_: None)
    monkeypatch.setattr(page, "st", streamlit)
    for name in ("show_chart", "show_chart_files", "values_table"):
        monkeypatch.setattr(page, name, lambda *_: None)
    monkeypatch.setattr(page.figures, "effect_against_value", lambda report: None)
    page._show_values(SimpleNamespace(study=study, trainings=1))  # type: ignore[arg-type]
    assert len(said) == 1
    assert said != ["What it depends on"]
