"""Reader of any folder of images with one folder a class, with or without splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from kdviz.core.errors import DatasetError, SettingError
from kdviz.core.vocabulary import Split
from kdviz.data.groups import read_groups, require_groups, shared_groups, split_by_group
from kdviz.data.pictures import (
    Reading,
    content_keys,
    files_below,
    is_picture,
    is_visible,
    left_out,
    read_pictures,
    require_input,
)
from kdviz.data.samples import LabelledImages, require_fraction, with_doubts

_SPLITS: dict[str, tuple[str, ...]] = {
    Split.TRAIN: ("train", "training"),
    Split.VALIDATION: ("validation", "val", "valid"),
    Split.TEST: ("test", "testing"),
}
"""Split -> names of its folder."""

_GROUPS = "groups.csv"

_Listing = dict[str, list[tuple[str, int]]]
"""Split -> (path within the data folder, label) of each of its files."""


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
    """Read any folder of images: one folder a class, inside train/, val/ and test/ or without them.

    Existing splits are kept; missing ones are taken from train, each with its share of every class. Images of one group
    then stay together; without groups, images that are equal byte for byte do. Minor problems with the splits, and the
    files that were left out, are listed in ``notes``.

    Args:
        data: The folder. Classes are in alphabetical order; hidden files and files that are no images are left out.
        size: Height and width of the images; others are resized and cropped as ``Experiment.prepare`` does.
        channels: 1 (grey) or 3 (RGB).
        groups: A CSV file with the columns file (path in ``data``) and group, such as the patient. Default: groups.csv
            in ``data``, if there is one.
        validation: Share of train that becomes the validation split if there is none.
        test: Share of train that becomes the test split if there is none.
        seed: Seed of these splits.

    Returns:
        The splits ``train``, ``validation`` and ``test``.

    Raises:
        DatasetError: The folder or a file cannot be used.
        SettingError: A share, the size or the channels are out of range.
    """
    folder = Path(data)
    require_input(size, channels)
    require_shares(validation, test)
    split_folders = _find_split_folders(folder)
    files_of_split = {split: _class_files(folder, split_folder) for split, split_folder in split_folders.items()}
    classes = _classes(files_of_split, split_folders)
    listing = {split: _label_files(files, classes) for split, files in files_of_split.items()}
    all_files = [name for files in listing.values() for name, _ in files]
    keys = content_keys(folder, all_files)
    group_of = _read_groups(folder, groups, all_files)
    shares: dict[str, float] = {
        split: share for split, share in ((Split.VALIDATION, validation), (Split.TEST, test)) if split not in listing
    }
    listing = _add_splits(listing, shares, group_of or keys, seed)
    _require_samples(folder, listing, classes)
    reading = Reading()
    splits = {split: _read(folder, split, listing[split], classes, size, channels, reading) for split in _SPLITS}
    used = [*all_files, _GROUPS] if group_of else all_files
    doubts = [*left_out(files_below(folder, folder), used), *reading.doubts()]
    return with_doubts(splits, doubts, _notes(listing, classes, group_of))


def require_shares(validation: float, test: float) -> None:
    """Refuse shares of held-out samples that are out of range, or that leave nothing to train on.

    Raises:
        SettingError: They are.
    """
    require_fraction("validation", validation)
    require_fraction("test", test)
    if validation + test >= 1:
        raise SettingError(
            "validation and test leave nothing to train on: {validation:g} + {test:g} is not below 1.",
            validation=validation,
            test=test,
        )


def _find_split_folders(folder: Path) -> dict[str, Path]:
    """Split -> its folder; if there are only class folders, train is the whole folder."""
    if not folder.is_dir():
        raise DatasetError(
            "There is no folder '{folder}'; name the one that holds the images' class folders.", folder=folder
        )
    split_folders: dict[str, Path] = {}
    for subfolder in _subfolders(folder):
        split = next((split for split, names in _SPLITS.items() if subfolder.name.lower() in names), None)
        if split is None or not _subfolders(subfolder):  # a class may be called train, too
            continue
        if split in split_folders:
            raise DatasetError(
                "'{folder}' has both '{first}' and '{second}'; keep one of them.",
                folder=folder,
                first=split_folders[split].name,
                second=subfolder.name,
            )
        split_folders[split] = subfolder
    if split_folders and Split.TRAIN not in split_folders:
        raise DatasetError(
            "'{folder}' has the folder '{name}' but no train; add it.",
            folder=folder,
            name=next(iter(split_folders.values())).name,
        )
    return split_folders or {Split.TRAIN: folder}


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path.name))
    except OSError as error:
        raise DatasetError(
            "Cannot read the folder '{folder}': {strerror}.", folder=folder, strerror=error.strerror or error
        ) from error


def _class_files(folder: Path, split_folder: Path) -> dict[str, list[str]]:
    """Class -> paths of its images within the data folder, sorted."""
    return {path.name: images_below(path, folder) for path in _subfolders(split_folder)}


def images_below(path: Path, folder: Path) -> list[str]:
    """Paths, relative to ``folder``, of the images in ``path`` and its subfolders, sorted; hidden ones are left out."""
    return [name for name in files_below(path, folder) if is_picture(name)]


def _classes(
    files_of_split: Mapping[str, Mapping[str, Sequence[str]]], split_folders: Mapping[str, Path]
) -> tuple[str, ...]:
    """The class names in the order of the labels: those of train, which must have images of every class."""
    training, folder = files_of_split[Split.TRAIN], split_folders[Split.TRAIN]
    if not any(training.values()):
        loose = any(is_picture(path.name) for path in folder.iterdir())
        problem = "has images, but not in class folders" if loose else "has no images" + _describe_content(folder)
        raise DatasetError(
            "'{folder}' {problem}; put those of each class (PNG, JPEG...) into a folder of its name.",
            folder=folder,
            problem=problem,
        )
    empty = [name for files in files_of_split.values() for name in files if not training.get(name)]
    if empty:
        raise DatasetError(
            "The class '{empty}' has no images in '{folder}'; add some, or remove its folders.",
            empty=empty[0],
            folder=folder,
        )
    if len(training) < 2:
        raise DatasetError(
            "'{folder}' has one class only, '{training}'; add a folder of another.",
            folder=folder,
            training=next(iter(training)),
        )
    return tuple(sorted(training))


def _describe_content(folder: Path) -> str:
    """What a folder without images holds instead, in parentheses."""
    doubts = left_out(files_below(folder, folder), ())
    return " (" + doubts[0].text.rstrip(".").lower() + ")" if doubts else ""


def _label_files(files: Mapping[str, Sequence[str]], classes: Sequence[str]) -> list[tuple[str, int]]:
    return [(name, classes.index(label)) for label, names in sorted(files.items()) for name in names]


def _read_groups(folder: Path, groups: str | Path | None, names: Sequence[str]) -> dict[str, str]:
    """File -> group; empty without groups."""
    path = folder / _GROUPS if groups is None else Path(groups)
    if groups is None and not path.is_file():
        return {}
    group_of = read_groups(path)
    require_groups(group_of, names)
    return group_of


def _add_splits(listing: _Listing, shares: Mapping[str, float], group_of: Mapping[str, str], seed: int) -> _Listing:
    """The listing with the splits in ``shares`` taken from train."""
    if not shares:
        return listing
    pool = listing[Split.TRAIN]
    groups, labels = [group_of[name] for name, _ in pool], np.array([label for _, label in pool])
    split_numbers = split_by_group(groups, labels, [1 - sum(shares.values()), *shares.values()], seed).tolist()
    new_splits = {
        split: [file for file, split_number in zip(pool, split_numbers, strict=True) if split_number == number]
        for number, split in enumerate([Split.TRAIN, *shares])
    }
    return {**listing, **new_splits}


def _require_samples(folder: Path, listing: _Listing, classes: Sequence[str]) -> None:
    for split, files in listing.items():
        if not files:
            raise DatasetError(
                "'{folder}' has no images for the split {split}; add images, groups, or a folder {split}.",
                folder=folder,
                split=split,
            )
    missing = set(range(len(classes))) - {label for _, label in listing[Split.TRAIN]}
    if missing:
        raise DatasetError(
            "All images of the class '{classes}' are in one group, which is needed outside train; add "
            "images of another group.",
            classes=classes[min(missing)],
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
