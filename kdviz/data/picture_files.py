"""The pictures of a data folder, of a CSV file or of parquet files, listed and labelled; none is decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from kdviz.core.errors import DatasetError
from kdviz.core.files import from_home
from kdviz.core.language import N_, _
from kdviz.core.vocabulary import Split
from kdviz.data.doubts import Doubt
from kdviz.data.labels.class_names import ClassNames
from kdviz.data.labels.label_files import (
    LABEL_FILES,
    LabelRow,
    distinct_rows,
    folder_of,
    lists_files,
    preferred_split,
    read_label_file,
)
from kdviz.data.labels.label_numbers import labels_of_folders, labels_of_rows, numbers_of_rows
from kdviz.data.picture_collection import PictureFiles
from kdviz.data.pictures import files_below, is_picture, is_visible, left_out
from kdviz.data.readers.parquet_files import has_parquet_files
from kdviz.data.readers.parquet_pictures import read_parquet_rows

_SPLITS: dict[str, tuple[str, ...]] = {
    Split.TEST: ("test", "testing"),
    Split.VALIDATION: ("validation", "val", "valid", "eval"),
    Split.TRAIN: ("train", "training"),
}
"""Split -> names of its folder, in the order of preference."""

_GROUPS = "groups.csv"  # read where kdviz makes splits
_TRAINING = N_("These are pictures to train on: figures on them say little of others.")


def read_picture_files(
    data: str | Path,
    *,
    classes: ClassNames | None = None,
    inside: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
) -> PictureFiles:
    """List the pictures of a data folder, of a CSV file or of parquet files; none is decoded.

    A folder may hold one folder a class, all of it a test split; or ``train``, ``val`` and ``test`` folders of these,
    of which test is used, else val; or a file ``labels.csv`` (see
    :func:`kdviz.data.labels.label_files.read_label_file`); or parquet files (see
    :func:`kdviz.data.readers.parquet_pictures.read_parquet_rows`); or pictures alone, which then have no labels.
    Classes are in the order of their folders' names, or of their numbers in a table. Folders named by WordNet ids get
    the words of their synset where timm is installed.

    Args:
        data: A folder, a CSV file or a parquet file.
        classes: The class names in the order of the labels, or the name of each folder's class.
        inside: Whether to refuse a CSV file that names pictures outside its folder, as for uploaded ones.
        image_column, label_column: Of parquet files, the names of the columns; default: found by their types.

    Raises:
        DatasetError: There are no pictures, files are missing, a label is no class, there is only one class, or a
            column is named and there are no parquet files.
    """
    path = from_home(data)
    if image_column or label_column:
        _require_parquet(path, image_column or label_column)
    return _read(path, classes, (image_column, label_column), inside=inside)


def _read(
    path: Path, classes: ClassNames | None, columns: tuple[str | None, str | None], *, inside: bool
) -> PictureFiles:
    if path.is_file():
        if _is_parquet(path):
            return _from_parquet(path, classes, *columns)
        _require_table(path)
        return _from_label_file(path, classes, is_complete=False, inside=inside)
    if not path.is_dir():
        raise DatasetError("There is no folder or CSV file '{path}'; name the one with the pictures.", path=path)
    folders = split_folders(path)
    if folders:
        return _from_split_folders(path, folders, classes)
    listing = _class_folders(path, path)
    table = next((path / name for name in LABEL_FILES if lists_files(path / name)), None)
    if table is not None and len(listing) < 2:
        return _from_label_file(table, classes, is_complete=True, inside=inside)
    if _are_classes(path, listing):
        return _labelled_pictures(path, listing, sorted(listing), Split.TEST, None, classes)
    all_files = files_below(path, path)
    if _are_parquet(all_files):
        return _from_parquet(path, classes, *columns)
    return _unlabelled_pictures(path, all_files)


def _require_parquet(path: Path, column: str | None) -> None:
    """Refuse the name of a column where there are pictures or labels of another kind."""
    if path.exists() and not _is_parquet(path):
        raise DatasetError(
            "'{path}' has no parquet files: the name of a column, '{column}', means nothing there.",
            path=path,
            column=column,
        )


def _is_parquet(path: Path) -> bool:
    """Whether this is a parquet file, or a folder of such files without any pictures or labels beside them."""
    if not path.is_dir():
        return path.is_file() and path.suffix.lower() == ".parquet"
    if any(lists_files(path / name) for name in LABEL_FILES):
        return False
    return _are_parquet(files_below(path, path))


def _are_parquet(names: Sequence[str]) -> bool:
    return has_parquet_files(names) and not any(map(is_picture, names))


def _require_table(path: Path) -> None:
    if path.suffix.lower() == ".zip":
        raise DatasetError("'{path}' is a zip file; please unpack it and name the folder.", path=path)
    if is_picture(path.name):
        raise DatasetError("'{path}' is one picture; name the folder that it is in.", path=path)


# folders --------------------------------------------------------------------------------------------------------------

_Listing = dict[str, list[str]]
"""Class folder -> paths of its pictures within the data folder."""


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path.name))
    except OSError as error:
        raise DatasetError(
            "Cannot read the folder '{folder}': {strerror}.", folder=folder, strerror=error.strerror or error
        ) from error


def _class_folders(folder: Path, root: Path) -> _Listing:
    listing = {
        path.name: [name for name in files_below(path, root) if is_picture(name)] for path in _subfolders(folder)
    }
    return {name: files for name, files in listing.items() if files}


def _are_classes(folder: Path, listing: _Listing) -> bool:
    """Whether the subfolders are classes: there are at least two, or one without pictures beside it."""
    return len(listing) > 1 or (len(listing) == 1 and not _loose_pictures(folder))


def _loose_pictures(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if path.is_file() and is_visible(path.name) and is_picture(path.name)
    )


def split_folders(folder: Path) -> dict[str, Path]:
    """Split -> its folder, for the splits whose folder holds class folders."""
    folders: dict[str, Path] = {}
    for subfolder in _subfolders(folder):
        split = next((split for split, names in _SPLITS.items() if subfolder.name.lower() in names), None)
        if split is None or not _class_folders(subfolder, folder):
            continue
        if split in folders:
            both = "'{folder}' has both '{first}' and '{second}'; keep one of them."
            raise DatasetError(both, folder=folder, first=folders[split].name, second=subfolder.name)
        folders[split] = subfolder
    return folders


def _from_split_folders(folder: Path, folders: dict[str, Path], classes: ClassNames | None) -> PictureFiles:
    listings = {split: _class_folders(path, folder) for split, path in folders.items()}
    split = next(split for split in _SPLITS if split in folders)
    names = sorted({name for listing in listings.values() for name in listing})
    held_out = False if split == Split.TRAIN else (True if len(folders) > 1 else None)
    pictures = _labelled_pictures(folder, listings[split], names, split, held_out, classes)
    return pictures if held_out is not False else replace(pictures, notes=(*pictures.notes, _(_TRAINING)))


def _labelled_pictures(
    folder: Path,
    listing: _Listing,
    names: Sequence[str],
    split: str,
    held_out: bool | None,
    classes: ClassNames | None,
) -> PictureFiles:
    """The pictures in class folders.

    Args:
        folder: The data folder.
        listing: The pictures of the split.
        names: Names of the class folders of all splits, sorted.
        split: Name of the split.
        held_out: As in :class:`PictureFiles`.
        classes: The class names that the user gave, if any.
    """
    if len(names) < 2 and classes is None:
        raise DatasetError(
            "'{folder}' has one class only, '{names}'; add a folder of another, name the classes with "
            "--classes, or name the folder '{names}' itself if its pictures have no labels.",
            folder=folder,
            names=names[0],
        )
    labels, titles = labels_of_folders(names, classes, f"'{folder}'")
    paths = [(name, labels[label]) for label in sorted(listing) for name in listing[label]]
    files = tuple(name for name, _ in paths)
    all_files = [name for name in files_below(folder, folder) if _is_in_split(name, split)]
    return PictureFiles(
        tuple(folder / name for name in files),
        files,
        torch.tensor([label for _, label in paths]),
        titles,
        split,
        held_out,
        unused=tuple(left_out(all_files, [*files, _GROUPS])),
    )


def _is_in_split(name: str, split: str) -> bool:
    """Whether a file does not belong to another split."""
    first, inside, _ = name.partition("/")
    owner = next((other_split for other_split, names in _SPLITS.items() if first.lower() in names), split)
    return not inside or owner == split


def _unlabelled_pictures(folder: Path, all_files: Sequence[str]) -> PictureFiles:
    files = tuple(name for name in all_files if is_picture(name))
    if not files:
        unused = left_out(all_files, ())
        reason = f" ({unused[0].text.rstrip('.').lower()})" if unused else ""
        raise DatasetError(
            "'{folder}' has no pictures{reason}; name a folder with PNG or JPEG files, or a CSV file.",
            folder=folder,
            reason=reason,
        )
    return PictureFiles(
        tuple(folder / name for name in files), files, None, (), unused=tuple(left_out(all_files, files))
    )


# tables ------------------------------------------------------------------------------------------------------------


def _from_label_file(path: Path, classes: ClassNames | None, *, is_complete: bool, inside: bool) -> PictureFiles:
    """The pictures that a CSV file lists.

    Args:
        path: The CSV file.
        classes: The class names that the user gave, if any.
        is_complete: Whether it describes its whole folder, so that files which it does not list count as left out.
        inside: Whether files outside its folder are refused.
    """
    all_rows = read_label_file(path)
    rows, split, held_out = preferred_split(all_rows, _SPLITS)
    rows = distinct_rows(rows, path)
    names = tuple(row.file for row in rows)
    base = folder_of(path, names, inside=inside)
    labels, titles = labels_of_rows(rows, classes, f"'{path}'")
    numbers = numbers_of_rows(rows) if classes is None and labels is not None else ()
    notes = (_(_TRAINING),) if held_out is False else ()
    unused = _unlisted(path, [base / row.file for row in all_rows]) if is_complete else ()
    files = tuple(base / name for name in names)
    return PictureFiles(files, names, labels, titles, split, held_out, notes, unused, numbers)


def _from_parquet(path: Path, classes: ClassNames | None, *columns: str | None) -> PictureFiles:
    """The pictures in the rows of parquet files."""
    table = read_parquet_rows(path, *columns)
    labels, titles = labels_of_rows(table.rows, classes, f"'{path}'")
    numbers: tuple[int, ...] = ()
    if table.class_names:  # all of them, in their order, also where no picture is of some
        classes_as_rows = [LabelRow("", str(number), name) for number, name in enumerate(table.class_names)]
        label_of_class, titles = labels_of_rows(classes_as_rows, classes, f"'{path}'")
        assert label_of_class is not None  # each class has its number
        labels = label_of_class[[int(row.label) for row in table.rows]]
    elif classes is None:
        numbers = numbers_of_rows(table.rows)
    notes = (_(_TRAINING),) if table.held_out is False else ()
    names = tuple(row.file for row in table.rows)
    return PictureFiles(table.pictures, names, labels, titles, table.split, table.held_out, notes, (), numbers)


def _unlisted(path: Path, files: Sequence[Path]) -> tuple[Doubt, ...]:
    """A doubt about the files beside a CSV file that it does not list."""
    all_files = files_below(path.parent, path.parent)
    listed = {os.path.realpath(file) for file in (*files, path, path.parent / _GROUPS)}
    return tuple(left_out(all_files, [name for name in all_files if os.path.realpath(path.parent / name) in listed]))
