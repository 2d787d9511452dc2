"""Pictures to measure models on, in files: labelled, and decoded only when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from kdviz.core.decoding.guarded import open_image_guarded
from kdviz.core.environment import cores
from kdviz.core.errors import DatasetError, ImageError, KdvizError
from kdviz.core.images import depth_of, picture_size
from kdviz.core.threads import in_order
from kdviz.core.vocabulary import Split
from kdviz.data.doubts import Doubt
from kdviz.data.pictures import Reading, read_or_error
from kdviz.data.readers.parquet_pictures import ParquetPicture

_THREADS = 4
_SMALL = 64  # pixels of a side of pictures that networks take as they are, as when kdviz trains on them
_LOOKED_AT = 32


@dataclass(frozen=True)
class PictureFiles:
    """The pictures of one split, in files.

    Attributes:
        files: Path of each picture, or its row in a parquet file.
        names: Path of each picture within the data folder; of a row its split and number.
        labels: int64 (N,); None: not known.
        classes: Class names, in the order of the labels; empty without labels.
        split: ``test``, ``validation`` or ``train``.
        numbers: Class numbers, where the data only give positions among a model's logits; empty otherwise.
        held_out: Whether the data folder keeps them apart from pictures to train on; None: not known.
        notes: What a user should know about the data, one sentence each.
        unused: Doubts about files that were left out.
    """

    files: tuple[Path | ParquetPicture, ...]
    names: tuple[str, ...]
    labels: Tensor | None
    classes: tuple[str, ...]
    split: str = Split.TEST
    held_out: bool | None = None
    notes: tuple[str, ...] = ()
    unused: tuple[Doubt, ...] = ()
    numbers: tuple[int, ...] = ()
    _opened: set[int] = field(default_factory=set, repr=False, compare=False)
    _deep: dict[int, tuple[str, float]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.files)

    def open(self, index: int) -> Image.Image:
        """Open picture number ``index``: upright, in mode ``L`` or ``RGB``.

        Raises:
            ImageError: The picture cannot be read.
            DatasetError: Its parquet file cannot be read.
        """
        file = self.files[index]
        picture = open_image_guarded(file if isinstance(file, Path) else file.read(), self.names[index])
        self._opened.add(index)
        if depth_of(picture)[0]:
            self._deep[index] = depth_of(picture)
        return picture

    def pictures(self, indices: Sequence[int] | None = None, threads: int = _THREADS) -> Iterator[Image.Image]:
        """Yield pictures in the given order, decoded slightly ahead so that only a few are in memory at a time.

        Args:
            indices: Which pictures; default: all.
            threads: Number of decoding threads.

        Raises:
            DatasetError: Some cannot be read; the remaining ones are then read only to count the failures.
            TooCostlyError: One takes too much time or memory.
        """
        chosen = range(len(self)) if indices is None else indices
        results = in_order(self._open_or_error, chosen, max(1, min(threads, cores())))
        for result in results:
            if isinstance(result, KdvizError):
                failures = [result, *(other for other in results if isinstance(other, KdvizError))]
                raise DatasetError(
                    "{n_failures} of {n_chosen} pictures cannot be used: {failures}",
                    n_failures=len(failures),
                    n_chosen=len(chosen),
                    failures=result.sentence,
                )
            yield result

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Doubts about files that were left out, and about the scaling of deep pictures opened so far."""
        reading = Reading()
        reading.read = len(self._opened)
        reading.deep = [self._deep[index] for index in sorted(self._deep)]
        return (*self.unused, *reading.doubts())

    def opened_notes(self) -> dict[str, Any]:
        """What :attr:`doubts` knows of the pictures opened so far, as JSON values; see :meth:`add_notes`."""
        return {"deep": [[index, *self._deep[index]] for index in sorted(self._deep)]}

    def add_notes(self, notes: Mapping[str, Any], count: int) -> None:
        """Take over what was noted when the first ``count`` pictures were opened by another process."""
        self._opened.update(range(count))
        self._deep.update({int(index): (str(depth), float(peak)) for index, depth, peak in notes.get("deep", ())})

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, as hex, of the classes, and of each picture's name, label and size in bytes.

        The content is not read: the fingerprint stays the same when the data are copied or moved, and also when a
        picture is replaced by another of the same size.
        """
        digest = hashlib.sha256(ascii(self.classes).encode())
        labels = [-1] * len(self) if self.labels is None else self.labels.tolist()
        for file, name, label in zip(self.files, self.names, labels, strict=True):
            size = file.stat().st_size if isinstance(file, Path) else file.size
            digest.update(ascii((name, label, size)).encode())
        return digest.hexdigest()

    @cached_property
    def small_size(self) -> tuple[int, int] | None:
        """Height and width of the pictures if the first ones are all of one size of at most 64 x 64; None otherwise."""
        sizes = set()
        for file, name in zip(self.files[:_LOOKED_AT], self.names, strict=False):
            try:
                sizes.add(picture_size(file if isinstance(file, Path) else file.read(), name))
            except (ImageError, DatasetError):  # the picture is named when it is measured on
                return None
        size = next(iter(sizes)) if len(sizes) == 1 else None
        return size if size is not None and max(size) <= _SMALL else None

    def times_of_change(self) -> list[int]:
        """When each picture's file was last changed, in nanoseconds."""
        paths = [file if isinstance(file, Path) else file.path for file in self.files]
        times = {path: path.stat().st_mtime_ns for path in dict.fromkeys(paths)}
        return [times[path] for path in paths]

    def _open_or_error(self, index: int) -> Image.Image | KdvizError:
        return read_or_error(partial(self.open, index), (ImageError, DatasetError))
