"""Thumbnails of all pictures of a split in one file, from which any of them is read by itself.

``thumbnails.arrow`` is an Arrow IPC file that is mapped into memory: a page of thumbnails costs their own bytes,
however many others there are. It has one row a picture: split, sample (its number in the split, as in
predictions.parquet), name, label, and image, a JPEG of at most :data:`SIDE` pixels a side.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from kdviz.core.errors import ExperimentError, ImageError, KdvizError
from kdviz.core.files import replacing
from kdviz.core.images import open_image, picture_size

NAME = "thumbnails.arrow"
"""Name of the file in an experiment's folder."""

SIDE = 128  # pixels
_QUALITY = 80
_BATCH = 1000
_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("sample", pa.int32()),
        ("name", pa.string()),
        ("label", pa.int16()),
        ("image", pa.binary()),
    ]
)


def thumbnail(picture: Image.Image) -> bytes:
    """A small copy of a picture, mode ``L`` or ``RGB``, as a JPEG file."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def write_thumbnails(
    path: Path, split: str, names: Sequence[str], labels: Sequence[int], images: Iterable[bytes]
) -> None:
    """Write the file of a split atomically; only a thousand thumbnails are in memory at a time.

    Args:
        path: The file.
        split: Name of the split.
        names: Names of its pictures, in their order.
        labels: Labels likewise; -1 where they are not known.
        images: JPEG files likewise, as :func:`thumbnail` returns them.

    Raises:
        KdvizError: It cannot be written; an older file then stays intact.
    """
    remaining = iter(images)
    with (
        replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, _SCHEMA) as writer,
    ):
        for start in range(0, len(names), _BATCH):
            part = slice(start, start + _BATCH)
            texts = [name.encode(errors="replace").decode() for name in names[part]]
            count = len(texts)
            numbers = list(range(start, start + count))
            columns = [[split] * count, numbers, texts, list(labels[part]), list(islice(remaining, count))]
            arrays = [pa.array(values, kind.type) for values, kind in zip(columns, _SCHEMA, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))


class Thumbnails:
    """The thumbnails of a split. They are read on demand, from any thread.

    Args:
        path: The file.
        classes: Number of classes.

    Attributes:
        split: Name of the split.
        names: Where each picture comes from.
        labels: int64 (N,); -1 where it is not known.
        numbers: int64 (N,), the column ``sample`` of predictions.parquet.

    Raises:
        ExperimentError: The file is missing or damaged.
    """

    def __init__(self, path: Path, classes: int):
        self._path = path
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            if not table.schema.equals(_SCHEMA) or not len(table):
                raise self._damaged()
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged() from error
        self.split = str(table["split"][0])
        self.names: tuple[str, ...] = tuple(table["name"].to_pylist())
        self.labels = table["label"].to_numpy().astype(np.int64)
        self.numbers = table["sample"].to_numpy().astype(np.int64)
        self._images = table["image"]
        if (
            any(column.null_count for column in table.columns)
            or not ((self.labels >= -1) & (self.labels < classes)).all()
        ):
            raise self._damaged()

    def __len__(self) -> int:
        return len(self.labels)

    def pictures(self, indices: Sequence[int]) -> list[Image.Image]:
        """Thumbnails by their indices, 0 to N - 1, mode ``L`` or ``RGB``.

        Raises:
            ExperimentError: One is damaged.
        """
        try:
            return [self._picture(self._images[int(index)].as_py()) for index in indices]
        except ImageError as error:
            raise self._damaged() from error

    def _picture(self, content: bytes) -> Image.Image:
        if max(picture_size(content)) > SIDE:  # a stranger's, which would take long
            raise self._damaged()
        return open_image(content)

    def _damaged(self) -> ExperimentError:
        return ExperimentError("'{path}' is damaged; please make it again.", path=self._path)


class ThumbnailParts:
    """Thumbnails that are being made, in two files that grow: the pictures, and where each ends.

    Args:
        folder: Folder of the files; they are made if they are missing.
    """

    def __init__(self, folder: Path):
        self._files = [_opened(folder / f"thumbnails.{ending}") for ending in ("jpgs", "ends")]
        self._ends: list[int] = np.frombuffer(self._files[1].read(), np.int64).tolist()

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, images: Iterable[bytes]) -> None:
        """Add the next thumbnails.

        Raises:
            KdvizError: The disk is full.
        """
        pictures, ends = self._files
        try:
            for image in images:
                end = (self._ends[-1] if self._ends else 0) + len(image)
                pictures.write(image)
                ends.write(np.int64(end).tobytes())
                self._ends.append(end)
        except OSError as error:
            raise KdvizError(
                "Cannot write '{path}': {strerror}.", path=pictures.name, strerror=error.strerror or error
            ) from error

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` thumbnails."""
        del self._ends[count:]
        for file, size in zip(self._files, (self._ends[-1] if self._ends else 0, 8 * count), strict=True):
            file.truncate(size)
            file.seek(size)

    def images(self) -> Iterable[bytes]:
        """All thumbnails, in their order."""
        pictures = self._files[0]
        pictures.seek(0)
        for start, end in zip([0, *self._ends[:-1]], self._ends, strict=True):
            yield pictures.read(end - start)

    def sync(self) -> None:
        """Have all of them in the files."""
        with suppress(OSError):  # a full disk, which the logits report
            for file in self._files:
                file.flush()

    def close(self) -> None:
        for file in self._files:
            with suppress(OSError):
                file.close()


def _opened(path: Path) -> io.BufferedRandom:
    return path.open("r+b" if path.exists() else "w+b")
