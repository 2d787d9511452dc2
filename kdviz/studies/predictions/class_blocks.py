"""Groups of classes that are confused with each other: the blocks of a confusion matrix that is too large to show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import linkage

LARGEST = 8
"""The most classes of a block, which is shown as a table."""


@dataclass(frozen=True)
class Block:
    """Classes that are confused with each other.

    Attributes:
        classes: Their indices; those that are confused most are beside each other.
        count: Confusions among them, or changes of these, without their signs.
    """

    classes: tuple[int, ...]
    count: int


def confused_blocks(matrix: np.ndarray, most: int, largest: int = LARGEST) -> list[Block]:
    """The blocks with the most confusions, none of which share a class.

    Classes are clustered by average linkage (Sokal & Michener, 1958), where two are the nearer the more often one is
    taken for the other; each branch of the tree with at most ``largest`` classes, some of them confused, is a block.

    Args:
        matrix: Int (classes, classes), counts of true x predicted class, or changes of these.
        most: Number of blocks.
        largest: The most classes of a block.
    """
    confusions = np.abs(np.where(np.eye(len(matrix), dtype=bool), 0, matrix))
    both = confusions + confusions.T
    active = np.flatnonzero(both.any(1))
    if not len(active):
        return []
    among = both[np.ix_(active, active)]
    branches = _branches(1 - among / among.max(), largest)
    blocks = [_block(confusions, active[branch]) for branch in branches]
    return sorted(blocks, key=lambda block: -block.count)[:most]


def _block(confusions: np.ndarray, classes: np.ndarray) -> Block:
    return Block(tuple(classes.tolist()), int(confusions[np.ix_(classes, classes)].sum()))


def _branches(distances: np.ndarray, largest: int) -> list[list[int]]:
    """The largest branches of the tree of average linkage with at most so many leaves and a height below 1.

    Args:
        distances: Float (n, n), symmetric, from 0 to 1; n is 2 or more, as one class cannot be confused alone.
        largest: The most leaves.
    """
    count = len(distances)
    merges = linkage(distances[np.triu_indices(count, 1)], "average")  # (n - 1, 4): two branches, height, leaves
    waiting, branches = [2 * count - 2], []
    while waiting:
        branch = waiting.pop()
        if branch < count:
            continue
        first, second, height, leaves = merges[branch - count]
        if leaves <= largest and height < 1:
            branches.append(_leaves(merges, branch))
        else:
            waiting += [int(first), int(second)]
    return branches


def _leaves(merges: np.ndarray, branch: int) -> list[int]:
    """The leaves below a branch, from left to right."""
    count = len(merges) + 1
    if branch < count:
        return [branch]
    first, second = merges[branch - count, :2].astype(int).tolist()
    return _leaves(merges, first) + _leaves(merges, second)
