"""An attention study of maps that are made up, with effects that are known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from kdviz.studies.attention.maps import GroupMaps, StudyImages
from kdviz.studies.attention.models import StudyModel
from kdviz.studies.attention.statistics.agreements import Agreements, read_agreements
from kdviz.studies.attention.statistics.pairs import agreement_rows

CLASSES = tuple("0123456789")
SIZE = (8, 8)
TEMPERATURES = (1.0, 4.0, 16.0)


def _model(key: str, role: str, value: float | None = None, seed: int | None = None) -> StudyModel:
    teacher = {"kd_student": "teacher", "shuffled": "teacher"}.get(role, "")
    return StudyModel(key, role, "none", b"", teacher, "temperature", value, seed)


def made_up(
    shares: dict[float, float], images: int = 160, seeds: int = 3, noise: float = 0.6, seed: int = 0
) -> tuple[Agreements, dict[float, float]]:
    """:func:`made_up_table` as it is read by Pearson's correlation, and the true effects."""
    table, effects = made_up_table(shares, images, seeds, noise, seed)
    return read_agreements(table, "temperature", "pearson"), effects


def made_up_table(
    shares: dict[float, float], images: int = 160, seeds: int = 3, noise: float = 0.6, seed: int = 0
) -> tuple[pa.Table, dict[float, float]]:
    """agreement.parquet of a study of maps that are made up, and the true effect of each value.

    The effects are by Pearson's correlation, from maps without noise. A KD student's true map is (1 - share) of a
    student's own and ``share`` of the teacher's.
    """
    generator = np.random.default_rng(seed)
    models = [_model("teacher", "teacher")]
    models += [
        _model(f"T = {value}, seed {seed}", "kd_student", value, seed) for value in shares for seed in range(seeds)
    ]
    models += [_model(f"alone, seed {seed}", "student", None, seed) for seed in range(seeds)]
    models += [_model(f"alone, seed {seed + 9}", "second", None, seed + 9) for seed in range(seeds)]
    models += [_model(f"shuffled {seed}", "shuffled", None, seed) for seed in range(seeds)]
    common = generator.normal(size=(images, *SIZE))  # of a picture, which all models share
    true = {"teacher": common + generator.normal(size=(images, *SIZE))}
    for model in models[1:]:
        own = (0 if model.role == "shuffled" else common) + 1.3 * generator.normal(size=(images, *SIZE))
        share = shares.get(model.value, 0.0) if model.role == "kd_student" else 0.0
        true[model.key] = (1 - share) * own + share * true["teacher"]
    # Half of the noise is shared by all models, as that of the same masks is: within a half it looks like agreement.
    shared = generator.normal(size=(images, 2, *SIZE))
    halves = np.stack(
        [
            true[model.key][:, None] + noise * np.sqrt(0.5) * (shared + generator.normal(size=shared.shape))
            for model in models
        ]
    )
    labels = np.arange(images) % 10
    targets = np.where(generator.random(images) < 0.25, (labels + 1) % 10, labels)
    predicted = np.stack([np.where(generator.random(images) < 0.5, targets, labels) for _ in models])
    predicted[0] = targets  # the teacher's
    known = StudyImages(np.arange(images), labels, targets, np.ones(images), ["none"] * images)
    about = {"study": "temperature", "split": "test"}
    table = agreement_rows(GroupMaps(halves, predicted.astype(np.int16)), models, known, about, 100)
    alone = np.mean([_correlations(true["teacher"], true[f"alone, seed {seed}"]).mean() for seed in range(seeds)])
    effects = {
        value: np.mean([_correlations(true["teacher"], true[f"T = {value}, seed {s}"]).mean() for s in range(seeds)])
        - alone
        for value in shares
    }
    return table, effects


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first, second, strict=True)])
