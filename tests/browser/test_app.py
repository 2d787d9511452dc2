"""The other pages in a real browser: on the shipped models, and on small experiments with studies or pieces missing."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from browser import ROOT, maps, needs_browser, settled, visit

from kdviz.data import bundled_digits
from kdviz.experiment import load_experiment
from kdviz.studies.predictions.soft_targets import entropy_bits, least_sure, read_logits, soft_targets

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser


def test_switching_the_experiment_is_kept_on_every_page(server: str, newcomer: playwright.Page) -> None:
    newcomer.goto(f"{server}/compare?sample=17")
    newcomer.get_by_role("combobox", name="Experiment").click()
    newcomer.get_by_role("option", name="Small shapes (shapes)", exact=True).click()
    playwright.expect(newcomer.get_by_text("Small shapes (shapes): test images, never trained on")).to_be_visible()
    settled(newcomer)
    maps(newcomer)
    assert "experiment=shapes" in newcomer.url
    assert "sample" not in newcomer.url  # it was one of the other experiment
    newcomer.get_by_role("link", name="Mistakes").click()
    playwright.expect(newcomer.get_by_text("Small shapes (shapes): 150 test images that were held out")).to_be_visible()
    assert "experiment=shapes" in newcomer.url
    assert "digit" not in newcomer.locator(".stMain").inner_text()
    newcomer.get_by_role("button", name="Studies").click()
    newcomer.get_by_text("Teacher epochs", exact=True).click()
    playwright.expect(newcomer.get_by_text("Data: Small shapes (shapes).")).to_be_visible()
    assert "experiment=shapes" in newcomer.url


MISSING = [  # what follows has other words, so that no sentence of the page before is taken for its own
    ("?experiment=nope", "is not a known experiment"),
    ("compare?experiment=no-pictures", "keeps no pictures"),
    ("dark-knowledge?experiment=no-teacher", "No answers of a teacher"),
    ("mistakes?experiment=no-pictures", "keeps no pictures"),
    ("compare?experiment=no-teacher", "has no teacher model"),
    ("mistakes?experiment=no-predictions", "kdviz evaluate -e"),
    ("temperature?experiment=no-predictions", "has no temperature.parquet yet"),
    ("dark-knowledge?experiment=no-predictions", "kdviz evaluate -e"),
    ("teacher-epochs?experiment=no-predictions", "has no teacher_epochs.parquet yet"),
    ("temperature?experiment=old", "made by an earlier version of kdviz"),
    ("teacher-epochs?experiment=old", "is damaged"),
    ("temperature?experiment=shapes&study=nope", "is not a known study"),
    ("dark-knowledge?experiment=mnist&sample=999999", "no sample"),
    ("shortcuts?experiment=shapes", "has no study of shortcuts"),
    ("what-was-learned?experiment=shapes", "has no study of what was learned"),
    ("losses?experiment=shapes", "once both studies are made"),
]


def test_what_is_missing_is_one_sentence(page: playwright.Page) -> None:
    for path, words in MISSING:
        visit(page, f"/{path}")
        alert = page.locator(".stAlert").filter(has_text=words)
        playwright.expect(alert, path).to_have_count(1)
        assert len(alert.inner_text().strip().splitlines()[-1]) < 220
        if "yet" in words or "earlier" in words or "damaged" in words:
            command = f"kdviz sweep {path.partition('?')[0]} -e "
            playwright.expect(page.locator(".stCode"), path).to_contain_text(command)


def test_without_a_teacher_there_are_maps_and_groups_of_the_students(page: playwright.Page) -> None:
    visit(page, "/compare?experiment=no-teacher")
    settled(page)
    playwright.expect(page.locator("canvas.k-map")).to_have_count(2)
    assert page.get_by_text("compared with this map").count() == 0
    page.get_by_role("link", name="Mistakes").click()
    playwright.expect(page.get_by_role("radio", name="Fixed by distillation")).to_be_visible()
    assert page.get_by_text("Inherited from the teacher").count() == 0


def test_a_sweep_says_its_verdict_and_shows_any_figure(page: playwright.Page) -> None:
    visit(page, "/temperature?experiment=shapes")
    verdict = page.get_by_text(re.compile(r"^Distillation at T = \d, the best by validation")).first
    playwright.expect(verdict).to_be_visible()
    chart = page.locator(".js-plotly-plot").first
    for tick in ("1", "4"):
        playwright.expect(chart.locator(".xtick", has_text=re.compile(f"^{tick}$"))).to_have_count(1)
    page.get_by_role("radio", name="Inherited errors").click()
    playwright.expect(chart).to_contain_text("Inherited errors, test split")
    assert "y=inherited_errors" in page.url
    page.get_by_role("radio", name="Loss against the teacher").click()
    playwright.expect(chart.locator(".xtick", has_text="soft targets")).to_have_count(1)
    assert "study=loss" in page.url
    playwright.expect(chart).to_contain_text("Inherited errors, test split")  # what was chosen stays


def test_curves_are_of_the_models_and_seeds_that_are_chosen(page: playwright.Page) -> None:
    visit(page, "/temperature?experiment=shapes&runs=1,4,student&seeds=1")
    lines = page.locator(".js-plotly-plot").nth(1).locator(".scatterlayer .trace .js-line")
    playwright.expect(lines).to_have_count(3 * 2)  # validation and training of each
    playwright.expect(page.locator(".js-plotly-plot").nth(1)).to_contain_text("KD student, T = 4")
    page.get_by_role("button", name=re.compile("Remove 1|1, close|Delete 1")).or_(
        page.locator(".stMultiSelect").nth(1).locator("[data-baseweb=tag] [role=presentation]")
    ).first.click()
    playwright.expect(page.get_by_text("Choose at least one model and one seed.")).to_be_visible()


def test_a_study_can_be_downloaded(page: playwright.Page, models: Path, tmp_path: Path) -> None:
    visit(page, "/teacher-epochs?experiment=shapes")
    table = pq.read_table(models / "shapes" / "teacher_epochs.parquet")
    starts = {
        "Chart (HTML)": b"<!doctype html>",
        "Table (CSV)": b"run,role",
        "PNG": b"\x89PNG",
        "SVG": b"<?xml",
        "Curves (CSV)": b"role,",
    }
    for name, start in starts.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).first.click()
        assert Path(download.value.path()).read_bytes().lstrip().lower().startswith(start.lower()), name
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (Parquet)").click()
    download.value.save_as(tmp_path / "table.parquet")
    assert pq.read_table(tmp_path / "table.parquet").equals(table)


def test_teacher_epochs_shows_students_and_their_teachers(page: playwright.Page) -> None:
    visit(page, "/teacher-epochs?experiment=shapes")
    playwright.expect(page.get_by_text(re.compile("^Distillation .* training alone"))).to_be_visible()
    chart = page.locator(".js-plotly-plot").first
    playwright.expect(chart).to_contain_text("Epochs after which the teacher was stopped")
    playwright.expect(chart.locator(".legendtext", has_text=re.compile("^Teacher$"))).to_have_count(1)
    playwright.expect(chart.locator(".legendtext", has_text=re.compile("^Student alone, "))).to_have_count(1)
    playwright.expect(page.get_by_text("Training curves")).to_be_visible()


def test_dark_knowledge_follows_the_slider(page: playwright.Page) -> None:
    table = pq.read_table(ROOT / "models" / "mnist" / "predictions.parquet")
    logits = read_logits(table, "bundled")["teacher"]
    first = int(least_sure(logits)[0])
    visit(page, "/dark-knowledge")
    said = page.get_by_text(re.compile("^Teacher at T = "))

    def entropy(temperature: float) -> str:
        return f"entropy {entropy_bits(soft_targets(logits[first], temperature)):.2f} of at most 3.32 bits"

    playwright.expect(said).to_contain_text(entropy(4))
    playwright.expect(page.get_by_text(f"Sample {first}, true class")).to_be_visible()
    picture = page.get_by_role("img", name=f"Sample {first}").get_attribute("src")
    slider = page.get_by_role("slider", name="Temperature T")
    for temperature in (4.76, 5.66, 6.73):  # it keeps the focus
        slider.press("ArrowRight")
        playwright.expect(said).to_contain_text(f"T = {temperature:g}")
        playwright.expect(said).to_contain_text(entropy(temperature))
    assert "T=6.73" in page.url
    assert page.get_by_role("img", name=f"Sample {first}").get_attribute("src") == picture
    page.get_by_role("button", name="KD student").click()
    playwright.expect(page.locator(".js-plotly-plot").first).to_contain_text("KD student, ")
    page.wait_for_url(re.compile("models=teacher%2Ckd_student"))


def test_dark_knowledge_picks_samples(page: playwright.Page) -> None:
    experiment = load_experiment(ROOT / "models" / "mnist")
    logits = read_logits(experiment.table("predictions"), "bundled")["teacher"]
    labels = bundled_digits()["bundled"].labels.numpy()
    order = least_sure(logits)
    visit(page, "/dark-knowledge")
    playwright.expect(page.get_by_text(f"Sample {order[0]}, true class {labels[order[0]]}")).to_be_visible()
    page.get_by_role("button", name="Teacher's least sure").click()
    playwright.expect(page.get_by_text(f"Sample {order[1]}, true class {labels[order[1]]}")).to_be_visible()
    visit(page, "/dark-knowledge?sample=17")
    page.get_by_role("button", name="Teacher wrong").click()
    wrong = order[logits.argmax(1)[order] != labels[order]]
    playwright.expect(page.get_by_text(f"Sample {wrong[0]}, true class {labels[wrong[0]]}")).to_be_visible()
    field = page.get_by_role("spinbutton", name="Sample number")
    field.fill("33")
    field.press("Enter")
    playwright.expect(page.get_by_text(f"Sample 33, true class {labels[33]}")).to_be_visible()
    assert "sample=33" in page.url
    page.get_by_role("button", name="Random").click()
    playwright.expect(page.get_by_text("Sample 33, true class")).to_have_count(0)
