"""The pictures at the ends of a study's distribution, kept in the experiment, so that its page needs no data set."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from kdviz.core.errors import ExperimentError
from kdviz.data import LabelledImages
from kdviz.experiment import Experiment
from kdviz.metrics.similarity import measures
from kdviz.studies.attention.statistics.report import read_attention, studies_of

NAME = "attention_samples"
"""Name of the table."""

SCHEMA = pa.schema([("split", pa.string()), ("sample", pa.int32()), ("label", pa.int16()), ("picture", pa.binary())])
_AT_EACH_END = 12


@dataclass(frozen=True, eq=False)
class StudiedPictures:
    """Pictures of samples of one split, in the order of their numbers.

    Attributes:
        split: Its name.
        numbers, labels: int64 (N,).
        files: PNG bytes of each.
    """

    split: str
    numbers: np.ndarray
    labels: np.ndarray
    files: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.files)

    def picture(self, place: int) -> Image.Image:
        with Image.open(io.BytesIO(self.files[place])) as opened:
            opened.load()
            return opened


def write_pictures(experiment: Experiment, samples: LabelledImages, count: int = _AT_EACH_END) -> int:
    """Keep the pictures at both ends of every study by every measure; returns how many.

    Args:
        experiment: Has the studies.
        samples: The split that they are of.
        count: At each end.
    """
    numbers: set[int] = set()
    for study in studies_of(experiment):
        for measure in measures:
            for end in read_attention(experiment, study, measure).extremes(count):
                numbers |= {one.sample for one in end}
    rows = [
        {
            "split": samples.split,
            "sample": number,
            "label": int(samples.labels[number]),
            "picture": _png(samples.picture(number)),
        }
        for number in sorted(numbers)
    ]
    experiment.write_table(NAME, pa.Table.from_pylist(rows, SCHEMA))
    return len(rows)


def read_pictures(experiment: Experiment) -> StudiedPictures | None:
    """What is kept; None: nothing.

    Raises:
        ExperimentError: The table is not one of these.
    """
    if not experiment.has_table(NAME):
        return None
    table = experiment.table(NAME)
    if not len(table) or not set(SCHEMA.names) <= set(table.column_names):
        raise ExperimentError(f"{NAME}.parquet of '{experiment.folder}' is damaged; make it anew with: kdviz study")
    table = table.sort_by("sample")
    return StudiedPictures(
        str(table["split"][0].as_py()),
        table["sample"].to_numpy().astype(np.int64),
        table["label"].to_numpy().astype(np.int64),
        tuple(table["picture"].to_pylist()),
    )


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
