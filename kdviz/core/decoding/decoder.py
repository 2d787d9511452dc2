"""The process that decodes pictures for :mod:`kdviz.core.decoding.apart`, within limits of its own."""

from __future__ import annotations

import json
import struct
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

SECONDS = 8
"""Processor time that a picture may take."""

MEMORY = 2**31
"""Bytes of addresses that the process may have: a picture of 40 megapixels needs 0.8 GB."""

BYTES = 10**6
"""Most of an answer without its pixels."""

MODES = {"L": 1, "RGB": 3}
"""Bytes of a pixel."""

PICTURE, MASK = "picture", "mask"
"""What is made of a file: see :func:`kdviz.core.images.open_image` and :func:`kdviz.core.images.open_mask`."""

_FROM_FILES = ("kdviz-depth", "kdviz-peak")  # what kdviz.core.images notes of a picture


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """Bytes from a pipe.

    Raises:
        EOFError: It has ended.
    """
    content = stream.read(count)
    if len(content) != count:
        raise EOFError
    return content


def main() -> None:
    """Answer requests from stdin on stdout until they end: the length of what is said of a file, that, and the file."""
    _limit_memory()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := requests.read(8):
        _serve(requests, answers, *struct.unpack("<Q", header))


def _serve(requests: IO[bytes], answers: IO[bytes], length: int) -> None:
    """Answer one request; nothing of a picture is kept when it is answered."""
    about = json.loads(read_exactly(requests, length))
    content = read_exactly(requests, about["length"])
    _limit_time()
    answer, pixels = _decoded(content, about["name"], about["what"])
    text = json.dumps(answer).encode()
    answers.write(struct.pack("<Q", len(text)) + text)
    answers.write(pixels)
    answers.flush()


def _decoded(content: bytes, name: str, what: str) -> tuple[dict[str, Any], bytes]:
    from kdviz.core.errors import ImageError
    from kdviz.core.images import open_image

    try:
        picture = open_image(content, name) if what == PICTURE else _mask(content, name)
        info = {key: picture.info[key] for key in _FROM_FILES if key in picture.info}
        return {"mode": picture.mode, "size": picture.size, "info": info}, picture.tobytes()
    except ImageError as error:
        if isinstance(error.__cause__, MemoryError):
            raise
        return {"error": error.sentence.to_json()}, b""


def _mask(content: bytes, name: str) -> Image.Image:
    import numpy as np
    from PIL import Image

    from kdviz.core.images import open_mask

    return Image.fromarray(open_mask(content, name).astype(np.uint8) * 255)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time() -> None:
    """Give the process some seconds more; the system kills it then, whatever it is doing."""
    try:
        import resource
    except ImportError:  # Windows
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main()
