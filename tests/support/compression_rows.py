"""Rows of compression.parquet whose figures are known."""

from __future__ import annotations

from typing import Any

import numpy as np

SAMPLES = 10_000


def row(
    child: str = "small",
    parent: str = "kd_student",
    step: str = "prune 0.5",
    fixed: int = 20,
    broken: int = 25,
    changed: int = 60,
    maps: float = 0.97,
    teacher: float = 0.85,
    images: int = 40,
    first: int = 0,
) -> dict[str, Any]:
    """A row with answers that changed from sample ``first`` on, and maps that scatter about ``maps``."""
    answers = np.zeros(SAMPLES, bool)
    answers[first : first + changed] = True
    right = np.arange(SAMPLES) < round(0.9865 * SAMPLES) + fixed - broken
    noise = np.linspace(-0.02, 0.02, images)
    return {
        "child": child,
        "parent": parent,
        "step": step,
        "with_teacher": True,
        "weights": child,
        "parent_weights": parent,
        "teacher_weights": "teacher",
        "split": "test",
        "samples": SAMPLES,
        "accuracy": 0.9865 + (fixed - broken) / SAMPLES,
        "parent_accuracy": 0.9865,
        "fixed": fixed,
        "broken": broken,
        "changed": np.packbits(answers).tobytes(),
        "right": np.packbits(right).tobytes(),
        "ece": 0.0123,
        "parent_ece": 0.0059,
        "worst_class": "9",
        "worst_accuracy": 0.971,
        "worst_in_parent": 0.979,
        "bytes": 466_000,
        "parent_bytes": 4_955_368,
        "flops": 900_000,
        "parent_flops": 2_477_000,
        "root": None,
        "root_accuracy": None,
        "root_fixed": None,
        "root_broken": None,
        "root_bytes": None,
        "zeros": 0.0,
        "masks": 1000,
        "images": list(range(images)),
        "maps_parent": list(maps + noise),
        "maps_teacher": list(teacher + noise[::-1]),
        "parent_teacher": list(np.full(images, 0.85)),
        "ceiling": list(np.full(images, 0.9)),
    }


def seed(**values: Any) -> dict[str, Any]:
    return row(**{"child": "kd_student_seed", "step": "seed", "maps": 0.8, "changed": 120, "first": 5000, **values})
