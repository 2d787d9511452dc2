"""The app in both languages, in a real browser: every page is Chinese for a Chinese browser, and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import WAIT, at_rest, is_too_wide, needs_browser, settled, visit

from kdviz.app.page_registry import pages, path_of
from kdviz.core.images import ENDINGS
from kdviz.experiment import MORE_BASELINES
from kdviz.models.networks import networks
from kdviz.saliency import methods

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser

PATIENT = 2 * WAIT  # on a busy machine Streamlit's scripts alone take a while
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


@pytest.fixture
def chinese(mandarin: Any) -> Iterator[Any]:
    """A page in Chinese; it must end without an exception of JavaScript."""
    page = mandarin.new_page()
    page.set_default_timeout(WAIT)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    page.close()
    mandarin.clear_cookies()
    assert problems == []


def test_every_page_is_looked_at() -> None:
    assert len(pages) >= 10
    assert {"compare", "mistakes", "methods"} < set(pages)


@pytest.mark.parametrize("experiment", ["mnist", "shapes"])
def test_no_english_is_left(server: str, chinese: playwright.Page, experiment: str) -> None:
    chinese.goto(f"{server}/methods?experiment={experiment}")
    playwright.expect(chinese.locator("html")).to_have_attribute("lang", "zh-CN", timeout=PATIENT)
    wrong = {}
    for name in sorted(pages, key="methods".__ne__):
        visit(chinese, f"/{path_of(name)}?experiment={experiment}", "zh_CN")
        playwright.expect(chinese.locator('[data-testid="stStatusWidget"]')).to_have_count(0, timeout=PATIENT)
        at_rest(chinese)
        assert chinese.locator(".stException").count() == 0, name
        wrong[name] = [text for text in chinese.evaluate(SAID) if WORDS.search(_without_names(text))]
        wrong[name] += chinese.locator(UNNAMED).evaluate_all("nodes => nodes.map((node) => node.outerHTML)")
        if experiment == "shapes" and _is_too_wide(chinese):  # test_app_everywhere.py measures the pages of the other
            wrong[name].append("is too wide")
    assert {name: texts for name, texts in wrong.items() if texts} == {}


def _is_too_wide(page: playwright.Page) -> bool:
    """On a desktop computer or a phone."""
    found = is_too_wide(page)
    for width, measured in ((390, True), (1440, False)):
        page.set_viewport_size({"width": width, "height": 1000})
        at_rest(page)
        found |= measured and is_too_wide(page)
    return found


def test_english_would_be_found(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/methods")
    playwright.expect(page.get_by_text("A saliency map answers one question")).to_be_visible(timeout=PATIENT)
    assert len([text for text in page.evaluate(SAID) if WORDS.search(_without_names(text))]) > 3


def _without_names(text: str) -> str:
    known = [*methods, *networks, *MORE_BASELINES, *(ending[1:].upper() for ending in ENDINGS), "CSV", "TSV", "ZIP"]
    known.sort(key=len, reverse=True)
    return THE_SAME.sub("·", re.sub("|".join(map(re.escape, known)), "·", text))


def test_streamlits_own_words_are_translated_and_come_back(server: str, chinese: playwright.Page) -> None:
    chinese.goto(f"{server}/models")
    upload = chinese.locator('[data-testid="stFileUploader"]')
    playwright.expect(upload).to_contain_text("上传", timeout=PATIENT)
    playwright.expect(upload).not_to_contain_text("Upload")
    _choose(chinese, "语言", "English")
    playwright.expect(upload).to_contain_text("Upload", timeout=PATIENT)
    playwright.expect(chinese.locator("html")).to_have_attribute("lang", "en", timeout=PATIENT)
    playwright.expect(chinese.get_by_role("combobox", name="Language")).to_be_visible(timeout=PATIENT)


def _choose(page: playwright.Page, label: str, name: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=name, exact=True).click()


def test_the_switch_keeps_the_view(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/compare?experiment=shapes&sample=17&masks=300&baseline=white&models=kd_student,student")
    settled(page)
    before = page.url
    _choose(page, "Language", "简体中文")
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text(
        "学生模型看的地方，与教师模型相同吗？", timeout=PATIENT
    )
    playwright.expect(page.get_by_text("各模型的掩码相同")).to_have_count(1, timeout=PATIENT)
    playwright.expect(page.locator("canvas.k-map")).to_have_count(2, timeout=PATIENT)
    assert page.url == before
    assert page.title().startswith("比较") or page.title() == "kdviz"
    _choose(page, "语言", "English")
    settled(page)
    assert page.url == before


@pytest.mark.parametrize(
    "path",
    [
        "temperature?experiment=shapes&y=inherited_errors&seeds=0",
        "dark-knowledge?sample=1234&T=16&scale=log&models=teacher,student",
        "mistakes?experiment=shapes&group=all&order=number",
        "cost?experiment=shapes",
        "attention?experiment=shapes",
        "methods?topic=rise",
    ],
)
def test_the_switch_keeps_the_address_of_other_pages(server: str, page: playwright.Page, path: str) -> None:
    page.goto(f"{server}/{path}")
    playwright.expect(page.get_by_role("combobox", name="Language")).to_be_visible(timeout=PATIENT)
    at_rest(page)
    before = page.url
    _choose(page, "Language", "简体中文")
    playwright.expect(page.get_by_role("combobox", name="语言")).to_be_visible(timeout=PATIENT)
    at_rest(page)
    assert page.url == before


def test_a_link_may_name_the_language_and_the_choice_is_remembered(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/methods?lang=zh")
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("方法与局限", timeout=PATIENT)
    playwright.expect(page.locator("html")).to_have_attribute("lang", "zh-CN", timeout=PATIENT)
    page.wait_for_function("document.cookie.includes('kdviz-language=zh')")
    page.goto(f"{server}/cost")  # another session
    playwright.expect(page.get_by_role("combobox", name="语言")).to_be_visible(timeout=PATIENT)
    page.goto(f"{server}/methods?lang=en")
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("Methods and limits", timeout=PATIENT)
    page.wait_for_function("document.cookie.includes('kdviz-language=en')")


@pytest.mark.parametrize(("locale", "title"), [("zh-Hans-CN", "方法与局限"), ("de-DE", "Methods and limits")])
def test_the_browsers_language_is_followed(server: str, browser: Any, locale: str, title: str) -> None:
    context = browser.new_context(locale=locale)
    page = context.new_page()
    page.goto(f"{server}/methods")
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text(title, timeout=PATIENT)
    context.close()


def test_an_error_is_said_in_chinese(server: str, chinese: playwright.Page) -> None:
    chinese.goto(f"{server}/compare?experiment=nope&masks=7")
    alerts = chinese.locator(".stAlert")
    playwright.expect(alerts.filter(has_text="页面地址中的“nope”")).to_have_count(1, timeout=PATIENT)
    chinese.goto(f"{server}/temperature?experiment=old")
    playwright.expect(alerts.filter(has_text="由较早版本的 kdviz 生成")).to_have_count(1, timeout=PATIENT)


def test_numbers_and_charts_are_in_the_language(server: str, chinese: playwright.Page) -> None:
    chinese.goto(f"{server}/temperature?experiment=shapes")
    chart = chinese.locator(".js-plotly-plot").first
    playwright.expect(chart).to_contain_text("准确率，测试集（越高越好）", timeout=PATIENT)
    playwright.expect(chart).to_contain_text("蒸馏学生模型", timeout=PATIENT)
    titles = chart.locator(".modebar-btn").evaluate_all("nodes => nodes.map((node) => node.dataset.title)")
    assert not [title for title in titles if re.search("[A-Za-z]{2,}", (title or "").replace("PNG", ""))]
