"""Specification of a model to import, ``FILE[,key=value]...``, and its role."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdviz.core.errors import SettingError
from kdviz.core.files import from_home
from kdviz.experiment import ROLES
from kdviz.models.inputs import INTERPOLATIONS

_INPUT_KEYS = ("size", "resize", "crop", "interpolation", "mean", "std", "channels")
KEYS = ("network", *_INPUT_KEYS, "classes", "key", "prefix", "code")
_NEXT = re.compile(r",\s*(?=(?:" + "|".join(KEYS) + r")\s*=)")
_SIZE = re.compile(r"(\d+)(?:\s*[xX×*]\s*(\d+))?")


@dataclass(frozen=True)
class ModelSpec:
    """A model to import.

    Attributes:
        role: Its id in the experiment.
        path: A checkpoint, an ONNX file, or a folder of timm or transformers.
        title: Title for people; empty for the three usual roles.
        network: Name of the network; empty: detected from the file.
        given: The given fields of its input: some of ``size``, ``resize``, ``crop``, ``interpolation``, ``mean``,
            ``std`` and ``channels``.
        classes: Names of its logits: a file, or names separated by ``/``; empty: detected from the file.
        key, prefix: Key and prefix of its tensors in the file; None: detected.
        code: ``FILE.py:NAME`` of a module class or function that builds it.
    """

    role: str
    path: Path
    title: str = ""
    network: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    classes: str = ""
    key: str | None = None
    prefix: str | None = None
    code: str = ""


def parse_spec(role: str, text: str, title: str = "") -> ModelSpec:
    """Parse ``FILE[,key=value]...``.

    Raises:
        SettingError: No file is named, a key repeats, or a value cannot be read.
    """
    file, *pairs = _NEXT.split(text.strip())
    if not file:
        raise SettingError(
            "'{text}' names no file; write FILE, or FILE,key=value with the keys {keys}.",
            text=text,
            keys=", ".join(KEYS),
        )
    _refuse_unknown_keys(file)
    values: dict[str, str] = {}
    for pair in pairs:
        key, _, value = (part.strip() for part in pair.partition("="))
        if key in values or not value:
            raise SettingError("'{key}' is given twice or without a value in '{text}'.", key=key, text=text)
        values[key] = value
    given = {key: read(values[key]) for key, read in _READERS.items() if key in values}
    return ModelSpec(
        role,
        from_home(file),
        title,
        values.get("network", ""),
        given,
        values.get("classes", ""),
        values.get("key"),
        values.get("prefix"),
        values.get("code", ""),
    )


def _refuse_unknown_keys(file: str) -> None:
    """Refuse a misspelt key, which would otherwise be read as part of the file's name."""
    match = re.search(r",\s*(\w+)=[^/\\]*$", file)
    if match and not Path(file).exists():
        raise SettingError("'{match}' is no key of a model; the keys are {keys}.", match=match[1], keys=", ".join(KEYS))


def checked_input(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check fields of an input given in Python, and convert them as :func:`parse_spec` does those in a text.

    Raises:
        SettingError: A key is unknown, or a value is not valid.
    """
    unknown = [name for name in given if name not in _READERS]
    if unknown:
        raise SettingError(
            "'{unknown}' is nothing of an input; it has {input_keys}.",
            unknown=unknown[0],
            input_keys=", ".join(_INPUT_KEYS),
        )
    return {
        name: _READERS[name](_as_text(value, "x" if name in ("size", "resize") else "/"))
        for name, value in given.items()
    }


def _as_text(value: Any, separator: str) -> str:
    is_sequence = isinstance(value, (list, tuple))
    return separator.join(map(str, value)) if is_sequence else str(value)


def named_model(text: str) -> tuple[str, str]:
    """Split ``ROLE=SPEC`` into title and specification. A title may contain ``=``, if the file exists.

    Raises:
        SettingError: There is no title, or no file.
    """
    positions = [match.start() for match in re.finditer("=", _NEXT.split(text)[0])]
    readings = [(text[:position].strip(), text[position + 1 :].strip()) for position in positions]
    readings = [(title, spec) for title, spec in readings if title and spec]
    if not readings:
        raise SettingError("'{text}' must be ROLE=FILE, such as kd_t16=kd16.onnx.", text=text)
    return next((reading for reading in readings if from_home(_NEXT.split(reading[1])[0]).exists()), readings[0])


def role_of(title: str, roles: Iterable[str]) -> str:
    """Make an id from a free title: letters, digits, ``_``, ``.`` and ``-``, different from all ids in ``roles``.

    Raises:
        SettingError: The title is one of the three usual roles, and is taken.
    """
    taken = set(roles)
    if title in ROLES and title in taken:
        raise SettingError("The role '{title}' is given twice.", title=title)
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-")[:40].removesuffix("_se") or "model"
    names = (stem, *(f"{stem}_{number}" for number in range(2, 1000)))
    return next(name for name in names if name not in taken)


# values ---------------------------------------------------------------------------------------------------------------


def _sides(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if not match:
        raise SettingError("A size is written 224, or 224x256 (height x width), not '{text}'.", text=text)
    height, width = int(match[1]), int(match[2] or match[1])
    if not (1 <= height <= 4096 and 1 <= width <= 4096):
        raise SettingError("A size goes from 1 to 4096 pixels, got '{text}'.", text=text)
    return height, width


def _resize(text: str) -> int | tuple[int, int] | str:
    if text in ("squash", "none"):
        return text
    height, width = _sides(text)
    return (height, width) if "x" in text.lower() else height


def _crop(text: str) -> float:
    value = _number(text)
    share = value / 100 if text.endswith("%") else value
    if not 0 < share <= 1:
        raise SettingError(
            "crop is the share of the short side that is kept, above 0 and at most 1, got '{text}'.", text=text
        )
    return share


def _number(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError as error:
        raise SettingError("'{text}' is no number.", text=text) from error
    if not -1e6 < value < 1e6:
        raise SettingError("'{text}' is too large.", text=text)
    return value


def _numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(_number(part) for part in text.split("/"))
    if len(numbers) not in (1, 3):
        raise SettingError(
            "mean and std are one number or one a channel, such as .485/.456/.406, not '{text}'.", text=text
        )
    return numbers


def _positive(text: str) -> tuple[float, ...]:
    numbers = _numbers(text)
    if min(numbers) <= 0:
        raise SettingError("std must be above 0, got '{text}'.", text=text)
    return numbers


def _channels(text: str) -> int:
    if text not in ("1", "3"):
        raise SettingError("channels is 1 (grey) or 3 (RGB), not '{text}'.", text=text)
    return int(text)


def _interpolation(text: str) -> str:
    if text not in INTERPOLATIONS:
        raise SettingError(
            "interpolation must be one of {interpolations}, not '{text}'.",
            interpolations=", ".join(INTERPOLATIONS),
            text=text,
        )
    return text


_READERS: Mapping[str, Any] = {
    "size": _sides,
    "resize": _resize,
    "crop": _crop,
    "interpolation": _interpolation,
    "mean": _numbers,
    "std": _positive,
    "channels": _channels,
}
