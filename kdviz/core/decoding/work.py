"""Bounds on the work of a decoder: a small file can ask for minutes of it, whatever its number of pixels.

A progressive JPEG goes over its pixels once for each scan, and may have any number of them (ITU-T T.81, annex G); a
TIFF may be cut into as many strips as it has rows (TIFF 6.0, section 3), and a PNG into a million chunks (PNG, section
5.2). They are counted in the file, before a decoder sees it.
"""

from __future__ import annotations

import re
import struct

from kdviz.core.errors import ImageError

MOST_SCANS = 100
"""Scans of a JPEG; encoders write 10, and those that try many orders of them 20."""
MOST_SCANNED = 800_000_000
"""Pixels of a JPEG times its scans: 20 scans of the largest picture, some seconds of work."""
MOST_STRIPS = 50_000
"""Strips or tiles of a TIFF: some tenths of a second."""
MOST_CHUNKS = 50_000
"""Chunks of a PNG; encoders write one each 8 KB, which is 2,500 of the largest file."""

# A marker in a JPEG: in a scan, 0 after 0xff stands for 0xff itself, and 0xd0 to 0xd7 only restart the decoder.
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_START_OF_SCAN, _END, _WITHOUT_LENGTH = 0xDA, 0xD9, (0x01, 0xD8)
PNG = b"\x89PNG\r\n\x1a\n"
_LENGTH = struct.Struct(">I")
_STRIPS, _TILES = 273, 324  # StripOffsets and TileOffsets


def require_little_work(data: bytes, size: tuple[int, int], name: str) -> None:
    """Refuse a picture that would keep its decoder busy.

    Args:
        data: The content of its file.
        size: Its width and height.
        name: Its name in the error.

    Raises:
        ImageError: It has too many scans, strips or tiles.
    """
    most = most_jpeg_scans(data)
    if most <= MOST_SCANS and most * size[0] * size[1] <= MOST_SCANNED:
        return  # the usual case: the exact count takes a tenth of the decoder's time
    scans = jpeg_scans(data)
    if scans > MOST_SCANS or scans * size[0] * size[1] > MOST_SCANNED:
        raise ImageError(
            "{name} is a JPEG that goes over its pixels too many times, {scans} or more, which would take minutes to "
            "open; please save it again as PNG or JPEG.",
            name=name,
            scans=scans,
        )


def require_few_parts(data: bytes, name: str) -> None:
    """Refuse a TIFF or PNG that is cut into too many parts; what reads its header already takes a step for each.

    Raises:
        ImageError: It is.
    """
    if png_chunks(data, MOST_CHUNKS) > MOST_CHUNKS:
        raise ImageError(
            "{name} is a PNG in more than {chunks} parts, which would take minutes to open; please save it again as "
            "PNG or JPEG.",
            name=name,
            chunks=MOST_CHUNKS,
        )
    strips = tiff_strips(data)
    if strips > MOST_STRIPS:
        raise ImageError(
            "{name} is a TIFF in {strips} parts, which would take minutes to open; please save it again as PNG or "
            "JPEG.",
            name=name,
            strips=strips,
        )


def most_jpeg_scans(data: bytes) -> int:
    """A number that the scans of a JPEG do not exceed, found at once; 0 for others.

    In a scan no other marker follows 0xff, so that only segments, such as a small copy of the picture, add to it.
    """
    return data.count(b"\xff\xda") if data.startswith(b"\xff\xd8") else 0


def jpeg_scans(data: bytes) -> int:
    """The number of scans of the first picture in a JPEG, counted to one more than :data:`MOST_SCANS`; 0 for others.

    What comes after the picture's end, such as the film of a moving photo, is not read.
    """
    if not data.startswith(b"\xff\xd8"):
        return 0
    place, scans = 2, 0
    while scans <= MOST_SCANS and (found := _MARKER.search(data, place)) is not None:
        marker, place = found[1][0], found.end()
        if marker == _END:
            break
        scans += marker == _START_OF_SCAN
        if marker not in _WITHOUT_LENGTH:
            place += max(2, int.from_bytes(data[place : place + 2], "big"))
    return scans


def png_chunks(data: bytes, most: int) -> int:
    """The number of chunks of a PNG, counted to one more than ``most``; 0 for others."""
    if not data.startswith(PNG):
        return 0
    place, chunks = len(PNG), 0
    while place + 4 <= len(data) and chunks <= most:
        (length,) = _LENGTH.unpack_from(data, place)
        place, chunks = place + 12 + length, chunks + 1
    return chunks


def tiff_strips(data: bytes) -> int:
    """The number of strips or tiles of the first picture in a TIFF or BigTIFF; 0 for others, and for damaged ones."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        (version,) = struct.unpack_from(f"{order}H", data, 2) if order else (0,)
        if version == 43:
            return _strips(data, f"{order}Q", f"{order}Q", 8, f"{order}HHQ", 20)
        return _strips(data, f"{order}I", f"{order}H", 4, f"{order}HHI", 12) if version == 42 else 0
    except (struct.error, OverflowError):
        return 0


def _strips(data: bytes, offset: str, count: str, at: int, entry: str, step: int) -> int:
    """The largest number of offsets in the first directory of a file.

    Args:
        data: The file.
        offset, count, entry: Formats of an offset, of the number of entries, and of an entry's tag, type and count.
        at: Where the directory's offset is.
        step: Bytes of an entry.
    """
    (place,) = struct.unpack_from(offset, data, at)
    (entries,) = struct.unpack_from(count, data, place)
    first = place + struct.calcsize(count)
    most = min(entries, (len(data) - first) // step)
    found = (struct.unpack_from(entry, data, first + number * step) for number in range(most))
    return max((n for tag, _type, n in found if tag in (_STRIPS, _TILES)), default=0)
