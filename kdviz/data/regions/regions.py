"""The regions of pictures, drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdviz.core.images import picture_size
from kdviz.core.language import plural
from kdviz.data.readers.parquet_pictures import ParquetPicture
from kdviz.data.regions.shapes import Shape, Size, require_size


@dataclass(frozen=True)
class DrawnRegion:
    """The shapes that a file has for one picture, as the file names it.

    Attributes:
        picture: Name or path of the picture.
        shapes: The region's parts; what is in any of them is inside.
        size: Height and width of the picture as the file says; None: it does not say.
        source: Name of the file.
    """

    picture: str
    shapes: tuple[Shape, ...]
    size: Size | None = None
    source: str = ""


class FileSizes(Mapping[str, Size]):
    """Name -> height and width of picture files, read from their heads when they are asked for.

    Args:
        files: Name -> path, or row of a parquet file.
    """

    def __init__(self, files: Mapping[str, Path | ParquetPicture]):
        self._files = files

    def __getitem__(self, name: str) -> Size:
        file = self._files[name]
        return picture_size(file if isinstance(file, Path) else file.read(), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files


@dataclass(frozen=True)
class Regions:
    """The regions that people drew on pictures.

    Attributes:
        sizes: Name of a picture -> its height and width, of all pictures.
        drawn: Name of a picture -> its region, of those that have one, in the order of the pictures.
        unknown: Names of pictures that a file has regions of and that are not among the pictures.
    """

    sizes: Mapping[str, Size]
    drawn: Mapping[str, DrawnRegion]
    unknown: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.drawn)

    def __contains__(self, name: object) -> bool:
        return name in self.drawn

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the pictures that have a region."""
        return tuple(self.drawn)

    @property
    def missing(self) -> int:
        """Number of pictures without a region."""
        return len(self.sizes) - len(self.drawn)

    def mask(self, name: str) -> np.ndarray:
        """The region of a picture in the picture's own size, bool (H, W); all False if nothing is inside.

        Raises:
            DatasetError: The region does not fit the picture.
            ImageError: The file of its mask, or the picture, cannot be read.
            KeyError: The picture has no region.
        """
        region, size = self.drawn[name], self.sizes[name]
        if region.size is not None:
            require_size(region.size, size, name, region.source)
        mask = np.zeros(size, bool)
        for shape in region.shapes:
            shape.draw(mask, name)
        return mask

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, one sentence each: how many pictures have no region, and regions no picture."""
        notes = []
        if self.missing:
            text = plural("{count} picture has no region.", "{count} pictures have no region.", self.missing)
            notes.append(text)
        if self.unknown:
            text = plural(
                "{count} region is of no picture here, '{first}'.",
                "{count} regions are of no picture here, such as '{first}'.",
                len(self.unknown),
                first=self.unknown[0],
            )
            notes.append(text)
        return tuple(notes)
