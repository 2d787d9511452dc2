"""Experiments whose students see less than their teacher: fewer pixels, or no colours."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL
from sweeps import CONFIG, small_splits

from kdviz.cli import main
from kdviz.cli.common.experiment_pictures import require_trainable
from kdviz.core.errors import ExperimentError, SettingError
from kdviz.distill import predict_logits, train_experiment
from kdviz.distill.sources import ModelSource, student_input
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import InputSpec, load_experiment
from kdviz.models.inputs import AdaptedNetwork

COLOUR = InputSpec((14, 14), 3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


@pytest.fixture(scope="module")
def splits(small_digits):
    return small_splits(small_digits)


def trained(splits, folder, spec, size, channels, config=CONFIG):
    picture, own = student_input(spec, size, channels)
    teacher = ModelSource("paper_fc", input=spec)
    student = ModelSource("paper_fc", input=own)
    for _ in train_experiment(splits, picture, "mnist", folder, config, teachers=[teacher], student=student):
        pass
    return load_experiment(folder)


def test_a_student_of_a_smaller_input(splits, tmp_path):
    experiment = trained(splits, tmp_path, SMALL, 7, None, replace(CONFIG, epochs=15, learning_rate=5e-3))
    runs = experiment.runs
    assert runs["teacher"].spec.size == (14, 14)
    assert runs["kd_student"].spec.size == runs["student"].spec.size == (7, 7)
    assert runs["student"].unadapted.state_dict()["1.weight"].shape == (49, 49)
    test = splits["test"]
    logits = predict_logits(runs["kd_student"].model, test, experiment.input.normalise)
    small = F.interpolate(test.images, (7, 7), mode="bicubic", antialias=True)
    direct = runs["kd_student"].unadapted(SMALL.normalise(small))
    assert torch.allclose(logits, direct, atol=0.02)
    assert (logits.argmax(1) == test.labels).float().mean() > 0.3  # it has learned what it is now given


def test_a_grey_student_of_a_teacher_that_sees_colours(splits, tmp_path):
    coloured = {
        name: replace(part, images=torch.cat([part.images, part.images // 2, 255 - part.images], 1))
        for name, part in splits.items()
    }
    experiment = trained(coloured, tmp_path, COLOUR, None, 1)
    student, test = experiment.runs["student"], coloured["test"]
    assert (student.spec.channels, experiment.runs["teacher"].spec.channels) == (1, 3)
    values = test.images.float() / 255
    luma = 0.299 * values[:, :1] + 0.587 * values[:, 1:2] + 0.114 * values[:, 2:]
    direct = student.unadapted((luma - student.spec.mean[0]) / student.spec.std[0])
    logits = predict_logits(student.model, test, experiment.input.normalise)
    assert torch.allclose(logits, direct, atol=1e-4)
    teacher = experiment.runs["teacher"]
    logits = predict_logits(teacher.model, test, experiment.input.normalise)
    assert torch.allclose(logits, teacher.unadapted(COLOUR.normalise(test.images)), atol=1e-4)


def test_a_live_teacher_sees_all_of_it(splits, tmp_path):
    config = replace(CONFIG, epochs=1, augment="shift", feature_loss="relational")
    assert trained(splits, tmp_path, SMALL, 7, None, config).runs["kd_student"].training["augment"] == "shift"


def test_equal_weights_with_other_inputs_are_told_apart():
    network = new_network("paper_fc", SMALL, 10, 0)
    picture, own = student_input(COLOUR, None, 1)
    other = replace(own, mean=(0.1,))
    assert len({AdaptedNetwork(network, picture, each).conversion for each in (own, other, own)}) == 2


def test_no_student_sees_more_than_its_teacher_and_no_sweep_forgets_what_it_sees(splits, tmp_path):
    for size, channels in ((15, None), (None, 3)):
        with pytest.raises(SettingError, match="cannot see more"):
            student_input(SMALL, size, channels)
    assert student_input(SMALL, 14, 1) == (SMALL, SMALL)
    with pytest.raises(SettingError, match="--student-size must be at least 2, got 1"):
        student_input(SMALL, 1, None)
    experiment = trained(splits, tmp_path, SMALL, 7, None, replace(CONFIG, epochs=1))
    with pytest.raises(ExperimentError, match="inputs of their own"):
        require_trainable(experiment, "sweep")


def test_the_recipe_says_what_the_students_see(splits, tmp_path, capsys):
    trained(splits, tmp_path, SMALL, 7, None, replace(CONFIG, epochs=1))
    assert main(["recipe", "-e", str(tmp_path), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["size"], values["student-size"], values.get("student-channels")) == (14, 7, None)
