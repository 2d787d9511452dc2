"""Predictions that were made elsewhere: put into the pictures' order, turned into logits, or refused in a sentence."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from kdviz.core.errors import DatasetError
from kdviz.data.given_predictions import given_predictions, read_predictions
from kdviz.data.picture_files import PictureFiles
from kdviz.data.prediction_files import LABEL_ONLY

CLASSES = ("ant", "bee", "cat")
NAMES = tuple(f"{folder}/{number}.png" for number, folder in enumerate("aabbcc"))
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
LOGITS = np.random.default_rng(0).normal(0, 3, (6, 3)).astype(np.float32)
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
ORDER = np.array([3, 0, 5, 1, 4, 2])


@pytest.fixture
def pictures() -> PictureFiles:
    return PictureFiles(tuple(map(Path, NAMES)), NAMES, LABELS, CLASSES)


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "given.npz", **arrays)
    return tmp_path / "given.npz"


def table(tmp_path, header, rows, delimiter=","):
    path = tmp_path / "given.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


def require_logits(read, expected=LOGITS, tolerance=1e-5):
    """Logits are the same but for a constant a row."""
    assert read.dtype == torch.float32
    softmax = torch.from_numpy(np.asarray(expected)).float().softmax(1)
    assert torch.allclose(read.softmax(1), softmax, atol=tolerance)


# numpy ----------------------------------------------------------------------------------------------------------------


def test_arrays_in_the_pictures_order(tmp_path, pictures):
    read = read_predictions(npz(tmp_path, logits=LOGITS), pictures, CLASSES)
    assert torch.equal(read, torch.from_numpy(LOGITS))
    for name in ("probabilities", "probs", "scores"):
        require_logits(read_predictions(npz(tmp_path, **{name: PROBABILITIES}), pictures, CLASSES))
    np.save(tmp_path / "given.npy", LOGITS.astype(np.float16))
    require_logits(read_predictions(tmp_path / "given.npy", pictures, CLASSES), tolerance=5e-3)


@pytest.mark.parametrize(
    "named", [lambda name: name, lambda name: name.rpartition("/")[2], lambda name: f"/elsewhere/{name}", str.upper]
)
def test_rows_are_found_by_their_files(tmp_path, pictures, named):
    files = [named(NAMES[number]) for number in ORDER]
    path = npz(tmp_path, logits=LOGITS[ORDER], files=files, labels=LABELS.numpy()[ORDER])
    if files[0].isupper():
        with pytest.raises(DatasetError, match=r"no predictions of 6 of the data's 6 pictures, the first is 'a/0.png'"):
            read_predictions(path, pictures, CLASSES)
    else:
        assert torch.equal(read_predictions(path, pictures, CLASSES), torch.from_numpy(LOGITS))


def test_more_rows_than_pictures_are_fine_and_fewer_are_not(tmp_path, pictures):
    more = np.concatenate([LOGITS, LOGITS])
    path = npz(tmp_path, logits=more, files=[*NAMES, *(f"other{number}" for number in range(6))])
    assert torch.equal(read_predictions(path, pictures, CLASSES), torch.from_numpy(LOGITS))
    path = npz(tmp_path, logits=LOGITS[:4], files=NAMES[:4])
    with pytest.raises(DatasetError, match=r"2 of the data's 6 pictures, the first is 'c/4.png'"):
        read_predictions(path, pictures, CLASSES)


def test_few_probabilities_are_told_by_their_name(tmp_path):
    few = PictureFiles((Path("a"), Path("b")), ("a", "b"), None, ())
    read = read_predictions(npz(tmp_path, probabilities=PROBABILITIES[:2]), few, CLASSES)
    require_logits(read, LOGITS[:2])


# CSV ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("columns", [["Cat", "ant", "bee"], ["2", "0", "1"], ["class_2", "class_0", "class_1"]])
def test_a_column_for_each_class(tmp_path, pictures, columns, delimiter):
    rows = [(NAMES[number], *(f"{LOGITS[number][column]:.7f}" for column in (2, 0, 1))) for number in ORDER]
    given = given_predictions(table(tmp_path, ["file", *columns], rows, delimiter), pictures, CLASSES)
    require_logits(given.logits)
    assert given.has_scores


def test_rounded_probabilities_by_sample_number(tmp_path, pictures):
    rows = [(number, *(f"{value:.3f}" for value in PROBABILITIES[number])) for number in ORDER]
    require_logits(read_predictions(table(tmp_path, ["sample", *CLASSES], rows), pictures, CLASSES), tolerance=2e-3)


@pytest.mark.parametrize("answers", [("ant", "bee", "cat", "cat", "Bee", "ant"), ("0", "1", "2", "2", "1", "0")])
def test_answers_alone_say_only_the_class(tmp_path, pictures, answers):
    rows = [(NAMES[number], answers[number]) for number in ORDER]
    given = given_predictions(table(tmp_path, ["file", "predicted"], rows), pictures, CLASSES)
    assert not given.has_scores
    assert given.logits.argmax(1).tolist() == [0, 1, 2, 2, 1, 0]
    probabilities = given.logits.softmax(1).sort(1).values
    assert torch.allclose(probabilities[:, -1], torch.tensor(LABEL_ONLY))
    assert torch.allclose(probabilities[:, :-1], torch.tensor((1 - LABEL_ONLY) / 2))


def test_answers_with_their_confidence(tmp_path, pictures):
    sure = (0.9, 0.5, 1.0, 0.35, 0.2, 0.99)
    rows = [(answer, value) for answer, value in zip("012210", sure, strict=True)]
    given = given_predictions(table(tmp_path, ["prediction", "confidence"], rows), pictures, CLASSES)
    assert given.logits.argmax(1).tolist() == [0, 1, 2, 2, 1, 0]  # also where 0.2 is below an even share
    best = given.logits.softmax(1).max(1).values.tolist()
    assert best == pytest.approx([0.9, 0.5, 1.0, 0.35, 1 / 3, 0.99], abs=1e-4)
    assert given.logits.isfinite().all()
    one_array = given_predictions(npz(tmp_path, predictions=np.array([0, 1, 2, 2, 1, 0])), pictures, CLASSES)
    assert one_array.logits.argmax(1).tolist() == [0, 1, 2, 2, 1, 0]


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"logits": LOGITS[:, :2]}, "2 classes, and there are 3"),
        ({"logits": LOGITS[:5]}, "5 rows and the data 6 pictures"),
        ({"logits": np.where(np.isin(LOGITS, LOGITS[2, 1]), np.nan, LOGITS)}, "1 of 6 rows"),
        ({"logits": LOGITS[None]}, r"shape \(1, 6, 3\)"),
        ({"logits": LOGITS.astype(str)}, "must be numbers"),
        ({"other": LOGITS}, "call that of the scores logits"),
        ({"logits": np.array([{}, {}], object)}, "never unpickled"),
        ({"logits": LOGITS, "files": NAMES[:5]}, "5 files, and has 6 rows"),
        ({"logits": LOGITS, "files": (*NAMES[:5], NAMES[0])}, "several rows of 'a/0.png'"),
        ({"logits": LOGITS, "labels": LABELS.numpy()[ORDER]}, "labels in .* are not those of the data"),
        ({"probabilities": LOGITS}, "below 0 or whose sum is not 1"),
        ({"predictions": np.array([0, 1, 2, 3, 1, 0])}, "class 3, and there are 3"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, pictures, arrays, words):
    with pytest.raises(DatasetError, match=rf"{words}.*\.$"):
        read_predictions(npz(tmp_path, **arrays), pictures, CLASSES)


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        (["file", "ant", "bee"], [("a/0.png", 1, 2)], "neither a column for each"),
        (["file", *CLASSES], [], "no rows"),
        (["file", *CLASSES], [("a/0.png", 1, 2)], "Row 2"),
        (["file", *CLASSES], [("a/0.png", 1, 2, "x")], "'x' where a number"),
        (["file", *CLASSES], [("a/0.png", 1, 2, "")], "1 of 1 rows"),
        (["file", "predicted"], [("a/0.png", "dog")], "predicts 'dog'"),
        (["file", "predicted", "confidence"], [("a/0.png", "ant", "80")], "not from 0 to 1"),
        (["file", "predicted"], [("a/0.png", "ant")], "5 of the data's 6 pictures"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, pictures, header, rows, words):
    with pytest.raises(DatasetError, match=rf"{words}.*\.$"):
        read_predictions(table(tmp_path, header, rows), pictures, CLASSES)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.npz", b"PK"), ("x.npz", b""), ("x.npy", b"\x93NUMPY"), ("x.csv", b"\xff\xfe"), ("x.pkl", b"")],
)
def test_files_that_are_none(tmp_path, pictures, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=r"\.$"):
        read_predictions(tmp_path / name, pictures, CLASSES)
    with pytest.raises(DatasetError, match=r"Cannot read|no file of predictions"):
        read_predictions(tmp_path / f"missing{name}", pictures, CLASSES)
