"""MHIST: polyps of the colon, hyperplastic or sessile serrated (Wei et al., 2021)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from kdviz.core.errors import DatasetError
from kdviz.core.vocabulary import Split
from kdviz.data.groups import split_by_group
from kdviz.data.labels.csv_files import read_rows
from kdviz.data.pictures import Reading, content_keys, files_below, left_out, read_pictures, require_input
from kdviz.data.samples import LabelledImages, require_fraction, with_doubts

MHIST_CLASSES = ("HP", "SSA")

_COLUMNS = (
    "Image Name",
    "Majority Vote Label",
    "Number of Annotators who Selected SSA (Out of 7)",
    "Partition",
)
_ANNOTATORS = tuple(str(number) for number in range(8))

MHIST_IMAGES = 3152
"""Number of images in the published data set (Wei et al., 2021)."""

_Row = tuple[str, ...]


def mhist(
    data: str | Path, size: tuple[int, int] = (224, 224), *, validation: float = 0.15, seed: int = 0
) -> dict[str, LabelledImages]:
    """Read MHIST, or a data set in its layout: annotations.csv and images/. The validation split is taken from train.

    Args:
        data: The folder that holds annotations.csv and images/.
        size: Height and width of the images.
        validation: Share of each class of the partition train that is set aside for validation.
        seed: Seed of that choice.

    Returns:
        The splits ``train``, ``validation`` and ``test``, whose ``annotators`` say how many of seven chose SSA.

    Raises:
        DatasetError: The annotations do not hold together, or an image is missing or damaged.
        SettingError: ``validation`` or the size is out of range.
    """
    folder = Path(data)
    require_input(size, 3)
    require_fraction("validation", validation)
    rows = _annotations(folder)
    keys = content_keys(folder / "images", [row[0] for row in rows])
    parts = _parts(rows, validation, seed, keys)
    _require_classes(folder, parts)
    reading = Reading()
    splits = {split: _read(folder, split, part, size, reading) for split, part in parts.items()}
    used = [row[0] for row in rows]
    doubts = [*left_out(files_below(folder / "images", folder / "images"), used), *reading.doubts()]
    notes = []
    if len(rows) != MHIST_IMAGES:
        notes.append(f"These are {len(rows):,} images, not MHIST's {MHIST_IMAGES:,}: no figure of them is MHIST's.")
    return with_doubts(splits, doubts, notes)


def _parts(rows: Sequence[_Row], validation: float, seed: int, keys: Mapping[str, str]) -> dict[str, list[_Row]]:
    """Split -> its rows. Images of the partition train that are equal byte for byte stay in one split."""
    test = [row for row in rows if row[3] == Split.TEST]
    training = [row for row in rows if row[3] == Split.TRAIN]
    if not training:
        return {Split.TRAIN: [], Split.VALIDATION: [], Split.TEST: test}
    labels = np.array([MHIST_CLASSES.index(row[1]) for row in training])
    split_numbers = split_by_group(
        [keys[row[0]] for row in training], labels, [1 - validation, validation], seed
    ).tolist()
    return {
        Split.TRAIN: [row for row, split_number in zip(training, split_numbers, strict=True) if split_number == 0],
        Split.VALIDATION: [row for row, split_number in zip(training, split_numbers, strict=True) if split_number == 1],
        Split.TEST: test,
    }


def _annotations(folder: Path) -> list[_Row]:
    """The rows of annotations.csv, each with its columns in the order of ``_COLUMNS``, checked."""
    if not folder.is_dir():
        raise DatasetError(
            "There is no folder '{folder}'; name the one that holds MHIST's annotations.csv.", folder=folder
        )
    path, images = folder / "annotations.csv", folder / "images"
    rows = read_rows(path, _COLUMNS)
    _require_values(path, rows, 1, MHIST_CLASSES)
    _require_values(path, rows, 2, _ANNOTATORS)
    _require_values(path, rows, 3, (Split.TRAIN, Split.TEST))
    name, count = Counter(row[0] for row in rows).most_common(1)[0]
    if count > 1:
        raise DatasetError(
            "'{path}' lists the image '{name}' {count} times; leave one row of each image.",
            path=path,
            name=name,
            count=count,
        )
    if not images.is_dir():
        raise DatasetError("'{folder}' has no folder images; unpack MHIST's images.zip there.", folder=folder)
    present = {file.name for file in images.iterdir()}
    missing = [row[0] for row in rows if row[0] not in present]
    if missing:
        raise DatasetError(
            "{n_missing} of the {n_rows} images in '{path}' are not in '{images}', the first is "
            "'{missing}'; unpack MHIST's images.zip there again.",
            n_missing=len(missing),
            n_rows=len(rows),
            path=path,
            images=images,
            missing=missing[0],
        )
    return rows


def _require_values(path: Path, rows: Sequence[_Row], column: int, allowed: Sequence[str]) -> None:
    wrong = [row for row in rows if row[column] not in allowed]
    if wrong:
        raise DatasetError(
            "'{path}' says '{value}' in the column '{column}' of the image '{image}'; it must be one of {allowed}.",
            path=path,
            value=wrong[0][column],
            column=_COLUMNS[column],
            image=wrong[0][0],
            allowed=", ".join(allowed),
        )


def _require_classes(folder: Path, parts: dict[str, list[_Row]]) -> None:
    for split, part in parts.items():
        absent = [name for name in MHIST_CLASSES if name not in {row[1] for row in part}]
        if absent:
            raise DatasetError(
                "The annotations in '{folder}' leave no image of {absent} for the split {split}.",
                folder=folder,
                absent=absent[0],
                split=split,
            )


def _read(folder: Path, split: str, rows: Sequence[_Row], size: tuple[int, int], reading: Reading) -> LabelledImages:
    names = tuple(row[0] for row in rows)
    return LabelledImages(
        images=read_pictures(folder / "images", names, size, 3, reading),
        labels=torch.tensor([MHIST_CLASSES.index(row[1]) for row in rows]),
        classes=MHIST_CLASSES,
        split=split,
        names=tuple(f"images/{name}" for name in names),
        annotators=torch.tensor([int(row[2]) for row in rows]),
    )
