"""The page *Mistakes* in a real browser: filters, class pairs, pages, keyboard, the panel, selection, its address."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pyarrow as pa
import pytest
import torch
from browser import TOO_WIDE, at_rest, coloured, needs_browser, settled, visit
from conftest import NETWORKS, SMALL
from seen_by_axe import OF_COLOURS, seen_by_axe

from kdviz.app.library import OpenExperiment
from kdviz.data import LabelledImages
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment, load_experiment
from kdviz.studies.predictions.class_blocks import confused_blocks
from kdviz.studies.predictions.evaluation import evaluate
from kdviz.studies.predictions.mistake_index import Filters, MistakeIndex
from kdviz.studies.predictions.mistakes import GROUPS
from kdviz.studies.regions.table import SCHEMA

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser

PER_PAGE = 48
ROOT = Path(__file__).resolve().parents[2]
MANY = tuple(f"kind <b>{number}</b>" if number == 3 else f"kind {number}" for number in range(30))


@pytest.fixture(scope="module")
def digits_index() -> MistakeIndex:
    """Of the experiment that comes with kdviz."""
    shown = OpenExperiment(load_experiment(ROOT / "models" / "mnist")).samples
    assert shown is not None
    assert shown.predictions is not None
    return MistakeIndex(shown.predictions, shown.logits, 10)


@pytest.fixture(scope="module")
def many(models: Path, small_digits: LabelledImages) -> str:
    """An experiment of thirty classes, one of them named as if to be run; 200 pictures have a region."""
    made = untrained(models / "many", MANY, small_digits)
    made.write_table("regions", pa.Table.from_pylist(region_rows(), SCHEMA))
    return "many"


@pytest.fixture(scope="module")
def some(models: Path, small_digits: LabelledImages) -> str:
    """An experiment of sixteen classes."""
    untrained(models / "some", MANY[:16], small_digits)
    return "some"


def untrained(folder: Path, classes: tuple[str, ...], digits: LabelledImages) -> Experiment:
    """An experiment whose models are not trained, with 300 pictures."""
    labels = torch.arange(300) % len(classes)
    samples = LabelledImages(digits.images[:300], labels, classes, "test")
    made = Experiment(folder, "folder", classes, SMALL, {}, "Many kinds")
    for seed, (role, name) in enumerate(NETWORKS.items()):
        made.add_run(role, name, new_network(name, SMALL, len(classes), seed).eval(), {"epochs": 0}, {})
    made.save()
    made.write_samples([samples])
    list(evaluate(made, samples, device="cpu"))
    return made


def inside(sample: int, role: str) -> float:
    """A share inside the region; each model has its own order of the samples."""
    return (sample * (7 if role == "student" else 3) % 200) / 200


def region_rows() -> list[dict[str, object]]:
    common = {"split": "test", "target": 0, "method": "rise", "predicted": 0, "right": False, "pointing": 0.0}
    return [
        {
            **common,
            "sample": sample,
            "label": 0,
            "role": role,
            "energy": inside(sample, role),
            "area": 0.1,
            "chance": 0.5,
        }
        for role in NETWORKS
        for sample in range(200)
    ]


def thumbs(page: playwright.Page) -> playwright.Locator:
    return page.get_by_role("listbox").get_by_role("option")


def numbers(page: playwright.Page) -> list[int]:
    """The samples on this page of the list."""
    labels = thumbs(page).evaluate_all("nodes => nodes.map((node) => node.getAttribute('aria-label'))")
    return [int(re.match(r"Sample (\d+), true class", label)[1]) for label in labels]


def shows(page: playwright.Page, expected: list[int]) -> None:
    """Wait until these are the samples of this page of the list, in this order."""
    first = thumbs(page).first
    playwright.expect(first).to_have_attribute("aria-label", re.compile(f"^Sample {expected[0]},"))
    playwright.expect(thumbs(page)).to_have_count(min(PER_PAGE, len(expected)))
    assert numbers(page) == expected[:PER_PAGE]


def comes(page: playwright.Page, test: Callable[[dict[str, str]], bool]) -> None:
    """Wait until the address says so."""
    page.wait_for_url(lambda url: test(query_of(url)), wait_until="commit")


def query(page: playwright.Page) -> dict[str, str]:
    return query_of(page.url)


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(url).query).items()}


def panel(page: playwright.Page, sample: int) -> playwright.Locator:
    return page.get_by_role("region", name=f"Sample {sample}", exact=True)


def chip(page: playwright.Page, name: str) -> playwright.Locator:
    return page.get_by_role("radio", name=re.compile(f"^{name}"))


def test_each_chip_shows_its_group_and_as_many_as_it_says(page, digits_index):
    visit(page, "/mistakes")
    counts = digits_index.counts(Filters("all", "kd_student"))
    for group, (title, about) in GROUPS.items():
        playwright.expect(chip(page, title)).to_have_text(f"{title}{counts[group]:,}")
        chip(page, title).click()
        playwright.expect(page.get_by_text(re.compile(f"^{counts[group]:,} digits"))).to_be_visible()
        playwright.expect(page.get_by_text(about)).to_be_visible()
        shows(page, digits_index.indices(Filters(group, "kd_student"), "gap").tolist())
        comes(page, lambda query, group=group: query.get("group", "lost") == group)


def test_chips_are_chosen_with_the_arrows(page):
    visit(page, "/mistakes")
    chip(page, "Teacher right").focus()
    page.keyboard.press("ArrowRight")
    comes(page, lambda query: query.get("group") == "fixed")
    playwright.expect(chip(page, "Fixed")).to_be_focused()
    playwright.expect(chip(page, "Fixed")).to_have_attribute("aria-checked", "true")


def test_a_cell_of_the_confusion_matrix_filters_and_again_does_not(page, digits_index):
    visit(page, "/mistakes?group=any_wrong&model=student")
    matrix = digits_index.confusion(Filters("any_wrong", "student"))
    true, said = (int(index) for index in np.argwhere((matrix > 1) & ~np.eye(10, dtype=bool))[0])
    cell = page.get_by_role("table").get_by_role("button", name=f"True {true}, answer {said}: {matrix[true, said]}")
    cell.click()
    shows(page, digits_index.indices(Filters("any_wrong", "student", true, said), "gap").tolist())
    comes(page, lambda query: (query.get("class"), query.get("said")) == (str(true), str(said)))
    playwright.expect(cell).to_have_attribute("aria-pressed", "true")
    playwright.expect(chip(page, "Any model wrong")).to_have_text(f"Any model wrong{matrix[true, said]}")
    cell.click()
    shows(page, digits_index.indices(Filters("any_wrong", "student"), "gap").tolist())
    comes(page, lambda query: "class" not in query)


def test_the_confusion_matrix_is_walked_with_the_arrows(page, digits_index):
    visit(page, "/mistakes?group=all")
    table = page.get_by_role("table", name="Confusion matrix")
    playwright.expect(table.get_by_role("columnheader")).to_have_count(10)
    playwright.expect(table.get_by_role("rowheader")).to_have_count(10)
    start = table.get_by_role("button", name=re.compile("^True 0, answer 0:"))
    start.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    playwright.expect(table.get_by_role("button", name=re.compile("^True 2, answer 1:"))).to_be_focused()
    page.keyboard.press("Enter")
    shows(page, digits_index.indices(Filters("all", "kd_student", 2, 1), "gap").tolist())
    playwright.expect(table.get_by_role("button", name=re.compile("^True 2, answer 1:"))).to_be_focused()
    table.get_by_role("button", name="True class 5", exact=True).click()  # a heading is one filter
    shows(page, digits_index.indices(Filters("all", "kd_student", 5), "gap").tolist())
    comes(page, lambda query: "said" not in query)


def test_what_distillation_changed_can_be_clicked(page, digits_index):
    visit(page, "/mistakes?group=any_wrong")
    page.get_by_role("button", name="KD − alone").click()
    change = digits_index.change(Filters("any_wrong", "kd_student"))
    true, said = (int(index) for index in np.unravel_index(int(change.argmin()), change.shape))
    count = f"{change[true, said]}"
    cell = page.get_by_role("table").get_by_role("button", name=f"True {true}, answer {said}: {count} by distillation")
    cell.click()
    shows(page, digits_index.indices(Filters("any_wrong", "kd_student", true, said, either=True), "gap").tolist())
    comes(page, lambda query: query.get("matrix") == "change")


def test_sixteen_classes_are_a_picture_and_a_list(page, models, some):
    visit(page, f"/mistakes?experiment={some}&group=any_wrong")
    shown = OpenExperiment(load_experiment(models / some)).samples
    index = MistakeIndex(shown.predictions, shown.logits, 16)
    matrix = index.confusion(Filters("any_wrong", "kd_student"))
    picture = page.get_by_role("application", name=re.compile("^Confusion matrix"))
    picture.focus()
    said = int(matrix[1].argmax())
    page.keyboard.press("ArrowDown")
    for _ in range(said):
        page.keyboard.press("ArrowRight")
    playwright.expect(page.get_by_text(f"True kind 1, answer {MANY[said]}: {matrix[1, said]}").last).to_be_visible()
    page.keyboard.press("Enter")
    kept = index.indices(Filters("any_wrong", "kd_student", 1, said), "gap")
    shows(page, shown.numbers[kept].tolist())
    comes(page, lambda query: query.get("class") == "kind 1")
    page.get_by_role("button", name="Clear all").click()
    comes(page, lambda query: "class" not in query)  # two clicks that meet in one rerun have no order
    pair = page.locator(".pairs button").first
    label, count = re.match(r"True (.+?), answer .+: (\d+)$", pair.get_attribute("aria-label")).groups()
    pair.click()
    playwright.expect(thumbs(page)).to_have_count(min(PER_PAGE, int(count)))
    comes(page, lambda query: query.get("class") == label)
    visit(page, f"/mistakes?experiment={some}&group=all&class=kind <b>3</b>")
    playwright.expect(page.get_by_role("button", name="True class kind <b>3</b>")).to_be_visible()
    assert page.locator(".stMain b", has_text=re.compile("^3$")).count() == 0


def test_of_many_classes_there_are_blocks(page, models, many):
    visit(page, f"/mistakes?experiment={many}&group=any_wrong")
    shown = OpenExperiment(load_experiment(models / many)).samples
    index = MistakeIndex(shown.predictions, shown.logits, len(MANY))
    matrix = index.confusion(Filters("any_wrong", "kd_student"))
    blocks = confused_blocks(matrix, 12)
    entries = page.locator(".blocks li > button")
    playwright.expect(entries).to_have_count(len(blocks))
    names = ", ".join(MANY[number] for number in blocks[0].classes)
    playwright.expect(entries.first).to_have_attribute("aria-label", f"{names}: {blocks[0].count}")
    table = page.get_by_role("table", name="Confusion matrix")
    playwright.expect(table.get_by_role("rowheader")).to_have_count(len(blocks[0].classes))
    entries.nth(1).click()  # the other block instead
    playwright.expect(table).to_have_count(1)
    true, said = next(
        (true, said) for true in blocks[1].classes for said in blocks[1].classes if true != said and matrix[true, said]
    )
    cell = table.get_by_role("button", name=f"True {MANY[true]}, answer {MANY[said]}: {matrix[true, said]}")
    cell.click()
    kept = index.indices(Filters("any_wrong", "kd_student", true, said), "gap")
    shows(page, shown.numbers[kept].tolist())
    comes(page, lambda query: (query.get("class"), query.get("said")) == (MANY[true], MANY[said]))
    playwright.expect(cell).to_have_attribute("aria-pressed", "true")
    assert page.locator(".blocks b", has_text=re.compile("^3$")).count() == 0


def test_a_sample_of_many_classes_has_five_answers_with_ranks(page, models, many):
    shown = OpenExperiment(load_experiment(models / many)).samples
    order = np.argsort(-np.asarray(shown.logits["teacher"][4]), kind="stable")
    label = int(shown.labels[4])
    rank = int(np.flatnonzero(order == label)[0]) + 1
    assert rank > 5  # the models are not trained
    visit(page, f"/mistakes?experiment={many}&group=all&open=4")
    answers = panel(page, 4).get_by_role("group", name="Teacher", exact=True).get_by_role("listitem")
    playwright.expect(answers).to_have_count(6)
    for answer_rank, number in enumerate(order[:5], 1):
        playwright.expect(answers.nth(answer_rank - 1)).to_contain_text(f"{answer_rank}{MANY[number]}")
    playwright.expect(answers.nth(5)).to_contain_text(f"{rank}{MANY[label]}")


def test_regions_are_a_filter_an_order_and_a_figure(page, many):
    visit(page, f"/mistakes?experiment={many}&group=all&model=student&order=inside&inside=0-20")
    expected = sorted(
        (sample for sample in range(200) if inside(sample, "student") <= 0.2), key=lambda s: inside(s, "student")
    )
    shows(page, expected)
    playwright.expect(thumbs(page).nth(3)).to_contain_text(f"{inside(expected[3], 'student'):.0%} inside")
    thumbs(page).nth(3).click()
    card = panel(page, expected[3]).get_by_role("group", name="Teacher", exact=True)
    share = inside(expected[3], "teacher")
    playwright.expect(card).to_contain_text(f"{share:.0%} inside the region, by chance 10% (RISE)")
    with page.expect_download() as download:
        page.get_by_role("button", name="This list (CSV)").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [float(row["student_inside_region"]) for row in rows] == pytest.approx(
        [inside(s, "student") for s in expected]
    )
    page.get_by_role("button", name="Student alone looks 0% to 20% inside the region").click()
    comes(page, lambda query: "inside" not in query and query["order"] == "inside")
    playwright.expect(page.get_by_text("300 images")).to_be_visible()  # also those without a region


@pytest.mark.parametrize("order", ["kl", "kl-student", "sure", "unsure", "sample"])
def test_orders(page, digits_index, order):
    visit(page, f"/mistakes?group=all&order={order}&model=teacher")
    shows(page, digits_index.indices(Filters("all", "teacher"), order).tolist())


def test_the_range_of_confidence(page, digits_index):
    visit(page, "/mistakes?group=any_wrong&model=student")
    playwright.expect(thumbs(page)).to_have_count(PER_PAGE)
    page.get_by_role("slider").nth(1).press("Home")  # nobody is that unsure
    comes(page, lambda query: query.get("confidence") == "0-0")
    playwright.expect(page.get_by_text("No sample passes all of these filters.")).to_be_visible()
    visit(page, "/mistakes?group=any_wrong&model=student&confidence=40-60")
    expected = digits_index.indices(Filters("any_wrong", "student", low=0.4, high=0.6), "gap").tolist()
    shows(page, expected)
    page.get_by_role("button", name="Student alone is 40% to 60% sure").click()
    shows(page, digits_index.indices(Filters("any_wrong", "student"), "gap").tolist())


def test_an_empty_list_says_which_filter_stands_in_the_way(page, digits_index):
    visit(page, "/mistakes?group=fixed&class=1&confidence=1-2")
    playwright.expect(page.get_by_text("No sample passes all of these filters.")).to_be_visible()
    count = len(digits_index.indices(Filters("fixed", "student", true=1), "gap"))
    page.get_by_role("button", name=f"Without “Student alone is 1% to 2% sure”: {count}").click()
    shows(page, digits_index.indices(Filters("fixed", "student", true=1), "gap").tolist())


def test_pages_turn_by_button_key_and_number(page, digits_index):
    visit(page, "/mistakes?group=all&order=sample")
    shows(page, list(range(PER_PAGE)))
    page.get_by_role("button", name="Next page").first.click()
    shows(page, list(range(PER_PAGE, 2 * PER_PAGE)))
    comes(page, lambda query: query.get("page") == "2")
    thumbs(page).nth(5).focus()
    page.keyboard.press("PageDown")
    shows(page, list(range(2 * PER_PAGE, 3 * PER_PAGE)))
    playwright.expect(thumbs(page).first).to_be_focused()
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")  # before the first has come
    shows(page, list(range(4 * PER_PAGE, 5 * PER_PAGE)))
    page.keyboard.press("PageUp")
    shows(page, list(range(3 * PER_PAGE, 4 * PER_PAGE)))
    field = page.get_by_role("spinbutton", name="Page").first
    field.fill("105")
    field.press("Enter")
    shows(page, list(range(104 * PER_PAGE, 5000)))
    playwright.expect(page.get_by_role("button", name="Next page").first).to_be_disabled()
    chip(page, "Any model wrong").click()  # another list begins at its first page
    shows(page, digits_index.indices(Filters("any_wrong", "kd_student"), "sample").tolist())
    comes(page, lambda query: "page" not in query)


def test_the_panel_follows_the_keyboard(page, digits_index):
    visit(page, "/mistakes?group=fixed")
    expected = digits_index.indices(Filters("fixed", "student"), "gap").tolist()
    shows(page, expected)
    thumbs(page).first.click()
    playwright.expect(panel(page, expected[0])).to_be_visible()
    maps = panel(page, expected[0]).get_by_role("img", name=re.compile("what speaks for"))
    playwright.expect(maps).to_have_count(3)
    for title in ("Teacher", "KD student", "Student alone"):
        card = panel(page, expected[0]).get_by_role("group", name=title, exact=True)
        right = title != "Student alone"
        if title != "Teacher":
            playwright.expect(card).to_contain_text("✓ right" if right else "✗ wrong")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    playwright.expect(panel(page, expected[2])).to_be_visible()
    comes(page, lambda query: query.get("open") == str(expected[2]))
    playwright.expect(thumbs(page).nth(2)).to_have_attribute("aria-current", "true")
    page.keyboard.press("ArrowDown")
    across = thumbs(page).evaluate_all("nodes => nodes.filter((n) => n.offsetTop === nodes[0].offsetTop).length")
    playwright.expect(thumbs(page).nth(2 + across)).to_be_focused()
    page.keyboard.press("Escape")
    playwright.expect(page.get_by_text("Where do they look?")).to_be_visible()
    playwright.expect(thumbs(page).nth(2 + across)).to_be_focused()
    comes(page, lambda query: "open" not in query)


def test_a_key_is_not_lost_with_a_message_to_the_server(server, newcomer, digits_index):
    lost: list[bytes] = []
    drop = False

    def connect(socket) -> None:
        upstream = socket.connect_to_server()

        def pass_on(message) -> None:
            if drop and not lost and b"opened" in bytes(message if isinstance(message, bytes) else message.encode()):
                lost.append(message)
            else:
                upstream.send(message)

        socket.on_message(pass_on)

    newcomer.route_web_socket(re.compile("_stcore/stream"), connect)
    newcomer.goto(f"{server}/mistakes?group=fixed")
    expected = digits_index.indices(Filters("fixed", "student"), "gap").tolist()
    shows(newcomer, expected)
    thumbs(newcomer).first.click()
    playwright.expect(panel(newcomer, expected[0])).to_be_visible()
    drop = True
    newcomer.keyboard.press("ArrowRight")
    playwright.expect(panel(newcomer, expected[1])).to_be_visible()
    assert len(lost) == 1


def test_the_panel_explains_each_answer_or_the_true_class(page, digits_index):
    sample = int(digits_index.indices(Filters("fixed", "student"), "gap")[0])
    label = int(digits_index.predictions.labels[sample])
    said = int(digits_index.predictions.predicted["student"][sample])
    visit(page, f"/mistakes?group=fixed&open={sample}")
    alone = panel(page, sample).get_by_role("group", name="Student alone", exact=True)
    playwright.expect(alone.get_by_role("img", name=re.compile(f"what speaks for {said},"))).to_be_visible()
    before = alone.get_by_role("img").get_attribute("src")
    panel(page, sample).get_by_role("button", name="The true class").click()
    playwright.expect(alone.get_by_role("img", name=re.compile(f"what speaks for {label},"))).to_be_visible()
    assert alone.get_by_role("img").get_attribute("src") != before
    comes(page, lambda query: query.get("explain") == "true")
    panel(page, sample).get_by_role("button", name="Close").click()
    playwright.expect(page.get_by_text("Where do they look?")).to_be_visible()
    playwright.expect(thumbs(page).first).to_be_focused()


@pytest.mark.parametrize("way", ["Enter", "double click", "panel"])
def test_a_mistake_opens_in_compare_and_back_finds_the_view(page, way):
    visit(page, "/mistakes?group=fixed&order=kl&model=student")
    thumb = thumbs(page).nth(1)
    playwright.expect(thumb).to_be_visible()
    said = thumb.get_attribute("aria-label")
    tile = re.match(
        r"Sample (\d+), true class (\d): Teacher says \d, KD student says (\d), Student alone says (\d)", said
    )
    sample, label, kd_student, alone = tile.groups()
    assert kd_student == label != alone
    if way == "Enter":
        thumb.focus()
        page.keyboard.press("Enter")
    elif way == "double click":
        thumb.dblclick()
    else:
        thumb.click()
        panel(page, int(sample)).get_by_role("button", name="Open in Compare").click()
    settled(page)
    comes(page, lambda query: query.get("sample") == sample)
    playwright.expect(page.get_by_role("region", name="KD student", exact=True)).to_contain_text("✓ right")
    playwright.expect(page.get_by_role("region", name="Student alone", exact=True)).to_contain_text("✗ wrong")
    page.go_back()
    playwright.expect(page.get_by_text("Who gets it wrong?")).to_be_visible()
    playwright.expect(thumbs(page).nth(1)).to_have_attribute("aria-label", said)
    comes(
        page, lambda query: (query.get("group"), query.get("order"), query.get("model")) == ("fixed", "kl", "student")
    )


def test_several_are_selected_over_pages_and_compared(page):
    visit(page, "/mistakes?group=all&order=sample")
    shows(page, list(range(PER_PAGE)))
    thumbs(page).nth(3).focus()
    page.keyboard.press("Space")
    playwright.expect(thumbs(page).nth(3)).to_have_attribute("aria-selected", "true")
    box = thumbs(page).nth(17)
    box.hover()
    box.locator(".box").click()
    playwright.expect(page.get_by_text("2 selected")).to_be_visible()
    assert "open" not in query(page)  # its box does not open it
    page.get_by_role("button", name="Next page").first.click()
    shows(page, list(range(PER_PAGE, 2 * PER_PAGE)))
    thumbs(page).nth(2).click()
    panel(page, 50).get_by_role("button", name="Select", exact=True).click()
    playwright.expect(panel(page, 50).get_by_role("button", name="✓ Selected")).to_have_attribute(
        "aria-pressed", "true"
    )
    comes(page, lambda query: query.get("selected") == "3,17,50")
    with page.expect_download() as download:
        page.get_by_role("button", name="The selection (CSV)").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [int(row["sample"]) for row in rows] == [3, 17, 50]
    page.get_by_role("button", name="Compare these").click()
    settled(page)
    comes(page, lambda query: query.get("samples") == "3,17,50")
    playwright.expect(page.locator(".strip button")).to_have_count(3)
    page.go_back()
    playwright.expect(page.get_by_text("3 selected")).to_be_visible()
    playwright.expect(thumbs(page).nth(2)).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="Clear the selection").click()
    playwright.expect(page.get_by_text("3 selected")).to_have_count(0)
    comes(page, lambda query: "selected" not in query)


def test_a_whole_page_is_selected_and_there_is_a_most(page):
    visit(page, "/mistakes?group=all&order=sample")
    for number in (1, 2, 3):
        page.get_by_role("button", name="Select this page").click()
        playwright.expect(
            page.get_by_text(re.compile(f"^{min(100, number * PER_PAGE)} selected|^No more"))
        ).to_be_visible()
        if number < 3:
            page.get_by_role("button", name="Next page").first.click()
            shows(page, list(range(number * PER_PAGE, (number + 1) * PER_PAGE)))
    playwright.expect(page.get_by_text("No more than 100 can be selected.")).to_be_visible()
    comes(page, lambda query: len(query.get("selected", "").split(",")) == 100)


def test_the_list_is_saved_as_it_is_filtered_and_ordered(page, digits_index):
    visit(page, "/mistakes?group=any_wrong&order=kl&model=student")
    expected = digits_index.indices(Filters("any_wrong", "student"), "kl")
    playwright.expect(thumbs(page)).to_have_count(PER_PAGE)
    with page.expect_download() as download:
        page.get_by_role("button", name="This list (CSV)").click()
    assert download.value.suggested_filename == "kdviz-mnist-any_wrong.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [int(row["sample"]) for row in rows] == expected.tolist()
    labels, predicted = digits_index.predictions.labels, digits_index.predictions.predicted["teacher"]
    assert [int(row["true"]) for row in rows] == labels[expected].tolist()
    assert [int(row["teacher_predicted"]) for row in rows] == predicted[expected].tolist()


def test_a_link_reopens_the_whole_view(server, newcomer, digits_index):
    filters = Filters("all", "student", true=4, low=0.5, high=0.99)
    places = digits_index.indices(filters, "kl-student").tolist()
    sample = places[-1]
    view = f"group=all&model=student&class=4&confidence=50-99&order=kl-student&open={sample}&selected={sample},7"
    newcomer.goto(f"{server}/mistakes?{view}")
    shows(newcomer, places)
    playwright.expect(newcomer.get_by_role("combobox", name=re.compile("Model"))).to_have_value("Student alone")
    playwright.expect(newcomer.get_by_role("combobox", name=re.compile("True class"))).to_have_value("4")
    playwright.expect(panel(newcomer, sample)).to_be_visible()
    playwright.expect(newcomer.get_by_text("2 selected")).to_be_visible()
    for name, value in parse_qs(view).items():
        assert query(newcomer)[name] == value[0], name


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (
            "group=nope&order=nope&class=cat&model=nobody&confidence=x",
            ["a known group", "a known order", "a known class", "a known model", "a range of confidence"],
        ),
        ("confidence=90-10", ["a range of confidence"]),
        ("experiment=many&inside=x", ["a range of shares"]),
    ],
)
def test_a_wrong_link_says_so_and_shows_a_list(page, many, view, words):
    visit(page, f"/mistakes?{view}")
    for part in words:
        alert = page.get_by_role("alert").filter(has_text=f"is not {part}")
        playwright.expect(alert).to_be_visible()
    playwright.expect(thumbs(page).first).to_be_visible()


@pytest.mark.parametrize("view", ["open=999999&page=999&group=all", "open=-3&page=x&selected=a,b"])
def test_a_number_that_is_none_is_left_out(page, view):
    visit(page, f"/mistakes?{view}")
    playwright.expect(thumbs(page).first).to_be_visible()
    playwright.expect(page.get_by_text("Where do they look?")).to_be_visible()


def test_a_stored_sample_opens_by_its_number_in_the_split(page, models):
    stored = load_experiment(models / "shapes").samples("test")
    assert not np.array_equal(stored.numbers, np.arange(len(stored)))  # only some are stored
    visit(page, "/mistakes?experiment=shapes&group=any_wrong")
    said = thumbs(page).nth(5).get_attribute("aria-label")
    thumbs(page).nth(5).focus()
    page.keyboard.press("Enter")
    settled(page)
    number = int(re.match(r"Sample (\d+),", said)[1])
    label = int(stored.labels[stored.numbers.tolist().index(number)])
    comes(page, lambda query: query.get("sample") == str(number))
    comes(page, lambda query: query.get("experiment") == "shapes")
    playwright.expect(page.get_by_text(f"True class: {label}")).to_be_visible()
    for role in ("Teacher", "KD student", "Student alone"):
        predicted = re.search(rf"{role} says (\d)", said)[1]
        card = page.get_by_role("region", name=role, exact=True)
        playwright.expect(card).to_contain_text("✓ right" if int(predicted) == label else "✗ wrong")


def test_without_a_teacher_there_are_the_students_groups(page):
    visit(page, "/mistakes?experiment=no-teacher&group=all")
    thumbs(page).first.click()
    playwright.expect(page.get_by_role("img", name=re.compile("what speaks for"))).to_have_count(2)
    playwright.expect(chip(page, "Fixed by distillation")).to_be_visible()
    assert chip(page, "Inherited").count() == 0


def test_on_a_phone_the_panel_is_a_sheet_and_pairs_are_folded(page):
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, "/mistakes?group=all&order=sample")
    playwright.expect(page.get_by_role("table")).to_have_count(0)
    page.get_by_role("button", name="Class pairs").click()
    playwright.expect(page.get_by_role("table")).to_be_visible()
    thumbs(page).nth(1).click()
    sheet = panel(page, 1)
    playwright.expect(sheet.get_by_role("img", name=re.compile("what speaks for"))).to_have_count(3)
    box = sheet.bounding_box()
    assert box["x"] == 0
    assert box["width"] == 390
    assert abs(box["y"] + box["height"] - 844) < 2
    assert not page.evaluate(TOO_WIDE)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    sheet.get_by_role("button", name="Close").click()
    playwright.expect(sheet).to_have_count(0)


@pytest.mark.parametrize("experiment", ["mnist", "many"])
def test_everybody_can_use_it(page, many, experiment):
    visit(page, f"/mistakes?experiment={experiment}&group=any_wrong&selected=1,2")
    thumbs(page).first.click()
    playwright.expect(page.get_by_role("img", name=re.compile("what speaks for"))).to_have_count(3)
    at_rest(page)
    assert seen_by_axe(page) == []
    coloured(page, "dark")
    assert seen_by_axe(page, OF_COLOURS) == []
