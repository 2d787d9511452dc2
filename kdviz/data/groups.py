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
    """Read file -> group from a CSV file with the columns ``file`` (path in the data folder) and ``group``.

    Raises:
        DatasetError: It cannot be read, has an empty field, or puts a file into two groups.
    """
    groups: dict[str, str] = {}
    for file, group in read_rows(path, ("file", "group")):
        if not file or not group:
            raise DatasetError("'{path}' has a row without file or group; fill it in, or remove it.", path=path)
        name = PurePosixPath(file.replace("\\", "/")).as_posix()
        if groups.setdefault(name, group) != group:
            raise DatasetError("'{path}' puts the file '{name}' into two groups; leave one.", path=path, name=name)
    return groups


def require_groups(groups: Mapping[str, str], names: Sequence[str]) -> None:
    """Refuse groups that leave a file out.

    Raises:
        DatasetError: They do; the first file is named.
    """
    without = [name for name in names if name not in groups]
    if without:
        raise DatasetError(
            "The groups lack {n_without} of {n_names} files, the first is '{without}'; list each file "
            "by its path in the data folder, or remove groups.csv.",
            n_without=len(without),
            n_names=len(names),
            without=without[0],
        )


def shared_groups(groups: Mapping[str, str], splits: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence about groups that are in more than one split, or none."""
    splits_of_group: dict[str, set[str]] = {}
    for split, names in splits.items():
        for name in names:
            splits_of_group.setdefault(groups[name], set()).add(split)
    shared = {group: group_splits for group, group_splits in splits_of_group.items() if len(group_splits) > 1}
    if not shared:
        return []
    first = min(shared)
    return [
        f"{len(shared)} of {len(splits_of_group)} groups are in more than one split (the first is '{first}', in "
        f"{' and '.join(sorted(shared[first]))}), so that figures of held-out samples are too good."
    ]


def split_by_group(groups: Sequence[str], labels: np.ndarray, shares: Sequence[float], seed: int) -> np.ndarray:
    """Assign each sample to a split so that no group is in two and each split has about its share of every class.

    Groups are assigned in random orders, each to the split that lacks most of its classes. Of these results the one
    that gives every split some of each class, and then the one closest to the shares, is returned.

    Args:
        groups: Group of each sample.
        labels: int64 (N,).
        shares: Share of each split; they sum to 1.
        seed: Seed of the random orders.

    Returns:
        int64 (N,), the number of a split for each sample.
    """
    names, group_index = np.unique(np.asarray(groups), return_inverse=True)
    classes = int(labels.max()) + 1
    pairs, counts = np.unique(group_index * classes + labels, return_counts=True)
    label = pairs % classes
    # Counted in shares of a class, so that a rare class weighs as much as a common one.
    class_shares = counts / np.bincount(labels, minlength=classes)[label]
    bounds = np.searchsorted(pairs // classes, np.arange(len(names) + 1))
    parts_of_group = [(label[start:stop], class_shares[start:stop]) for start, stop in pairwise(bounds)]
    generator = np.random.default_rng(seed)
    tries = max(2, min(_TRIES, _STEPS // len(names)))
    # By absolute need large groups find room; by relative need small splits get their part of a rare class.
    assignments = [
        _assign(parts_of_group, np.asarray(shares), generator.permutation(len(names)), number % 2)
        for number in range(tries)
    ]
    return min(assignments, key=lambda result: result[1])[0][group_index]


def _assign(
    groups: Sequence[tuple[np.ndarray, np.ndarray]], shares: np.ndarray, order: np.ndarray, power: int
) -> tuple[np.ndarray, float]:
    """The split of each group, int64 (groups,), and how far the splits are from their shares.

    Args:
        groups: The labels in each group, and the share of each of these classes that is in the group.
        shares: Share of each split.
        order: Order in which the groups are assigned.
        power: 0: a group goes to the split that lacks most; 1: to the one that lacks most relative to its share.
    """
    present = np.unique(np.concatenate([labels for labels, _ in groups]))
    filled = np.zeros((len(shares), present[-1] + 1))  # (splits, classes)
    weight = shares**-power
    split_of_group = np.zeros(len(groups), np.int64)
    for group in order:
        labels, class_shares = groups[group]
        split = (weight * ((shares[:, None] - filled[:, labels]) @ class_shares)).argmax()
        filled[split, labels] += class_shares
        split_of_group[group] = split
    filled = filled[:, present]
    return split_of_group, float(((filled - shares[:, None]) ** 2).sum() + (filled == 0).sum())
