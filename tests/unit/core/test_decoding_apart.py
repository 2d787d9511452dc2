"""Pictures decoded in a process that can be killed: the same ones, the same refusals, and an end to the rest."""

from __future__ import annotations

import io
import json
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from kdviz.core.decoding import apart
from kdviz.core.decoding.apart import Decoder
from kdviz.core.errors import ImageError
from kdviz.core.images import depth_of, open_image


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def process_of(decoder: Decoder):
    process = decoder._process
    assert process is not None
    return process


def replaced_by(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program as the process that decodes."""
    start = apart.subprocess.Popen

    def popen(command, **options):
        return start([command[0], "-c", script], **options)

    monkeypatch.setattr(apart.subprocess, "Popen", popen)


def test_it_gives_the_same_picture(decoder: Decoder) -> None:
    random = np.random.default_rng(0)
    for pixels in (random.integers(0, 255, (9, 7, 3), np.uint8), random.integers(0, 4000, (5, 6)).astype(np.uint16)):
        content = encoded(pixels, "TIFF")
        there, here = decoder.decode(content, "a.tif"), open_image(content, "a.tif")
        assert (there.mode, there.size) == (here.mode, here.size)
        assert there.tobytes() == here.tobytes()
        assert depth_of(there) == depth_of(here)


def test_it_refuses_alike_and_goes_on(decoder: Decoder) -> None:
    half = encoded(np.random.default_rng(0).integers(0, 255, (30, 30), np.uint8))[:300]
    for content, name in ((b"", "\ud800é.png"), (b"no picture", "<b>.png"), (half, "a")):
        with pytest.raises(ImageError) as there:
            decoder.decode(content, name)
        with pytest.raises(ImageError) as here:
            open_image(content, name.encode(errors="replace").decode())
        assert there.value.sentence == here.value.sentence
        assert there.value.sentence.template == here.value.sentence.template
    assert decoder.decode(encoded(np.zeros((9, 9), np.uint8)), "a").size == (9, 9)


def test_a_process_that_was_killed_is_started_again(decoder: Decoder) -> None:
    content = encoded(np.zeros((9, 9), np.uint8))
    decoder.decode(content, "a")
    process_of(decoder).kill()
    process_of(decoder).wait()
    assert decoder.decode(content, "a").size == (9, 9)


def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced_by("import time; time.sleep(600)", monkeypatch)
    decoder, start = Decoder(wait=0.3), time.monotonic()
    with pytest.raises(ImageError, match=r"^a\.png takes too much time or memory to be decoded; please save"):
        decoder.decode(encoded(np.zeros((9, 9), np.uint8)), "a.png")
    assert time.monotonic() - start < 20
    assert decoder._process is None


@pytest.mark.skipif(not hasattr(apart.os, "fork"), reason="limits of a process are those of POSIX")
@pytest.mark.parametrize("what", ["while True: pass", "bytearray(2**31)"])
def test_the_process_has_little_time_and_memory(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced_by(
        "import kdviz.core.images as images, kdviz.core.decoding.decoder as decoder\n"
        "decoder.SECONDS = 1\n"
        f"def greedy(*_):\n    {what}\n"
        "images.open_image = greedy\n"
        "decoder.main()",
        monkeypatch,
    )
    with pytest.raises(ImageError, match="too much time or memory"):
        Decoder().decode(b"x", "a.png")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"mode": "L", "size": [10**5, 10**5], "info": {}},
        {"mode": "P", "size": [2, 2], "info": {}},
        {"mode": "L", "size": [-2, -2], "info": {}},
        {"mode": "L", "size": ["a"], "info": {}},
        {"error": 5},
        [],
    ],
    ids=str,
)
def test_nonsense_is_not_believed(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(answer).encode()
    sent = struct.pack("<Q", len(text)) + text + bytes(100)
    replaced_by(f"import sys; sys.stdin.buffer.read(1); sys.stdout.buffer.write({sent!r})", monkeypatch)
    with pytest.raises(ImageError, match="too much time or memory"):
        Decoder().decode(b"x", "a.png")


def test_without_processes_it_decodes_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def popen(*args, **options):
        raise OSError("no more processes")

    monkeypatch.setattr(apart.subprocess, "Popen", popen)
    assert Decoder().decode(encoded(np.zeros((9, 9), np.uint8)), "a").size == (9, 9)
