"""The first page in a real browser: an answer, a sample with its maps, accuracies, what was found, where to go."""

from __future__ import annotations

import re

import pytest
from browser import ROOT, needs_browser, visit

from kdviz.compress.cost import read_cost
from kdviz.experiment import load_experiment
from kdviz.narrative.decision import decision
from kdviz.narrative.overview import ExperimentSummary, answers
from kdviz.narrative.tradeoffs import findings
from kdviz.studies.comparison.judgement import Margins
from kdviz.studies.predictions.showcase import read_showcase
from kdviz.studies.sweep.report import read_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser
SHIPPED = ROOT / "models" / "mnist"


@pytest.fixture(scope="module")
def summary() -> ExperimentSummary:
    experiment = load_experiment(SHIPPED)
    return ExperimentSummary(experiment, read_cost(experiment), read_report(experiment, "temperature"))


def test_the_first_screen_answers_without_a_click(
    server: str, newcomer: playwright.Page, summary: ExperimentSummary
) -> None:
    newcomer.goto(server)
    said = answers(summary)
    top = newcomer.locator(".ov-decision")
    playwright.expect(top).to_contain_text(decision(summary, said).sentence)
    playwright.expect(top).to_contain_text("distilled at T = 4 and alpha = 0.5 from a teacher of 1.63 million")
    playwright.expect(newcomer.locator(".ov-sample img")).to_have_count(4)
    assert newcomer.locator(".ov-sample img").evaluate_all(
        "all => all.every((one) => one.naturalWidth >= 200 && one.alt)"
    )
    cards = newcomer.locator(".ov-answer")
    playwright.expect(cards).to_have_count(len(said))
    for number, answer in enumerate(said):
        for words in (answer.question, answer.word, answer.sentence):
            playwright.expect(cards.nth(number)).to_contain_text(words)
    for accuracy in summary.accuracies:
        playwright.expect(newcomer.locator(".ov-accuracy")).to_contain_text(f"{accuracy.value:.2%}")
    # All of the answer is on the first screen of a laptop.
    box = newcomer.locator(".st-key-ov-answers").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 1000
    assert newcomer.locator(".stProgress").count() == 0  # nothing is computed


def test_the_margin_is_set_beside_the_decision_and_is_in_the_address(
    page: playwright.Page, summary: ExperimentSummary
) -> None:
    visit(page, "/")
    top, field = page.locator(".ov-decision"), page.get_by_role("spinbutton", name="Equal within (points)")
    playwright.expect(field).to_have_value("0.50")
    said = {points: decision(summary, answers(summary, Margins(accuracy=points / 100))).sentence for points in (0.5, 2)}
    assert said[0.5] != said[2]
    playwright.expect(top).to_contain_text(said[0.5])
    assert "margin" not in page.url
    field.fill("2")
    field.press("Enter")
    playwright.expect(top).to_contain_text(said[2])
    playwright.expect(page).to_have_url(re.compile(r"\?.*margin=2"))
    page.reload()
    playwright.expect(field).to_have_value("2.00")
    playwright.expect(top).to_contain_text(said[2])
    page.get_by_role("link", name="See what each model costs").click()  # it goes with the reader
    playwright.expect(page).to_have_url(re.compile(r"/cost\?.*margin=2"))
    for sentence in findings(summary.cost, Margins(accuracy=0.02)):
        playwright.expect(page.locator(".stMain")).to_contain_text(sentence)


def test_a_margin_that_is_none_is_said(page: playwright.Page, summary: ExperimentSummary) -> None:
    visit(page, "/?margin=-3")
    playwright.expect(page.locator(".stAlert")).to_contain_text("'-3' in the page's address is no margin")
    said = decision(summary, answers(summary)).sentence
    playwright.expect(page.locator(".ov-decision")).to_contain_text(said)


def test_another_sample_is_shown_at_once_and_is_in_the_address(page: playwright.Page) -> None:
    visit(page, "/")
    images = page.locator(".ov-sample img")
    playwright.expect(images).to_have_count(4)
    first = images.evaluate_all("all => all.map((one) => one.src)")
    page.get_by_role("radio", name="Mistake inherited from the teacher").click()
    playwright.expect(page.locator(".ov-wrong")).to_have_count(3)
    assert "show=inherited" in page.url
    playwright.expect(images.nth(1)).not_to_have_attribute("src", first[1])
    page.reload()
    playwright.expect(page.locator(".ov-wrong")).to_have_count(3)


def test_the_maps_are_those_that_compare_opens(page: playwright.Page) -> None:
    samples = {sample.story: sample for sample in read_showcase(load_experiment(SHIPPED))}
    visit(page, "/?show=lost")
    playwright.expect(page.locator(".ov-wrong").first).to_be_visible()
    page.get_by_role("link", name=re.compile("Open in Compare")).click()
    playwright.expect(page).to_have_url(re.compile(rf"/compare\?.*sample={samples['lost'].sample}"))
    playwright.expect(page.locator("canvas.k-map")).to_have_count(3)


LINKS = {
    "See who gets what wrong": "mistakes",
    "See what each model costs": "cost",
    "See the study": "temperature",
    "When should the teacher stop?": "teacher-epochs",
    "Bring your models": "bring",
    "What a map says, and what it does not": "methods",
}


def test_every_link_leads_to_its_page_and_keeps_the_experiment(page: playwright.Page) -> None:
    visit(page, "/?experiment=shapes")
    heading = page.locator("h1")
    for link, path in LINKS.items():
        page.get_by_role("link", name=link).click()
        playwright.expect(page).to_have_url(re.compile(f"/{path}\\?.*experiment=shapes"))
        playwright.expect(heading).not_to_contain_text("May the student")
        page.get_by_role("link", name="Overview", exact=True).click()
        playwright.expect(heading).to_contain_text("May the student")


MISSING = {
    "shapes": "kdviz explain --showcase -e ",
    "no-predictions": "The models' predictions are not stored",
    "no-pictures": "keeps no pictures of its data",
    "no-teacher": "This experiment has no teacher beside a KD student.",
    "old": "kdviz profile measures it.",
}


def test_what_is_missing_is_said_and_the_rest_is_shown(page: playwright.Page) -> None:
    for name, words in MISSING.items():
        visit(page, f"/?experiment={name}")
        title = f"Small shapes ({name})"
        playwright.expect(page.get_by_role("combobox", name="Experiment")).to_have_value(title)
        playwright.expect(page.locator(".ov-answer")).to_have_count(5)
        playwright.expect(page.locator(".stMain"), name).to_contain_text(words)
        assert page.locator(".stAlert").count() == 0, name


def test_in_chinese_no_number_is_lost(server: str, newcomer: playwright.Page) -> None:
    newcomer.goto(f"{server}/?lang=zh")
    playwright.expect(newcomer.locator(".ov-answer")).to_have_count(5)
    for words in ("98.65", "13.2", "1.63"):
        playwright.expect(newcomer.locator(".stMain")).to_contain_text(words)
