"""What each transfer set gives: accuracy agreement with the teacher, both beside the training pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kdviz.core.vocabulary import Role, Split
from kdviz.distill.transfer_sets.registry import TRAINING
from kdviz.metrics import Difference, paired_difference
from kdviz.metrics.uncertainty import interval_of
from kdviz.studies.sweep.doubts import chance_level
from kdviz.studies.sweep.kinds import STUDIES, TRANSFER_SET
from kdviz.studies.sweep.value_pairs import Right, paired
from kdviz.studies.sweep.verdict import runs_by_value


@dataclass(frozen=True)
class TransferValue:
    """The students of one transfer set, over the seeds.

    Attributes:
        value: The transfer set.
        accuracy: Their accuracy, as a difference from 0, with its interval over seeds and samples.
        beside_training: Accuracy less that of the same students distilled on the training pictures; None for these
            themselves, or where there are none.
        beside_alone: Accuracy less that of the same students trained alone; None where there are none.
        agreement, low, high: Share of samples on which they say the same as their teacher, with its interval.
        chance: Accuracy of a model that learned nothing.
    """

    value: str
    accuracy: Difference
    beside_training: Difference | None
    beside_alone: Difference | None
    agreement: float
    low: float
    high: float
    chance: float

    @property
    def above_chance(self) -> bool:
        return self.accuracy.low > self.chance


def transfer_values(table: pa.Table, predictions: pa.Table, split: str = Split.TEST) -> list[TransferValue]:
    """The transfer sets of a study, the training pictures first, then by accuracy.

    Args:
        table: The study's table.
        predictions: study_predictions.parquet.
        split: The split to judge on.
    """
    runs = runs_by_value(table, predictions, TRANSFER_SET, split)
    right = {value: {seed: run.right for seed, run in by_seed.items()} for value, by_seed in runs.items()}
    shares = _agreements(table, split)
    values = []
    for value, by_seed in right.items():
        if value is None or not by_seed:
            continue
        correct = np.array([by_seed[seed] for seed in sorted(by_seed)])
        accuracy = paired_difference(np.zeros_like(correct), correct)
        agreement, low, high = _agreement(shares[value], correct.shape[1])
        training = _beside(right.get(TRAINING), by_seed) if value != TRAINING else None
        chance = chance_level(next(iter(runs[value].values())).labels)
        alone = _beside(right.get(None), by_seed)
        values.append(TransferValue(value, accuracy, training, alone, agreement, low, high, chance))
    return sorted(values, key=lambda each: (each.value != TRAINING, -each.accuracy.value))


def _beside(other: Right | None, own: Right) -> Difference | None:
    first, second = paired(other or {}, own)
    return paired_difference(first, second) if len(first) else None


def _agreements(table: pa.Table, split: str) -> Mapping[str, list[float]]:
    shares: dict[str, list[float]] = {}
    for row in table.to_pylist():
        if row["role"] == Role.KD_STUDENT and row["split"] == split:
            shares.setdefault(row[STUDIES[TRANSFER_SET].column], []).append(row["same_as_teacher"])
    return shares


def _agreement(shares: list[float], samples: int) -> tuple[float, float, float]:
    """Mean and interval over seeds and samples.

    The table has shares, not on which samples, so that what seeds and samples have in common is in both parts: the
    interval is too wide rather than too narrow.
    """
    values = np.array(shares, dtype=np.float64)
    mean = float(values.mean())
    padded = (mean * samples + 2) / (samples + 4)  # Agresti and Coull (1998)
    by_sample = padded * (1 - padded) / samples
    by_seed = float(values.var(ddof=1) / len(values)) if len(values) > 1 else float("nan")
    low, high = interval_of(mean, [(by_sample, samples - 1), (by_seed, max(1, len(values) - 1))])
    return mean, max(0.0, low), min(1.0, high)
