"""Pictures in files: every layout that people have is listed, nothing is decoded before it is asked for."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from kdviz.core import threads
from kdviz.core.errors import DatasetError, ImageError, TooCostlyError
from kdviz.data import picture_collection
from kdviz.data.labels.class_names import ClassNames, class_order, read_classes
from kdviz.data.picture_files import PictureFiles, read_picture_files
from kdviz.data.pictures import read_or_error

WNIDS = {"n01440764": "tench", "n01484850": "great white shark", "n02012849": "crane (n02012849)"}


def paint(path, seed=0, size=(9, 7), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def plant(folder, counts):
    """``counts``: folder -> number of pictures."""
    for row, (name, count) in enumerate(counts.items()):
        for number in range(count):
            paint(folder / name / f"{number:03}.png", 100 * row + number)
    return folder


def write_rows(path, rows, delimiter=",", encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def listed(files: PictureFiles) -> list[tuple[str, str]]:
    assert files.labels is not None
    return [(name, files.classes[label]) for name, label in zip(files.names, files.labels.tolist(), strict=True)]


def refusal(data, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        read_picture_files(data, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# folders --------------------------------------------------------------------------------------------------------------


def test_class_folders_are_all_test_and_nothing_is_decoded(tmp_path, monkeypatch):
    plant(tmp_path, {"cat": 3, "dog/deep": 2})
    (tmp_path / "cat" / "notes.txt").write_text("x")
    paint(tmp_path / "loose.png")
    monkeypatch.setattr(picture_collection, "open_image_guarded", lambda *_: pytest.fail("decoded"))
    files = read_picture_files(tmp_path)
    assert listed(files) == [
        ("cat/000.png", "cat"),
        ("cat/001.png", "cat"),
        ("cat/002.png", "cat"),
        ("dog/deep/000.png", "dog"),
        ("dog/deep/001.png", "dog"),
    ]
    assert (files.split, files.held_out, len(files)) == ("test", None, 5)
    assert [doubt.figures for doubt in files.doubts] == [{"endings": {".txt": 1}, "elsewhere": {".png": 1}}]


@pytest.mark.parametrize(
    ("folders", "split", "held_out"),
    [
        (("train", "val", "test"), "test", True),
        (("train", "valid"), "validation", True),
        (("Training", "Testing"), "test", True),
        (("val",), "validation", None),
        (("train",), "train", False),
    ],
)
def test_splits_are_respected(tmp_path, folders, split, held_out):
    for number, name in enumerate(folders):
        plant(tmp_path / name, {"a": 1 + number, "b": 2, "c": int(name.lower().startswith("train"))})
    files = read_picture_files(tmp_path)
    assert (files.split, files.held_out) == (split, held_out)
    assert len(files) == 2 + len(folders) + (split == "train")
    assert all(name.startswith(folders[-1]) for name in files.names)
    assert files.classes == (("a", "b", "c") if "rain" in folders[0] else ("a", "b"))  # c is no class of test alone
    assert bool(files.notes) == (held_out is False)
    assert not files.doubts


def test_a_class_may_be_called_test_and_pictures_without_classes_are_no_split(tmp_path):
    plant(tmp_path, {"test": 2, "control": 1})
    assert read_picture_files(tmp_path).classes == ("control", "test")
    plant(tmp_path / "kaggle", {"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "test": 3})
    assert read_picture_files(tmp_path / "kaggle").split == "validation"


def test_folders_called_by_wordnet_ids_get_names_in_their_order(tmp_path):
    pytest.importorskip("timm")
    files = read_picture_files(plant(tmp_path, dict.fromkeys(WNIDS, 1)))
    assert files.classes == tuple(WNIDS.values())
    assert class_order(1000, files.classes) == (0, 2, 134)


def test_pictures_alone_have_no_labels(tmp_path):
    plant(tmp_path, {"": 3})
    files = read_picture_files(tmp_path)
    assert (files.labels, files.classes, files.names) == (None, (), ("000.png", "001.png", "002.png"))


def test_names_that_are_given_are_the_order(tmp_path):
    plant(tmp_path, {"cat": 1, "great white_shark": 1})
    files = read_picture_files(tmp_path, classes=read_classes(["eel", "Great White Shark", "cat"]))
    assert files.classes == ("eel", "Great White Shark", "cat")
    assert listed(files) == [("cat/000.png", "cat"), ("great white_shark/000.png", "Great White Shark")]
    text = refusal(tmp_path, classes=read_classes(["cat", "dog"]))
    assert "1 of the 2 classes" in text
    assert "'great white_shark'" in text


def test_a_map_renames_folders_and_may_join_them(tmp_path):
    plant(tmp_path, {"a": 1, "b": 1, "c": 1})
    aliases = {"c": "first", "b": "second", "a": "second", "z": "never"}
    files = read_picture_files(tmp_path, classes=ClassNames(("first", "second", "never"), aliases))
    assert listed(files) == [("a/000.png", "second"), ("b/000.png", "second"), ("c/000.png", "first")]
    assert files.classes == ("second", "first")
    assert "'c'" in refusal(tmp_path, classes=ClassNames(("x", "y"), {"a": "x", "b": "y"}))


def test_folders_called_by_numbers_are_the_named_classes(tmp_path):
    plant(tmp_path, {"0": 1, "2": 1, "10": 1})
    names = tuple(f"name {number}" for number in range(11))
    files = read_picture_files(tmp_path, classes=ClassNames(names))
    assert listed(files) == [("0/000.png", "name 0"), ("10/000.png", "name 10"), ("2/000.png", "name 2")]


def test_numbers_from_one_to_the_number_of_classes_are_the_named_classes_in_order(tmp_path):
    plant(tmp_path, {"1": 1, "2": 1})
    names = ClassNames(("ant", "bee"))
    assert listed(read_picture_files(tmp_path, classes=names)) == [("1/000.png", "ant"), ("2/000.png", "bee")]
    path = write_rows(tmp_path / "a.csv", [("file", "label"), ("1/000.png", "2"), ("2/000.png", "1")])
    assert read_picture_files(path, classes=names).labels.tolist() == [1, 0]
    plant(tmp_path, {"3": 1})
    assert "'3'" in refusal(tmp_path, classes=names)


# CSV files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    ("file", "label"), [("file", "label"), ("Path", "Class"), ("image", "target"), ("File Name", "class_id")]
)
def test_csv_with_names_as_labels(tmp_path, delimiter, encoding, file, label):
    plant(tmp_path, {"pictures": 3})
    rows = [
        (label, "more", file),
        *((name, "x,y", f"pictures\\00{n}.png") for n, name in enumerate(("dog", "cat", "dog"))),
    ]
    path = write_rows(tmp_path / "list.csv", rows, delimiter, encoding)
    files = read_picture_files(path)
    assert files.classes == ("cat", "dog")
    assert [name for _, name in listed(files)] == ["dog", "cat", "dog"]
    assert files.names == ("pictures/000.png", "pictures/001.png", "pictures/002.png")
    assert files.open(1).size == (9, 7)


def test_csv_with_numbers_is_in_their_order_and_names_come_from_a_column_or_from_classes(tmp_path):
    plant(tmp_path, {"": 3})
    files = ["000.png", "001.png", "002.png"]
    path = write_rows(tmp_path / "a.csv", [("file", "label"), *zip(files, ("10", "2", "2.0"), strict=True)])
    pictures = read_picture_files(path)
    assert (pictures.classes, pictures.labels.tolist()) == (("class 2", "class 10"), [1, 0, 0])
    names = tuple(f"name {number}" for number in range(11))
    pictures = read_picture_files(path, classes=ClassNames(names))
    assert (pictures.classes, pictures.labels.tolist()) == (names, [10, 2, 2])
    assert "'10'" in refusal(path, classes=ClassNames(names[:10]))
    rows = [("file", "label", "name"), *zip(files, "722", ("pig", "ant", "ant"), strict=True)]
    path = write_rows(tmp_path / "b.csv", rows)
    pictures = read_picture_files(path)
    assert (pictures.classes, pictures.labels.tolist()) == (("ant", "pig"), [1, 0, 0])
    pictures = read_picture_files(path, classes=ClassNames(("pig", "emu", "ant")))  # names are surer than numbers
    assert pictures.labels.tolist() == [0, 2, 2]
    write_rows(path, [*rows[:3], (files[2], "2", "bee")])
    assert "both 'ant' and 'bee'" in refusal(path)


def test_csv_in_a_folder_without_header_or_labels_or_with_splits(tmp_path):
    plant(tmp_path / "a", {"": 3})
    write_rows(tmp_path / "a" / "labels.csv", [("000.png", "x"), ("002.png", "y")])
    files = read_picture_files(tmp_path / "a")
    assert listed(files) == [("000.png", "x"), ("002.png", "y")]
    plant(tmp_path / "b", {"images": 4})
    rows = [("Image Name", "Majority Vote Label", "Partition")]
    rows += [(f"00{n}.png", "HP" if n % 2 else "SSA", "train" if n < 2 else "test") for n in range(4)]
    write_rows(tmp_path / "b" / "annotations.csv", rows)
    files = read_picture_files(tmp_path / "b")
    assert listed(files) == [("002.png", "SSA"), ("003.png", "HP")]
    assert (files.split, files.held_out, files.doubts) == ("test", True, ())
    path = write_rows(tmp_path / "b" / "files.csv", [("file",), ("images/000.png",)])
    assert read_picture_files(path).labels is None


def test_csv_of_imagenet_numbers_can_be_told_apart(tmp_path):
    pytest.importorskip("timm")
    plant(tmp_path, {"": 2})
    write_rows(tmp_path / "labels.csv", [("file", "label", "name"), ("000.png", 517, "crane"), ("001.png", 0, "tench")])
    files = read_picture_files(tmp_path)
    assert files.classes == ("tench", "crane (n03126707)")
    assert class_order(1000, files.classes) == (0, 517)


def test_files_elsewhere_are_taken_or_refused(tmp_path):
    paint(tmp_path / "far" / "x.png")
    paint(tmp_path / "data" / "y.png")
    rows = [("file", "label"), (str(tmp_path / "far" / "x.png"), "a"), ("y.png", "b")]
    path = write_rows(tmp_path / "data" / "labels.csv", rows)
    assert len(read_picture_files(path)) == 2
    assert "outside" in refusal(path, inside=True)
    write_rows(path, [("file", "label"), ("../far/x.png", "a"), ("y.png", "b")])
    assert "outside" in refusal(path.parent, inside=True)


@pytest.mark.parametrize("there", [True, False])
def test_what_is_said_of_a_file_elsewhere_does_not_depend_on_whether_it_is_there(tmp_path, there):
    plant(tmp_path / "sent", {"": 1})
    if there:
        (tmp_path / "secret.png").write_bytes(b"x")
    path = write_rows(
        tmp_path / "sent" / "a.csv", [("file", "label"), ("000.png", "x"), ("../secret.png", "y"), ("no.png", "y")]
    )
    said = refusal(path, inside=True)
    assert "'../secret.png' is outside the folder" in said
    assert "no.png" not in said


# what is refused ------------------------------------------------------------------------------------------------------


def test_data_that_cannot_be_used_are_refused_in_a_sentence(tmp_path):
    assert "no folder or CSV file" in refusal(tmp_path / "none")
    assert "no pictures" in refusal(tmp_path)
    (tmp_path / "only.zip").write_bytes(b"PK")
    assert "unpack" in refusal(tmp_path / "only.zip")
    paint(tmp_path / "one.png")
    assert "one picture" in refusal(tmp_path / "one.png")
    assert "one class only, 'a'" in refusal(plant(tmp_path / "single", {"a": 2}))
    plant(tmp_path / "twice", {"val/a": 1, "val/b": 1, "valid/a": 1, "valid/b": 1})
    assert "both 'val' and 'valid'" in refusal(tmp_path / "twice")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("file", "label"), ("a.png", "x"), ("gone.png", "y"), ("lost.png", "y")], "2 of the 3 pictures"),
        ([("file", "label"), ("a.png", "x"), ("b.png", "")], "1 of 2 pictures"),
        ([("file", "label"), ("a.png", "x"), ("b.png", "x")], "one class only"),
        ([("file", "label"), ("a.png", "x"), ("a.png", "y")], "'a.png' as 'x' and as 'y'"),
        ([("file", "label"), ("", "x"), ("b.png", "y")], "1 of 2 rows"),
        ([("who", "what"), ("a", "x")], "no column"),
        ([("file", "label")], "no rows"),
        ([], "empty"),
    ],
)
def test_csv_files_that_cannot_be_used(tmp_path, rows, words):
    for name in ("a.png", "b.png"):
        paint(tmp_path / name)
    assert words in refusal(write_rows(tmp_path / "list.csv", rows))


def test_a_csv_that_is_none(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"\xff\xfe\x00file")
    assert "UTF-8" in refusal(path)


# pictures -------------------------------------------------------------------------------------------------------------


def test_pictures_come_in_order(tmp_path):
    for number in range(60):
        Image.new("L", (40, 40), number).save(tmp_path / f"{number:03}.png")
    files = read_picture_files(tmp_path)
    assert [picture.getpixel((0, 0)) for picture in files.pictures()] == list(range(60))
    assert [picture.getpixel((0, 0)) for picture in files.pictures([7, 3], threads=1)] == [7, 3]


def test_decoding_stays_a_little_ahead(tmp_path, monkeypatch):
    files = read_picture_files(plant(tmp_path, {"": 64}))
    opened = []
    monkeypatch.setattr(
        picture_collection, "open_image_guarded", lambda path, name: opened.append(name) or Image.open(path)
    )
    pictures = files.pictures(threads=2)
    next(pictures)
    pictures.close()
    assert 1 <= len(opened) <= 2 * threads._AHEAD


def test_unreadable_pictures_are_counted_and_the_first_is_named(tmp_path):
    plant(tmp_path, {"": 6})
    for name in ("001.png", "004.png"):
        (tmp_path / name).write_bytes(b"no picture")
    files = read_picture_files(tmp_path)
    with pytest.raises(DatasetError, match=r"^2 of 6 pictures cannot be used: 001\.png is not a picture.*\.$"):
        list(files.pictures())
    with pytest.raises(ImageError, match=r"004\.png"):
        files.open(4)


def test_how_deep_pictures_were_scaled_is_a_doubt_once_they_are_opened(tmp_path):
    plant(tmp_path, {"": 2})
    Image.fromarray(np.full((4, 4), 60_000, np.uint16)).save(tmp_path / "002.png")
    files = read_picture_files(tmp_path)
    assert files.doubts == ()
    list(files.pictures())
    list(files.pictures())
    assert [(doubt.kind, dict(doubt.figures)) for doubt in files.doubts] == [
        ("depth", {"depths": {"16": 1}, "samples": 3})
    ]


def test_the_fingerprint_is_of_the_data_wherever_they_are(tmp_path):
    first, second = (read_picture_files(plant(tmp_path / name, {"x": 2, "y": 1})) for name in ("a", "b"))
    assert first.fingerprint == second.fingerprint
    (tmp_path / "b" / "x" / "000.png").rename(tmp_path / "b" / "y" / "007.png")
    assert read_picture_files(tmp_path / "b").fingerprint != first.fingerprint
    (tmp_path / "a" / "x" / "000.png").write_bytes(b"other")
    assert read_picture_files(tmp_path / "a").fingerprint != first.fingerprint


# real data ------------------------------------------------------------------------------------------------------------


@pytest.mark.tiles
def test_real_folders(tiles_folder):
    colon = read_picture_files(tiles_folder / "colon")
    assert (colon.classes, colon.split, colon.held_out, colon.doubts) == (
        ("adenocarcinoma", "benign"),
        "test",
        True,
        (),
    )
    mhist = read_picture_files(tiles_folder / "mhist-layout")
    assert (mhist.classes, mhist.split, len(mhist) == len(colon)) == (("HP", "SSA"), "test", True)


@pytest.mark.tiles
def test_real_imagenet_pictures_find_their_logits(tiles_folder):
    folder = tiles_folder / "imagenet-sample"
    if not folder.is_dir():
        pytest.skip("needs photos: a folder imagenet-sample beside colon")
    files = read_picture_files(folder)
    with (folder / "labels.csv").open() as file:
        labels = tuple(int(row["label"]) for row in csv.DictReader(file))
    assert class_order(1000, files.classes) == labels


# small pictures -------------------------------------------------------------------------------------------------------


def test_small_pictures_of_one_size_say_it(tmp_path):
    for name, sizes in {"alike": [(40, 32)] * 3, "large": [(65, 32)] * 3, "mixed": [(40, 32), (32, 32)]}.items():
        for number, size in enumerate(sizes):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", size).save(tmp_path / name / f"{number}.png")
    sizes = {folder.name: read_picture_files(folder).small_size for folder in tmp_path.iterdir()}
    assert sizes == {"alike": (32, 40), "large": None, "mixed": None}  # height and width


def test_a_damaged_picture_has_no_size(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert read_picture_files(tmp_path).small_size is None


# errors of pictures ---------------------------------------------------------------------------------------------------


def test_a_picture_that_cannot_be_used_is_an_answer_and_one_that_costs_too_much_ends_the_reading():
    def failing(error):
        raise error

    unusable = ImageError("It is damaged.")
    assert read_or_error(lambda: 3) == 3
    assert read_or_error(lambda: failing(unusable)) is unusable
    with pytest.raises(TooCostlyError):
        read_or_error(lambda: failing(TooCostlyError("It takes too long.")))
    other = DatasetError("No such file.")
    with pytest.raises(DatasetError):
        read_or_error(lambda: failing(other))
    assert read_or_error(lambda: failing(other), (ImageError, DatasetError)) is other
