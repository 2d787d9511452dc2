"""Thumbnails that an evaluation of picture files leaves, and what the app shows of pictures that are not stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import imported
import numpy as np
import pytest

from kdviz.app.library import OpenExperiment
from kdviz.app.pages.mistakes.sample_panel import _bars
from kdviz.app.widgets.gallery import sprite
from kdviz.data.picture_files import read_picture_files
from kdviz.data.thumbnails import NAME
from kdviz.experiment import Experiment, load_experiment
from kdviz.studies.predictions.file_evaluation import evaluate_files

COUNT, KEPT = 40, 6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures in folders of their classes."""
    images, labels = imported.pictures(COUNT)
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        folder = tmp_path / "data" / imported.CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number:03}.png")
    return tmp_path / "data"


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return untrained(tmp_path / "students")


def untrained(folder: Path) -> Experiment:
    models = [replace(model, order=None, epochs=0) for model in (imported.KD_STUDENT, imported.STUDENT)]
    return imported.experiment_of(folder, models, tables=False)


def evaluated(experiment: Experiment, data: Path, keep: int) -> OpenExperiment:
    files = read_picture_files(data)
    order = [files.classes.index(name) for name in experiment.classes]
    assert sorted(order) == list(range(len(order)))
    experiment.classes = files.classes  # the models are as wrong in any order
    experiment.save()
    list(evaluate_files(experiment, files, "cpu", keep=keep))
    return OpenExperiment(load_experiment(experiment.folder))


def test_all_pictures_are_browsed_though_few_are_stored(experiment: Experiment, data: Path) -> None:
    opened = evaluated(experiment, data, KEPT)
    stored, samples = opened.samples, opened.browsed
    assert stored is not None
    assert samples is not None
    assert (len(stored), len(samples)) == (KEPT, COUNT)
    assert [number for number in range(COUNT) if samples.is_kept(number)] == stored.numbers.tolist()
    files = read_picture_files(data)
    for number in (0, 13, 39):
        small = samples.thumbnails([number])[0]
        expected = files.open(number).resize((8, 8))
        assert np.abs(np.asarray(small.resize((8, 8)), float) - np.asarray(expected, float)).mean() < 25
    number = int(stored.numbers[2])
    assert np.array_equal(np.asarray(samples.picture(number)), np.asarray(stored.picture(2)))
    assert np.array_equal(
        samples.predictions.predicted["student"][stored.numbers], stored.predictions.predicted["student"]
    )
    bars = _bars(samples, opened.experiment.classes, 13, "student")
    assert bars[0]["name"] == opened.experiment.classes[samples.predictions.predicted["student"][13]]
    content, kind = sprite(samples, [13, 0, 39], 2, 50)
    assert content
    assert kind == "image/jpeg"


@pytest.mark.slow
def test_where_all_are_stored_there_are_no_thumbnails(experiment: Experiment, data: Path) -> None:
    assert (evaluated(experiment, data, KEPT).experiment.folder / NAME).exists()
    opened = evaluated(experiment, data, COUNT)
    assert not (opened.experiment.folder / NAME).exists()
    assert opened.browsed is opened.samples


@pytest.mark.slow
def test_an_evaluation_that_continues_has_all_thumbnails(experiment: Experiment, data: Path, tmp_path: Path) -> None:
    files = read_picture_files(data)
    experiment.classes = files.classes
    experiment.save()
    stopped = evaluate_files(experiment, files, "cpu", keep=KEPT)
    next(stopped)
    stopped.close()
    assert not (experiment.folder / NAME).exists()
    continued = evaluate_files(experiment, files, "cpu", keep=KEPT)
    assert next(continued) > 0
    list(continued)
    samples = OpenExperiment(load_experiment(experiment.folder)).browsed
    whole = untrained(tmp_path / "whole")
    other = evaluated(whole, data, KEPT).browsed
    for number in range(COUNT):
        assert np.array_equal(np.asarray(samples.thumbnails([number])[0]), np.asarray(other.thumbnails([number])[0]))
