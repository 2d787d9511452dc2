"""Folders of parquet files with pictures: complete, with the right columns, classes and splits, or refused."""

from __future__ import annotations

import named_datasets as named
import numpy as np
import pyarrow as pa
import pytest

from kdviz.core.errors import DatasetError, KdvizError, UnknownNameError
from kdviz.data import parquet_folder
from kdviz.data.registry import TRANSFER, find_dataset

SPLITS = ("train", "validation", "test")
SIZE = (8, 9)
NAMES = ("ant", "bee", "cat")


def one_sentence(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def split_files(folder, parts=(("train", 30), ("validation", 12), ("test", 9)), **more):
    """data/SPLIT-00000-of-00001.parquet, pictures of 8 x 9 in three classes in turn."""
    features = {"image": {"_type": "Image"}, "label": named.class_label(NAMES)}
    for seed, (split, count) in enumerate(parts):
        columns = {"image": named.pictures(seed, count, *SIZE, 3), "label": [number % 3 for number in range(count)]}
        named.parquet_file(folder / "data" / f"{split}-00000-of-00001.parquet", features, **columns, **more)
    return folder


# complete -------------------------------------------------------------------------------------------------------------


def test_a_folder_as_datasets_writes_it(tmp_path):
    splits = parquet_folder(split_files(tmp_path), SIZE)
    assert list(splits) == list(SPLITS)
    for seed, (split, count) in enumerate(zip(SPLITS, (30, 12, 9), strict=True)):
        samples = splits[split]
        assert np.array_equal(samples.images.numpy(), named.noise(seed, count, *SIZE, 3).transpose(0, 3, 1, 2))
        assert samples.labels.tolist() == [number % 3 for number in range(count)]
        assert (samples.classes, samples.notes, samples.doubts) == (NAMES, (), ())
        assert samples.names == tuple(f"{split}/{number}" for number in range(count))


def test_several_files_a_split_are_read_in_order(tmp_path):
    for number in range(3):
        rows = named.pictures(number, 12, *SIZE, 3)
        path = tmp_path / "data" / f"train-{number:05}-of-00003.parquet"
        named.parquet_file(path, image=rows, label=[(number + index) % 2 for index in range(12)])
    named.parquet_file(tmp_path / "data" / "test-00000-of-00001.parquet", image=rows, label=[0, 1] * 6)
    splits = parquet_folder(tmp_path, SIZE)
    whole = np.concatenate([named.noise(number, 12, *SIZE, 3) for number in range(3)]).transpose(0, 3, 1, 2)
    assert sorted(splits["train"].names + splits["validation"].names) == sorted(
        f"train/{number}" for number in range(36)
    )
    for split in ("train", "validation"):
        for name, picture, label in zip(splits[split].names, splits[split].images, splits[split].labels, strict=True):
            number = int(name.removeprefix("train/"))
            assert np.array_equal(picture.numpy(), whole[number])
            assert int(label) == (number // 12 + number % 12) % 2
    assert splits["test"].doubts[0].kind == "overlap"  # the last training file is the test file


@pytest.mark.parametrize(
    "names",
    [
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("train.parquet", "eval.parquet"),
        ("my-training_set.parquet", "my-testing_set.parquet"),
        ("data/train-00000-of-00001-abc123.parquet", "data/test-00000-of-00001-def456.parquet"),
    ],
)
def test_splits_by_the_names_of_files_and_folders(tmp_path, names):
    for seed, (name, count) in enumerate(zip(names, (40, 8), strict=True)):
        named.parquet_file(tmp_path / name, image=named.pictures(seed, count, 8, 8), label=[0, 1] * (count // 2))
    splits = parquet_folder(tmp_path, (8, 8))
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 34, "validation": 6, "test": 8}


@pytest.mark.parametrize("whole", [True, False])
def test_without_names_of_splits_all_are_held_out_from(tmp_path, whole):
    path = named.parquet_file(tmp_path / "flowers.parquet", image=named.pictures(0, 40, 8, 8), label=[0, 1] * 20)
    splits = parquet_folder(tmp_path if whole else path, (8, 8))
    assert {split: samples.labels.bincount().tolist() for split, samples in splits.items()} == {
        "train": [14, 14],
        "validation": [3, 3],
        "test": [3, 3],
    }
    names = [name for split in SPLITS for name in splits[split].names]
    assert sorted(names) == sorted(f"all/{number}" for number in range(40))


def test_a_test_split_without_labels(tmp_path):
    split_files(tmp_path)
    path = tmp_path / "data" / "test-00000-of-00001.parquet"
    features = {"image": {"_type": "Image"}, "label": named.class_label(NAMES)}
    named.parquet_file(path, features, image=named.pictures(2, 9, *SIZE, 3), label=[-1] * 9)
    splits = parquet_folder(tmp_path, SIZE)
    assert {split: samples.names[0].partition("/")[0] for split, samples in splits.items()} == {
        "train": "train",
        "validation": "train",
        "test": "validation",
    }
    assert [note.partition(" is left out")[0] for note in splits["test"].notes] == [
        "The split test has no labels and",
        "There is no test split with labels: the validation split is the test split.",
    ]
    other = named.parquet_file(tmp_path / "data" / "unsupervised-00000-of-00001.parquet", image=[{"bytes": b""}])
    assert any(f"the first is 'data/{other.name}'" in note for note in parquet_folder(tmp_path, SIZE)["test"].notes)


# columns --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        ({"img": "pictures", "label": [0, 2] * 10}, ("0", "2")),
        ({"jpeg": "bytes", "cls": [5, 10] * 10}, ("5", "10")),
        ({"image": "pictures", "label": ["dog", "cat"] * 10, "caption": ["x"] * 20}, ("cat", "dog")),
        ({"image": "pictures", "id": list(range(20)), "label": [0, 1] * 10, "width": [8] * 20}, ("0", "1")),
        ({"image": "pictures", "kind": pa.array(["b", "a"] * 10).dictionary_encode()}, ("a", "b")),
    ],
)
def test_columns_by_their_types(tmp_path, columns, classes):
    rows = named.pictures(0, 20, 8, 8)
    made = {"pictures": rows, "bytes": [row["bytes"] for row in rows]}
    filled = {name: made[value] if isinstance(value, str) else value for name, value in columns.items()}
    named.parquet_file(tmp_path / "train.parquet", **filled)
    splits = parquet_folder(tmp_path, (8, 8))
    assert splits["train"].classes == classes
    assert sum(len(samples) for samples in splits.values()) == 20


def test_a_class_label_goes_before_other_numbers(tmp_path):
    features = {"image": {"_type": "Image"}, "kind": named.class_label(NAMES)}
    columns = {"label": [7, 8] * 15, "kind": [number % 3 for number in range(30)]}
    named.parquet_file(tmp_path / "train.parquet", features, image=named.pictures(0, 30, 8, 8), **columns)
    assert parquet_folder(tmp_path, (8, 8))["train"].classes == NAMES
    assert parquet_folder(tmp_path, (8, 8), label_column="label")["train"].classes == ("7", "8")


def test_of_several_columns_one_is_named(tmp_path):
    features = {"fine_label": named.class_label(("a", "b")), "coarse_label": named.class_label(("x", "y"))}
    columns = {"fine_label": [0, 1] * 10, "coarse_label": [1, 0] * 10}
    named.parquet_file(tmp_path / "train.parquet", features, img=named.pictures(0, 20, 8, 8), **columns)
    with pytest.raises(DatasetError, match=r"\(fine_label, coarse_label\); name one with --label-column") as caught:
        parquet_folder(tmp_path, (8, 8))
    one_sentence(caught)
    assert parquet_folder(tmp_path, (8, 8), label_column="coarse_label")["train"].classes == ("x", "y")
    with pytest.raises(UnknownNameError, match=r"Unknown column 'fine_lable'\. Did you mean 'fine_label'"):
        parquet_folder(tmp_path, (8, 8), label_column="fine_lable")
    with pytest.raises(DatasetError, match=r"'img' has the type .* cannot be the classes") as caught:
        parquet_folder(tmp_path, (8, 8), label_column="img")
    one_sentence(caught)
    with pytest.raises(DatasetError, match="'fine_label' has the type int64 and cannot be the pictures") as caught:
        parquet_folder(tmp_path, (8, 8), image_column="fine_label")
    one_sentence(caught)


def test_a_class_that_a_split_lacks_is_said(tmp_path):
    only(tmp_path, label=[0] * 10 + [1] * 8 + [2] * 2)
    splits = parquet_folder(tmp_path, (8, 8))
    lacking = [split for split in SPLITS if 2 not in splits[split].labels]
    assert list(splits["test"].notes) == [f"The split {split} has no picture of: 2." for split in lacking] != []


# training -------------------------------------------------------------------------------------------------------------


def test_the_usual_training_depends_on_the_pictures(tmp_path):
    of_data = find_dataset("parquet").of_data
    small = of_data(split_files(tmp_path / "small"))
    assert (small.recipe.teacher, small.input["size"], small.input["channels"]) == ("airbench", SIZE, 3)
    named.parquet_file(tmp_path / "grey" / "a.parquet", image=named.pictures(0, 20, 8, 8), label=[0, 1] * 10)
    grey = of_data(tmp_path / "grey")
    assert (grey.recipe.teacher, grey.input["channels"]) == ("paper_cnn", 1)
    rows = [*named.pictures(0, 25, 8, 8), *named.pictures(1, 1, 9, 9)]
    named.parquet_file(tmp_path / "varied" / "a.parquet", image=rows, label=[0, 1] * 13)
    varied = of_data(tmp_path / "varied")
    assert (varied.recipe, varied.input) == (TRANSFER, None)
    named.parquet_file(tmp_path / "large" / "a.parquet", image=named.pictures(0, 20, 65, 8), label=[0, 1] * 10)
    assert of_data(tmp_path / "large").recipe == TRANSFER


# refusals -------------------------------------------------------------------------------------------------------------


def only(folder, name="train.parquet", **columns):
    columns = {"image": named.pictures(0, 20, 8, 8), "label": [0, 1] * 10, **columns}
    return named.parquet_file(folder / name, **{key: value for key, value in columns.items() if value is not None})


def through_declaration(folder):
    """Read as ``kdviz train`` does, which looks at some pictures first."""
    find_dataset("parquet").of_data(folder).read(folder, (8, 8), 3)


def damage(folder):
    path = only(folder)
    path.write_bytes(path.read_bytes()[:200])


def damage_a_page(folder):
    path = only(folder)
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(bytes(content))


def two_data_sets(folder):
    only(folder, "cats/train.parquet")
    only(folder, "dogs/train.parquet")


def other_classes(folder):
    for split, names in (("train", NAMES), ("test", NAMES[::-1])):
        columns = {"image": named.pictures(0, 6, 8, 8), "label": [0, 1, 2] * 2}
        named.parquet_file(folder / f"{split}.parquet", {"label": named.class_label(names)}, **columns)


def other_columns(folder):
    only(folder)
    only(folder, "test.parquet", label=None, other=[0, 1] * 10)


def beyond_the_classes(folder):
    features = {"label": named.class_label(("a", "b"))}
    columns = {"image": named.pictures(0, 6, 8, 8), "label": [0, 1, 2] * 2}
    named.parquet_file(folder / "train.parquet", features, **columns)


def of_test_alone(folder):
    only(folder)
    only(folder, "test.parquet", label=[0, 5] * 10)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda _folder: None, "has no parquet files"),
        (lambda folder: (folder / "train.parquet").write_bytes(b""), "'.*train.parquet' is damaged"),
        (lambda folder: (folder / "train.parquet").write_bytes(b"no parquet at all"), "is damaged or no parquet file"),
        (damage, "is damaged or no parquet file"),
        (damage_a_page, "is damaged or no parquet file"),
        (lambda folder: only(folder, "test.parquet"), "parquet files of the split test and none to train on"),
        (two_data_sets, r"of several data sets \('cats', 'dogs'\)"),
        (other_classes, "names other classes"),
        (other_columns, "has not the columns 'image' and 'label'"),
        (beyond_the_classes, "is 2, and its 2 classes"),
        (of_test_alone, "The part 'test' .* of the class '5'"),
        (lambda folder: only(folder, image=None), r"no column that can be the pictures: .* there: label \(int64\)"),
        (lambda folder: only(folder, label=None), r"no column that can be the classes: .* there: image \(struct"),
        (lambda folder: only(folder, label=[0.5, 1.0] * 10), "no column that can be the classes"),
        (lambda folder: only(folder, label=[0] * 20), "have one class; two are needed"),
        (lambda folder: only(folder, label=[0, -1] * 10), "10 of 20 pictures .* train/1 has no label"),
        (lambda folder: only(folder, label=[0, None] * 10), "10 of 20 pictures .* train/1 has no label"),
        (lambda folder: only(folder, image=[{"bytes": None, "path": "a.png"}] * 20), "the picture is not in the file"),
        (lambda folder: only(folder, image=[{"bytes": b"text", "path": ""}] * 20), "train.* is not a picture"),
        (lambda folder: only(folder, image=[{"bytes": b"", "path": ""}] * 20), "is empty"),
    ],
)
@pytest.mark.parametrize("through", [parquet_folder, through_declaration])
def test_what_cannot_be_used(tmp_path, make, text, through):
    make(tmp_path)
    with pytest.raises(KdvizError, match=text) as caught:
        through(tmp_path)
    one_sentence(caught)


def test_no_folder(tmp_path):
    with pytest.raises(DatasetError, match="There is no folder") as caught:
        parquet_folder(tmp_path / "none")
    one_sentence(caught)
