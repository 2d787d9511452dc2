"""The registry of pages: each is declared once, and everything that lists pages follows from that."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from kdviz.app.page_registry import FIRST, Need, Page, Section, navigation, pages, path_of
from kdviz.app.pages.mistakes import filters


@pytest.fixture
def one_more(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A page as a plugin adds it."""
    drawn: list[str] = []
    monkeypatch.setattr(pages, "_entries", dict(pages._entries))
    pages.add("mine", Page("My page", "star", lambda: drawn.append("mine"), Section.ABOUT, invitation="See mine"))
    yield "mine"
    assert drawn == ["mine"]


@pytest.mark.parametrize("name", pages)
def test_each_page_can_be_drawn_and_says_what_it_is(name: str) -> None:
    page = pages[name]
    assert isinstance(page.function, str)
    module, _colon, function = page.function.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert page.title
    assert page.icon
    assert page.heading
    if Need.TRAINING in page.needs:
        assert Need.EXPERIMENT in page.needs


def test_the_navigation_has_every_page_once_and_begins_with_the_first() -> None:
    sections = navigation()
    names = [name for section in sections.values() for name in section]
    assert sorted(names) == sorted(pages)
    assert next(iter(sections)) is Section.MAIN
    assert names[0] == FIRST
    assert path_of(FIRST) == ""
    assert sections[Section.STUDIES][:2] == ["temperature", "teacher-epochs"]


def test_a_page_of_a_plugin_is_in_the_navigation_and_comes_last(one_more: str) -> None:
    assert navigation()[Section.ABOUT][-1] == one_more
    assert path_of(one_more) == one_more
    assert pages[one_more].heading == "My page"
    pages[one_more].draw()


def test_a_name_is_taken_once(one_more: str) -> None:
    with pytest.raises(ValueError, match="already registered"):
        pages.add("compare", pages[one_more])
    pages[one_more].draw()


def test_pages_are_listed_without_torch() -> None:
    code = "import sys; from kdviz.app.page_registry import pages; print(len(pages), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(pages)), "False"]


@pytest.mark.parametrize(("group", "expected"), [("fixed", "student"), ("broken", "kd_student")])
def test_a_widget_gets_a_role_as_text(group: str, expected: str) -> None:
    """Streamlit refuses an enum member as the value of a select box whose options are texts."""
    role = filters._default_model(SimpleNamespace(roles=["teacher", "kd_student", "student"], made={}), group)
    assert (role, type(role)) == (expected, str)
