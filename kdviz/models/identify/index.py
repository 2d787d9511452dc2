"""The index of networks: which there are, a sketch of each one's tensors, and all names and shapes, in one small file.

``index.zip`` holds ``networks.json`` (a list, see :class:`IndexedNetwork`), ``aliases.json`` (earlier names),
``sketches`` (rows of ``SKETCH`` numbers, uint32, little-endian) and ``tensors/NUMBER``, texts of many networks' names
and shapes, which are read when they are needed. A sketch is the smallest hashes of a network's tensors whose shapes are
fixed: a file can hold the network only if it holds all of these, which is found out for all networks at once.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kdviz.core.errors import ModelError
from kdviz.models.identify.symbols import Side

FILE = Path(__file__).with_name("index.zip")
SKETCH = 12
"""Hashes a network."""

_UNUSED = 0  # fills the sketch of a network with fewer tensors


@dataclass(frozen=True)
class IndexedNetwork:
    """A network in the index.

    Attributes:
        number: Its place in the list.
        network, settings, size, size_setting, channels, published: See :class:`kdviz.models.identify.outlines.Outline`.
        text: Which text holds its tensors, and how manieth it is in it.
    """

    number: int
    network: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    size_setting: str = ""
    channels: int | None = None
    published: bool = False
    text: tuple[int, int] = (0, 0)


class Index:
    """The networks of a file.

    Args:
        path: Made by :func:`write_index`.

    Attributes:
        entries: All of them.
        aliases: A network's earlier name -> the present one.

    Raises:
        ModelError: The file is missing or damaged.
    """

    def __init__(self, path: Path = FILE):
        try:
            self._archive = zipfile.ZipFile(path)
            listed = json.loads(self._archive.read("networks.json"))
            self.aliases: dict[str, str] = json.loads(self._archive.read("aliases.json"))
            self._sketches = np.frombuffer(self._archive.read("sketches"), "<u4").reshape(len(listed), SKETCH)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ModelError("kdviz's index of networks is missing or damaged; please install kdviz again.") from error
        self.entries = [
            IndexedNetwork(number, **{**entry, "text": tuple(entry["text"])}) for number, entry in enumerate(listed)
        ]
        self._texts: dict[int, list[str]] = {}
        self._tensors: dict[tuple[int, int], dict[str, tuple[Side, ...]]] = {}

    @cached_property
    def needed(self) -> np.ndarray:
        """Number of hashes in each network's sketch, int (networks,)."""
        return (self._sketches != _UNUSED).sum(1)

    @cached_property
    def by_name(self) -> dict[str, list[IndexedNetwork]]:
        """Network -> its entries, of which there are several where its settings change its tensors."""
        grouped: dict[str, list[IndexedNetwork]] = {}
        for entry in self.entries:
            grouped.setdefault(entry.network, []).append(entry)
        return grouped

    def hits(self, hashes: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
        """How much of each network's sketch is in each group of tensors.

        Args:
            hashes: Of tensors, uint32 (n,): see :func:`tensor_hash`.
            groups: To which group each belongs, int (n,).
            count: Number of groups.

        Returns:
            int (groups, networks).
        """
        values, owners = self._sorted
        start, end = np.searchsorted(values, hashes, "left"), np.searchsorted(values, hashes, "right")
        found = end - start
        steps = np.arange(found.sum()) - np.repeat(found.cumsum() - found, found)
        pairs = np.repeat(groups, found) * len(self.entries) + owners[np.repeat(start, found) + steps]
        return np.bincount(pairs, minlength=count * len(self.entries)).reshape(count, -1)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """All hashes in order, and whose each is."""
        flat = self._sketches.reshape(-1)
        order = flat.argsort(kind="stable")
        order = order[flat[order] != _UNUSED]
        return flat[order], order // SKETCH

    def tensors(self, entry: IndexedNetwork) -> dict[str, tuple[Side, ...]]:
        """A network's tensors: name -> symbolic shape."""
        if entry.text not in self._tensors:
            number, place = entry.text
            if number not in self._texts:
                self._texts[number] = self._archive.read(f"tensors/{number}").decode().split("\n\n")
            self._tensors[entry.text] = _parsed(self._texts[number][place])
        return self._tensors[entry.text]


@cache
def the_index() -> Index:
    """The index that comes with kdviz."""
    return Index()


def tensor_hash(name: str, shape: Sequence[Side]) -> int:
    """32 bits, not 0, that tell a tensor by its name and shape."""
    return zlib.crc32(f"{name} {','.join(map(str, shape))}".encode()) or 1


def sketch(tensors: Mapping[str, Sequence[Side]]) -> list[int]:
    """The ``SKETCH`` smallest hashes of the tensors with fixed shapes, filled up with zeros."""
    fixed = ((name, shape) for name, shape in tensors.items() if all(isinstance(side, int) for side in shape))
    hashes = sorted({tensor_hash(name, shape) for name, shape in fixed if shape})[:SKETCH]
    return hashes + [_UNUSED] * (SKETCH - len(hashes))


def _parsed(text: str) -> dict[str, tuple[Side, ...]]:
    rows = (line.split(" ") for line in text.splitlines())
    return {name: tuple(int(side) if side.isdigit() else side for side in sides) for name, *sides in rows}


def text_of(tensors: Mapping[str, Sequence[Side]]) -> str:
    """A line a tensor: its name and its sides."""
    return "\n".join(" ".join((name, *map(str, shape))) for name, shape in tensors.items())


def write_index(
    path: Path,
    entries: Iterable[Mapping[str, Any]],
    sketches: np.ndarray,
    texts: Sequence[str],
    aliases: Mapping[str, str],
) -> None:
    """Write the file. The same networks give the same bytes.

    Args:
        path: Of the file.
        entries: The attributes of each :class:`IndexedNetwork` but its number; what is as by default may be left out.
        sketches: uint32 (networks, SKETCH).
        texts: Each holds several networks' tensors, an empty line between.
        aliases: Earlier name -> present name.
    """
    members = {
        "networks.json": json.dumps(list(entries), separators=(",", ":")).encode(),
        "aliases.json": json.dumps(aliases, separators=(",", ":")).encode(),
        "sketches": sketches.astype("<u4").tobytes(),
        **{f"tensors/{number}": text.encode() for number, text in enumerate(texts)},
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_LZMA)
