"""Commands that meet a picture that keeps its decoder busy: it is named in one sentence, and the command ends."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faulty import pictures_of_two_classes
from PIL import Image

from kdviz.cli import main
from kdviz.core.decoding import apart
from kdviz.core.decoding.guarded import open_mask_guarded
from kdviz.core.errors import ImageError, TooCostlyError
from kdviz.data.picture_files import read_picture_files
from kdviz.data.readers.folders import image_folder
from kdviz.data.readers.parquet import open_parquet, parquet_folder
from kdviz.data.readers.usual_training import _shape
from kdviz.experiment import load_experiment

BUSY = "while True: pass"
SENTENCE = "takes too much time or memory to be decoded; please save it again as PNG or JPEG."


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Decoders that never end, in whichever process a picture would be decoded; those that were started."""
    start, commands = apart.subprocess.Popen, []

    def popen(command: list[str], **options):
        commands.append(command)
        return start([command[0], "-c", BUSY], **options)

    monkeypatch.setattr(apart.subprocess, "Popen", popen)
    decoders = apart._Decoders()
    decoders._idle = [apart.Decoder(wait=0.3) for _ in range(8)]
    monkeypatch.setattr(apart, "_decoders", decoders)
    return commands


def with_busy_ones(folder: Path, count: int) -> Path:
    """Two classes of pictures, some of which are of a kind that is decoded apart."""
    data = pictures_of_two_classes(folder / "data", 8)
    for split in ("train", "test"):
        for number in range(count):
            Image.new("L", (14, 14)).save(data / split / "dark" / f"x{number}.webp")
    return data


def test_explain_refuses_it(
    tiny_folder: Path, tmp_path: Path, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "a.tif"
    Image.new("L", (28, 28)).save(picture)
    arguments = ["explain", str(picture), "-e", str(tiny_folder), "--masks", "4", "--grid", "3"]
    assert main([*arguments, "--out", str(tmp_path / "maps.npz")]) == 1
    assert capsys.readouterr().err.splitlines() == [f"kdviz: a.tif {SENTENCE}"]
    with pytest.raises(ImageError, match="too much time"):
        load_experiment(tiny_folder).baseline(picture, Image.new("L", (28, 28)))


def parquet_of_them(folder: Path) -> Path:
    buffer = io.BytesIO()
    Image.new("L", (14, 14)).save(buffer, "TIFF")
    folder.mkdir()
    pq.write_table(pa.table({"image": [buffer.getvalue()] * 60, "label": [0, 1] * 30}), folder / "train.parquet")
    return folder


READINGS: dict[str, Callable[[Path], object]] = {
    "evaluation": lambda room: list(read_picture_files(with_busy_ones(room, 60) / "test").pictures()),
    "training": lambda room: image_folder(with_busy_ones(room, 60), (14, 14), channels=1),
    "parquet": lambda room: parquet_folder(parquet_of_them(room / "data"), (14, 14)),
    "examples": lambda room: _shape(open_parquet(parquet_of_them(room / "data"))),
}


@pytest.mark.parametrize("reading", READINGS)
def test_a_folder_of_them_is_refused_at_the_first(reading: str, tmp_path: Path, started: list[list[str]]) -> None:
    with pytest.raises(TooCostlyError, match=SENTENCE):
        READINGS[reading](tmp_path)
    assert len(started) < 20  # and not one for each


def test_a_mask_of_a_region_is_refused(tmp_path: Path, started: list[list[str]]) -> None:
    Image.new("L", (14, 14)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=SENTENCE):
        open_mask_guarded(tmp_path / "a.tif")
