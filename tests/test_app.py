"""The app in a real browser: on the shipped models, and on small experiments with every study or pieces missing."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_models import make_models

from kdviz.analysis.softened import entropy_bits, least_sure, read_logits, softened
from kdviz.datasets import LabelledImages, bundled_digits
from kdviz.experiment import load_experiment

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parent.parent
CHROMIUM = os.environ.get("KDVIZ_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 30_000
playwright.expect.set_options(timeout=15_000)  # a busy machine is slow, not wrong
TOO_WIDE = """
[...document.querySelectorAll(".stMain *")].some((node) =>
  node.getBoundingClientRect().right > innerWidth + 1
  && !node.closest(".stDataFrame, .js-plotly-plot")
  && getComputedStyle(node).position !== "absolute")
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium found: install the package chromium, or set KDVIZ_CHROMIUM to its path"
    ),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, small_digits: LabelledImages) -> Path:
    """A folder of small experiments; see small_models.py."""
    folder = tmp_path_factory.mktemp("models")
    make_models(folder, small_digits)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1"]
    environment = {**os.environ, "KDVIZ_MODELS": str(models)}
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)
    assert "Traceback" not in log.read_text(), log.read_text()


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended: {log.read_text()}"
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not start within a minute")


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: playwright.Browser) -> Iterator[playwright.Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, locale="en-US")
    page = context.new_page()
    page.set_default_timeout(WAIT)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    assert page.locator(".stException").count() == 0
    context.close()
    assert problems == []


def settled(page: playwright.Page, rows: int = 1) -> None:
    """Wait until the maps of so many baselines are computed."""
    playwright.expect(page.get_by_text("the same for every model")).to_have_count(rows, timeout=WAIT)


def maps(page: playwright.Page, rows: int = 1) -> list[str]:
    """The pixels of the three maps of each row, as the page shows them."""
    canvases = page.locator("canvas.k-map")
    playwright.expect(canvases).to_have_count(3 * rows)
    page.wait_for_timeout(150)  # a repaint waits for the next frame
    pixels = canvases.evaluate_all("nodes => nodes.map((node) => node.toDataURL())")
    assert len(pixels) == 3 * rows
    return pixels


def upload(page: playwright.Page, name: str, content: bytes) -> None:
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})


def photo_of_a_digit(sample: int) -> bytes:
    """A held-out digit as a photo: dark blue ink on uneven yellowish paper, large and off the middle."""
    ink = Image.fromarray(bundled_digits()["bundled"].images[sample, 0].numpy()).resize(
        (240, 240), Image.Resampling.BICUBIC
    )
    cover = np.zeros((420, 560))
    cover[120:360, 260:500] = np.asarray(ink) / 255
    paper = np.array([238, 230, 205]) * np.linspace(1, 0.8, 560)[None, :, None]
    mixed = paper * (1 - cover[..., None]) + np.array([30, 40, 110]) * cover[..., None]
    buffer = io.BytesIO()
    Image.fromarray(np.broadcast_to(mixed, (420, 560, 3)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_newcomer_sees_three_maps_without_a_click(server: str, page: playwright.Page) -> None:
    page.goto(server)
    settled(page)
    assert len(set(maps(page))) == 3
    for title in ("Teacher", "KD student", "Student alone"):
        playwright.expect(page.get_by_role("region", name=title, exact=True)).to_contain_text("Map explains class")
    playwright.expect(page.get_by_role("region", name="KD student", exact=True)).to_contain_text("noise ceiling")


def test_upload_compare_change_target(server: str, page: playwright.Page) -> None:
    page.goto(server)
    settled(page)
    before = maps(page)
    digits = bundled_digits()["bundled"]
    sample = int((digits.labels == 7).nonzero()[0])
    upload(page, "seven.png", photo_of_a_digit(sample))
    # For a moment the sentence of the last state can stand beside that of the new one.
    playwright.expect(page.get_by_text("All models say 7").first).to_be_visible()
    settled(page)
    after = maps(page)
    assert all(new != old for new, old in zip(after, before, strict=True))
    page.get_by_role("combobox", name=re.compile("Class explained")).click()
    page.get_by_role("option", name="2", exact=True).click()
    playwright.expect(page.get_by_role("region", name="Teacher", exact=True)).to_contain_text("Map explains class 2")
    settled(page)
    assert all(new != old for new, old in zip(maps(page), after, strict=True))
    assert "target=2" in page.url


def test_a_mistake_opens_in_compare_and_back_returns(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/mistakes?group=fixed")
    first = page.locator(".kg button").first
    playwright.expect(first).to_be_visible()
    said = first.get_attribute("aria-label")
    found = re.match(r"Sample (\d+), an? (\d): Teacher says \d, KD student says (\d), Student alone says (\d)", said)
    assert found
    sample, label, kd_student, alone = found.groups()
    assert kd_student == label != alone
    first.click()
    settled(page)
    assert f"sample={sample}" in page.url
    playwright.expect(page.get_by_role("region", name="KD student", exact=True)).to_contain_text("✓ right")
    playwright.expect(page.get_by_role("region", name="Student alone", exact=True)).to_contain_text("✗ wrong")
    page.go_back()
    playwright.expect(page.get_by_text("Who gets it wrong?")).to_be_visible()
    playwright.expect(page.locator(".kg button").first).to_have_attribute("aria-label", said)


def test_a_link_reopens_the_view(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/?sample=17&target=3&masks=500&baseline=grey")
    playwright.expect(page.get_by_text("500 masks, the same for every model")).to_be_visible()
    playwright.expect(page.get_by_role("region", name="Teacher", exact=True)).to_contain_text("Map explains class 3")
    playwright.expect(page.locator(".strip button[aria-pressed=true]")).to_have_attribute(
        "aria-label", re.compile("^Sample 17,")
    )


@pytest.mark.parametrize(
    ("query", "words"),
    [("sample=999999", "no sample"), ("target=cat", "is not a known"), ("masks=7", "is not a known")],
)
def test_a_wrong_link_says_so_and_shows_maps(server: str, page: playwright.Page, query: str, words: str) -> None:
    page.goto(f"{server}/?{query}")
    playwright.expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
    settled(page)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.png", b"this is no picture", "not a picture"),
        ("empty.png", b"", "empty"),
        ("cut.png", photo_of_a_digit(0)[:3000], "cannot be decoded"),
        ("blank.png", None, "No digit stands out"),
        ("![x](http://127.0.0.1:9/x.png).png", b"nonsense", "not a picture"),
    ],
)
def test_a_bad_upload_is_one_sentence_and_nothing_is_lost(
    server: str, page: playwright.Page, name: str, content: bytes | None, words: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server)
    settled(page)
    if content is None:
        buffer = io.BytesIO()
        Image.new("RGB", (300, 200), "white").save(buffer, "PNG")
        content = buffer.getvalue()
    upload(page, name, content)
    playwright.expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
    settled(page)
    maps(page)  # the sample's maps stay
    page.locator(".strip button").nth(2).click()  # and the page goes on working
    settled(page)
    maps(page)
    assert not [address for address in asked if "127.0.0.1:9/" in address]


def test_stop_keeps_what_is_there(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/?masks=16000&sample=33")
    page.get_by_role("button", name="Stop").click()
    playwright.expect(page.get_by_text(re.compile(r"Stopped at [\d,]+ of 16,000 masks"))).to_be_visible()
    maps(page)
    page.get_by_role("button", name="Compute again").click()
    playwright.expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.get_by_role("button", name="Stop").click()


def test_drawing_happens_in_the_browser(server: str, page: playwright.Page) -> None:
    page.goto(server)
    settled(page)
    before = maps(page)
    page.get_by_role("slider", name="Opacity").fill("10")
    faint = maps(page)
    assert all(new != old for new, old in zip(faint, before, strict=True))
    page.get_by_role("button", name="Zoom in").click()
    zoomed = maps(page)
    assert all(new != old for new, old in zip(zoomed, faint, strict=True))
    canvas = page.locator("canvas.k-map").first
    canvas.hover(position={"x": 60, "y": 60})
    reads = page.locator(".view:has(canvas.k-map) .read")
    for number in range(3):  # one pointer reads the same pixel in every model
        playwright.expect(reads.nth(number)).to_have_text(re.compile(r"^[+−]0\.\d{3} ± 0\.\d{3}$"))


def test_a_second_baseline_is_a_second_row(server: str, page: playwright.Page) -> None:
    page.goto(server)
    settled(page)
    alone = maps(page)
    assert page.get_by_text("A removed pixel becomes:").count() == 0  # one row needs no heading
    page.get_by_role("combobox", name=re.compile("Second baseline")).click()
    page.get_by_role("option", name="Blur", exact=True).click()
    settled(page, rows=2)
    both = maps(page, rows=2)
    assert "baseline2=blur" in page.url
    assert len({*alone, *both}) >= 6
    for name in ("black", "blur"):
        row = page.get_by_role("region", name=f"A removed pixel becomes: {name}", exact=True)
        playwright.expect(row.get_by_role("heading")).to_contain_text(["A removed pixel becomes"])
        playwright.expect(row.get_by_role("region", name="KD student", exact=True)).to_contain_text("noise ceiling")
        playwright.expect(page.get_by_text(f"Numbers and downloads, {name}")).to_be_visible()
    page.locator("canvas.k-map").nth(5).hover(position={"x": 60, "y": 60})
    reads = page.locator(".view:has(canvas.k-map) .read")
    for number in range(6):  # one pointer reads the same pixel in both rows
        playwright.expect(reads.nth(number)).to_have_text(re.compile(r"^[+−]0\.\d{3} ± 0\.\d{3}$"))


def test_the_same_baseline_twice_is_one_row(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/?masks=500&baseline2=blur")
    settled(page, rows=2)
    page.get_by_role("combobox", name=re.compile("A removed pixel becomes")).click()
    page.get_by_role("option", name="Blur", exact=True).click()
    settled(page)
    maps(page)
    assert "baseline2" not in page.url


def test_a_link_with_two_baselines_fits_a_phone(server: str, page: playwright.Page) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(f"{server}/?masks=500&baseline=grey&baseline2=noise")
    settled(page, rows=2)
    maps(page, rows=2)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert not page.evaluate(TOO_WIDE)


def test_stop_stops_both_rows(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/?masks=16000&sample=34&baseline2=grey")
    playwright.expect(page.get_by_text(re.compile(r"of 16,000 masks \(grey\)"))).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    counts = r"Stopped at [\d,]+ of 16,000 masks \(black\) and [\d,]+ of 16,000 masks \(grey\)"
    playwright.expect(page.get_by_text(re.compile(counts))).to_be_visible()
    playwright.expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_it_stops_when_the_maps_are_reliable_enough(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/?masks=16000&sample=35")
    page.get_by_role("button", name="More settings").click()
    field = page.get_by_role("spinbutton", name=re.compile("Stop when maps are this reliable"))
    field.fill("0.9")
    field.press("Enter")
    said = page.get_by_text(
        re.compile(r"Settled after [\d,]+ masks, the same for every model; reliability of the maps")
    )
    playwright.expect(said).to_be_visible()
    found = re.search(
        r"after ([\d,]+) masks.* maps (0\.\d+|1\.0+), of their differences (0\.\d+|1\.0+)", said.inner_text()
    )
    assert found
    assert int(found[1].replace(",", "")) < 16000
    assert min(float(found[2]), float(found[3])) >= 0.88  # it looks at whole blocks, the page shows all masks


def test_agreement_has_an_interval_and_differences_their_error(server: str, page: playwright.Page) -> None:
    page.goto(server)
    settled(page)
    sentence = page.get_by_text("Agreement with the teacher's map").inner_text()
    intervals = re.findall(r"(?:KD student|Student alone) (-?\d\.\d\d) \[(-?\d\.\d\d), (-?\d\.\d\d)\]", sentence)
    assert len(intervals) == 2
    for value, low, high in intervals:
        assert float(low) <= float(value) <= float(high)
    card = page.get_by_role("region", name="KD student", exact=True)
    playwright.expect(card).to_contain_text(re.compile(r"Difference to the teacher\s*reliability [01]\.\d{3}"))
    card.locator("canvas.k-lower").hover(position={"x": 60, "y": 60})
    reads = page.locator(".view:has(canvas.k-lower) .read")
    playwright.expect(reads.nth(1)).to_have_text(re.compile(r"^[+−]0\.\d{3} ± 0\.\d{3}$"))


def test_switching_the_experiment_is_kept_on_every_page(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/?sample=17")
    page.get_by_role("combobox", name="Experiment").click()
    page.get_by_role("option", name="Small shapes (shapes)", exact=True).click()
    playwright.expect(page.get_by_text("Small shapes (shapes): test images, never trained on")).to_be_visible()
    settled(page)
    maps(page)
    assert "experiment=shapes" in page.url
    assert "sample" not in page.url  # it was one of the other experiment
    page.get_by_role("link", name="Mistakes").click()
    playwright.expect(page.get_by_text("Small shapes (shapes): 150 test images that were held out")).to_be_visible()
    assert "experiment=shapes" in page.url
    assert "digit" not in page.locator(".stMain").inner_text()
    page.get_by_role("link", name="Teacher epochs").click()
    playwright.expect(page.get_by_text("Data: Small shapes (shapes).")).to_be_visible()
    assert "experiment=shapes" in page.url


def test_a_stored_sample_opens_by_its_number_in_the_split(server: str, page: playwright.Page, models: Path) -> None:
    stored = load_experiment(models / "shapes").samples("test")
    assert not np.array_equal(stored.numbers, np.arange(len(stored)))  # only some are stored
    page.goto(f"{server}/mistakes?experiment=shapes&group=any_wrong")
    said = page.locator(".kg button").nth(5).get_attribute("aria-label")
    page.locator(".kg button").nth(5).click()
    settled(page)
    number = int(re.match(r"Sample (\d+),", said)[1])
    label = int(stored.labels[stored.numbers.tolist().index(number)])
    assert f"sample={number}" in page.url
    assert "experiment=shapes" in page.url
    playwright.expect(page.get_by_text(f"True class: {label}")).to_be_visible()
    for role in ("Teacher", "KD student", "Student alone"):
        predicted = re.search(rf"{role} says (\d)", said)[1]
        card = page.get_by_role("region", name=role, exact=True)
        playwright.expect(card).to_contain_text("✓ right" if int(predicted) == label else "✗ wrong")


MISSING = [
    ("?experiment=nope", "is not a known experiment"),
    ("?experiment=no-pictures", "keeps no pictures"),
    ("?experiment=no-teacher", "has no teacher model"),
    ("mistakes?experiment=no-pictures", "keeps no pictures"),
    ("mistakes?experiment=no-predictions", "kdviz evaluate -e"),
    ("dark-knowledge?experiment=no-predictions", "kdviz evaluate -e"),
    ("dark-knowledge?experiment=no-teacher", "No answers of a teacher"),
    ("temperature?experiment=old", "made by an earlier version of kdviz"),
    ("temperature?experiment=no-predictions", "has no temperature.parquet yet"),
    ("teacher-epochs?experiment=old", "is damaged"),
    ("teacher-epochs?experiment=no-predictions", "has no teacher_epochs.parquet yet"),
    ("temperature?experiment=shapes&study=nope", "is not a known study"),
    ("dark-knowledge?sample=999999", "no sample"),
]


@pytest.mark.parametrize(("path", "words"), MISSING)
def test_what_is_missing_is_one_sentence(server: str, page: playwright.Page, path: str, words: str) -> None:
    page.goto(f"{server}/{path}")
    alert = page.locator(".stAlert").filter(has_text=words)
    playwright.expect(alert).to_have_count(1)
    assert len(alert.inner_text().strip().splitlines()[-1]) < 220
    if "yet" in words or "earlier" in words or "damaged" in words:
        playwright.expect(page.locator(".stCode")).to_contain_text(f"kdviz sweep {path.partition('?')[0]} -e ")


def test_without_a_teacher_there_are_maps_and_groups_of_the_students(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/?experiment=no-teacher")
    settled(page)
    playwright.expect(page.locator("canvas.k-map")).to_have_count(2)
    assert page.get_by_text("compared with this map").count() == 0
    page.get_by_role("link", name="Mistakes").click()
    playwright.expect(page.get_by_text(re.compile("Fixed by distillation"))).to_be_visible()
    assert page.get_by_text("Inherited from the teacher").count() == 0


def test_a_sweep_says_its_verdict_and_shows_any_figure(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/temperature?experiment=shapes")
    playwright.expect(page.get_by_text(re.compile(r"^Distillation at T = \d, the best by validation"))).to_be_visible()
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


def test_curves_are_of_the_models_and_seeds_that_are_chosen(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/temperature?experiment=shapes&runs=1,4,student&seeds=1")
    lines = page.locator(".js-plotly-plot").nth(1).locator(".scatterlayer .trace .js-line")
    playwright.expect(lines).to_have_count(3 * 2)  # validation and training of each
    playwright.expect(page.locator(".js-plotly-plot").nth(1)).to_contain_text("KD student, T = 4")
    page.get_by_role("button", name=re.compile("Remove 1|1, close|Delete 1")).or_(
        page.locator(".stMultiSelect").nth(1).locator("[data-baseweb=tag] [role=presentation]")
    ).first.click()
    playwright.expect(page.get_by_text("Choose at least one model and one seed.")).to_be_visible()


def test_a_study_can_be_downloaded(server: str, page: playwright.Page, models: Path, tmp_path: Path) -> None:
    page.goto(f"{server}/teacher-epochs?experiment=shapes")
    table = pq.read_table(models / "shapes" / "teacher_epochs.parquet")
    starts = {
        "Chart (HTML)": b"<!doctype html>",
        "Table (CSV)": b"run,role",
        "PNG": b"\x89PNG",
        "SVG": b"<?xml",
        "Curves (CSV)": b"role,",
    }
    for name, start in starts.items():
        with page.expect_download() as found:
            page.get_by_role("button", name=name, exact=True).first.click()
        assert Path(found.value.path()).read_bytes().lstrip().lower().startswith(start.lower()), name
    with page.expect_download() as found:
        page.get_by_role("button", name="Table (Parquet)").click()
    found.value.save_as(tmp_path / "table.parquet")
    assert pq.read_table(tmp_path / "table.parquet").equals(table)


def test_teacher_epochs_shows_students_and_their_teachers(server: str, page: playwright.Page) -> None:
    page.goto(f"{server}/teacher-epochs?experiment=shapes")
    playwright.expect(page.get_by_text(re.compile("^Distillation .* training alone"))).to_be_visible()
    chart = page.locator(".js-plotly-plot").first
    playwright.expect(chart).to_contain_text("Epochs after which the teacher was stopped")
    playwright.expect(chart.locator(".legendtext", has_text=re.compile("^Teacher$"))).to_have_count(1)
    playwright.expect(chart.locator(".legendtext", has_text=re.compile("^Student alone, "))).to_have_count(1)
    playwright.expect(page.get_by_text("Training curves")).to_be_visible()


def test_dark_knowledge_follows_the_slider(server: str, page: playwright.Page) -> None:
    table = pq.read_table(ROOT / "models" / "mnist" / "predictions.parquet")
    logits = read_logits(table, "bundled")["teacher"]
    first = int(least_sure(logits)[0])
    page.goto(f"{server}/dark-knowledge")
    said = page.get_by_text(re.compile("^Teacher at T = "))

    def entropy(temperature: float) -> str:
        return f"entropy {entropy_bits(softened(logits[first], temperature)):.2f} of at most 3.32 bits"

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
    assert "models=teacher%2Ckd_student" in page.url


def test_dark_knowledge_picks_samples(server: str, page: playwright.Page) -> None:
    experiment = load_experiment(ROOT / "models" / "mnist")
    logits = read_logits(experiment.table("predictions"), "bundled")["teacher"]
    labels = bundled_digits()["bundled"].labels.numpy()
    order = least_sure(logits)
    page.goto(f"{server}/dark-knowledge")
    playwright.expect(page.get_by_text(f"Sample {order[0]}, true class {labels[order[0]]}")).to_be_visible()
    page.get_by_role("button", name="Teacher's least sure").click()
    playwright.expect(page.get_by_text(f"Sample {order[1]}, true class {labels[order[1]]}")).to_be_visible()
    page.goto(f"{server}/dark-knowledge?sample=17")
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


PAGES = ("", "mistakes", "temperature", "teacher-epochs", "dark-knowledge")


@pytest.mark.parametrize("path", [*PAGES, *(f"{one}?experiment=shapes" for one in PAGES[1:])])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_scrolls_sideways(server: str, page: playwright.Page, path: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{server}/{path}")
    playwright.expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.wait_for_timeout(800)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    wide = page.evaluate(TOO_WIDE)
    assert not wide
