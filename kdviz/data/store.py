"""Table of an experiment's own pictures, with which it can be shown without the data set.

``samples.parquet`` is tidy, one row a sample: split, sample (its number in the split, as in predictions.parquet), name,
label, and image, a PNG of exactly the pixels that the models see.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from kdviz.core.errors import ExperimentError, ImageError, SettingError, UnknownNameError
from kdviz.core.images import open_image, picture_size
from kdviz.data import LabelledImages

_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("sample", pa.int32()),
        ("name", pa.string()),
        ("label", pa.int16()),
        ("image", pa.binary()),
    ]
)
_GROUP_BYTES = 2**21  # pixels in a row group; a whole group is read to show one picture
_LARGEST_GROUP = 1024
_COMPRESSION = dict.fromkeys(_SCHEMA.names, "zstd") | {"image": "none"}  # PNG is compressed already
_WRITING: dict[str, Any] = {"compression": _COMPRESSION, "write_page_checksum": True}


def samples_table(splits: Sequence[LabelledImages], limit: int | None = None) -> bytes:
    """Return the content of samples.parquet for some splits.

    Args:
        splits: Splits with distinct names.
        limit: The most samples to store of a split; of a larger split a fixed random choice is stored.

    Raises:
        SettingError: Two splits share a name, there is no split, or the limit is below 1.
    """
    names = [samples.split for samples in splits]
    if not names or len(set(names)) < len(names):
        raise SettingError(
            "Each split can be stored once, and one at least; got {names}.", names=", ".join(names) or "none"
        )
    if limit is not None and limit < 1:
        raise SettingError("At least one sample of each split must be stored, got {limit}.", limit=limit)
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, _SCHEMA, **_WRITING) as writer:
        for samples in splits:
            rows = max(1, min(_LARGEST_GROUP, _GROUP_BYTES // math.prod(samples.images.shape[1:])))
            for chosen in _choose_samples(len(samples), limit).split(rows):
                writer.write_batch(_record_batch_of(samples, chosen.tolist()))
    return buffer.getvalue().to_pybytes()


def stored_samples(split: str, rows: Sequence[tuple[int, str, int, bytes]]) -> bytes:
    """Return the content of samples.parquet for one split whose pictures are PNG files already.

    Args:
        split: Name of the split.
        rows: (number of the sample in the split, name, label or -1, PNG), in any order.
    """
    ordered = sorted(rows)
    largest = max(len(png) for *_, png in ordered)
    group = max(1, min(_LARGEST_GROUP, _GROUP_BYTES // largest))
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, _SCHEMA, **_WRITING) as writer:
        for start in range(0, len(ordered), group):
            part = ordered[start : start + group]
            numbers, names, labels, pictures = (list(column) for column in zip(*part, strict=True))
            columns = [[split] * len(part), numbers, [_text(name) for name in names], labels, pictures]
            writer.write_batch(_record_batch(columns))
    return buffer.getvalue().to_pybytes()


def _record_batch(columns: Sequence[list[Any]]) -> pa.RecordBatch:
    arrays = [pa.array(values, kind.type) for values, kind in zip(columns, _SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=_SCHEMA)


def _text(name: str) -> str:
    return name.encode(errors="replace").decode()  # a file's name may not be valid text


def _choose_samples(count: int, limit: int | None) -> Tensor:
    """Numbers of the samples to store, in ascending order."""
    if limit is None or count <= limit:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:limit].sort().values


def _record_batch_of(samples: LabelledImages, chosen: Sequence[int]) -> pa.RecordBatch:
    names = samples.names or [f"{samples.split}/{number}" for number in range(len(samples))]
    columns = [
        [samples.split] * len(chosen),
        list(chosen),
        [_text(names[sample]) for sample in chosen],
        samples.labels[list(chosen)].tolist(),
        [_png(samples.picture(sample)) for sample in chosen],
    ]
    return _record_batch(columns)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


class StoredSamples:
    """The stored samples of one split. Pictures are read on demand, from any thread.

    Samples are counted from 0 to ``len() - 1``; :attr:`numbers` gives their numbers in the whole split.

    Args:
        path: Path of samples.parquet.
        split: Name of the split.
        classes: The experiment's class names.
        shape: Channels, height and width of the images.

    Attributes:
        split: Name of the split.
        classes: The experiment's class names.
        labels: ``int64`` (N,); -1 where it is not known.
        names: Where each sample comes from.
        numbers: ``int64`` (N,): the column ``sample`` of predictions.parquet.

    Raises:
        ExperimentError: The table is missing or damaged.
        UnknownNameError: The table has no such split.
    """

    def __init__(self, path: str | Path, split: str, classes: Sequence[str], shape: tuple[int, int, int]):
        self.split = split
        self.classes = tuple(classes)
        self._path, self._shape = Path(path), shape
        self._lock = Lock()
        self._file, table, groups = _open_table(self._path)
        row_splits = np.array(table["split"].to_pylist(), dtype=object)
        if split not in row_splits:
            raise UnknownNameError("split of stored samples", split, set(row_splits.tolist()))
        rows = np.flatnonzero(row_splits == split)
        selected = table.take(pa.array(rows))
        self.names: tuple[str, ...] = tuple(selected["name"].to_pylist())
        self.labels = torch.from_numpy(selected["label"].to_numpy().astype(np.int64))
        self.numbers = torch.from_numpy(selected["sample"].to_numpy().astype(np.int64))
        if not ((self.labels >= -1) & (self.labels < len(self.classes))).all():
            raise _damaged(self._path)
        starts = np.cumsum([0, *groups])
        self._group = np.searchsorted(starts, rows, side="right") - 1
        self._row = rows - starts[self._group]

    def __len__(self) -> int:
        return len(self.labels)

    def picture(self, sample: int) -> Image.Image:
        """Stored sample number ``sample`` as a PIL image, mode ``L`` or ``RGB``.

        Raises:
            ExperimentError: The picture is damaged.
        """
        return self._decode(self._read([sample])[0])

    def images(self, index: Tensor | Sequence[int]) -> Tensor:
        """The images at ``index`` (int64 or bool): ``uint8`` (n, C, H, W).

        Raises:
            ExperimentError: An image is damaged.
        """
        positions = index if isinstance(index, Tensor) else torch.tensor(list(index), dtype=torch.int64)
        chosen = torch.arange(len(self))[positions].tolist()
        images = torch.empty((len(chosen), *self._shape), dtype=torch.uint8)
        for number, data in enumerate(self._read(chosen)):
            pixels = torch.from_numpy(np.array(self._decode(data)))
            images[number] = pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return images

    def _read(self, samples: Sequence[int]) -> list[bytes]:
        """The PNG files of some samples; each row group is read once."""
        pngs: dict[int, bytes] = {}
        for group, members in groupby(
            sorted(set(samples), key=self._location), key=lambda sample: int(self._group[sample])
        ):
            column = self._column(group)
            pngs |= {sample: column[int(self._row[sample])].as_py() for sample in members}
        return [pngs[sample] for sample in samples]

    def _location(self, sample: int) -> tuple[int, int]:
        return int(self._group[sample]), int(self._row[sample])

    def _column(self, group: int) -> pa.ChunkedArray:
        try:
            with self._lock:  # a parquet file has one reading position
                return self._file.read_row_group(group, columns=["image"], use_threads=False)["image"]
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self._path) from error

    def _decode(self, data: bytes | None) -> Image.Image:
        channels, height, width = self._shape
        try:
            if picture_size(data or b"") != (height, width):  # a stranger's is not decoded to find that out
                raise _damaged(self._path)
            picture = open_image(data or b"")
        except ImageError as error:
            raise _damaged(self._path) from error
        if picture.mode != ("L" if channels == 1 else "RGB"):
            raise _damaged(self._path)
        return picture


def _open_table(path: Path) -> tuple[pq.ParquetFile, pa.Table, list[int]]:
    """The file, its columns without the images, and the number of rows in each row group."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if not file.schema_arrow.equals(_SCHEMA):
            raise _damaged(path)
        table = file.read(columns=["split", "sample", "name", "label"], use_threads=False)
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    except FileNotFoundError as error:
        raise ExperimentError(
            "'{parent}' has no samples.parquet; train or evaluate it to store some.", parent=path.parent
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path) from error
    if any(column.null_count for column in table.columns) or not len(table):
        raise _damaged(path)
    return file, table, groups


def _damaged(path: Path) -> ExperimentError:
    return ExperimentError("'{path}' is damaged; please make it again.", path=path)
