"""The app in both languages, in a real browser: every page is Chinese for a Chinese browser, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import DESKTOP, at_rest, flawless, forget, is_too_wide, needs_browser, reads, settled, visit

from kdviz.app.page_registry import Need, pages, path_of
from kdviz.core.images import ENDINGS
from kdviz.core.language import ENGLISH
from kdviz.experiment import MORE_BASELINES
from kdviz.models.networks import networks
from kdviz.saliency import methods

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser

SAID = """
() => {
  const found = [];
  const walk = (root) => {
    const nodes = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) {
        if (!node.parentElement?.closest("script, style, noscript, code, pre, .katex, [lang=en]:not(html)"))
          found.push(node.textContent);
      } else {
        for (const name of ["aria-label", "title", "alt", "placeholder", "data-title"])
          found.push(node.getAttribute(name) ?? "");
        if (node.shadowRoot) walk(node.shadowRoot);
      }
    }
  };
  walk(document.body);
  return [...new Set(found.map((text) => text.trim().replace(/\\s+/g, " ")).filter(Boolean))];
}
"""
UNNAMED = ".stMain img:not([alt]), .stMain canvas[role=img]:not([aria-label])"
WORDS = re.compile(r"[A-Za-z][A-Za-z'’-]*(?:[ ,;:]+[A-Za-z][A-Za-z'’-]*){2,}")
THE_SAME = re.compile(
    r"Gradients?|Grad-CAM|SHAP|RISE|ONNX|Runtime|PyTorch|int8|float32|kdviz \w+|McNemar|Spearman|SSIM|IoU|Cohen|Holm"
    r"|Small shapes \(shapes\)|Safetensors|torch\S*|timm\S*|Student t|Page (Up|Down)|Ctrl\+V|Viridis"
    r"|knowledge distillation"
)
"""What has no Chinese name, or is somebody's own."""


@pytest.fixture(scope="module")
def _chinese(english: Any, server: str) -> Iterator[Any]:
    english.clear_cookies(name="kdviz-language")
    page = english.new_page()
    reads(page, "zh-CN")
    page.goto(f"{server}/methods")
    playwright.expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    yield page
    page.close()


@pytest.fixture
def chinese(_chinese: Any) -> Iterator[Any]:
    """A page in Chinese, of one session for all tests that do not change its language."""
    _chinese.set_viewport_size(DESKTOP)
    forget(_chinese, "zh_CN")
    with flawless(_chinese):
        yield _chinese


def test_every_page_is_looked_at() -> None:
    assert len(pages) >= 10
    assert {"compare", "mistakes", "methods"} < set(pages)


@pytest.mark.parametrize("experiment", ["mnist", "shapes"])
def test_no_english_is_left(chinese: playwright.Page, experiment: str) -> None:
    """And nothing is too wide; test_app_everywhere.py measures the pages of the first experiment."""
    wrong = {}
    widths = (1440, 390)
    for name in pages:
        if experiment == "mnist" and Need.EXPERIMENT not in pages[name].needs:
            continue  # it is the same for the other
        visit(chinese, f"/{path_of(name)}?experiment={experiment}", "zh_CN")
        playwright.expect(chinese.locator('[data-testid="stStatusWidget"]')).to_have_count(0)
        at_rest(chinese)
        assert chinese.locator(".stException").count() == 0, name
        wrong[name] = [text for text in chinese.evaluate(SAID) if WORDS.search(_without_names(text))]
        wrong[name] += chinese.locator(UNNAMED).evaluate_all("nodes => nodes.map((node) => node.outerHTML)")
        if experiment == "shapes":
            wrong[name] += _too_wide(chinese, widths)
            widths = widths[::-1]  # the next page begins where this one ends
    assert {name: texts for name, texts in wrong.items() if texts} == {}


def _too_wide(page: playwright.Page, widths: tuple[int, int]) -> list[str]:
    """At which width; the first is that which the page has."""
    faults = []
    for width in widths:
        if page.viewport_size["width"] != width:
            page.set_viewport_size({"width": width, "height": 1000})
            at_rest(page)
        faults += [f"is too wide at {width}"] * is_too_wide(page)
    return faults


def test_english_would_be_found(page: playwright.Page) -> None:
    visit(page, "/methods")
    playwright.expect(page.get_by_text("A saliency map answers one question")).to_be_visible()
    assert len([text for text in page.evaluate(SAID) if WORDS.search(_without_names(text))]) > 3


def _without_names(text: str) -> str:
    known = [*methods, *networks, *MORE_BASELINES, *(ending[1:].upper() for ending in ENDINGS), "CSV", "TSV", "ZIP"]
    known.sort(key=len, reverse=True)
    return THE_SAME.sub("·", re.sub("|".join(map(re.escape, known)), "·", text))


def test_streamlits_own_words_are_translated_and_come_back(server: str, newcomer: playwright.Page) -> None:
    reads(newcomer, "zh-CN")
    newcomer.goto(f"{server}/models")
    upload = newcomer.locator('[data-testid="stFileUploader"]')
    playwright.expect(upload).to_contain_text("上传")
    playwright.expect(upload).not_to_contain_text("Upload")
    _choose(newcomer, "语言", "English")
    playwright.expect(upload).to_contain_text("Upload")
    playwright.expect(newcomer.locator("html")).to_have_attribute("lang", "en")
    playwright.expect(newcomer.get_by_role("combobox", name="Language")).to_be_visible()


def _choose(page: playwright.Page, label: str, name: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=name, exact=True).click()


def test_the_switch_keeps_the_view(server: str, newcomer: playwright.Page) -> None:
    newcomer.goto(f"{server}/compare?experiment=shapes&sample=17&masks=300&baseline=white&models=kd_student,student")
    settled(newcomer)
    before = newcomer.url
    _choose(newcomer, "Language", "简体中文")
    playwright.expect(newcomer.get_by_role("heading", level=1)).to_have_text("学生模型看的地方，与教师模型相同吗？")
    playwright.expect(newcomer.get_by_text("各模型的掩码相同")).to_have_count(1)
    playwright.expect(newcomer.locator("canvas.k-map")).to_have_count(2)
    assert newcomer.url == before
    assert newcomer.title().startswith("比较") or newcomer.title() == "kdviz"
    _choose(newcomer, "语言", "English")
    settled(newcomer)
    assert newcomer.url == before


ADDRESSES = [
    "temperature?experiment=shapes&y=inherited_errors&seeds=0",
    "dark-knowledge?sample=1234&T=16&scale=log&models=teacher,student",
    "mistakes?experiment=shapes&group=all&order=number",
    "cost?experiment=shapes",
    "attention?experiment=shapes",
    "methods?topic=rise",
]


def test_the_switch_keeps_the_address_of_other_pages(server: str, newcomer: playwright.Page) -> None:
    """There and back: each address is opened in the language in which the one before ended."""
    newcomer.goto(f"{server}/models")
    here, there = ("Language", "English", ENGLISH), ("语言", "简体中文", "zh_CN")
    for path in ADDRESSES:
        label, _name, language = here
        playwright.expect(newcomer.get_by_role("combobox", name=label), path).to_be_visible()
        visit(newcomer, f"/{path}", language)
        at_rest(newcomer)
        before = newcomer.url
        _choose(newcomer, label, there[1])
        playwright.expect(newcomer.get_by_role("combobox", name=there[0]), path).to_be_visible()
        at_rest(newcomer)
        assert newcomer.url == before
        here, there = there, here


def test_a_link_may_name_the_language_and_the_choice_is_remembered(server: str, newcomer: playwright.Page) -> None:
    newcomer.goto(f"{server}/methods?lang=zh")
    playwright.expect(newcomer.get_by_role("heading", level=1)).to_have_text("方法与局限")
    playwright.expect(newcomer.locator("html")).to_have_attribute("lang", "zh-CN")
    newcomer.wait_for_function("document.cookie.includes('kdviz-language=zh')")
    newcomer.goto(f"{server}/cost")  # another session
    playwright.expect(newcomer.get_by_role("combobox", name="语言")).to_be_visible()
    newcomer.goto(f"{server}/methods?lang=en")
    playwright.expect(newcomer.get_by_role("heading", level=1)).to_have_text("Methods and limits")
    newcomer.wait_for_function("document.cookie.includes('kdviz-language=en')")


@pytest.mark.parametrize(("locale", "title"), [("zh-Hans-CN", "方法与局限"), ("de-DE", "Methods and limits")])
def test_the_browsers_language_is_followed(server: str, newcomer: playwright.Page, locale: str, title: str) -> None:
    reads(newcomer, locale)
    newcomer.goto(f"{server}/methods")
    playwright.expect(newcomer.get_by_role("heading", level=1)).to_have_text(title)


def test_an_error_is_said_in_chinese(chinese: playwright.Page) -> None:
    visit(chinese, "/compare?experiment=nope&masks=7", "zh_CN")
    alerts = chinese.locator(".stAlert")
    playwright.expect(alerts.filter(has_text="页面地址中的“nope”")).to_have_count(1)
    visit(chinese, "/temperature?experiment=old", "zh_CN")
    playwright.expect(alerts.filter(has_text="由较早版本的 kdviz 生成")).to_have_count(1)


def test_numbers_and_charts_are_in_the_language(chinese: playwright.Page) -> None:
    visit(chinese, "/temperature?experiment=shapes", "zh_CN")
    chart = chinese.locator(".js-plotly-plot").first
    playwright.expect(chart).to_contain_text("准确率，测试集（越高越好）")
    playwright.expect(chart).to_contain_text("蒸馏学生模型")
    titles = chart.locator(".modebar-btn").evaluate_all("nodes => nodes.map((node) => node.dataset.title)")
    assert not [title for title in titles if re.search("[A-Za-z]{2,}", (title or "").replace("PNG", ""))]
