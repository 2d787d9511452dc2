"""Which experiments the app finds, and what it shows of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from sweeps import small_splits

from kdviz.app import library, service
from kdviz.core.errors import ExperimentError, UnknownNameError
from kdviz.core.files import MODELS
from kdviz.experiment import load_experiment
from kdviz.studies.predictions.evaluation import evaluate

SIZES = {"validation": 40, "test": 60}


@pytest.fixture
def own(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user's experiments, with one named ``tiny``."""
    monkeypatch.setenv("KDVIZ_MODELS", str(tiny_folder.parent))
    return tiny_folder


def test_own_experiments_are_beside_those_that_come_with_kdviz(own: Path) -> None:
    folders = library.folders()
    assert folders["tiny"] == own
    assert folders["mnist"] == MODELS / "mnist"
    own.rename(own.parent / "mnist")
    assert library.folders()["mnist"] == own.parent / "mnist"  # one's own wins


def test_without_own_ones_there_are_those_of_kdviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KDVIZ_MODELS", raising=False)
    assert "tiny" not in library.folders()
    assert library.first(["a", "mnist"]) == "mnist"
    assert library.first(["b", "c"]) == "b"
    monkeypatch.setenv("KDVIZ_FIRST", "c")
    assert library.first(["b", "c", "mnist"]) == "c"
    assert library.first(["b", "mnist"]) == "mnist"  # there is no such one any more
    with pytest.raises(ExperimentError, match="no experiment"):
        library.first([])
    with pytest.raises(UnknownNameError):
        library.open_experiment("../models/mnist")


def test_titles_of_a_list_do_not_repeat(own: Path) -> None:
    assert library.title("tiny", own) == "Tiny"
    assert library.title("other", own) == "Tiny (other)"
    (own / "experiment.json").write_text("[]")
    assert library.title("tiny", own) == "tiny"


def test_it_is_opened_again_when_its_files_change(own: Path, small_digits) -> None:
    first = library.open_experiment("tiny")
    assert library.open_experiment("tiny") is first
    assert first.samples is None  # digits of another size, and no pictures stored
    experiment = load_experiment(own)
    experiment.write_samples(list(small_splits(small_digits, SIZES).values()))
    second = library.open_experiment("tiny")
    assert second is not first
    assert second.samples is not None
    assert "kdviz evaluate -e" in second.samples.missing


def test_the_first_split_with_pictures_and_predictions_is_shown(own: Path, small_digits) -> None:
    splits = small_splits(small_digits, SIZES)
    experiment = load_experiment(own)
    experiment.write_samples(list(splits.values()), limit=30)
    list(evaluate(experiment, splits["validation"], device="cpu"))
    assert library.open_experiment("tiny").samples.split == "validation"
    list(evaluate(experiment, splits["test"], device="cpu"))
    samples = library.open_experiment("tiny").samples
    assert (samples.split, len(samples)) == ("test", 30)
    index = 7
    number = int(samples.numbers[index])
    assert number != index
    assert samples.index_of(number) == index
    assert samples.labels[index] == splits["test"].labels[number]
    assert np.array_equal(np.asarray(samples.picture(index)), splits["test"].images[number, 0].numpy())
    assert samples.predictions.predicted["teacher"][index] == samples.logits["teacher"][index].argmax()
    rows = experiment.table("predictions").to_pylist()
    row = next(row for row in rows if (row["split"], row["role"], row["sample"]) == ("test", "student", number))
    assert samples.predictions.predicted["student"][index] == row["predicted"]


def test_predictions_of_other_images_are_refused(own: Path, small_digits) -> None:
    splits = small_splits(small_digits, SIZES)
    experiment = load_experiment(own)
    experiment.write_samples([splits["test"]])
    list(evaluate(experiment, small_digits.take(splits["test"].labels.argsort(), "test"), device="cpu"))
    samples = library.open_experiment("tiny").samples
    assert samples.predictions is None
    assert "other images" in samples.missing


def test_large_images_begin_with_fewer_masks(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = library.open_experiment("tiny")
    monkeypatch.setattr("kdviz.app.library.choose_device", lambda _: torch.device("cpu"))
    assert service.default_masks(opened) == 2000
    monkeypatch.setattr(opened.experiment, "input", type(SMALL)((224, 224), 3, (0.5,) * 3, (0.5,) * 3))
    assert service.default_masks(opened) == 250
    assert opened.command_folder == str(own.resolve())
