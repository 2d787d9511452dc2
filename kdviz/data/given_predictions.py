"""Predictions that were made elsewhere, as logits: of these models only the answers are known."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import DatasetError, KdvizError
from kdviz.data.labels.matching import match_names
from kdviz.data.picture_files import PictureFiles

LABEL_ONLY = 0.999
"""The probability of the predicted class where only that is known; the others share the rest evenly."""

_ROUNDED = 0.02  # by which the sum of rounded probabilities may miss 1
_LEAST_ROWS = 4  # of scores, before anything is concluded from their range
_MOST_BYTES = 4 * 2**30
_PROBABILITIES = ("probabilities", "probs", "softmax")
_SCORES = ("logits", *_PROBABILITIES, "scores", "predictions", "outputs")
_FILES = ("files", "names", "file", "filenames", "paths")
_LABELS = ("labels", "label", "targets")
_FILE_COLUMNS = ("file", "path", "image", "filename", "file_name", "name", "sample", "index", "id")
_PREDICTED = ("predicted", "prediction", "pred", "predicted_label", "answer")
_CONFIDENCE = ("confidence", "probability", "score", "prob")


@dataclass(frozen=True)
class GivenPredictions:
    """Predictions of a data set's pictures.

    Attributes:
        logits: float32 (N, classes), in the pictures' and classes' order.
        has_scores: Whether the model's own scores are known, or only its answers and perhaps their confidence.
    """

    logits: Tensor
    has_scores: bool


@dataclass(frozen=True)
class _Table:
    """What a file holds, in its own order: float64 (n, classes), and which picture each row is, if it says so."""

    scores: np.ndarray
    files: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    has_scores: bool = True
    are_probabilities: bool = False


def read_predictions(path: str | Path, pictures: PictureFiles, classes: Sequence[str]) -> Tensor:
    """Predictions as logits, float32 (N, classes): :func:`given_predictions` without what is known of them."""
    return given_predictions(path, pictures, classes).logits


def given_predictions(path: str | Path, pictures: PictureFiles, classes: Sequence[str]) -> GivenPredictions:
    """Read predictions of a data set's pictures.

    Rows that name their files are put into the pictures' order, others are taken to be in it. Probabilities become
    their logarithms, whose softmax they are. Where only the predicted class and its confidence are known, the other
    classes share what is left evenly; without a confidence it is :data:`LABEL_ONLY`, which says nothing of the model.

    Args:
        path: An ``.npz`` with ``logits`` or ``probabilities`` (N, classes), and perhaps ``files`` and ``labels``; an
            ``.npy`` with the same array alone; or a CSV file with a row a picture: a column ``file`` (or ``sample``,
            its number), and a column for each class, or ``predicted`` (a name or a number) and perhaps ``confidence``.
        pictures: Of which they are.
        classes: Names.

    Raises:
        DatasetError: The file cannot be read, or is not of these pictures and classes.
    """
    path = Path(path).expanduser()
    table = _read(path, classes)
    _require_shape(table, path, len(classes))
    order = _order(table, path, pictures)
    scores = torch.from_numpy(table.scores[order])
    _require_labels(table, order, path, pictures)
    return GivenPredictions(_as_logits(scores, path, certain=table.are_probabilities).float(), table.has_scores)


def _as_logits(scores: Tensor, path: Path, *, certain: bool) -> Tensor:
    """Probabilities, also rounded ones, as logarithms; anything else as it is.

    Raises:
        DatasetError: The file calls them probabilities, and they are not.
    """
    sums = scores.sum(1, keepdim=True)
    summed = bool(((sums - 1).abs() < _ROUNDED).all())
    if certain and not (summed and bool((scores >= 0).all())):
        raise DatasetError(f"'{path}' has probabilities that are below 0 or whose sum is not 1; call them logits.")
    if not certain and not (summed and _are_shares(scores)):
        return scores
    return (scores / sums).clamp(min=torch.finfo(torch.float32).tiny).log()


def _are_shares(scores: Tensor) -> bool:
    """Whether several rows, whose sums are 1, are not below 0 and vary: which logits hardly ever do."""
    return len(scores) >= _LEAST_ROWS and bool((scores >= 0).all()) and bool(scores.ne(scores[0, 0]).any())


def _read(path: Path, classes: Sequence[str]) -> _Table:
    readers = {".npz": _of_npz, ".npy": _of_npy, ".csv": _of_csv, ".tsv": _of_csv, ".txt": _of_csv}
    if path.suffix.lower() not in readers:
        raise DatasetError(f"'{path}' is no file of predictions; kdviz reads .npz, .npy and .csv.")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DatasetError(f"'{path}' is larger than {_MOST_BYTES // 2**30} GB; save its scores as float16.")
        return readers[path.suffix.lower()](path, classes)
    except KdvizError:
        raise
    except OSError as error:
        raise DatasetError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except (ValueError, EOFError, SyntaxError, zipfile.BadZipFile, csv.Error) as error:  # of damaged files, and objects
        raise DatasetError(
            f"'{path}' cannot be read: it is damaged, or holds Python objects, which are never unpickled; save plain "
            "numbers with numpy.savez, or a CSV file in UTF-8."
        ) from error


# numpy ----------------------------------------------------------------------------------------------------------------


def _of_npz(path: Path, classes: Sequence[str]) -> _Table:
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > _MOST_BYTES:
            raise DatasetError(f"'{path}' unpacks to more than {_MOST_BYTES // 2**30} GB; save its scores as float16.")
    with np.load(path, allow_pickle=False) as arrays:
        scores = next((name for name in _SCORES if name in arrays), None)
        if scores is None:
            raise DatasetError(f"'{path}' has the arrays {sorted(arrays)}; call that of the scores logits.")
        files = next((arrays[name] for name in _FILES if name in arrays), None)
        labels = next((arrays[name] for name in _LABELS if name in arrays), None)
        named = tuple(map(str, files.tolist())) if files is not None else ()
        found = _of_array(arrays[scores], classes, named, labels)
    return replace(found, are_probabilities=found.are_probabilities or scores in _PROBABILITIES)


def _of_npy(path: Path, classes: Sequence[str]) -> _Table:
    return _of_array(np.load(path, allow_pickle=False, mmap_mode="r"), classes)


def _of_array(
    array: np.ndarray, classes: Sequence[str], files: tuple[str, ...] = (), labels: np.ndarray | None = None
) -> _Table:
    """Scores (n, classes); or (n,) of whole numbers, which are answers."""
    if array.ndim == 1 and array.dtype.kind in "iu":
        return _Table(_of_answers(array.tolist(), None, len(classes)), files, labels, False, True)
    if array.ndim == 2 and array.dtype.kind in "fiu":
        return _Table(np.asarray(array, np.float64), files, labels)
    raise DatasetError(
        f"The predictions have the shape {tuple(array.shape)} and hold {array.dtype}; they must be numbers (pictures, "
        "classes)."
    )


def _of_answers(answers: Sequence[int], confidence: Sequence[float] | None, classes: int) -> np.ndarray:
    """Probabilities (n, classes) of which only the predicted class and perhaps its own is known."""
    wrong = [answer for answer in answers if not 0 <= answer < classes]
    if wrong:
        raise DatasetError(f"A picture is predicted to be class {wrong[0]}, and there are {classes}, from 0 on.")
    sure = np.full(len(answers), LABEL_ONLY) if confidence is None else np.asarray(confidence, np.float64)
    if not ((sure >= 0) & (sure <= 1)).all():
        raise DatasetError("A confidence is not from 0 to 1; write probabilities, or leave the column out.")
    # The predicted class stays the most probable: no confidence is below an even share.
    sure = np.clip(sure, 1 / classes + 1e-6, 1)
    scores = np.repeat(((1 - sure) / max(1, classes - 1))[:, None], classes, axis=1)
    scores[np.arange(len(answers)), list(answers)] = sure
    return scores


# CSV ------------------------------------------------------------------------------------------------------------------


def _of_csv(path: Path, classes: Sequence[str]) -> _Table:
    header, body = _rows(path)
    plain = [name.casefold().replace(" ", "_") for name in header]
    columns = {name: [row[number].strip() for row in body] for number, name in reversed(list(enumerate(plain)))}
    files = tuple(next((columns[name] for name in _FILE_COLUMNS if name in columns), ()))
    scored = _scored(header, plain, classes)
    if scored:
        return _Table(np.array([[_as_number(row[column], path) for column in scored] for row in body]), files)
    answered = next((columns[name] for name in _PREDICTED if name in columns), None)
    if answered is None:
        raise DatasetError(
            f"'{path}' has neither a column for each of the {len(classes)} classes, called as they are, nor a column "
            "predicted."
        )
    sure = next((columns[name] for name in _CONFIDENCE if name in columns), None)
    confidence = [_as_number(value, path) for value in sure] if sure else None
    answers = _numbers(answered, classes, path)
    return _Table(_of_answers(answers, confidence, len(classes)), files, None, False, True)


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, all of one length."""
    text = path.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count)) if row]
    if len(rows) < 2:
        raise DatasetError(f"'{path}' has no rows; it needs a header, and a row for each picture.")
    header, body = [cell.strip() for cell in rows[0]], rows[1:]
    uneven = next((number for number, row in enumerate(body, 2) if len(row) != len(header)), None)
    if uneven is not None:
        raise DatasetError(f"Row {uneven} of '{path}' has other columns than its header; correct it.")
    return header, body


def _as_number(cell: str, path: Path) -> float:
    """NaN where there is none, which is refused later."""
    try:
        return float(cell or "nan")
    except ValueError:
        raise DatasetError(f"'{path}' has '{cell}' where a number should be; correct it.") from None


def _scored(header: Sequence[str], plain: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Of each class its column: by name, or by number; empty unless there is one for each."""
    matched = match_names(header, classes)
    by_class = {number: column for column, number in enumerate(matched) if number is not None}
    if len(by_class) == len(classes):
        return [by_class[number] for number in range(len(classes))]
    for form in ("{}", "class_{}", "logit_{}", "logits_{}", "prob_{}", "p{}"):
        numbered = [form.format(number) for number in range(len(classes))]
        if set(numbered) <= set(plain):
            return [list(plain).index(name) for name in numbered]
    return []


def _numbers(answers: Sequence[str], classes: Sequence[str], path: Path) -> list[int]:
    """Predicted names or numbers as numbers."""
    different = sorted(set(answers))
    matched = dict(zip(different, match_names(different, classes), strict=True))
    if all(answer.isascii() and answer.isdigit() for answer in different) and None in matched.values():
        return [int(answer) for answer in answers]
    strange = [answer for answer in different if matched[answer] is None]
    if strange:
        raise DatasetError(
            f"'{path}' predicts '{strange[0]}', which is none of the {len(classes)} classes, such as '{classes[0]}'."
        )
    return [number for answer in answers if (number := matched[answer]) is not None]


# whose they are -------------------------------------------------------------------------------------------------------


def _require_shape(table: _Table, path: Path, classes: int) -> None:
    if table.scores.shape[1] != classes:
        raise DatasetError(
            f"'{path}' has scores of {table.scores.shape[1]} classes, and there are {classes}; see --classes."
        )
    strange = int((~np.isfinite(table.scores)).any(1).sum())
    if strange:
        raise DatasetError(
            f"{strange} of {len(table.scores)} rows in '{path}' have scores that are missing, NaN or infinite; correct "
            "them."
        )
    if table.files and len(table.files) != len(table.scores):
        raise DatasetError(f"'{path}' names {len(table.files)} files, and has {len(table.scores)} rows of scores.")


def _order(table: _Table, path: Path, pictures: PictureFiles) -> list[int]:
    """Of each picture the row."""
    count = len(pictures)
    if not table.files:
        if len(table.scores) != count:
            raise DatasetError(
                f"'{path}' has {len(table.scores)} rows and the data {count} pictures; add a column or an array with "
                "their files, so that each is found."
            )
        return list(range(count))
    rows = _rows_by_name(table.files, pictures.names, path)
    missing = [name for name, row in zip(pictures.names, rows, strict=True) if row is None]
    if missing:
        raise DatasetError(
            f"'{path}' has no predictions of {len(missing)} of the data's {count} pictures, the first is "
            f"'{missing[0]}'."
        )
    return [row for row in rows if row is not None]


def _rows_by_name(files: Sequence[str], names: Sequence[str], path: Path) -> list[int | None]:
    """Of each picture the row that names it: by its path, by the end of it, or by its number."""
    plain = [PurePosixPath(file.replace("\\", "/")).as_posix() for file in files]
    if len(set(plain)) < len(plain):
        first = next(file for file in plain if plain.count(file) > 1)
        raise DatasetError(f"'{path}' has several rows of '{first}'; leave one.")
    where = {file: row for row, file in enumerate(plain)}
    if all(name in where for name in names):
        return [where[name] for name in names]
    ends = {PurePosixPath(file).name: row for row, file in enumerate(plain)}
    own = [PurePosixPath(name).name for name in names]
    if len(ends) == len(plain) and len(set(own)) == len(own) and any(name in ends for name in own):
        return [ends.get(name) for name in own]
    if all(file.isascii() and file.isdigit() for file in plain):
        return [where.get(str(number)) for number in range(len(names))]
    return [where.get(name) for name in names]


def _require_labels(table: _Table, order: Sequence[int], path: Path, pictures: PictureFiles) -> None:
    """Labels in the file must be those of the pictures: they show that the rows are in another order."""
    labels = table.labels
    if (
        labels is None
        or pictures.labels is None
        or labels.dtype.kind not in "iu"
        or labels.shape != table.scores.shape[:1]
    ):
        return
    differing = int((torch.from_numpy(labels[list(order)].astype(np.int64)) != pictures.labels).sum())
    if differing:
        raise DatasetError(
            f"{differing} of {len(order)} labels in '{path}' are not those of the data: its rows are in another order, "
            "or its classes are; add an array files."
        )
