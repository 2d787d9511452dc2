"""Trainings with a planted shortcut: who sees it, what is recorded, and what stays as it was without one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import SMALL
from interruptible import QUICK, few_digits, stages_of

from kdviz.cli import main
from kdviz.core.errors import SettingError
from kdviz.core.files import Store
from kdviz.data.shortcuts.planting import PlantedShortcut
from kdviz.distill import experiment_trainer, training
from kdviz.distill.experiment_trainer import ExperimentTrainer, LabelBudget, ModelSource
from kdviz.distill.recipes import study_inputs
from kdviz.experiment import load_experiment
from kdviz.studies.shortcuts import planted_in

SHORT = replace(QUICK, epochs=1)
ROLES = ["teacher", "kd_student", "student"]


@pytest.fixture
def seen(monkeypatch):
    """The training and validation pictures of each training from now on."""
    pictures = []

    def fit(network, train, validation, *args, **more):
        pictures.append((train, validation))
        return training.fit(network, train, validation, *args, **more)

    monkeypatch.setattr(experiment_trainer, "fit", fit)
    return pictures


@pytest.mark.parametrize("shown_to", ["all", "teacher", "random", "students"])
def test_who_sees_the_shortcut_and_that_it_is_recorded(shown_to, tmp_path, seen, capsys):
    splits, shortcut = few_digits(), PlantedShortcut("patch", 0.5, shown_to, seed=3)
    list(stages_of(tmp_path / "e", SHORT, splits, shortcut=shortcut))
    own, students = shortcut.for_teacher(splits["train"]), shortcut.for_students(splits["train"])
    assert [train.fingerprint for train, _ in seen] == [own.fingerprint, students.fingerprint, students.fingerprint]
    assert (own.fingerprint == splits["train"].fingerprint) == (shown_to == "students")
    assert (students.fingerprint == splits["train"].fingerprint) == (shown_to == "teacher")
    assert {validation.fingerprint for _, validation in seen} == {splits["validation"].fingerprint}
    experiment = load_experiment(tmp_path / "e")
    recorded = {role: "planted" in run.training for role, run in experiment.runs.items()}
    ignorant = {"teacher": ("kd_student", "student"), "students": ("teacher",)}.get(shown_to, ())
    assert recorded == {role: role not in ignorant for role in ROLES}
    assert planted_in(experiment) == shortcut
    assert main(["recipe", "-e", str(tmp_path / "e")]) == 0
    assert f'plant = "patch"\nshare = 0.5\nplant-for = "{shown_to}"\n' in capsys.readouterr().out
    assert {run.training["data"] for run in experiment.runs.values()} == {splits["train"].fingerprint[:16]}


@pytest.mark.parametrize("shown_to", ["teacher", "students"])
def test_a_sweep_trains_on_the_same_pictures(shown_to, tmp_path):
    splits, shortcut = few_digits(), PlantedShortcut("patch", 0.5, shown_to)
    list(stages_of(tmp_path / "e", SHORT, splits, shortcut=shortcut))
    inputs = study_inputs(load_experiment(tmp_path / "e"), splits, Store(tmp_path / "store"), SHORT)
    assert inputs.splits["train"].fingerprint == shortcut.for_students(splits["train"]).fingerprint
    assert inputs.teacher_splits["train"].fingerprint == shortcut.for_teacher(splits["train"]).fingerprint
    assert inputs.teacher_splits["test"] is splits["test"]


def test_only_what_is_labelled_is_planted(tmp_path, seen):
    splits, shortcut = few_digits(), PlantedShortcut("patch", 1.0)
    list(stages_of(tmp_path / "e", SHORT, splits, shortcut=shortcut, label_budget=LabelBudget(50)))
    train, _ = seen[0]
    assert len(train) == 50
    whites = (train.images == 255).flatten(1).sum(1)
    assert bool((whites >= 4).all())


def test_without_a_shortcut_unfinished_trainings_keep_their_names(tmp_path):
    splits = few_digits()

    def identity(shortcut=None):
        trainer = ExperimentTrainer(splits, SMALL, tmp_path, QUICK, LabelBudget(), shortcut)
        return trainer._inputs(splits)

    assert set(identity()) == {"data", "input", "few", "unlabelled"}
    assert identity(PlantedShortcut("patch"))["planted"]["kind"] == "patch"
    assert identity(PlantedShortcut("patch")) != identity(PlantedShortcut("frame"))
    students = PlantedShortcut("patch", shown_to="students")
    assert identity(students) not in (identity(), identity(PlantedShortcut("patch")))


def test_a_trained_teacher_is_refused(tmp_path):
    shortcut = PlantedShortcut("patch")
    with pytest.raises(SettingError, match="this teacher is trained"):
        list(stages_of(tmp_path / "e", shortcut=shortcut, teachers=[ModelSource("paper_fc", {}, trained=True)]))
    logits = torch.zeros(200, 10)
    with pytest.raises(SettingError, match="this teacher is trained"):
        list(stages_of(tmp_path / "e", shortcut=shortcut, teachers=[], teacher_logits=logits))
    students = PlantedShortcut("patch", shown_to="students")  # which a teacher need not have seen
    list(stages_of(tmp_path / "e", SHORT, few_digits(), shortcut=students, teachers=[], teacher_logits=logits))
    assert planted_in(load_experiment(tmp_path / "e")) == students


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--share", ".5"], 2, "only with --plant"),
        (["--plant-for", "all"], 2, "only with --plant"),
        (["--plant", "stain"], 2, "patch"),
        (["--plant", "patch", "--share", "2"], 1, "above 0 and at most 1"),
    ],
)
def test_wrong_options_are_refused_before_the_data_are_read(options, status, says, tmp_path, capsys):
    command = ["train", "mnist", "--data", str(tmp_path), "--out", str(tmp_path / "e"), *options]
    if status == 1:
        assert main(command) == 1
    else:
        with pytest.raises(SystemExit) as end:
            main(command)
        assert end.value.code == status
    assert says in capsys.readouterr().err
