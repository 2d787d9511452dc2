"""Any experiment.json whatever: it opens, and everything that reads it works, or it is refused in one sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_documents import NASTY, full_documents, places, with_value

from kdviz.app import library
from kdviz.app.page_registry import pages
from kdviz.cli import main
from kdviz.core.errors import KdvizError
from kdviz.data import LabelledImages
from kdviz.experiment import Experiment, load_experiment
from kdviz.studies.comparison import inventory
from kdviz.studies.predictions.evaluation import evaluate

pytestmark = pytest.mark.slow
STEP = 4
"""Each field gets every fourth value, in turn: all of them take a minute and a half, and find no more."""

PAGES = ("overview", "compare", "mistakes", "models")


@pytest.fixture
def evaluated(tiny: Experiment, small_digits: LabelledImages) -> Experiment:
    samples = small_digits.take(torch.arange(30))
    for _role in evaluate(tiny, samples, device="cpu"):
        pass
    tiny.write_samples([samples])
    return load_experiment(tiny.folder)


def written(folder: Path, document: Any) -> Path:
    (folder / "experiment.json").write_text(json.dumps(document))
    return folder


def read_by_pages(folder: Path) -> Experiment:
    """What pages and files make of an experiment's record."""
    experiment = load_experiment(folder)
    json.dumps(inventory.document(experiment, "cpu"), ensure_ascii=False).encode()
    inventory.table(experiment)
    inventory.metrics_rows(experiment)
    assert inventory.glance(folder) is not None
    library.title("tiny", folder).encode()
    return experiment


def refusal_or_nothing(act: Callable[[], Any]) -> str:
    """The sentence by which something is refused; empty where it works. Anything else fails the test."""
    text = ""
    try:
        act()
    except KdvizError as error:
        text = str(error) or "nothing"
    text.encode()
    assert "\n" not in text
    assert len(text) < 2000
    return text


def test_every_field_of_a_record_with_every_nasty_value(evaluated: Experiment) -> None:
    folder, opened, refused = evaluated.folder, 0, 0
    one, two = full_documents(evaluated)
    known = dict.fromkeys(places(one))
    cases = [*((one, place) for place in known), *((two, place) for place in places(two) if place not in known)]
    for number, (document, place) in enumerate(cases):
        for value in NASTY[number % STEP :: STEP]:
            written(folder, with_value(document, place, value))
            if refusal_or_nothing(lambda: read_by_pages(folder)):
                refused += 1
            else:
                opened += 1
    assert opened > 50  # a field that is free may hold much
    assert refused > 500


def used_documents(experiment: Experiment) -> Iterator[tuple[str, Any]]:
    """Documents that open although they are odd: each is then explained, evaluated and reported."""
    document = full_documents(experiment)[1]
    odd = ["$\\frac{$", "{folder}", "<script>", "=1+1", "\u202e", "'", '"', "%s", "x" * 5000, "数字 🐈"]
    yield "classes", with_value(document, ("classes",), odd)
    yield "titles", with_value(document, ("runs", 1, "title"), odd[0])
    yield "paths", with_value(document, ("runs", 1, "training", "import"), {"file": "../../x\n", "notes": odd})
    yield "deviation", with_value(document, ("picture", "std"), [1e-6])
    yield "settings", with_value(document, ("runs", 1, "settings"), {"classes": 3, "x": [[]]})
    yield "schedule", with_value(document, ("runs", 1, "training", "temperature"), "no schedule")
    yield "shortcut", with_value(document, ("runs", 1, "training", "planted"), {"kind": "nothing"})
    yield "doubts", with_value(document, ("runs", 1, "training", "doubts"), [{}, 3, {"kind": "order", "figures": []}])
    yield "size", with_value(document, ("picture", "size"), [15, 14])
    many = copy.deepcopy(document)
    many["runs"] = [{**many["runs"][2], "role": f"run_{number}"} for number in range(50)]
    yield "runs", many


def test_what_opens_can_be_explained_evaluated_and_reported(
    evaluated: Experiment, small_digits: LabelledImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "digit.png"
    small_digits.picture(0).save(picture)
    samples, folder = small_digits.take(torch.arange(12)), evaluated.folder
    for name, document in used_documents(evaluated):
        experiment = read_by_pages(written(folder, document))
        own = replace(samples, classes=experiment.classes)
        refusal_or_nothing(lambda experiment=experiment, own=own: list(evaluate(experiment, own, device="cpu")))
        written(folder, document)
        for ending in [
            ".npz",
            *([".html"] if name in ("classes", "runs") else []),
            *([".svg"] if name == "classes" else []),
        ]:
            maps = ["--masks", "4", "--grid", "3", "--out", str(tmp_path / f"{name}{ending}")]
            assert main(["explain", str(picture), "-e", str(folder), *maps]) in (0, 1)
        for verb in ("report", "recipe"):
            assert main([verb, "-e", str(folder)]) in (0, 1)
        capsys.readouterr().err.encode()


def test_pages_draw_what_opens(evaluated: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setattr("streamlit.page_link", lambda *_, **__: None)  # there are no other pages
    from drawn_pages import _draw

    documents = dict(used_documents(evaluated))
    for name, shown_on in (("classes", PAGES), ("doubts", ("models",))):
        folder = written(evaluated.folder, documents[name])
        for page in shown_on:
            drawn = testing.AppTest.from_function(_draw, args=(f"kdviz.app.pages.{page}.page", str(folder)))
            drawn.session_state["pages"] = dict.fromkeys(pages)
            drawn.run(timeout=600)
            problems = [one.value for one in drawn.exception if "KdvizError" not in type(one).__name__]
            assert not problems, (name, page, problems)
