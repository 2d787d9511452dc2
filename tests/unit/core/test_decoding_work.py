"""Pictures that are small and would keep a decoder busy for minutes."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
from hostile_files import png_in_chunks
from PIL import Image

from kdviz.core.decoding.work import MOST_SCANS, MOST_STRIPS, jpeg_scans, most_jpeg_scans, png_chunks, tiff_strips
from kdviz.core.errors import ImageError
from kdviz.core.images import depth_of, open_image, open_mask, picture_size

SECONDS = 5.0  # far below what these files take otherwise, on a busy machine


def jpeg(size: tuple[int, int] = (64, 48), mode: str = "L", **options: bool) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 128).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def with_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG whose last scan is there ``count`` more times."""
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * count + data[end:]


def tiff(width: int, height: int, rows: int, order: str = "<", bits: int = 8, big: bool = False) -> bytes:
    """A TIFF of zeros, all of whose strips are the same bytes; with 32 bits its values are floating-point."""
    strips, strip = -(-height // rows), width * rows * bits // 8
    head, word, entry = (16, "Q", "HHQQ") if big else (8, "I", "HHII")
    at_counts = head + strip + strips * 4
    places = struct.pack(f"{order}{strips}I", *[head] * strips) + struct.pack(f"{order}{strips}I", *[strip] * strips)
    several = strips > 1
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, strips, head + strip if several else head), (277, 3, 1, 1), (278, 4, 1, rows)]
    tags += [(279, 4, strips, at_counts if several else strip), (339, 3, 1, 3 if bits == 32 else 1)]
    directory = struct.pack(f"{order}{'Q' if big else 'H'}", len(tags))
    for tag, kind, count, value in tags:
        left = order == ">" and count == 1  # a value stands at the left of its field
        shift = (64 if big else 32) - {3: 16, 4: 32}[kind]
        directory += struct.pack(f"{order}{entry}", tag, kind, count, value << shift if left else value)
    mark = b"II" if order == "<" else b"MM"
    directory_at = struct.pack(f"{order}{word}", head + strip + len(places))
    start = mark + (struct.pack(f"{order}HHH", 43, 8, 0) if big else struct.pack(f"{order}H", 42)) + directory_at
    return start + bytes(strip) + places + directory + struct.pack(f"{order}{word}", 0)


@pytest.mark.parametrize(("mode", "usual"), [("L", 6), ("RGB", 10)])
def test_scans_are_counted(mode: str, usual: int) -> None:
    progressive = jpeg(mode=mode, progressive=True)
    assert jpeg_scans(jpeg(mode=mode)) == 1
    assert jpeg_scans(progressive) == usual
    assert jpeg_scans(with_scans(progressive, 7)) == usual + 7
    assert jpeg_scans(with_scans(progressive, 5000)) == MOST_SCANS + 1


def test_only_the_pictures_own_scans_are_counted() -> None:
    data = jpeg()
    film = b"\xff\xda" * 1000  # a moving photo has a film behind the picture's end
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + 600) + b"\xff\xda" * 300
    assert jpeg_scans(data[:2] + thumbnail + data[2:] + film) == 1
    assert open_image(data[:2] + thumbnail + data[2:] + film).size == (64, 48)


def test_scans_that_hide_behind_markers_without_a_length_are_counted() -> None:
    data = with_scans(jpeg(progressive=True), 200)
    start = data.index(b"\xff\xda")
    assert jpeg_scans(data[:start] + b"\xff\x01" + data[start:]) > MOST_SCANS
    assert jpeg_scans(data[:start] + b"\xff\xff\xff" + data[start:]) > MOST_SCANS


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda", b"\xff\xd8\xff\xe0\x00\x00", b"text"])
def test_damaged_files_end(data: bytes) -> None:
    assert jpeg_scans(data) <= 1
    assert tiff_strips(data) == 0


@pytest.mark.parametrize("read", [open_image, open_mask])
def test_a_jpeg_of_thousands_of_scans_is_refused_at_once(read) -> None:
    data, start = with_scans(jpeg((3000, 3000), progressive=True), 20_000), time.monotonic()
    assert len(data) < 2_000_000
    with pytest.raises(ImageError, match="goes over its pixels too many times"):
        read(data)
    assert time.monotonic() - start < SECONDS


def test_fewer_scans_are_enough_to_refuse_a_large_picture() -> None:
    data = with_scans(jpeg((4000, 4000), progressive=True), 50)
    with pytest.raises(ImageError, match="too many times"):
        open_image(data)
    assert open_image(with_scans(jpeg(progressive=True), 50)).size == (64, 48)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_strips_are_counted(order: str, big: bool) -> None:
    data = tiff(20, 30, 4, order, big=big)
    assert tiff_strips(data) == 8
    if not (big and order == ">"):  # which Pillow does not read
        assert open_image(data).size == (20, 30)


@pytest.mark.parametrize("read", [open_image, open_mask, picture_size])
def test_a_tiff_of_a_million_strips_is_refused_at_once(read) -> None:
    data, start = tiff(16, 1_000_000, 1), time.monotonic()
    with pytest.raises(ImageError, match="a TIFF in 1000000 parts"):
        read(data)
    assert time.monotonic() - start < SECONDS
    assert tiff_strips(tiff(16, MOST_STRIPS, 1)) == MOST_STRIPS


@pytest.mark.parametrize("read", [open_image, open_mask, picture_size])
def test_a_png_of_a_million_chunks_is_refused_at_once(read) -> None:
    data, start = png_in_chunks(1_000_000), time.monotonic()
    with pytest.raises(ImageError, match=r"^The picture is a PNG in more than 50000 parts, which would take minutes"):
        read(data)
    assert time.monotonic() - start < SECONDS
    read(png_in_chunks(1_000))


def test_chunks_are_counted() -> None:
    data = png_in_chunks(20)
    assert png_chunks(data, 100) == 23
    assert png_chunks(data, 5) == 6
    assert png_chunks(data[:60], 100) == 3
    assert png_chunks(b"\xff\xd8" + data, 100) == 0


@pytest.mark.parametrize("extra", [0, 3, 40])
def test_no_jpeg_has_more_scans_than_are_said_at_once(extra: int) -> None:
    data = with_scans(jpeg(progressive=True), extra)
    assert jpeg_scans(data) <= most_jpeg_scans(data) <= jpeg_scans(data) + 1


def test_deep_values_are_the_same_in_whatever_block_of_rows_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    values, buffer = np.linspace(0, 1, 61 * 47, dtype=np.float32).reshape(47, 61), io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF")
    for at_once in (1, 100, 10_000):
        monkeypatch.setattr("kdviz.core.images._AT_ONCE", at_once)
        picture = open_image(buffer.getvalue())
        assert np.array_equal(np.asarray(picture), (values.astype(np.float64) * 255).round().astype(np.uint8))
        assert depth_of(picture) == ("float", 1.0)


def test_the_size_of_a_picture_that_is_cut_off() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 50).save(buffer, "PNG")
    with pytest.raises(ImageError, match="damaged or cut off"):
        picture_size(buffer.getvalue()[:1000])


@pytest.mark.slow
def test_a_large_tiff_of_floating_point_numbers_takes_seconds() -> None:
    packed, start = tiff(6300, 6300, 1, bits=32), time.monotonic()
    assert open_image(packed).size == (6300, 6300)
    assert time.monotonic() - start < 2 * SECONDS
