"""Samples that belong together (tiles of one slide, pictures of one patient) and must not be in two splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from kdviz.core.errors import DatasetError
from kdviz.data.labels.csv_files import read_rows

_TRIES = 20  # random orders
_STEPS = 200_000  # of all tries together, so that many groups take seconds


def read_groups(path: Path) -> dict[str, str]:
    """File -> group, of a CSV file with the columns ``file`` (path in the data folder) and ``group``.

    Raises:
        DatasetError: It cannot be read, has an empty field, or puts a file into two groups.
    """
    groups: dict[str, str] = {}
    for file, group in read_rows(path, ("file", "group")):
        if not file or not group:
            raise DatasetError(f"'{path}' has a row without file or group; fill it in, or remove it.")
        name = PurePosixPath(file.replace("\\", "/")).as_posix()
        if groups.setdefault(name, group) != group:
            raise DatasetError(f"'{path}' puts the file '{name}' into two groups; leave one.")
    return groups


def require_groups(groups: Mapping[str, str], names: Sequence[str]) -> None:
    """Refuse groups that leave a file out.

    Raises:
        DatasetError: They do; the first file is named.
    """
    without = [name for name in names if name not in groups]
    if without:
        raise DatasetError(
            f"The groups lack {len(without)} of {len(names)} files, the first is '{without[0]}'; "
            "list each file by its path in the data folder, or remove groups.csv."
        )


def shared_groups(groups: Mapping[str, str], splits: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence about groups that are in more than one split, or none."""
    places: dict[str, set[str]] = {}
    for split, names in splits.items():
        for name in names:
            places.setdefault(groups[name], set()).add(split)
    shared = {group: where for group, where in places.items() if len(where) > 1}
    if not shared:
        return []
    first = min(shared)
    return [
        f"{len(shared)} of {len(places)} groups are in more than one split (the first is '{first}', in "
        f"{' and '.join(sorted(shared[first]))}), so that figures of held-out samples are too good."
    ]


def split_by_group(groups: Sequence[str], labels: np.ndarray, shares: Sequence[float], seed: int) -> np.ndarray:
    """The number of a split for each sample, int64 (N,): no group is in two, each has about its share of every class.

    Groups are dealt out in random orders, each to the split that lacks most of its classes; of these the result that
    gives every split some of each class, and then the one that is closest to the shares, is taken.

    Args:
        groups: Of each sample.
        labels: int64 (N,).
        shares: Of each split; their sum is 1.
        seed: Of the orders.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    classes = int(labels.max()) + 1
    pairs, counts = np.unique(member * classes + labels, return_counts=True)
    label = pairs % classes
    # In shares of a class, so that a rare class counts as much as a common one.
    parts = counts / np.bincount(labels, minlength=classes)[label]
    bounds = np.searchsorted(pairs // classes, np.arange(len(names) + 1))
    of_group = [(label[start:stop], parts[start:stop]) for start, stop in pairwise(bounds)]
    random = np.random.default_rng(seed)
    tries = max(2, min(_TRIES, _STEPS // len(names)))
    # By absolute need large groups find room; by relative need small splits get their part of a rare class.
    dealt = [_deal(of_group, np.asarray(shares), random.permutation(len(names)), number % 2) for number in range(tries)]
    return min(dealt, key=lambda result: result[1])[0][member]


def _deal(
    groups: Sequence[tuple[np.ndarray, np.ndarray]], shares: np.ndarray, order: np.ndarray, power: int
) -> tuple[np.ndarray, float]:
    """Split of each group, int64 (groups,), and how far the splits are from their shares.

    Args:
        groups: The labels in each, and which parts of these classes they are.
        shares: Of each split.
        order: In which the groups are dealt out.
        power: 0: to the split that lacks most; 1: to the one that lacks most of its share.
    """
    present = np.unique(np.concatenate([labels for labels, _ in groups]))
    given = np.zeros((len(shares), present[-1] + 1))  # (splits, classes)
    weight = shares**-power
    places = np.zeros(len(groups), np.int64)
    for group in order:
        labels, parts = groups[group]
        place = (weight * ((shares[:, None] - given[:, labels]) @ parts)).argmax()
        given[place, labels] += parts
        places[group] = place
    given = given[:, present]
    return places, float(((given - shares[:, None]) ** 2).sum() + (given == 0).sum())
