"""Predictions that were made elsewhere, as logits: of these models only the answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import DatasetError
from kdviz.core.files import from_home
from kdviz.data.picture_files import PictureFiles
from kdviz.data.prediction_files import PredictionTable, read_table

_ROUNDED = 0.02  # by which the sum of rounded probabilities may miss 1


_LEAST_ROWS = 4  # of scores, before anything is concluded from their range


@dataclass(frozen=True)
class GivenPredictions:
    """Predictions of a data set's pictures.

    Attributes:
        logits: float32 (N, classes), in the pictures' and classes' order.
        has_scores: Whether the model's own scores are known, or only its answers and perhaps their confidence.
    """

    logits: Tensor
    has_scores: bool


def read_predictions(path: str | Path, pictures: PictureFiles, classes: Sequence[str]) -> Tensor:
    """Read predictions as logits, float32 (N, classes); see :func:`given_predictions`."""
    return given_predictions(path, pictures, classes).logits


def given_predictions(path: str | Path, pictures: PictureFiles, classes: Sequence[str]) -> GivenPredictions:
    """Read predictions of a data set's pictures.

    Rows that name their files are put into the pictures' order; other rows are assumed to be in that order already.
    Probabilities are replaced by their logarithms, whose softmax returns them. Where only the predicted class and its
    confidence are known, the other classes share the remaining probability evenly; without a confidence,
    :data:`~kdviz.data.prediction_files.LABEL_ONLY` is used, which says nothing about the model.

    Args:
        path: An ``.npz`` with ``logits`` or ``probabilities`` (N, classes), and perhaps ``files`` and ``labels``; an
            ``.npy`` with the same array alone; or a CSV file with one row a picture: a column ``file`` (or ``sample``,
            its number), and a column for each class, or ``predicted`` (a name or a number) and perhaps ``confidence``.
        pictures: The pictures that were predicted.
        classes: Class names, in the order of the labels.

    Raises:
        DatasetError: The file cannot be read, or is not of these pictures and classes.
    """
    path = from_home(path)
    table = read_table(path, classes)
    _require_shape(table, path, len(classes))
    order = _row_order(table, path, pictures)
    scores = torch.from_numpy(table.scores[order])
    _require_labels(table, order, path, pictures)
    return GivenPredictions(_as_logits(scores, path, certain=table.are_probabilities).float(), table.has_scores)


def _as_logits(scores: Tensor, path: Path, *, certain: bool) -> Tensor:
    """Return the logarithms of probabilities, rounded ones included; return anything else unchanged.

    Raises:
        DatasetError: The file calls the scores probabilities, but they are not.
    """
    sums = scores.sum(1, keepdim=True)
    summed = bool(((sums - 1).abs() < _ROUNDED).all())
    if certain and not (summed and bool((scores >= 0).all())):
        raise DatasetError(
            "'{path}' has probabilities that are below 0 or whose sum is not 1; call them logits.", path=path
        )
    if not certain and not (summed and _are_shares(scores)):
        return scores
    return (scores / sums).clamp(min=torch.finfo(torch.float32).tiny).log()


def _are_shares(scores: Tensor) -> bool:
    """Whether rows that sum to 1 are non-negative and not constant, which hardly ever holds for logits."""
    return len(scores) >= _LEAST_ROWS and bool((scores >= 0).all()) and bool(scores.ne(scores[0, 0]).any())


def _require_shape(table: PredictionTable, path: Path, classes: int) -> None:
    if table.scores.shape[1] != classes:
        raise DatasetError(
            "'{path}' has scores of {shape} classes, and there are {classes}; see --classes.",
            path=path,
            shape=table.scores.shape[1],
            classes=classes,
        )
    bad_rows = int((~np.isfinite(table.scores)).any(1).sum())
    if bad_rows:
        raise DatasetError(
            "{bad_rows} of {n_scores} rows in '{path}' have scores that are missing, NaN or infinite; correct them.",
            bad_rows=bad_rows,
            n_scores=len(table.scores),
            path=path,
        )
    if table.files and len(table.files) != len(table.scores):
        raise DatasetError(
            "'{path}' names {n_files} files, and has {n_scores} rows of scores.",
            path=path,
            n_files=len(table.files),
            n_scores=len(table.scores),
        )


def _row_order(table: PredictionTable, path: Path, pictures: PictureFiles) -> list[int]:
    """The row of each picture."""
    count = len(pictures)
    if not table.files:
        if len(table.scores) != count:
            raise DatasetError(
                "'{path}' has {n_scores} rows and the data {count} pictures; add a column or an array "
                "with their files, so that each is found.",
                path=path,
                n_scores=len(table.scores),
                count=count,
            )
        return list(range(count))
    rows = _rows_by_name(table.files, pictures.names, path)
    missing = [name for name, row in zip(pictures.names, rows, strict=True) if row is None]
    if missing:
        raise DatasetError(
            "'{path}' has no predictions of {n_missing} of the data's {count} pictures, the first is '{missing}'.",
            path=path,
            n_missing=len(missing),
            count=count,
            missing=missing[0],
        )
    return [row for row in rows if row is not None]


def _rows_by_name(files: Sequence[str], names: Sequence[str], path: Path) -> list[int | None]:
    """The row that names each picture: by its path, by its file name, or by its number."""
    paths = [PurePosixPath(file.replace("\\", "/")).as_posix() for file in files]
    if len(set(paths)) < len(paths):
        first = next(file for file in paths if paths.count(file) > 1)
        raise DatasetError("'{path}' has several rows of '{first}'; leave one.", path=path, first=first)
    row_of_path = {file: row for row, file in enumerate(paths)}
    if all(name in row_of_path for name in names):
        return [row_of_path[name] for name in names]
    row_of_file_name = {PurePosixPath(file).name: row for row, file in enumerate(paths)}
    file_names = [PurePosixPath(name).name for name in names]
    if (
        len(row_of_file_name) == len(paths)
        and len(set(file_names)) == len(file_names)
        and any(name in row_of_file_name for name in file_names)
    ):
        return [row_of_file_name.get(name) for name in file_names]
    if all(file.isascii() and file.isdigit() for file in paths):
        return [row_of_path.get(str(number)) for number in range(len(names))]
    return [row_of_path.get(name) for name in names]


def _require_labels(table: PredictionTable, order: Sequence[int], path: Path, pictures: PictureFiles) -> None:
    """Refuse a file whose labels are not those of the pictures, since its rows are then in another order."""
    labels = table.labels
    if (
        labels is None
        or pictures.labels is None
        or labels.dtype.kind not in "iu"
        or labels.shape != table.scores.shape[:1]
    ):
        return
    mismatches = int((torch.from_numpy(labels[list(order)].astype(np.int64)) != pictures.labels).sum())
    if mismatches:
        raise DatasetError(
            "{mismatches} of {n_order} labels in '{path}' are not those of the data: its rows are in "
            "another order, or its classes are; add an array files.",
            mismatches=mismatches,
            n_order=len(order),
            path=path,
        )
