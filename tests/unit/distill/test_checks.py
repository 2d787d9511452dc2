"""What is refused and what is doubted before a distillation is trained."""

from __future__ import annotations

import pytest
import torch

from kdviz.core.errors import ModelError
from kdviz.distill import TrainingConfig, check_settings, check_teacher, teacher_losses
from kdviz.distill.checks import check_balance
from kdviz.distill.objectives.losses import TeacherLoss, soft_target_loss
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import load_experiment

CLASSES = tuple("0123456789")


@pytest.fixture(scope="module")
def bundled():
    return load_experiment("mnist")


@pytest.fixture(scope="module")
def batch(bundled, digits):
    """A real teacher's logits, an untrained student's, and the labels, of 256 digits."""
    index = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[:256]
    inputs = bundled.input.normalise(digits.images[index])
    student = new_network("paper_fc", bundled.input, 10, 0).eval()
    with torch.no_grad():
        return student(inputs), bundled.runs["teacher"].model(inputs), digits.labels[index]


def doubts(batch, **settings) -> list[str]:
    return list(check_balance(*batch, TrainingConfig(**settings)))


def test_a_student_that_begins_as_its_teacher_is_no_reason_for_an_alarm(batch):
    _, teacher, labels = batch
    assert doubts((teacher, teacher, labels)) == []
    assert doubts((teacher, teacher, labels), loss="without_forgetting", loss_options={"old": 5.0}) == []


def test_the_bundled_teacher_is_fine(bundled):
    check_teacher(bundled.runs["teacher"].model, bundled.classes, CLASSES)


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        (CLASSES[:9], "10 classes and the student 9"),
        (tuple("0132456789"), "Class 2 is '2' for the teacher and '3' for the student"),
    ],
)
def test_other_classes_are_refused(bundled, classes, reason):
    with pytest.raises(ModelError, match=reason):
        check_teacher(bundled.runs["teacher"].model, bundled.classes, classes)


def test_a_teacher_in_training_mode_is_refused(bundled):
    teacher = new_network("paper_cnn", bundled.input, 10, 0).eval().requires_grad_(False)
    check_teacher(teacher, CLASSES, CLASSES)
    teacher.classifier[0].train()  # one dropout is enough
    with pytest.raises(ModelError, match=r"eval\(\)"):
        check_teacher(teacher, CLASSES, CLASSES)


def test_a_teacher_that_would_be_trained_is_refused(bundled):
    teacher = new_network("paper_cnn", bundled.input, 10, 0).eval()
    with pytest.raises(ModelError, match="require gradients"):
        check_teacher(teacher, CLASSES, CLASSES)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({"alpha": 0.01}, None),
        ({"alpha": 0}, "alpha is 0: the teacher has no influence"),
        ({"alpha": 0, "feature_loss": "hints"}, None),
        ({"alpha": "0:0"}, "alpha is 0"),
        ({"alpha": "0:1"}, None),
        ({"alpha": 1.0}, "alpha is 1: the labels are not used"),
        ({"alpha": 1.0, "kd_epochs": 3}, None),  # they are, from epoch 4 on
        ({"kd_epochs": 19}, None),
        ({"kd_epochs": 20}, "never left away"),
        ({"loss": "hard_distillation"}, None),
        ({"loss": "hard_distillation", "temperature": 8.0}, "has no temperature: 8.0 is not used"),
        ({"loss": "hard_distillation", "temperature": "10:1"}, "has no temperature: 10:1"),
        ({"loss": "dist", "temperature": 8.0}, None),
        ({"temperature": "1=4,20=1"}, None),
        ({"temperature": "1=4,21=1"}, "temperature changes in epoch 21, and the training has 20 epochs"),
        ({"alpha": "1=.9,30=.5"}, "alpha changes in epoch 30"),
    ],
    ids=str,
)
def test_settings_without_effect_are_said(settings, said):
    notes = list(check_settings(TrainingConfig(**settings)))
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


@pytest.mark.parametrize("loss", list(teacher_losses))
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 64.0, "64:1"])
def test_no_false_alarm(batch, loss, temperature):
    assert doubts(batch, loss=loss, temperature=temperature) == []


def test_a_missing_square_of_the_temperature_is_noticed(batch, monkeypatch):
    def forgotten(student_logits, teacher_logits, temperature):
        return soft_target_loss(student_logits, teacher_logits, temperature) / temperature**2

    monkeypatch.setitem(teacher_losses._entries, "forgotten", TeacherLoss(forgotten, ("temperature",), {}))
    assert doubts(batch, loss="forgotten", temperature=1.0) == []
    for temperature in (8.0, 16.0, 64.0):
        (said,) = doubts(batch, loss="forgotten", temperature=temperature)
        assert "T^2" in said


def test_a_weight_that_is_far_too_high_is_noticed(batch):
    (said,) = doubts(batch, loss="decoupled", loss_options={"other_weight": 800})
    assert "hardly counts" in said


def test_a_teacher_that_says_nothing_is_noticed(batch):
    student, _, labels = batch
    assert len(doubts((student, student, labels))) == 1


def test_several_teachers_are_weighed_together(batch):
    student, teacher, labels = batch
    assert doubts((student, torch.stack([teacher, student]), labels), teacher_mixture=(1.0, 1.0)) == []
    assert len(doubts((student, torch.stack([teacher, student]), labels), teacher_mixture=(1e-6, 1.0))) == 1


def test_a_student_of_another_width_is_refused(batch):
    student, teacher, labels = batch
    with pytest.raises(ModelError, match="10 classes and the student 9"):
        doubts((student[:, :9], teacher, labels))


def test_a_teacher_that_gives_probabilities_is_refused(batch):
    student, teacher, labels = batch
    for said in (teacher.softmax(1), torch.stack([teacher.softmax(1), student.softmax(1)])):
        with pytest.raises(ModelError, match="The teacher returns probabilities; leave its softmax away"):
            doubts((student, said, labels))
    assert doubts((student, teacher.log_softmax(1), labels)) == []  # logits less a constant


def test_a_teacher_that_gives_a_sigmoid_is_doubted(batch):
    student, teacher, labels = batch
    notes = doubts((student, teacher.sigmoid(), labels))
    assert any("lie between 0 and 1, as after a sigmoid" in note for note in notes)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_teacher_that_gives_no_number_is_refused(batch, value):
    student, teacher, labels = batch
    broken = teacher.clone()
    broken[3, 2] = value
    with pytest.raises(ModelError, match="The teacher returned NaN or infinite scores"):
        doubts((student, broken, labels))
