"""Whether tensors are a network's: all names and shapes are compared, and what they leave open is solved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from kdviz.models.identify.index import IndexedNetwork
from kdviz.models.identify.symbols import CHANNELS, CLASSES, SIZE, Side, solve

Shape = tuple[int, ...]

COUNTER = "num_batches_tracked"
"""Of a batch norm: old checkpoints lack it, and nothing depends on it."""

_CHANNELS = (1, 3)  # of pictures that kdviz can make

# What training leaves beside a network's tensors: counters of profilers and averages, losses, heads for training only.
_BESIDE = re.compile(
    r"(.*\.)?(total_ops|total_params|n_averaged|num_batches_tracked|num_updates)$"
    r"|(aux\w*|AuxLogits|criterion\w*|loss\w*|\w+_loss|\w*metric\w*|\w+_acc|\w*accuracy|teacher\w*|\w*ema)\b"
)


def is_beside(name: str) -> bool:
    """Whether a tensor is one that training leaves beside networks, at whatever depth."""
    parts = name.split(".")
    return any(_BESIDE.match(".".join(parts[depth:])) for depth in range(len(parts)))


@dataclass(frozen=True)
class Fit:
    """A network that a file's tensors fit.

    Attributes:
        entry: The network.
        prefix: Taken off the file's names.
        classes, channels, size: What the shapes say; None where they say nothing.
        matched: Number of the network's tensors that are there.
        missing: The network's counters that are not there, under its own names.
        extra: Names below the prefix, without it, that are not the network's.
        tops: How the network's names start, up to the first dot.
        renamed: The network's names of its head -> the file's without the prefix, where these are others.
    """

    entry: IndexedNetwork
    prefix: str
    classes: int | None
    channels: int | None
    size: int | None
    matched: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    tops: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def strange(self) -> tuple[str, ...]:
        """Those of ``extra`` that a changed network may compute with."""
        return tuple(name for name in self.extra if not _BESIDE.match(name))

    @property
    def inside(self) -> tuple[str, ...]:
        """Those of ``strange`` that a changed network surely computes with: in its own parts, or in none."""
        return tuple(name for name in self.strange if "." not in name or name.partition(".")[0] in self.tops)


@dataclass(frozen=True)
class Misfit:
    """Why a file's tensors are not a network's.

    Attributes:
        entry: The network.
        prefix: Taken off the file's names.
        tensor: The first that differs, under the network's name.
        wanted: Its shape in the network, with letters where any number will do.
        given: Its shape in the file; None when it is not there.
        matched: Number of the network's tensors that are there.
        head: The names of the head, when all but it is there.
        extra: See :class:`Fit`.
    """

    entry: IndexedNetwork
    prefix: str
    tensor: str
    wanted: str
    given: Shape | None
    matched: int
    head: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


def compare(
    entry: IndexedNetwork, tensors: Mapping[str, tuple[Side, ...]], shapes: Mapping[str, Shape], prefix: str
) -> Fit | Misfit:
    """Compare a file with a network.

    Args:
        entry: The network.
        tensors: Its tensors, symbolic.
        shapes: The file's names below ``prefix``, without it, and their shapes.
        prefix: Only remembered.
    """
    unknowns: dict[str, int] = {} if entry.channels is None else {CHANNELS: entry.channels}
    absent = [name for name in tensors if name not in shapes]
    differing = [
        name for name, shape in tensors.items() if name in shapes and not _agrees(shape, shapes[name], unknowns)
    ]
    matched = len(tensors) - len(absent) - len(differing)
    extra = tuple(name for name in shapes if name not in tensors)
    lost = [name for name in absent if not name.endswith(COUNTER)]
    if differing or lost:
        first = (differing or lost)[0]
        head = head_of(tensors)
        only_head = not differing and set(lost) <= set(head)
        wanted = _shown(tensors[first])
        return Misfit(entry, prefix, first, wanted, shapes.get(first), matched, head if only_head else (), extra)
    classes, channels, size = (unknowns.get(symbol) for symbol in (CLASSES, CHANNELS, SIZE))
    counters = tuple(name for name in absent if name not in lost)
    tops = frozenset(name.partition(".")[0] for name in tensors)
    return Fit(entry, prefix, classes, channels, size, matched, counters, extra, tops)


def head_of(tensors: Mapping[str, tuple[Side, ...]]) -> tuple[str, ...]:
    """Names of the tensors that follow the number of classes."""
    return tuple(name for name, shape in tensors.items() if any(_is(side, CLASSES) for side in shape))


def with_other_head(misfit: Misfit, tensors: Mapping[str, tuple[Side, ...]], shapes: Mapping[str, Shape]) -> Fit | None:
    """A fit in spite of a head under another name, such as that of ``Sequential(Dropout(), Linear())``.

    Args:
        misfit: All but the head is there.
        tensors, shapes: See :func:`compare`.

    Returns:
        None unless all that the file has beside the network is one linear layer of the head's width.
    """
    beside = [name for name in misfit.extra if not _BESIDE.match(name)]
    own = {name.rpartition(".")[2]: name for name in misfit.head}
    given = {name.rpartition(".")[2]: name for name in beside}
    if len(own) != len(misfit.head) or len(given) != len(beside) or own.keys() != given.keys():
        return None
    if len({name.rpartition(".")[0] for name in beside}) != 1:
        return None
    renamed = {own[leaf]: given[leaf] for leaf in own}
    rest = tuple(name for name in misfit.extra if name not in beside)
    full = {**shapes, **{name: shapes[other] for name, other in renamed.items()}}
    fit = compare(misfit.entry, tensors, {name: full[name] for name in full if name not in misfit.extra}, misfit.prefix)
    if isinstance(fit, Misfit):
        return None
    return replace(fit, extra=rest, renamed=renamed)


def _agrees(shape: tuple[Side, ...], given: Shape, unknowns: dict[str, int]) -> bool:
    """Whether a shape fits; what it says of the unknowns is added to them."""
    return len(shape) == len(given) and all(
        _side_agrees(side, value, unknowns) for side, value in zip(shape, given, strict=True)
    )


def _side_agrees(side: Side, value: int, unknowns: dict[str, int]) -> bool:
    if isinstance(side, int):
        return side == value
    solution = solve(side, value)
    if solution is None or (side[0] == CHANNELS and solution not in _CHANNELS):
        return False
    return unknowns.setdefault(side[0], solution) == solution


def _is(side: Side, symbol: str) -> bool:
    return isinstance(side, str) and side.startswith(symbol)


_LETTERS = {CLASSES: "classes", CHANNELS: "channels", SIZE: "size"}


def _shown(shape: Iterable[Side]) -> str:
    return f"({', '.join(str(side) if isinstance(side, int) else _LETTERS[side[0]] for side in shape)})"
