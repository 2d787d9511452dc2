"""The pictures with the extreme differences of a study, kept in the experiment: its page needs no data set."""

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
from kdviz.studies.tables import read_whole

NAME = "attention_samples"
"""Name of the table."""

SCHEMA = pa.schema([("split", pa.string()), ("sample", pa.int32()), ("label", pa.int16()), ("picture", pa.binary())])
_AT_EACH_END = 12


@dataclass(frozen=True, eq=False)
class StudiedPictures:
    """Pictures of samples of one split, in the order of their numbers.

    Attributes:
        split: Name of the split.
        numbers, labels: int64 (N,), numbers in the split and classes.
        files: Each picture as PNG.
    """

    split: str
    numbers: np.ndarray
    labels: np.ndarray
    files: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.files)

    def picture(self, position: int) -> Image.Image:
        with Image.open(io.BytesIO(self.files[position])) as image:
            image.load()
            return image


def write_pictures(experiment: Experiment, samples: LabelledImages, count: int = _AT_EACH_END) -> int:
    """Store the pictures at both ends of every study's distribution, by every measure; returns their number.

    An experiment whose pictures may not be passed on stores none: the page takes them from those that were fetched.

    Args:
        experiment: The experiment with the studies.
        samples: The split that was studied.
        count: Number of pictures at each end.
    """
    if experiment.picture_source is not None:
        return 0
    numbers: set[int] = set()
    for study in studies_of(experiment):
        for measure in measures:
            for end in read_attention(experiment, study, measure).extremes(count):
                numbers |= {extreme.sample for extreme in end}
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
    """The stored pictures; None: there are none.

    Raises:
        ExperimentError: The table is damaged.
    """
    damaged = ExperimentError(
        "attention_samples.parquet of '{folder}' is damaged; make it anew with: kdviz study",
        folder=experiment.folder,
    )
    table = read_whole(experiment, NAME, SCHEMA, damaged)
    if table is None:
        return None
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
