"""A coverage-guided fuzzer for what reads files of strangers; no part of the suite.

It needs atheris (``pip install atheris``), which is no dependency. A line a target::

    PYTHONPATH=.:tests/support python tests/support/fuzz.py picture|zip|safetensors|document SECONDS [FOLDER]

FOLDER keeps the inputs that reached something new, and what was found: a traceback, more than 10 seconds or 1.5 GB.
A finding becomes a case of ``hostile_files.py``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris  # pyright: ignore[reportMissingImports]

with atheris.instrument_imports(include=["kdviz", "PIL", "safetensors"]):
    from hostile_files import good_files, hostile_files

    from kdviz.app.uploads import unpacking
    from kdviz.core.decoding.ordinary import is_ordinary
    from kdviz.core.errors import KdvizError
    from kdviz.core.files import MODELS
    from kdviz.core.images import open_image, open_mask, picture_size
    from kdviz.experiment.loading import read_document
    from kdviz.models.checkpoints import read_checkpoint

_LARGEST = 20_000  # bytes of an input
_MEMORY = 2500  # MB, of which the instrumented modules take 1000


def read_picture(content: bytes) -> None:
    is_ordinary(content)
    for read in (picture_size, open_image, open_mask):
        refused(lambda read=read: read(content))


def read_zip(content: bytes) -> None:
    with unpacking.from_zip(content) as package, tempfile.TemporaryDirectory() as folder:
        package.write(Path(folder) / "e")


def read_safetensors(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(content)
        file.flush()
        read_checkpoint(Path(file.name))


def read_json(content: bytes) -> None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        read_document(Path("e"), document)


TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[str, ...]]] = {
    "picture": (read_picture, (".png", ".jpg", ".gif", ".tif", ".webp", ".bmp")),
    "zip": (read_zip, (".npz", ".pt")),  # both are zips
    "safetensors": (read_safetensors, (".safetensors",)),
    "document": (read_json, ()),
}
"""What reads an input, and the endings of the hostile files that it begins with."""


def refused(act: Callable[[], Any]) -> None:
    """Let pass what is refused in one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            act()
        except KdvizError as error:
            said = str(error)
        else:
            said = "read"
    assert said.strip()
    assert "\n" not in said
    assert len(said) < 5000


def seeds(target: str, folder: Path) -> None:
    """Write the inputs with which the fuzzer begins."""
    folder.mkdir(parents=True, exist_ok=True)
    if target == "document":
        document = json.loads((MODELS / "mnist" / "experiment.json").read_text(encoding="utf-8"))
        (folder / "seed-whole").write_text(json.dumps(document))
        (folder / "seed-one").write_text(json.dumps({**document, "runs": document["runs"][:1]}))
    for name, content in (*good_files().items(), *hostile_files()):
        if name.endswith(TARGETS[target][1]) and len(content) <= _LARGEST and TARGETS[target][1]:
            (folder / f"seed-{name}").write_bytes(content)


def main(target: str, seconds: str, folder: str = "") -> None:
    read, _ = TARGETS[target]
    place = Path(folder or tempfile.mkdtemp()) / target
    seeds(target, place)
    limits = [f"-max_total_time={seconds}", f"-max_len={_LARGEST}", "-timeout=10", f"-rss_limit_mb={_MEMORY}"]
    found = f"-artifact_prefix={place.parent}/{target}-"
    atheris.Setup([sys.argv[0], str(place), *limits, found], lambda content: refused(lambda: read(content)))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
