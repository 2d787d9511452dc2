"""Identification of a network by the names and shapes of its tensors, or one sentence on why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import ModelError
from kdviz.models.identify import reasons
from kdviz.models.identify.fits import Fit, Misfit, Shape, compare, is_training_only, with_other_head
from kdviz.models.identify.index import Index, IndexedNetwork, tensor_hash, the_index
from kdviz.models.networks import RENORMALISED

_DEPTH = 6  # parts of a prefix at most, such as lightning.module.model._orig_mod.backbone.
_PREFIXES = 2048  # prefixes that are tried, those with the most tensors first: a forged file may have any number
_STUDENT = "student"
_INNER = "network."  # prefix of the inner network in a renormalised one


@dataclass(frozen=True)
class Match:
    """The network that a file's tensors belong to.

    Attributes:
        network: Name for :func:`kdviz.models.networks.build_network`.
        settings: Its ``settings`` there.
        classes: Number of logits.
        channels: Number of input channels, 1 or 3.
        size: Height and width of the input if shapes depend on it (assumed to be square), else None.
        prefix: Prefix that is removed from the file's names.
        foreign: Names in the file that are no part of the network.
        missing: The network's names that the file lacks: only counters, on which nothing depends.
        rivals: Other networks that these tensors fit as well, the likeliest first.
        renamed: Names of the network's head -> the file's names without the prefix, where they differ.
        notes: Assumptions that were made, one sentence each.
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
    """Identify the network that tensors belong to, by their names and shapes.

    All of a network's tensors must be there, except counters of batch norms, and nothing else that a network computes
    with, unless the prefix is given; the head may have any number of classes. Of several networks in a file, a student
    is preferred, and averaged weights (``ema``) over the others. Among networks that fit equally well, all of which are
    returned, torchvision's come before timm's, those with published weights before those without, and short names
    before long ones.

    Args:
        shapes: Name -> shape, as in the file.
        network: Try this network only, with its library (``timm/resnet50``) or without (``resnet50``).
        prefix: Use only the names below this, such as ``student`` or ``student.``; default: any prefix that fits.
        dtypes: Name -> dtype, to refuse quantised weights; default: not checked.
        index: Index of networks; default: the one that comes with kdviz.

    Raises:
        ModelError: No network fits, or several parts of the file are networks and none is preferred.
    """
    if not shapes:
        raise ModelError("The file holds no tensors.")
    index = index or the_index()
    entries = None if network is None else _entries_named(index, network)
    shapes_by_prefix = _shapes_by_prefix(shapes, prefix)
    fits, misfits = _compare_all(index, entries, shapes_by_prefix)
    usable = [fit for fit in fits if not (fit.unexplained if prefix is None else fit.unexplained_inside)]
    if not usable:
        raise reasons.no_fit(fits, misfits, network, lambda: _find_fitting(index, shapes_by_prefix))
    preferred = _preferred(usable)
    if prefix is None and _STUDENT not in preferred[0].prefix.lower():
        _require_nothing_else(preferred[0], usable, shapes)
    if dtypes is not None:
        reasons.require_floats(dtypes, preferred[0].prefix)
    return _match(preferred, shapes)


def tensors_for(match: Match, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under the network's names, without those that are no part of it.

    Args:
        match: Result of :func:`identify` for them.
        tensors: The tensors under their names in the file.
    """
    network_name = {file_name: name for name, file_name in match.renamed.items()}
    foreign = set(match.foreign)
    inner = {name.removeprefix(match.prefix): tensor for name, tensor in tensors.items() if name not in foreign}
    return {network_name.get(name, name): tensor for name, tensor in inner.items()}


# which fit ------------------------------------------------------------------------------------------------------------


def _shapes_by_prefix(shapes: Mapping[str, Shape], prefix: str | None) -> dict[str, dict[str, Shape]]:
    """Prefix -> shapes of the tensors below it, by their names without it; prefixes with the most tensors first."""
    if prefix is not None:
        prefix = f"{prefix.removesuffix('.')}." if prefix else ""
        inner = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
        if not inner:
            raise reasons.no_such_prefix(prefix, shapes)
        return {prefix: inner}
    shapes_by_prefix: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        parts = name.split(".")
        for depth in range(min(len(parts), _DEPTH)):
            inner_name = ".".join(parts[depth:])
            shapes_by_prefix.setdefault(name[: len(name) - len(inner_name)], {})[inner_name] = shape
    largest = sorted(shapes_by_prefix.items(), key=lambda item: -len(item[1]))[:_PREFIXES]
    return dict(largest)


def _compare_all(
    index: Index, entries: Sequence[IndexedNetwork] | None, shapes_by_prefix: Mapping[str, Mapping[str, Shape]]
) -> tuple[list[Fit], list[Misfit]]:
    """The fits, and the nearest misfits."""
    prefixes = list(shapes_by_prefix)
    hits = _hits(index, shapes_by_prefix)
    share = hits / np.maximum(index.needed, 1)
    if entries is not None:
        excluded = np.setdiff1d(np.arange(len(index.entries)), [entry.number for entry in entries])
        share[:, excluded], hits[:, excluded] = -1, -1
    fits: list[Fit] = []
    misfits: list[Misfit] = []
    for group, number in np.argwhere(hits >= index.needed).tolist():
        _add(index, index.entries[number], prefixes[group], shapes_by_prefix[prefixes[group]], fits, misfits)
    if not fits and not any(misfit.head for misfit in misfits):
        group, number = np.unravel_index(share.argmax(), share.shape)
        if share[group, number] > 0 or entries is not None:
            _add(index, index.entries[number], prefixes[group], shapes_by_prefix[prefixes[group]], fits, misfits)
    return fits, misfits


def _hits(index: Index, shapes_by_prefix: Mapping[str, Mapping[str, Shape]]) -> np.ndarray:
    sizes = [len(shapes) for shapes in shapes_by_prefix.values()]
    hashes = [tensor_hash(name, shape) for shapes in shapes_by_prefix.values() for name, shape in shapes.items()]
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


def _entries_named(index: Index, network: str) -> list[IndexedNetwork]:
    """The entries of a network's name, with or without its library, and with or without timm's tag of weights."""
    base_name = network.removesuffix(RENORMALISED)
    library, _, name = base_name.rpartition("/")
    name = name.partition(".")[0].lower()
    names = [f"{library}/{name}"] if library else [f"torchvision/{name}", f"timm/{name}", name]
    entries = [entry for full_name in names for entry in index.by_name.get(index.aliases.get(full_name, full_name), ())]
    if not entries:
        raise reasons.unknown(index, network)
    return entries


def _find_fitting(index: Index, shapes_by_prefix: Mapping[str, Mapping[str, Shape]]) -> str | None:
    """The network that fits, whatever name was given."""
    usable = [fit for fit in _compare_all(index, None, shapes_by_prefix)[0] if not fit.unexplained]
    return _preferred(usable)[0].entry.network if usable else None


# choosing among fits --------------------------------------------------------------------------------------------------


def _preferred(fits: Sequence[Fit]) -> list[Fit]:
    """The fits of one prefix with the most tensors, the likeliest first."""
    outermost = [fit for fit in fits if not any(_contains(other, fit) for other in fits)]
    by_prefix: dict[str, list[Fit]] = {}
    for fit in outermost:
        by_prefix.setdefault(fit.prefix, []).append(fit)
    best = {prefix: _largest(group) for prefix, group in by_prefix.items()}
    return best[_preferred_prefix(best)]


def _contains(outer: Fit, inner: Fit) -> bool:
    """Whether a fit is part of another, such as the backbone of a hybrid."""
    return inner.prefix != outer.prefix and inner.prefix.startswith(outer.prefix) and inner.matched < outer.matched


def _largest(fits: Iterable[Fit]) -> list[Fit]:
    ranked = sorted(fits, key=_rank)
    best = max((not fit.renamed, fit.matched) for fit in ranked)
    return [fit for fit in ranked if (not fit.renamed, fit.matched) == best]


def _rank(fit: Fit) -> tuple[int, bool, int, str]:
    entry = fit.entry
    library = 1 if entry.network.startswith("timm/") else 0
    if "transform_input" in entry.settings and not any(name.lower().startswith("aux") for name in fit.extra):
        library = 2  # timm's Inception is torchvision's without the auxiliary heads
    return library, not entry.published, len(entry.network), entry.network


def _preferred_prefix(best: Mapping[str, Sequence[Fit]]) -> str:
    """The prefix of the student; else that of averaged weights; else the only one that is not the teacher's."""
    for word in (_STUDENT, "ema"):
        matching = [prefix for prefix in best if word in prefix.lower()]
        is_unambiguous = word == _STUDENT or len({fits[0].entry.network for fits in best.values()}) == 1
        if len(matching) == 1 and is_unambiguous:
            return matching[0]
    without_teacher = [prefix for prefix in best if "teacher" not in prefix.lower()]
    if len(best) == 1 or len(without_teacher) == 1:
        return next(iter(without_teacher or best))
    raise reasons.several({prefix: fits[0].entry.network for prefix, fits in best.items()})


def _require_nothing_else(fit: Fit, fits: Iterable[Fit], shapes: Mapping[str, Shape]) -> None:
    """Refuse a network that may be only a part of a larger one, whose other layers would be left out silently.

    Raises:
        ModelError: There are tensors outside the prefix that belong neither to another network nor to training only.
    """
    prefixes = tuple(other.prefix for other in fits)
    unexplained = [name for name in shapes if not name.startswith(prefixes) and not is_training_only(name)]
    if fit.prefix.endswith(_INNER):
        outer_prefix = fit.prefix.removesuffix(_INNER)
        unexplained = [name for name in unexplained if name not in (f"{outer_prefix}scale", f"{outer_prefix}shift")]
    if unexplained:
        raise reasons.part_of_more(fit, unexplained)


# the result -----------------------------------------------------------------------------------------------------------


def _match(fits: Sequence[Fit], shapes: Mapping[str, Shape]) -> Match:
    fit = fits[0]
    extra = {f"{fit.prefix}{name}" for name in fit.extra}
    used = {name for name in shapes if name.startswith(fit.prefix)} - extra
    network, prefix, missing = fit.entry.network, fit.prefix, fit.missing
    outer_prefix = prefix.removesuffix(_INNER)
    if prefix.endswith(_INNER) and {f"{outer_prefix}scale", f"{outer_prefix}shift"} <= shapes.keys():
        network, prefix = network + RENORMALISED, outer_prefix
        missing = tuple(_INNER + name for name in missing)
        used |= {f"{outer_prefix}scale", f"{outer_prefix}shift"}
    return Match(
        network=network,
        settings=_settings(fit),
        classes=fit.classes or 0,
        channels=fit.channels or 3,
        size=None if fit.size is None else (fit.size, fit.size),
        prefix=prefix,
        foreign=tuple(name for name in shapes if name not in used),
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
