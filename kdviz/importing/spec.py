"""What a person says of a model that is to be imported: ``FILE[,key=value]...``, and the role that it plays."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdviz.core.errors import SettingError
from kdviz.experiment import ROLES
from kdviz.models.inputs import INTERPOLATIONS

_OF_INPUT = ("size", "resize", "crop", "interpolation", "mean", "std", "channels")
KEYS = ("network", *_OF_INPUT, "classes", "key", "prefix", "code")
_NEXT = re.compile(r",\s*(?=(?:" + "|".join(KEYS) + r")\s*=)")
_SIZE = re.compile(r"(\d+)(?:\s*[xX×*]\s*(\d+))?")


@dataclass(frozen=True)
class ModelSpec:
    """A model to import.

    Attributes:
        role: Its id in the experiment.
        path: A checkpoint, an ONNX file, or a folder of timm or transformers.
        title: What people call it; empty for the three usual roles.
        network: By name; empty: found from the file.
        given: What was said of its input: ``size``, ``resize``, ``crop``, ``interpolation``, ``mean``, ``std``,
            ``channels``.
        classes: The names of its logits: a file, or names with ``/`` between them; empty: found from the file.
        key, prefix: Where its tensors are in the file; None: found.
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
    """``FILE[,key=value]...`` as data.

    Raises:
        SettingError: No file is named, a key repeats, or a value cannot be read.
    """
    file, *pairs = _NEXT.split(text.strip())
    if not file:
        raise SettingError(f"'{text}' names no file; write FILE, or FILE,key=value with the keys {', '.join(KEYS)}.")
    _refuse_unknown_keys(file)
    values: dict[str, str] = {}
    for pair in pairs:
        key, _, value = (part.strip() for part in pair.partition("="))
        if key in values or not value:
            raise SettingError(f"'{key}' is given twice or without a value in '{text}'.")
        values[key] = value
    given = {key: read(values[key]) for key, read in _READERS.items() if key in values}
    return ModelSpec(
        role,
        Path(file).expanduser(),
        title,
        values.get("network", ""),
        given,
        values.get("classes", ""),
        values.get("key"),
        values.get("prefix"),
        values.get("code", ""),
    )


def _refuse_unknown_keys(file: str) -> None:
    """A misspelt key would be part of the file's name."""
    found = re.search(r",\s*(\w+)=[^/\\]*$", file)
    if found and not Path(file).exists():
        raise SettingError(f"'{found[1]}' is no key of a model; the keys are {', '.join(KEYS)}.")


def checked_input(given: Mapping[str, Any]) -> dict[str, Any]:
    """What Python code says of an input, as :func:`parse_spec` reads it from a text.

    Raises:
        SettingError: An unknown key, or a value that is none.
    """
    unknown = [name for name in given if name not in _READERS]
    if unknown:
        raise SettingError(f"'{unknown[0]}' is nothing of an input; it has {', '.join(_OF_INPUT)}.")
    return {
        name: _READERS[name](_as_text(value, "x" if name in ("size", "resize") else "/"))
        for name, value in given.items()
    }


def _as_text(value: Any, between: str) -> str:
    several = isinstance(value, (list, tuple))
    return between.join(map(str, value)) if several else str(value)


def named_model(text: str) -> tuple[str, str]:
    """``ROLE=SPEC`` -> (title, spec). A title may have a ``=`` of its own, if the file is there.

    Raises:
        SettingError: It has no name.
    """
    places = [match.start() for match in re.finditer("=", _NEXT.split(text)[0])]
    ways = [(text[:place].strip(), text[place + 1 :].strip()) for place in places]
    ways = [(title, spec) for title, spec in ways if title and spec]
    if not ways:
        raise SettingError(f"'{text}' must be ROLE=FILE, such as kd_t16=kd16.onnx.")
    return next((way for way in ways if Path(_NEXT.split(way[1])[0]).expanduser().exists()), ways[0])


def role_of(title: str, taken: Iterable[str]) -> str:
    """The id that is made of a free title: letters, digits, ``_``, ``.`` and ``-``, and not one that is taken.

    Raises:
        SettingError: The title is a role that is taken.
    """
    used = set(taken)
    if title in ROLES and title in used:
        raise SettingError(f"The role '{title}' is given twice.")
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-")[:40].removesuffix("_se") or "model"
    names = (stem, *(f"{stem}_{number}" for number in range(2, 1000)))
    return next(name for name in names if name not in used)


# values ---------------------------------------------------------------------------------------------------------------


def _sides(text: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text)
    if not found:
        raise SettingError(f"A size is written 224, or 224x256 (height x width), not '{text}'.")
    height, width = int(found[1]), int(found[2] or found[1])
    if not (1 <= height <= 4096 and 1 <= width <= 4096):
        raise SettingError(f"A size goes from 1 to 4096 pixels, got '{text}'.")
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
        raise SettingError(f"crop is the share of the short side that is kept, above 0 and at most 1, got '{text}'.")
    return share


def _number(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError as error:
        raise SettingError(f"'{text}' is no number.") from error
    if not -1e6 < value < 1e6:
        raise SettingError(f"'{text}' is too large.")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    found = tuple(_number(part) for part in text.split("/"))
    if len(found) not in (1, 3):
        raise SettingError(f"mean and std are one number or one a channel, such as .485/.456/.406, not '{text}'.")
    return found


def _positive(text: str) -> tuple[float, ...]:
    found = _numbers(text)
    if min(found) <= 0:
        raise SettingError(f"std must be above 0, got '{text}'.")
    return found


def _channels(text: str) -> int:
    if text not in ("1", "3"):
        raise SettingError(f"channels is 1 (grey) or 3 (RGB), not '{text}'.")
    return int(text)


def _interpolation(text: str) -> str:
    if text not in INTERPOLATIONS:
        raise SettingError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not '{text}'.")
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
