"""Folders of images and MHIST: complete, split honestly, decoded as the models see them, refused in a sentence."""

from __future__ import annotations

import csv
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from kdviz.core.errors import DatasetError, SettingError
from kdviz.core.images import ENDINGS
from kdviz.data import LabelledImages, datasets, image_folder, mhist, pictures
from kdviz.data.groups import split_by_group
from kdviz.experiment import Experiment, InputSpec

SIZE = (6, 5)
SPLITS = ("train", "validation", "test")


def paint(path, seed, size=(5, 6), mode="RGB"):
    """A picture of noise, different for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def plant(folder, counts, start=0):
    """``counts``: class folder -> number of pictures."""
    for name, count in counts.items():
        for number in range(count):
            start += 1
            paint(folder / name / f"{number:03}.png", start)
    return folder


def write_csv(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def group_csv(folder, group_of):
    """groups.csv for all pictures in a folder; ``group_of`` takes a path relative to it."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    write_csv(folder / "groups.csv", ["file", "group"], [(name, group_of(name)) for name in names])


def one_sentence(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# splits that are there ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "validation", "testing")])
def test_splits_that_are_there_are_kept(tmp_path, names):
    for number, name in enumerate(names):
        plant(tmp_path / name, {"cat": 3 - number, "ant": 2}, 100 * number)
    splits = image_folder(tmp_path, SIZE)
    assert list(splits) == list(SPLITS)
    for number, (split, folder) in enumerate(zip(SPLITS, names, strict=True)):
        samples = splits[split]
        assert (samples.split, samples.classes, samples.notes) == (split, ("ant", "cat"), ())
        assert samples.names == tuple(
            f"{folder}/{label}/{n:03}.png" for label, count in (("ant", 2), ("cat", 3 - number)) for n in range(count)
        )
        assert samples.labels.tolist() == [0, 0] + [1] * (3 - number)
        assert samples.images.shape == (5 - number, 3, *SIZE)
        for name, pixels in zip(samples.names, samples.images, strict=True):
            assert np.array_equal(np.asarray(Image.open(tmp_path / name)), pixels.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("there", [("train",), ("train", "val"), ("train", "test")])
def test_missing_splits_are_made_from_train(tmp_path, there):
    for number, name in enumerate(there):
        plant(tmp_path / name, {"a": 20, "b": 40}, 1000 * number)
    splits = image_folder(tmp_path, SIZE, validation=0.2, test=0.1)
    made = {"validation": 0.2 * ("val" not in there), "test": 0.1 * ("test" not in there)}
    for split, share in made.items():
        assert splits[split].labels.bincount().tolist() == (
            [round(share * 20), round(share * 40)] if share else [20, 40]
        )
    names = [name for split in SPLITS for name in splits[split].names]
    assert len(set(names)) == len(names) == 60 * len(there)


def test_class_folders_alone(tmp_path):
    plant(tmp_path, {"a": 10, "b": 30})
    paint(tmp_path / "b" / "deeper" / "x.PNG", 999)
    splits = image_folder(tmp_path, SIZE, validation=0.1, test=0.2)
    assert {split: splits[split].labels.bincount().tolist() for split in SPLITS} == {
        "train": [7, 22],
        "validation": [1, 3],
        "test": [2, 6],
    }
    every = [name for split in SPLITS for name in splits[split].names]
    assert len(every) == len(set(every)) == 41
    assert "b/deeper/x.PNG" in every
    again, other = (image_folder(tmp_path, SIZE, validation=0.1, test=0.2, seed=seed) for seed in (0, 1))
    assert all(again[split].names == splits[split].names for split in SPLITS)
    assert other["test"].names != splits["test"].names


def test_a_class_may_be_called_train(tmp_path):
    plant(tmp_path, {"train": 8, "plane": 8})
    assert image_folder(tmp_path, SIZE)["train"].classes == ("plane", "train")


def test_what_is_no_image_is_left_out(tmp_path):
    plant(tmp_path, {"a": 8, "b": 8})
    for name in (".hidden.png", "Thumbs.db", "notes.txt"):
        (tmp_path / "a" / name).write_bytes(b"no picture")
    paint(tmp_path / "a" / ".thumbnails" / "x.png", 1)
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    splits = image_folder(tmp_path, SIZE)
    assert splits["train"].classes == ("a", "b")
    assert sum(len(samples) for samples in splits.values()) == 16


def test_even_a_rare_class_is_in_every_split(tmp_path):
    plant(tmp_path, {"a": 30, "rare": 3})
    splits = image_folder(tmp_path, SIZE)
    assert all(1 in samples.labels for samples in splits.values())
    assert splits["train"].notes == ()


def test_a_class_that_a_split_lacks_is_said(tmp_path):
    plant(tmp_path, {"a": 30, "rare": 2})
    notes = image_folder(tmp_path, SIZE)["test"].notes
    assert [note for note in notes if "has no image of the class 'rare'" in note] == list(notes) != []


# groups ---------------------------------------------------------------------------------------------------------------


def test_groups_stay_together_and_classes_keep_their_shares(tmp_path):
    plant(tmp_path, {"a": 60, "b": 40})
    group_csv(tmp_path, lambda name: f"{name[0]}{int(name[2:5]) // 4}")
    splits = image_folder(tmp_path, SIZE, validation=0.2, test=0.2)
    groups = {split: {f"{n[0]}{int(n[2:5]) // 4}" for n in splits[split].names} for split in SPLITS}
    assert not groups["train"] & groups["validation"]
    assert not groups["train"] & groups["test"]
    assert not groups["validation"] & groups["test"]
    assert splits["test"].labels.bincount().tolist() == [12, 8]
    assert splits["validation"].labels.bincount().tolist() == [12, 8]
    assert splits["train"].notes == ()


def test_groups_from_another_place_and_with_backslashes(tmp_path):
    data = plant(tmp_path / "data", {"a": 12, "b": 12})
    names = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))
    rows = [("./" + name.replace("/", "\\"), name[0] + str(int(name[2:5]) % 4)) for name in names]
    write_csv(tmp_path / "mine.csv", ["group", "other", "file"], [(group, "x", file) for file, group in rows])
    splits = image_folder(data, SIZE, groups=tmp_path / "mine.csv")
    split_of = {name: split for split in SPLITS for name in splits[split].names}
    for start in range(4):
        assert len({split_of[f"a/{number:03}.png"] for number in range(start, 12, 4)}) == 1


def test_groups_in_two_splits_that_are_there_are_said(tmp_path):
    for number, name in enumerate(("train", "val", "test")):
        plant(tmp_path / name, {"a": 2, "b": 2}, 100 * number)
    group_csv(tmp_path, lambda name: "g" if name.endswith("a/000.png") and "val" not in name else name)
    (note,) = image_folder(tmp_path, SIZE)["test"].notes
    assert "1 of 11 groups are in more than one split (the first is 'g', in test and train)" in note


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("a/000.png", "1")], "lack 15 of 16 files, the first is 'a/001.png'"),
        ([("a/000.png", "")], "without file or group"),
        ([("a/000.png", "1"), ("a/000.png", "2")], "puts the file 'a/000.png' into two groups"),
        ([], "no rows"),
    ],
)
def test_groups_that_do_not_hold_together(tmp_path, rows, reason):
    plant(tmp_path, {"a": 8, "b": 8})
    write_csv(tmp_path / "groups.csv", ["file", "group"], rows)
    with pytest.raises(DatasetError, match=reason) as caught:
        image_folder(tmp_path, SIZE)
    one_sentence(caught)


@pytest.mark.parametrize(
    "content", [b"", b"file,patient\na,b\n", b"\xff\xfe\x00\x01", b'"' + b"x" * 200_000, b"file,group\n\0"]
)
def test_groups_that_are_no_csv(tmp_path, content):
    plant(tmp_path, {"a": 8, "b": 8})
    (tmp_path / "groups.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"groups\.csv|The groups lack") as caught:
        image_folder(tmp_path, SIZE)
    one_sentence(caught)


def test_a_csv_file_is_in_utf_8_with_a_mark_or_without(tmp_path):
    plant(tmp_path, {"ä": 8, "b": 8})
    group_csv(tmp_path, lambda name: name)
    text = (tmp_path / "groups.csv").read_text(encoding="utf-8")
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "groups.csv").write_text(text, encoding=encoding)
        assert image_folder(tmp_path, SIZE)["train"].classes == ("b", "ä")
    (tmp_path / "groups.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DatasetError, match="not a CSV file in UTF-8"):
        image_folder(tmp_path, SIZE)


def test_a_groups_file_that_is_named_must_be_there(tmp_path):
    plant(tmp_path, {"a": 8, "b": 8})
    with pytest.raises(DatasetError, match=r"nowhere\.csv.*No such file"):
        image_folder(tmp_path, SIZE, groups=tmp_path / "nowhere.csv")


def test_a_class_of_one_group_cannot_be_split(tmp_path):
    plant(tmp_path, {"a": 8, "b": 8})
    group_csv(tmp_path, lambda name: "all")
    with pytest.raises(DatasetError, match="no images for the split validation") as caught:
        image_folder(tmp_path, SIZE)
    one_sentence(caught)


@pytest.mark.parametrize("seed", range(5))
def test_split_by_group_by_brute_properties(seed):
    random = np.random.default_rng(seed)
    groups = [f"g{number}" for number in random.integers(0, 60, 600)]
    labels = random.choice(3, 600, p=[0.7, 0.2, 0.1])
    shares = (0.6, 0.25, 0.15)
    places = split_by_group(groups, labels, shares, seed)
    assert all(len({p for p, g in zip(places, groups, strict=True) if g == group}) == 1 for group in set(groups))
    for label in range(3):
        measured = np.bincount(places[labels == label], minlength=3) / (labels == label).sum()
        # A group of 10 holds 1 in 60 of a class: the shares are met to about two groups.
        assert np.abs(measured - shares).max() < 2.5 / 60
    assert np.array_equal(places, split_by_group(groups, labels, shares, seed))


def test_large_groups_do_not_all_go_to_train():
    # Each class has one group of half its size: dealt at random it must be able to go to another split than the first.
    groups = ["big"] * 30 + [f"s{number}" for number in range(30)]
    places = [split_by_group(groups, np.zeros(60, int), (0.5, 0.5), seed)[0] for seed in range(12)]
    assert set(places) == {0, 1}


# equal files ----------------------------------------------------------------------------------------------------------


def test_equal_files_stay_together_in_splits_that_are_made(tmp_path):
    plant(tmp_path, {"a": 20, "b": 20})
    for number in range(10):  # each of ten pictures comes three times
        for copy in ("x", "y"):
            (tmp_path / "a" / f"{number}{copy}.png").write_bytes((tmp_path / "a" / f"{number:03}.png").read_bytes())
    splits = image_folder(tmp_path, SIZE)
    split_of = {name: split for split in SPLITS for name in splits[split].names}
    for number in range(10):
        assert len({split_of[f"a/{name}.png"] for name in (f"{number:03}", f"{number}x", f"{number}y")}) == 1
    assert splits["train"].notes == ()


def test_equal_files_in_two_splits_that_are_there_are_said(tmp_path):
    for number, name in enumerate(("train", "val", "test")):
        plant(tmp_path / name, {"a": 3, "b": 3}, 100 * number)
    for name in ("001", "002"):
        (tmp_path / "test" / "b" / f"{name}.png").write_bytes((tmp_path / "train" / "a" / f"{name}.png").read_bytes())
    splits = image_folder(tmp_path, SIZE)
    overlap, labels = splits["train"].notes
    assert overlap.startswith(
        "2 of 6 images (33.3%) of the test split are also in the training split, pixel for pixel (the first is "
        "'test/b/001.png', there 'train/a/001.png')"
    )
    assert "2 images are there several times with different labels" in labels
    assert "(the first is 'train/a/001.png', 'a', and 'test/b/001.png', 'b')" in labels
    assert all(samples.notes == (overlap, labels) for samples in splits.values())


def test_the_same_picture_in_another_format_is_found_in_two_splits(tmp_path):
    for number, name in enumerate(("train", "val", "test")):
        plant(tmp_path / name, {"a": 3, "b": 3}, 100 * number)
    Image.open(tmp_path / "train" / "a" / "002.png").save(tmp_path / "val" / "a" / "x.bmp")
    splits = image_folder(tmp_path, SIZE)
    (doubt,) = splits["test"].doubts or ()
    assert (doubt.kind, doubt.split, doubt.figures["other"]) == ("overlap", "validation", "train")
    assert (doubt.figures["count"], doubt.figures["samples"]) == (1, 7)
    assert doubt.figures["examples"] == [["val/a/x.bmp", "train/a/002.png"]]


# files left out -------------------------------------------------------------------------------------------------------


def test_files_that_are_left_out_are_counted_by_their_ending(tmp_path):
    plant(tmp_path, {"a": 8, "b": 8})
    for name in ("a/1.txt", "a/2.TXT", "b/deeper/3.heic", "b/noend", "README.md", "a/.hidden", "a/Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no picture")
    paint(tmp_path / "loose.png", 1)
    splits = image_folder(tmp_path, SIZE)
    (note,) = splits["test"].notes
    expected = "2 .txt, 1 without an ending, 1 .heic, 1 .md, 1 .png of no class"
    assert note == f"Files left out: {expected}."
    assert sum(map(len, splits.values())) == 16


def test_a_groups_file_that_is_used_is_not_left_out(tmp_path):
    plant(tmp_path, {"a": 9, "b": 9})
    group_csv(tmp_path, lambda name: name)
    assert image_folder(tmp_path, SIZE)["train"].notes == ()


def test_every_ending_of_a_picture_is_read(tmp_path):
    plant(tmp_path, {"a": 8, "b": 8})
    kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".JPG": "JPEG", ".webp": "WEBP", ".tiff": "TIFF"}
    kinds |= {".avif": "AVIF"} if ".avif" in ENDINGS else {}
    for number, (ending, kind) in enumerate(kinds.items()):
        Image.open(tmp_path / "a" / f"{number:03}.png").convert("RGB").save(tmp_path / "a" / f"x{ending}", kind)
    splits = image_folder(tmp_path, SIZE)
    names = {name for samples in splits.values() for name in samples.names or ()}
    assert {f"a/x{ending}" for ending in kinds} <= names
    assert not [note for note in splits["train"].notes if "left out" in note]


def test_without_a_decoder_avif_is_named(tmp_path, monkeypatch):
    plant(tmp_path, {"a": 8, "b": 8})
    for number in range(12):
        (tmp_path / "a" / f"{number}.avif").write_bytes(b"")
    monkeypatch.setattr(pictures, "ENDINGS", ENDINGS - {".avif"})
    assert image_folder(tmp_path, SIZE)["train"].notes == ("Files left out: 12 .avif.",)


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.heic").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"has no images \(files left out: 2 \.heic\); put those of each class"):
        image_folder(tmp_path, SIZE)


# depth ----------------------------------------------------------------------------------------------------------------


def test_deep_pictures_of_a_data_set_have_one_scale(tmp_path):
    plant(tmp_path, {"a": 8, "b": 8})
    for number, white in enumerate((1000, 4000, 60000)):
        values = np.linspace(0, white, 64).astype(np.uint16).reshape(8, 8)
        Image.fromarray(values).save(tmp_path / "a" / f"deep{number}.png")
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "b" / "float.tif")
    splits = image_folder(tmp_path, (8, 8), channels=1)
    brightest = {
        name: int(samples.images[number].max())
        for samples in splits.values()
        for number, name in enumerate(samples.names or ())
    }
    scaled = [brightest[f"a/deep{number}.png"] for number in range(3)]
    assert scaled == [round(white / 65535 * 255) for white in (1000, 4000, 60000)]
    assert brightest["b/float.tif"] in (127, 128)
    (note,) = splits["train"].notes
    assert note.startswith("4 of 20 images have more than 8 bits a value")
    assert note.endswith(": 3 of 16 bits by 65,535, 1 of floating point are taken as 0 to 1.")


def test_deep_pictures_that_are_all_dark_are_said(tmp_path):
    plant(tmp_path, {"a": 8, "b": 8})
    for number in range(3):
        values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
        Image.fromarray(np.roll(values, 2 * number, 0)).save(tmp_path / "a" / f"deep{number}.png")
    scaled, dark = image_folder(tmp_path, SIZE)["train"].doubts or ()
    assert (scaled.kind, dark.kind) == ("depth", "dark")
    assert dark.figures == {"samples": 3, "peak": round(4095 / 65535, 6)}
    assert "No pixel of the 3 images with more than 8 bits a value is above 6.2% of the white" in dark.text


def test_floats_that_do_not_say_their_white_are_one_clear_error(tmp_path):
    plant(tmp_path, {"a": 8, "b": 8})
    for number, white in enumerate((0.5, 200.0)):
        Image.fromarray(np.full((8, 8), white, np.float32)).save(tmp_path / "a" / f"f{number}.tif")
    with pytest.raises(DatasetError, match=r"1 of \d+ images in .* a/f1.tif holds floating-point numbers from 200"):
        image_folder(tmp_path, SIZE)


# pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_training_sees_what_an_experiment_prepares(tmp_path, channels):
    kinds = {"grey": "L", "alpha": "RGBA", "palette": "P", "black": "1"}
    for label in ("a", "b"):
        plant(tmp_path, {label: 8}, ord(label) * 100)
        for name, mode in kinds.items():
            paint(tmp_path / label / f"{name}.png", ord(label), (17, 9), mode)
        deep = np.random.default_rng(ord(label)).integers(0, 65536, (30, 20)).astype(np.uint16)
        Image.fromarray(deep).save(tmp_path / label / "deep.tif")
        turned = Image.Exif()
        turned[0x0112] = 6
        Image.fromarray(np.arange(7 * 50 * 3, dtype=np.uint8).reshape(7, 50, 3)).save(
            tmp_path / label / "turned.jpg", exif=turned
        )
    spec = InputSpec(SIZE, channels, (0.5,) * channels, (0.5,) * channels)
    experiment = Experiment(tmp_path, "folder", ("a", "b"), spec, {})
    splits = image_folder(tmp_path, SIZE, channels=channels)
    assert sum(len(samples) for samples in splits.values()) == 28
    for samples in splits.values():
        for number, name in enumerate(samples.names or ()):
            expected = np.asarray(experiment.prepare(tmp_path / name))
            assert np.array_equal(np.asarray(samples.picture(number)), expected), name
            assert torch.equal(
                spec.normalise(samples.images[number : number + 1]), experiment.preprocess(tmp_path / name)
            )


def test_many_images_lie_in_a_file(tmp_path, monkeypatch):
    plant(tmp_path, {"a": 12, "b": 12})
    expected = image_folder(tmp_path, SIZE)["train"]
    monkeypatch.setattr(pictures, "IN_MEMORY", 100)
    mapped = []
    real = np.memmap
    monkeypatch.setattr(
        np, "memmap", lambda *args, **options: mapped.append(options["shape"]) or real(*args, **options)
    )
    samples = image_folder(tmp_path, SIZE)["train"]
    assert (len(samples), 3, *SIZE) in mapped
    assert torch.equal(samples.images, expected.images)
    assert samples.fingerprint == expected.fingerprint
    assert torch.equal(samples.take(torch.tensor([3, 1])).images, expected.images[[3, 1]])


def test_no_room_for_the_images(tmp_path, monkeypatch):
    plant(tmp_path, {"a": 12, "b": 12})
    monkeypatch.setattr(pictures, "IN_MEMORY", 100)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures.tempfile, "TemporaryFile", full)
    with pytest.raises(DatasetError, match=r"GiB.*No space left.*TMPDIR") as caught:
        image_folder(tmp_path, SIZE)
    one_sentence(caught)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"not a picture"),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_file_that_cannot_be_read_is_named(tmp_path, damage):
    for number, split in enumerate(("train", "val", "test")):
        plant(tmp_path / split, {"a": 4, "b": 4}, 100 * number)
    DAMAGES[damage](tmp_path / "train" / "b" / "002.png")
    with pytest.raises(DatasetError, match=r"b/002\.png") as caught:
        image_folder(tmp_path, SIZE)
    one_sentence(caught)


def test_files_that_cannot_be_read_are_counted(tmp_path):
    plant(tmp_path / "train", {"a": 4, "b": 4})
    plant(tmp_path / "val", {"a": 4, "b": 4}, 100)
    plant(tmp_path / "test", {"a": 4, "b": 4}, 200)
    for name in ("a/001.png", "b/003.png"):
        (tmp_path / "train" / name).write_bytes(name.encode())
    with pytest.raises(DatasetError, match=r"2 of 8 images in .* cannot be used: train/a/001\.png is not"):
        image_folder(tmp_path, SIZE)


# refused --------------------------------------------------------------------------------------------------------------


def only_loose_images(folder):
    paint(folder / "x.png", 1)


def an_empty_class(folder):
    plant(folder, {"a": 8})
    (folder / "b").mkdir()


def a_class_in_test_only(folder):
    plant(folder / "train", {"a": 8, "b": 8})
    plant(folder / "test", {"a": 8, "c": 8}, 100)


def both_names(folder):
    for name in ("train", "val", "validation"):
        plant(folder / name, {"a": 2, "b": 2})


def an_empty_test(folder):
    plant(folder / "train", {"a": 8, "b": 8})
    (folder / "test" / "a").mkdir(parents=True)


WRONG_FOLDERS = [
    (lambda folder: folder.rmdir(), "There is no folder"),
    (lambda folder: None, "has no images"),
    (lambda folder: (folder / "a").mkdir(), "has no images"),
    (only_loose_images, "has images, but not in class folders"),
    (lambda folder: plant(folder, {"a": 8}), "one class only, 'a'"),
    (an_empty_class, "The class 'b' has no images in"),
    (a_class_in_test_only, "The class 'c' has no images in .*train"),
    (both_names, "has both 'val' and 'validation'"),
    (lambda folder: plant(folder / "test", {"a": 2, "b": 2}), "has the folder 'test' but no train"),
    (lambda folder: plant(folder, {"a": 1, "b": 1}), "no images for the split"),
    (an_empty_test, "no images for the split test"),
]


@pytest.mark.parametrize(("make", "reason"), WRONG_FOLDERS, ids=[reason for _, reason in WRONG_FOLDERS])
def test_folders_that_are_refused(tmp_path, make, reason):
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    with pytest.raises(DatasetError, match=reason) as caught:
        image_folder(folder, SIZE)
    one_sentence(caught)


@pytest.mark.parametrize(
    "options",
    [
        {"validation": 0.0},
        {"test": 1.0},
        {"test": -0.1},
        {"validation": 0.5, "test": 0.5},
        {"validation": float("nan")},
        {"size": (0, 5)},
        {"size": (5,)},
        {"size": (5, 5000)},
        {"channels": 2},
    ],
    ids=str,
)
def test_settings_out_of_range(tmp_path, options):
    plant(tmp_path, {"a": 8, "b": 8})
    with pytest.raises(SettingError) as caught:
        image_folder(tmp_path, **{"size": SIZE, **options})
    one_sentence(caught)


# MHIST ----------------------------------------------------------------------------------------------------------------

HEADER = ("Image Name", "Majority Vote Label", "Number of Annotators who Selected SSA (Out of 7)", "Partition")


def rows_of(train=20, test=6):
    """Every third is SSA; annotators 0 to 7."""
    every = [("train", number) for number in range(train)] + [("test", number) for number in range(train, train + test)]
    return [(f"M_{n:02}.png", "SSA" if n % 3 == 0 else "HP", str(n % 8), part) for part, n in every]


def plant_mhist(folder, rows, header=HEADER):
    folder.mkdir(exist_ok=True)
    write_csv(folder / "annotations.csv", header, rows)
    for number, name in enumerate(sorted({row[0] for row in rows if row[0]})):
        paint(folder / "images" / name, number)
    return folder


def test_mhist(tmp_path):
    rows = rows_of()
    splits = mhist(plant_mhist(tmp_path, rows), SIZE, validation=0.3)
    assert list(splits) == list(SPLITS)
    assert splits["test"].names == tuple(f"images/{row[0]}" for row in rows[20:])
    assert sorted(splits["train"].names + splits["validation"].names) == [f"images/{row[0]}" for row in rows[:20]]
    assert splits["validation"].labels.bincount().tolist() == [4, 2]  # of 13 and 7
    by_name = {f"images/{row[0]}": row for row in rows}
    for samples in splits.values():
        assert samples.classes == ("HP", "SSA")
        assert samples.notes == ("These are 26 images, not MHIST's 3,152: no figure of them is MHIST's.",)
        for number, name in enumerate(samples.names):
            _, label, votes, _ = by_name[name]
            assert samples.classes[int(samples.labels[number])] == label
            assert int(samples.annotators[number]) == int(votes)
            assert np.array_equal(np.asarray(samples.picture(number)), np.asarray(Image.open(tmp_path / name)))
    other = mhist(tmp_path, SIZE, validation=0.3, seed=1)
    assert other["validation"].names != splits["validation"].names
    assert other["test"].names == splits["test"].names


def test_mhist_says_which_test_images_are_in_train(tmp_path, monkeypatch):
    folder = plant_mhist(tmp_path, rows_of())
    (folder / "images" / "M_22.png").write_bytes((folder / "images" / "M_03.png").read_bytes())
    # The module's name is its function's, too; without this the number of images is said as well.
    monkeypatch.setattr(sys.modules[mhist.__module__], "MHIST_IMAGES", len(rows_of()))
    notes = mhist(folder, SIZE)["test"].notes
    overlap = [note for note in notes if "are also in" in note]
    assert len(overlap) == 1
    assert overlap[0].startswith("1 of 6 images (16.7%) of the test split are also in")
    assert "'images/M_22.png', there 'images/M_03.png'" in overlap[0]


def test_mhist_says_which_files_no_annotation_names(tmp_path, monkeypatch):
    folder = plant_mhist(tmp_path, rows_of())
    for name in ("extra.png", "list.txt"):
        (folder / "images" / name).write_bytes(b"")
    monkeypatch.setattr(sys.modules[mhist.__module__], "MHIST_IMAGES", len(rows_of()))
    (note,) = mhist(folder, SIZE)["test"].notes
    assert note == "Files left out: 1 .txt, 1 .png of no class."


def changed(number, column, value):
    rows = [list(row) for row in rows_of()]
    rows[number][column] = value
    return rows


WRONG_ANNOTATIONS = [
    (
        changed(3, 1, "SSL"),
        "'SSL' in the column 'Majority Vote Label' of the image 'M_03.png'; it must be one of HP, SSA",
    ),
    (changed(3, 1, ""), "'' in the column 'Majority Vote Label'"),
    (changed(3, 2, "8"), "'8' in the column 'Number of Annotators"),
    (changed(3, 3, "val"), "'val' in the column 'Partition'"),
    (changed(3, 0, "M_04.png"), "lists the image 'M_04.png' 2 times"),
    ([], "no rows"),
    (rows_of(test=0), "leave no image of HP for the split test"),
    (rows_of(train=0), "leave no image of HP for the split train"),
    (rows_of(train=3), "leave no image of SSA for the split"),
]


@pytest.mark.parametrize(("rows", "reason"), WRONG_ANNOTATIONS, ids=[reason for _, reason in WRONG_ANNOTATIONS])
def test_annotations_that_do_not_hold_together(tmp_path, rows, reason):
    folder = plant_mhist(tmp_path, rows)
    (folder / "images").mkdir(exist_ok=True)
    with pytest.raises(DatasetError) as caught:
        mhist(folder, SIZE)
    assert reason in one_sentence(caught)


@pytest.mark.parametrize("column", HEADER)
def test_a_column_that_is_missing_is_named(tmp_path, column):
    folder = plant_mhist(tmp_path, rows_of(), [name if name != column else "Other" for name in HEADER])
    with pytest.raises(DatasetError) as caught:
        mhist(folder, SIZE)
    assert f"lacks the column '{column}'" in one_sentence(caught)


def test_images_that_are_missing_are_counted(tmp_path):
    folder = plant_mhist(tmp_path, rows_of())
    for name in ("M_05.png", "M_21.png"):
        (folder / "images" / name).unlink()
    with pytest.raises(DatasetError, match=r"2 of the 26 images .* the first is 'M_05\.png'") as caught:
        mhist(folder, SIZE)
    one_sentence(caught)


def test_no_image_outside_the_folder_is_opened(tmp_path):
    folder = plant_mhist(tmp_path / "data", rows_of())
    paint(tmp_path / "secret.png", 5)
    write_csv(folder / "annotations.csv", HEADER, changed(3, 0, "../../secret.png"))
    with pytest.raises(DatasetError, match=r"1 of the 26 images"):
        mhist(folder, SIZE)


@pytest.mark.parametrize(("gone", "reason"), [("images", "has no folder images"), ("annotations.csv", "Cannot read")])
def test_half_of_mhist(tmp_path, gone, reason):
    folder = plant_mhist(tmp_path / "data", rows_of())
    (folder / gone).rename(tmp_path / "away")
    with pytest.raises(DatasetError, match=reason) as caught:
        mhist(folder, SIZE)
    one_sentence(caught)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(DatasetError, match="There is no folder"):
        mhist(tmp_path / "nowhere", SIZE)


# samples --------------------------------------------------------------------------------------------------------------


def some_samples(**changes) -> LabelledImages:
    images = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).view(4, 3, 2, 2)
    content = {"images": images, "labels": torch.tensor([0, 1, 1, 0]), "classes": ("a", "b"), "split": "train"}
    return LabelledImages(**{**content, **changes})


def test_take_keeps_what_belongs_to_the_samples():
    samples = some_samples(names=tuple("wxyz"), annotators=torch.tensor([7, 5, 3, 1]), notes=("A note.",))
    for index in (torch.tensor([2, 0]), torch.tensor([-2, -4])):
        some = samples.take(index, "few")
        assert (some.names, some.annotators.tolist(), some.notes, some.split) == (
            ("y", "w"),
            [3, 7],
            ("A note.",),
            "few",
        )
    assert samples.take(samples.labels == 1).names == ("x", "y")
    assert some_samples().take(torch.tensor([1])).names is None


def test_a_fingerprint_is_of_images_labels_and_classes():
    samples = some_samples()
    turned = samples.images.clone()
    turned[3, 2, 1, 1] ^= 1
    same = [some_samples(), some_samples(names=tuple("wxyz"), split="test"), samples.take(torch.arange(4))]
    same.append(some_samples(images=samples.images.to(memory_format=torch.channels_last)))
    others = [
        some_samples(images=turned),
        some_samples(labels=torch.tensor([0, 1, 1, 1])),
        some_samples(classes=("a", "c")),
        some_samples(images=samples.images.view(4, 3, 4, 1)),
        samples.take(torch.tensor([0, 2, 1, 3])),
    ]
    assert {samples.fingerprint for samples in same} == {samples.fingerprint}
    assert len({samples.fingerprint for samples in [samples, *others]}) == 6
    assert len(samples.fingerprint) == 64


def test_the_bundled_digits_have_names(digits):
    assert digits.names[17] == "bundled/17"
    assert digits.fingerprint == digits.take(torch.arange(5000)).fingerprint


@pytest.mark.data
def test_mnist_names_are_the_official_numbers(mnist_splits, mnist_folder):
    import gzip

    raw = gzip.decompress((mnist_folder / "MNIST" / "raw" / "train-images-idx3-ubyte.gz").read_bytes())
    for split in ("train", "validation"):
        samples = mnist_splits[split]
        for number in (0, 123, len(samples) - 1):
            file, _, position = samples.names[number].partition("/")
            assert file == "train"
            start = 16 + 784 * int(position)
            assert raw[start : start + 784] == samples.images[number].numpy().tobytes()
    assert mnist_splits["test"].names[7] == "test/7"


def test_both_are_found_by_name():
    assert {"folder", "mhist"} <= set(datasets)
    assert all(datasets[name].description for name in datasets)


# real tiles -----------------------------------------------------------------------------------------------------------


@pytest.mark.tiles
@pytest.mark.slow
def test_real_tiles_keep_their_splits(tiles_folder):
    splits = image_folder(tiles_folder / "colon", (224, 224))
    assert [len(splits[split]) for split in SPLITS] == [1431, 191, 378]
    assert splits["train"].classes == ("adenocarcinoma", "benign")
    assert splits["train"].notes == ()
    number = 100
    path = tiles_folder / "colon" / splits["test"].names[number]
    assert np.array_equal(np.asarray(splits["test"].picture(number)), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.tiles
@pytest.mark.slow
def test_real_tiles_in_the_form_of_mhist(tiles_folder):
    splits = mhist(tiles_folder / "mhist-layout", (56, 56))
    assert len(splits["test"]) == 378
    assert len(splits["train"]) + len(splits["validation"]) == 1622
    (note,) = splits["train"].notes  # and none of tiles that are equal byte for byte: they are in one split
    assert note.startswith("These are 2,000 images, not MHIST's 3,152")
    assert len(splits["validation"]) == pytest.approx(0.15 * 1622, abs=3)


@pytest.mark.tiles
@pytest.mark.slow
def test_real_tiles_are_split_by_their_source(tiles_folder, tmp_path):
    colon, data = tiles_folder / "colon", tmp_path / "tiles"
    with (colon / "groups.csv").open() as file:
        rows = [(row["file"], row["group"]) for row in csv.DictReader(file)]
    group_of = {"/".join(file.split("/")[1:]): group for file, group in rows}
    for file, _ in rows:
        target = data / "/".join(file.split("/")[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(colon / file)
    write_csv(data / "groups.csv", ["file", "group"], sorted(group_of.items()))
    splits = image_folder(data, (28, 28))
    places: dict[str, set[str]] = {}
    for split in SPLITS:
        for name in splits[split].names:
            places.setdefault(group_of[name], set()).add(split)
    assert Counter(len(where) for where in places.values()) == {1: len(set(group_of.values()))}
    for split, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
        measured = splits[split].labels.bincount() / torch.tensor([1000, 1000])
        assert (measured - share).abs().max() < 0.03
