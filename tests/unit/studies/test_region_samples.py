"""The regions of a study are kept in the experiment as they were studied; without them nothing is missing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import SMALL
from PIL import Image

from kdviz.core.errors import ExperimentError
from kdviz.data import LabelledImages
from kdviz.experiment import Experiment
from kdviz.studies.regions import RegionPictures, read_region
from kdviz.studies.regions.samples import NAME, SCHEMA, write_regions
from kdviz.studies.regions.table import SCHEMA as STUDY


@pytest.fixture
def regions() -> np.ndarray:
    """Three regions of 14 x 14: a box, one whose border runs through pixels, and one that is nearly nothing."""
    shares = np.zeros((3, 14, 14), np.float32)
    shares[0, 3:7, 5:11] = 1
    shares[1] = np.random.default_rng(0).random((14, 14))
    shares[2, 9, 1] = 0.001
    return shares


@pytest.fixture
def experiment(tmp_path: Path, regions: np.ndarray) -> Experiment:
    made = Experiment(tmp_path, "folder", ("a", "b"), SMALL, {}, "Made")
    samples = LabelledImages(torch.zeros(3, 1, 14, 14, dtype=torch.uint8), torch.zeros(3).long(), made.classes, "test")
    pictures = RegionPictures(samples, np.array([4, 40, 400]), regions, 0, ("a.csv", "b.csv", "c.csv"))
    made.write_table("regions", pa.table({name: [None] for name in STUDY.names}))
    write_regions(made, "test", pictures)
    return made


def test_a_region_is_as_it_was_studied(experiment: Experiment, regions: np.ndarray) -> None:
    for number, shares, source in zip((4, 40, 400), regions, ("a.csv", "b.csv", "c.csv"), strict=True):
        region = read_region(experiment, "test", number)
        assert region is not None
        np.testing.assert_allclose(region.shares, shares, atol=1 / 255)
        np.testing.assert_array_equal(region.shares > 0, shares > 0)
        assert region.source == source
        assert region.area == pytest.approx(shares.mean(), abs=0.5 / 255)
        assert region.outlines


def test_half_a_pixel_or_more_is_inside(experiment: Experiment, regions: np.ndarray) -> None:
    box, mixed, speck = (read_region(experiment, "test", number) for number in (4, 40, 400))
    assert box is not None
    assert mixed is not None
    assert speck is not None
    np.testing.assert_array_equal(mixed.inside, np.round(regions[1] * 255) >= 127.5)
    assert box.bounds == (3, 6, 5, 10)
    assert speck.bounds == (9, 9, 1, 1)  # what is touched, where nothing has half a pixel


def test_other_pictures_have_none(experiment: Experiment) -> None:
    assert read_region(experiment, "test", 5) is None
    assert read_region(experiment, "bundled", 4) is None


def test_a_study_without_regions_has_no_outlines(experiment: Experiment) -> None:
    (experiment.folder / f"{NAME}.parquet").unlink()  # as before they were kept
    assert read_region(experiment, "test", 4) is None


def test_regions_without_a_study_are_not_shown(experiment: Experiment) -> None:
    (experiment.folder / "regions.parquet").unlink()
    assert read_region(experiment, "test", 4) is None


def png(size: tuple[int, int], mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"no picture", png((14, 13)), png((14, 14), "RGB"), png((14, 14))[:45], None])
def test_a_damaged_region_is_refused(experiment: Experiment, content: bytes | None) -> None:
    rows = [{"split": "test", "sample": 4, "source": "", "region": content}]
    experiment.write_table(NAME, pa.Table.from_pylist(rows, SCHEMA))
    with pytest.raises(ExperimentError, match=r"region_samples\.parquet .* is damaged; make it anew with: kdviz study"):
        read_region(experiment, "test", 4)


def test_they_take_little_room(experiment: Experiment, regions: np.ndarray) -> None:
    table = experiment.table(NAME)
    assert len(table["region"][0].as_py()) < 120  # bytes


@pytest.mark.parametrize("column", ["split", "region", "source"])
def test_columns_of_other_types_are_refused(experiment: Experiment, column: str) -> None:
    rows = {"split": ["test"], "sample": [4], "source": ["a.csv"], "region": [png((14, 14))], column: [[1]]}
    experiment.write_table(NAME, pa.table(rows))
    with pytest.raises(ExperimentError, match=r"region_samples\.parquet .* is damaged; make it anew with: kdviz study"):
        read_region(experiment, "test", 4)


def test_a_text_is_no_region(experiment: Experiment) -> None:
    experiment.write_table(NAME, pa.table({"split": ["test"], "sample": [4], "source": ["a.csv"], "region": ["text"]}))
    with pytest.raises(ExperimentError, match=r"is damaged; make it anew with: kdviz study"):
        read_region(experiment, "test", 4)
