"""Folders' names and CSV files' labels to numbers and names of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdviz.core.errors import DatasetError
from kdviz.data.labels.class_names import ClassNames
from kdviz.data.labels.imagenet import COUNT, WNID, distinct, imagenet, short_name, synonyms
from kdviz.data.labels.label_files import LabelRow
from kdviz.data.labels.matching import folded, listed, match_names

_CLASS = "class {}"
"""What a class is called of which only the number is known."""


def labels_of_folders(
    folders: Sequence[str], classes: ClassNames | None, where: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The number of each folder's class, and the names of the classes.

    Args:
        folders: Names of class folders, or labels that are names, in their order.
        classes: What the person calls them; None: as the folders are called, or by their synsets.
        where: They are, for errors.

    Raises:
        DatasetError: A folder is none of the classes.
    """
    if classes is None:
        return {folder: number for number, folder in enumerate(folders)}, _titles(folders)
    if classes.aliases:
        return _renamed(folders, classes, where)
    numbers = _numbers(folders, len(classes.names)) or match_names(folders, classes.names)
    strange = [folder for folder, number in zip(folders, numbers, strict=True) if number is None]
    if strange:
        raise _strangers(strange, folders, classes, where)
    found = {folder: number for folder, number in zip(folders, numbers, strict=True) if number is not None}
    return found, classes.names


def labels_of_rows(
    rows: Sequence[LabelRow], classes: ClassNames | None, where: str
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The labels of a CSV file's rows, int64 (N,), and the names of the classes; None and nothing without labels.

    Raises:
        DatasetError: Some rows have no label, a label is none of the classes, or there are fewer than two.
    """
    empty = sum(not row.label for row in rows)
    if empty == len(rows):
        return None, ()
    if empty:
        raise DatasetError(f"{empty} of {len(rows)} pictures in {where} have no label; fill them in, or remove them.")
    texts = sorted({row.label for row in rows}, key=_as_number)
    if all(text.isascii() and text.isdigit() for text in texts):
        numbers, titles = _labels_of_numbers(texts, rows, classes, where)
    else:
        numbers, titles = labels_of_folders(texts, classes, where)
    if len(titles) < 2:
        raise DatasetError(f"{where} has one class only, '{texts[0]}'; add pictures of another, or use --classes.")
    return torch.tensor([numbers[row.label] for row in rows]), titles


def numbers_of_rows(rows: Sequence[LabelRow]) -> tuple[int, ...]:
    """The numbers of the classes, ascending, if all rows are labelled by numbers; empty otherwise."""
    texts = {row.label for row in rows}
    return tuple(sorted(map(int, texts))) if all(text.isascii() and text.isdigit() for text in texts) else ()


def _as_number(text: str) -> tuple[int, int, str]:
    """Numbers by their value, before texts."""
    return (0, int(text), text) if text.isascii() and text.isdigit() else (1, 0, text)


def _titles(folders: Sequence[str]) -> tuple[str, ...]:
    """Folders that are called by WordNet ids, by the first word of their synset."""
    if not all(WNID.fullmatch(folder) for folder in folders):
        return tuple(folders)
    return distinct([short_name(folder) for folder in folders], folders)


def _renamed(folders: Sequence[str], classes: ClassNames, where: str) -> tuple[dict[str, int], tuple[str, ...]]:
    known = {folded(alias): name for alias, name in classes.aliases.items()}
    known |= {folded(name): name for name in classes.names if folded(name) not in known}
    strange = [folder for folder in folders if folder not in classes.aliases and folded(folder) not in known]
    if strange:
        raise _strangers(strange, folders, classes, where)
    called = {folder: classes.aliases.get(folder) or known[folded(folder)] for folder in folders}
    titles = tuple(dict.fromkeys(called.values()))
    return {folder: titles.index(name) for folder, name in called.items()}, titles


def _numbers(folders: Sequence[str], count: int) -> tuple[int, ...]:
    """Of folders that are all called by the numbers of classes, from 0 or, where all are there, from 1 to ``count``;
    empty otherwise."""
    numbers = [int(folder) for folder in folders if folder.isascii() and folder.isdigit() and len(folder) < 7]
    if len(numbers) < len(folders):
        return ()
    if sorted(numbers) == list(range(1, count + 1)):
        return tuple(number - 1 for number in numbers)
    return tuple(numbers) if max(numbers) < count else ()


def _strangers(strange: Sequence[str], folders: Sequence[str], classes: ClassNames, where: str) -> DatasetError:
    known = list(classes.aliases or classes.names)
    return DatasetError(
        f"{len(strange)} of the {len(folders)} classes in {where} ({listed(strange)}) are none of the {len(known)} "
        f"named ones ({listed(known)}); correct --classes, or give it a file with lines folder=name."
    )


# numbers --------------------------------------------------------------------------------------------------------------


def _labels_of_numbers(
    texts: Sequence[str], rows: Sequence[LabelRow], classes: ClassNames | None, where: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    names = _names_of(rows, where)
    if classes is None:
        numbers = [int(text) for text in texts]
        titles = _named(numbers, [names[text] for text in texts]) if names else map(_CLASS.format, numbers)
        return {text: place for place, text in enumerate(texts)}, tuple(titles)
    if not names or classes.aliases or None in match_names([names[text] for text in texts], classes.names):
        return labels_of_folders(texts, classes, where)
    by_name, titles = labels_of_folders([names[text] for text in texts], classes, where)
    return {text: by_name[names[text]] for text in texts}, titles


def _names_of(rows: Sequence[LabelRow], where: str) -> dict[str, str]:
    """Number -> name; empty unless all have one."""
    names: dict[str, str] = {}
    for row in rows:
        if row.name and names.setdefault(row.label, row.name) != row.name:
            raise DatasetError(
                f"{where} calls the class {row.label} both '{names[row.label]}' and '{row.name}'; leave one."
            )
    return names if all(row.label in names for row in rows) else {}


def _named(numbers: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """The names; those that are there twice, or twice in ImageNet, with what tells them apart."""
    if _are_imagenet(numbers, names):
        return distinct(names, [imagenet().wnids[number] for number in numbers])
    return tuple(
        f"{name} ({number})" if names.count(name) > 1 else name for name, number in zip(names, numbers, strict=True)
    )


def _are_imagenet(numbers: Sequence[int], names: Sequence[str]) -> bool:
    """Whether the numbers are those of ImageNet's usual order."""
    table = imagenet()
    if not table.wnids or max(numbers) >= COUNT:
        return False
    called = [{folded(word) for word in table.words(number)} for number in numbers]
    return all(words & {folded(word) for word in synonyms(name)} for words, name in zip(called, names, strict=True))
