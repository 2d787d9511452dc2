"""What a session brought leaves the server's memory when the session has ended: what Streamlit keeps, too."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from browser import WAIT, needs_browser, running, settled

from kdviz.core.files import MODELS
from kdviz.data import bundled_digits

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser
START = 120_000
PATIENCE = 90  # seconds, after which what is still there will stay


def kept(folder: Path) -> dict[str, int]:
    """What the server keeps of sessions now."""
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    (folder / "ask").touch()
    end = time.monotonic() + PATIENCE
    while not answer.exists():
        assert time.monotonic() < end, "the probe does not answer"
        time.sleep(0.1)
    return json.loads(answer.read_text())


def zip_of(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"mine/{path.name}")
    return buffer.getvalue()


def digit() -> bytes:
    buffer = io.BytesIO()
    bundled_digits()["bundled"].picture(3).save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_and_experiments_leave_the_memory_with_their_session(english: Any, tmp_path: Path) -> None:
    with running(tmp_path / "log.txt", "tests/support/probe_app.py", PROBE=str(tmp_path)) as (address, _process):
        page = english.new_page()
        page.goto(f"{address}/models")
        file = {"name": "mine.zip", "mimeType": "application/zip", "buffer": zip_of(MODELS / "mnist")}
        page.locator("input[type=file]").set_input_files(file, timeout=START)
        playwright.expect(page.get_by_text("mine.zip is here")).to_be_visible(timeout=START)
        for name in ("Overview", "Compare"):
            page.get_by_role("link", name=name, exact=True).click()
            playwright.expect(page.locator(".ov-answer, canvas.k-map").first).to_be_visible(timeout=WAIT)
        settled(page)
        page.get_by_role("button", name="Your own picture").click()
        page.locator("input[type=file]").set_input_files({"name": "d.png", "mimeType": "image/png", "buffer": digit()})
        playwright.expect(page.get_by_text("Your pictures", exact=True)).to_be_visible(timeout=WAIT)
        settled(page)
        there = kept(tmp_path)
        assert all(there.get(name) for name in ("experiments", "pictures", "requests", "results")), there
        page.close()
        end = time.monotonic() + PATIENCE
        while any((left := kept(tmp_path)).values()) and time.monotonic() < end:
            time.sleep(1)
        assert not any(left.values()), left
