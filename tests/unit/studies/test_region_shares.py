"""Shares inside regions of single pictures: read from the table, and as a filter and an order of *Mistakes*."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import SMALL

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.studies.predictions.mistake_index import Filters, MistakeIndex, without
from kdviz.studies.predictions.mistakes import Predictions
from kdviz.studies.regions import read_region_shares
from kdviz.studies.regions.table import SCHEMA

NUMBERS = np.array([40, 7, 12, 3])


def row(sample: int, role: str, energy: float, method: str = "rise", split: str = "test") -> dict[str, object]:
    return {
        "split": split, "sample": sample, "label": 0, "target": 0, "role": role, "method": method, "predicted": 0,
        "right": True, "energy": energy, "pointing": 1.0, "area": sample / 100, "chance": 0.5,
    }  # fmt: skip


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    made = Experiment(tmp_path, "folder", ("a", "b"), SMALL, {}, "Made")
    rows = [
        row(3, "teacher", 0.9), row(12, "teacher", 0.2), row(40, "teacher", 0.5), row(99, "teacher", 0.1),
        row(3, "student", 0.7), row(12, "student", float("nan")), row(7, "student", 0.4, split="validation"),
        row(7, "student", 0.6, method="gradcam"),
    ]  # fmt: skip
    made.write_table("regions", pa.Table.from_pylist(rows, SCHEMA))
    return made


def test_each_share_is_at_its_picture(experiment: Experiment) -> None:
    rise, gradcam = read_region_shares(experiment, "test", NUMBERS)
    assert (rise.method, gradcam.method) == ("rise", "gradcam")
    np.testing.assert_allclose(rise.inside["teacher"], [0.5, np.nan, 0.2, 0.9], rtol=1e-6)
    np.testing.assert_allclose(rise.inside["student"], [np.nan, np.nan, np.nan, 0.7], rtol=1e-6)
    np.testing.assert_allclose(rise.area, [0.4, np.nan, 0.12, 0.03], rtol=1e-6)
    assert list(gradcam.inside) == ["student"]
    np.testing.assert_allclose(gradcam.inside["student"], [np.nan, 0.6, np.nan, np.nan], rtol=1e-6)


def test_other_pictures_have_none(experiment: Experiment) -> None:
    assert read_region_shares(experiment, "bundled", NUMBERS) == []
    assert read_region_shares(experiment, "test", np.array([500, 501])) == []


def test_without_a_study_there_are_none(tmp_path: Path, experiment: Experiment) -> None:
    experiment.write_table("regions", experiment.table("regions").drop_columns(["energy"]))
    with pytest.raises(ExperimentError, match=r"regions\.parquet .* is damaged"):
        read_region_shares(experiment, "test", NUMBERS)
    (tmp_path / "regions.parquet").unlink()
    assert read_region_shares(experiment, "test", NUMBERS) == []


def test_they_are_a_filter_and_an_order_of_the_model(experiment: Experiment) -> None:
    (rise, _) = read_region_shares(experiment, "test", NUMBERS)
    answers = {role: np.zeros(4, int) for role in ("teacher", "student")}
    sure = {role: np.full(4, 0.5) for role in answers}
    predictions = Predictions("test", np.zeros(4, int), answers, sure)
    index = MistakeIndex(predictions, {}, 2, rise.inside)
    assert "inside" in index.orders
    assert "inside" not in MistakeIndex(predictions, {}, 2).orders
    assert index.indices(Filters("all", "teacher"), "inside").tolist() == [2, 0, 3, 1]  # without a region: last
    assert index.indices(Filters("all", "student"), "inside").tolist()[0] == 3
    narrow = Filters("all", "teacher", inside=(0.0, 0.6))
    assert index.indices(narrow, "inside").tolist() == [2, 0]
    assert index.counts(narrow)["all"] == 2
    assert index.passing(without(narrow, "inside")).all()
    exact = Filters("all", "teacher", inside=(0.0, 0.2))
    assert index.indices(exact, "inside").tolist() == [2]  # its share is 0.2
