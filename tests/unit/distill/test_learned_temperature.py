"""A temperature that is trained against the student: its value, its reversed gradient, and its course."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from kdviz.core.errors import SettingError
from kdviz.distill import TrainingConfig, fit, teacher_losses
from kdviz.distill.objectives.learned_temperature import (
    LearnedTemperature,
    reversal,
    reversed_gradient,
    temperature_of,
)
from kdviz.distill.schedules import schedule
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import InputSpec

SPEC = InputSpec(size=(14, 14), channels=1, mean=(0.2,), std=(0.5,))


def logits(seed: int) -> torch.Tensor:
    return 3 * torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(student, teacher, weight, epoch):
    """CTKD with soft targets, by explicit sums: the loss, dL/dstudent and -strength * dL/dweight, in float64."""
    share = 1 / (1 + math.exp(-weight))
    temperature = 1 + 20 * share
    p, q = (torch.exp(z / temperature) / torch.exp(z / temperature).sum(1, keepdim=True) for z in (student, teacher))
    rows = (q * (q.log() - p.log())).sum(1)
    loss = temperature**2 * rows.mean()
    of_student = temperature * (p - q) / len(student)
    # d/dT of sum q (log q - log p), with d(log q)/dT = (E_q[z] - z) / T^2
    log_q, log_p = ((z.mul(w).sum(1, keepdim=True) - z) / temperature**2 for z, w in ((teacher, q), (student, p)))
    of_rows = (q * log_q * (q.log() - p.log()) + q * (log_q - log_p)).sum(1)
    of_temperature = 2 * temperature * rows.mean() + temperature**2 * of_rows.mean()
    strength = 1 - (math.cos(min(epoch, 10) * math.pi / 10) + 1) / 2  # the authors' cosine from 0 to -1 in 10 epochs
    return loss, of_student, -strength * of_temperature * 20 * share * (1 - share)


@pytest.mark.parametrize("epoch", [1, 4, 10, 30])
@pytest.mark.parametrize("weight", [-2.0, 1.0])
def test_loss_and_gradients_are_those_of_the_formula(epoch, weight):
    module = LearnedTemperature(schedule("temperature", "1:21:learned")).double()
    module.weight.data.fill_(weight)
    student, teacher = logits(1).requires_grad_(), logits(2)
    loss = teacher_losses["soft_targets"](student, teacher, torch.zeros(6), module(epoch), {})
    loss.backward()
    expected, of_student, of_weight = by_hand(student.detach(), teacher, weight, epoch)
    torch.testing.assert_close(loss.detach(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(student.grad, of_student, rtol=0, atol=1e-6)
    assert float(module.weight.grad) == pytest.approx(float(of_weight), abs=1e-6)
    assert float(of_weight) != pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", [name for name in teacher_losses if "temperature" in teacher_losses[name].needs])
@pytest.mark.parametrize("temperature", [2.0, 50.0])
def test_every_loss_has_a_gradient_by_its_temperature(name, temperature):
    student, teacher, labels = logits(1), logits(2), torch.arange(6) % 5

    def value(t):
        return teacher_losses[name](student, teacher, labels, t, {})

    learned = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    loss = value(learned)
    torch.testing.assert_close(loss.detach(), value(temperature), rtol=0, atol=1e-12)
    step = 1e-4 * temperature
    expected = (value(temperature + step) - value(temperature - step)) / (2 * step)
    (gradient,) = torch.autograd.grad(loss, learned)
    assert float(gradient) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


def test_the_reversal_changes_no_value():
    values = torch.randn(3, requires_grad=True)
    result = reversed_gradient(values, 0.3)
    assert torch.equal(result, values)
    result.sum().backward()
    torch.testing.assert_close(values.grad, torch.full((3,), -0.3))


def test_the_course_rises_from_easy_to_hard_and_stays():
    course = [reversal(epoch) for epoch in range(15)]
    assert course[0] == 0
    assert course[5] == pytest.approx(0.5)
    assert course[10:] == [1] * 5
    assert course == sorted(course)


def test_the_range_is_never_left():
    ends = [float(temperature_of(torch.tensor(weight, dtype=torch.float64), 2, 9)) for weight in (-50.0, 0.0, 50.0)]
    assert ends == pytest.approx([2, 5.5, 9])


@pytest.mark.parametrize("text", ["21:1:learned", "4:4:learned", "0:21:learned", "1:21:learned:2", "learned"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(SettingError):
        TrainingConfig(temperature=text)


def test_alpha_cannot_be_learned():
    with pytest.raises(SettingError, match="alpha cannot be learned"):
        TrainingConfig(alpha="0:1:learned")


class Memory:
    """A checkpoint that keeps the state of one epoch."""

    def __init__(self, keep: int):
        self.keep, self.state = keep, None

    def load(self):
        return self.state

    def save(self, state):
        if state["epoch"] == self.keep:
            self.state = torch.load(_stored(state), weights_only=True)


def _stored(state):
    from io import BytesIO

    buffer = BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("feature_loss", ["", "hints"])
def test_it_is_trained_saved_and_resumed(small_digits, feature_loss):
    """Against the student: with the gradient not reversed it would go the other way."""
    train, validation = small_digits.take(torch.arange(120)), small_digits.take(torch.arange(120, 150))
    config = TrainingConfig(
        epochs=3, batch_size=40, temperature="1:21:learned", feature_loss=feature_loss, device="cpu", bf16="off"
    )
    teacher = new_network("paper_fc", SPEC, 10, 5).eval().requires_grad_(False)
    soft = None if feature_loss else teacher(SPEC.normalise(train.images))

    def trained(checkpoint):
        network = new_network("paper_fc", SPEC, 10, 0)
        teachers = [teacher] if feature_loss else []
        steps = fit(network, train, validation, SPEC.normalise, config, soft, teachers=teachers, checkpoint=checkpoint)
        return [step.temperature for step in steps if step.ends_epoch], network.state_dict()

    memory = Memory(keep=1)
    temperatures, weights = trained(memory)
    assert 1 < temperatures[-1] < 21
    assert len(set(temperatures)) == 3
    again, resumed = trained(memory)
    assert again == temperatures
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_soft_targets_are_the_measure():
    """The hand-written loss above is Hinton's at a fixed temperature."""
    student, teacher = logits(1), logits(2)
    share = 1 / (1 + math.exp(-1.0))
    t = 1 + 20 * share
    expected = t**2 * F.kl_div(F.log_softmax(student / t, 1), F.softmax(teacher / t, 1), reduction="batchmean")
    assert float(by_hand(student, teacher, 1.0, 3)[0]) == pytest.approx(float(expected), abs=1e-9)
