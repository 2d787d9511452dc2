"""Class names, from a list or from a file in any of the common formats."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdviz.core.errors import DatasetError
from kdviz.core.files import from_home
from kdviz.core.texts.comma_lists import entries
from kdviz.data.labels.imagenet import WNID, synonyms
from kdviz.data.labels.matching import class_order

__all__ = ["ClassNames", "class_order", "read_classes"]

_MOST_BYTES = 8 * 2**20
_MOST = 100_000  # classes
_LONGEST = 500  # characters of a name

_LISTS = ("classes", "class_names", "label_names", "names", "labels", "categories")
_MAPS = ("id2label", "class_to_idx", "label2id")
_NUMBERED = re.compile(r"\{?\s*(\d+)\s*[:=,;\t ]\s*[\"']?(.*?)[\"']?\s*,?\s*\}?")  # 0: 'tench, Tinca tinca',
_WNID_LINE = re.compile(rf"({WNID.pattern})[\s,;:=]+(\S.*)")
_HEADERS = ("folder", "wnid", "synset", "index", "id", "class", "label", "class_id", "number", "name", "class_name")


@dataclass(frozen=True)
class ClassNames:
    """Names of classes.

    Attributes:
        names: Names in the order of the labels; all are different.
        aliases: What a class is called in the data (its folder, or its label in a CSV file) -> its name; empty where
            only names were given.
    """

    names: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)


def read_classes(source: str | Path | Sequence[str]) -> ClassNames:
    """Read class names from a list or a file.

    Args:
        source: Names; or a text ``cat,dog``; or a file: a text with one name a line, a JSON list, ``id2label`` or
            ``class_to_idx``, alone or in a ``config.json``, or lines ``folder=name``, ``n01440764 tench`` or a CSV file
            of two columns, which map folders to names.

    Raises:
        DatasetError: The file cannot be read or holds something else, or there are fewer than two names.
        SettingError: An entry of a text with commas is empty.
    """
    if not isinstance(source, (str, Path)):
        return _validated(ClassNames(tuple(str(name) for name in source)), "The list of classes")
    if _is_file(source):
        path = Path(source)
        return _validated(_parse_text(_read_text(path), path), f"'{path}'")
    if isinstance(source, Path) or "," not in source:
        raise DatasetError(
            "There is no file '{source}'; name a file with the names of the classes, or write them "
            "with commas between them.",
            source=source,
        )
    return _validated(ClassNames(tuple(entries(source))), f"'{source}'")


# reading --------------------------------------------------------------------------------------------------------------


def _is_file(source: str | Path) -> bool:
    try:
        return from_home(source).is_file()
    except (OSError, ValueError):  # a long list cannot be the name of a file
        return False


def _read_text(path: Path) -> str:
    path = from_home(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DatasetError(
                "'{path}' is larger than {most_bytes} MB: that is no file of class names.",
                path=path,
                most_bytes=_MOST_BYTES // 2**20,
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError("Cannot read '{path}': {strerror}.", path=path, strerror=error.strerror or error) from error
    except ValueError as error:
        raise DatasetError("'{path}' is not a text in UTF-8; please save it as one.", path=path) from error


def _parse_text(text: str, path: Path) -> ClassNames:
    if path.suffix.lower() == ".json" or text.lstrip().startswith(("[", '{"')):
        try:
            return _parse_json(json.loads(text), path)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DatasetError(
                "'{path}' is not valid JSON ({error}).", path=path, error=str(error).partition(chr(10))[0]
            ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = lines if lines[:1] != ["{"] and lines[-1:] != ["}"] else [line for line in lines if line not in ("{", "}")]
    return _parse_folder_names(lines, path) or _parse_numbered(lines) or _parse_table(text, path) or _parse_lines(lines)


def _parse_folder_names(lines: Sequence[str], path: Path) -> ClassNames | None:
    """Parse lines ``folder=name`` or ``n01440764 tench``."""
    matches = [_WNID_LINE.fullmatch(line) for line in lines]
    pairs = [(match[1], match[2]) for match in matches if match]
    if len(pairs) < len(lines):
        pairs = [
            (folder.strip(), name.strip()) for folder, sign, name in (line.partition("=") for line in lines) if sign
        ]
    if not pairs or len(pairs) < len(lines) or _are_consecutive([folder for folder, _ in pairs]):
        return None
    return _from_aliases(pairs, path)


def _from_aliases(pairs: Sequence[tuple[str, str]], path: Path) -> ClassNames:
    aliases: dict[str, str] = {}
    for folder, name in pairs:
        if not folder or not name or aliases.setdefault(folder, name) != name:
            raise DatasetError(
                "'{path}' gives '{folder}' no name, or two; write folder=name once for each.",
                path=path,
                folder=folder or name,
            )
    return ClassNames(tuple(dict.fromkeys(aliases.values())), aliases)


def _parse_numbered(lines: Sequence[str]) -> ClassNames | None:
    """Parse lines ``0 tench``, numbered from 0 or from 1 on, in any order."""
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    pairs = {int(match[1]): match[2] for match in matches if match}
    if len(pairs) < len(lines) or not _are_consecutive([str(number) for number in pairs]):
        return None
    return ClassNames(tuple(pairs[number] for number in sorted(pairs)))


def _are_consecutive(texts: Sequence[str]) -> bool:
    """Whether the texts are consecutive numbers from 0 or 1 on."""
    if not all(text.isascii() and text.isdigit() and len(text) < 7 for text in texts):
        return False
    numbers = sorted(int(text) for text in texts)
    return numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))


def _parse_table(text: str, path: Path) -> ClassNames | None:
    """Parse a CSV file of two columns, with or without a header: numbers and names, or folders and names."""
    if path.suffix.lower() not in (".csv", ".tsv"):
        return None
    try:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in text.partition("\n")[0] else ","
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise DatasetError("'{path}' is not a CSV file; please save it as one.", path=path) from error
    if rows and rows[0][0].lower() in _HEADERS:
        rows = rows[1:]
    if not rows or {len(row) for row in rows} != {2}:
        return ClassNames(tuple(row[0] for row in rows)) if {len(row) for row in rows} == {1} else None
    pairs = [(row[0], row[1]) for row in rows]
    if _are_consecutive([first for first, _ in pairs]):
        return ClassNames(tuple(name for _, name in sorted(pairs, key=lambda pair: int(pair[0]))))
    if _are_consecutive([second for _, second in pairs]):
        return ClassNames(tuple(name for name, _ in sorted(pairs, key=lambda pair: int(pair[1]))))
    return _from_aliases(pairs, path)


def _parse_lines(lines: Sequence[str]) -> ClassNames:
    return ClassNames(synonyms(lines[0]) if len(lines) == 1 else tuple(lines))


def _parse_json(document: Any, path: Path) -> ClassNames:
    if isinstance(document, Mapping):
        inner = next((document[key] for key in (*_MAPS, *_LISTS) if isinstance(document.get(key), (dict, list))), None)
        document = document if inner is None else inner
    if isinstance(document, list) and all(isinstance(name, str) for name in document):
        return ClassNames(tuple(document))
    classes = _parse_mapping(document, path) if isinstance(document, Mapping) else None
    if classes is None:
        raise DatasetError(
            "'{path}' holds no class names: a JSON file has a list of them, or names and numbers from "
            "0 on (id2label, class_to_idx), or folders and their names.",
            path=path,
        )
    return classes


def _parse_mapping(document: Mapping[str, Any], path: Path) -> ClassNames | None:
    keys, values = list(document), list(document.values())
    if _are_consecutive(keys):
        ordered = [document[key] for key in sorted(keys, key=int)]
        if all(isinstance(value, list) and len(value) == 2 for value in ordered):
            # Keras' {"0": ["n01440764", "tench"]}
            return _from_aliases([(str(wnid), str(name)) for wnid, name in ordered], path)
        return ClassNames(tuple(ordered)) if all(isinstance(value, str) for value in ordered) else None
    if all(isinstance(value, int) for value in values) and _are_consecutive([str(value) for value in values]):
        return ClassNames(tuple(sorted(keys, key=document.__getitem__)))
    return _from_aliases(list(document.items()), path) if all(isinstance(value, str) for value in values) else None


def _validated(classes: ClassNames, source: str) -> ClassNames:
    names = classes.names
    if len(set(names)) < 2:
        raise DatasetError(
            "{source} names fewer than two classes; write one name a line, or commas between them.", source=source
        )
    if len(names) > _MOST or any(len(name) > _LONGEST or not name.strip() for name in names):
        raise DatasetError(
            "{source} has more than {most} names, an empty one, or one of more than {longest} characters.",
            source=source,
            most=_MOST,
            longest=_LONGEST,
        )
    return ClassNames(_unique(names), classes.aliases)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with a number appended to repeated ones: ImageNet has two cranes."""
    counts: dict[str, int] = {}
    unique = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        unique.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return tuple(unique)
