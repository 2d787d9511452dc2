"""The mistakes that others make in the distillation loss, each with a test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdviz.distill import TrainingConfig, distillation_loss, losses, soft_target_loss
from kdviz.distill.losses import check_distillation
from kdviz.errors import SettingError

TEMPERATURES = [0.5, 1.0, 4.0, 64.0]


def logits(seed: int, samples: int = 6, classes: int = 10) -> torch.Tensor:
    return 3 * torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def oracle(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    """T^2 * mean over samples of sum_k q_k ln(q_k / p_k), sample by sample and class by class."""
    total = 0.0
    for row, teacher_row in zip(student, teacher, strict=True):
        p = np.exp(row / temperature) / np.exp(row / temperature).sum()
        q = np.exp(teacher_row / temperature) / np.exp(teacher_row / temperature).sum()
        total += sum(q[k] * np.log(q[k] / p[k]) for k in range(len(p)))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_soft_loss_equals_the_formula(temperature, classes):
    student, teacher = logits(0, 6, classes), logits(1, 6, classes)
    expected = oracle(student.numpy(), teacher.numpy(), temperature)
    assert float(soft_target_loss(student, teacher, temperature)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_distillation_loss_equals_the_formula(alpha):
    student, teacher, labels = logits(0), logits(1), torch.arange(6)
    hard = np.mean([-np.log(np.exp(row[k]) / np.exp(row).sum()) for k, row in enumerate(student.numpy())])
    expected = (1 - alpha) * hard + alpha * oracle(student.numpy(), teacher.numpy(), 4.0)
    loss = distillation_loss(student, teacher, labels, temperature=4.0, alpha=alpha)
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_the_class_count_does_not_weaken_it():
    # The same distribution over twice as many classes, half of them impossible, has the same divergence.
    student, teacher = logits(0), logits(1)
    impossible = torch.full_like(student, -1e4)
    padded = soft_target_loss(torch.cat([student, impossible], 1), torch.cat([teacher, impossible], 1), 1.0)
    torch.testing.assert_close(padded, soft_target_loss(student, teacher, 1.0))


def test_repeating_the_batch_does_not_change_it():
    student, teacher = logits(0), logits(1)
    twice = soft_target_loss(student.repeat(2, 1), teacher.repeat(2, 1), 4.0)
    torch.testing.assert_close(twice, soft_target_loss(student, teacher, 4.0))


def soft_gradient(temperature: float) -> torch.Tensor:
    student = logits(0).requires_grad_()
    soft_target_loss(student, logits(1), temperature).backward()
    return student.grad


def test_gradient_keeps_its_size_when_the_temperature_grows():
    # Without the factor T^2 it would shrink by 16^2 = 256 from 4 to 64.
    norms = [float(soft_gradient(temperature).norm()) for temperature in (4.0, 16.0, 64.0)]
    assert max(norms) / min(norms) < 3


def test_gradient_at_high_temperature_is_the_difference_of_centred_logits():
    # Hinton et al. (2015), eq. 4: d/dz = (z - mean z - v + mean v) / classes, here of a mean over N samples.
    student, teacher = logits(0), logits(1)
    difference = student - student.mean(1, keepdim=True) - teacher + teacher.mean(1, keepdim=True)
    torch.testing.assert_close(soft_gradient(1e5), difference / student.numel(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_alpha_zero_is_cross_entropy_exactly(temperature):
    student, labels = logits(0), torch.arange(6)
    loss = distillation_loss(student, logits(1), labels, temperature=temperature, alpha=0.0)
    assert loss == F.cross_entropy(student, labels)


def test_alpha_one_ignores_the_labels():
    student, teacher = logits(0), logits(1)
    first, second = (
        distillation_loss(student, teacher, labels, temperature=4.0, alpha=1.0)
        for labels in (torch.arange(6), torch.arange(6).flip(0))
    )
    assert first == second == soft_target_loss(student, teacher, 4.0)


def test_direction_is_teacher_to_student():
    # The student that spreads over what the sure teacher excludes costs ln 2; the other way round far more.
    sure, unsure = torch.tensor([[20.0, -20.0]]), torch.tensor([[0.0, 0.0]])
    assert float(soft_target_loss(unsure, sure, 1.0)) == pytest.approx(np.log(2), rel=1e-5)
    assert float(soft_target_loss(sure, unsure, 1.0)) == pytest.approx(20 - np.log(2), rel=1e-5)


def test_the_teacher_gets_no_gradient():
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    distillation_loss(student, teacher, torch.arange(6), alpha=0.9).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_a_perfect_student_has_no_soft_loss_and_any_other_has(temperature):
    teacher = logits(1)
    assert float(soft_target_loss(teacher + 5, teacher, temperature)) == pytest.approx(0, abs=1e-12)
    assert float(soft_target_loss(logits(0), teacher, temperature)) > 0.1


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_temperature_outside_its_range(temperature):
    with pytest.raises(SettingError, match="temperature"):
        check_distillation(temperature, 0.5)
    with pytest.raises(SettingError, match="temperature"):
        TrainingConfig(temperature=temperature)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_its_range(alpha):
    with pytest.raises(SettingError, match="alpha"):
        check_distillation(4.0, alpha)
    with pytest.raises(SettingError, match="alpha"):
        TrainingConfig(alpha=alpha)


def test_losses_are_found_by_name():
    assert set(losses) == {"cross_entropy", "soft_targets", "distillation"}
    assert losses["cross_entropy"](logits(0), torch.arange(6)) == F.cross_entropy(logits(0), torch.arange(6))
