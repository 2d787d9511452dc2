"""Harmless stand-ins for the objects that may be stored beside the weights of a checkpoint.

``torch.load(weights_only=True)`` refuses every object that is not on its list, but training scripts save their
arguments, NumPy scalars and paths beside the weights. The names in :data:`ALLOWED` are accepted, but not the classes
themselves: a forged pickle may call whatever is allowed with any arguments and give it any state, and even
``numpy.dtype`` accepts a state that makes NumPy read bytes as pointers, or changes the process's only float64. Each
name therefore stands for a class or function of this module, which stores plain facts and does nothing else; the list
says why the few exceptions are harmless.
"""

from __future__ import annotations

import datetime
import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

_MOST_NUMBERS = 4096  # values of an array that is kept: a list of scores, not weights
_NUMBERS = re.compile(r"(b1|[iu][1248]|f[248]|c8|c16|[US]\d{1,5})")


class Attributes:
    """Stand-in for an object with attributes only, such as ``argparse.Namespace``: stores its state, and sets nothing.

    Attributes:
        values: Name -> value.
    """

    def __new__(cls, *_args: object) -> Attributes:
        self = super().__new__(cls)
        self.values = {}
        return self

    def __setstate__(self, state: object) -> None:
        if isinstance(state, Mapping):
            self.values = dict(state)


class Table:
    """Stand-in for a mapping such as ``defaultdict``: an ``OrderedDict`` that the unpickler fills. No factory."""

    def __new__(cls, *_args: object) -> Any:
        return OrderedDict()  # the only mapping to which torch's unpickler also gives a state


class Sequence:
    """Stand-in for a sequence such as ``deque``: a list that the unpickler fills."""

    def __new__(cls, items: object = (), *_args: object) -> Any:
        return list(items) if isinstance(items, (list, tuple)) else []


class Value:
    """Stand-in for a text or number of a special class, such as an enumeration member: the plain text or number."""

    def __new__(cls, value: object = None, *_args: object) -> Any:
        return value if isinstance(value, (str, int, float, bool)) else None


class Name:
    """Stand-in for a class that is only named, such as the factory of a ``defaultdict``; it cannot be called."""

    def __init__(self, name: str):
        self.name = name


class Kind:
    """Stand-in for a ``numpy.dtype``: its code, such as ``f8``, and its byte order; no real dtype gets the state."""

    code, order = "", "="

    def __init__(self, code: object = "", *_args: object):
        self.code = code if isinstance(code, str) else ""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|"):
            self.order = state[1]

    def read(self, content: object, count: int) -> list[Any] | None:
        """The ``count`` values in these bytes; None if the dtype is not plain, or their number is another."""
        if not isinstance(content, (bytes, bytearray)) or not _NUMBERS.fullmatch(self.code):
            return None
        kind = np.dtype(self.code)
        if not 0 < count <= _MOST_NUMBERS or len(content) != count * kind.itemsize:
            return None
        if self.order in ("<", ">"):
            kind = kind.newbyteorder(self.order)
        return np.frombuffer(content, kind).tolist()


class Array:
    """Stand-in for a ``numpy.ndarray``: the values of a small one as nested lists, else nothing.

    Attributes:
        values: Nested lists, or None.
    """

    values: Any = None

    def __init__(self, *_args: object):
        pass

    def __setstate__(self, state: object) -> None:
        match state:
            case (_, tuple(shape), Kind() as kind, fortran, content) if all(type(side) is int for side in shape):
                numbers = kind.read(content, math.prod(shape))
                if numbers is not None:
                    order = "F" if fortran is True else "C"
                    self.values = np.array(numbers).reshape(shape, order=order).tolist()


def number(kind: object = None, content: object = None) -> Any:
    """Stand-in for a NumPy scalar: the Python number or text."""
    numbers = kind.read(content, 1) if isinstance(kind, Kind) else None
    return numbers[0] if numbers else None


def posix_path(*parts: object) -> str:
    return _path(PurePosixPath, parts)


def windows_path(*parts: object) -> str:
    return _path(PureWindowsPath, parts)


def _path(kind: type[PurePath], parts: tuple[object, ...]) -> str:
    return str(kind(*(part for part in parts if isinstance(part, str))))


_CORES = ("numpy._core.multiarray", "numpy.core.multiarray")  # of NumPy 2 and 1
_PATHS = ("pathlib", "pathlib._local")  # of Python 3.13 on, and before
_LIGHTNING = (
    "lightning.fabric.utilities.data",
    "lightning_fabric.utilities.data",
    "lightning.pytorch.utilities.parsing",
    "pytorch_lightning.utilities.parsing",
)

ALLOWED: dict[str, Any] = {
    # Attributes and nothing else: they become a dictionary.
    "argparse.Namespace": Attributes,
    "types.SimpleNamespace": Attributes,
    # Special dictionaries: replaced by a plain one, so that no factory or attribute of theirs is ever used.
    "collections.defaultdict": Table,
    "easydict.EasyDict": Table,
    "addict.addict.Dict": Table,
    "yacs.config.CfgNode": Table,
    "fvcore.common.config.CfgNode": Table,
    "mmengine.config.config.ConfigDict": Table,
    "mmcv.utils.config.ConfigDict": Table,
    **{f"{module}.AttributeDict": Table for module in _LIGHTNING},
    "collections.deque": Sequence,
    # NumPy values: decoded here, for plain dtypes only.
    "numpy.dtype": Kind,
    "numpy.ndarray": Array,
    **{f"{module}._reconstruct": Array for module in _CORES},
    **{f"{module}.scalar": number for module in _CORES},
    # Paths: texts that are never opened.
    **{f"{module}.{name}": posix_path for module in _PATHS for name in ("Path", "PosixPath", "PurePosixPath")},
    **{f"{module}.{name}": windows_path for module in _PATHS for name in ("WindowsPath", "PureWindowsPath")},
    # Members of enumerations and texts of special classes: their value.
    "torchvision.transforms.functional.InterpolationMode": Value,
    "PIL.Image.Resampling": Value,
    "torch.torch_version.TorchVersion": Value,
    # Classes that are only named: not even their stand-ins can be called.
    **{f"builtins.{name}": Name(name) for name in ("bool", "dict", "float", "int", "list", "str", "tuple")},
    "numpy.float64": Name("float64"),
    "numpy.float32": Name("float32"),
    # Python's own types in C: their constructors accept numbers, texts and each other, and have no state to forge.
    "datetime.date": datetime.date,
    "datetime.datetime": datetime.datetime,
    "datetime.time": datetime.time,
    "datetime.timedelta": datetime.timedelta,
    "datetime.timezone": datetime.timezone,
    "builtins.frozenset": frozenset,
}
"""Name in a pickle -> its stand-in."""
