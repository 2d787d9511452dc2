"""Comparison of a file's tensors with a network's: names and shapes must agree, and unknowns in them are solved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from kdviz.models.identify.index import IndexedNetwork
from kdviz.models.identify.symbols import CHANNELS, CLASSES, SIZE, Side, solve

Shape = tuple[int, ...]

COUNTER = "num_batches_tracked"
"""Buffer of a batch norm; old checkpoints lack it, and nothing depends on it."""

_CHANNELS = (1, 3)  # numbers of channels of pictures that kdviz can make

# Tensors that only training needs: counters of profilers and averages, losses, auxiliary heads.
_TRAINING_ONLY = re.compile(
    r"(.*\.)?(total_ops|total_params|n_averaged|num_batches_tracked|num_updates)$"
    r"|(aux\w*|AuxLogits|criterion\w*|loss\w*|\w+_loss|\w*metric\w*|\w+_acc|\w*accuracy|teacher\w*|\w*ema)\b"
)


def is_training_only(name: str) -> bool:
    """Whether a tensor is one that only training needs, at any depth of its name."""
    parts = name.split(".")
    return any(_TRAINING_ONLY.match(".".join(parts[depth:])) for depth in range(len(parts)))


@dataclass(frozen=True)
class Fit:
    """A network that a file's tensors fit.

    Attributes:
        entry: The network.
        prefix: Prefix that is removed from the file's names.
        classes, channels, size: Values that follow from the shapes; None where nothing depends on them.
        matched: Number of the network's tensors that are in the file.
        missing: The network's counters that the file lacks, under the network's names.
        extra: Names below the prefix, without it, that are not the network's.
        tops: First parts of the network's names, up to the first dot.
        renamed: The network's names of its head -> the file's names without the prefix, where they differ.
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
    def unexplained(self) -> tuple[str, ...]:
        """Names in ``extra`` that a modified network may compute with."""
        return tuple(name for name in self.extra if not _TRAINING_ONLY.match(name))

    @property
    def unexplained_inside(self) -> tuple[str, ...]:
        """Names in ``unexplained`` that a modified network certainly uses: inside its own parts, or in no part."""
        return tuple(name for name in self.unexplained if "." not in name or name.partition(".")[0] in self.tops)


@dataclass(frozen=True)
class Misfit:
    """The reason why a file's tensors do not fit a network.

    Attributes:
        entry: The network.
        prefix: Prefix that is removed from the file's names.
        tensor: Name of the first tensor that differs, in the network.
        expected: Its shape in the network, with words where any number will do.
        actual: Its shape in the file; None: missing.
        matched: Number of the network's tensors that are in the file.
        head: Names of the head, if nothing else is missing.
        extra: See :class:`Fit`.
    """

    entry: IndexedNetwork
    prefix: str
    tensor: str
    expected: str
    actual: Shape | None
    matched: int
    head: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


def compare(
    entry: IndexedNetwork, tensors: Mapping[str, tuple[Side, ...]], shapes: Mapping[str, Shape], prefix: str
) -> Fit | Misfit:
    """Compare a file with a network.

    Args:
        entry: The network.
        tensors: Symbolic shapes of its tensors.
        shapes: Shapes of the file's tensors below ``prefix``, by their names without it.
        prefix: Only stored in the result.
    """
    unknowns: dict[str, int] = {} if entry.channels is None else {CHANNELS: entry.channels}
    absent = [name for name in tensors if name not in shapes]
    mismatched = [
        name for name, shape in tensors.items() if name in shapes and not _agrees(shape, shapes[name], unknowns)
    ]
    matched = len(tensors) - len(absent) - len(mismatched)
    extra = tuple(name for name in shapes if name not in tensors)
    missing = [name for name in absent if not name.endswith(COUNTER)]
    if mismatched or missing:
        first = (mismatched or missing)[0]
        head = head_of(tensors)
        only_head = not mismatched and set(missing) <= set(head)
        expected = _format_shape(tensors[first])
        return Misfit(entry, prefix, first, expected, shapes.get(first), matched, head if only_head else (), extra)
    classes, channels, size = (unknowns.get(symbol) for symbol in (CLASSES, CHANNELS, SIZE))
    counters = tuple(name for name in absent if name not in missing)
    tops = frozenset(name.partition(".")[0] for name in tensors)
    return Fit(entry, prefix, classes, channels, size, matched, counters, extra, tops)


def head_of(tensors: Mapping[str, tuple[Side, ...]]) -> tuple[str, ...]:
    """Names of the tensors whose shapes depend on the number of classes."""
    return tuple(name for name, shape in tensors.items() if any(_has_symbol(side, CLASSES) for side in shape))


def with_other_head(misfit: Misfit, tensors: Mapping[str, tuple[Side, ...]], shapes: Mapping[str, Shape]) -> Fit | None:
    """The fit of a network whose head has another name, such as that of ``Sequential(Dropout(), Linear())``.

    Args:
        misfit: A misfit in which only the head is missing.
        tensors, shapes: See :func:`compare`.

    Returns:
        The fit; None unless all that the file has besides the network is one linear layer of the head's width.
    """
    candidates = [name for name in misfit.extra if not _TRAINING_ONLY.match(name)]
    head_by_leaf = {name.rpartition(".")[2]: name for name in misfit.head}
    extra_by_leaf = {name.rpartition(".")[2]: name for name in candidates}
    if (
        len(head_by_leaf) != len(misfit.head)
        or len(extra_by_leaf) != len(candidates)
        or head_by_leaf.keys() != extra_by_leaf.keys()
    ):
        return None
    if len({name.rpartition(".")[0] for name in candidates}) != 1:
        return None
    renamed = {head_by_leaf[leaf]: extra_by_leaf[leaf] for leaf in head_by_leaf}
    remaining = tuple(name for name in misfit.extra if name not in candidates)
    all_shapes = {**shapes, **{name: shapes[other] for name, other in renamed.items()}}
    fit = compare(
        misfit.entry,
        tensors,
        {name: all_shapes[name] for name in all_shapes if name not in misfit.extra},
        misfit.prefix,
    )
    if isinstance(fit, Misfit):
        return None
    return replace(fit, extra=remaining, renamed=renamed)


def _agrees(shape: tuple[Side, ...], actual: Shape, unknowns: dict[str, int]) -> bool:
    """Whether a shape fits a symbolic one; values of the unknowns that follow from it are added to ``unknowns``."""
    return len(shape) == len(actual) and all(
        _side_agrees(side, value, unknowns) for side, value in zip(shape, actual, strict=True)
    )


def _side_agrees(side: Side, value: int, unknowns: dict[str, int]) -> bool:
    if isinstance(side, int):
        return side == value
    solution = solve(side, value)
    if solution is None or (side[0] == CHANNELS and solution not in _CHANNELS):
        return False
    return unknowns.setdefault(side[0], solution) == solution


def _has_symbol(side: Side, symbol: str) -> bool:
    return isinstance(side, str) and side.startswith(symbol)


_SYMBOL_NAMES = {CLASSES: "classes", CHANNELS: "channels", SIZE: "size"}


def _format_shape(shape: Iterable[Side]) -> str:
    return f"({', '.join(str(side) if isinstance(side, int) else _SYMBOL_NAMES[side[0]] for side in shape)})"
