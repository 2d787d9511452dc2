"""Images that are in two splits, or have two labels: compared by pixels, whatever their files are called."""

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
    """The attributes of a split that are needed here; see :class:`kdviz.data.LabelledImages`."""

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def names(self) -> tuple[str, ...] | None: ...


def digests(images: Tensor) -> list[bytes]:
    """Hash each image's pixels as the models see them; the hash of an image of a single colour is empty.

    Blank images are equal without being copies of one another.

    Args:
        images: ``uint8`` (N, C, H, W).
    """
    hashes = []
    for part in images.split(_AT_ONCE):
        flat = part.flatten(2)
        blank = (flat.amin(2) == flat.amax(2)).all(1).tolist()
        rows = flat.flatten(1).contiguous().numpy()
        hashes += [
            b"" if is_blank else blake2b(row, digest_size=16).digest()
            for row, is_blank in zip(rows, blank, strict=True)
        ]
    return hashes


def copies(splits: Mapping[str, SplitLike]) -> list[Doubt]:
    """A doubt for each pair of splits that share images, and one for equal images with different labels.

    Args:
        splits: Name -> samples, in the order ``train``, ``validation``, ``test``: images of an earlier split should not
            be in a later one.
    """
    hashes = {name: digests(samples.images) for name, samples in splits.items()}
    overlaps = [_overlap(splits, hashes, first, second) for first, second in combinations(splits, 2)]
    return [doubt for doubt in (*overlaps, _contradiction(splits, hashes)) if doubt is not None]


def _overlap(
    splits: Mapping[str, SplitLike], hashes: Mapping[str, Sequence[bytes]], first: str, second: str
) -> Doubt | None:
    first_numbers = {digest: number for number, digest in reversed([*enumerate(hashes[first])]) if digest}
    shared = [
        (number, first_numbers[digest]) for number, digest in enumerate(hashes[second]) if digest in first_numbers
    ]
    if not shared:
        return None
    examples = [
        [_name(splits, second, second_number), _name(splits, first, first_number)]
        for second_number, first_number in shared[:_EXAMPLES]
    ]
    figures = {"other": first, "count": len(shared), "samples": len(hashes[second]), "examples": examples}
    return Doubt("overlap", second, figures=figures)


def _contradiction(splits: Mapping[str, SplitLike], hashes: Mapping[str, Sequence[bytes]]) -> Doubt | None:
    """Equal images with different labels; each image counts once."""
    counts = Counter(chain.from_iterable(hashes.values()))
    first: dict[bytes, tuple[str, int, int]] = {}
    contradictions: dict[bytes, list[Any]] = {}
    for split, number, digest, label in _repeated_images(splits, hashes, counts):
        earlier = first.setdefault(digest, (split, number, label))
        if earlier[2] != label and digest not in contradictions:
            names = splits[split].classes
            contradictions[digest] = [
                _name(splits, *earlier[:2]),
                names[earlier[2]],
                _name(splits, split, number),
                names[label],
            ]
    if not contradictions:
        return None
    return Doubt("labels", figures={"count": len(contradictions), "example": next(iter(contradictions.values()))})


def _repeated_images(
    splits: Mapping[str, SplitLike], hashes: Mapping[str, Sequence[bytes]], counts: Mapping[bytes, int]
) -> Iterable[tuple[str, int, bytes, int]]:
    """(Split, number, hash, label) of the images that occur several times."""
    for split, samples in splits.items():
        for number, (digest, label) in enumerate(zip(hashes[split], samples.labels.tolist(), strict=True)):
            if digest and counts[digest] > 1:
                yield split, number, digest, label


def _name(splits: Mapping[str, SplitLike], split: str, number: int) -> str:
    names = splits[split].names
    return names[number] if names is not None else f"{split}/{number}"
