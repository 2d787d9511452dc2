"""Conversion of folder names and of labels in CSV files to class numbers and class names."""

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
"""Name of a class of which only the number is known."""


def labels_of_folders(
    folders: Sequence[str], classes: ClassNames | None, source: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The number of each folder's class, and the names of the classes.

    Args:
        folders: Names of class folders, or labels that are names, in their order.
        classes: The class names that the user gave; None: the folders' names, or their synsets.
        source: Description of the data set, for error messages.

    Raises:
        DatasetError: A folder is none of the classes.
    """
    if classes is None:
        return {folder: number for number, folder in enumerate(folders)}, _class_names(folders)
    if classes.aliases:
        return _by_alias(folders, classes, source)
    numbers = _parse_class_numbers(folders, len(classes.names)) or match_names(folders, classes.names)
    unknown = [folder for folder, number in zip(folders, numbers, strict=True) if number is None]
    if unknown:
        raise _unknown_classes(unknown, folders, classes, source)
    number_of_folder = {folder: number for folder, number in zip(folders, numbers, strict=True) if number is not None}
    return number_of_folder, classes.names


def labels_of_rows(
    rows: Sequence[LabelRow], classes: ClassNames | None, source: str
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The labels of a CSV file's rows, int64 (N,), and the class names; None and () without labels.

    Raises:
        DatasetError: Some rows have no label, a label is none of the classes, or there are fewer than two.
    """
    empty = sum(not row.label for row in rows)
    if empty == len(rows):
        return None, ()
    if empty:
        raise DatasetError(
            "{empty} of {n_rows} pictures in {source} have no label; fill them in, or remove them.",
            empty=empty,
            n_rows=len(rows),
            source=source,
        )
    texts = sorted({row.label for row in rows}, key=_sort_key)
    if all(text.isascii() and text.isdigit() for text in texts):
        numbers, names = _labels_of_number_texts(texts, rows, classes, source)
    else:
        numbers, names = labels_of_folders(texts, classes, source)
    if len(names) < 2:
        raise DatasetError(
            "{source} has one class only, '{texts}'; add pictures of another, or use --classes.",
            source=source,
            texts=texts[0],
        )
    return torch.tensor([numbers[row.label] for row in rows]), names


def numbers_of_rows(rows: Sequence[LabelRow]) -> tuple[int, ...]:
    """The class numbers in ascending order if all rows are labelled by numbers; empty otherwise."""
    texts = {row.label for row in rows}
    return tuple(sorted(map(int, texts))) if all(text.isascii() and text.isdigit() for text in texts) else ()


def _sort_key(text: str) -> tuple[int, int, str]:
    """Sort key that puts numbers, by their value, before other texts."""
    return (0, int(text), text) if text.isascii() and text.isdigit() else (1, 0, text)


def _class_names(folders: Sequence[str]) -> tuple[str, ...]:
    """The folders' names, or the first words of their synsets if they are WordNet ids."""
    if not all(WNID.fullmatch(folder) for folder in folders):
        return tuple(folders)
    return distinct([short_name(folder) for folder in folders], folders)


def _by_alias(folders: Sequence[str], classes: ClassNames, source: str) -> tuple[dict[str, int], tuple[str, ...]]:
    name_of = {folded(alias): name for alias, name in classes.aliases.items()}
    name_of |= {folded(name): name for name in classes.names if folded(name) not in name_of}
    unknown = [folder for folder in folders if folder not in classes.aliases and folded(folder) not in name_of]
    if unknown:
        raise _unknown_classes(unknown, folders, classes, source)
    name_of_folder = {folder: classes.aliases.get(folder) or name_of[folded(folder)] for folder in folders}
    names = tuple(dict.fromkeys(name_of_folder.values()))
    return {folder: names.index(name) for folder, name in name_of_folder.items()}, names


def _parse_class_numbers(folders: Sequence[str], count: int) -> tuple[int, ...]:
    """Class numbers of folders named by them, from 0, or from 1 to ``count`` if all are there; empty otherwise."""
    numbers = [int(folder) for folder in folders if folder.isascii() and folder.isdigit() and len(folder) < 7]
    if len(numbers) < len(folders):
        return ()
    if sorted(numbers) == list(range(1, count + 1)):
        return tuple(number - 1 for number in numbers)
    return tuple(numbers) if max(numbers) < count else ()


def _unknown_classes(unknown: Sequence[str], folders: Sequence[str], classes: ClassNames, source: str) -> DatasetError:
    known = list(classes.aliases or classes.names)
    return DatasetError(
        "{n_unknown} of the {n_folders} classes in {source} ({unknown}) are none of the {n_known} "
        "named ones ({named}); correct --classes, or give it a file with lines folder=name.",
        n_unknown=len(unknown),
        n_folders=len(folders),
        source=source,
        unknown=listed(unknown),
        n_known=len(known),
        named=listed(known),
    )


# numbers --------------------------------------------------------------------------------------------------------------


def _labels_of_number_texts(
    texts: Sequence[str], rows: Sequence[LabelRow], classes: ClassNames | None, source: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    names = _names_by_number(rows, source)
    if classes is None:
        numbers = [int(text) for text in texts]
        class_names = (
            _distinct_names(numbers, [names[text] for text in texts]) if names else map(_CLASS.format, numbers)
        )
        return {text: index for index, text in enumerate(texts)}, tuple(class_names)
    if not names or classes.aliases:
        return labels_of_folders(texts, classes, source)
    named = [names[text] for text in texts]
    matches = match_names(named, classes.names)
    if None in matches:
        by_number, class_names = labels_of_folders(texts, classes, source)
        agree = [by_number[text] == match for text, match in zip(texts, matches, strict=True) if match is not None]
        if sum(agree) < len(agree) / 2:  # the numbers are those of another order
            unknown = [name for name, match in zip(named, matches, strict=True) if match is None]
            raise _unknown_classes(unknown, named, classes, source)
        return by_number, class_names
    by_name, class_names = labels_of_folders(named, classes, source)
    return {text: by_name[names[text]] for text in texts}, class_names


def _names_by_number(rows: Sequence[LabelRow], source: str) -> dict[str, str]:
    """Number -> name; empty unless every class has a name."""
    names: dict[str, str] = {}
    for row in rows:
        if row.name and names.setdefault(row.label, row.name) != row.name:
            raise DatasetError(
                "{source} calls the class {label} both '{names}' and '{name}'; leave one.",
                source=source,
                label=row.label,
                names=names[row.label],
                name=row.name,
            )
    return names if all(row.label in names for row in rows) else {}


def _distinct_names(numbers: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """The names, with a number or WordNet id appended to those that occur twice, or twice in ImageNet."""
    if _are_imagenet(numbers, names):
        return distinct(names, [imagenet().wnids[number] for number in numbers])
    return tuple(
        f"{name} ({number})" if names.count(name) > 1 else name for name, number in zip(names, numbers, strict=True)
    )


def _are_imagenet(numbers: Sequence[int], names: Sequence[str]) -> bool:
    """Whether the names have these numbers in ImageNet's usual order."""
    imagenet_classes = imagenet()
    if not imagenet_classes.wnids or max(numbers) >= COUNT:
        return False
    imagenet_words = [{folded(word) for word in imagenet_classes.words(number)} for number in numbers]
    return all(
        words & {folded(word) for word in synonyms(name)} for words, name in zip(imagenet_words, names, strict=True)
    )
