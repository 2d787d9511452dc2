"""A page of the app, drawn without a browser and without the other pages."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def page_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Draws the page that the module names by ``PAGE``, of the experiment in a folder and with a query."""
    testing = pytest.importorskip("streamlit.testing.v1")
    module = f"kdviz.app.pages.{request.module.PAGE}.page"
    own = importlib.import_module(module)
    for part in {"heading", "page_link"} & vars(own).keys():
        monkeypatch.setattr(own, part, getattr(own, part))  # what is put in its place goes after the test

    def draw(folder: Path, **query: str) -> Any:
        page = testing.AppTest.from_function(_draw, args=(module, str(folder)))
        for name, value in query.items():
            page.query_params[name] = value
        page.run(timeout=600)
        assert not page.exception
        return page

    return draw


def _draw(module: str, folder: str) -> None:
    import importlib

    from kdviz.app.library import OpenExperiment
    from kdviz.experiment import load_experiment

    page = importlib.import_module(module)
    page.heading = lambda _page: OpenExperiment(load_experiment(folder))
    if hasattr(page, "page_link"):
        page.page_link = lambda *_: None  # there are no other pages
    page.page()
