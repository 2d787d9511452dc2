"""Whatever a parser is given, it reads it or refuses it in one sentence: texts, and files with some bytes changed.

A few examples, always the same, unless KDVIZ_EXAMPLES says how many; then they are drawn anew each time.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_files import good_files
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kdviz.cli import main
from kdviz.cli.common.recipe_files import read_recipe
from kdviz.core.errors import KdvizError
from kdviz.core.images import open_image, open_mask
from kdviz.data.labels.class_names import read_classes
from kdviz.data.prediction_files import read_table
from kdviz.data.regions import read_regions
from kdviz.distill.schedules import schedule
from kdviz.importing.spec import named_model, parse_spec, role_of
from kdviz.models.checkpoints import read_checkpoint
from kdviz.studies.sweep.loss_values import parse_loss

EXAMPLES = int(os.environ.get("KDVIZ_EXAMPLES", "0"))

pytestmark = pytest.mark.slow
tried = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)

WORDS = ["1", "0", "-", "9" * 400, "1e400", "nan", "inf", ":", "=", ",", ".", "/", ";", " ", "cosine", "learned"]
WORDS += [
    "kd",
    "dkd",
    "fitnets",
    "weight",
    "size",
    "mean",
    "classes",
    "file.pt",
    "\n",
    "\0",
    "\ud800",
    "\u202e",
    "{",
    "}",
    "%s",
]
texts = st.one_of(st.lists(st.sampled_from(WORDS), max_size=9).map("".join), st.text(max_size=40))


def holds(act: Callable[[], Any]) -> None:
    """It ends, or refuses in one sentence."""
    said = "read"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            act()
    except KdvizError as error:
        said = str(error)
    assert said.strip()
    assert len(said) < 5000


@tried
@given(texts)
@example("1=1,1=2")
@example("1:2:learned")
def test_schedules(text: str) -> None:
    holds(lambda: schedule("temperature", text))
    holds(lambda: schedule("alpha", text))


@tried
@given(texts)
def test_losses(text: str) -> None:
    holds(lambda: parse_loss(text))


@tried
@given(texts, st.lists(texts, max_size=3))
@example("~nobody", [])
@example("a=~nobody", [])
def test_models(text: str, roles: list[str]) -> None:
    holds(lambda: parse_spec("teacher", text))
    holds(lambda: role_of(named_model(text)[0], roles))


@tried
@given(st.one_of(texts, st.lists(texts, max_size=4)))
def test_class_names(source: str | list[str]) -> None:
    holds(lambda: read_classes(source))


COMMANDS = [
    ["sweep", "temperature", "--values"],
    ["sweep", "loss", "--values"],
    ["sweep", "teacher-epochs", "--values"],
    ["sweep", "alpha", "--seeds"],
    ["study", "--study", "shifts", "--values"],
    ["study", "--study", "tree", "--values"],
    ["study", "--minutes"],
    ["evaluate", "--margin"],
    ["recipe", "-e"],
    ["report", "-e"],
    ["explain", "-e"],
]


@tried
@given(st.sampled_from(COMMANDS), texts)
def test_options(command: list[str], text: str) -> None:
    """No value of an option is a traceback; the experiment does not exist, or is found out to be nothing."""
    where = [] if "-e" in command else ["-e", "/nowhere"]
    given = f"{command[-1]}={text}" if command[-1] != "-e" else f"-e{text}"
    try:
        status: object = main([*command[:-1], given, *where])
    except SystemExit as end:
        status = end.code
    assert status in (0, 1, 2)


# files ----------------------------------------------------------------------------------------------------------------

GOOD = good_files()
READERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys(["png", "jpg", "gif", "tif", "webp", "bmp"], lambda path: (open_image(path), open_mask(path))),
    **dict.fromkeys(["safetensors", "pt"], read_checkpoint),
    **dict.fromkeys(["npz", "npy"], lambda path: read_table(path, ("a", "b", "c"))),
    **dict.fromkeys(["json", "xml"], lambda path: read_regions(path, {"a.png": (10, 20)})),
    "toml": lambda path: read_recipe(str(path)),
    "csv": lambda path: (
        holds(lambda: read_table(path, ("a", "b", "c"))),
        holds(lambda: read_regions(path, {"a.png": (10, 20)})),
        read_classes(path),
    ),
}


EVIL = [b"\xff" * 8, b"\0" * 8, b"-1", b"9" * 30, b"nan"]


@st.composite
def changed_files(draw: st.DrawFn, name: str) -> bytes:
    """A good file with bytes changed, taken out, put in and moved."""
    content = bytearray(GOOD[name])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        count = draw(st.integers(0, 16))
        new = draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 8, b"\0" * 8, b"-1", b"9" * 30, b"nan"]))
        )
        if draw(st.booleans()):
            content[place : place + len(new)] = new
        else:
            content[place : place + count] = new
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@pytest.mark.parametrize("name", [name for name in GOOD if name.rpartition(".")[2] in READERS])
@tried
@given(data=st.data())
def test_files(name: str, data: st.DataObject) -> None:
    content = data.draw(changed_files(name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        holds(lambda: READERS[path.suffix[1:]](path))
        assert list(Path(folder).iterdir()) == [path]
