"""Any folder of images, one folder a class, with splits or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from kdviz.core.errors import DatasetError, SettingError
from kdviz.data.groups import read_groups, require_groups, shared_groups, split_by_group
from kdviz.data.pictures import (
    Reading,
    contents,
    files_below,
    is_picture,
    is_seen,
    left_out,
    read_pictures,
    require_input,
)
from kdviz.data.samples import LabelledImages, examined, require_fraction

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}

_GROUPS = "groups.csv"

# Split -> (path in the data folder, label) of each of its files.
_Listing = dict[str, list[tuple[str, int]]]


def image_folder(
    data: str | Path,
    size: tuple[int, int] = (224, 224),
    *,
    channels: int = 3,
    groups: str | Path | None = None,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
) -> dict[str, LabelledImages]:
    """Any folder of images: one folder a class, inside train/, val/ and test/ or without them.

    Splits that are there are kept; those that are not are made from train, each with its share of every class. Images
    of one group stay together there; without groups, those that are equal byte for byte. What is wrong with the splits
    but can be lived with, and which files were left out, is said in ``notes``.

    Args:
        data: The folder. Classes are in alphabetical order; hidden files and files that are no images are left out.
        size: Height and width of the images; others are resized and cropped as ``Experiment.prepare`` does it.
        channels: 1 (grey) or 3 (RGB).
        groups: A CSV file with the columns file (path in ``data``) and group, such as the patient. Default: groups.csv
            in ``data``, if there is one.
        validation: Share of train that becomes the validation split if there is none.
        test: Likewise.
        seed: Of the splits that are made.

    Returns:
        The splits ``train``, ``validation`` and ``test``.

    Raises:
        DatasetError: The folder or a file cannot be used.
        SettingError: A share, the size or the channels are out of range.
    """
    folder = Path(data)
    require_input(size, channels)
    _require_shares(validation, test)
    places = _places(folder)
    found = {split: _class_files(folder, place) for split, place in places.items()}
    classes = _classes(found, places)
    listing = {split: _labelled(files, classes) for split, files in found.items()}
    every = [name for files in listing.values() for name, _ in files]
    content = contents(folder, every)
    group_of = _groups(folder, groups, every)
    shares = {split: share for split, share in (("validation", validation), ("test", test)) if split not in listing}
    listing = _with_splits(listing, shares, group_of or content, seed)
    _require_samples(folder, listing, classes)
    reading = Reading()
    splits = {split: _read(folder, split, listing[split], classes, size, channels, reading) for split in _SPLITS}
    used = [*every, _GROUPS] if group_of else every
    found = [*left_out(files_below(folder, folder), used), *reading.doubts()]
    return examined(splits, found, _notes(listing, classes, group_of))


def _require_shares(validation: float, test: float) -> None:
    require_fraction("validation", validation)
    require_fraction("test", test)
    if validation + test >= 1:
        raise SettingError(f"validation and test leave nothing to train on: {validation:g} + {test:g} is not below 1.")


def _places(folder: Path) -> dict[str, Path]:
    """Split -> its folder; only train, and that is the whole folder, if there are class folders alone."""
    if not folder.is_dir():
        raise DatasetError(f"There is no folder '{folder}'; name the one that holds the images' class folders.")
    places: dict[str, Path] = {}
    for place in _subfolders(folder):
        split = next((split for split, names in _SPLITS.items() if place.name.lower() in names), None)
        if split is None or not _subfolders(place):  # a class may be called train, too
            continue
        if split in places:
            raise DatasetError(f"'{folder}' has both '{places[split].name}' and '{place.name}'; keep one of them.")
        places[split] = place
    if places and "train" not in places:
        raise DatasetError(f"'{folder}' has the folder '{next(iter(places.values())).name}' but no train; add it.")
    return places or {"train": folder}


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and is_seen(path.name))
    except OSError as error:
        raise DatasetError(f"Cannot read the folder '{folder}': {error.strerror or error}.") from error


def _class_files(folder: Path, place: Path) -> dict[str, list[str]]:
    """Class -> the paths of its images in the data folder, sorted."""
    return {path.name: images_below(path, folder) for path in _subfolders(place)}


def images_below(path: Path, folder: Path) -> list[str]:
    """The paths in ``folder`` of the images in ``path`` and its subfolders, sorted; hidden ones are left out."""
    return [name for name in files_below(path, folder) if is_picture(name)]


def _classes(found: Mapping[str, Mapping[str, Sequence[str]]], places: Mapping[str, Path]) -> tuple[str, ...]:
    """The class names in the order of the labels: those of train, which must have images of each."""
    training, place = found["train"], places["train"]
    if not any(training.values()):
        loose = any(is_picture(path.name) for path in place.iterdir())
        what = "has images, but not in class folders" if loose else "has no images" + _instead(place)
        raise DatasetError(f"'{place}' {what}; put those of each class (PNG, JPEG...) into a folder of its name.")
    empty = [name for files in found.values() for name in files if not training.get(name)]
    if empty:
        raise DatasetError(f"The class '{empty[0]}' has no images in '{place}'; add some, or remove its folders.")
    if len(training) < 2:
        raise DatasetError(f"'{place}' has one class only, '{next(iter(training))}'; add a folder of another.")
    return tuple(sorted(training))


def _instead(place: Path) -> str:
    """What a folder without images holds, in brackets."""
    found = left_out(files_below(place, place), ())
    return " (" + found[0].text.rstrip(".").lower() + ")" if found else ""


def _labelled(files: Mapping[str, Sequence[str]], classes: Sequence[str]) -> list[tuple[str, int]]:
    return [(name, classes.index(label)) for label, names in sorted(files.items()) for name in names]


def _groups(folder: Path, groups: str | Path | None, names: Sequence[str]) -> dict[str, str]:
    """File -> group; empty without groups."""
    path = folder / _GROUPS if groups is None else Path(groups)
    if groups is None and not path.is_file():
        return {}
    found = read_groups(path)
    require_groups(found, names)
    return found


def _with_splits(listing: _Listing, shares: Mapping[str, float], group_of: Mapping[str, str], seed: int) -> _Listing:
    """The listing with the splits of ``shares``, taken from train."""
    if not shares:
        return listing
    pool = listing["train"]
    groups, labels = [group_of[name] for name, _ in pool], np.array([label for _, label in pool])
    places = split_by_group(groups, labels, [1 - sum(shares.values()), *shares.values()], seed).tolist()
    made = {
        split: [file for file, place in zip(pool, places, strict=True) if place == number]
        for number, split in enumerate(["train", *shares])
    }
    return {**listing, **made}


def _require_samples(folder: Path, listing: _Listing, classes: Sequence[str]) -> None:
    for split, files in listing.items():
        if not files:
            raise DatasetError(
                f"'{folder}' has no images for the split {split}; add images, groups, or a folder {split}."
            )
    left = set(range(len(classes))) - {label for _, label in listing["train"]}
    if left:
        raise DatasetError(
            f"All images of the class '{classes[min(left)]}' are in one group, which is needed outside train; "
            "add images of another group."
        )


def _notes(listing: _Listing, classes: Sequence[str], groups: Mapping[str, str]) -> list[str]:
    names = {split: [name for name, _ in listing[split]] for split in _SPLITS}
    notes = shared_groups(groups, names) if groups else []
    for split, files in listing.items():
        absent = sorted(set(range(len(classes))) - {label for _, label in files})
        notes += [f"The split {split} has no image of the class '{classes[label]}'." for label in absent]
    return notes


def _read(
    folder: Path,
    split: str,
    files: Sequence[tuple[str, int]],
    classes: tuple[str, ...],
    size: tuple[int, int],
    channels: int,
    reading: Reading,
) -> LabelledImages:
    names = tuple(name for name, _ in files)
    labels = torch.tensor([label for _, label in files])
    return LabelledImages(read_pictures(folder, names, size, channels, reading), labels, classes, split, names)
