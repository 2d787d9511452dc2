"""Training: what it yields, keeps, repeats and learns. The bundled digits serve as test data only."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL

from kdviz.distill import Progress, TrainingConfig, fit, predict_logits, training
from kdviz.distill.training import choose_device
from kdviz.distill.trio import new_network, training_record
from kdviz.errors import ModelError, SettingError

CONFIG = TrainingConfig(epochs=2, batch_size=64, device="cpu", bf16="off")


@pytest.fixture(scope="module")
def split(small_digits):
    return small_digits.take(torch.arange(600)), small_digits.take(torch.arange(600, 900), "validation")


def student(seed: int = 0) -> torch.nn.Module:
    return new_network("paper_fc", SMALL, 10, seed)


def trained(split, config=CONFIG, teacher_logits=None, network=None):
    network = network or student(config.seed)
    steps = list(fit(network, *split, SMALL.normalise, config, teacher_logits))
    return network, steps


def accuracy(network, samples, labels) -> float:
    return float((predict_logits(network, samples, SMALL.normalise, device="cpu").argmax(1) == labels).float().mean())


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))


def test_it_yields_every_step_and_prints_nothing(split, capsys):
    network, steps = trained(split)
    assert capsys.readouterr() == ("", "")
    assert all(isinstance(step, Progress) for step in steps)
    assert [(step.epoch, step.step) for step in steps] == [(e, min(s, 10)) for e in (1, 2) for s in range(1, 12)]
    ends = [step for step in steps if step.validation_accuracy is not None]
    assert [(step.epoch, step.step, step.steps, step.epochs) for step in ends] == [(1, 10, 10, 2), (2, 10, 10, 2)]
    assert all(step.loss is not None and 0 <= step.validation_accuracy <= 1 for step in ends)
    assert not network.training


def test_it_learns(split):
    network, steps = trained(split, TrainingConfig(epochs=6, batch_size=64, device="cpu"))
    assert accuracy(network, split[1], split[1].labels) > 0.75  # chance is 0.1
    losses = [step.loss for step in steps if step.loss is not None]
    assert losses[-1] < losses[0] / 2


def test_it_keeps_the_first_of_the_best_epochs(split, monkeypatch):
    rigged = iter([0.2, 0.9, 0.5, 0.9])

    def logits(network, samples, *_):
        right = torch.arange(len(samples)) < next(rigged) * len(samples)
        return F.one_hot(torch.where(right, samples.labels, (samples.labels + 1) % 10), 10).float()

    monkeypatch.setattr(training, "_logits", logits)
    network = student()
    steps = fit(network, *split, SMALL.normalise, TrainingConfig(epochs=4, device="cpu"))
    states = [copy.deepcopy(network.state_dict()) for step in steps if step.validation_accuracy is not None]
    assert not same(states[1], states[3])
    assert same(network.state_dict(), states[1])


def test_the_seed_decides_the_weights():
    assert same(student(3).state_dict(), student(3).state_dict())
    assert not same(student(3).state_dict(), student(4).state_dict())


def test_a_new_network_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    student(5)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("name", ["paper_fc", "paper_cnn"])  # the CNN has dropout
def test_same_seed_same_training(split, name):
    small = (split[0].take(torch.arange(128)), split[1].take(torch.arange(50)))
    networks = []
    for seed in (0, 0, 1):
        torch.rand(1)  # what happened before must not matter
        config = TrainingConfig(epochs=1, batch_size=32, seed=seed, device="cpu")
        networks.append(trained(small, config, network=new_network(name, SMALL, 10, 0))[0].state_dict())
    assert same(networks[0], networks[1])
    assert not same(networks[0], networks[2])


@pytest.mark.parametrize("shape", [(599, 10), (600, 9), (600,), (10, 600)])
def test_teacher_logits_of_a_wrong_shape(split, shape):
    with pytest.raises(SettingError, match="600 training samples of 10 classes"):
        trained(split, teacher_logits=torch.zeros(shape))


@pytest.mark.parametrize(("alpha", "shift"), [(0.0, 0), (1.0, 1)])
def test_alpha_decides_whom_the_student_follows(split, alpha, shift):
    # The teacher takes every digit for the next one: alpha = 1 learns that, alpha = 0 the labels.
    lying = 12.0 * F.one_hot((split[0].labels + 1) % 10, 10)
    config = TrainingConfig(epochs=5, batch_size=64, alpha=alpha, device="cpu", bf16="off")
    # All epochs count here: validation against the true labels would pick the worst liar.
    validation = split[0].take(torch.arange(600))
    validation = type(validation)(validation.images, (validation.labels + shift) % 10, validation.classes, "validation")
    network, _ = trained((split[0], validation), config, lying)
    assert accuracy(network, split[1], (split[1].labels + shift) % 10) > 0.7
    assert accuracy(network, split[1], (split[1].labels + 1 - shift) % 10) < 0.1


def test_soft_targets_bring_the_student_closer_to_the_teacher(split):
    teacher, _ = trained(split, TrainingConfig(epochs=3, batch_size=64, seed=9, device="cpu"))
    soft, spoken = (predict_logits(teacher, part, SMALL.normalise, device="cpu") for part in split)
    distances = []
    for logits in (soft, None):
        config = TrainingConfig(epochs=5, batch_size=64, alpha=0.9, device="cpu", bf16="off")
        network, _ = trained(split, config, logits)
        own = predict_logits(network, split[1], SMALL.normalise, device="cpu")
        distances.append(float(F.kl_div(own.log_softmax(1), spoken.softmax(1), reduction="batchmean")))
    assert distances[0] < 0.3 * distances[1]


def test_cached_logits_equal_a_direct_forward_without_dropout(small_digits):
    samples = small_digits.take(torch.arange(520))  # more than one batch of 500
    network = new_network("paper_cnn", SMALL, 10, 0).train()
    logits = predict_logits(network, samples, SMALL.normalise, device="cpu")
    assert network.training
    with torch.no_grad():
        direct = copy.deepcopy(network).eval()(SMALL.normalise(samples.images))
        dropped = network(SMALL.normalise(samples.images))
    torch.testing.assert_close(logits, direct, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits, dropped, atol=1e-3)
    assert not logits.requires_grad


def test_the_teacher_is_not_trained(split):
    # Its logits are data: an update of the student cannot reach them.
    soft = torch.randn(600, 10, requires_grad=True)
    trained(split, teacher_logits=soft)
    assert soft.grad is None


def test_a_loss_that_explodes_is_an_error(split):
    broken = student()
    with torch.no_grad():
        broken[-1].bias[0] = float("nan")
    with pytest.raises(ModelError, match="lower learning rate"):
        trained(split, network=broken)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"seed": -1},
        {"seed": 2**31},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"bf16": "yes"},
    ],
    ids=str,
)
def test_a_recipe_outside_its_range(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        TrainingConfig(**wrong)


def test_an_unknown_device():
    with pytest.raises(SettingError, match="abacus"):
        choose_device("abacus")


def test_the_record_says_how_to_repeat_it(split):
    record = training_record(CONFIG, *split, distilled=True)
    assert {"seed", "epochs", "batch_size", "learning_rate", "temperature", "alpha", "optimizer"} <= set(record)
    assert (record["train_samples"], record["validation_samples"]) == (600, 300)
    assert "alpha" not in training_record(CONFIG, *split, distilled=False)
