"""The pages Models, and Methods and limits, in a real browser; the login; and a plugin's page and method."""

from __future__ import annotations

import io
import json
import os
import re
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import plugins
import pytest
import torch
from browser import ROOT, TOO_WIDE, at_rest, choose_files, coloured, needs_browser, running, settled, visit
from safetensors.torch import load_file, save

from kdviz.app.pages.methods.page import TOPICS
from kdviz.core.files import MODELS
from kdviz.data import bundled_digits
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import load_experiment

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser
PATIENCE = 600  # seconds, after which what is still there will stay
FORMULAE = {
    "rise": 2,
    "estimators": 3,
    "uncertainty": 2,
    "agreement": 3,
    "faithfulness": 1,
    "distillation": 1,
    "errors": 4,
}
"""Topic -> formulae set apart."""
SECRET = "0123456789abcdef0123456789abcdef"  # of the test's own server


@contextmanager
def started(folder: Path, script: str = "app.py", **environment: str) -> Iterator[str]:
    """A server; its uploads are in ``folder``."""
    log = folder / "log.txt"
    with running(log, script, **{"KDVIZ_MODELS": "", "TMPDIR": str(folder), **environment}) as (address, _process):
        yield address
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its temporary files."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(uploads: Path) -> Iterator[str]:
    """With a plugin, and a thread that counts what is kept of sessions."""
    (uploads / "plugin").mkdir()
    installed = plugins.install(uploads / "plugin")
    path = os.pathsep.join([str(installed), str(ROOT)])
    with started(uploads, "tests/support/probe_app.py", PROBE=str(uploads), PYTHONPATH=path) as address:
        yield address


@pytest.fixture(scope="module")
def mnist_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zip") / "My models.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted((MODELS / "mnist").iterdir()):
            archive.write(file, f"mnist/{file.name}")
        archive.writestr("mnist/notes.txt", "left out")
    return path


def send(page: playwright.Page, name: str, content: bytes) -> None:
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    choose_files(page, "input[type=file]", file)


def own_files(uploads: Path) -> list[Path]:
    """Those of sessions; a server's lock is none."""
    return [path for path in uploads.glob("kdviz-own-*/session-*/**/*") if path.is_file()]


def kept(uploads: Path) -> dict[str, int]:
    """What the server's process keeps of sessions now; see tests/support/probe_app.py."""
    answer = uploads / "answer.json"
    answer.unlink(missing_ok=True)
    (uploads / "ask").touch()
    end = time.monotonic() + PATIENCE
    while not answer.exists():
        assert time.monotonic() < end, "the probe does not answer"
        time.sleep(0.1)
    return json.loads(answer.read_text())


def digit() -> bytes:
    buffer = io.BytesIO()
    bundled_digits()["bundled"].picture(3).save(buffer, "PNG")
    return buffer.getvalue()


def gone(uploads: Path) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not list(uploads.glob("kdviz-own-*/session-*")):
            return True
        time.sleep(0.3)
    return False


# models ---------------------------------------------------------------------------------------------------------------


def test_what_is_loaded_is_said_exactly(page: playwright.Page) -> None:
    visit(page, "/models")
    experiment = load_experiment(MODELS / "mnist")
    cards = page.locator(".ab-card")
    playwright.expect(cards).to_have_count(3)
    for card, run in zip(cards.all(), experiment.runs.values(), strict=True):
        for word in (run.network, run.weights, run.sha256[:12], f"{run.metrics['test']['accuracy']:.2%}"):
            playwright.expect(card).to_contain_text(word)
    playwright.expect(cards.nth(0)).to_contain_text("1,625,866")
    playwright.expect(cards.nth(1)).to_contain_text(re.compile("Temperature T4.*Alpha0.5"))
    page.get_by_text("Full hashes, versions and downloads").click()
    playwright.expect(page.locator(".stCode")).to_contain_text(experiment.runs["teacher"].sha256)
    playwright.expect(page.get_by_text(f"torch {torch.__version__}")).to_be_visible()
    at_rest(page)  # the buttons are replaced when the script ends
    with page.expect_download() as saved:
        page.get_by_role("button", name="Models (CSV)").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("role,network,parameters,weights,bytes,sha256")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Everything (JSON)").click()
    assert experiment.runs["student"].sha256 in Path(saved.value.path()).read_text()


@pytest.mark.parametrize("path", ["models?bring=weights", "methods?topic=agreement"])
def test_the_pages_fit_a_phone(page: playwright.Page, path: str) -> None:
    """What the pages of test_app_everywhere.py do not open with."""
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, f"/{path}")
    wide = TOO_WIDE.replace(
        ".stDataFrame", ".stDataFrame, .ab-scroll, .katex-display, .stSegmentedControl, .st-key-topics"
    )
    for scheme in ("light", "dark"):
        coloured(page, scheme)
        playwright.expect(page.locator(".ab-card, .st-key-topic h3").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate(wide) is False


def test_a_zip_is_opened_for_this_session_alone_and_leaves_disk_and_memory_when_it_ends(
    server: str, newcomer: playwright.Page, uploads: Path, mnist_zip: Path
) -> None:
    before = sorted(path.name for path in (MODELS / "mnist").iterdir())
    newcomer.goto(f"{server}/models")
    choose_files(newcomer, "input[type=file]", mnist_zip)
    playwright.expect(newcomer.get_by_text("My models.zip is here")).to_be_visible()
    playwright.expect(newcomer.get_by_text("1 file left out: mnist/notes.txt")).to_be_visible()
    own = re.search(r"experiment=(own-my-models-\w+)", newcomer.url)
    assert own
    assert len(own_files(uploads)) == len(before)
    newcomer.get_by_role("link", name="Compare its maps").click()
    playwright.expect(newcomer).to_have_url(re.compile(f"compare.*experiment={own[1]}|experiment={own[1]}"))
    settled(newcomer)
    playwright.expect(newcomer.locator("canvas.k-map")).to_have_count(3)

    other = newcomer.context.new_page()
    other.goto(f"{server}/models?experiment={own[1]}")
    playwright.expect(other.get_by_role("alert").filter(has_text="brought by another session")).to_be_visible()
    playwright.expect(other.get_by_text("My models.zip")).to_have_count(0)
    playwright.expect(other.locator(".ab-card")).to_have_count(3)
    other.close()

    newcomer.get_by_role("link", name="Overview", exact=True).click()
    playwright.expect(newcomer.locator(".ov-answer").first).to_be_visible()
    newcomer.get_by_role("link", name="Compare", exact=True).click()
    settled(newcomer)
    newcomer.get_by_role("button", name="Your own picture").click()
    choose_files(newcomer, "input[type=file]", {"name": "d.png", "mimeType": "image/png", "buffer": digit()})
    playwright.expect(newcomer.get_by_text("Your pictures", exact=True)).to_be_visible()
    settled(newcomer)
    there = kept(uploads)
    assert all(there.get(name) for name in ("experiments", "pictures", "requests", "results")), there

    newcomer.goto("about:blank")
    assert gone(uploads)
    assert sorted(path.name for path in (MODELS / "mnist").iterdir()) == before
    end = time.monotonic() + PATIENCE
    while any((left := kept(uploads)).values()) and time.monotonic() < end:
        time.sleep(1)
    assert not any(left.values()), left  # what Streamlit keeps, too


def test_weights_are_added_beside_the_experiments_models(page: playwright.Page, uploads: Path) -> None:
    visit(page, "/models?bring=weights")
    experiment = load_experiment(MODELS / "mnist")
    state = load_file(MODELS / "mnist" / experiment.runs["student"].weights)
    noisy = {name: tensor + 0.01 * torch.randn(tensor.shape) for name, tensor in state.items()}
    send(page, "noisy.safetensors", save(noisy))
    page.get_by_role("textbox", name="Name of the model").fill("noisy")
    page.get_by_role("textbox", name="Name of the model").press("Tab")
    page.get_by_role("button", name="Add to MNIST").click()
    card = page.locator(".ab-card").nth(3)
    playwright.expect(card).to_contain_text("noisy")
    playwright.expect(card).to_contain_text("paper_fc")
    playwright.expect(card).to_contain_text("this session")
    page.get_by_role("link", name="Compare its maps").click()
    settled(page)
    playwright.expect(page.locator("canvas.k-map")).to_have_count(4)
    page.go_back()
    playwright.expect(page.locator(".ab-card")).to_have_count(4)
    at_rest(page)
    page.get_by_role("button", name="Remove").click()
    playwright.expect(page.locator(".ab-card")).to_have_count(3)
    assert own_files(uploads) == []
    assert len(load_experiment(MODELS / "mnist").runs) == 3


def test_a_refusal_is_one_sentence_and_the_page_goes_on(page: playwright.Page, uploads: Path) -> None:
    of_seven_classes = new_network("paper_fc", load_experiment("mnist").input, 7, 0).state_dict()
    weights = [
        ("x.safetensors", b"\x80\x04cos\nsystem\n", "no safetensors file"),
        ("<b>x</b>.safetensors", save({"a": torch.zeros(1)}), "fit none of paper_cnn, paper_fc"),
        ("y.safetensors", save(dict(of_seven_classes)), "7 × 784"),
    ]
    for way, files in {"zip": [("x.zip", b"PK\x03\x04 no zip", "not a zip")], "weights": weights}.items():
        visit(page, f"/models?bring={way}")
        for name, content, words in files:
            send(page, name, content)
            if way == "weights":
                playwright.expect(page.locator(".stFileUploader")).to_contain_text(name)
                page.get_by_role("button", name="Add to MNIST").click()
            playwright.expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
            playwright.expect(page.locator(".ab-card")).to_have_count(3)
            assert own_files(uploads) == []


def test_a_folder_is_taken_with_its_paths(page: playwright.Page, tmp_path: Path, uploads: Path) -> None:
    import shutil

    folder = shutil.copytree(MODELS / "mnist", tmp_path / "My folder")
    (folder / "runs").mkdir()
    (folder / "runs" / "old.parquet").write_bytes(b"x")
    visit(page, "/models?bring=folder")
    choose_files(page, "input[type=file]", folder)
    playwright.expect(page.get_by_text("My folder is here")).to_be_visible()
    playwright.expect(page.get_by_text("1 file left out: My folder/runs/old.parquet")).to_be_visible()
    page.get_by_role("button", name="Remove").click()
    playwright.expect(page.get_by_text("Yours in this session")).to_have_count(0)
    assert own_files(uploads) == []


# login ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that asks for a login, and the file of its secrets: it reads that once, when it is there."""
    folder = tmp_path_factory.mktemp("guarded")
    secrets = folder / "secrets.toml"
    allowed = {"KDVIZ_LOGIN_ALLOWED": "@example.org", "STREAMLIT_SECRETS_FILES": str(secrets)}
    with started(folder, KDVIZ_LOGIN="1", **allowed) as address:
        yield address, secrets


def set_up(secrets: Path) -> None:
    """A login without the name of a client and its secret."""
    secrets.write_text(f'[auth]\nredirect_uri = "http://localhost/oauth2callback"\ncookie_secret = "{SECRET}"\n')


def test_a_login_that_is_not_set_up_lets_nobody_in(guarded: tuple[str, Path], newcomer: playwright.Page) -> None:
    """The first of these tests: the others write the file."""
    address, secrets = guarded
    assert not secrets.exists()
    newcomer.goto(f"{address}/models")
    playwright.expect(newcomer.get_by_role("alert").filter(has_text="has no section [auth]")).to_be_visible()
    at_rest(newcomer)
    assert newcomer.locator(".ab-card, canvas, .stFileUploader").count() == 0


def test_a_login_that_is_set_up_asks_for_it(guarded: tuple[str, Path], newcomer: playwright.Page) -> None:
    address, secrets = guarded
    set_up(secrets)
    newcomer.goto(f"{address}/models")
    newcomer.get_by_role("button", name="Log in").click()  # the client's name and secret are missing
    playwright.expect(newcomer.get_by_role("alert").filter(has_text="not set up completely")).to_be_visible()
    assert newcomer.locator(".ab-card, canvas, .stFileUploader").count() == 0


def test_who_is_let_in_can_log_out(guarded: tuple[str, Path], newcomer: playwright.Page) -> None:
    address, secrets = guarded
    set_up(secrets)
    newcomer.context.add_cookies([{**logged_in("ada@example.org", address), "url": address}])
    newcomer.goto(f"{address}/models")
    playwright.expect(newcomer.locator(".ab-card")).to_have_count(3)
    newcomer.get_by_role("button", name="Log out").click()
    playwright.expect(newcomer.get_by_role("button", name="Log in")).to_be_visible()
    newcomer.goto(f"{address}/models")
    playwright.expect(newcomer.get_by_role("button", name="Log in")).to_be_visible()
    assert newcomer.locator(".ab-card, canvas, .stFileUploader").count() == 0


def test_where_nobody_logs_in_nobody_logs_out(page: playwright.Page) -> None:
    visit(page, "/methods")
    playwright.expect(page.get_by_role("heading", level=3)).to_have_text("How to read a map")
    assert page.get_by_role("button", name="Log out").count() == 0


def logged_in(email: str, address: str) -> dict[str, str]:
    """The cookie that Streamlit sets when the provider has said who somebody is."""
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    name = "_streamlit_user"
    user = {"is_logged_in": True, "email": email, "email_verified": True, "origin": address, "iat": int(time.time())}
    return {"name": name, "value": create_signed_value(SECRET, name, json.dumps(user)).decode()}


# methods --------------------------------------------------------------------------------------------------------------


def test_every_topic_shows_and_its_formulae_are_set(page: playwright.Page) -> None:
    first, *others = TOPICS
    visit(page, f"/methods?topic={others[-1]}")  # a link opens the topic; the radio buttons lead to the others
    for topic in (others[-1], first, *others[:-1]):
        title = TOPICS[topic][0]
        if topic != others[-1]:
            page.locator(".st-key-topics").get_by_text(title, exact=True).click()
        playwright.expect(page.get_by_role("heading", level=3)).to_have_text(title)
        playwright.expect(page.locator(".katex-display")).to_have_count(FORMULAE.get(topic, 0))
        assert page.locator(".katex-error").count() == 0, topic
        plain = page.locator(".st-key-topic").evaluate(
            "node => { node = node.cloneNode(true);"
            " node.querySelectorAll('.katex, annotation').forEach((one) => one.remove()); return node.textContent }"
        )
        assert not re.search(r"[\\$]|\{\w*\}|\*\*", plain), plain


def test_topics_have_links_and_the_browser_goes_back(page: playwright.Page) -> None:
    visit(page, "/methods")
    playwright.expect(page.get_by_role("heading", level=3)).to_have_text("How to read a map")
    page.get_by_text("Agreement and noise ceiling", exact=True).click()
    playwright.expect(page.get_by_role("heading", level=3)).to_have_text("Agreement and noise ceiling")
    assert "topic=agreement" in page.url
    page.get_by_role("link", name="Next: Deletion and insertion").click()
    playwright.expect(page.get_by_role("heading", level=3)).to_have_text("Deletion and insertion")
    playwright.expect(page.get_by_role("radio", name="Deletion and insertion")).to_be_checked()
    visit(page, "/methods?topic=nothing")
    playwright.expect(page.get_by_role("alert").filter(has_text="is not a known topic")).to_be_visible()


# plugins --------------------------------------------------------------------------------------------------------------


def test_the_app_has_a_plugins_page_and_method(server: str, newcomer: playwright.Page) -> None:
    newcomer.goto(f"{server}/test-shades")
    playwright.expect(newcomer.get_by_role("heading", name="Shades of grey")).to_be_visible()
    playwright.expect(newcomer.get_by_role("link", name="Shades")).to_be_visible()
    visit(newcomer, "/compare?method=test_brightness")
    playwright.expect(newcomer.get_by_text("Brightness").first).to_be_visible()
    playwright.expect(newcomer.locator("canvas.k-map")).to_have_count(3)
