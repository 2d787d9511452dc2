"""Blocks of large confusion matrices, against ones that are put in."""

from __future__ import annotations

import numpy as np
import pytest

from kdviz.studies.predictions.class_blocks import Block, confused_blocks


def planted(families: list[list[int]], classes: int) -> np.ndarray:
    """Right answers, confusions inside the families, and a single one elsewhere."""
    draw = np.random.default_rng(0)
    matrix = np.diag(np.full(classes, 50))
    for strength, family in enumerate(families, 1):
        matrix[np.ix_(family, family)] += 4 * strength + draw.integers(0, 3, (len(family), len(family)))
    matrix[families[0][0], families[1][0]] = 1
    return matrix


def test_families_that_confuse_each_other_are_found() -> None:
    draw = np.random.default_rng(1)
    shuffled = draw.permutation(60)
    families = [shuffled[start : start + 5].tolist() for start in range(0, 30, 5)]
    blocks = confused_blocks(planted(families, 60), 10)
    assert {frozenset(block.classes) for block in blocks} == {frozenset(family) for family in families}
    counts = [block.count for block in blocks]
    assert counts == sorted(counts, reverse=True)
    assert set(blocks[0].classes) == set(families[-1])  # whose members are confused most


def test_a_count_is_that_of_the_cells_beside_the_diagonal() -> None:
    matrix = np.array([[9, 2, 0, 0], [1, 9, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9]])
    assert confused_blocks(matrix, 5) == [Block((0, 1), 3)]
    assert confused_blocks(-matrix, 5) == [Block((0, 1), 3)]  # changes may be negative
    assert confused_blocks(np.diag([3, 4]), 5) == []


@pytest.mark.parametrize("largest", [2, 3, 8])
def test_no_block_is_too_large_and_none_shares_a_class(largest: int) -> None:
    matrix = np.random.default_rng(2).poisson(0.3, (80, 80))
    blocks = confused_blocks(matrix, 100, largest)
    classes = [index for block in blocks for index in block.classes]
    assert len(classes) == len(set(classes))
    assert all(2 <= len(block.classes) <= largest and block.count > 0 for block in blocks)


def test_there_are_at_most_so_many() -> None:
    matrix = np.random.default_rng(3).poisson(0.3, (80, 80))
    assert confused_blocks(matrix, 3) == confused_blocks(matrix, 100)[:3]


def test_classes_apart_are_in_no_block() -> None:
    matrix = np.zeros((10, 10), int)
    matrix[2, 3] = matrix[7, 8] = 5
    assert {block.classes for block in confused_blocks(matrix, 5)} == {(2, 3), (7, 8)}
