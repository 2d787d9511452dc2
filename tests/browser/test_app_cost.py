"""The page Cost in a real browser: the bargain, its rivals, the chart, the table, and measuring on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import ROOT, needs_browser, visit

from kdviz.compress.cost import read_cost
from kdviz.experiment import load_experiment
from kdviz.narrative.tradeoffs import dominating_models, findings, title, tradeoff

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser


@pytest.fixture(scope="module")
def report():
    return read_cost(load_experiment(ROOT / "models" / "mnist"))


def test_what_one_buys_is_said_first_and_the_table_has_every_model_in_every_form(page: playwright.Page, report) -> None:
    visit(page, "/cost")
    tiles = page.locator(".ov-tiles strong")
    playwright.expect(tiles).to_have_count(4)
    gains = tradeoff(report)
    wanted = [f"{ratio:.1f} ×" for ratio in (gains.operations, gains.speed, gains.size)]
    assert tiles.all_inner_texts()[:3] == wanted
    main = page.locator(".stMain")
    for sentence in findings(report):
        playwright.expect(main).to_contain_text(sentence)
    rival = f"A rival without any distillation: {title(dominating_models(report)[0])}"
    playwright.expect(page.locator(".stAlert")).to_contain_text(rival)
    rows = page.locator("table tbody tr")
    playwright.expect(rows).to_have_count(len(report.entries))
    for number, entry in enumerate(report.entries):
        playwright.expect(rows.nth(number)).to_contain_text(f"{entry.row['parameters']:,}")
        playwright.expect(rows.nth(number)).to_contain_text(f"{entry.accuracy:.2%}")


def test_the_axis_and_the_forms_are_in_the_address(page: playwright.Page, report) -> None:
    visit(page, "/cost")
    chart = page.locator(".js-plotly-plot").first  # the one before may still be there for a moment
    playwright.expect(chart.locator(".scatterlayer .trace path.point")).to_have_count(9)
    page.get_by_role("radio", name="File size").click()
    playwright.expect(chart).to_contain_text("File size, MB (logarithmic)")
    assert "x=size" in page.url
    page.get_by_role("button", name="PyTorch, float32", exact=True).click()
    playwright.expect(chart.locator(".legendtext", has_text="PyTorch")).to_have_count(0)
    assert "forms=onnx%2Connx_int8" in page.url
    page.reload()
    playwright.expect(page.locator(".js-plotly-plot").first).to_contain_text("File size, MB (logarithmic)")
    playwright.expect(page.locator(".js-plotly-plot .legendtext", has_text="PyTorch")).to_have_count(0)
    for axis in report.axes:
        page.get_by_role("radio", name=axis.title, exact=True).click()
        playwright.expect(page.locator(".js-plotly-plot").first).to_contain_text(axis.title)


def test_no_form_chosen_is_said(page: playwright.Page) -> None:
    visit(page, "/cost?forms=torch")
    button = page.get_by_role("button", name="PyTorch, float32", exact=True)
    playwright.expect(page.locator(".js-plotly-plot")).to_be_visible()
    button.click()
    playwright.expect(page.get_by_text("Nothing to show with these choices")).to_be_visible()


def test_a_wrong_axis_in_the_address_is_said(page: playwright.Page) -> None:
    visit(page, "/cost?x=money")
    playwright.expect(page.get_by_role("alert").filter(has_text="is not a known")).to_be_visible()
    playwright.expect(page.locator(".js-plotly-plot")).to_be_visible()


def test_files(page: playwright.Page) -> None:
    visit(page, "/cost")
    starts = {
        "Chart (HTML)": b"<",
        "PNG": b"\x89PNG",
        "SVG": b"<?xml",
        "Table (CSV)": b"role,",
        "Table (Parquet)": b"PAR1",
    }
    for name, start in starts.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        assert Path(download.value.path()).read_bytes().startswith(start), name


def test_without_a_table_there_are_the_command_and_the_button_and_it_can_be_stopped(
    page: playwright.Page, models: Path
) -> None:
    visit(page, "/cost?experiment=shapes")
    playwright.expect(page.locator(".stAlert")).to_contain_text("was not measured yet")
    playwright.expect(page.locator(".stCode")).to_contain_text("kdviz profile -e ")
    page.get_by_role("button", name="Measure on this machine").click()
    playwright.expect(page.get_by_text(re.compile("^Measuring: "))).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    playwright.expect(page.get_by_text("Stopped; nothing of it is kept.")).to_be_visible()
    playwright.expect(page.get_by_role("button", name="Measure on this machine")).to_be_visible()
    assert not (models / "shapes" / "cost.parquet").exists()


def test_two_people_do_not_measure_at_once_and_both_see_what_came_out(
    server: str, page: playwright.Page, models: Path
) -> None:
    pytest.importorskip("onnxscript", reason="int8 needs onnx, onnxscript and onnxruntime")
    visit(page, "/cost?experiment=shapes")
    page.get_by_role("button", name="Measure on this machine").click()
    playwright.expect(page.get_by_text(re.compile("^Measuring: "))).to_be_visible()
    other = page.context.new_page()
    other.goto(f"{server}/cost?experiment=shapes")
    playwright.expect(other.get_by_text("Somebody else began it")).to_be_visible()
    assert other.get_by_role("button", name="Stop").count() == 0
    for viewer in (page, other):
        playwright.expect(viewer.locator("table tbody tr")).to_have_count(9)
        playwright.expect(viewer.get_by_text("Another machine gives other times")).to_be_visible()
    other.close()
    assert not (models / "shapes" / "cost.parquet").exists()  # a page never writes into the folder


def test_a_closed_tab_ends_its_measurement(server: str, page: playwright.Page) -> None:
    other = page.context.new_page()
    other.goto(f"{server}/cost?experiment=no-teacher")
    other.get_by_role("button", name="Measure on this machine").click()
    playwright.expect(other.get_by_text(re.compile("^Measuring: "))).to_be_visible()
    visit(page, "/cost?experiment=no-teacher")
    playwright.expect(page.get_by_text("Somebody else began it")).to_be_visible()
    other.close()
    playwright.expect(page.get_by_role("button", name="Measure on this machine")).to_be_visible()
    playwright.expect(page.get_by_text("was not measured yet")).to_be_visible()
