"""A study of the teacher's epochs where the teacher has the student's network: their trainings stay apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sweeps import CONFIG, small_splits

from kdviz.core.vocabulary import Role
from kdviz.distill.storage.run_files import read_weights
from kdviz.models.networks import build_network
from kdviz.studies.attention import sweep_for, swept_models
from kdviz.studies.attention.statistics.pairs import all_pairs

CLASSES = 10


@pytest.fixture
def own_network(tiny):
    """An experiment whose teacher has the students' network, and was trained by their recipe."""
    teacher, student = tiny.runs[Role.TEACHER], tiny.runs[Role.KD_STUDENT]
    network = build_network(student.network, classes=CLASSES, channels=1, size=tuple(tiny.input.size))
    record = {"epochs": 2, "batch_size": CONFIG.batch_size, "learning_rate": CONFIG.learning_rate}
    tiny.add_run(Role.TEACHER, student.network, network.eval(), record, {})
    tiny.save()
    assert teacher.network != student.network
    return tiny


def flat(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weights.flatten() for weights in network.state_dict().values()])


def test_a_stopped_teacher_is_not_the_student_alone(own_network, small_digits):
    config = replace(CONFIG, epochs=2)
    sweep = sweep_for(own_network, "teacher-epochs", small_splits(small_digits), [1, 2], [0, 1], config)
    teachers, alone = sweep.plan.teachers, sweep.plan.alone
    assert not {run.config.seed for run in teachers} & {run.config.seed for run in alone}
    assert len({run.identity for run in (*teachers, *alone)}) == 4
    list(sweep.run(threads=1, estimate=False))
    for seed in (0, 1):
        last = flat(read_weights(sweep.store, alone[seed], CLASSES))
        for epoch in (1, 2):
            assert not torch.equal(flat(read_weights(sweep.store, teachers[seed], CLASSES, epoch)), last)
    # Each student is still compared with the teacher that taught it.
    models = {model.key: model for model in swept_models(sweep)}
    for model in models.values():
        if model.role == Role.KD_STUDENT:
            assert (models[model.teacher].role, models[model.teacher].value) == (Role.TEACHER, model.value)
    claims = [(pair.first.key, pair.second.key) for pair in all_pairs(list(models.values())) if pair.kind == "claim"]
    assert {first for first, _ in claims} == {model.key for model in models.values() if model.role == Role.TEACHER}


def test_teachers_of_another_network_keep_their_seeds(tiny, small_digits):
    sweep = sweep_for(tiny, "teacher-epochs", small_splits(small_digits), [1], [0, 1], CONFIG)
    assert [run.config.seed for run in sweep.plan.teachers] == [0, 1]
