"""The app on an experiment that is passed on without its pictures, before and after they were fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import without_pictures as apart
from browser import WAIT, at_rest, is_too_wide, needs_browser, running, settled

from kdviz.experiment import Experiment
from kdviz.experiment.fetching import fetch_pictures
from kdviz.studies.predictions.showcase import make

pytestmark = needs_browser


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("apart")
    made = apart.make_experiment(folder / "models" / "cifar", apart.copies(folder / "copies"))
    *_stories, table = make(made, device="cpu", masks=64)
    made.write_table("showcase", table)
    return made


@pytest.fixture(scope="module")
def app(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with running(log, KDVIZ_MODELS=str(experiment.folder.parent), KDVIZ_FIRST="cifar") as (address, _process):
        yield address
    assert "Traceback" not in log.read_text(), log.read_text()


SAID = [
    ("?show=photograph+truck", "truck by Aaron M. Lang (CC BY 2.5)", "Get the pictures (170 MB from data.example.org)"),
    ("compare?masks=100&sample=7", "The picture of sample 7 is not here", "cat by Stefan van der Walt"),
    ("mistakes?group=all&open=7", "Its picture is not here", "copies as JPEG of quality 75"),
    ("dark-knowledge", "true class", "kdviz get"),
]


@pytest.mark.parametrize(("path", "first", "second"), SAID)
def test_every_page_shows_what_there_is(app: str, page: Any, path: str, first: str, second: str) -> None:
    page.goto(f"{app}/{path}")
    for text in (first, second):
        page.get_by_text(text).first.wait_for(timeout=WAIT)
    page.set_viewport_size({"width": 390, "height": 900})
    at_rest(page)
    assert not is_too_wide(page)


def test_the_photograph_of_overview_opens_in_compare(app: str, page: Any) -> None:
    page.goto(f"{app}/?show=photograph+deer")
    page.get_by_role("link", name="Open in Compare").first.click()
    page.wait_for_url("**/compare?*from=photographs*", timeout=WAIT)
    settled(page)
    page.get_by_text("True class: deer").first.wait_for(timeout=WAIT)


def test_with_pictures_pages_show_them_at_once(app: str, page: Any, experiment: Experiment) -> None:
    """The last test here: it fetches them."""
    page.goto(f"{app}/mistakes?group=all")
    page.get_by_text("Get the pictures").first.wait_for(timeout=WAIT)
    fetch_pictures(experiment, Path(experiment.folder).parent.parent / "copies")
    page.goto(f"{app}/compare?masks=100&sample=7")
    settled(page)
    words = page.locator(".stMain").inner_text()
    assert "test images, never trained on" in words
    assert "kdviz get" not in words
    page.goto(f"{app}/compare?masks=100&from=photographs&sample=2")
    page.get_by_text("Photographs, not test pictures").first.wait_for(timeout=WAIT)
    page.get_by_role("button", name="All samples").click()
    page.get_by_text("test images, never trained on").first.wait_for(timeout=WAIT)
    page.goto(f"{app}/")
    page.get_by_text("Photograph: cat").first.wait_for(timeout=WAIT)
    assert "kdviz get" not in page.locator(".stMain").inner_text()
