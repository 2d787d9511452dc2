"""Lists that people write with commas between."""

from __future__ import annotations

from kdviz.core.errors import SettingError


def entries(text: str) -> list[str]:
    """The entries of a list with commas between, without the spaces around them.

    Raises:
        SettingError: The list, or one of its entries, is empty.

    >>> entries("1, 4,16")
    ['1', '4', '16']
    >>> entries("1,,4")
    Traceback (most recent call last):
    ...
    kdviz.core.errors.SettingError: '1,,4' has an empty entry; write the entries with one comma between two of them.
    """
    parts = [part.strip() for part in text.split(",")]
    if not any(parts):
        raise SettingError("'{text}' is a list without an entry; write entries with commas between.", text=text)
    if not all(parts):
        raise SettingError(
            "'{text}' has an empty entry; write the entries with one comma between two of them.", text=text
        )
    return parts
