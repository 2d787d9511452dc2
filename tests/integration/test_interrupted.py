"""An experiment's training that is interrupted goes on where it was, and ends with the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interruptible import QUICK, few_digits, stages_of

from kdviz.distill.experiment_trainer import LabelBudget, ModelSource
from kdviz.distill.storage.interrupted import forget_unfinished
from kdviz.experiment import load_experiment

STEPS = 4  # of 200 samples, an epoch
ROLES = ("teacher", "kd_student", "student")


def complete(*args, **more) -> tuple[dict[str, str], Counter[str]]:
    """Role -> SHA-256 of the weights, and how many steps were trained for each."""
    steps: Counter[str] = Counter()
    for stage in stages_of(*args, **more):
        steps[stage.name] += stage.progress is not None and not stage.progress.ends_epoch
    return {role: run.sha256 for role, run in load_experiment(args[0]).runs.items()}, steps


def interrupt(out, at: tuple[str, int, int], *args, **more) -> None:
    """Stop at a step of an epoch of a training."""
    stages = stages_of(out, *args, **more)
    for stage in stages:
        if stage.progress is not None and (stage.name, stage.progress.epoch, stage.progress.step) == at:
            break
    else:
        pytest.fail("it was over before")
    stages.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an uninterrupted training ends with."""
    weights, steps = complete(tmp_path_factory.mktemp("whole") / "e")
    assert steps == dict.fromkeys(ROLES, 4 * STEPS)
    return weights


@pytest.mark.parametrize(
    ("at", "left"),
    [
        (("teacher", 1, 2), (16, 16, 16)),
        (("teacher", 3, 3), (8, 16, 16)),
        (("kd_student", 1, 1), (0, 16, 16)),
        (("kd_student", 4, 4), (0, 4, 16)),
        (("student", 2, 4), (0, 0, 12)),
    ],
    ids=str,
)
def test_it_goes_on_where_it_was(whole, tmp_path, at, left):
    interrupt(tmp_path / "e", at)
    assert not (tmp_path / "e" / "experiment.json").exists()
    weights, steps = complete(tmp_path / "e")
    assert weights == whole
    assert tuple(steps[role] for role in ROLES) == left
    assert not (tmp_path / "e" / "runs" / "unfinished").exists()


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from interruptible import stages_of
for stage in stages_of(sys.argv[2]):
    print(stage.name, stage.progress.epoch, stage.progress.step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a process is killed as POSIX does it")
def test_a_killed_process_goes_on(whole, tmp_path):
    tests = Path(__file__).resolve().parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(tests), str(tests / "support"), str(tests.parent), os.environ.get("PYTHONPATH", "")]
        ),
    }
    command = [sys.executable, "-c", SCRIPT, str(tests / "support"), str(tmp_path / "e")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split() == ["kd_student", "3", "2"]:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    weights, steps = complete(tmp_path / "e")
    assert weights == whole
    assert steps["teacher"] == 0
    assert steps["kd_student"] <= 2 * STEPS  # the epoch that was under way, and what was left


def test_a_damaged_state_counts_as_none(whole, tmp_path):
    interrupt(tmp_path / "e", ("kd_student", 2, 1))
    for path in (tmp_path / "e" / "runs" / "unfinished").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    weights, steps = complete(tmp_path / "e")
    assert weights == whole
    assert steps["teacher"] == 4 * STEPS


@pytest.mark.slow
@pytest.mark.parametrize("what", ["recipe", "seed", "data", "validation", "teacher's recipe", "teacher"])
def test_another_training_in_the_same_folder_begins_afresh(tmp_path, what):
    splits = few_digits()
    more: dict = {
        "recipe": {"config": replace(QUICK, learning_rate=2e-3)},
        "seed": {"config": replace(QUICK, seed=5)},
        "data": {"splits": {**splits, "train": splits["train"].take(torch.arange(199, -1, -1))}},
        "validation": {"splits": {**splits, "validation": splits["validation"].take(torch.arange(30))}},
        "teacher's recipe": {"teacher_config": replace(QUICK, learning_rate=5e-4)},
        "teacher": {"teachers": [ModelSource("paper_cnn")]},
    }[what]
    interrupt(tmp_path / "e", ("student", 3, 1))
    other, _ = complete(tmp_path / "other", **more)
    weights, steps = complete(tmp_path / "e", **more)
    assert weights == other
    kept = {"teacher's recipe": ("student",), "teacher": ("student",)}.get(what, ())  # it is the same training
    assert {role for role in ROLES if steps[role] == 4 * STEPS} == {*ROLES} - {*kept}
    assert not (tmp_path / "e" / "runs" / "unfinished").exists()


def test_another_temperature_trains_the_kd_student_alone_again(whole, tmp_path):
    interrupt(tmp_path / "e", ("student", 2, 1))
    weights, steps = complete(tmp_path / "e", replace(QUICK, temperature=9.0))
    assert (weights["teacher"], weights["student"]) == (whole["teacher"], whole["student"])
    assert weights["kd_student"] != whole["kd_student"]
    assert (steps["teacher"], steps["kd_student"], steps["student"]) == (0, 16, 12)


@pytest.mark.parametrize("what", ["logits", "live", "two teachers", "pseudo-labels"])
def test_every_kind_of_teaching_goes_on(tmp_path, what):
    config = replace(QUICK, epochs=2, augment="flip" if what == "live" else "")
    logits = torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    more: dict = {
        "logits": {"teachers": [], "teacher_logits": logits},
        "live": {},
        "two teachers": {"teachers": [ModelSource("paper_fc"), ModelSource("paper_fc")]},
        "pseudo-labels": {"label_budget": LabelBudget(100, 0.0)},
    }[what]
    expected, _ = complete(tmp_path / "whole", config, **more)
    interrupt(tmp_path / "e", ("kd_student", 2, 2), config, **more)
    weights, steps = complete(tmp_path / "e", config, **more)
    assert weights == expected
    assert steps["kd_student"] == STEPS
    assert steps["teacher"] == 0
    if what == "logits":
        interrupt(tmp_path / "e", ("kd_student", 2, 2), config, **more)
        _, steps = complete(tmp_path / "e", config, **{**more, "teacher_logits": logits + 1e-3})
        assert steps["kd_student"] == 2 * STEPS


def test_states_are_kept_until_the_caller_is_done(whole, tmp_path):
    weights, _ = complete(tmp_path / "e", keep_unfinished=True)
    again, steps = complete(tmp_path / "e", keep_unfinished=True)
    assert weights == again == whole
    assert not any(steps.values())
    forget_unfinished(tmp_path / "e")
    _, steps = complete(tmp_path / "e")
    assert steps == dict.fromkeys(ROLES, 4 * STEPS)  # a training that is complete is done again when it is asked for
