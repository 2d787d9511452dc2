"""Names and shapes of tensors -> the network that they are of, or one sentence on why they are of none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import ModelError
from kdviz.models.identify import reasons
from kdviz.models.identify.fits import Fit, Misfit, Shape, compare, is_beside, with_other_head
from kdviz.models.identify.index import Index, IndexedNetwork, tensor_hash, the_index
from kdviz.models.networks import RENORMALISED

_DEPTH = 6  # names deep in which a network is looked for, such as lightning.module.model._orig_mod.backbone.
_PREFIXES = 2048  # that are looked at, those with the most tensors first: a forged file may have any number
_STUDENT = "student"
_NAMED = "network."  # where a renormalised network keeps the one that it renormalises


@dataclass(frozen=True)
class Match:
    """The network that a file's tensors are of.

    Attributes:
        network: As :func:`kdviz.models.networks.build_network` takes it.
        settings: What that must be given beside classes, channels and size.
        classes: Number of logits.
        channels: Of the input, 1 or 3.
        size: Height and width of the input where shapes follow it (taken to be square), else None.
        prefix: Taken off the file's names.
        foreign: Names in the file that are no part of the network.
        missing: The network's names that the file lacks: only counters, on which nothing depends.
        rivals: Other networks that these tensors fit as well, the likeliest first.
        renamed: Names of the network's head -> the file's without the prefix, where they are others.
        notes: What was taken for granted, a sentence each.
    """

    network: str
    settings: Mapping[str, Any]
    classes: int
    channels: int
    size: tuple[int, int] | None
    prefix: str
    foreign: tuple[str, ...] = field(repr=False)
    missing: tuple[str, ...] = field(repr=False)
    rivals: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def identify(
    shapes: Mapping[str, Shape],
    *,
    network: str | None = None,
    prefix: str | None = None,
    dtypes: Mapping[str, torch.dtype] | None = None,
    index: Index | None = None,
) -> Match:
    """The network that tensors are of, by their names and shapes.

    All of a network's tensors must be there, except counters of batch norms, and nothing else that a network computes
    with, unless the prefix is given; the head may have any number of classes. Of several networks in a file, a student
    comes before others, and an average of weights (``ema``) before the weights. Among networks that fit alike, all of
    which are said, torchvision's come before timm's, one with published weights before one without, and a short name
    before a long one.

    Args:
        shapes: Name -> shape, as in the file.
        network: Only this one: with its library (``timm/resnet50``), or without (``resnet50``).
        prefix: Only the names below this, such as ``student`` or ``student.``; default any that fits.
        dtypes: Name -> kind of number, to refuse quantised weights; default not looked at.
        index: Default the one that comes with kdviz.

    Raises:
        ModelError: No network fits, or several parts of the file are networks and it cannot be told which is meant.
    """
    if not shapes:
        raise ModelError("The file holds no tensors.")
    index = index or the_index()
    entries = None if network is None else _named(index, network)
    spaces = _spaces(shapes, prefix)
    fits, misfits = _compared(index, entries, spaces)
    usable = [fit for fit in fits if not (fit.strange if prefix is None else fit.inside)]
    if not usable:
        raise reasons.no_fit(fits, misfits, network, lambda: _fitting(index, spaces))
    chosen = _preferred(usable)
    if prefix is None and _STUDENT not in chosen[0].prefix.lower():
        _require_nothing_around(chosen[0], usable, shapes)
    if dtypes is not None:
        reasons.require_floats(dtypes, chosen[0].prefix)
    return _match(chosen, shapes)


def tensors_for(match: Match, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under the network's names, those that are no part of it left out.

    Args:
        match: What :func:`identify` said of them.
        tensors: As in the file.
    """
    own = {given: name for name, given in match.renamed.items()}
    foreign = set(match.foreign)
    below = {name.removeprefix(match.prefix): tensor for name, tensor in tensors.items() if name not in foreign}
    return {own.get(name, name): tensor for name, tensor in below.items()}


# which fit ------------------------------------------------------------------------------------------------------------


def _spaces(shapes: Mapping[str, Shape], prefix: str | None) -> dict[str, dict[str, Shape]]:
    """Prefix -> the names below it, without it, with their shapes; the largest first."""
    if prefix is not None:
        prefix = f"{prefix.removesuffix('.')}." if prefix else ""
        below = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
        if not below:
            raise reasons.no_such_prefix(prefix, shapes)
        return {prefix: below}
    spaces: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        parts = name.split(".")
        for depth in range(min(len(parts), _DEPTH)):
            rest = ".".join(parts[depth:])
            spaces.setdefault(name[: len(name) - len(rest)], {})[rest] = shape
    largest = sorted(spaces, key=lambda start: -len(spaces[start]))[:_PREFIXES]
    return {start: spaces[start] for start in largest}


def _compared(
    index: Index, entries: Sequence[IndexedNetwork] | None, spaces: Mapping[str, Mapping[str, Shape]]
) -> tuple[list[Fit], list[Misfit]]:
    """What fits, and the nearest of what does not."""
    starts = list(spaces)
    hits = _hits(index, spaces)
    share = hits / np.maximum(index.needed, 1)
    if entries is not None:
        left = np.setdiff1d(np.arange(len(index.entries)), [entry.number for entry in entries])
        share[:, left], hits[:, left] = -1, -1
    fits: list[Fit] = []
    misfits: list[Misfit] = []
    for group, number in np.argwhere(hits >= index.needed).tolist():
        _add(index, index.entries[number], starts[group], spaces[starts[group]], fits, misfits)
    if not fits and not any(misfit.head for misfit in misfits):
        group, number = np.unravel_index(share.argmax(), share.shape)
        if share[group, number] > 0 or entries is not None:
            _add(index, index.entries[number], starts[group], spaces[starts[group]], fits, misfits)
    return fits, misfits


def _hits(index: Index, spaces: Mapping[str, Mapping[str, Shape]]) -> np.ndarray:
    sizes = [len(space) for space in spaces.values()]
    hashes = [tensor_hash(name, shape) for space in spaces.values() for name, shape in space.items()]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return index.hits(np.array(hashes, np.uint32), groups, len(sizes))


def _add(
    index: Index,
    entry: IndexedNetwork,
    prefix: str,
    shapes: Mapping[str, Shape],
    fits: list[Fit],
    misfits: list[Misfit],
) -> None:
    tensors = index.tensors(entry)
    result: Fit | Misfit | None = compare(entry, tensors, shapes, prefix)
    if isinstance(result, Misfit) and result.head:
        result = with_other_head(result, tensors, shapes) or result
    if isinstance(result, Fit):
        fits.append(result)
    else:
        misfits.append(result)


def _named(index: Index, network: str) -> list[IndexedNetwork]:
    """The entries of a name, with or without its library, and with or without the name of timm's weights."""
    plain = network.removesuffix(RENORMALISED)
    library, _, name = plain.rpartition("/")
    name = name.partition(".")[0].lower()
    names = [f"{library}/{name}"] if library else [f"torchvision/{name}", f"timm/{name}", name]
    entries = [entry for full in names for entry in index.by_name.get(index.aliases.get(full, full), ())]
    if not entries:
        raise reasons.unknown(index, network)
    return entries


def _fitting(index: Index, spaces: Mapping[str, Mapping[str, Shape]]) -> str | None:
    """The network that fits, whatever the name that was given."""
    usable = [fit for fit in _compared(index, None, spaces)[0] if not fit.strange]
    return _preferred(usable)[0].entry.network if usable else None


# which of them is meant -----------------------------------------------------------------------------------------------


def _preferred(fits: Sequence[Fit]) -> list[Fit]:
    """The fits of one prefix with the most tensors, the likeliest first."""
    outer = [fit for fit in fits if not any(_contains(other, fit) for other in fits)]
    by_prefix: dict[str, list[Fit]] = {}
    for fit in outer:
        by_prefix.setdefault(fit.prefix, []).append(fit)
    best = {prefix: _largest(group) for prefix, group in by_prefix.items()}
    return best[_prefix(best)]


def _contains(outer: Fit, inner: Fit) -> bool:
    """Whether a fit is a part of another, such as the backbone of a hybrid."""
    return inner.prefix != outer.prefix and inner.prefix.startswith(outer.prefix) and inner.matched < outer.matched


def _largest(fits: Iterable[Fit]) -> list[Fit]:
    ranked = sorted(fits, key=_rank)
    best = max((not fit.renamed, fit.matched) for fit in ranked)
    return [fit for fit in ranked if (not fit.renamed, fit.matched) == best]


def _rank(fit: Fit) -> tuple[int, bool, int, str]:
    entry = fit.entry
    library = 1 if entry.network.startswith("timm/") else 0
    if "transform_input" in entry.settings and not any(name.lower().startswith("aux") for name in fit.extra):
        library = 2  # timm's Inception is torchvision's without the heads that only training needs
    return library, not entry.published, len(entry.network), entry.network


def _prefix(best: Mapping[str, Sequence[Fit]]) -> str:
    """Of several networks in a file, the student; else an average of the weights before the weights; else none."""
    for word in (_STUDENT, "ema"):
        worded = [prefix for prefix in best if word in prefix.lower()]
        same = word == _STUDENT or len({fits[0].entry.network for fits in best.values()}) == 1
        if len(worded) == 1 and same:
            return worded[0]
    rest = [prefix for prefix in best if "teacher" not in prefix.lower()]
    if len(best) == 1 or len(rest) == 1:
        return next(iter(rest or best))
    raise reasons.several({prefix: fits[0].entry.network for prefix, fits in best.items()})


def _require_nothing_around(fit: Fit, fits: Iterable[Fit], shapes: Mapping[str, Shape]) -> None:
    """Refuse a network that may be only a part of a larger one, whose other layers would be left out silently.

    Raises:
        ModelError: There are tensors outside of the prefix that are neither another network's nor of training alone.
    """
    starts = tuple(other.prefix for other in fits)
    around = [name for name in shapes if not name.startswith(starts) and not is_beside(name)]
    if fit.prefix.endswith(_NAMED):
        outer = fit.prefix.removesuffix(_NAMED)
        around = [name for name in around if name not in (f"{outer}scale", f"{outer}shift")]
    if around:
        raise reasons.part_of_more(fit, around)


# what is said of it ---------------------------------------------------------------------------------------------------


def _match(fits: Sequence[Fit], shapes: Mapping[str, Shape]) -> Match:
    fit = fits[0]
    extra = {f"{fit.prefix}{name}" for name in fit.extra}
    inner = {name for name in shapes if name.startswith(fit.prefix)} - extra
    network, prefix, missing = fit.entry.network, fit.prefix, fit.missing
    outer = prefix.removesuffix(_NAMED)
    if prefix.endswith(_NAMED) and {f"{outer}scale", f"{outer}shift"} <= shapes.keys():
        network, prefix = network + RENORMALISED, outer
        missing = tuple(_NAMED + name for name in missing)
        inner |= {f"{outer}scale", f"{outer}shift"}
    return Match(
        network=network,
        settings=_settings(fit),
        classes=fit.classes or 0,
        channels=fit.channels or 3,
        size=None if fit.size is None else (fit.size, fit.size),
        prefix=prefix,
        foreign=tuple(name for name in shapes if name not in inner),
        missing=missing,
        rivals=tuple(dict.fromkeys(other.entry.network for other in fits[1:])),
        renamed=fit.renamed,
        notes=reasons.notes(fit),
    )


def _settings(fit: Fit) -> dict[str, Any]:
    entry = fit.entry
    settings = dict(entry.settings)
    if entry.network.startswith("torchvision/") and fit.channels not in (None, 3):
        settings |= {"in_chans": fit.channels}
        settings |= {"transform_input": False} if "transform_input" in settings else {}
    if entry.size_setting and fit.size not in (None, entry.size):
        settings[entry.size_setting] = fit.size
    return settings
