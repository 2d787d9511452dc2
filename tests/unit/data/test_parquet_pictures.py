"""Pictures of parquet files to measure models on: named, labelled and read when they are asked for, or refused."""

from __future__ import annotations

from pathlib import Path

import named_datasets as named
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kdviz.core.errors import DatasetError, KdvizError
from kdviz.data.labels.class_names import read_classes
from kdviz.data.picture_files import PictureFiles, read_picture_files
from kdviz.data.readers import parquet_pictures

NAMES = ("ant", "bee", "cat")
SIZE = (8, 9)


def write(folder, name, count=12, labels=None, names=NAMES, **more):
    """One file of pictures of 8 x 9, with ``count`` noise pictures in three classes in turn."""
    features = {"image": {"_type": "Image"}} | ({"label": named.class_label(names)} if names else {})
    columns = {
        "image": named.pictures(3, count, *SIZE, 3),
        "label": labels if labels is not None else [index % 3 for index in range(count)],
    }
    named.parquet_file(folder / name, features, **{**columns, **more})
    return folder


def pixels(files: PictureFiles) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in files.pictures(threads=2)])


def test_the_test_split_of_a_folder_as_datasets_writes_it(tmp_path):
    write(tmp_path, "data/train-00000-of-00001.parquet", 24)
    write(tmp_path, "data/test-00000-of-00001.parquet")
    files = read_picture_files(tmp_path)
    assert (len(files), files.split, files.held_out, files.classes) == (12, "test", True, NAMES)
    assert files.labels.tolist() == [index % 3 for index in range(12)]
    assert files.names == tuple(f"test/{index}" for index in range(12))
    assert np.array_equal(pixels(files), named.noise(3, 12, *SIZE, 3))
    assert np.array_equal(np.asarray(files.open(7)), named.noise(3, 12, *SIZE, 3)[7])


def test_several_files_are_one_split_in_order(tmp_path):
    for number in range(2):
        write(tmp_path, f"test-{number:05}-of-00002.parquet", 6 + number)
    files = read_picture_files(tmp_path)
    assert files.names == tuple(f"test/{index}" for index in range(13))
    assert np.array_equal(np.asarray(files.open(8)), named.noise(3, 7, *SIZE, 3)[2])


def test_a_file_without_a_split_in_its_name_is_a_test_split(tmp_path):
    write(tmp_path, "mine.parquet")
    for data in (tmp_path, tmp_path / "mine.parquet"):
        files = read_picture_files(data)
        assert (files.split, files.held_out, files.notes) == ("test", None, ())


def test_pictures_to_train_on_are_called_so(tmp_path):
    files = read_picture_files(write(tmp_path, "train.parquet"))
    assert (files.split, files.held_out) == ("train", False)
    assert "to train on" in files.notes[0]


def test_a_test_split_without_labels_gives_way_to_validation(tmp_path):
    write(tmp_path, "test.parquet", labels=[-1] * 12)
    write(tmp_path, "validation.parquet", 9)
    assert read_picture_files(tmp_path).split == "validation"


def test_labels_follow_the_names_of_a_models_classes(tmp_path):
    write(tmp_path, "test.parquet")
    files = read_picture_files(tmp_path, classes=read_classes(["cat", "bee", "ant", "dog"]))
    assert files.classes == ("cat", "bee", "ant", "dog")
    assert files.labels.tolist() == [[2, 1, 0][index % 3] for index in range(12)]


def test_a_class_without_a_picture_and_the_order_of_the_names_stay(tmp_path):
    files = read_picture_files(write(tmp_path, "test.parquet", labels=[2, 0] * 6, names=("zebu", "yak", "ant")))
    assert (files.classes, files.numbers) == (("zebu", "yak", "ant"), ())
    assert files.labels.tolist() == [2, 0] * 6


def test_labels_in_another_order_of_which_a_name_is_unknown_are_not_taken_by_number(tmp_path):
    write(tmp_path, "test.parquet")
    with pytest.raises(DatasetError, match=r"1 of the 3 classes .* \('ant'\) are none of the 4 named ones"):
        read_picture_files(tmp_path, classes=read_classes(["cat", "bee-eater", "emmet", "bee"]))
    for names in (["ant", "bee", "puss"], ["Ameise", "Biene", "Katze"]):  # the same order, or names that say nothing
        assert read_picture_files(tmp_path, classes=read_classes(names)).labels.tolist()[:3] == [0, 1, 2]


def test_labels_that_are_numbers_or_texts(tmp_path):
    numbered = read_picture_files(write(tmp_path / "numbers", "test.parquet", names=()))
    assert (numbered.classes, numbered.numbers) == (("class 0", "class 1", "class 2"), (0, 1, 2))
    named_by_text = read_picture_files(write(tmp_path / "texts", "test.parquet", labels=["dog", "cat"] * 6, names=()))
    assert (named_by_text.classes, named_by_text.numbers) == (("cat", "dog"), ())
    assert named_by_text.labels.tolist() == [1, 0] * 6


def test_columns_can_be_named(tmp_path):
    write(tmp_path, "test.parquet", other=[1, 0] * 6, names=())
    files = read_picture_files(tmp_path, label_column="other")
    assert files.labels.tolist() == [1, 0] * 6
    with pytest.raises(KdvizError, match=r"Unknown column 'oter'\. Did you mean 'other'"):
        read_picture_files(tmp_path, label_column="oter")


@pytest.mark.parametrize("column", ["image_column", "label_column"])
def test_a_column_of_a_folder_of_pictures_is_refused(tmp_path, column):
    """It would be ignored, and labels be taken from the folders' names."""
    for name in NAMES[:2]:
        (tmp_path / name).mkdir()
        Image.fromarray(named.noise(3, 1, *SIZE, 3)[0]).save(tmp_path / name / "0.png")
    assert read_picture_files(tmp_path).classes == NAMES[:2]
    with pytest.raises(DatasetError, match="no parquet files: the name of a column, 'fine', means nothing"):
        read_picture_files(tmp_path, **{column: "fine"})


def test_the_fingerprint_tells_other_rows_and_labels_from_these(tmp_path):
    def of(name, **more):
        return read_picture_files(write(tmp_path / name, "test.parquet", **more)).fingerprint

    assert of("one") == of("same")
    assert len({of("one"), of("labels", labels=[0, 1] * 6), of("more", count=13)}) == 3


def test_few_row_groups_are_in_memory(tmp_path, monkeypatch):
    files = read_picture_files(write(tmp_path, "test.parquet", 60))  # 6 groups of 10 rows
    opened = []

    def open_and_note(path, really_open=parquet_pictures.open_parquet_file):
        opened.append(path)
        return really_open(path)

    monkeypatch.setattr(parquet_pictures, "open_parquet_file", open_and_note)
    parquet_pictures._pictures_of_group.cache_clear()
    assert np.array_equal(pixels(files), named.noise(3, 60, *SIZE, 3))
    assert len(opened) == 6  # a group is read once, also where threads meet
    assert parquet_pictures._pictures_of_group.cache_info().currsize <= 4


def test_a_file_that_was_written_anew_is_read_anew(tmp_path):
    before = pixels(read_picture_files(write(tmp_path, "test.parquet")))
    write(tmp_path, "test.parquet", image=named.pictures(4, 12, *SIZE, 3))
    assert not np.array_equal(pixels(read_picture_files(tmp_path)), before)


def changed_later(folder, change):
    path = write(folder, "test.parquet") / "test.parquet"
    files = read_picture_files(folder)
    files.open(0)
    change(path)
    list(files.pictures())


def damaged_within(folder):
    path = write(folder, "test.parquet") / "test.parquet"
    content = bytearray(path.read_bytes())
    content[200 : len(content) // 2] = b"A" * (len(content) // 2 - 200)
    path.write_bytes(content)


def not_utf8(folder):
    texts = pa.Array.from_buffers(pa.string(), 12, pa.array([b"\xff\xfe"] * 12).buffers())
    write(folder, "test.parquet", labels=texts, names=())


def of_other_types(folder, **columns):
    write(folder, "test-0.parquet", names=())
    write(folder, "test-1.parquet", names=(), **columns)


def of_twin_columns(folder):
    columns = pa.array([b"a"] * 12), pa.array([0, 1] * 6), pa.array([0, 1] * 6)
    pq.write_table(pa.Table.from_arrays(columns, names=["image", "label", "label"]), folder / "test.parquet")
    read_picture_files(folder, label_column="label")


def of_paths(folder):
    (folder / "a.png").write_bytes(named.png(named.noise(0, 1, *SIZE, 3)[0]))
    write(folder, "test.parquet", image=[str(folder / "a.png")] * 12)
    (folder / "a.png").rename(folder / "a.hidden")


def read_after(make, folder):
    make(folder)
    list(read_picture_files(folder).pictures())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: (folder / "test.parquet").write_bytes(b"no"), "is damaged or no parquet file"),
        (lambda folder: write(folder, "test.parquet", labels=[-1] * 12), "has a label; a measurement needs them"),
        (lambda folder: write(folder, "test.parquet", labels=[0, None] * 6), "6 of 12 pictures .* have no label"),
        (
            lambda folder: write(folder, "test.parquet", labels=[0, 7] * 6),
            "has the label 7, and its classes are 0 to 2",
        ),
        (lambda folder: write(folder, "test.parquet", image=[{"bytes": None, "path": "a"}] * 12), "has no bytes"),
        (
            lambda folder: changed_later(folder, lambda path: path.write_bytes(b"gone")),
            "12 of 12 pictures cannot be used: .* was changed while its pictures were read",
        ),
        (
            lambda folder: changed_later(folder, lambda path: write(folder, path.name, 5)),
            "12 of 12 pictures cannot be used: .* was changed while its pictures were read",
        ),
        (
            lambda folder: changed_later(folder, Path.unlink),
            "12 of 12 pictures cannot be used: Cannot read .*: No such",
        ),
        (damaged_within, "is damaged or no parquet file"),
        (not_utf8, "is damaged or no parquet file"),
        (lambda folder: of_other_types(folder, labels=["ant", "bee"] * 6), r"other types .* 'label' \(string\)"),
        (lambda folder: of_other_types(folder, labels=[0.0, 1.0] * 6), r"other types .* 'label' \(double\)"),
        (lambda folder: of_other_types(folder, image=[1] * 12), r"other types .* 'image' \(int64\)"),
        (of_twin_columns, "have several columns 'label'; please rename them"),
        (of_paths, r"no column that can be the pictures: .* there: image \(string\), label"),
        (lambda folder: write(folder, "test.parquet", image=[1] * 12), "no column that can be the pictures"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(tmp_path, make, text):
    with pytest.raises(DatasetError, match=text) as caught:
        read_after(make, tmp_path)
    assert "\n" not in str(caught.value)
