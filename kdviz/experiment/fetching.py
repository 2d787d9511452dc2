"""Getting the pictures of an experiment that is passed on without them, and recording which pictures they are.

``fingerprints.parquet`` is tidy, one row a sample of the split: split, sample (its number there, as in
predictions.parquet), label, hash and checksum, see :mod:`kdviz.data.fingerprints`. Pictures that are fetched may come
in any order and be compressed again: each is recognised by its class and its hash, and samples.parquet is written only
when they fit.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from kdviz.core.errors import DatasetError, ExperimentError, SettingError, UnknownNameError
from kdviz.core.files import from_home, require_writable, rows_where
from kdviz.data import LabelledImages
from kdviz.data.fingerprints import BITS, Fingerprints, PictureMatch, fingerprints_of, match_pictures
from kdviz.data.labels.class_names import read_classes
from kdviz.data.photographs import photographs
from kdviz.data.picture_files import read_picture_files
from kdviz.data.pictures import room_for
from kdviz.data.registry import find_dataset
from kdviz.data.samples import as_pixels
from kdviz.data.store import stored_samples
from kdviz.experiment.folder import Experiment
from kdviz.experiment.picture_source import PictureSource

TABLE = "fingerprints"
"""Name of the table."""

SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("sample", pa.int32()),
        ("label", pa.int16()),
        ("hash", pa.binary()),
        ("checksum", pa.uint32()),
    ]
)
LEAST_SHARE = 0.99
"""Share of the samples that must be found, or the pictures are refused as others."""


@dataclass(frozen=True)
class FetchedPictures:
    """What was fetched.

    Attributes:
        kept: Number of samples whose pictures are kept now.
        exact: Number of those that are equal, pixel for pixel, to what the models were measured on.
        samples: Number of samples of the split.
        split: Name of the split.
        path: The file that has the pictures.
    """

    kept: int
    exact: int
    samples: int
    split: str
    path: Path


# recording ------------------------------------------------------------------------------------------------------------


def record_pictures(experiment: Experiment, samples: LabelledImages, source: PictureSource) -> Experiment:
    """Record the fingerprints of a split, so that the experiment can be passed on without its pictures.

    The experiment then opens with the photographs of its classes that come with kdviz.

    Args:
        experiment: The experiment, whose folder is changed.
        samples: The whole split on which its models were measured.
        source: Where others get the pictures.

    Returns:
        The experiment as it is stored now.

    Raises:
        UnknownNameError: There is no such data set.
        SettingError: The samples are of another split or other classes.
    """
    find_dataset(source.dataset)
    if samples.split != source.split or samples.classes != experiment.classes:
        raise SettingError(
            "These pictures are not those of the experiment; they are of the split '{split}' and have the classes "
            "{classes}.",
            split=samples.split,
            classes=", ".join(samples.classes[:10]),
        )
    known = fingerprints_of(samples.images, samples.labels)
    columns = [
        [samples.split] * len(known),
        list(range(len(known))),
        known.labels.tolist(),
        [row.tobytes() for row in known.hashes],
        known.checksums.tolist(),
    ]
    arrays = [pa.array(values, kind.type) for values, kind in zip(columns, SCHEMA, strict=True)]
    experiment.write_table(TABLE, pa.table(arrays, schema=SCHEMA))
    names = tuple(name for name, photograph in photographs().items() if photograph.shows in experiment.classes)
    recorded = replace(experiment, picture_source=source, opening_pictures=names)
    recorded.save()
    return recorded


def can_fetch(experiment: Experiment) -> bool:
    """Whether the experiment says where its pictures come from, and how they are recognised."""
    return experiment.picture_source is not None and experiment.has_table(TABLE)


# fetching -------------------------------------------------------------------------------------------------------------


def fetched(experiment: Experiment) -> FetchedPictures | None:
    """The pictures that are kept already; None: they are missing or others."""
    if not can_fetch(experiment):
        return None
    source = _source(experiment)
    known = _known(experiment, source.split)
    try:
        stored = experiment.samples(source.split)
    except (ExperimentError, UnknownNameError):
        return None
    numbers = stored.numbers.numpy()
    if len(stored) < LEAST_SHARE * len(known) or numbers.max() >= len(known):
        return None
    if (known.labels[numbers] != stored.labels.numpy()).any():
        return None
    return FetchedPictures(len(stored), 0, len(known), source.split, experiment.folder / "samples.parquet")


def fetch_pictures(experiment: Experiment, data: str | Path | None = None) -> FetchedPictures:
    """Fetch the pictures of an experiment's split, and keep them in its folder once it is known that they fit.

    Args:
        experiment: An experiment that records where its pictures come from.
        data: A folder with one folder a class, inside ``test`` or without it; or the folder in which the data set's
            library keeps it, or shall keep it. None: the user's cache, into which it is downloaded.

    Raises:
        ExperimentError: The experiment does not say which pictures are its own, or its table is damaged.
        DatasetError: They cannot be read or downloaded, or are others.
    """
    source = _source(experiment)
    known = _known(experiment, source.split)
    require_writable(experiment.folder)  # before the download
    if data is not None and not from_home(data).is_dir():
        raise DatasetError("There is no folder '{folder}'; name the one with the pictures.", folder=data)
    folder = None if data is None else from_home(data)
    if folder is not None and _has_class_folders(folder, source.split, experiment.classes):
        samples = _samples_of_folder(experiment, folder)
    else:
        samples = _samples_of_library(experiment, source, folder)
    match = match_pictures(known, fingerprints_of(samples.images, _labels(samples, experiment.classes)))
    if match.count < LEAST_SHARE * len(known):
        raise DatasetError(
            "These are other pictures than those of '{experiment}': {count} of its {samples} {split} samples are among "
            "them; get {dataset}, or leave --data away to download it.",
            experiment=experiment.name,
            count=match.count,
            samples=len(known),
            split=source.split,
            dataset=source.dataset,
        )
    experiment.write_stored(stored_samples(source.split, _rows(samples, known, match)))
    path = experiment.folder / "samples.parquet"
    return FetchedPictures(match.count, int(match.exact.sum()), len(known), source.split, path)


def _source(experiment: Experiment) -> PictureSource:
    if experiment.picture_source is None:
        raise ExperimentError(
            "'{folder}' does not say where its pictures come from, so that none can be fetched; its own are in "
            "samples.parquet, if there are any.",
            folder=experiment.folder,
        )
    return experiment.picture_source


def _known(experiment: Experiment, split: str) -> Fingerprints:
    table = experiment.table(TABLE)
    is_valid = table.schema.equals(SCHEMA)
    if is_valid:
        table = rows_where(table, "split", split).sort_by("sample")
        is_valid = len(table) > 0 and table["sample"].to_pylist() == list(range(len(table)))
        is_valid = is_valid and all(len(hash_bytes or b"") == BITS // 8 for hash_bytes in table["hash"].to_pylist())
    if not is_valid:
        raise ExperimentError(
            "fingerprints.parquet of '{folder}' is damaged; please get the experiment again.", folder=experiment.folder
        )
    hashes = np.frombuffer(b"".join(table["hash"].to_pylist()), np.uint8).reshape(len(table), -1)
    return Fingerprints(table["label"].to_numpy().astype(np.int64), hashes, table["checksum"].to_numpy())


def _has_class_folders(folder: Path, split: str, classes: tuple[str, ...]) -> bool:
    return any((base / name).is_dir() for base in (folder, folder / split) for name in classes)


def _samples_of_folder(experiment: Experiment, folder: Path) -> LabelledImages:
    files = read_picture_files(folder, classes=read_classes(list(experiment.classes)))
    pixels = room_for((len(files), experiment.input.channels, *experiment.input.size))
    for number, picture in enumerate(files.pictures()):
        pixels[number] = as_pixels(experiment.prepare(picture))
    labels = torch.full((len(files),), -1) if files.labels is None else files.labels
    return LabelledImages(torch.from_numpy(pixels), labels, files.classes, files.split, files.names)


def _samples_of_library(experiment: Experiment, source: PictureSource, folder: Path | None) -> LabelledImages:
    dataset = find_dataset(source.dataset)
    size, channels = experiment.input.size, experiment.input.channels
    if dataset.read_split is None:
        return dataset.read(folder, size=size, channels=channels)[source.split]
    return dataset.read_split(source.split, folder, size, channels=channels, prepare=_copying(source))


def _copying(source: PictureSource) -> Callable[[Image.Image], Image.Image] | None:
    """What makes of a picture the copy that the models were trained and measured on; None: nothing."""
    return partial(as_jpeg, quality=source.jpeg_quality) if source.jpeg_quality else None


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """A picture as it is after it was written as JPEG by Pillow, and read again."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert(picture.mode)


def _labels(samples: LabelledImages, classes: tuple[str, ...]) -> torch.Tensor:
    """The labels as numbers of the experiment's classes, by their names; -1: no such class."""
    numbers = torch.tensor([classes.index(name) if name in classes else -1 for name in samples.classes] + [-1])
    return numbers[samples.labels]


def _rows(samples: LabelledImages, known: Fingerprints, match: PictureMatch) -> list[tuple[int, str, int, bytes]]:
    """The rows of samples.parquet, of all samples that were found."""
    names = samples.names or tuple(f"{samples.split}/{number}" for number in range(len(samples)))
    rows = []
    for sample in np.flatnonzero(match.numbers >= 0).tolist():
        number = int(match.numbers[sample])
        rows.append((sample, names[number], int(known.labels[sample]), _png(samples.picture(number))))
    return rows


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
