"""Pictures to measure models on, as files: listed and labelled, and decoded only when they are asked for."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from kdviz.core.errors import DatasetError, ImageError
from kdviz.core.images import depth_of, open_image
from kdviz.core.language import N_, _
from kdviz.data.doubts import Doubt
from kdviz.data.labels.class_names import ClassNames
from kdviz.data.labels.label_files import LABEL_FILES, folder_of, has_files, once, preferred_split, read_label_file
from kdviz.data.labels.label_numbers import labels_of_folders, labels_of_rows, numbers_of_rows
from kdviz.data.pictures import Reading, files_below, is_picture, is_seen, left_out

_SPLITS = {
    "test": ("test", "testing"),
    "validation": ("validation", "val", "valid", "eval"),
    "train": ("train", "training"),
}
"""In the order in which they are preferred."""

_GROUPS = "groups.csv"  # which kdviz reads where it makes splits
_TRAINING = N_("These are pictures to train on: figures on them say little of others.")

_AHEAD = 4  # pictures that are decoded beforehand, for each thread
_THREADS = 4


@dataclass(frozen=True)
class PictureFiles:
    """The pictures of one split, in files.

    Attributes:
        files: Where they are.
        names: Their paths in the data folder.
        labels: int64 (N,); None: not known.
        classes: Names, in the order of the labels; empty without labels.
        split: ``test``, ``validation`` or ``train``.
        numbers: Of the classes, where the data say no more than their numbers among a model's logits; empty otherwise.
        held_out: Whether the data folder keeps them apart from pictures to train on; None: not known.
        notes: What a user should know about the data, one sentence each.
        unused: Doubts about files that were left out.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    labels: Tensor | None
    classes: tuple[str, ...]
    split: str = "test"
    held_out: bool | None = None
    notes: tuple[str, ...] = ()
    unused: tuple[Doubt, ...] = ()
    numbers: tuple[int, ...] = ()
    _opened: set[int] = field(default_factory=set, repr=False, compare=False)
    _deep: dict[int, tuple[str, float]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.files)

    def open(self, index: int) -> Image.Image:
        """Picture number ``index``, upright, in mode ``L`` or ``RGB``.

        Raises:
            ImageError: It cannot be read.
        """
        picture = open_image(self.files[index], self.names[index])
        self._opened.add(index)
        if depth_of(picture)[0]:
            self._deep[index] = depth_of(picture)
        return picture

    def pictures(self, indices: Sequence[int] | None = None, threads: int = _THREADS) -> Iterator[Image.Image]:
        """Pictures in the order that is asked for, decoded a little ahead: few are in memory, however many there are.

        Args:
            indices: Which; default: all.
            threads: That decode.

        Raises:
            DatasetError: Some cannot be read; the rest is then read only to count them.
        """
        wanted = range(len(self)) if indices is None else indices
        results = _in_order(self._tried, wanted, max(1, min(threads, os.cpu_count() or 1)))
        for result in results:
            if isinstance(result, str):
                failures = [result, *(other for other in results if isinstance(other, str))]
                raise DatasetError(f"{len(failures)} of {len(wanted)} pictures cannot be used: {failures[0]}")
            yield result

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Files that were left out, and how the pictures of more than 8 bits that were opened so far were scaled."""
        reading = Reading()
        reading.read = len(self._opened)
        reading.deep = [self._deep[index] for index in sorted(self._deep)]
        return (*self.unused, *reading.doubts())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, as hex, of the classes, and of each picture's name, label and size in bytes.

        The content is not read: data that are copied or moved keep it, and a picture that is replaced by another of the
        same size does, too.
        """
        digest = hashlib.sha256(ascii(self.classes).encode())
        labels = [-1] * len(self) if self.labels is None else self.labels.tolist()
        for file, name, label in zip(self.files, self.names, labels, strict=True):
            digest.update(ascii((name, label, file.stat().st_size)).encode())
        return digest.hexdigest()

    def _tried(self, index: int) -> Image.Image | str:
        try:
            return self.open(index)
        except ImageError as error:
            return str(error)


def _in_order(
    read: Callable[[int], Image.Image | str], indices: Iterable[int], threads: int
) -> Iterator[Image.Image | str]:
    rest, waiting = iter(indices), deque[Future[Image.Image | str]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                waiting.extend(pool.submit(read, index) for index in islice(rest, _AHEAD * threads - len(waiting)))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def read_picture_files(data: str | Path, *, classes: ClassNames | None = None, inside: bool = False) -> PictureFiles:
    """List the pictures of a data folder or of a CSV file; none is decoded.

    A folder may hold one folder a class, all of which is test; or ``train``, ``val`` and ``test`` of these, of which
    test is taken, else val; or a file ``labels.csv`` (see :func:`kdviz.data.labels.label_files.read_label_file`); or
    pictures alone, which then have no labels. Classes are in the order of their folders' names, or of their numbers in
    a CSV file; folders that are called by WordNet ids get the words of their synset where timm is installed.

    Args:
        data: A folder or a CSV file.
        classes: The names of the classes, in their order, or what the folders are called.
        inside: Whether a CSV file that names pictures outside its folder is refused, as of one that was uploaded.

    Raises:
        DatasetError: There are no pictures, files are missing, labels are no class, or there is one class only.
    """
    path = Path(data).expanduser()
    if path.is_file():
        _require_table(path)
        return _of_table(path, classes, whole=False, inside=inside)
    if not path.is_dir():
        raise DatasetError(f"There is no folder or CSV file '{path}'; name the one with the pictures.")
    places = _split_folders(path)
    if places:
        return _of_splits(path, places, classes)
    listing = _class_folders(path, path)
    table = next((path / name for name in LABEL_FILES if has_files(path / name)), None)
    if table is not None and len(listing) < 2:
        return _of_table(table, classes, whole=True, inside=inside)
    if _are_classes(path, listing):
        return _labelled(path, listing, sorted(listing), "test", None, classes)
    return _unlabelled(path)


def _require_table(path: Path) -> None:
    if path.suffix.lower() == ".zip":
        raise DatasetError(f"'{path}' is a zip file; please unpack it and name the folder.")
    if is_picture(path.name):
        raise DatasetError(f"'{path}' is one picture; name the folder that it is in.")


# folders --------------------------------------------------------------------------------------------------------------

_Listing = dict[str, list[str]]
"""Class folder -> paths of its pictures in the data folder."""


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and is_seen(path.name))
    except OSError as error:
        raise DatasetError(f"Cannot read the folder '{folder}': {error.strerror or error}.") from error


def _class_folders(folder: Path, root: Path) -> _Listing:
    found = {path.name: [name for name in files_below(path, root) if is_picture(name)] for path in _subfolders(folder)}
    return {name: files for name, files in found.items() if files}


def _are_classes(folder: Path, listing: _Listing) -> bool:
    """Whether its folders are classes: there are two at least, and no pictures beside them."""
    return len(listing) > 1 or (len(listing) == 1 and not _loose(folder))


def _loose(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if path.is_file() and is_seen(path.name) and is_picture(path.name)
    )


def _split_folders(folder: Path) -> dict[str, Path]:
    """Split -> its folder, for those that hold class folders."""
    places: dict[str, Path] = {}
    for path in _subfolders(folder):
        split = next((split for split, names in _SPLITS.items() if path.name.lower() in names), None)
        if split is None or not _class_folders(path, folder):
            continue
        if split in places:
            raise DatasetError(f"'{folder}' has both '{places[split].name}' and '{path.name}'; keep one of them.")
        places[split] = path
    return places


def _of_splits(folder: Path, places: dict[str, Path], classes: ClassNames | None) -> PictureFiles:
    listings = {split: _class_folders(path, folder) for split, path in places.items()}
    split = next(split for split in _SPLITS if split in places)
    names = sorted({name for listing in listings.values() for name in listing})
    held_out = False if split == "train" else (True if len(places) > 1 else None)
    found = _labelled(folder, listings[split], names, split, held_out, classes)
    return found if held_out is not False else replace(found, notes=(*found.notes, _(_TRAINING)))


def _labelled(
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
        listing: Of the split.
        names: Of the class folders of all splits, sorted.
        split: Its name.
        held_out: As in :class:`PictureFiles`.
        classes: As the person names them.
    """
    if len(names) < 2 and classes is None:
        raise DatasetError(
            f"'{folder}' has one class only, '{names[0]}'; add a folder of another, name the classes with --classes, "
            f"or name the folder '{names[0]}' itself if its pictures have no labels."
        )
    labels, titles = labels_of_folders(names, classes, f"'{folder}'")
    paths = [(name, labels[label]) for label in sorted(listing) for name in listing[label]]
    files = tuple(name for name, _ in paths)
    every = [name for name in files_below(folder, folder) if _is_of(name, split)]
    return PictureFiles(
        tuple(folder / name for name in files),
        files,
        torch.tensor([label for _, label in paths]),
        titles,
        split,
        held_out,
        unused=tuple(left_out(every, [*files, _GROUPS])),
    )


def _is_of(name: str, split: str) -> bool:
    """Whether a file is no part of another split."""
    first, below, _ = name.partition("/")
    other = next((one for one, names in _SPLITS.items() if first.lower() in names), split)
    return not below or other == split


def _unlabelled(folder: Path) -> PictureFiles:
    every = files_below(folder, folder)
    files = tuple(name for name in every if is_picture(name))
    if not files:
        unused = left_out(every, ())
        what = f" ({unused[0].text.rstrip('.').lower()})" if unused else ""
        raise DatasetError(f"'{folder}' has no pictures{what}; name a folder with PNG or JPEG files, or a CSV file.")
    return PictureFiles(tuple(folder / name for name in files), files, None, (), unused=tuple(left_out(every, files)))


# CSV files ------------------------------------------------------------------------------------------------------------


def _of_table(path: Path, classes: ClassNames | None, *, whole: bool, inside: bool) -> PictureFiles:
    """The pictures that a CSV file lists.

    Args:
        path: The CSV file.
        classes: As the person names them.
        whole: Whether its folder holds nothing else, so that files which it does not list are left out.
        inside: Whether files outside its folder are refused.
    """
    every = read_label_file(path)
    rows, split, held_out = preferred_split(every, _SPLITS)
    rows = once(rows, path)
    names = tuple(row.file for row in rows)
    base = folder_of(path, names, inside=inside)
    labels, titles = labels_of_rows(rows, classes, f"'{path}'")
    numbers = numbers_of_rows(rows) if classes is None and labels is not None else ()
    notes = (_(_TRAINING),) if held_out is False else ()
    unused = _unlisted(path, [base / row.file for row in every]) if whole else ()
    files = tuple(base / name for name in names)
    return PictureFiles(files, names, labels, titles, split, held_out, notes, unused, numbers)


def _unlisted(path: Path, files: Sequence[Path]) -> tuple[Doubt, ...]:
    """A doubt about the files beside a CSV file that it does not list."""
    every = files_below(path.parent, path.parent)
    listed = {os.path.realpath(file) for file in (*files, path, path.parent / _GROUPS)}
    return tuple(left_out(every, [name for name in every if os.path.realpath(path.parent / name) in listed]))
