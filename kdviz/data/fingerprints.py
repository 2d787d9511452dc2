"""Fingerprints of pictures, by which a data set that is fetched anew is recognised without keeping its pictures.

A hash of 128 bits is the signs of random projections (Charikar, 2002, "Similarity estimation techniques from rounding
algorithms") of the picture in 8 x 8 cells: copies of a picture differ in few bits, whatever its contrast. From it no
picture can be made again that would be worth the name. A checksum tells whether two pictures are equal pixel for pixel.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

BITS = 128
TOLERANCE = 20
"""Bits in which copies may differ.

Measured on 3,000 CIFAR-10 pictures in windows of 28 x 28 pixels: compressed anew as JPEG of quality 75 they differ in
at most 14 bits (of quality 30: 19), on average in 2 to 3, and from the most similar picture of their class in 25, the
median.
"""

_CELLS = 8  # on a side
_AT_ONCE = 1024  # images


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What is known of the pictures of a split, without the pictures.

    Attributes:
        labels: Ground truth, int64 (N,); -1 where it is not known.
        hashes: uint8 (N, 16).
        checksums: CRC-32 of the pixels, uint32 (N,).
    """

    labels: np.ndarray
    hashes: np.ndarray
    checksums: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class PictureMatch:
    """Which of the pictures that were found is which of the known ones.

    Attributes:
        numbers: For each known picture the number of the one that was found, int64 (N,); -1: none.
        exact: Whether they are equal pixel for pixel, bool (N,).
    """

    numbers: np.ndarray
    exact: np.ndarray

    @property
    def count(self) -> int:
        """Number of known pictures that were found."""
        return int((self.numbers >= 0).sum())


def fingerprints_of(images: Tensor, labels: Tensor) -> Fingerprints:
    """The fingerprints of images, uint8 (N, C, H, W), with labels, int64 (N,)."""
    parts = images.split(_AT_ONCE)
    hashes = [_hashes(part) for part in parts] or [np.empty((0, BITS // 8), np.uint8)]
    checksums = [zlib.crc32(np.ascontiguousarray(image.numpy()).data) for image in images]
    return Fingerprints(labels.numpy().astype(np.int64), np.concatenate(hashes), np.array(checksums, np.uint32))


def _hashes(images: Tensor) -> np.ndarray:
    cells = adaptive_avg_pool2d(images.float(), _CELLS).flatten(1)
    cells = (cells - cells.mean(1, keepdim=True)).numpy()
    return np.packbits(cells @ _projections(cells.shape[1]).T > 0, axis=1)


def _projections(values: int) -> np.ndarray:
    """BITS random vectors of -1 and 1, float32 (BITS, values): the same in every version of every library."""
    signs = np.frombuffer(hashlib.shake_256(b"kdviz").digest(BITS * values // 8), np.uint8)
    return np.unpackbits(signs).reshape(BITS, values).astype(np.float32) * 2 - 1


def match_pictures(known: Fingerprints, others: Fingerprints) -> PictureMatch:
    """Find the known pictures among others, in whatever order those are.

    Within each class every known picture gets another one, so that the sum of their distances is least; a pair that
    differs in more than ``TOLERANCE`` bits counts as no match.
    """
    numbers = np.full(len(known), -1, np.int64)
    for label in np.unique(known.labels):
        rows, columns = np.flatnonzero(known.labels == label), np.flatnonzero(others.labels == label)
        distance = _distances(known.hashes[rows], others.hashes[columns])
        differ = known.checksums[rows, None] != others.checksums[columns]
        row, column = linear_sum_assignment(distance + 0.5 * differ)  # of equal hashes, equal pixels go together
        fits = distance[row, column] <= TOLERANCE
        numbers[rows[row[fits]]] = columns[column[fits]]
    is_found = numbers >= 0
    exact = np.zeros(len(known), bool)
    exact[is_found] = known.checksums[is_found] == others.checksums[numbers[is_found]]
    return PictureMatch(numbers, exact)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers of different bits, float32 (N, M), of hashes (N, 16) and (M, 16)."""
    signs = [np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1 for hashes in (first, second)]
    return (BITS - signs[0] @ signs[1].T) / 2
