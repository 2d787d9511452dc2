"""The app on experiments whose models were trained elsewhere, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imported
import pytest
from browser import at_rest, is_too_wide, needs_browser, visit

from kdviz.experiment import load_experiment

pytestmark = needs_browser


@pytest.fixture(scope="module", autouse=True)
def shown(imported_folders: Callable[..., Path], models: Path) -> Iterator[None]:
    """Some of the variants, among the experiments of the server."""
    shutil.copytree(imported_folders("three"), models / "three")
    shutil.copytree(imported_folders("pair", labelled=False), models / "unlabelled")
    shutil.copytree(imported_folders("free_pair"), models / "free")
    shutil.copytree(imported_folders("pair", tables=False), models / "bare")
    given = load_experiment(shutil.copytree(imported_folders("pair"), models / "given"))
    imported.with_predictions(given, "external", "Somebody's <b>", "kd_student")
    yield
    for name in {name for name, _path, _text in SAID}:
        shutil.rmtree(models / name)


SAID = [
    ("three", "", "KD, T = 16"),
    ("three", "mistakes", "whether a model was trained on some of them is not known"),
    ("three", "models", "in another order: its outputs 2, 0, 3, 1"),
    ("three", "temperature", "these models were trained elsewhere"),
    ("three", "attention", "kdviz study --study models"),
    ("unlabelled", "", "The pictures have no labels"),
    ("unlabelled", "compare?masks=100", "test images"),
    ("unlabelled", "mistakes", "this page shows where the models disagree"),
    ("free", "", "of the same 48 samples"),
    ("free", "compare?masks=100", "None of these models is called the teacher"),
    ("bare", "", "kdviz import --out"),
    ("bare", "mistakes", "Import the models once more, with pictures"),
    ("given", "compare?masks=100", "Only the predictions are known of: Somebody's <b>"),
    ("given", "models", "predictions alone"),
    ("given", "cost", "Measure on this machine"),
]


@pytest.mark.parametrize(("name", "path", "text"), SAID)
def test_every_page_shows_what_there_is(page: Any, name: str, path: str, text: str) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    visit(page, f"/{path}{'&' if '?' in path else '?'}experiment={name}")
    page.get_by_text(text).first.wait_for()
    at_rest(page)
    assert not is_too_wide(page)


def test_without_labels_nobody_is_called_right_or_wrong(page: Any) -> None:
    visit(page, "/mistakes?experiment=unlabelled")
    page.get_by_text("no label").first.wait_for()
    words = page.locator(".stMain").inner_text()
    assert not any(phrase in words for phrase in ("True class", "True blue", "✓ right", "✗", "Any model wrong"))
