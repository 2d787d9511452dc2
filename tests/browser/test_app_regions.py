"""The regions of a study of regions on the page *Compare*: their outlines, and how much of each map lies inside."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from browser import MAP_PIXELS, at_rest, needs_browser, settled, visit
from conftest import NETWORKS, SMALL
from seen_by_axe import seen_by_axe

from kdviz.data import LabelledImages
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment
from kdviz.metrics.localisation import energy_inside
from kdviz.studies.predictions.evaluation import evaluate
from kdviz.studies.regions import RegionPictures
from kdviz.studies.regions.samples import write_regions
from kdviz.studies.regions.table import SCHEMA

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser

SIDE = 14
TITLES = ("Teacher", "KD student", "Student alone")
FOLDER = "regions"


@pytest.fixture(scope="module")
def region() -> np.ndarray:
    """Of sample 3: a box, in a quarter of which pixels are half inside."""
    shares = np.zeros((SIDE, SIDE), np.float32)
    shares[2:8, 4:12] = 1
    shares[2:5, 4:8] = 0.6
    return shares


@pytest.fixture(scope="module", autouse=True)
def studied(models: Path, small_digits: LabelledImages, region: np.ndarray) -> None:
    """An experiment whose models are not trained, with twelve pictures; one has a region."""
    samples = LabelledImages(small_digits.images[:12], small_digits.labels[:12], small_digits.classes, "test")
    made = Experiment(models / FOLDER, "folder", samples.classes, SMALL, {}, "With regions")
    for seed, (role, name) in enumerate(NETWORKS.items()):
        made.add_run(role, name, new_network(name, SMALL, 10, seed).eval(), {"epochs": 0}, {})
    made.save()
    made.write_samples([samples])
    list(evaluate(made, samples, device="cpu"))
    common = {"split": "test", "sample": 3, "label": 0, "target": 0, "method": "rise", "predicted": 0, "right": False}
    measures = {"energy": 0.4, "pointing": 0.0, "area": float(region.mean()), "chance": 0.5}
    made.write_table(
        "regions", pa.Table.from_pylist([{**common, **measures, "role": role} for role in NETWORKS], SCHEMA)
    )
    pictures = RegionPictures(samples.take(torch.tensor([3])), np.array([3]), region[None], 0, ("boxes.csv",))
    write_regions(made, "test", pictures)


def drawn(page: playwright.Page) -> list[str]:
    """The pixels of the picture and of all maps."""
    return page.locator("canvas.k-picture, canvas.k-map").evaluate_all(MAP_PIXELS)


def test_a_mistake_opens_with_the_outline_of_its_region(page: playwright.Page, region: np.ndarray) -> None:
    visit(page, f"/mistakes?experiment={FOLDER}&group=all&open=3")
    panel = page.get_by_role("region", name="Sample 3", exact=True)
    panel.get_by_role("button", name="Open in Compare").click()
    page.wait_for_url(re.compile("/compare.*sample=3"), wait_until="commit")
    settled(page)
    playwright.expect(
        page.get_by_text(f"Region that people drew, from boxes.csv: {region.mean():.1%} of the area")
    ).to_be_visible()
    values = page.locator(".kv").evaluate("root => root.viewer.models.map((model) => [...model.values])")
    for title, shown in zip(TITLES, values, strict=True):
        share = float(energy_inside(np.reshape(shown, (SIDE, SIDE)), region))
        text = f"{share:.1%} of its positive saliency inside the study's region, {region.mean():.1%} of the area"
        card = page.get_by_role("region", name=title, exact=True)
        playwright.expect(card).to_contain_text(text)
        playwright.expect(card.get_by_role("img", name=re.compile(re.escape(text)))).to_be_visible()
    picture = page.get_by_role("img", name=re.compile("the study's region from row 2 to 7 and from column 4 to 11"))
    playwright.expect(picture).to_be_visible()
    at_rest(page)
    assert seen_by_axe(page) == []


def test_the_outline_is_taken_away_by_its_box_and_the_link_keeps_that(page: playwright.Page) -> None:
    visit(page, f"/compare?experiment={FOLDER}&sample=3&masks=500")
    settled(page)
    box = page.get_by_role("checkbox", name="Outline the region")
    playwright.expect(box).to_be_checked()
    outlined = drawn(page)
    box.press("Space")
    page.wait_for_url(re.compile(r"view=outline%3Aoff"))
    plain = drawn(page)
    assert len(plain) == 4
    assert all(before != after for before, after in zip(outlined, plain, strict=True))
    card = page.get_by_role("region", name="Teacher", exact=True)
    playwright.expect(card).to_contain_text("inside the study's region")
    page.reload()
    settled(page)
    playwright.expect(box).not_to_be_checked()
    box.check()
    page.wait_for_url(lambda url: "view=" not in url)
    assert drawn(page) == outlined


def test_the_outline_is_black_and_white(page: playwright.Page) -> None:
    """Along the upper border of the box both colours are seen, whatever the map's are."""
    visit(page, f"/compare?experiment={FOLDER}&sample=3&masks=500&view=palette:RdBu_r")
    settled(page)
    at_rest(page)
    found = page.locator("canvas.k-map").first.evaluate(
        """(node, [x, y]) => {
          const middle = Math.round(y * node.height), left = Math.round(x * node.width);
          const part = node.getContext("2d").getImageData(left, middle - 4, Math.round(node.width / 7), 8).data;
          return [...Array(part.length / 4).keys()].map((i) => part[4 * i] + part[4 * i + 1] + part[4 * i + 2]);
        }""",
        [9 / SIDE, 2 / SIDE],
    )
    assert min(found) < 60
    assert max(found) > 3 * 255 - 60


def test_pictures_without_a_region_have_no_box(page: playwright.Page) -> None:
    visit(page, f"/compare?experiment={FOLDER}&sample=4&masks=500")
    settled(page)
    playwright.expect(page.get_by_role("button", name="Draw", exact=True)).to_be_visible()
    playwright.expect(page.get_by_role("checkbox", name="Outline the region")).to_have_count(0)
    assert "people drew" not in page.locator(".stMain").inner_text()
