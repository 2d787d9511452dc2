"""The app on an experiment that is passed on without its pictures, before and after they were fetched."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import without_pictures as apart
from browser import at_rest, is_too_wide, needs_browser, settled, visit

from kdviz.experiment import Experiment
from kdviz.experiment.fetching import fetch_pictures
from kdviz.studies.predictions.showcase import make

pytestmark = needs_browser


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pictures that are not in the experiment."""
    return apart.copies(tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="module", autouse=True)
def experiment(models: Path, copies: Path) -> Iterator[Experiment]:
    """Among those of the server."""
    made = apart.make_experiment(models / "cifar", copies)
    *_stories, table = make(made, device="cpu", masks=64)
    made.write_table("showcase", table)
    yield made
    shutil.rmtree(made.folder)


SAID = [
    (
        "/?show=photograph+truck",
        "truck by Aaron M. Lang (CC BY 2.5)",
        "Get the pictures (170 MB from data.example.org)",
    ),
    ("/compare?masks=100&sample=7", "The picture of sample 7 is not here", "cat by Stefan van der Walt"),
    ("/mistakes?group=all&open=7", "Its picture is not here", "copies as JPEG of quality 75"),
    ("/dark-knowledge?", "true class", "kdviz get"),
]


@pytest.mark.parametrize(("path", "first", "second"), SAID)
def test_every_page_shows_what_there_is(page: Any, path: str, first: str, second: str) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    visit(page, f"{path}&experiment=cifar")
    for text in (first, second):
        page.get_by_text(text).first.wait_for()
    at_rest(page)
    assert not is_too_wide(page)


def test_pictures_that_are_not_here_take_little_room(page: Any) -> None:
    visit(page, "/mistakes?group=all&experiment=cifar")
    cards = page.get_by_role("listbox").get_by_role("option")
    cards.first.wait_for()
    heights = cards.evaluate_all("nodes => nodes.map((node) => node.querySelector('.pic').offsetHeight)")
    assert set(heights) == {0}, "a card has words alone"
    cards.first.locator(".box").click()  # which lies beside the title
    page.get_by_text("1 selected").wait_for()


def test_an_open_sample_says_what_is_missing_and_offers_nothing_that_cannot_work(page: Any) -> None:
    visit(page, "/mistakes?group=all&order=sample&experiment=cifar&open=7")
    panel = page.get_by_role("region", name="Sample 7", exact=True)
    problem = panel.get_by_text("Its picture is not here, so that no maps can be made of it")
    problem.wait_for()
    assert re.search(r"this gets the pictures: kdviz get \S*cifar$", problem.inner_text())
    assert panel.get_by_role("img").count() == 0
    assert panel.get_by_role("group", name="Teacher", exact=True).get_by_role("listitem").count() == 3  # its answer
    assert panel.get_by_role("button").all_inner_texts() == ["×", "Select"]
    panel.get_by_role("button", name="Select").click()
    page.get_by_text("1 selected").wait_for()
    assert page.get_by_role("button", name="Clear the selection").count() == 1
    assert page.get_by_role("button", name="Compare these").count() == 0
    page.get_by_role("listbox").get_by_role("option").nth(2).focus()
    page.keyboard.press("Enter")  # opens the panel instead of Compare
    page.get_by_role("region", name="Sample 2", exact=True).wait_for()
    assert "/mistakes" in page.url


def test_the_photograph_of_overview_opens_in_compare(page: Any) -> None:
    visit(page, "/?show=photograph+deer&experiment=cifar")
    page.get_by_role("link", name="Open in Compare").first.click()
    page.wait_for_url("**/compare?*from=photographs*")
    settled(page)
    page.get_by_text("True class: deer").first.wait_for()


def test_with_pictures_pages_show_them_at_once(page: Any, experiment: Experiment, copies: Path) -> None:
    """The last test here: it fetches them."""
    visit(page, "/mistakes?group=all&experiment=cifar")
    page.get_by_text("Get the pictures").first.wait_for()
    fetch_pictures(experiment, copies)
    visit(page, "/compare?masks=100&sample=7&experiment=cifar")
    settled(page)
    words = page.locator(".stMain").inner_text()
    assert "test images, never trained on" in words
    assert "kdviz get" not in words
    visit(page, "/compare?masks=100&from=photographs&sample=2&experiment=cifar")
    page.get_by_text("Photographs, not test pictures").first.wait_for()
    page.get_by_role("button", name="All samples").click()
    page.get_by_text("test images, never trained on").first.wait_for()
    visit(page, "/?experiment=cifar")
    page.get_by_text("Photograph: cat").first.wait_for()
    assert "kdviz get" not in page.locator(".stMain").inner_text()
