"""Experiments and sweeps whose KD student is distilled on a transfer set."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import SMALL
from PIL import Image
from sweeps import CONFIG, finish, small_splits

from kdviz.cli.common.progress import measured_text
from kdviz.core.errors import SettingError
from kdviz.data.shortcuts.planting import PlantedShortcut
from kdviz.distill import train_experiment
from kdviz.distill.sources import LabelBudget, ModelSource
from kdviz.distill.storage.run_files import new_network, read_weights
from kdviz.experiment import load_experiment
from kdviz.studies.sweep.runner import Sweep

NOISE = replace(CONFIG, transfer_set="noise")


@pytest.fixture(scope="module")
def splits(small_digits):
    return small_splits(small_digits)


@pytest.fixture(scope="module")
def teacher():
    return ModelSource("paper_fc", new_network("paper_fc", SMALL, 10, 7).state_dict(), trained=True)


def trained(splits, folder, config, teacher, **more):
    student = ModelSource("paper_fc")
    stages = train_experiment(splits, SMALL, "mnist", folder, config, teachers=[teacher], student=student, **more)
    return list(stages), load_experiment(folder)


def weights(experiment, role):
    return experiment.runs[role].sha256


def test_the_kd_student_sees_no_picture_and_no_label_of_the_data_set(splits, teacher, tmp_path):
    """Other pictures and labels change the student alone, and leave the KD student as it is."""
    other = {name: replace(part, images=255 - part.images, labels=part.labels.flip(0)) for name, part in splits.items()}
    stages, first = trained(splits, tmp_path / "a", NOISE, teacher)
    _, second = trained(other, tmp_path / "b", NOISE, teacher)
    assert weights(first, "student") != weights(second, "student")
    assert weights(first, "kd_student") == weights(second, "kd_student")
    record = first.runs["kd_student"].training
    assert record["transfer_set"] == "noise"
    assert record["selected_by"] == "agreement with the teacher"
    assert record["train_samples"] == len(splits["train"])
    assert "transfer_set" not in first.runs["student"].training
    assert {stage.name for stage in stages if stage.progress} == {"kd_student", "student"}
    ends = {(stage.name, measured_text(stage.progress).rpartition(" ")[0]) for stage in stages if ends_epoch(stage)}
    assert ends == {("kd_student", "agreement with the teacher"), ("student", "validation")}


def ends_epoch(stage):
    return stage.progress is not None and stage.progress.ends_epoch


def test_the_sweep_of_an_experiment_trains_the_same_student(splits, teacher, tmp_path):
    _, experiment = trained(splits, tmp_path / "a", NOISE, teacher)
    sweep = Sweep(experiment, "transfer-set", splits, ["training", "noise"], [0], CONFIG)
    finish(sweep)
    rows = {row["transfer_set"]: row for row in experiment.table("transfer_set").to_pylist() if row["split"] == "test"}
    assert rows.keys() == {None, "training", "noise"}
    run = next(run for value, run in sweep.plan.students if value == "noise")
    swept = read_weights(sweep.store, run, 10).state_dict()
    own = experiment.runs["kd_student"].model.state_dict()
    assert all(torch.equal(swept[name], own[name]) for name in own)
    assert rows["training"]["run"] != rows["noise"]["run"]


def test_transfer_sets_go_with_views_and_live_teachers(splits, teacher, tmp_path):
    for number, more in enumerate(({"augment": "shift", "views": 2}, {"augment": "shift"}, {"feature_loss": "hints"})):
        _, experiment = trained(splits, tmp_path / str(number), replace(NOISE, epochs=1, **more), teacher)
        assert experiment.runs["kd_student"].training["transfer_set"] == "noise"


def test_what_a_transfer_set_cannot_go_with_is_refused(splits, teacher, tmp_path):
    with pytest.raises(SettingError, match="one teacher"):
        trained(splits, tmp_path, NOISE, teacher, label_budget=LabelBudget(100, pseudo_labels=0.5))
    logits = torch.zeros(len(splits["train"]), 10)
    stages = train_experiment(
        splits, SMALL, "mnist", tmp_path, NOISE, teachers=[], student=ModelSource("paper_fc"), teacher_logits=logits
    )
    with pytest.raises(SettingError, match="one teacher"):
        list(stages)
    shortcut = PlantedShortcut("patch", shown_to="students")
    with pytest.raises(SettingError, match="plant it for the teacher alone"):
        trained(splits, tmp_path, NOISE, teacher, shortcut=shortcut)


def test_steps_are_refused_where_nothing_takes_them(splits, teacher, tmp_path):
    with pytest.raises(SettingError, match="'noise' has none; leave them away, or choose generated"):
        trained(splits, tmp_path, replace(NOISE, transfer_steps=5), teacher)
    _, experiment = trained(splits, tmp_path, replace(NOISE, epochs=1), teacher)
    config = replace(CONFIG, transfer_steps=5)
    Sweep(experiment, "transfer-set", splits, ["noise", "generated"], [0], config)
    for study, values in (("transfer-set", ["noise"]), ("temperature", [4.0])):
        with pytest.raises(SettingError, match="transfer_steps"):
            Sweep(experiment, study, splits, values, [0], config)


def test_a_sweep_refuses_pictures_that_are_no_transfer_set_before_its_estimate(splits, teacher, tmp_path):
    _, experiment = trained(splits, tmp_path, replace(NOISE, epochs=1), teacher)
    (tmp_path / "none").mkdir()
    with pytest.raises(SettingError, match="at least 20 pictures"):
        Sweep(experiment, "transfer-set", splits, ["noise", str(tmp_path / "none")], [0], CONFIG)


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_pictures_are_refused_before_anything_is_trained(splits, tmp_path, count):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(count):
        Image.new("L", SMALL.size).save(pictures / f"{number}.png")
    config = replace(CONFIG, transfer_set=str(pictures))
    with pytest.raises(SettingError, match=f"at least 20 pictures, and '.*' has {count}"):
        trained(splits, tmp_path / "e", config, ModelSource("paper_fc"))  # whose training comes first
    Image.new("L", (5, 5)).save(pictures / "small.png")
    with pytest.raises(SettingError, match="5 x 5 pixels"):
        trained(
            splits, tmp_path / "e", replace(CONFIG, transfer_set=str(pictures / "small.png")), ModelSource("paper_fc")
        )
    assert not (tmp_path / "e").exists()
