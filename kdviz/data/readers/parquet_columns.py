"""Which columns of a parquet file are the pictures and their classes, by their types and what ``datasets`` noted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from kdviz.core.errors import DatasetError, Sentence, UnknownNameError

_LABEL_NAMES = ("label", "labels", "class", "target", "y")
_IMAGE_NAMES = ("image", "img", "picture", "png", "jpg")


@dataclass(frozen=True)
class Columns:
    """The names of the columns of the pictures and of their classes."""

    image: str
    label: str


def find_columns(folder: Path, schema: pa.Schema, image: str | None, label: str | None) -> Columns:
    """The columns with these names, or those that have the types of pictures and classes.

    Raises:
        DatasetError: There is no such column, or there are several, also of one name.
        UnknownNameError: There is no column of this name.
    """
    for name in (image, label):
        if name is not None and name not in schema.names:
            raise UnknownNameError("column", name, schema.names)
        if schema.names.count(name) > 1:
            raise DatasetError(
                "The parquet files in '{folder}' have several columns '{name}'; please rename them.",
                folder=folder,
                name=name,
            )
    features = _features(schema)
    images = [field.name for field in schema if _is_image(field)]
    label_kinds = (
        [field.name for field in schema if features.get(field.name, {}).get("_type") == "ClassLabel"],
        [field.name for field in schema if pa.types.is_integer(field.type)],
        [field.name for field in schema if _is_text(field.type)],
    )
    labels = next((names for names in label_kinds if names), [])
    return Columns(
        _the_one(folder, schema, Sentence("pictures"), "--image-column", image, images, _IMAGE_NAMES),
        _the_one(folder, schema, Sentence("classes"), "--label-column", label, labels, _LABEL_NAMES),
    )


def _is_image(field: pa.Field) -> bool:
    """Whether its values are encoded pictures: a text would be the path of a file, which the rows must not name."""
    kind = field.type
    has_bytes = pa.types.is_struct(kind) and any(child.name == "bytes" and _is_binary(child.type) for child in kind)
    return has_bytes or _is_binary(kind)


def _is_label(field: pa.Field) -> bool:
    return pa.types.is_integer(field.type) or _is_text(field.type)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(inner) or pa.types.is_large_string(inner)


def _the_one(
    folder: Path,
    schema: pa.Schema,
    what: Sentence,
    option: str,
    given: str | None,
    candidates: Sequence[str],
    usual: Sequence[str],
) -> str:
    """The column that was named, the only one of its type, or the one with the usual name."""
    if given is not None:
        _require_type(schema.field(given), what, option)
        return given
    named = [name for name in candidates if name.lower() in usual] or list(candidates)
    if len(named) == 1:
        return named[0]
    if not named:
        raise DatasetError(
            "The parquet files in '{folder}' have no column that can be the {what}: pictures are encoded files "
            "(binary), classes whole numbers or texts, and these columns are there: {names}.",
            folder=folder,
            what=what,
            names=", ".join(f"{field.name} ({field.type})" for field in schema),
        )
    raise DatasetError(
        "The parquet files in '{folder}' have several columns that can be the {what} ({names}); name one with "
        "{option}.",
        folder=folder,
        what=what,
        names=", ".join(named),
        option=option,
    )


def _require_type(field: pa.Field, what: Sentence, option: str) -> None:
    if not (_is_image if option == "--image-column" else _is_label)(field):
        raise DatasetError(
            "The column '{name}' has the type {type} and cannot be the {what}; name another with {option}.",
            name=field.name,
            type=field.type,
            what=what,
            option=option,
        )


def require_columns(schemas: Iterable[tuple[Path, pa.Schema]], first: pa.Schema, columns: Columns) -> None:
    """Refuse files that lack the columns of the first one, have other kinds of them, or name other classes.

    Raises:
        DatasetError: A file does.
    """
    classes = class_names(first, columns.label)
    for path, schema in schemas:
        if not {columns.image, columns.label} <= set(schema.names):
            raise DatasetError(
                "'{path}' has not the columns '{image}' and '{label}' of the other parquet files; remove it, or name "
                "the folder of one data set.",
                path=path,
                image=columns.image,
                label=columns.label,
            )
        image, label = schema.field(columns.image), schema.field(columns.label)
        has_texts = _is_text(first.field(columns.label).type)
        if not (_is_image(image) and _is_label(label) and _is_text(label.type) == has_texts):
            raise DatasetError(
                "'{path}' has other types in the columns '{image}' ({image_type}) and '{label}' ({label_type}) than "
                "the first parquet file; write all files alike, or name the folder of one data set.",
                path=path,
                image=columns.image,
                image_type=image.type,
                label=columns.label,
                label_type=label.type,
            )
        if class_names(schema, columns.label) != classes:
            raise DatasetError(
                "'{path}' names other classes than the first parquet file; name the folder of one data set.", path=path
            )


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Column -> what ``datasets`` noted about it; empty where it did not write the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    entries = features.items() if isinstance(features, dict) else ()
    return {name: value for name, value in entries if isinstance(value, dict)}


def class_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """The names of the classes in the order of the labels, where ``datasets`` noted them."""
    names = _features(schema).get(column, {}).get("names")
    is_named = isinstance(names, list) and pa.types.is_integer(schema.field(column).type)
    return tuple(map(str, names)) if is_named else None
