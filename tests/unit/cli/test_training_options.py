"""The recipe that options give: what is not named is the data set's own, or the experiment's in its studies."""

from __future__ import annotations

import argparse
from dataclasses import replace
from types import SimpleNamespace

import pytest

from kdviz.cli.common.training_options import add_loss, add_recipe, recipe
from kdviz.cli.sweep import config_like
from kdviz.data.readers.usual_training import SMALL_COLOUR
from kdviz.data.registry import find_dataset


@pytest.fixture
def dataset():
    return replace(find_dataset("mnist"), recipe=SMALL_COLOUR)


def given(*arguments: str, **more) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_recipe(parser)
    add_loss(parser)
    options = parser.parse_args(arguments)
    return argparse.Namespace(**{**vars(options), "temperature": 4.0, "alpha": 0.5, "device": "cpu", **more})


@pytest.mark.parametrize(
    ("arguments", "augment", "views"),
    [
        ([], "shift", 6),
        (["--augment", "shift,flip"], "shift,flip", 6),
        (["--augment", "none"], "", 0),
        (["--views", "0"], "shift", 0),
        (["--augment", "flip", "--views", "3"], "flip", 3),
    ],
)
def test_views_are_those_of_the_data_set(dataset, arguments, augment, views):
    config = recipe(given(*arguments), dataset)
    assert (config.augment, config.views) == (augment, views)


def test_a_teacher_of_which_only_logits_are_known_sees_no_changed_pictures(dataset):
    config = recipe(given(teacher_logits="logits.npz"), dataset)
    assert (config.augment, config.views) == ("", 0)


@pytest.mark.parametrize(
    ("networks", "optimizer"),
    [
        ({}, "sgd_fast_bias"),
        ({"teacher": ["airbench"], "student": "airbench_small"}, "sgd_fast_bias"),
        ({"teacher": ["self"]}, "sgd_fast_bias"),
        ({"student": "paper_cnn"}, "adam"),
        ({"teacher": ["airbench", "paper_cnn"]}, "adam"),
    ],
)
def test_other_networks_have_the_usual_optimiser(dataset, networks, optimizer):
    config = recipe(given(**networks), dataset)
    assert config.optimizer == optimizer
    assert config.learning_rate == (0.25 if optimizer == "sgd_fast_bias" else 1e-3)
    assert recipe(given("--learning-rate", ".01", **networks), dataset).learning_rate == 0.01


def test_a_study_trains_with_the_experiments_augmentation():
    record = {"epochs": 3, "batch_size": 64, "augment": "flip", "views": 2, "optimizer": "sgd"}
    experiment = SimpleNamespace(dataset="mnist", runs={"kd_student": SimpleNamespace(training=record)})
    config = config_like(experiment, given())
    assert {name: getattr(config, name) for name in record} == record
    without = config_like(experiment, given("--augment", "none"))
    assert (without.augment, without.views) == ("", 0)
