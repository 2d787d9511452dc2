"""Dark knowledge: what a teacher's logits say about the other classes at a raised temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.errors import ExperimentError, SettingError
from kdviz.core.files import rows_where

TEMPERATURES = tuple(float(f"{2 ** (step / 4):.3g}") for step in range(-4, 25))
"""Temperatures from 0.5 to 64, four steps for each doubling."""

_CHUNK = 4096  # samples whose softmax is in memory at once


def soft_targets(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softened targets: p_k = exp(z_k / T) / sum_j exp(z_j / T) (Hinton, Vinyals & Dean, 2015, eq. 1).

    T = 1 is softmax; T -> 0 gives everything to the largest logit, T -> infinity the same to every class.

    Args:
        logits: z, (..., classes).
        temperature: T, above 0.

    Returns:
        float64 (..., classes), each from 0 to 1, with sum 1 over the classes.

    Raises:
        SettingError: The temperature is not a finite number above 0.
    """
    if not 0 < temperature < float("inf"):
        raise SettingError(
            "The temperature must be a finite number above 0, got {temperature:g}.", temperature=temperature
        )
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp((values - values.max(-1, keepdims=True)) / temperature)  # the largest is exp(0): no overflow
    return powers / powers.sum(-1, keepdims=True)


def entropy_bits(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy H = -sum_k p_k log2 p_k, with 0 log2 0 = 0.

    Args:
        probabilities: p, (..., classes), with sum 1 over the classes.

    Returns:
        float64 (...), from 0 (one class has all) to log2(classes) (all have the same).
    """
    values = np.asarray(probabilities, dtype=np.float64)
    logarithms = np.log2(values, where=values > 0, out=np.zeros_like(values))
    return -(values * logarithms).sum(-1) + 0.0  # 0.0 instead of -0.0


def entropy_curve(logits: np.ndarray, temperatures: Sequence[float] = TEMPERATURES) -> np.ndarray:
    """Entropy in bits of the softened targets at each temperature; it never falls as T rises.

    Args:
        logits: (..., classes).
        temperatures: Temperatures, each above 0.

    Returns:
        float64 (temperatures, ...).
    """
    return np.stack([entropy_bits(soft_targets(logits, temperature)) for temperature in temperatures])


def read_logits(table: pa.Table, split: str) -> dict[str, np.ndarray]:
    """Role -> logits of one split of predictions.parquet, float32 (samples, classes), in the order of the samples.

    Raises:
        ExperimentError: The table has no such split, or no logits.
    """
    if "logits" not in table.column_names:
        raise ExperimentError("predictions.parquet holds no logits; make it again with: kdviz evaluate.")
    table = rows_where(table, "split", split)
    if not len(table):
        raise ExperimentError(
            "There are no predictions of the split '{split}'; make them with: kdviz evaluate.", split=split
        )
    logits = {}
    for role in table["role"].cast(pa.string()).unique().to_pylist():
        part = rows_where(table, "role", role).sort_by("sample")
        column = part["logits"].combine_chunks()
        logits[role] = np.asarray(column.flatten(), dtype=np.float32).reshape(len(part), -1)
    return logits


def least_sure(logits: Any) -> np.ndarray:
    """Indices of the samples, int (N,), by falling entropy of their softmax; ties keep their order.

    Args:
        logits: (N, classes), an array or anything whose slices are arrays.
    """
    parts = [slice(start, start + _CHUNK) for start in range(0, len(logits), _CHUNK)]
    entropies = [entropy_bits(soft_targets(np.asarray(logits[part]), 1.0)) for part in parts]
    return np.argsort(-np.concatenate(entropies), kind="stable") if entropies else np.arange(0)


def softened_table(
    logits: dict[str, np.ndarray], classes: Sequence[str], temperatures: Sequence[float] = TEMPERATURES
) -> pa.Table:
    """One sample's softened targets, tidy: one row a role, temperature and class.

    Args:
        logits: Role -> (classes,).
        classes: Names of the classes.
        temperatures: Temperatures, each above 0.
    """
    rows = [
        {
            "role": role,
            "temperature": temperature,
            "class": name,
            "probability": float(probability),
            "entropy_bits": bits,
        }
        for role, values in logits.items()
        for temperature in temperatures
        for target in [soft_targets(values, temperature)]
        for bits in [float(entropy_bits(target))]
        for name, probability in zip(classes, target, strict=True)
    ]
    return pa.Table.from_pylist(rows)
