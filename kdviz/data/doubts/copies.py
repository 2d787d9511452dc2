"""The same image in two splits, or with two labels: found by its pixels, whatever its file is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, combinations
from typing import Any, Protocol

from torch import Tensor

from kdviz.data.doubts.doubt import Doubt

_AT_ONCE = 1024  # images; a memory-mapped tensor is never read whole
_EXAMPLES = 3


class SplitLike(Protocol):
    """What is asked of a split; see :class:`kdviz.data.LabelledImages`."""

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def names(self) -> tuple[str, ...] | None: ...


def digests(images: Tensor) -> list[bytes]:
    """A hash of each image's pixels, as the models see them; empty for one of a single colour.

    Blank images are equal without being copies of one another.

    Args:
        images: ``uint8`` (N, C, H, W).
    """
    found = []
    for part in images.split(_AT_ONCE):
        flat = part.flatten(2)
        blank = (flat.amin(2) == flat.amax(2)).all(1).tolist()
        rows = flat.flatten(1).contiguous().numpy()
        found += [b"" if same else blake2b(row, digest_size=16).digest() for row, same in zip(rows, blank, strict=True)]
    return found


def copies(splits: Mapping[str, SplitLike]) -> list[Doubt]:
    """A doubt for each two splits that share images, and one for equal images with different labels.

    Args:
        splits: Name -> samples; the first are those that the later ones should be free of: ``train``, ``validation``,
            ``test``.
    """
    hashes = {name: digests(samples.images) for name, samples in splits.items()}
    found = [_overlap(splits, hashes, first, second) for first, second in combinations(splits, 2)]
    return [doubt for doubt in (*found, _contradiction(splits, hashes)) if doubt is not None]


def _overlap(
    splits: Mapping[str, SplitLike], hashes: Mapping[str, Sequence[bytes]], first: str, second: str
) -> Doubt | None:
    places = {digest: number for number, digest in reversed([*enumerate(hashes[first])]) if digest}
    twice = [(number, places[digest]) for number, digest in enumerate(hashes[second]) if digest in places]
    if not twice:
        return None
    examples = [[_name(splits, second, mine), _name(splits, first, theirs)] for mine, theirs in twice[:_EXAMPLES]]
    figures = {"other": first, "count": len(twice), "samples": len(hashes[second]), "examples": examples}
    return Doubt("overlap", second, figures=figures)


def _contradiction(splits: Mapping[str, SplitLike], hashes: Mapping[str, Sequence[bytes]]) -> Doubt | None:
    """Equal images with different labels; each image counts once."""
    counts = Counter(chain.from_iterable(hashes.values()))
    first: dict[bytes, tuple[str, int, int]] = {}
    wrong: dict[bytes, list[Any]] = {}
    for split, number, digest, label in _several(splits, hashes, counts):
        there = first.setdefault(digest, (split, number, label))
        if there[2] != label and digest not in wrong:
            names = splits[split].classes
            wrong[digest] = [_name(splits, *there[:2]), names[there[2]], _name(splits, split, number), names[label]]
    if not wrong:
        return None
    return Doubt("labels", figures={"count": len(wrong), "example": next(iter(wrong.values()))})


def _several(
    splits: Mapping[str, SplitLike], hashes: Mapping[str, Sequence[bytes]], counts: Mapping[bytes, int]
) -> Iterable[tuple[str, int, bytes, int]]:
    """(Split, number, hash, label) of the images that are there several times."""
    for split, samples in splits.items():
        for number, (digest, label) in enumerate(zip(hashes[split], samples.labels.tolist(), strict=True)):
            if digest and counts[digest] > 1:
                yield split, number, digest, label


def _name(splits: Mapping[str, SplitLike], split: str, number: int) -> str:
    names = splits[split].names
    return names[number] if names is not None else f"{split}/{number}"
