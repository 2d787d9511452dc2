"""Files of predictions: npz, npy and csv, read into a table in the file's own row order."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kdviz.core.errors import DatasetError, KdvizError
from kdviz.data.labels.matching import match_names

LABEL_ONLY = 0.999
"""The probability of the predicted class where only that is known; the others share the rest evenly."""

_MOST_BYTES = 4 * 2**30
_PROBABILITIES = ("probabilities", "probs", "softmax")
_SCORES = ("logits", *_PROBABILITIES, "scores", "predictions", "outputs")
_FILES = ("files", "names", "file", "filenames", "paths")
_LABELS = ("labels", "label", "targets")
_FILE_COLUMNS = ("file", "path", "image", "filename", "file_name", "name", "sample", "index", "id")
_PREDICTED = ("predicted", "prediction", "pred", "predicted_label", "answer")
_CONFIDENCE = ("confidence", "probability", "score", "prob")


@dataclass(frozen=True)
class PredictionTable:
    """Content of a file in its own row order.

    Attributes:
        scores: float64 (n, classes).
        files: The picture that each row belongs to; empty if the file does not name them.
        labels: (n,), ground truth as the file has it.
    """

    scores: np.ndarray
    files: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    has_scores: bool = True
    are_probabilities: bool = False


def read_table(path: Path, classes: Sequence[str]) -> PredictionTable:
    readers = {".npz": _read_npz, ".npy": _read_npy, ".csv": _read_csv, ".tsv": _read_csv, ".txt": _read_csv}
    if path.suffix.lower() not in readers:
        raise DatasetError("'{path}' is no file of predictions; kdviz reads .npz, .npy and .csv.", path=path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DatasetError(
                "'{path}' is larger than {most_bytes} GB; save its scores as float16.",
                path=path,
                most_bytes=_MOST_BYTES // 2**30,
            )
        return readers[path.suffix.lower()](path, classes)
    except KdvizError:
        raise
    except OSError as error:
        raise DatasetError("Cannot read '{path}': {strerror}.", path=path, strerror=error.strerror or error) from error
    except Exception as error:  # numpy, zipfile and csv have many ways to say that a file is damaged
        raise DatasetError(
            "'{path}' cannot be read: it is damaged, or holds Python objects, which are never "
            "unpickled; save plain numbers with numpy.savez, or a CSV file in UTF-8.",
            path=path,
        ) from error


def _read_npz(path: Path, classes: Sequence[str]) -> PredictionTable:
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > _MOST_BYTES:
            raise DatasetError(
                "'{path}' unpacks to more than {most_bytes} GB; save its scores as float16.",
                path=path,
                most_bytes=_MOST_BYTES // 2**30,
            )
    with np.load(path, allow_pickle=False) as arrays:
        scores = next((name for name in _SCORES if name in arrays), None)
        if scores is None:
            raise DatasetError(
                "'{path}' has the arrays {arrays}; call that of the scores logits.", path=path, arrays=sorted(arrays)
            )
        files = next((arrays[name] for name in _FILES if name in arrays), None)
        labels = next((arrays[name] for name in _LABELS if name in arrays), None)
        file_names = tuple(map(str, files.tolist())) if files is not None else ()
        table = _table_from_array(arrays[scores], classes, file_names, labels)
    return replace(table, are_probabilities=table.are_probabilities or scores in _PROBABILITIES)


def _read_npy(path: Path, classes: Sequence[str]) -> PredictionTable:
    return _table_from_array(np.load(path, allow_pickle=False, mmap_mode="r"), classes)


def _table_from_array(
    array: np.ndarray, classes: Sequence[str], files: tuple[str, ...] = (), labels: np.ndarray | None = None
) -> PredictionTable:
    """Interpret an array as scores (n, classes), or as predicted classes if it is (n,) of integers."""
    if array.ndim == 1 and array.dtype.kind in "iu":
        return PredictionTable(_probabilities_of(array.tolist(), None, len(classes)), files, labels, False, True)
    if array.ndim == 2 and array.dtype.kind in "fiu":
        return PredictionTable(np.asarray(array, np.float64), files, labels)
    raise DatasetError(
        "The predictions have the shape {shape} and hold {dtype}; they must be numbers (pictures, classes).",
        shape=tuple(array.shape),
        dtype=array.dtype,
    )


def _probabilities_of(predicted: Sequence[int], confidence: Sequence[float] | None, classes: int) -> np.ndarray:
    """Probabilities (n, classes) where only the predicted class, and perhaps its probability, is known."""
    outside = [answer for answer in predicted if not 0 <= answer < classes]
    if outside:
        raise DatasetError(
            "A picture is predicted to be class {outside}, and there are {classes}, from 0 on.",
            outside=outside[0],
            classes=classes,
        )
    top_scores = np.full(len(predicted), LABEL_ONLY) if confidence is None else np.asarray(confidence, np.float64)
    if not ((top_scores >= 0) & (top_scores <= 1)).all():
        raise DatasetError("A confidence is not from 0 to 1; write probabilities, or leave the column out.")
    # The predicted class stays the most probable: no confidence is below an even share.
    top_scores = np.clip(top_scores, 1 / classes + 1e-6, 1)
    scores = np.repeat(((1 - top_scores) / max(1, classes - 1))[:, None], classes, axis=1)
    scores[np.arange(len(predicted)), list(predicted)] = top_scores
    return scores


def _read_csv(path: Path, classes: Sequence[str]) -> PredictionTable:
    header, body = _rows(path)
    plain_header = [name.casefold().replace(" ", "_") for name in header]
    columns = {name: [row[number].strip() for row in body] for number, name in reversed(list(enumerate(plain_header)))}
    files = tuple(next((columns[name] for name in _FILE_COLUMNS if name in columns), ()))
    score_columns = _score_columns(header, plain_header, classes)
    if score_columns:
        return PredictionTable(
            np.array([[_parse_number(row[column], path) for column in score_columns] for row in body]), files
        )
    predicted_cells = next((columns[name] for name in _PREDICTED if name in columns), None)
    if predicted_cells is None:
        raise DatasetError(
            "'{path}' has neither a column for each of the {n_classes} classes, called as they are, "
            "nor a column predicted.",
            path=path,
            n_classes=len(classes),
        )
    confidence_cells = next((columns[name] for name in _CONFIDENCE if name in columns), None)
    confidence = [_parse_number(value, path) for value in confidence_cells] if confidence_cells else None
    predicted = _class_numbers(predicted_cells, classes, path)
    return PredictionTable(_probabilities_of(predicted, confidence, len(classes)), files, None, False, True)


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file, all of the same length."""
    text = path.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count)) if row]
    if len(rows) < 2:
        raise DatasetError("'{path}' has no rows; it needs a header, and a row for each picture.", path=path)
    header, body = [cell.strip() for cell in rows[0]], rows[1:]
    uneven = next((number for number, row in enumerate(body, 2) if len(row) != len(header)), None)
    if uneven is not None:
        raise DatasetError(
            "Row {uneven} of '{path}' has other columns than its header; correct it.", uneven=uneven, path=path
        )
    return header, body


def _parse_number(cell: str, path: Path) -> float:
    """A cell as a number; NaN for an empty one, which is refused later."""
    try:
        return float(cell or "nan")
    except ValueError:
        raise DatasetError(
            "'{path}' has '{cell}' where a number should be; correct it.", path=path, cell=cell
        ) from None


def _score_columns(header: Sequence[str], plain_header: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The column of each class, matched by name or by number; empty unless every class has one."""
    matched = match_names(header, classes)
    by_class = {number: column for column, number in enumerate(matched) if number is not None}
    if len(by_class) == len(classes):
        return [by_class[number] for number in range(len(classes))]
    for form in ("{}", "class_{}", "logit_{}", "logits_{}", "prob_{}", "p{}"):
        numbered = [form.format(number) for number in range(len(classes))]
        if set(numbered) <= set(plain_header):
            return [list(plain_header).index(name) for name in numbered]
    return []


def _class_numbers(predicted: Sequence[str], classes: Sequence[str], path: Path) -> list[int]:
    """Predicted class names or numbers as class numbers."""
    distinct = sorted(set(predicted))
    number_of = dict(zip(distinct, match_names(distinct, classes), strict=True))
    if all(cell.isascii() and cell.isdigit() for cell in distinct) and None in number_of.values():
        return [int(cell) for cell in predicted]
    unknown = [cell for cell in distinct if number_of[cell] is None]
    if unknown:
        raise DatasetError(
            "'{path}' predicts '{unknown}', which is none of the {n_classes} classes, such as '{classes}'.",
            path=path,
            unknown=unknown[0],
            n_classes=len(classes),
            classes=classes[0],
        )
    return [number for cell in predicted if (number := number_of[cell]) is not None]
