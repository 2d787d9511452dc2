"""Compare in a real browser: pictures, models, methods, maps that sharpen, curves, files."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browser import TOO_WIDE, at_rest, choose_files, maps, needs_browser, settled, visit
from PIL import Image

from kdviz.data import bundled_digits
from kdviz.experiment import load_experiment
from kdviz.metrics.localisation import energy_inside
from kdviz.saliency import explain

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser


def upload(page: playwright.Page, *files: tuple[str, bytes]) -> None:
    page.get_by_role("button", name="Your own picture").click()
    chosen = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    choose_files(page, "input[type=file]", chosen)
    arrived = page.get_by_role("group", name="Your pictures").or_(page.get_by_role("alert"))
    playwright.expect(arrived.first).to_be_visible()
    page.keyboard.press("Escape")


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


def test_a_newcomer_sees_three_maps_without_a_click_with_intervals_and_errors(
    server: str, newcomer: playwright.Page
) -> None:
    newcomer.goto(f"{server}/compare")
    settled(newcomer)
    assert len(set(maps(newcomer))) == 3
    for title in ("Teacher", "KD student", "Student alone"):
        playwright.expect(newcomer.get_by_role("region", name=title, exact=True)).to_contain_text("Map explains class")
    card = newcomer.get_by_role("region", name="KD student", exact=True)
    playwright.expect(card).to_contain_text("noise ceiling")
    sentence = newcomer.get_by_text("Agreement with the teacher's map").inner_text()
    intervals = re.findall(r"(?:KD student|Student alone) (-?\d\.\d\d) \[(-?\d\.\d\d), (-?\d\.\d\d)\]", sentence)
    assert len(intervals) == 2
    for value, low, high in intervals:
        assert float(low) <= float(value) <= float(high)
    playwright.expect(card).to_contain_text(re.compile(r"Difference to the teacher\s*reliability [01]\.\d{3}"))
    card.locator("canvas.k-lower").hover(position={"x": 60, "y": 60})
    reads = newcomer.locator(".view:has(canvas.k-lower) .read")
    playwright.expect(reads.nth(1)).to_have_text(re.compile(r"^[+−]0\.\d{3} ± 0\.\d{3}$"))


def test_upload_compare_change_target(page: playwright.Page) -> None:
    visit(page, "/compare?masks=500")
    settled(page)
    before = maps(page)
    digits = bundled_digits()["bundled"]
    sample = int((digits.labels == 7).nonzero()[0])
    upload(page, ("seven.png", photo_of_a_digit(sample)))
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


def test_a_link_reopens_the_view(server: str, newcomer: playwright.Page) -> None:
    newcomer.goto(f"{server}/compare?sample=17&target=3&masks=500&baseline=grey")
    playwright.expect(newcomer.get_by_text("500 masks, the same for every model")).to_be_visible()
    playwright.expect(newcomer.get_by_role("region", name="Teacher", exact=True)).to_contain_text(
        "Map explains class 3"
    )
    playwright.expect(newcomer.locator(".strip button[aria-pressed=true]")).to_have_attribute(
        "aria-label", re.compile("^Sample 17,")
    )


def test_a_wrong_link_says_so_and_shows_maps(page: playwright.Page) -> None:
    visit(page, "/compare?sample=999999&target=cat&masks=7")
    for words in (
        "no sample",
        "'cat' in the page's address is not a known",
        "'7' in the page's address is not a known",
    ):
        playwright.expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
    settled(page)


def test_a_bad_upload_is_one_sentence_and_nothing_is_lost(page: playwright.Page) -> None:
    blank = io.BytesIO()
    Image.new("RGB", (300, 200), "white").save(blank, "PNG")
    bad = [
        ("text.png", b"this is no picture", "not a picture"),
        ("empty.png", b"", "empty"),
        ("cut.png", photo_of_a_digit(0)[:3000], "cannot be decoded"),
        ("blank.png", blank.getvalue(), "No digit stands out"),
        ("![x](http://127.0.0.1:9/x.png).png", b"nonsense", "not a picture"),
    ]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, "/compare?masks=500")
    settled(page)
    for number, (name, content, words) in enumerate(bad):
        upload(page, (name, content))
        playwright.expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
        settled(page)
        maps(page)  # the sample's maps stay
        page.locator(".strip button").nth(2 + number).click()  # and the page goes on working
        playwright.expect(page.get_by_role("alert")).to_have_count(0)
        settled(page)
        maps(page)
    assert not [address for address in asked if "127.0.0.1:9/" in address]


def test_stop_stops_both_rows_and_keeps_what_is_there(page: playwright.Page) -> None:
    # Two rows of 16,000 masks for three models: seconds of work on any machine, so that there is something to stop.
    visit(page, "/compare?masks=16000&sample=33&baseline2=grey")
    playwright.expect(page.get_by_text(re.compile(r"of 16,000 masks \(Grey\)"))).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    counts = r"Stopped at [\d,]+ of 16,000 masks \(Black\); [\d,]+ of 16,000 masks \(Grey\)"
    playwright.expect(page.get_by_text(re.compile(counts))).to_be_visible()
    playwright.expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    playwright.expect(page.locator("canvas.k-map").nth(2)).to_be_visible()  # of the first row at least
    page.get_by_role("button", name="Compute again").click()
    playwright.expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.get_by_role("button", name="Stop").click()


def test_drawing_happens_in_the_browser(page: playwright.Page) -> None:
    visit(page, "/compare?masks=500")
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


def test_a_second_baseline_is_a_second_row_and_the_same_one_twice_is_one(page: playwright.Page) -> None:
    visit(page, "/compare?masks=500")
    settled(page)
    alone = maps(page)
    assert page.get_by_text("A removed pixel becomes:").count() == 0  # one row needs no heading
    page.get_by_role("button", name="More settings").click()
    page.get_by_role("combobox", name=re.compile("Second baseline")).click()
    page.get_by_role("option", name="Blur", exact=True).click()
    settled(page, rows=2)
    both = maps(page, rows=2)
    assert "baseline2=blur" in page.url
    assert len({*alone, *both}) >= 6
    for name in ("Black", "Blur"):
        row = page.get_by_role("region", name=f"A removed pixel becomes: {name}", exact=True)
        playwright.expect(row.get_by_role("heading")).to_contain_text(["A removed pixel becomes"])
        playwright.expect(row.get_by_role("region", name="KD student", exact=True)).to_contain_text("noise ceiling")
    page.locator("canvas.k-map").nth(5).hover(position={"x": 60, "y": 60})
    reads = page.locator(".view:has(canvas.k-map) .read")
    for number in range(6):  # one pointer reads the same pixel in both rows
        playwright.expect(reads.nth(number)).to_have_text(re.compile(r"^[+−]0\.\d{3} ± 0\.\d{3}$"))
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name=re.compile("A removed pixel becomes")).click()
    page.get_by_role("option", name="Blur", exact=True).click()
    settled(page)
    maps(page)
    assert "baseline2" not in page.url


def test_a_link_with_two_baselines_fits_a_phone(page: playwright.Page) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    visit(page, "/compare?masks=500&baseline=grey&baseline2=noise")
    settled(page, rows=2)
    maps(page, rows=2)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert not page.evaluate(TOO_WIDE)


def test_it_stops_when_the_maps_are_reliable_enough(page: playwright.Page) -> None:
    visit(page, "/compare?masks=16000&sample=35")
    page.get_by_role("button", name="More settings").click()
    field = page.get_by_role("spinbutton", name=re.compile("Stop when maps are this reliable"))
    field.fill("0.9")
    field.press("Enter")
    said = page.get_by_text(
        re.compile(r"Settled after [\d,]+ masks, the same for every model; reliability of the maps")
    )
    playwright.expect(said).to_be_visible()
    stopped = re.search(
        r"after ([\d,]+) masks.* maps (0\.\d+|1\.0+), of their differences (0\.\d+|1\.0+)", said.inner_text()
    )
    assert stopped
    assert int(stopped[1].replace(",", "")) < 16000
    assert min(float(stopped[2]), float(stopped[3])) >= 0.88  # it looks at whole blocks, the page shows all masks


def test_several_pictures_at_once_and_one_that_is_none(page: playwright.Page) -> None:
    digits = bundled_digits()["bundled"]
    visit(page, "/compare?masks=500")
    settled(page)
    photos = [(f"{digit}.png", photo_of_a_digit(int((digits.labels == digit).nonzero()[0]))) for digit in (7, 3)]
    upload(page, *photos, ("bad.png", b"no picture"))
    own = page.get_by_role("group", name="Your pictures").get_by_role("button")
    playwright.expect(own).to_have_count(2)
    playwright.expect(page.get_by_role("alert").filter(has_text="not a picture")).to_be_visible()
    playwright.expect(page.get_by_text("All models say 3").first).to_be_visible()
    own.first.click()
    playwright.expect(page.get_by_text("All models say 7").first).to_be_visible()
    playwright.expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Remove all").click()
    playwright.expect(own).to_have_count(0)
    settled(page)
    maps(page)  # of the sample


def test_a_pasted_picture_is_explained(page: playwright.Page) -> None:
    digits = bundled_digits()["bundled"]
    visit(page, "/compare?masks=500")
    settled(page)
    playwright.expect(page.get_by_role("button", name="Paste")).to_be_visible()  # it listens from then on
    photo = base64.b64encode(photo_of_a_digit(int((digits.labels == 4).nonzero()[0]))).decode()
    page.evaluate(
        """text => {
          const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "clip.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        photo,
    )
    playwright.expect(page.get_by_text("All models say 4").first).to_be_visible()
    playwright.expect(page.get_by_role("group", name="Your pictures").get_by_role("button")).to_have_count(1)


def test_a_method_that_does_not_fit_says_why(page: playwright.Page) -> None:
    visit(page, "/compare?method=layer_gradcam&sample=5")
    student = page.get_by_role("region", name="Student alone", exact=True)
    playwright.expect(student).to_contain_text("needs a convolution")
    playwright.expect(page.locator("canvas.k-map")).to_have_count(1)
    playwright.expect(page.get_by_role("region", name="Teacher", exact=True)).to_contain_text("Map explains class")
    playwright.expect(page.get_by_role("alert")).to_have_count(0)


def test_a_picture_that_is_its_own_baseline_is_said(page: playwright.Page) -> None:
    visit(page, "/compare?experiment=shapes")
    settled(page)
    buffer = io.BytesIO()
    Image.new("L", (28, 28)).save(buffer, "PNG")
    upload(page, ("black.png", buffer.getvalue()))
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_contain_text("The picture is the same as the baseline")


def test_other_methods_draw_maps_of_all_models(page: playwright.Page) -> None:
    drawn: set[str] = set()
    for method in ("occlusion", "integrated_gradients", "saliency", "deeplift"):
        visit(page, f"/compare?method={method}&sample=5")
        at_rest(page)
        after = set(maps(page))
        assert len(after) == 3
        assert not after & drawn, method
        drawn |= after


def test_models_are_chosen_and_the_link_keeps_them(page: playwright.Page) -> None:
    visit(page, "/compare?masks=500&models=teacher,student")
    playwright.expect(page.get_by_text("500 masks, the same for every model")).to_be_visible()
    playwright.expect(page.locator("canvas.k-map")).to_have_count(2)
    page.get_by_role("button", name="Teacher", exact=True).click()
    playwright.expect(page.locator("canvas.k-map")).to_have_count(1)
    assert "models=student" in page.url


def test_a_class_for_each_model(page: playwright.Page) -> None:
    visit(page, "/compare?masks=500&target=each&targets=teacher:3,kd_student:5,student:8")
    for title, name in (("Teacher", 3), ("KD student", 5), ("Student alone", 8)):
        card = page.get_by_role("region", name=title, exact=True)
        playwright.expect(card).to_contain_text(f"Map explains class {name}")
    settled(page)
    page.get_by_role("combobox", name="Class for KD student").click()
    page.get_by_role("option", name="3", exact=True).click()
    card = page.get_by_role("region", name="KD student", exact=True)
    playwright.expect(card).to_contain_text("Map explains class 3")
    assert "kd_student%3A3" in page.url


def test_how_maps_are_drawn_is_in_the_link(server: str, newcomer: playwright.Page) -> None:
    newcomer.goto(f"{server}/compare?masks=500&view=opacity:0.3;scale:own;zoom:2,0.1,0.2")
    settled(newcomer)
    playwright.expect(newcomer.get_by_role("slider", name="Opacity")).to_have_value("30")
    playwright.expect(newcomer.get_by_role("button", name="Own", exact=True)).to_have_attribute("aria-pressed", "true")
    newcomer.get_by_role("slider", name="Opacity").fill("60")
    newcomer.wait_for_url(re.compile(r"view=opacity%3A0\.6%3Bscale%3Aown%3Bzoom%3A2"))
    newcomer.get_by_role("button", name="Reset").click()
    newcomer.get_by_role("button", name="Shared", exact=True).click()
    newcomer.get_by_role("slider", name="Opacity").fill("80")
    newcomer.wait_for_url(lambda url: "view=" not in url)


def test_a_person_draws_a_region(page: playwright.Page) -> None:
    visit(page, "/compare?masks=500&sample=5")
    settled(page)
    page.get_by_role("button", name="Draw", exact=True).click()
    box = page.locator("canvas.k-map").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.7, steps=3)
    page.mouse.up()
    first, last = (int(28 * 0.2), int(28 * 0.3)), (int(28 * 0.7), int(28 * 0.6))
    region = np.zeros((28, 28))
    region[first[0] : last[0] + 1, first[1] : last[1] + 1] = 1
    values = page.locator(".kv").evaluate("root => root.viewer.models.map((model) => [...model.values])")
    for title, shown in zip(("Teacher", "KD student", "Student alone"), values, strict=True):
        share = float(energy_inside(np.reshape(shown, (28, 28)), region))
        card = page.get_by_role("region", name=title, exact=True)
        playwright.expect(card).to_contain_text(
            f"{share:.1%} of its positive saliency inside the region drawn here, {region.mean():.1%} of the area"
        )
    page.wait_for_url(lambda url: "region%3A5%2C8%2C19%2C16" in url)
    page.reload()  # the link keeps it
    settled(page)
    card = page.get_by_role("region", name="Teacher", exact=True)
    playwright.expect(card).to_contain_text("inside the region")
    page.get_by_role("button", name="Remove", exact=True).click()
    playwright.expect(card).not_to_contain_text("inside the region")
    # With keys: a corner at the middle, the other two pixels further.
    page.get_by_role("button", name="Draw", exact=True).click()
    page.locator("canvas.k-map").first.focus()
    for key in ("ArrowDown", "Enter", "ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url(lambda url: "region%3A15%2C14%2C16%2C16" in url)


def test_copy_link(server: str, newcomer: playwright.Page) -> None:
    newcomer.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    newcomer.goto(f"{server}/compare?masks=500&sample=17")
    settled(newcomer)
    newcomer.get_by_role("button", name="Copy a link to this view").click()
    playwright.expect(newcomer.get_by_text("Link copied")).to_be_visible()
    assert newcomer.evaluate("navigator.clipboard.readText()") == newcomer.url


def test_several_samples_of_a_link_are_in_the_strip(page: playwright.Page) -> None:
    visit(page, "/compare?samples=3,17,250&masks=500")
    strip = page.get_by_role("group", name="Sample digits").get_by_role("button")
    playwright.expect(strip).to_have_count(3)
    strip.nth(1).click()
    playwright.expect(strip.nth(1)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="All samples").click()
    playwright.expect(strip.nth(5)).to_be_visible()


def test_curves_on_request_and_their_table(page: playwright.Page) -> None:
    visit(page, "/compare?masks=500&sample=5")
    settled(page)
    page.get_by_text("Deletion and insertion: do the maps").click()
    page.get_by_role("button", name="Compute the curves").click()
    playwright.expect(page.locator(".js-plotly-plot").first).to_be_visible()
    at_rest(page)  # until then the chart and its buttons can stand there twice
    with page.expect_download() as got:
        page.get_by_role("button", name="CSV", exact=True).click()
    lines = Path(got.value.path()).read_text().splitlines()
    assert lines[0] == "model,map,curve,fraction,probability"
    assert len(lines) == 1 + 3 * 2 * 2 * 225


def test_every_file_of_a_comparison(page: playwright.Page, tmp_path: Path) -> None:
    visit(page, "/compare?masks=500&sample=5")
    settled(page)
    page.get_by_text("Numbers, files and a report").click()

    def file(name: str) -> Path:
        with page.expect_download() as got:
            page.get_by_role("button", name=name, exact=True).click()
        path = tmp_path / got.value.suggested_filename
        got.value.save_as(path)
        return path

    assert file("PNG").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in file("SVG").read_bytes()
    assert b"plotly" in file("HTML").read_bytes()
    assert file("Agreement (CSV)").read_text().startswith("measure,first,second,agreement")
    assert file("Settings (JSON)").read_text().count('"n_masks": 500') == 1
    with zipfile.ZipFile(file("Maps (NPZ)")) as archive:
        assert sorted(archive.namelist())[:2] == ["kd_student.npy", "kd_student_se.npy"]
    shown = np.load(tmp_path / "kdviz-sample-5-rise-black.npz")
    report = file("Report (HTML)").read_text(encoding="utf-8")
    experiment = load_experiment("models/mnist")
    for run in experiment.runs.values():
        assert run.sha256 in report
    assert not re.search(r"""(?:src|href)=["']https?:""", report)  # it opens without a network
    command = page.locator("code", has_text="kdviz explain").inner_text().split()
    assert " ".join(command) in report
    assert command[:3] == ["kdviz", "explain", "sample-5.png"]
    picture = Image.open(file("Picture (PNG)"))
    target = command[command.index("--target") + 1]
    again = explain(experiment, picture, target, n_masks=500)  # what the command does
    for role, saliency_map in again.items():
        assert np.corrcoef(saliency_map.values.ravel(), shown[role].ravel())[0, 1] > 0.999  # bfloat16 or not


def test_closing_the_tab_ends_its_work(server: str, newcomer: playwright.Page) -> None:
    newcomer.goto(f"{server}/compare?masks=16000&sample=41&baseline2=noise")
    playwright.expect(newcomer.get_by_role("button", name="Stop")).to_be_visible()
    other = newcomer.context.new_page()
    newcomer.goto("about:blank")
    other.goto(f"{server}/compare?masks=500&sample=42")
    settled(other)
    visit(other, "/compare?masks=16000&sample=43")
    playwright.expect(other.get_by_text(re.compile("[\\d,]+ of 16,000 masks$"))).to_be_visible()  # nobody else's turn
    other.get_by_role("button", name="Stop").click()
    other.close()
