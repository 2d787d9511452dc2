"""The mistakes that others make in the distillation loss, each with a test."""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from second_implementation import assert_same_value_and_gradient

from kdviz.core.errors import KdvizError, SettingError
from kdviz.distill import (
    TrainingConfig,
    distillation_loss,
    feature_losses,
    losses,
    soft_target_loss,
    teacher_losses,
)
from kdviz.distill.objectives import against_teacher, between_explanations, between_features, registry
from kdviz.distill.objectives.losses import balanced_weights, check_distillation, label_smoothing_loss, pooled_logits
from kdviz.distill.objectives.registry import GENERAL, explanation_losses, network_loss

TEMPERATURES = [0.5, 1.0, 4.0, 64.0]
HIGH = [64.0, 1e3, 1e4, 1e6]


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


@pytest.mark.parametrize("temperature", [0, -1, 1e-300, 1e308, float("inf"), float("nan")])
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


# against the labels ---------------------------------------------------------------------------------------------------


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_label_smoothing_equals_the_formula(smoothing, weighted):
    student, labels = logits(0), torch.tensor([0, 0, 0, 3, 3, 9])
    weights = torch.arange(1.0, 11.0, dtype=torch.float64) if weighted else torch.ones(10, dtype=torch.float64)
    total = 0.0
    for row, label in zip(student.numpy(), labels.tolist(), strict=True):
        for k, p in enumerate(softmax(row)):
            q = smoothing / 10 + (1 - smoothing) * (k == label)
            total -= float(weights[k]) * q * np.log(p)
    expected = total / float(weights[labels].sum())
    given = weights if weighted else None
    assert float(label_smoothing_loss(student, labels, smoothing, given)) == pytest.approx(expected, rel=1e-9)
    if smoothing == 0:
        assert label_smoothing_loss(student, labels, 0.0, given) == losses["cross_entropy"](student, labels, given)


def test_label_smoothing_is_least_at_the_smoothed_labels():
    # Its minimum is the entropy of q, reached by softmax = q; being surer than q costs more.
    q = torch.full((10, 10), 0.01, dtype=torch.float64) + 0.9 * torch.eye(10, dtype=torch.float64)
    entropy = -float((q[0] * q[0].log()).sum())
    labels = torch.arange(10)
    assert float(label_smoothing_loss(q.log(), labels, 0.1)) == pytest.approx(entropy, rel=1e-12)
    assert float(label_smoothing_loss(q.log() * 2, labels, 0.1)) > entropy
    assert float(label_smoothing_loss(q.log() / 2, labels, 0.1)) > entropy


def test_balanced_weights_make_classes_weigh_the_same():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    weights = balanced_weights(labels, "abc")
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    student = logits(0, 10, 3).float()
    each = [float(F.cross_entropy(student[labels == k], labels[labels == k])) for k in range(3)]
    assert float(losses["cross_entropy"](student, labels, weights)) == pytest.approx(np.mean(each), rel=1e-5)
    with pytest.raises(SettingError, match="'d' has none"):
        balanced_weights(labels, "abcd")


# against a teacher ----------------------------------------------------------------------------------------------------


def against(name: str, student, teacher, labels=None, temperature=4.0, **options) -> torch.Tensor:
    labels = torch.arange(len(student)) if labels is None else labels
    return teacher_losses[name](student, teacher, labels, temperature, options)


@pytest.mark.parametrize("name", list(teacher_losses))
def test_every_loss_against_a_teacher(name):
    teacher, labels = logits(1), torch.arange(6)
    student = logits(0).requires_grad_()
    speaking = teacher.clone().requires_grad_()
    loss = against(name, student, speaking)
    assert loss.shape == ()
    loss.backward()
    loss = loss.detach()
    assert speaking.grad is None  # a teacher is not trained
    assert student.grad.abs().sum() > 0
    torch.testing.assert_close(
        loss, losses[name](student.detach(), teacher, *needed(name, labels))
    )  # the same by either name
    # Lower is better: the teacher's own logits, made surer for the loss that wants its answer alone, beat any others.
    assert float(against(name, 99 * teacher if name == "hard_distillation" else teacher, teacher)) < 1e-6 < float(loss)
    step = student.detach() - 1e-3 * student.grad
    assert float(against(name, step, teacher)) < float(loss)


def needed(name: str, labels: torch.Tensor, temperature: float = 4.0) -> list:
    given = {"labels": labels, "temperature": temperature}
    return [given[need] for need in teacher_losses[name].needs]


@pytest.mark.parametrize("name", sorted(set(teacher_losses) - {"dist"}))  # dist compares columns: the batch matters
def test_repeating_the_batch_changes_no_loss(name):
    student, teacher, labels = logits(0), logits(1), torch.arange(6)
    twice = against(name, student.repeat(2, 1), teacher.repeat(2, 1), labels.repeat(2))
    torch.testing.assert_close(twice, against(name, student, teacher, labels))


@pytest.mark.parametrize("name", sorted(set(teacher_losses) - {"soft_targets"}))
def test_gradients_keep_their_size_when_the_temperature_grows(name):
    # A factor of T too many or too few would show as 16 between 4 and 64, one of T^2 as 256.
    norms = []
    for temperature in (4.0, 16.0, 64.0):
        student = logits(0).requires_grad_()
        against(name, student, logits(1), temperature=temperature).backward()
        norms.append(float(student.grad.norm()))
    assert max(norms) / min(norms) < 3


def test_hard_distillation_is_cross_entropy_on_the_teachers_answers():
    student, teacher = logits(0), logits(1)
    answers = [max(range(10), key=row.__getitem__) for row in teacher.tolist()]
    expected = np.mean([-np.log(softmax(row)[k]) for row, k in zip(student.numpy(), answers, strict=True)])
    assert float(against("hard_distillation", student, teacher)) == pytest.approx(expected, rel=1e-9)
    # Only the answers count, not how sure they are.
    assert against("hard_distillation", student, teacher) == against("hard_distillation", student, 9 * teacher + 1)


def decoupled_oracle(student, teacher, labels, temperature, target_weight, other_weight) -> float:
    """Zhao et al. (2022), eq. 1 to 7, with probabilities instead of logarithms."""
    total = 0.0
    for row, teacher_row, label in zip(student, teacher, labels, strict=True):
        p, q = softmax(row / temperature), softmax(teacher_row / temperature)
        tckd = q[label] * np.log(q[label] / p[label]) + (1 - q[label]) * np.log((1 - q[label]) / (1 - p[label]))
        nckd = 0.0
        for k in range(len(p)):
            if k != label:
                p_k, q_k = p[k] / (1 - p[label]), q[k] / (1 - q[label])
                nckd += q_k * np.log(q_k / p_k)
        total += target_weight * tckd + other_weight * nckd
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("weights", [(1, 8), (1, 0), (0, 1), (0.5, 2)])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_decoupled_equals_the_formula(weights, temperature):
    student, teacher, labels = logits(0), logits(1), torch.tensor([0, 1, 9, 3, 3, 5])
    options = {"target_weight": weights[0], "other_weight": weights[1]}
    # The oracle subtracts a probability near 1 from 1, which costs it digits where T is low.
    expected = decoupled_oracle(student.numpy(), teacher.numpy(), labels.numpy(), temperature, *weights)
    loss = against("decoupled", student, teacher, labels, temperature, **options)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_decoupled_with_the_teachers_doubt_is_soft_targets():
    # Zhao et al. (2022), eq. 6: for one sample, KL = TCKD + (1 - p) NCKD.
    for sample in range(6):
        student, teacher, label = logits(0)[[sample]], logits(1)[[sample]], torch.tensor([sample])
        doubt = 1 - float((teacher / 4).softmax(1)[0, sample])
        loss = against("decoupled", student, teacher, label, other_weight=doubt)
        torch.testing.assert_close(loss, soft_target_loss(student, teacher, 4.0))


def test_decoupled_survives_certainty():
    # In float32, 1 - p is 0 here: a formula with probabilities gives nan.
    student, teacher = torch.tensor([[200.0, 0.0, -9.0]]).requires_grad_(), torch.tensor([[300.0, 3.0, 0.0]])
    loss = against("decoupled", student, teacher, torch.tensor([0]), 1.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_decoupled_of_two_classes_has_one_part():
    student, teacher = logits(0, 6, 2), logits(1, 6, 2)
    loss = against("decoupled", student, teacher, torch.tensor([0, 1, 0, 1, 0, 1]))
    torch.testing.assert_close(loss, soft_target_loss(student, teacher, 4.0))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_logit_standardisation_equals_the_formula(temperature):
    student, teacher = logits(0), logits(1)
    scored = []
    for table in (student.tolist(), teacher.tolist()):
        rows = []
        for row in table:
            mean = sum(row) / len(row)
            deviation = (sum((value - mean) ** 2 for value in row) / len(row)) ** 0.5
            rows.append([(value - mean) / deviation for value in row])
        scored.append(np.array(rows))
    # 1e-7 beside a deviation near 3 moves the loss by some 1e-7 of itself.
    expected = oracle(*scored, temperature)
    loss = against("logit_standardisation", student, teacher, temperature=temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_logit_standardisation_ignores_shift_and_size_and_not_order():
    student, teacher = logits(0), logits(1)
    scale = torch.linspace(0.5, 20, 6, dtype=torch.float64)[:, None]
    moved = against("logit_standardisation", scale * student - 7, 3 * teacher + 1)
    torch.testing.assert_close(moved, against("logit_standardisation", student, teacher), rtol=1e-5, atol=0)
    turned = float(against("logit_standardisation", -teacher, teacher))
    assert turned > float(moved) > float(against("logit_standardisation", 5 * teacher, teacher))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_dist_equals_the_formula(temperature):
    student, teacher = logits(0), logits(1)
    p, q = (np.array([softmax(row / temperature) for row in table.numpy()]) for table in (student, teacher))
    rows = np.mean([1 - np.corrcoef(p[i], q[i])[0, 1] for i in range(6)])
    columns = np.mean([1 - np.corrcoef(p[:, j], q[:, j])[0, 1] for j in range(10)])
    for inter, intra in ((1, 1), (2, 0), (0, 3)):
        loss = against("dist", student, teacher, temperature=temperature, inter_weight=inter, intra_weight=intra)
        assert float(loss) == pytest.approx(inter * rows + intra * columns, rel=1e-6)


def test_dist_reaches_both_ends():
    # Two classes: probabilities of swapped logits are p and 1 - p, whose correlation is -1 along rows and columns.
    teacher = logits(1, 6, 2)
    assert float(against("dist", teacher, teacher)) == pytest.approx(0, abs=1e-12)
    assert float(against("dist", teacher.flip(1), teacher)) == pytest.approx(4, rel=1e-12)


def cosine_oracle(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    """Ham et al. (2023): the angle between the columns of two tables of probabilities, by its arc tangent."""
    p, q = (np.array([softmax(row / temperature) for row in table]) for table in (student, teacher))
    total = 0.0
    for j in range(p.shape[1]):
        first, second = p[:, j] / np.linalg.norm(p[:, j]), q[:, j] / np.linalg.norm(q[:, j])
        angle = 2 * np.arctan2(np.linalg.norm(first - second), np.linalg.norm(first + second))
        total += 2 * np.sin(angle / 2) ** 2
    return temperature**2 * total / p.shape[1]


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("near", [False, True], ids=["untrained", "nearly as the teacher"])
def test_cosine_equals_the_formula(temperature, near):
    student, teacher = logits(0), logits(1)
    student = teacher + 0.05 * student if near else student
    assert_same_value_and_gradient(
        lambda student: against("cosine", student, teacher, temperature=temperature),
        lambda student: cosine_oracle(student, teacher.numpy(), temperature),
        student,
    )


def test_cosine_ignores_how_probable_a_class_is_as_a_whole():
    # The same share of every sample's probability of a class goes to another class, which is not compared elsewhere.
    teacher = logits(1).softmax(1)
    halved = torch.cat([teacher[:, :1] / 2, teacher[:, 1:]], 1)
    other = (
        torch.cat([teacher, torch.ones(6, 1, dtype=torch.float64)], 1),
        torch.cat([halved, 2 - halved.sum(1, True)], 1),
    )
    columns = [
        torch.cosine_similarity(first, second, dim=0) for first, second in zip(*(t.T for t in other), strict=True)
    ]
    expected = sum(1 - column for column in columns) / 11
    torch.testing.assert_close(against("cosine", other[1].log(), other[0].log(), temperature=1.0), expected)
    torch.testing.assert_close(columns[0], torch.ones((), dtype=torch.float64))


def test_cosine_of_a_class_that_is_never_predicted():
    # Float32 has no square of such probabilities, and no difference of them from 1.
    student, teacher = 3 * logits(0), 3 * logits(1)
    student[:, 0] -= 90
    teacher[:, 0] -= 80
    expected = cosine_oracle(student.numpy(), teacher.numpy(), 1.0)
    single = student.float().requires_grad_()
    loss = against("cosine", single, teacher.float(), temperature=1.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert single.grad.abs().sum() > 0


@pytest.mark.parametrize("temperature", HIGH)
@pytest.mark.parametrize("near", [False, True], ids=["untrained", "nearly as the teacher"])
def test_cosine_keeps_its_digits_at_high_temperatures(temperature, near):
    teacher = logits(1).float()
    student = (teacher + 0.01 * logits(0).float() if near else logits(0).float()).requires_grad_()
    loss = against("cosine", student, teacher, temperature=temperature)
    with localcontext(prec=60):
        p, q = (
            np.array([exact_softmax(row, temperature) for row in exactly(values)]).T
            for values in (student.detach(), teacher)
        )
        cosines = [(a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt() for a, b in zip(p, q, strict=True)]
        expected = Decimal(temperature) ** 2 * sum((1 - value for value in cosines), Decimal(0)) / 10
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    loss.backward()
    if temperature > 1e5:  # half the variance over the batch of the difference of centred logits, mean over classes
        gap = (student.detach() - teacher).double()
        gap = gap - gap.mean(1, keepdim=True)
        gap = gap - gap.mean(0)
        torch.testing.assert_close(loss.detach().double(), gap.square().mean() / 2, rtol=1e-4, atol=0)
        torch.testing.assert_close(student.grad.double(), gap / gap.numel(), rtol=1e-3, atol=1e-7)


def multi_level_oracle(student: np.ndarray, teacher: np.ndarray, temperature: float, weights: tuple) -> float:
    """Jin et al. (2023): pair by pair of samples, and of classes."""
    samples, classes = student.shape
    total = 0.0
    for softening in (0.5 * temperature, 0.75 * temperature, temperature, 1.25 * temperature, 1.5 * temperature):
        p, q = (np.array([softmax(row / softening) for row in table]) for table in (student, teacher))
        batch = sum((sum(q[i] * q[j]) - sum(p[i] * p[j])) ** 2 for i in range(samples) for j in range(samples))
        between = 0.0
        for k in range(classes):
            for other in range(classes):
                between += np.mean([q[i, k] * q[i, other] - p[i, k] * p[i, other] for i in range(samples)]) ** 2
        levels = oracle(student, teacher, softening), batch / samples**2, between / classes
        total += sum(weight * level for weight, level in zip(weights, levels, strict=True))
    return total


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 2)])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 64.0])
def test_multi_level_equals_the_formula(weights, temperature):
    student, teacher = logits(0, 4, 5), logits(1, 4, 5)
    options = dict(zip(("instance_weight", "batch_weight", "class_weight"), weights, strict=True))
    assert_same_value_and_gradient(
        lambda student: against("multi_level", student, teacher, temperature=temperature, **options),
        lambda student: multi_level_oracle(student, teacher.numpy(), temperature, weights),
        student,
    )


def test_multi_level_tells_samples_and_classes_apart():
    # Classes that change places keep how alike samples are; samples that change places keep how classes go together.
    teacher = logits(1)
    classes, samples = teacher.roll(1, 1), teacher.roll(1, 0)
    only = {"batch": {"instance_weight": 0, "class_weight": 0}, "class": {"instance_weight": 0, "batch_weight": 0}}
    assert float(against("multi_level", classes, teacher, **only["batch"])) == pytest.approx(0, abs=1e-12)
    assert float(against("multi_level", samples, teacher, **only["class"])) == pytest.approx(0, abs=1e-12)
    assert float(against("multi_level", samples, teacher, **only["batch"])) > 0.01
    assert float(against("multi_level", classes, teacher, **only["class"])) > 0.001


@pytest.mark.parametrize("name", list(teacher_losses))
@pytest.mark.parametrize("samples", [1, 3])
def test_constant_logits_and_batches_of_one_have_gradients(name, samples):
    # The last batch of an epoch can hold one sample, and an untrained network can answer zeros.
    student, teacher = torch.zeros(samples, 10).requires_grad_(), torch.zeros(samples, 10)
    loss = against(name, student, teacher)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


# temperatures without limit -------------------------------------------------------------------------------------------


def exact_softmax(row: list[Decimal], temperature: float) -> list[Decimal]:
    powers = [(value / Decimal(temperature)).exp() for value in row]
    return [power / sum(powers) for power in powers]


def exact_kl(q: list[Decimal], p: list[Decimal]) -> Decimal:
    return sum((a * (a / b).ln() for a, b in zip(q, p, strict=True)), Decimal(0))


def exactly(values: torch.Tensor) -> list[list[Decimal]]:
    return [[Decimal(value) for value in row] for row in values.tolist()]


def exact_loss(name: str, student, teacher, temperature: float) -> Decimal:
    """The loss with 60 digits from probabilities, as its paper defines it; labels are 0, 1, 2 ..."""
    with localcontext(prec=60):
        pairs = [
            (exact_softmax(t, temperature), exact_softmax(s, temperature))
            for t, s in zip(exactly(teacher), exactly(student), strict=True)
        ]
        if name == "soft_targets":
            total = sum((exact_kl(q, p) for q, p in pairs), Decimal(0))
        else:
            total = Decimal(0)
            for label, (q, p) in enumerate(pairs):
                halves = [[probabilities[label], 1 - probabilities[label]] for probabilities in (q, p)]
                others = [
                    [v / (1 - probabilities[label]) for k, v in enumerate(probabilities) if k != label]
                    for probabilities in (q, p)
                ]
                total += exact_kl(*halves) + 8 * exact_kl(*others)
        return Decimal(temperature) ** 2 * total / len(pairs)


def exact_gradient(name: str, student, teacher, temperature: float) -> np.ndarray:
    """Central differences of the exact loss; the third derivative leaves some 1e-6 of error for this step."""
    step, gradient = 1e-3, np.zeros(student.shape)
    for index in np.ndindex(*student.shape):
        sides = []
        for sign in (1, -1):
            moved = student.double().clone()
            moved[index] += sign * step
            sides.append(exact_loss(name, moved, teacher, temperature))
        gradient[index] = float((sides[0] - sides[1]) / Decimal(2 * step))
    return gradient


@pytest.mark.parametrize("temperature", HIGH)
@pytest.mark.parametrize("name", ["soft_targets", "decoupled"])
@pytest.mark.parametrize("near", [False, True], ids=["untrained", "nearly as the teacher"])
def test_float32_keeps_its_digits_at_high_temperatures(name, temperature, near):
    teacher = logits(1, 3, 5).float()
    student = teacher + 0.01 * logits(0, 3, 5).float() if near else logits(0, 3, 5).float()
    student.requires_grad_()
    loss = against(name, student, teacher, temperature=temperature)
    loss.backward()
    exact = exact_loss(name, student.detach().double(), teacher.double(), temperature)
    assert loss.item() == pytest.approx(float(exact), rel=1e-5)
    expected = exact_gradient(name, student.detach(), teacher.double(), temperature)
    np.testing.assert_allclose(student.grad.numpy(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_without_limit_it_is_the_squared_error_of_centred_logits(classes):
    # Hinton et al. (2015), eq. 4. Of the next order in 1 / T nothing is left at T = 1e12.
    student, teacher = logits(0, 6, classes).float().requires_grad_(), logits(1, 6, classes).float()
    z, v = (values.detach().double().numpy() for values in (student, teacher))
    gap = (z - z.mean(1, keepdims=True)) - (v - v.mean(1, keepdims=True))
    loss = soft_target_loss(student, teacher, 1e12)
    loss.backward()
    assert loss.item() == pytest.approx((gap**2).sum(1).mean() / (2 * classes), rel=1e-5)
    np.testing.assert_allclose(student.grad.numpy(), gap / (6 * classes), rtol=1e-4, atol=1e-6 / classes)


def test_where_nothing_cancels_it_is_the_ordinary_sum():
    student, teacher = 9 * logits(0).float(), 9 * logits(1).float()
    ordinary = F.kl_div(F.log_softmax(student / 4, 1), F.log_softmax(teacher / 4, 1), None, None, "batchmean", True)
    torch.testing.assert_close(soft_target_loss(student, teacher, 4.0), 16 * ordinary, rtol=1e-6, atol=0)


@pytest.mark.parametrize("temperature", HIGH)
def test_dist_keeps_its_digits_at_high_temperatures(temperature):
    student, teacher = logits(0), logits(1)
    with localcontext(prec=60):
        tables = [
            np.array([exact_softmax(row, temperature) for row in exactly(values.float())])
            for values in (student, teacher)
        ]

        def distance(first, second) -> float:
            distances = []
            for a, b in zip(first, second, strict=True):
                a, b = a - sum(a) / len(a), b - sum(b) / len(b)
                distances.append(1 - float((a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()))
            return float(np.mean(distances))

        expected = distance(*tables) + distance(*(table.T for table in tables))
    loss = against("dist", student.float(), teacher.float(), temperature=temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", HIGH)
def test_several_teachers_keep_their_digits_at_high_temperatures(temperature):
    student, teachers, weights = logits(0), torch.stack([logits(1), logits(2)]), (0.3, 0.7)
    with localcontext(prec=60):
        total = Decimal(0)
        for s, first, second in zip(exactly(student.float()), *map(exactly, teachers.float()), strict=True):
            pairs = zip(exact_softmax(first, temperature), exact_softmax(second, temperature), strict=True)
            q = [Decimal(weights[0]) * a + Decimal(weights[1]) * b for a, b in pairs]
            total += exact_kl([value / sum(q) for value in q], exact_softmax(s, temperature))
        expected = float(Decimal(temperature) ** 2 * total / 6)
    loss = losses["several_teachers"](student.float(), teachers.float(), temperature, weights)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


# several teachers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(), (1.0, 1.0, 2.0), (0.3, 0.1, 0.6)])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_several_teachers_speak_with_their_mean(weights, temperature):
    student, teachers = logits(0), torch.stack([logits(1), logits(2), logits(3)])
    shares = np.array(weights or (1, 1, 1)) / sum(weights or (1, 1, 1))
    total = 0.0
    for i, row in enumerate(student.numpy()):
        p = softmax(row / temperature)
        q = sum(
            share * softmax(teacher[i] / temperature) for share, teacher in zip(shares, teachers.numpy(), strict=True)
        )
        total += float((q * np.log(q / p)).sum())
        pooled = np.exp(pooled_logits(teachers, temperature, weights)[i].numpy() / temperature) / 10
        np.testing.assert_allclose(pooled, q, rtol=1e-9)  # a distribution, whatever the weights sum to
    loss = losses["several_teachers"](student, teachers, temperature, weights)
    assert float(loss) == pytest.approx(temperature**2 * total / 6, rel=1e-9)


@pytest.mark.parametrize("name", list(teacher_losses))
def test_teachers_who_agree_are_one_teacher(name):
    student, teacher, labels = logits(0), logits(1), torch.arange(6)
    several, single = (
        distillation_loss(student, spoken, labels, loss=name) for spoken in (teacher.expand(3, -1, -1), teacher)
    )
    torch.testing.assert_close(several, single)


# both -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(teacher_losses))
def test_alpha_mixes_each_loss_with_the_labels(name):
    student, teacher, labels = logits(0), logits(1), torch.arange(6)
    mixed = distillation_loss(student, teacher, labels, alpha=0.3, loss=name, label_smoothing=0.1)
    expected = 0.7 * label_smoothing_loss(student, labels, 0.1) + 0.3 * against(name, student, teacher)
    torch.testing.assert_close(mixed, expected)
    assert distillation_loss(student, teacher, labels, alpha=0.0, loss=name) == F.cross_entropy(student, labels)
    assert distillation_loss(student, teacher, labels, alpha=1.0, loss=name) == against(name, student, teacher)


@pytest.mark.parametrize(
    ("loss", "options", "reason"),
    [
        ("decupled", {}, "Did you mean 'decoupled'"),
        ("cross_entropy", {}, "Unknown distillation loss"),
        ("dist", {"beta": 1.0}, "no option 'beta'; it has inter_weight, intra_weight"),
        ("soft_targets", {"beta": 1.0}, "it has none"),
        ("dist", {"inter_weight": -1.0}, "inter_weight"),
        ("dist", {"inter_weight": float("nan")}, "inter_weight"),
        ("dist", {"inter_weight": float("inf")}, "inter_weight"),
    ],
    ids=str,
)
def test_a_loss_that_does_not_exist(loss, options, reason):
    with pytest.raises(KdvizError, match=reason):
        TrainingConfig(loss=loss, loss_options=options)


def test_losses_are_found_by_name():
    folders = (against_teacher, between_features, between_explanations)
    files = {path.stem for folder in folders for path in Path(folder.__path__[0]).glob("[!_]*.py")}
    assert set(teacher_losses) | set(feature_losses) | set(explanation_losses) == files
    assert set(losses) == files | set(GENERAL)
    assert {"soft_targets", "dist", "hints", "rise_maps"} <= files
    assert losses["cross_entropy"](logits(0), torch.arange(6)) == F.cross_entropy(logits(0), torch.arange(6))


def test_the_documentation_has_every_loss_and_option():
    docs = Path(__file__).resolve().parents[3] / "docs"
    reference = (docs / "reference" / "losses.md").read_text(encoding="utf-8")
    for kind in (teacher_losses, feature_losses, explanation_losses):
        for name in kind:
            part = reference.partition(f"\n### {name}\n")[2].partition("\n##")[0]
            assert part, name
            assert all(f"`{option}`" in part for option in kind[name].options), name
    count = len(teacher_losses) + len(feature_losses) + len(explanation_losses)
    readme = " ".join((docs.parent / "README.md").read_text(encoding="utf-8").split())
    assert f"with {count} distillation losses" in readme
    guide = (docs / "how-to" / "own-data.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in guide for name in GENERAL)
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| \w[^|]+, \d{4} \| ([^|]*)\|$", guide, re.MULTILINE)
    assert len(rows) >= 9
    for name, options in rows:  # the guide's choice of losses, none of which is gone
        known = (teacher_losses.get(name) or network_loss(name)).options
        assert set(re.findall(r"`(\w+)`", options)) == set(known), name


@pytest.mark.parametrize("temperature", [1e19, 1e30])
def test_the_gradient_is_finite_where_the_squared_temperature_is_not_in_float32(temperature):
    """Its limit is that of the squared error of centred logits over 2: their difference, divided by the samples."""
    student = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0, -1.0], [2.0, 2.0, 0.5]])
    (gradient,) = torch.autograd.grad(losses["soft_targets"](student, teacher, temperature), student)
    away = (student - teacher).detach()
    expected = (away - away.mean(1, keepdim=True)) / away.numel()
    torch.testing.assert_close(gradient, expected)


# the example of CONTRIBUTING.md ---------------------------------------------------------------------------------------


def test_the_loss_that_contributing_adds_is_one(monkeypatch):
    text = (Path(__file__).resolve().parents[3] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = text.partition("\n## Add a loss\n")[2].partition("```python\n")[2].partition("```")[0]
    monkeypatch.setattr(registry, "register_teacher_loss", lambda _name: lambda function: function)
    names: dict = {}
    exec(code, names)
    function = names["logit_matching_loss"]
    student, teacher = logits(0), logits(1)
    loss = function(student, teacher)
    centred = [row - row.mean() for row in (student - teacher).numpy()]
    assert float(loss) == pytest.approx(np.mean([(row**2).mean() for row in centred]))
    torch.testing.assert_close(function(student, teacher + 7.0, weight=2.0), 2 * loss)
    assert float(function(teacher, teacher)) == 0
    speaking = teacher.clone().requires_grad_()  # a teacher is not trained, whatever its loss forgets
    registry.TeacherLoss(function, (), {})(student.requires_grad_(), speaking, torch.arange(6), 4.0, {}).backward()
    assert speaking.grad is None
