"""The regions of a study, kept in the experiment, so that *Compare* outlines them without the files they came in."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from PIL import Image

from kdviz.core.errors import ExperimentError
from kdviz.core.files import rows_where
from kdviz.data.regions.outlines import Polygon, outlines
from kdviz.experiment import Experiment
from kdviz.studies.regions.pictures import RegionPictures
from kdviz.studies.regions.table import NAME as STUDY
from kdviz.studies.tables import read_whole

NAME = "region_samples"
"""Name of the table."""

_TEXT = pa.dictionary(pa.int16(), pa.string())
SCHEMA = pa.schema([("split", _TEXT), ("sample", pa.int32()), ("source", pa.string()), ("region", pa.binary())])
"""Of region_samples.parquet: one row for a picture. ``region`` is a grey PNG of the models' input size, whose levels
from 0 to 255 are the share of each pixel that lies inside; ``source`` is the name of the file in which it was drawn."""


@dataclass(frozen=True, eq=False)
class StudiedRegion:
    """The region of one picture, as the models' input has it.

    Attributes:
        shares: float32 (H, W), the share of each pixel that lies inside, in steps of 1/255.
        source: Name of the file in which it was drawn; empty if it is not known.
    """

    shares: np.ndarray
    source: str = ""

    @property
    def area(self) -> float:
        """The region's share of the picture."""
        return float(self.shares.mean())

    @cached_property
    def inside(self) -> np.ndarray:
        """Bool (H, W): pixels of which half or more lies inside; all that it touches where there is none."""
        half = self.shares >= 0.5
        return half if half.any() else self.shares > 0

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """First and last row, and first and last column of :attr:`inside`, which must not be empty."""
        rows, columns = (np.flatnonzero(self.inside.any(axis)) for axis in (1, 0))
        return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])

    @cached_property
    def outlines(self) -> list[Polygon]:
        """The borders of :attr:`inside`."""
        return outlines(self.inside)


def write_regions(experiment: Experiment, split: str, pictures: RegionPictures) -> None:
    """Write region_samples.parquet.

    Args:
        experiment: The experiment with the study.
        split: Split of the pictures.
        pictures: The pictures of the study.
    """
    sources = pictures.sources or ("",) * len(pictures)
    columns = {
        "split": [split] * len(pictures),
        "sample": pictures.numbers,
        "source": list(sources),
        "region": [_png(shares) for shares in pictures.regions],
    }
    experiment.write_table(NAME, pa.table(columns).cast(SCHEMA))


def read_region(experiment: Experiment, split: str, number: int) -> StudiedRegion | None:
    """The region of a picture; None: the study has none of it, or was made before regions were kept.

    Args:
        experiment: The experiment.
        split: Split of the picture.
        number: Its number in the split.

    Raises:
        ExperimentError: The table is damaged.
    """
    damaged = ExperimentError(
        "region_samples.parquet of '{folder}' is damaged; make it anew with: kdviz study --study regions",
        folder=experiment.folder,
    )
    table = read_whole(experiment, NAME, SCHEMA, damaged) if experiment.has_table(STUDY) else None
    if table is None:
        return None
    try:
        table = rows_where(table.select(SCHEMA.names).cast(SCHEMA), "split", split)
    except pa.ArrowException as error:  # columns of other types
        raise damaged from error
    rows = np.flatnonzero(table["sample"].to_numpy() == number)
    if not len(rows):
        return None
    row = int(rows[0])
    shares = _shares(table["region"][row].as_py(), experiment.input.size)
    if shares is None:
        raise damaged
    return StudiedRegion(shares, table["source"][row].as_py() or "")


def _png(shares: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    levels = np.maximum((shares * 255).round(), shares > 0)  # a little is not nothing
    Image.fromarray(levels.astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _shares(content: bytes | None, size: tuple[int, int]) -> np.ndarray | None:
    """Float32 (H, W), from a PNG; None: it is none of this height and width."""
    try:
        with Image.open(io.BytesIO(content or b""), formats=["PNG"]) as image:
            if image.size != size[::-1] or image.mode != "L":  # before its pixels are read
                return None
            return np.asarray(image, dtype=np.float32) / 255
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
