"""Thumbnails in one file, against the pictures that they are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdviz.core.errors import ExperimentError
from kdviz.data.thumbnails import SIDE, ThumbnailParts, Thumbnails, thumbnail, write_thumbnails

COUNT = 23


def pictures() -> list[Image.Image]:
    """Plain colours, which JPEG keeps, 300 x 200 pixels."""
    draw = np.random.default_rng(0)
    return [Image.new("RGB", (300, 200), tuple(draw.integers(0, 255, 3).tolist())) for _ in range(COUNT)]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("kdviz.data.thumbnails._BATCH", 5)
    names = [f"val/{number}.jpg" for number in range(COUNT)]
    labels = [number % 4 - 1 for number in range(COUNT)]
    write_thumbnails(tmp_path / "thumbnails.arrow", "test", names, labels, map(thumbnail, pictures()))
    return tmp_path / "thumbnails.arrow"


def test_any_of_them_is_read_by_itself(path: Path) -> None:
    thumbnails = Thumbnails(path, 3)
    assert (thumbnails.split, len(thumbnails), thumbnails.names[11]) == ("test", COUNT, "val/11.jpg")
    assert thumbnails.numbers.tolist() == list(range(COUNT))
    assert thumbnails.labels.tolist() == [number % 4 - 1 for number in range(COUNT)]
    originals = pictures()
    for index, small in zip([17, 3, 17], thumbnails.pictures([17, 3, 17]), strict=True):
        assert small.size == (SIDE, round(SIDE * 200 / 300))
        assert np.abs(np.asarray(small).mean((0, 1)) - np.asarray(originals[index]).mean((0, 1))).max() < 3


def test_grey_ones_stay_grey(tmp_path: Path) -> None:
    write_thumbnails(tmp_path / "t.arrow", "test", ["a"], [0], [thumbnail(Image.new("L", (28, 28), 77))])
    (small,) = Thumbnails(tmp_path / "t.arrow", 1).pictures([0])
    assert (small.mode, small.size) == ("L", (28, 28))


@pytest.mark.parametrize("harm", ["missing", "cut off", "no such class", "no picture"])
def test_damage_is_one_sentence(path: Path, harm: str) -> None:
    if harm == "missing":
        path.unlink()
    elif harm == "cut off":
        path.write_bytes(path.read_bytes()[:-200])
    elif harm == "no picture":
        write_thumbnails(path, "test", ["a"], [0], [b"not a picture"])
    with pytest.raises(ExperimentError, match="is damaged"):
        Thumbnails(path, 2 if harm == "no such class" else 3).pictures([0])


def test_those_under_way_continue(tmp_path: Path) -> None:
    images = [thumbnail(picture) for picture in pictures()]
    parts = ThumbnailParts(tmp_path)
    parts.append(images[:9])
    parts.close()
    parts = ThumbnailParts(tmp_path)
    assert len(parts) == 9
    parts.truncate(6)  # of the others there are no logits
    parts.append(images[6:12])
    assert len(parts) == 12
    assert list(parts.images()) == images[:12]
    parts.close()
