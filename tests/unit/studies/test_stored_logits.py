"""Logits that are read when they are asked for, against the whole table in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SMALL

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.studies.predictions import stored_logits
from kdviz.studies.predictions.evaluation import predictions_table
from kdviz.studies.predictions.mistake_index import MistakeIndex
from kdviz.studies.predictions.mistakes import read_predictions
from kdviz.studies.predictions.soft_targets import least_sure, read_logits
from kdviz.studies.predictions.stored_logits import LogitsFile, StoredLogits

SAMPLES, CLASSES = 90, 4
ROLES = ("teacher", "kd_student", "student")
ALL = np.arange(SAMPLES)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """Predictions of two splits in row groups of some rows, which are in no order."""
    draw = torch.Generator().manual_seed(0)
    tables = []
    for split in ("validation", "test"):
        labels = torch.randint(CLASSES, (SAMPLES,), generator=draw)
        logits = {role: torch.randn(SAMPLES, CLASSES, generator=draw) for role in ROLES}
        tables.append(predictions_table(split, labels, logits))
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    table = table.take(np.random.default_rng(0).permutation(len(table)))
    made = Experiment(tmp_path, "folder", tuple("abcd"), SMALL, {}, "Made")
    made.write_table_parts("predictions", table.schema, [table.slice(at, 20) for at in range(0, len(table), 20)])
    assert pq.ParquetFile(tmp_path / "predictions.parquet").metadata.num_row_groups == 27
    return made


def test_they_are_those_of_the_table(experiment: Experiment) -> None:
    expected = read_logits(experiment.table("predictions"), "test")
    stored = StoredLogits(experiment, "test", ALL, ROLES)
    assert list(stored) == sorted(stored, key=ROLES.index)
    for role in ROLES:
        assert len(stored[role]) == SAMPLES
        np.testing.assert_array_equal(np.asarray(stored[role]), expected[role])
        np.testing.assert_array_equal(stored[role][7], expected[role][7])
        np.testing.assert_array_equal(stored[role][20:31], expected[role][20:31])
        np.testing.assert_array_equal(stored[role][np.array([5, 80, 5])], expected[role][[5, 80, 5]])


def test_they_can_be_those_of_some_samples(experiment: Experiment) -> None:
    expected = read_logits(experiment.table("predictions"), "test")["student"]
    numbers = np.array([80, 3, 41])
    stored = StoredLogits(experiment, "test", numbers, ["student"])
    np.testing.assert_array_equal(np.asarray(stored["student"]), expected[numbers])
    with pytest.raises(KeyError):
        stored["teacher"]


def test_what_needs_all_reads_them_in_parts(experiment: Experiment) -> None:
    table = experiment.table("predictions")
    predictions, expected = read_predictions(table, "test"), read_logits(table, "test")
    stored = StoredLogits(experiment, "test", ALL, ROLES)
    whole, lazy = MistakeIndex(predictions, expected, CLASSES), MistakeIndex(predictions, stored, CLASSES)
    assert lazy.orders == whole.orders
    np.testing.assert_array_equal(lazy.divergence("student"), whole.divergence("student"))
    np.testing.assert_array_equal(least_sure(stored["teacher"]), least_sure(expected["teacher"]))


def test_a_sample_costs_one_row_group(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    read = stored_logits._logits_of_group
    monkeypatch.setattr(
        stored_logits, "_logits_of_group", lambda file, group: (groups.append(group), read(file, group))[1]
    )
    logits = StoredLogits(experiment, "test", ALL, ROLES)
    assert groups == []
    assert logits["teacher"][3].shape == (CLASSES,)
    assert len(groups) == 1


def test_few_row_groups_are_kept(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_logits, "_KEPT_BYTES", 1000)
    file = LogitsFile(experiment)
    file.read(np.arange(2 * SAMPLES * len(ROLES)))
    assert 1 <= len(file._kept) <= 3


def test_a_table_that_takes_its_place_is_not_mixed_in(experiment: Experiment) -> None:
    expected = read_logits(experiment.table("predictions"), "test")["teacher"]
    logits = StoredLogits(experiment, "test", ALL, ROLES)
    experiment.write_table("predictions", experiment.table("predictions").slice(0, 30))
    np.testing.assert_array_equal(np.asarray(logits["teacher"]), expected)


def test_what_is_damaged_or_missing_is_one_sentence(experiment: Experiment) -> None:
    with pytest.raises(ExperimentError, match="has not all samples"):
        StoredLogits(experiment, "test", np.array([SAMPLES]), ROLES)
    experiment.write_table("predictions", experiment.table("predictions").drop_columns(["logits"]))
    with pytest.raises(ExperimentError, match="holds no logits"):
        StoredLogits(experiment, "test", ALL, ROLES)
    (experiment.folder / "predictions.parquet").write_bytes(b"damaged")
    with pytest.raises(ExperimentError, match="is damaged"):
        StoredLogits(experiment, "test", ALL, ROLES)
