"""Pictures of people's folders: quick ones are decoded here, whatever else they are is decoded apart."""

from __future__ import annotations

import io
import os
import struct

import numpy as np
import pytest
from hostile_files import png_in_chunks
from PIL import Image

from kdviz.core.decoding import apart, guarded
from kdviz.core.decoding.guarded import open_image_guarded, open_mask_guarded
from kdviz.core.decoding.ordinary import MOST_BYTES, is_ordinary
from kdviz.core.images import open_image, open_mask


def encoded(kind: str, size: tuple[int, int] = (60, 40), mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def scanned(size: tuple[int, int], more: int) -> bytes:
    """A progressive JPEG with more scans than it needs."""
    data = encoded("JPEG", size, progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * more + data[end:]


def with_frame(kind: int, data: bytes) -> bytes:
    """A JPEG that says its frame to be of another kind."""
    place = data.index(b"\xff\xc0")
    return data[: place + 1] + bytes([kind]) + data[place + 2 :]


ORDINARY = {
    "png": encoded("PNG"),
    "grey png": encoded("PNG", mode="L"),
    "png of 16 bits": encoded("PNG", mode="I;16"),
    "jpeg": encoded("JPEG"),
    "jpeg with a copy": encoded("JPEG", exif=b"Exif\0\0" + b"\xff\xda" * 3),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "photograph": encoded("JPEG", (4032, 3024), mode="L"),
}
OTHERS = {
    "tiff": encoded("TIFF"),
    "gif": encoded("GIF"),
    "webp": encoded("WEBP"),
    "bmp": encoded("BMP"),
    "large png": encoded("PNG", (6000, 6000), mode="1"),
    "large jpeg": encoded("JPEG", (6000, 6000), mode="L", quality=1),
    "many scans": scanned((900, 900), 80),
    "many chunks": png_in_chunks(3_000),
    "many bytes": encoded("PNG") + bytes(MOST_BYTES),
}
DAMAGED = {
    "empty": b"",
    "text": b"no picture",
    "head of a png": ORDINARY["png"][:20],
    "head of a jpeg": ORDINARY["jpeg"][:20],
    "start of a jpeg": b"\xff\xd8",
    "arithmetic jpeg": with_frame(0xC9, ORDINARY["jpeg"]),
    "png without a header": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "two frames": ORDINARY["jpeg"][:2] + (b"\xff\xc0" + struct.pack(">HBHHB", 8, 8, 9, 9, 0)) + ORDINARY["jpeg"][2:],
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_pictures_are_decoded_here(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart.subprocess, "Popen", lambda *_, **__: pytest.fail("decoded apart"))
    assert is_ordinary(ORDINARY[name])
    assert open_image_guarded(ORDINARY[name]).tobytes() == open_image(ORDINARY[name]).tobytes()
    assert np.array_equal(open_mask_guarded(ORDINARY[name]), open_mask(ORDINARY[name]))


@pytest.mark.parametrize("name", [*OTHERS, *DAMAGED])
def test_all_others_are_not(name: str) -> None:
    assert not is_ordinary({**OTHERS, **DAMAGED}[name])


@pytest.mark.parametrize("name", OTHERS)
def test_they_are_the_same_apart(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(guarded, "open_image", lambda *_: pytest.fail("decoded here"))
    monkeypatch.setattr(guarded, "open_mask", lambda *_: pytest.fail("decoded here"))
    path = tmp_path / "picture"
    path.write_bytes(OTHERS[name])
    if len(OTHERS[name]) > MOST_BYTES:
        path.write_bytes(OTHERS["tiff"])
    there, here = open_image_guarded(path), open_image(path)
    assert (there.mode, there.size) == (here.mode, here.size)
    assert there.tobytes() == here.tobytes()
    assert np.array_equal(open_mask_guarded(path), open_mask(path))


def test_threads_have_decoders_of_their_own_and_share_them_with_no_other_process() -> None:
    decoders = apart._Decoders()
    with decoders.one() as first, decoders.one() as second:
        assert first is not second
        first.decode(OTHERS["tiff"], "a")
    with decoders.one() as last:
        assert last is first  # the first one to end is the last one used
    process = first._process
    assert process is not None
    child = os.fork()
    if not child:
        status = 1
        try:
            decoders.leave()
            with decoders.one() as other:
                status = int(other is first or first._process is not None)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert process.poll() is None
    assert first.decode(OTHERS["tiff"], "a").size == (60, 40)
    decoders.close()
    assert process.poll() is not None
