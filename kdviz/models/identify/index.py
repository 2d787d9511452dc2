"""The index of networks: their list, a sketch of each one's tensors, and all names and shapes, in one small file.

``index.zip`` holds ``networks.json`` (a list, see :class:`IndexedNetwork`), ``aliases.json`` (earlier names),
``sketches`` (rows of ``SKETCH`` numbers, uint32, little-endian) and ``tensors/NUMBER``, texts of many networks' names
and shapes, which are read on demand. A sketch consists of the smallest hashes of a network's tensors whose shapes are
fixed: a file can hold the network only if it holds all of these, which is checked for all networks at once.
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
"""Number of hashes in a network's sketch."""

_UNUSED = 0  # fills the sketch of a network with fewer tensors


@dataclass(frozen=True)
class IndexedNetwork:
    """A network in the index.

    Attributes:
        number: Its position in the list.
        network, settings, size, size_setting, channels, published: See :class:`kdviz.models.identify.outlines.Outline`.
        text: Number of the text that holds its tensors, and its position in that text.
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
    """The networks in an index file.

    Args:
        path: A file written by :func:`write_index`.

    Attributes:
        entries: All networks.
        aliases: Earlier name of a network -> present name.

    Raises:
        ModelError: The file is missing or damaged.
    """

    def __init__(self, path: Path = FILE):
        try:
            self._archive = zipfile.ZipFile(path)
            documents = json.loads(self._archive.read("networks.json"))
            self.aliases: dict[str, str] = json.loads(self._archive.read("aliases.json"))
            self._sketches = np.frombuffer(self._archive.read("sketches"), "<u4").reshape(len(documents), SKETCH)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ModelError("kdviz's index of networks is missing or damaged; please install kdviz again.") from error
        self.entries = [
            IndexedNetwork(number, **{**entry, "text": tuple(entry["text"])}) for number, entry in enumerate(documents)
        ]
        self._texts: dict[int, list[str]] = {}
        self._tensors: dict[tuple[int, int], dict[str, tuple[Side, ...]]] = {}

    @cached_property
    def needed(self) -> np.ndarray:
        """Number of hashes in each network's sketch, int (networks,)."""
        return (self._sketches != _UNUSED).sum(1)

    @cached_property
    def by_name(self) -> dict[str, list[IndexedNetwork]]:
        """Network -> its entries; there are several if its settings change its tensors."""
        grouped: dict[str, list[IndexedNetwork]] = {}
        for entry in self.entries:
            grouped.setdefault(entry.network, []).append(entry)
        return grouped

    def hits(self, hashes: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
        """Count the hashes of each network's sketch that are in each group of tensors.

        Args:
            hashes: Hashes of tensors, uint32 (n,): see :func:`tensor_hash`.
            groups: Number of each tensor's group, int (n,).
            count: Number of groups.

        Returns:
            int (groups, networks).
        """
        values, owners = self._sorted
        start, end = np.searchsorted(values, hashes, "left"), np.searchsorted(values, hashes, "right")
        counts = end - start
        steps = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        pairs = np.repeat(groups, counts) * len(self.entries) + owners[np.repeat(start, counts) + steps]
        return np.bincount(pairs, minlength=count * len(self.entries)).reshape(count, -1)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """All hashes in ascending order, and the number of the network of each."""
        flat = self._sketches.reshape(-1)
        order = flat.argsort(kind="stable")
        order = order[flat[order] != _UNUSED]
        return flat[order], order // SKETCH

    def tensors(self, entry: IndexedNetwork) -> dict[str, tuple[Side, ...]]:
        """Symbolic shapes of a network's tensors, by name."""
        if entry.text not in self._tensors:
            text_number, position = entry.text
            if text_number not in self._texts:
                self._texts[text_number] = self._archive.read(f"tensors/{text_number}").decode().split("\n\n")
            self._tensors[entry.text] = _parse(self._texts[text_number][position])
        return self._tensors[entry.text]


@cache
def the_index() -> Index:
    """The index that comes with kdviz."""
    return Index()


def tensor_hash(name: str, shape: Sequence[Side]) -> int:
    """A 32-bit hash, not 0, of a tensor's name and shape."""
    return zlib.crc32(f"{name} {','.join(map(str, shape))}".encode()) or 1


def sketch(tensors: Mapping[str, Sequence[Side]]) -> list[int]:
    """The ``SKETCH`` smallest hashes of the tensors with fixed shapes, padded with zeros."""
    fixed = ((name, shape) for name, shape in tensors.items() if all(isinstance(side, int) for side in shape))
    hashes = sorted({tensor_hash(name, shape) for name, shape in fixed if shape})[:SKETCH]
    return hashes + [_UNUSED] * (SKETCH - len(hashes))


def _parse(text: str) -> dict[str, tuple[Side, ...]]:
    rows = (line.split(" ") for line in text.splitlines())
    return {name: tuple(int(side) if side.isdigit() else side for side in sides) for name, *sides in rows}


def text_of(tensors: Mapping[str, Sequence[Side]]) -> str:
    """A text with one line a tensor: its name and its sides."""
    return "\n".join(" ".join((name, *map(str, shape))) for name, shape in tensors.items())


def write_index(
    path: Path,
    entries: Iterable[Mapping[str, Any]],
    sketches: np.ndarray,
    texts: Sequence[str],
    aliases: Mapping[str, str],
) -> None:
    """Write the index file. The same networks give the same bytes.

    Args:
        path: Path of the file.
        entries: The attributes of each :class:`IndexedNetwork` but its number; defaults may be left out.
        sketches: uint32 (networks, SKETCH).
        texts: Texts with the tensors of several networks each, separated by empty lines.
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
