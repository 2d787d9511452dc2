"""Predictions of which only the answers are read at once, against the whole table in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SMALL

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment, folder
from kdviz.studies.predictions import stored
from kdviz.studies.predictions.evaluation import predictions_table
from kdviz.studies.predictions.mistake_index import MistakeIndex
from kdviz.studies.predictions.mistakes import read_predictions
from kdviz.studies.predictions.soft_targets import least_sure, read_logits
from kdviz.studies.predictions.stored import LogitsFile, read_stored

SAMPLES, CLASSES = 90, 4
ROLES = ("teacher", "kd_student", "student")


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Predictions of two splits in row groups of a few rows, the rows in no order."""
    monkeypatch.setattr(folder, "_GROUP_BYTES", 700)
    draw = torch.Generator().manual_seed(0)
    tables = []
    for split in ("validation", "test"):
        labels = torch.randint(CLASSES, (SAMPLES,), generator=draw)
        logits = {role: torch.randn(SAMPLES, CLASSES, generator=draw) for role in ROLES}
        tables.append(predictions_table(split, labels, logits))
    import pyarrow as pa

    table = pa.concat_tables(tables).unify_dictionaries()
    made = Experiment(tmp_path, "folder", tuple("abcd"), SMALL, {}, "Made")
    made.write_table("predictions", table.take(np.random.default_rng(0).permutation(len(table))))
    return made


def test_a_large_table_is_written_in_small_row_groups(experiment: Experiment) -> None:
    metadata = pq.ParquetFile(experiment.folder / "predictions.parquet").metadata
    assert metadata.num_row_groups > 20
    assert metadata.num_rows == 2 * SAMPLES * len(ROLES)


def test_they_are_those_of_the_table(experiment: Experiment) -> None:
    table = experiment.table("predictions")
    expected, logits = read_predictions(table, "test"), read_logits(table, "test")
    predictions, found = read_stored(experiment, "test")
    assert set(found) == set(ROLES)
    for role in ROLES:
        np.testing.assert_array_equal(predictions.predicted[role], expected.predicted[role])
        np.testing.assert_array_equal(np.asarray(found[role]), logits[role])
        np.testing.assert_array_equal(found[role][7], logits[role][7])
        np.testing.assert_array_equal(found[role][20:31], logits[role][20:31])
        chosen = np.array([5, 80, 5, 2])
        np.testing.assert_array_equal(found[role].take(chosen)[1:], logits[role][chosen][1:])
    whole, lazy = MistakeIndex(expected, logits, CLASSES), MistakeIndex(predictions, found, CLASSES)
    np.testing.assert_array_equal(lazy.divergence("student"), whole.divergence("student"))
    np.testing.assert_array_equal(least_sure(found["teacher"]), least_sure(logits["teacher"]))


def test_answers_are_read_without_any_logits(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    read = LogitsFile._group
    monkeypatch.setattr(LogitsFile, "_group", lambda self, group: (groups.append(group), read(self, group))[1])
    _, logits = read_stored(experiment, "test")
    assert groups == []
    assert logits["teacher"][3].shape == (CLASSES,)
    assert len(groups) == 1


def test_few_row_groups_are_kept(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_KEPT_BYTES", 400)
    file = LogitsFile(experiment.folder / "predictions.parquet")
    file.read(np.arange(2 * SAMPLES * len(ROLES)))
    assert 1 <= len(file._kept) < 5


def test_what_is_damaged_or_missing_is_one_sentence(experiment: Experiment) -> None:
    with pytest.raises(ExperimentError, match="no predictions of the split 'bundled'"):
        read_stored(experiment, "bundled")
    experiment.write_table("predictions", experiment.table("predictions").drop_columns(["logits"]))
    with pytest.raises(ExperimentError, match="holds no logits"):
        read_stored(experiment, "test")
    (experiment.folder / "predictions.parquet").write_bytes(b"damaged")
    with pytest.raises(ExperimentError, match="is damaged"):
        read_stored(experiment, "test")
