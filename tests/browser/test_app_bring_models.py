"""The page Bring your models in a real browser: files of real libraries go in, an experiment comes out."""

from __future__ import annotations

import re

import pytest
from browser import TOO_WIDE, at_rest, choose_files, needs_browser, visit
from uploaded_models import pictures, saved, state_of, timm_file

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser


def send(page: playwright.Page, key: str, name: str, content: bytes) -> None:
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    choose_files(page, f"[class*='st-key-bm-'][class*='{key}'] input[type=file]", file)
    playwright.expect(page.locator(".bm-file", has_text=name)).to_be_visible()


def test_models_and_pictures_become_an_experiment(server: str, newcomer: playwright.Page) -> None:
    newcomer.goto(server)
    newcomer.get_by_role("link", name="Bring your models").last.click()
    playwright.expect(newcomer.get_by_text("Send the file of one model at least.")).to_be_visible()
    send(newcomer, "model-teacher", "teacher.safetensors", timm_file())
    send(newcomer, "model-kd_student", "kd.pth", saved({"state_dict": state_of("torchvision/shufflenet_v2_x0_5")}))
    data = {"name": "Data.zip", "mimeType": "application/zip", "buffer": pictures()}
    choose_files(newcomer, "[class*='-pictures'] input[type=file]", data)
    playwright.expect(newcomer.get_by_text("12 pictures")).to_be_visible()
    newcomer.get_by_role("button", name="Check").click()

    cards = newcomer.locator(".ab-card")
    playwright.expect(cards).to_have_count(2)
    playwright.expect(cards.nth(0)).to_contain_text("timm/mobilenetv3_small_050")
    playwright.expect(cards.nth(0)).to_contain_text("found by names and shapes of its tensors")
    playwright.expect(cards.nth(1)).to_contain_text("torchvision/shufflenet_v2_x0_5")
    playwright.expect(newcomer.locator(".bm-pictures figure")).to_have_count(9)
    playwright.expect(newcomer.locator(".bm-pictures li").first).to_contain_text(re.compile("[✓✗] says [abc]"))
    playwright.expect(newcomer.locator(".stCode").last).to_contain_text(
        "kdviz import --out models/mine --teacher teacher.safetensors --kd-student kd.pth --data DIR"
    )
    with newcomer.expect_download() as saved_zip:
        newcomer.get_by_role("button", name="Download the experiment").click()
    assert saved_zip.value.suggested_filename == "data.zip"

    newcomer.get_by_text("Network, input, classes").nth(1).click()
    size = newcomer.locator(".st-key-bm-slot-kd_student").get_by_role("textbox", name="Size", exact=True)
    playwright.expect(size).to_have_value("224")  # filled in
    size.fill("96")
    size.press("Tab")
    newcomer.get_by_role("button", name="Check again").click()
    playwright.expect(cards.nth(1)).to_contain_text("96 × 96 pixels")
    playwright.expect(newcomer.locator(".stCode").last).to_contain_text("--kd-student kd.pth,size=96 --data DIR")
    newcomer.set_viewport_size({"width": 390, "height": 844})
    at_rest(newcomer)
    assert newcomer.evaluate("document.documentElement.scrollWidth") <= 390
    assert newcomer.evaluate(TOO_WIDE.replace(".stDataFrame", ".stDataFrame, .ab-scroll, .stCode")) is False

    newcomer.set_viewport_size({"width": 1440, "height": 1000})
    newcomer.get_by_role("link", name="Open in Overview").click()
    playwright.expect(newcomer).to_have_url(re.compile("experiment=own-data-"))
    playwright.expect(newcomer.locator(".ov-accuracy")).to_contain_text("Accuracy on 12")


def test_a_refusal_is_one_sentence_and_the_page_goes_on(page: playwright.Page) -> None:
    visit(page, "/bring")
    slot = page.locator(".st-key-bm-slot-student input[type=file]")
    slot.set_input_files(
        {"name": "x.onnx", "mimeType": "application/octet-stream", "buffer": b"\x08\x08\x12\x07pytorch"}
    )
    alert = page.get_by_role("alert").filter(has_text="kdviz import --out models/mine --teacher x.onnx")
    playwright.expect(alert).to_be_visible()
    send(page, "model-student", "notes.pt", b"hello, these are no weights\n")
    page.get_by_role("button", name="Check").click()
    playwright.expect(page.get_by_role("alert").filter(has_text="'notes.pt' is a text file")).to_be_visible()
    playwright.expect(page.locator(".ab-card")).to_have_count(0)
