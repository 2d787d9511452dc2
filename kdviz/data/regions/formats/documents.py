"""Parsing of JSON and XML from anyone: limited in size, and without anything that a parser would fetch or expand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from kdviz.core.errors import DatasetError

MAX_BYTES = 200 * 2**20
"""Largest file of regions; parsed, JSON takes some ten times its size in memory."""


def read_content(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DatasetError: It cannot be read, is empty or too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DatasetError(
                "'{path}' has {size:,} MB, more than the {limit} MB of regions that kdviz reads; split the file.",
                path=path,
                size=size // 2**20,
                limit=MAX_BYTES // 2**20,
            )
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError("Cannot read '{path}': {strerror}.", path=path, strerror=error.strerror or error) from error
    if not content.strip():
        raise DatasetError("'{path}' is empty.", path=path)
    return content


def parse_json(content: bytes, path: Path) -> Any:
    """The document in a JSON file.

    Raises:
        DatasetError: It is damaged, or nested without end.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DatasetError("'{path}' is no JSON file that can be read; export it again.", path=path) from error


def parse_xml(content: bytes, path: Path) -> ElementTree.Element:
    """The root of an XML file, which may declare no document type and so no entities.

    Raises:
        DatasetError: It is damaged, or declares a document type.
    """
    checker = expat.ParserCreate()
    checker.StartDoctypeDeclHandler = _refuse_doctype
    try:
        checker.Parse(content, True)
        return ElementTree.fromstring(content)
    except _HasDoctype as error:
        raise DatasetError(
            "'{path}' declares a document type (<!DOCTYPE), which may hold entities; files of regions need none, so "
            "remove it.",
            path=path,
        ) from error
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError("'{path}' is no XML file that can be read; export it again.", path=path) from error


class _HasDoctype(Exception):  # noqa: N818  it is caught here
    pass


def _refuse_doctype(*_declared: Any) -> None:
    raise _HasDoctype
