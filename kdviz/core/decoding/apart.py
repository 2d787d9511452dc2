"""Decoding of people's pictures in processes of their own, which have little time and memory and can be killed.

What a file says of its picture is checked first (:mod:`kdviz.core.decoding.work`), so that one that is too much is
refused with the right reason; this is for what a decoder does that nobody foresaw. A process serves one picture after
the other, and costs its start, about half a second, once; as many threads as decode have one each. Its answers are
believed as little as pictures: no pickles.
"""

from __future__ import annotations

import atexit
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from kdviz.core.decoding.decoder import BYTES, MASK, MODES, PICTURE, SECONDS, read_exactly
from kdviz.core.decoding.watch import Watch
from kdviz.core.errors import ImageError, Sentence, TooCostlyError
from kdviz.core.images import MAX_PIXELS, open_image, open_mask, read_picture_file

_ROOT = Path(__file__).resolve().parents[3]  # the folder that holds the package kdviz
_WAIT = 3 * SECONDS  # on a machine that has other things to do
_PIPE = 2**20  # bytes that a process may be ahead, so that a picture passes in few steps


def open_image_apart(source: bytes | str | Path, name: str = "") -> Image.Image:
    """As :func:`kdviz.core.images.open_image`, in a process that is killed where it needs too much.

    Where no process can be started, the picture is decoded here.

    Args:
        source: The content of a file, or its path.
        name: Name of the picture in errors; default: the file's name.

    Raises:
        ImageError: The picture is refused.
        TooCostlyError: It takes too much time or memory.
    """
    content, name = read_picture_file(source, name)
    with _decoders.one() as decoder:
        return decoder.decode(content, name)


def open_mask_apart(source: bytes | str | Path, name: str = "") -> np.ndarray:
    """As :func:`kdviz.core.images.open_mask`, in such a process: bool (H, W).

    Raises:
        ImageError: The picture is refused.
        TooCostlyError: It takes too much time or memory.
    """
    content, name = read_picture_file(source, name)
    with _decoders.one() as decoder:
        return np.asarray(decoder.decode(content, name, MASK)) != 0


class Decoder:
    """A process that decodes, started when it is first needed and after it was killed. Threads take turns.

    Args:
        wait: Seconds after which it is killed.
    """

    def __init__(self, wait: float = _WAIT):
        self._wait = wait
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, content: bytes, name: str, what: str = PICTURE) -> Image.Image:
        """See :func:`open_image_apart`; a mask is a picture of mode ``L``, with 255 inside."""
        with self._lock:
            try:
                process = self._started()
            except OSError:  # no more processes, or none allowed
                return open_image(content, name) if what == PICTURE else Image.fromarray(open_mask(content, name))
            try:
                with _watch.limited(process, self._wait):
                    return _asked(process, content, name, what)
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                self._kill()
                raise _too_much(name) from error
            except ImageError:
                raise
            except BaseException:  # Ctrl-C: half an answer is left in the pipe
                self._kill()
                raise

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._kill()

    def leave(self) -> None:
        """Forget the process, which is another one's: this one was forked."""
        process, self._process = self._process, None
        for stream in (process.stdin, process.stdout) if process is not None else ():
            with suppress(OSError):
                os.close(stream.fileno()) if stream is not None else None

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
            _widen(self._process)
        return self._process

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class _Decoders:
    """The processes of this one: each thread that decodes takes one, the last that was used first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Decoder] = []

    @contextmanager
    def one(self) -> Iterator[Decoder]:
        with self._lock:
            decoder = self._idle.pop() if self._idle else Decoder()
        try:
            yield decoder
        finally:
            with self._lock:
                self._idle.append(decoder)

    def close(self) -> None:
        """End those that do nothing; the others end when this process does."""
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.close()

    def leave(self) -> None:
        """After a fork: those of the other process are not this one's."""
        for decoder in self._idle:
            decoder.leave()
        self._idle, self._lock = [], threading.Lock()


def _widen(process: subprocess.Popen[bytes]) -> None:
    with suppress(ImportError, AttributeError, OSError):  # Linux alone
        import fcntl

        for stream in (process.stdin, process.stdout):
            assert stream is not None
            fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)


def _asked(process: subprocess.Popen[bytes], content: bytes, name: str, what: str) -> Image.Image:
    """The picture that the process makes of a content.

    Raises:
        ImageError: The picture is refused.
        OSError, EOFError, ValueError, KeyError, TypeError: The process has ended, or answers nonsense.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    about = json.dumps({"name": name.encode(errors="replace").decode(), "what": what, "length": len(content)}).encode()
    process.stdin.write(struct.pack("<Q", len(about)) + about)
    process.stdin.write(content)
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


def _too_much(name: str) -> TooCostlyError:
    return TooCostlyError(
        "{name} takes too much time or memory to be decoded; please save it again as PNG or JPEG.", name=name
    )


_watch, _decoders = Watch(), _Decoders()
atexit.register(_decoders.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoders.leave)
