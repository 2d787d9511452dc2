"""The app on experiments whose models were trained elsewhere, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imported
import pytest
from browser import WAIT, at_rest, is_too_wide, needs_browser, running

from kdviz.experiment import load_experiment

pytestmark = needs_browser


@pytest.fixture(scope="module")
def app(imported_folders: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app with some of the variants."""
    folder = tmp_path_factory.mktemp("shown")
    shutil.copytree(imported_folders("three"), folder / "three")
    shutil.copytree(imported_folders("pair", labelled=False), folder / "unlabelled")
    shutil.copytree(imported_folders("free_pair"), folder / "free")
    shutil.copytree(imported_folders("pair", tables=False), folder / "bare")
    given = load_experiment(shutil.copytree(imported_folders("pair"), folder / "given"))
    imported.with_predictions(given, "external", "Somebody's <b>", "kd_student")
    log = folder / "log.txt"
    with running(log, KDVIZ_MODELS=str(folder), KDVIZ_FIRST="three") as (address, _process):
        yield address
    assert "Traceback" not in log.read_text(), log.read_text()


SAID = [
    ("three", "", "KD, T = 16"),
    ("three", "mistakes", "whether a model was trained on some of them is not known"),
    ("three", "models", "in another order: its outputs 2, 0, 3, 1"),
    ("three", "temperature", "these models were trained elsewhere"),
    ("three", "attention", "kdviz study --study models"),
    ("unlabelled", "", "The pictures have no labels"),
    ("unlabelled", "mistakes", "this page shows where the models disagree"),
    ("unlabelled", "compare?masks=100", "test images"),
    ("free", "", "of the same 48 samples"),
    ("free", "compare?masks=100", "None of these models is called the teacher"),
    ("bare", "", "kdviz import --out"),
    ("bare", "mistakes", "Import the models once more, with pictures"),
    ("given", "compare?masks=100", "Only the predictions are known of: Somebody's <b>"),
    ("given", "models", "predictions alone"),
    ("given", "cost", "Measure on this machine"),
]


@pytest.mark.parametrize(("name", "path", "text"), SAID)
def test_every_page_shows_what_there_is(app: str, page: Any, name: str, path: str, text: str) -> None:
    page.goto(f"{app}/{path}{'&' if '?' in path else '?'}experiment={name}")
    page.get_by_text(text).first.wait_for(timeout=WAIT)
    page.set_viewport_size({"width": 390, "height": 900})
    at_rest(page)
    assert not is_too_wide(page)


def test_without_labels_nobody_is_called_right_or_wrong(app: str, page: Any) -> None:
    page.goto(f"{app}/mistakes?experiment=unlabelled")
    page.get_by_text("no label").first.wait_for(timeout=WAIT)
    words = page.locator(".stMain").inner_text()
    assert not any(one in words for one in ("True class", "True blue", "✓ right", "✗", "Any model wrong"))
