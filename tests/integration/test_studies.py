"""Studies: what their tables say, what they do not do twice, and what they refuse."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import SMALL
from scipy.stats import binomtest
from sweeps import CONFIG, comparable, costs, count_trainings, finish, small_splits

from kdviz.cli.sweep import _print_study
from kdviz.core.errors import ExperimentError, KdvizError, ModelError, SettingError, UnknownNameError
from kdviz.distill import Stage, fit, predict_logits
from kdviz.distill.augment import Augment
from kdviz.distill.augment.views import view_of
from kdviz.distill.storage import view_logits
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import load_experiment
from kdviz.studies.sweep.export import write_events
from kdviz.studies.sweep.runner import (
    CURVES_SCHEMA,
    PREDICTIONS_SCHEMA,
    STUDIES,
    STUDY_SCHEMA,
    Cost,
    Sweep,
    summary,
)
from kdviz.studies.sweep.verdict import verdict

VALUES = {
    "temperature": [1.0, 4.0],
    "alpha": [0.5, 0.9],
    "teacher-epochs": [1, 2],
    "loss": ["soft_targets", "dist"],
    "transfer-set": ["training", "noise"],
}
EVERY = pytest.mark.parametrize("name", list(STUDIES))


@pytest.fixture(scope="module")
def splits(small_digits):
    return small_splits(small_digits)


@pytest.fixture(scope="module")
def _taught(_untrained, splits, tmp_path_factory):
    """The tiny experiment, with a teacher that knows something."""
    folder = shutil.copytree(_untrained, tmp_path_factory.mktemp("taught") / "tiny")
    experiment = load_experiment(folder)
    network = new_network("paper_fc", SMALL, 10, 7)
    for _ in fit(network, splits["train"], splits["validation"], SMALL.normalise, replace(CONFIG, epochs=6, seed=7)):
        pass
    experiment.add_run("teacher", "paper_fc", network, {"batch_size": 40, "learning_rate": 2e-3}, {})
    experiment.save()
    return folder


@pytest.fixture
def experiment(_taught, tmp_path):
    return load_experiment(shutil.copytree(_taught, tmp_path / "tiny"))


@pytest.fixture
def sweep(experiment, splits):
    def made(name="temperature", values=None, seeds=(0, 1), config=CONFIG, **more) -> Sweep:
        return Sweep(experiment, name, more.pop("splits", splits), values or VALUES[name], seeds, config, **more)

    return made


@pytest.fixture
def trainings(monkeypatch):
    return count_trainings(monkeypatch)


@pytest.fixture(scope="module")
def finished(_taught, splits, tmp_path_factory):
    """An experiment with all studies, two seeds each."""
    experiment = load_experiment(shutil.copytree(_taught, tmp_path_factory.mktemp("all") / "tiny"))
    for name, values in VALUES.items():
        finish(Sweep(experiment, name, splits, values, [0, 1], CONFIG))
    return experiment


def rows_of(experiment, name, **wanted) -> list[dict]:
    rows = experiment.table(STUDIES[name].table).to_pylist()
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def logits_of(experiment, row, end="") -> np.ndarray:
    path = experiment.folder / "runs" / row["run"] / f"logits-{row['split']}{end}.npy"
    return np.load(path, allow_pickle=False).astype(float)


# the tables -----------------------------------------------------------------------------------------------------------


def test_the_teacher_is_asked_about_each_split_once_and_about_training_pictures_only_to_be_learned_from(
    sweep, monkeypatch
):
    asked = []

    def spy(model, samples, *rest, **more):
        asked.append(samples.split)
        return predict_logits(model, samples, *rest, **more)

    monkeypatch.setattr("kdviz.studies.sweep.runner.predict_logits", spy)
    finish(sweep(seeds=[0]))
    assert sorted(asked) == ["test", "train", "validation"]
    asked.clear()
    finish(sweep(values=[1.0, 4.0, 9.0], seeds=[0]))  # the logits to learn from are kept
    assert sorted(asked) == ["test", "validation"]


@EVERY
def test_a_study_has_its_rows(finished, name):
    table = finished.table(STUDIES[name].table)
    assert table.schema.equals(STUDY_SCHEMA)
    rows = table.to_pylist()
    column, values = STUDIES[name].column, VALUES[name]
    keys = [(row["role"], row[column], row["seed"], row["split"]) for row in rows]
    teachers = [("teacher", value, seed) for value in values for seed in (0, 1)]
    wanted = [
        *(teachers if name == "teacher-epochs" else [("teacher", None, None)]),
        *(("student", None, seed) for seed in (0, 1)),
        *(("kd_student", value, seed) for value in values for seed in (0, 1)),
    ]
    assert len(keys) == len(set(keys))
    assert set(keys) == {(*key, split) for key in wanted for split in ("validation", "test")}
    for row in rows:
        assert row["samples"] == {"validation": 80, "test": 120}[row["split"]]
        assert row["teacher"] == finished.runs["teacher"].sha256[:8]
        if row["role"] != "teacher":
            assert (row["student"], row["epochs"], row["batch_size"], row["learning_rate"]) == ("paper_fc", 2, 50, 1e-3)
            assert json.loads(row["settings"]) == {"bf16": "off"}
            assert row["seconds"] > 0
        taught = row["role"] == "kd_student"
        assert (row["temperature"] is not None) == (row["alpha"] is not None) == (row["kd_loss"] is not None) == taught
        assert (row["fixed"] is not None) == (row["mcnemar_p"] is not None) == taught


@EVERY
def test_the_recipe_of_each_row_is_that_of_its_run(finished, name):
    for row in rows_of(finished, name, role="kd_student"):
        config = json.loads((finished.folder / "runs" / row["run"] / "result.json").read_text())["config"]
        told = (row["temperature"], row["alpha"], row["kd_loss"], row["seed"], row["epochs"])
        assert told == (config["temperature"], config["alpha"], config["loss"], config["seed"], config["epochs"])
        varied = {"temperature": 4.0, "alpha": 0.5, "kd_loss": "soft_targets"}
        varied.pop(STUDIES[name].column, None)
        assert all(row[key] == value for key, value in varied.items())


@EVERY
def test_every_figure_follows_from_the_logits(finished, splits, name):
    own_teacher = finished.runs["teacher"].model
    for row in rows_of(finished, name):
        if row["role"] == "teacher":
            continue
        labels = splits[row["split"]].labels.numpy()
        logits = logits_of(finished, row)
        chances = np.exp(logits - logits.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        predicted = logits.argmax(1)
        hits = [(predicted == labels)[labels == number] for number in range(10)]
        assert row["accuracy"] == pytest.approx(np.mean(predicted == labels), abs=2e-6)
        assert row["loss"] == pytest.approx(-np.log(chances[np.arange(len(labels)), labels]).mean(), abs=1e-5)
        assert row["class_accuracy"] == pytest.approx([hit.mean() for hit in hits])
        scores = [2 * hits[n].sum() / ((predicted == n).sum() + len(hits[n])) for n in range(10)]
        assert row["f1"] == pytest.approx(np.mean(scores), abs=2e-6)
        if name != "teacher-epochs":
            spoken = predict_logits(own_teacher, splits[row["split"]], SMALL.normalise, device="cpu").double().numpy()
        elif row["role"] == "kd_student":
            same = {column: row[column] for column in ("teacher_epochs", "seed", "split")}
            (teacher,) = rows_of(finished, name, role="teacher", **same)
            spoken = logits_of(finished, teacher, f"-{row['teacher_epochs']:04d}")
        else:
            assert row["same_as_teacher"] is row["kl_to_teacher"] is row["inherited_errors"] is None
            continue
        wrong = spoken.argmax(1) != labels
        assert wrong.sum() > 0
        assert row["same_as_teacher"] == pytest.approx(np.mean(predicted == spoken.argmax(1)), abs=2e-6)
        assert row["inherited_errors"] == pytest.approx(np.mean(predicted[wrong] == spoken.argmax(1)[wrong]), abs=2e-6)
        soft = np.exp(spoken - spoken.max(1, keepdims=True))
        soft /= soft.sum(1, keepdims=True)
        assert row["kl_to_teacher"] == pytest.approx((soft * np.log(soft / chances)).sum(1).mean(), abs=1e-5)


@EVERY
def test_what_students_fix_and_break_follows_from_the_logits(finished, splits, name):
    differing = 0
    for row in rows_of(finished, name, role="kd_student"):
        (alone,) = rows_of(finished, name, role="student", seed=row["seed"], split=row["split"])
        labels = splits[row["split"]].labels.numpy()
        before, after = (logits_of(finished, run).argmax(1) == labels for run in (alone, row))
        fixed, broken = int((after > before).sum()), int((after < before).sum())
        assert (row["fixed"], row["broken"]) == (fixed, broken)
        p_value = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
        assert row["mcnemar_p"] == pytest.approx(p_value)
        differing += fixed != broken
    assert differing > 2


def test_the_curves_are_those_of_the_runs(finished):
    table = finished.table("curves")
    assert table.schema.equals(CURVES_SCHEMA)
    rows = table.to_pylist()
    assert len({(row["run"], row["epoch"]) for row in rows}) == len(rows)
    runs = {row["run"] for name in STUDIES for row in rows_of(finished, name)} - {finished.runs["teacher"].sha256[:16]}
    assert {row["run"] for row in rows} == runs
    for run in runs:
        result = json.loads((finished.folder / "runs" / run / "result.json").read_text())
        own = [row for row in rows if row["run"] == run]
        assert [{k: v for k, v in row.items() if k not in ("run", "role")} for row in own] == result["curves"]
        (role,) = {row["role"] for row in own}
        assert role == result["role"]
        best = max(own, key=lambda row: (row["validation_accuracy"], -row["epoch"]))["epoch"]
        told = {row["best_epoch"] for name in STUDIES for row in rows_of(finished, name, run=run)}
        assert told == ({None} if role == "teacher" else {best})


def test_the_predictions_are_those_of_the_logits(finished, splits):
    table = finished.table("study_predictions")
    assert table.schema.equals(PREDICTIONS_SCHEMA)
    rows = table.to_pylist()
    assert len({(row["run"], row["split"]) for row in rows}) == len(rows)
    for row in rows:
        if row["role"] == "label":
            assert row["predicted"] == splits[row["split"]].labels.tolist()
        else:
            assert row["predicted"] == logits_of(finished, row).argmax(1).tolist()
    student_runs = {row["run"] for name in STUDIES for row in rows_of(finished, name) if row["role"] != "teacher"}
    assert {row["run"] for row in rows if row["role"] != "label"} == student_runs
    assert sorted(row["split"] for row in rows if row["role"] == "label") == ["test", "validation"]


@EVERY
def test_every_study_can_be_judged_and_summed_up(finished, name):
    table = finished.table(STUDIES[name].table)
    judged = verdict(table, finished.table("study_predictions"), name)
    assert judged.value in VALUES[name]
    assert judged.difference.seeds == 2
    for split in ("validation", "test"):
        for line in summary(table, name, split):
            own = rows_of(finished, name, role=line["role"], split=split, **{STUDIES[name].column: line["value"]})
            accuracies = [row["accuracy"] for row in own]
            assert line["seeds"] == len(own)
            assert line["accuracy"] == pytest.approx(np.mean(accuracies))
            if len(own) > 1:
                assert line["accuracy_sd"] == pytest.approx(np.std(accuracies, ddof=1))
            assert (line["accuracy_low"], line["accuracy_high"]) == (min(accuracies), max(accuracies))
            if line["role"] == "kd_student":
                assert line["fixed"] == pytest.approx(np.mean([row["fixed"] for row in own]))
    assert [line["value"] for line in summary(table, name) if line["role"] == "kd_student"] == sorted(VALUES[name])


def test_a_teacher_that_was_stopped_is_one_that_was_trained_so_long(finished, splits):
    for row in rows_of(finished, "teacher-epochs", role="teacher", split="test"):
        assert (row["epochs"], row["batch_size"], row["learning_rate"]) == (row["teacher_epochs"], 40, 2e-3)
        network, config = new_network("paper_fc", SMALL, 10, row["seed"]), replace(CONFIG, seed=row["seed"])
        config = replace(config, epochs=row["teacher_epochs"], batch_size=40, learning_rate=2e-3)
        state = {}
        for progress in fit(network, splits["train"], splits["validation"], SMALL.normalise, config):
            if progress.ends_epoch:
                state = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(state)  # its last epoch, not its best
        direct = predict_logits(network, splits["test"], SMALL.normalise, device="cpu")
        assert np.array_equal(
            direct.numpy(), logits_of(finished, row, f"-{row['teacher_epochs']:04d}").astype(np.float32)
        )
        assert row["accuracy"] == pytest.approx(
            float((direct.argmax(1) == splits["test"].labels).float().mean()), abs=2e-6
        )


def test_a_student_learns_from_the_teacher_of_its_seed_and_epochs(finished, splits):
    for row in rows_of(finished, "teacher-epochs", role="kd_student", split="test"):
        teacher, seed = row["teacher_epochs"], row["seed"]
        (run,) = {
            teacher_row["run"]
            for teacher_row in rows_of(finished, "teacher-epochs", role="teacher", seed=seed, teacher_epochs=teacher)
        }
        soft = torch.from_numpy(np.load(finished.folder / "runs" / run / f"logits-train-{teacher:04d}.npy"))
        network = new_network("paper_fc", SMALL, 10, seed)
        for _ in fit(network, splits["train"], splits["validation"], SMALL.normalise, replace(CONFIG, seed=seed), soft):
            pass
        direct = predict_logits(network, splits["test"], SMALL.normalise, device="cpu")
        assert np.array_equal(direct.numpy(), logits_of(finished, row).astype(np.float32))


def test_a_student_learns_from_the_experiments_teacher(finished, splits):
    (row,) = rows_of(finished, "temperature", role="kd_student", split="test", seed=1, temperature=1.0)
    soft = predict_logits(finished.runs["teacher"].model, splits["train"], SMALL.normalise, device="cpu")
    network, config = new_network("paper_fc", SMALL, 10, 1), replace(CONFIG, seed=1, temperature=1.0)
    for _ in fit(network, splits["train"], splits["validation"], SMALL.normalise, config, soft):
        pass
    direct = predict_logits(network, splits["test"], SMALL.normalise, device="cpu")
    # The teacher may have answered in bfloat16, where the machine is faster with it.
    np.testing.assert_allclose(direct.numpy(), logits_of(finished, row), atol=0.05)


@pytest.mark.parametrize("name", ["temperature", "teacher-epochs"])
def test_students_of_views_share_each_teachers_answers(sweep, experiment, splits, monkeypatch, name):
    asked = []
    predict = view_logits.predict_logits
    monkeypatch.setattr(view_logits, "predict_logits", lambda *a, **o: asked.append(a[1].images) or predict(*a, **o))
    config = replace(CONFIG, augment="shift", views=2)
    values = [2, 4] if name == "temperature" else [1, 2]
    finish(sweep(name, values, (0, 1), config))
    teachers = 1 if name == "temperature" else 2 * 2  # of both seeds, stopped twice
    assert len(asked) == 2 * teachers
    views = [view_of(splits["train"].images, Augment("shift", 10), view) for view in range(2)]
    assert all(torch.equal(images, views[number % 2]) for number, images in enumerate(asked))
    assert {json.loads(row["settings"])["views"] for row in rows_of(experiment, name, role="kd_student")} == {2}


# done once ------------------------------------------------------------------------------------------------------------


@EVERY
def test_a_study_that_is_done_does_nothing_again(sweep, experiment, trainings, name):
    assert finish(sweep(name))
    before = {path: path.read_bytes() for path in experiment.folder.rglob("*") if path.is_file()}
    trainings.clear()
    assert finish(sweep(name), estimate=True) == []
    assert trainings.started == []
    after = {path: path.read_bytes() for path in experiment.folder.rglob("*") if path.is_file()}
    assert before == after


def test_runs_that_studies_share_are_trained_once(sweep, experiment, trainings):
    finish(sweep("temperature", [4.0, 8.0], [0]))
    assert trainings.started == [(0, None), (0, 4.0), (0, 8.0)]
    trainings.clear()
    finish(sweep("alpha", [0.5, 0.9], [0]))  # at T = 4, alpha = 0.5 is there
    assert trainings.started == [(0, 4.0)]
    trainings.clear()
    finish(sweep("loss", ["soft_targets", "dist"], [0]))
    assert trainings.started == [(0, 4.0)]
    ((by_temperature,), (by_alpha,)) = (
        [
            row["run"]
            for row in rows_of(experiment, name, role="kd_student", split="test", **{STUDIES[name].column: value})
        ]
        for name, value in (("temperature", 4.0), ("alpha", 0.5))
    )
    assert by_temperature == by_alpha
    trainings.clear()
    finish(sweep("teacher-epochs", [1], [0]))
    assert len(trainings.started) == 2  # a teacher and its student


def test_shared_runs_need_no_files_either(sweep, experiment, trainings):
    finish(sweep("temperature", [4.0], [0]))
    shutil.rmtree(experiment.folder / "runs")
    trainings.clear()
    finish(sweep("alpha", [0.5, 0.9], [0]))
    assert trainings.started == [(0, 4.0)]
    row, _ = rows_of(experiment, "alpha", role="kd_student", alpha=0.9)
    assert row["fixed"] is not None  # the student alone is known from its predictions
    assert verdict(experiment.table("alpha"), experiment.table("study_predictions"), "alpha").rivals is not None


@EVERY
@pytest.mark.slow
def test_more_values_and_seeds_are_added(sweep, experiment, splits, trainings, tmp_path, name):
    further = {
        "temperature": 2.0,
        "alpha": 0.1,
        "teacher-epochs": 3,
        "loss": "decoupled",
        "transfer-set": "one_picture",
    }
    more = further[name]
    finish(sweep(name, seeds=[0]))
    rows, epochs = rows_of(experiment, name), len(trainings.epochs)
    trainings.clear()
    finish(sweep(name, [*VALUES[name], more], [0, 1]))
    assert all(row in rows_of(experiment, name) for row in rows)
    assert len(rows_of(experiment, name, role="kd_student")) == 2 * 3 * 2
    students = [(0, True), *((1, taught) for taught in (False, True, True, True))]
    teachers = [(0, False), (1, False)] if name == "teacher-epochs" else []
    assert sorted((seed, value is not None) for seed, value in trainings.started) == sorted(students + teachers)
    # The teacher of seed 0 goes on from where it stood, for one epoch more.
    assert len(trainings.epochs) == 2 * len(students) + (1 + 3 if teachers else 0)
    assert epochs == 2 * 3 + (2 if teachers else 0)
    at_once = load_experiment(shutil.copytree(experiment.folder, tmp_path / "other"))
    for path in (*at_once.folder.glob("*.parquet"), at_once.folder / "runs"):
        path.unlink() if path.is_file() else shutil.rmtree(path)
    finish(Sweep(at_once, name, splits, [*VALUES[name], more], [0, 1], CONFIG))
    assert comparable(at_once.table(STUDIES[name].table)) == comparable(experiment.table(STUDIES[name].table))
    for table in ("curves", "study_predictions"):
        assert comparable(at_once.table(table)) == comparable(experiment.table(table))


@EVERY
@pytest.mark.slow
def test_rows_stay_when_the_files_of_the_runs_are_gone(sweep, experiment, trainings, name):
    finish(sweep(name))
    before = comparable(experiment.table(STUDIES[name].table))
    shutil.rmtree(experiment.folder / "runs")
    trainings.clear()
    assert finish(sweep(name), estimate=True) == []
    assert trainings.started == []
    assert comparable(experiment.table(STUDIES[name].table)) == before
    assert not (experiment.folder / "runs").exists()
    finish(sweep(name, seeds=[0, 1, 2]))
    assert {seed for seed, _ in trainings.started} == {2}
    added = comparable(experiment.table(STUDIES[name].table))
    assert all(row in added for row in before)
    assert all(row["fixed"] is not None for row in rows_of(experiment, name, role="kd_student", seed=2))


@pytest.mark.parametrize("lost", ["temperature", "curves", "study_predictions"])
def test_a_lost_table_is_made_again_from_the_runs(sweep, experiment, trainings, lost):
    finish(sweep())
    before = comparable(experiment.table(lost))
    (experiment.folder / f"{lost}.parquet").unlink()
    trainings.clear()
    finish(sweep())
    assert trainings.started == []
    assert comparable(experiment.table(lost)) == before


def test_a_study_goes_on_where_it_was_stopped(sweep, experiment, trainings):
    events = sweep(seeds=[0]).run(estimate=False, threads=1)
    *_, last = islice(events, 15)  # 2 epochs of 4 steps and an end each are 10, then the run's end, then some steps
    assert (last.name, last.progress.epoch, last.progress.step) == ("T = 1, seed 0", 1, 4)
    events.close()
    trainings.clear()
    finish(sweep(seeds=[0]))
    assert trainings.started == [(0, 1.0), (0, 4.0)]
    assert {row["seed"] for row in rows_of(experiment, "temperature", role="kd_student")} == {0}


@pytest.mark.slow
def test_pupils_may_be_done_in_any_order(sweep, experiment, splits, tmp_path):
    # As on a cluster: a KD student may be done before the student alone that it is compared with.
    def backwards(work, jobs, shared=()):
        for number in reversed(range(len(jobs))):
            for _ in work(jobs[number], *shared):
                pass
            yield number, None

    other = load_experiment(shutil.copytree(experiment.folder, tmp_path / "other"))
    finish(sweep())
    finish(Sweep(other, "temperature", splits, VALUES["temperature"], [0, 1], CONFIG), engine=backwards)
    assert comparable(other.table("temperature")) == comparable(experiment.table("temperature"))
    assert all(row["fixed"] is not None for row in rows_of(other, "temperature", role="kd_student"))


def test_a_value_given_twice_is_one(sweep, experiment):
    finish(sweep(values=[4, 4.0, "4"], seeds=[0, 0]))
    assert len(rows_of(experiment, "temperature")) == 2 * 3


def test_results_can_be_elsewhere(sweep, experiment, tmp_path, trainings):
    finish(sweep(seeds=[0], results=tmp_path / "elsewhere"))
    assert not (experiment.folder / "runs").exists()
    (experiment.folder / "temperature.parquet").unlink()
    trainings.clear()
    finish(sweep(seeds=[0], results=f"file://{tmp_path}/elsewhere"))
    assert trainings.started == []


def test_stages_count_the_runs_that_are_left(sweep):
    events = finish(sweep())
    assert all(isinstance(event, Stage) for event in events)
    ends = [(event.name, event.number, event.count) for event in events if event.progress is None]
    names = ["alone, seed 0", "alone, seed 1", *(f"T = {value}, seed {seed}" for value in (1, 4) for seed in (0, 1))]
    assert ends == [(name, number, 6) for number, name in enumerate(names, 1)]
    events = finish(sweep("teacher-epochs", seeds=[1]))
    names = [event.name for event in events if event.progress is None]
    assert names == ["teacher, seed 1", "epochs = 1, seed 1", "epochs = 2, seed 1"]


def test_a_schedule_is_recorded_as_one(sweep, experiment):
    finish(sweep("alpha", [0.5], [0], replace(CONFIG, temperature="4:1")))
    row, _ = rows_of(experiment, "alpha", role="kd_student")
    assert row["temperature"] is None
    assert json.loads(row["settings"])["temperature"] == "4:1"
    curves = [epoch for epoch in experiment.table("curves").to_pylist() if epoch["run"] == row["run"]]
    assert [epoch["temperature"] for epoch in curves] == [4.0, 1.0]


# what it will cost ----------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.slow
def test_the_cost_comes_first(sweep, name):
    events = finish(sweep(name), estimate=True)
    (cost,) = costs(events)
    assert events[0] is cost
    teachers = 2 if name == "teacher-epochs" else 0
    assert (cost.runs, cost.epochs) == (2 + 4 + teachers, 2 * 6 + 2 * teachers)
    assert 0 < cost.seconds < 60
    assert not costs(finish(sweep(name, seeds=[0, 1, 2])))
    (left,) = costs(finish(sweep(name, seeds=[0, 1, 2, 3]), estimate=True))
    assert (left.runs, left.epochs) == (3 + teachers // 2, 6 + teachers)


@pytest.mark.slow
def test_an_estimate_trains_an_epoch_of_each_network_and_keeps_it(sweep, experiment, trainings):
    experiment.add_run("teacher", "paper_cnn", new_network("paper_cnn", SMALL, 10, 0).eval(), {}, {})
    experiment.save()
    config = replace(CONFIG, epochs=3)
    (cost,) = finish(sweep("teacher-epochs", [1, 3], [0, 1], config), estimate_only=True)
    assert isinstance(cost, Cost)
    assert (cost.runs, cost.epochs) == (8, 3 * 8)
    complete = [epoch for _, epoch in trainings.epochs if epoch == 1]
    assert len(trainings.started) == len(complete) == 2  # of a second epoch a step was done, to have the first one kept
    assert not experiment.has_table("teacher_epochs")
    kept = {path.parent.name for path in (experiment.folder / "runs").glob("*/checkpoint.pt")}
    assert len(kept) == 2
    trainings.clear()
    finish(sweep("teacher-epochs", [1, 3], [0, 1], config))
    epochs = [epoch for _, epoch in trainings.epochs]
    assert (epochs.count(1), epochs.count(2), epochs.count(3)) == (6, 8, 8)


def test_estimating_again_trains_nothing_more(sweep, trainings):
    config = replace(CONFIG, epochs=3)
    (first,) = finish(sweep(config=config), estimate_only=True)
    trainings.clear()
    (second,) = finish(sweep(config=config), estimate_only=True)
    assert (first.runs, first.epochs, first.seconds) == (second.runs, second.epochs, second.seconds)
    assert 1 not in {epoch for _, epoch in trainings.epochs}


def test_an_estimate_of_a_study_that_is_done(sweep):
    finish(sweep(seeds=[0]))
    assert finish(sweep(seeds=[0]), estimate=True, estimate_only=True) == []


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("temperature", [0.0], "temperature"),
        ("temperature", [float("nan")], "temperature"),
        ("temperature", ["10:1"], "'10:1' is no value of temperature"),
        ("temperature", [None], "'None' is no value of temperature"),
        ("alpha", [0.5, 2.0], "alpha"),
        ("alpha", [-0.1], "alpha"),
        ("teacher-epochs", [0], "at least one epoch, got 0"),
        ("teacher-epochs", [1.5], "'1.5' is no value of teacher_epochs"),
        ("teacher-epochs", ["many"], "'many' is no value of teacher_epochs"),
        ("loss", [4.0], "'4.0' is no value of kd_loss"),
    ],
    ids=str,
)
def test_a_value_outside_its_range(sweep, experiment, name, values, reason):
    with pytest.raises(SettingError, match=reason):
        sweep(name, values)
    assert not (experiment.folder / "runs").exists()


def test_the_teacher_is_there_for_the_losses_between_layers_among_the_values(sweep, experiment):
    finish(sweep("loss", ["dist", "10 hints"], [0]))
    assert set(experiment.table("loss")["kd_loss"].to_pylist()) == {None, "dist", "soft_targets + 10 hints"}


def test_explanations_of_the_teacher_are_computed_once_for_all_seeds(sweep, experiment):
    study = sweep("loss", ["10 rise_maps", "input_gradient"], [0, 1])
    finish(study)
    values = {None, "soft_targets + 10 rise_maps", "soft_targets + input_gradient"}
    assert set(experiment.table("loss")["kd_loss"].to_pylist()) == values
    kept = sorted(path.name.split("-plain-")[1] for path in Path(study.store.url).rglob("*-plain-*.npy"))
    epochs = [f"rise_maps-cells=7-every=6-epoch-{epoch:04d}.npy" for epoch in range(1, CONFIG.epochs + 1)]
    assert kept == ["input_gradient-view-0000.npy", *epochs]


def test_the_columns_of_the_command_stand_below_their_titles(sweep, experiment, capsys):
    finish(sweep("loss", ["dist", "10 relational"], [0]))
    _print_study(experiment, "loss", as_json=False, margin=0.005)
    lines = capsys.readouterr().out.splitlines()[:5]
    end = lines[0].index("accuracy") + len("accuracy")
    assert any("soft_targets + 10 relational" in line for line in lines)
    assert all(line[end - 1] == "%" and line[end] == " " for line in lines[1:])


def test_settings_of_distillation_do_not_part_the_students_alone(sweep, experiment):
    finish(sweep("loss", ["soft_targets"], [0]))
    config = replace(CONFIG, feature_loss="hints", feature_weight=10.0)
    finish(sweep("loss", ["soft_targets", "10 hints"], [0], config))
    alone = [row for row in experiment.table("loss").to_pylist() if row["role"] == "student"]
    assert len(alone) == 2  # one for each split


def test_an_unknown_loss_is_met_with_the_closest(sweep):
    with pytest.raises(UnknownNameError, match=r"Unknown .*'dits'\. Did you mean 'dist'"):
        sweep("loss", ["soft_targets", "dits"])


@pytest.mark.parametrize("changed", [{"values": []}, {"seeds": []}], ids=str)
def test_nothing_to_do_is_refused(experiment, splits, changed):
    given = {"values": [4.0], "seeds": [0], **changed}
    with pytest.raises(SettingError, match="at least one value and one seed"):
        Sweep(experiment, "temperature", splits, given["values"], given["seeds"], CONFIG)


def test_a_wrong_seed_is_refused_before_anything_is_trained(sweep, trainings):
    with pytest.raises(SettingError, match="seed"):
        sweep(seeds=[0, -1])
    assert trainings.started == []


@pytest.mark.parametrize("missing", ["teacher", "kd_student"])
def test_an_experiment_without_a_role(sweep, experiment, missing):
    del experiment.runs[missing]
    with pytest.raises(ExperimentError, match=f"has no {missing}"):
        sweep()


@pytest.mark.parametrize("record", [{"epochs": 3, "weights_from": "imagenet.pth"}, {"trained": False}])
def test_a_teacher_with_weights_from_elsewhere_has_no_epochs_to_study(sweep, experiment, record):
    experiment.runs["teacher"].training = record
    with pytest.raises(ExperimentError, match="began with weights from elsewhere"):
        sweep("teacher-epochs")
    sweep("temperature")


def test_a_teacher_is_known_by_what_it_is_trained_on(sweep):
    plan = sweep("teacher-epochs").plan
    (first, *_), (other, *_) = plan.teachers, replace(plan, teacher_data="features of another backbone").teachers
    assert first.identity != other.identity
    assert [run.identity for run in plan.alone] == [
        run.identity for run in replace(plan, teacher_data="features of another backbone").alone
    ]


def test_a_teacher_of_other_classes(sweep, experiment):
    experiment.classes = tuple("1023456789")
    for name in STUDIES:
        with pytest.raises(ModelError, match="Class 0 is '1' for the teacher and '0' for the student"):
            sweep(name)


@EVERY
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"epochs": 3}, "with epochs 2, not 3"),
        ({"batch_size": 49}, "with batch_size 50, not 49"),
        ({"learning_rate": 2e-3}, "with learning_rate 0.001, not 0.002"),
        ({"label_smoothing": 0.1}, 'with settings {"bf16": "off"}, not {"bf16": "off", "label_smoothing": 0.1}'),
        ({"kd_epochs": 1}, '"kd_epochs": 1'),
        ({"temperature": 2.0}, "with temperature 4.0, not 2.0"),
        ({"alpha": 0.7}, "with alpha 0.5, not 0.7"),
        ({"loss": "dist"}, "with kd_loss soft_targets, not dist"),
        ({"temperature": "4:1"}, '"temperature": "4:1"'),
        ("data", "with other data"),
        ("network", "with student paper_fc, not paper_cnn"),
    ],
    ids=str,
)
def test_a_table_of_another_recipe_is_not_continued(finished, splits, name, changed, reason):
    if isinstance(changed, dict) and name in changed:
        return  # it is what is varied
    config = replace(CONFIG, **changed) if isinstance(changed, dict) else CONFIG
    if changed == "data":
        splits = {**splits, "test": splits["test"].take(torch.arange(119))}
    student = finished.runs["kd_student"]
    network = "paper_cnn" if changed == "network" else student.network
    experiment = replace(finished, runs={**finished.runs, "kd_student": replace(student, network=network)})
    with pytest.raises(ExperimentError) as caught:
        Sweep(experiment, name, splits, VALUES[name], [0, 1, 2], config)
    assert reason in str(caught.value)
    assert f"{STUDIES[name].table}.parquet' was made with" in str(caught.value)
    assert "move that file away" in str(caught.value)


def test_a_table_of_another_teacher_is_not_continued(sweep, experiment):
    finish(sweep(seeds=[0]))
    experiment.add_run("teacher", "paper_fc", new_network("paper_fc", SMALL, 10, 99).eval(), {}, {})
    with pytest.raises(ExperimentError, match="was made with teacher"):
        sweep(seeds=[0])


def test_a_table_of_an_earlier_version_is_not_continued(sweep, experiment):
    old = pa.table({"role": ["student"], "temperature": [None], "seed": [0], "split": ["test"], "accuracy": [0.5]})
    experiment.write_table("temperature", old)
    with pytest.raises(ExperimentError, match=r"temperature\.parquet' was made by an earlier version of kdviz; .*move"):
        sweep()
    finish(sweep("alpha", seeds=[0]))  # and does not disturb other studies


# tables while it runs -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_whoever_reads_a_table_gets_a_whole_one(sweep, experiment):
    stop, sizes, errors = threading.Event(), {}, []

    def read():
        while not stop.is_set():
            for name in ("temperature", "curves", "study_predictions"):
                if experiment.has_table(name):
                    try:
                        sizes.setdefault(name, []).append(experiment.table(name).num_rows)
                    except Exception as error:
                        errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    finish(sweep(values=[1.0, 2.0, 4.0, 8.0]))
    stop.set()
    reader.join()
    assert not errors
    assert all(seen == sorted(seen) for seen in sizes.values())
    assert len(set(sizes["temperature"])) > 2  # it was seen to grow
    assert experiment.table("temperature").num_rows == 2 * (1 + 2 + 8)


def test_a_table_that_is_replaced_while_it_is_read(experiment):
    # A reader that opens the file twice gets the head of one and the body of the other.
    tables = [pa.table({"a": list(range(size)), "b": [str(number) for number in range(size)]}) for size in (10, 4000)]
    experiment.write_table("replaced", tables[0])
    stop = threading.Event()

    def write():
        for table in cycle(tables):
            experiment.write_table("replaced", table)
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {experiment.table("replaced").num_rows for _ in range(500)} <= {10, 4000}
    finally:
        stop.set()
        writer.join()


def test_a_row_in_the_table_has_its_predictions(sweep, experiment, monkeypatch):
    # A kill between the tables must not leave a run that counts as done and cannot be judged.
    written = []
    write = type(experiment).write_table

    def noted(self, name, table):
        written.append(name)
        if written.count("temperature") == 3:
            raise KdvizError("stopped")
        write(self, name, table)

    monkeypatch.setattr(type(experiment), "write_table", noted)
    with pytest.raises(KdvizError, match="stopped"):
        finish(sweep())
    said = {row["run"] for row in experiment.table("study_predictions").to_pylist()}
    assert {row["run"] for row in rows_of(experiment, "temperature") if row["role"] != "teacher"} <= said


def test_a_run_that_fails_ends_the_study_and_keeps_the_others(sweep, experiment, monkeypatch):
    def failing(network, *args, **options):
        if args[3].temperature == 8.0:
            raise ModelError("The loss became nan.")
        return fit(network, *args, **options)

    monkeypatch.setattr("kdviz.distill.runs.fit", failing)
    with pytest.raises(ModelError, match="became nan"):
        finish(sweep(values=[4.0, 8.0], seeds=[0]))
    assert {row["temperature"] for row in rows_of(experiment, "temperature", role="kd_student")} == {4.0}


# the curves for other tools -------------------------------------------------------------------------------------------


def test_the_curves_can_be_seen_in_tensorboard(finished, tmp_path):
    pytest.importorskip("tensorboard", reason="needs TensorBoard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = finished.table("curves").to_pylist()
    for name in STUDIES:
        out = tmp_path / name
        runs = {
            row["run"]: row for row in rows_of(finished, name) if any(epoch["run"] == row["run"] for epoch in curves)
        }
        for _ in range(2):  # again: replaced, not added to
            assert write_events(finished, STUDIES[name].table, out) == len(runs)
        folders = {path.name.rpartition("-")[2]: path for path in out.iterdir()}
        assert folders.keys() == {run[:6] for run in runs}
        for run, row in runs.items():
            folder = folders[run[:6]]
            assert folder.name.startswith(row["role"])
            assert f"seed{row['seed']}" in folder.name
            (_,) = folder.iterdir()
            events = EventAccumulator(str(folder)).Reload()
            own = [epoch for epoch in curves if epoch["run"] == run]
            tags = {"loss/train", "loss/validation", "accuracy/train", "accuracy/validation"}
            assert set(events.Tags()["scalars"]) == tags
            for tag in tags:
                figure, _, split = tag.partition("/")
                told = [(event.step, event.value) for event in events.Scalars(tag)]
                wanted = [(epoch["epoch"], pytest.approx(epoch[f"{split}_{figure}"], rel=1e-6)) for epoch in own]
                assert told == wanted
    names = {path.name for name in STUDIES for path in (tmp_path / name).iterdir()}
    assert any(name.startswith("kd_student-T4-alpha0.5-dist-seed1-") for name in names)
    assert any(name.startswith("kd_student-T4-alpha0.5-teacher2-seed0-") for name in names)


def test_events_that_cannot_be_written_are_one_sentence(finished, tmp_path):
    pytest.importorskip("tensorboard", reason="needs TensorBoard")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(KdvizError, match=r"^Cannot write into"):
        write_events(finished, "temperature", tmp_path / "file")


def test_without_tensorboard_the_reason_is_said(finished, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(SettingError, match=r'pip install "kdviz\[tensorboard\]"'):
        write_events(finished, "temperature", tmp_path)


def test_a_loss_between_layers_that_are_not_there_is_refused_before_anything_is_trained(sweep, trainings):
    losses = ["soft_targets", "soft_targets + 10 attention_transfer"]  # all networks are fully connected
    with pytest.raises(ModelError, match="has no convolution"):
        finish(sweep("loss", losses))
    assert trainings.started == []
