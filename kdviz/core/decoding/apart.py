"""Decoding of a stranger's picture in a process of its own, which has little time and memory and can be killed.

What its file says of it is checked first (:mod:`kdviz.core.decoding.work`), so that one that is too much is refused
with the right reason; this is for what a decoder does that nobody foresaw. The process serves one picture after the
other, and costs its start, about half a second, once. Its answers are believed as little as pictures: no pickles.
"""

from __future__ import annotations

import atexit
import json
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from PIL import Image

from kdviz.core.decoding.decoder import BYTES, MODES, SECONDS, read_exactly
from kdviz.core.errors import ImageError, Sentence
from kdviz.core.images import MAX_PIXELS, open_image

_ROOT = Path(__file__).resolve().parents[3]  # the folder that holds the package kdviz
_WAIT = 3 * SECONDS  # on a machine that has other things to do


def open_image_apart(content: bytes, name: str) -> Image.Image:
    """As :func:`kdviz.core.images.open_image`, in a process that is killed where it needs too much.

    Where no process can be started, the picture is decoded here.

    Args:
        content: The content of the file.
        name: Its name in errors.

    Raises:
        ImageError: The picture is refused, or takes too much time or memory.
    """
    return _decoder.decode(content, name)


class Decoder:
    """A process that decodes, started when it is first needed and after it was killed. Threads take turns.

    Args:
        wait: Seconds after which it is killed.
    """

    def __init__(self, wait: float = _WAIT):
        self._wait = wait
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, content: bytes, name: str) -> Image.Image:
        """See :func:`open_image_apart`."""
        with self._lock:
            try:
                process = self._started()
            except OSError:  # no more processes, or none allowed
                return open_image(content, name)
            limit = threading.Timer(self._wait, process.kill)
            limit.daemon = True
            limit.start()
            try:
                return _asked(process, content, name)
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                self._kill()
                raise _too_much(name) from error
            finally:
                limit.cancel()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._kill()
            paths = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kdviz.core.decoding.decoder"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # a Ctrl-C in the terminal is not for it
            )
        return self._process

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _asked(process: subprocess.Popen[bytes], content: bytes, name: str) -> Image.Image:
    """The picture that the process makes of a content.

    Raises:
        ImageError: The picture is refused.
        OSError, EOFError, ValueError, KeyError, TypeError: The process has ended, or answers nonsense.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    text = name.encode(errors="replace")
    process.stdin.write(struct.pack("<QQ", len(text), len(content)) + text + content)
    process.stdin.flush()
    answer = _read_answer(process.stdout)
    if "error" in answer:
        raise ImageError(Sentence.from_json(answer["error"]))
    return _picture(answer, process.stdout)


def _read_answer(stream: IO[bytes]) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", read_exactly(stream, 8))
    if length > BYTES:
        raise ValueError(f"an answer of {length} bytes")
    answer = json.loads(read_exactly(stream, length))
    if not isinstance(answer, dict):
        raise TypeError("no answer")
    return answer


def _picture(answer: dict[str, Any], stream: IO[bytes]) -> Image.Image:
    width, height = (int(side) for side in answer["size"])
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise ValueError(f"a picture of {width} x {height}")
    pixels = read_exactly(stream, width * height * MODES[answer["mode"]])
    picture = Image.frombytes(answer["mode"], (width, height), pixels)
    picture.info.update({str(key): value for key, value in dict(answer["info"]).items()})
    return picture


def _too_much(name: str) -> ImageError:
    return ImageError(
        "{name} takes too much time or memory to be decoded; please save it again as PNG or JPEG.", name=name
    )


_decoder = Decoder()
atexit.register(_decoder.close)
