"""Which pictures are surely quick to decode: PNG and JPEG of a usual form, by what is counted in the file.

Time and memory of a PNG follow its pixels and the number of its chunks (PNG, section 5.2), those of a JPEG its pixels,
its scans and the segments before them (ITU-T T.81, annex B). All are counted here without a decoder.
"""

from __future__ import annotations

import struct

from kdviz.core.decoding.work import PNG, most_jpeg_scans, png_chunks

MOST_BYTES = 8 * 2**20
"""Of a file."""
MOST_PIXELS = 12_500_000
"""Those of a usual photograph: some tenths of a second."""
MOST_SCANNED = 50_000_000
"""Pixels of a JPEG times its scans: about a second."""
MOST_PARTS = 2_000
"""Chunks of a PNG, of which encoders write one each 8 KB, and segments of a JPEG before its first scan."""

_HEADER = PNG + b"\0\0\0\rIHDR"
_FRAMES, _START_OF_SCAN = (0xC0, 0xC1, 0xC2), 0xDA  # Huffman: baseline, extended and progressive


def is_ordinary(content: bytes) -> bool:
    """Whether a picture's file is surely quick to decode; what is damaged or of another format is not."""
    if len(content) > MOST_BYTES:
        return False
    if content.startswith(PNG):
        return _is_ordinary_png(content)
    if not content.startswith(b"\xff\xd8"):
        return False
    pixels = _jpeg_pixels(content)
    return 0 < pixels <= MOST_PIXELS and pixels * most_jpeg_scans(content) <= MOST_SCANNED


def _is_ordinary_png(content: bytes) -> bool:
    if not content.startswith(_HEADER) or len(content) < 24:
        return False
    width, height = struct.unpack_from(">II", content, len(_HEADER))
    return 0 < width * height <= MOST_PIXELS and png_chunks(content, MOST_PARTS) <= MOST_PARTS


def _jpeg_pixels(content: bytes) -> int:
    """The pixels of a JPEG whose segments are few and follow one another up to its first scan; else 0."""
    place, pixels = 2, 0
    for _number in range(MOST_PARTS):
        if place + 4 > len(content) or content[place] != 0xFF:
            return 0
        kind = content[place + 1]
        if kind == _START_OF_SCAN:
            return pixels
        if kind in _FRAMES:
            if pixels or place + 9 > len(content):  # a second frame is another picture
                return 0
            height, width = struct.unpack_from(">HH", content, place + 5)
            pixels = height * width
        elif 0xC3 <= kind <= 0xCF and kind not in (0xC4, 0xCC):  # lossless, hierarchical and arithmetic ones
            return 0
        place += 2 + max(2, int.from_bytes(content[place + 2 : place + 4], "big"))
    return 0
