"""The networks of an evaluation: as they are given to the last bit, or as copies that differ by rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdviz.data.picture_files import read_picture_files
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment, InputSpec, load_experiment
from kdviz.studies.predictions import evaluated_networks
from kdviz.studies.predictions.file_evaluation import evaluate_files
from kdviz.studies.predictions.stored_logits import stored_logits

CLASSES = tuple(f"class {number}" for number in range(10))
INPUT = InputSpec((32, 32), 3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), resize=36, interpolation="bilinear")
COUNT = 40  # a batch of 32 and one of 8


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(COUNT):
        Image.fromarray(draw.integers(0, 255, (45, 40, 3), np.uint8)).save(folder / f"{number:02}.png")
    return folder


def experiment_in(folder: Path) -> Experiment:
    """A convolutional network with batch norms, whose statistics are not the first ones, and one without."""
    folder.mkdir()
    experiment = Experiment(folder, "imported", CLASSES, INPUT, {}, "Noise")
    for role, name in (("teacher", "airbench_small"), ("student", "paper_fc")):
        network = new_network(name, INPUT, len(CLASSES), 0).train()
        with torch.no_grad():
            network(torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
        experiment.add_run(role, name, network.eval(), {}, {})
    experiment.save()
    return load_experiment(folder)


def evaluated(experiment: Experiment, data: Path, fast: bool) -> dict[str, np.ndarray]:
    assert list(evaluate_files(experiment, read_picture_files(data), "cpu", fast=fast)) == [32, COUNT]
    return stored_logits(load_experiment(experiment.folder), "test")


@torch.inference_mode()
def expected(experiment: Experiment, data: Path) -> dict[str, np.ndarray]:
    """The formula, written out: pixels over 255, less the mean, over the standard deviation, in the same batches."""
    pictures = [INPUT.transform(Image.open(path)) for path in sorted(data.iterdir())]
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (INPUT.mean, INPUT.std))
    inputs = ((pixels.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
    return {
        role: torch.cat([run.model(batch) for batch in inputs.split(32)]).numpy()
        for role, run in experiment.runs.items()
    }


def test_logits_are_those_of_the_networks_as_given_to_the_last_bit(tmp_path, data):
    experiment = experiment_in(tmp_path / "e")
    logits, own = evaluated(experiment, data, fast=False), expected(experiment, data)
    assert list(logits) == list(own) == ["teacher", "student"]
    assert all(np.array_equal(logits[role], own[role]) for role in own)


def test_fast_copies_give_the_same_answers_and_logits_up_to_rounding(tmp_path, data, monkeypatch):
    copied = []
    true = evaluated_networks.prepare

    def counted(network, images, precision):
        copied.append((len(images), precision))
        return true(network, images, precision)

    monkeypatch.setattr(evaluated_networks, "prepare", counted)
    experiment = experiment_in(tmp_path / "e")
    own = expected(experiment, data)
    logits = evaluated(experiment, data, fast=True)
    assert copied == [(4, "float32"), (4, "float32")]  # once each, not for each batch
    for role, values in own.items():
        np.testing.assert_allclose(logits[role], values, rtol=1e-4, atol=1e-4)
        assert np.array_equal(logits[role].argmax(1), values.argmax(1))
    assert not np.array_equal(logits["teacher"], own["teacher"])  # its batch norms are folded


def test_an_evaluation_does_not_go_on_with_other_copies(tmp_path, data):
    experiment = experiment_in(tmp_path / "e")
    steps = evaluate_files(experiment, read_picture_files(data), "cpu", fast=True)
    assert next(steps) == 32
    steps.close()
    fast = evaluate_files(experiment, read_picture_files(data), "cpu", fast=True)
    assert next(fast) == 32
    assert next(fast) == COUNT
    fast.close()
    assert list(evaluate_files(experiment, read_picture_files(data), "cpu")) == [32, COUNT]
