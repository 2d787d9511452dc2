"""Training: what it yields, keeps, repeats and learns. The bundled digits serve as test data only."""

from __future__ import annotations

import copy
import re
import warnings
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL

from kdviz.core.devices import choose_device
from kdviz.core.errors import KdvizError, ModelError, SettingError
from kdviz.distill import TrainingConfig, TrainingProgress, fit, predict_logits, teacher_losses, training
from kdviz.distill.augment import Augment
from kdviz.distill.augment.views import view_of
from kdviz.distill.config import TEACHER_SETTINGS
from kdviz.distill.objectives import objective
from kdviz.distill.objectives.registry import feature_losses
from kdviz.distill.optimisation import learning_rate_schedules, optimizers
from kdviz.distill.stages import training_record
from kdviz.distill.storage.run_files import new_network

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
    assert all(isinstance(step, TrainingProgress) for step in steps)
    assert [(step.epoch, step.step) for step in steps] == [(e, min(s, 10)) for e in (1, 2) for s in range(1, 12)]
    ends = [step for step in steps if step.validation_accuracy is not None]
    assert [(step.epoch, step.step, step.steps, step.epochs) for step in ends] == [(1, 10, 10, 2), (2, 10, 10, 2)]
    assert all(step.loss is not None and 0 <= step.validation_accuracy <= 1 for step in ends)
    assert not network.training


def test_a_network_is_fitted_to_the_pictures_before_its_first_step(split):
    class Fitted(torch.nn.Sequential):
        seen = ()

        def fit_to(self, inputs):
            self.seen = (*self.seen, inputs)

    network = Fitted(torch.nn.Flatten(), torch.nn.Linear(SMALL.size[0] * SMALL.size[1], 10))
    trained(split, replace(CONFIG, epochs=1), network=network)
    assert len(network.seen) == 1
    assert torch.equal(network.seen[0], SMALL.normalise(split[0].images))


def test_with_one_view_it_trains_on_changed_copies_that_the_teacher_has_seen(split):
    config = replace(CONFIG, augment="shift", views=1, alpha=0.7)
    train, validation = split
    copies = replace(train, images=view_of(train.images, Augment("shift", 10), 0))
    logits = predict_logits(student(7), copies, SMALL.normalise, device="cpu")
    by_view, _ = trained(split, config, [logits])
    plain, _ = trained((copies, validation), replace(config, augment="", views=0), logits)
    assert same(by_view.state_dict(), plain.state_dict())


def test_views_are_seen_in_turn_each_with_its_own_logits(split, monkeypatch):
    config = replace(CONFIG, augment="shift", views=2, epochs=3)
    logits = [torch.full((len(split[0]), 10), float(view)) for view in range(2)]
    views, answers = [], []
    monkeypatch.setattr(objective, "view_of", lambda images, augment, view: views.append(view) or images)
    learn = objective.distillation_loss

    def watched(student_logits, teacher_logits, *arguments, **options):
        answers.append(int(teacher_logits[0, 0]))
        return learn(student_logits, teacher_logits, *arguments, **options)

    monkeypatch.setattr(objective, "distillation_loss", watched)
    trained(split, config, logits)
    assert views == [0, 1, 0]
    assert answers == [0] * 10 + [1] * 10 + [0] * 10


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"views": -1}, "at least 0, got -1"),
        ({"views": 2}, "name with augment"),
        ({"views": 2, "augment": "flip,mixup"}, "mixes those of a batch"),
        ({"feature_options": {"every": 2.0}}, r"options of a loss between layers \(every\), and no such loss is named"),
    ],
)
def test_settings_that_make_no_sense(settings, match):
    with pytest.raises(SettingError, match=match):
        replace(CONFIG, **settings)


def test_logits_of_too_few_views_are_refused(split):
    config = replace(CONFIG, augment="shift", views=2)
    logits = torch.zeros(len(split[0]), 10)
    with pytest.raises(SettingError, match="each of the 2 views"):
        trained(split, config, [logits])
    with pytest.raises(SettingError, match="each of the 1 views"):
        trained(split, replace(config, views=1), logits)  # those of the unchanged pictures


def test_biases_learn_64_times_as_fast_and_decay_alike():
    weight, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    config = replace(CONFIG, learning_rate=1e-3, weight_decay=0.5, optimizer="sgd_fast_bias")
    optimizer = optimizers["sgd_fast_bias"]([weight, bias], config, False)
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * group["rate_factor"]
    for gradient in (0.0, 1.0):
        one_weight, one_bias = weight.detach().clone(), bias.detach().clone()
        optimizer.state.clear()
        weight.grad, bias.grad = torch.full((2, 2), gradient), torch.full((2,), gradient)
        optimizer.step()
        # Nesterov's first step is (1 + 0.9) times the gradient with its decay.
        assert torch.allclose(one_weight - weight, 1.9e-3 * (gradient + 0.5 * one_weight), rtol=1e-3)
        assert torch.allclose(one_bias - bias, 64 * 1.9e-3 * (gradient + 0.5 / 64 * one_bias), rtol=1e-3)


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

    monkeypatch.setattr(training, "batch_logits", logits)
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
        {"kd_epochs": 0},
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"class_weights": "equal"},
        {"teacher_mixture": (1.0, 0.0)},
        {"teacher_mixture": (float("nan"),)},
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
    alone = training_record(CONFIG, *split, distilled=False)
    assert set(record) - set(alone) == set(TEACHER_SETTINGS)


# the loss of each epoch -----------------------------------------------------------------------------------------------


def by_hand(split, config, loss_of_epoch) -> dict:
    """Adam, the order of samples and the best epoch, written out again; the loss is the caller's."""
    network, optimizer = student(config.seed), None
    train, validation = split
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    best, state = -1.0, {}
    for epoch in range(1, config.epochs + 1):
        shuffled = torch.randperm(len(train), generator=torch.Generator().manual_seed(config.seed * 100_003 + epoch))
        for start in range(0, len(train), config.batch_size):
            index = shuffled[start : start + config.batch_size]
            optimizer.zero_grad()
            loss_of_epoch(epoch, network(SMALL.normalise(train.images[index])), index).backward()
            optimizer.step()
        reached = accuracy(network, validation, validation.labels)
        if reached > best:
            best, state = reached, copy.deepcopy(network.state_dict())
    return state


@pytest.fixture(scope="module")
def spoken(split):
    """A teacher's logits; they are wrong here and there, so that they differ from the labels."""
    noise = torch.randn(600, 10, generator=torch.Generator().manual_seed(1))
    return 2 * noise + 5 * F.one_hot(split[0].labels, 10)


def assert_close(actual, expected) -> None:
    # float32 and the same steps in another order of operations: some 30 steps of Adam at 1e-3, each exact to 1e-4.
    for a, b in zip(actual.values(), expected.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_defaults_train_as_they_always_did(split, spoken):
    # (1 - alpha) CE + alpha T^2 KL, alpha = 0.5 and T = 4, bit for bit.
    def loss(_, logits, index):
        soft = F.kl_div(
            (logits / 4.0).log_softmax(1), (spoken[index] / 4.0).log_softmax(1), reduction="batchmean", log_target=True
        )
        return 0.5 * F.cross_entropy(logits, split[0].labels[index]) + 0.5 * (16.0 * soft)

    assert same(trained(split, teacher_logits=spoken)[0].state_dict(), by_hand(split, CONFIG, loss))


def test_without_a_teacher_nothing_of_it_matters(split):
    def loss(_, logits, index):
        return F.cross_entropy(logits, split[0].labels[index])

    expected = by_hand(split, CONFIG, loss)
    for config in (CONFIG, replace(CONFIG, loss="dist", kd_epochs=1, alpha="0:1", temperature=9.0)):
        assert same(trained(split, config)[0].state_dict(), expected)


def test_schedules_and_kd_epochs_decide_the_loss_of_each_epoch(split, spoken):
    config = replace(CONFIG, epochs=3, temperature="8:2", alpha="1=0.9,2=0.4", kd_epochs=2)

    def loss(epoch, logits, index):
        labels = split[0].labels[index]
        temperature, alpha = {1: (8.0, 0.9), 2: (5.0, 0.4), 3: (1.0, 0.0)}[epoch]
        soft = -((spoken[index] / temperature).softmax(1) * (logits / temperature).log_softmax(1)).sum(1).mean()
        return alpha * temperature**2 * soft - (1 - alpha) * logits.log_softmax(1)[range(len(index)), labels].mean()

    weights = trained(split, config, spoken)[0].state_dict()
    assert_close(weights, by_hand(split, config, loss))
    for other in (replace(config, kd_epochs=None), replace(config, temperature=8.0), replace(config, alpha=0.9)):
        with pytest.raises(AssertionError):
            assert_close(trained(split, other, spoken)[0].state_dict(), weights)


def test_smoothing_and_class_weights_reach_the_loss(split):
    few = split[0].take(split[0].labels.ne(0) | (torch.arange(600) % 5 == 0))  # a class with a fifth of the others
    config = replace(CONFIG, label_smoothing=0.2, class_weights="balanced")
    weights = len(few) / 10 / few.labels.bincount().float()

    def loss(_, logits, index):
        target = 0.02 + 0.8 * F.one_hot(few.labels[index], 10)
        return -(target * weights * logits.log_softmax(1)).sum() / weights[few.labels[index]].sum()

    assert_close(trained((few, split[1]), config)[0].state_dict(), by_hand((few, split[1]), config, loss))


@pytest.mark.parametrize("loss", list(teacher_losses))
def test_every_loss_trains(split, loss):
    teacher, _ = trained(split, replace(CONFIG, epochs=3, seed=9))
    soft, heard = (predict_logits(teacher, part, SMALL.normalise, device="cpu") for part in split)
    config = replace(CONFIG, epochs=3, alpha=0.9, loss=loss)
    network, steps = trained(split, config, soft)
    agreed = accuracy(network, split[1], heard.argmax(1))
    assert agreed > accuracy(student(), split[1], heard.argmax(1)) + 0.3
    assert steps[0].warnings == ()


def test_several_teachers_are_heard_by_their_weights(split):
    right, wrong = (12.0 * F.one_hot((split[0].labels + shift) % 10, 10) for shift in (0, 1))
    both = torch.stack([right, wrong])
    for weights, heard in (((1.0, 0.01), 0), ((0.01, 1.0), 1)):
        config = replace(CONFIG, epochs=4, alpha=1.0, temperature=1.0, teacher_mixture=weights)
        shifted = type(split[1])(split[1].images, (split[1].labels + heard) % 10, split[1].classes, "validation")
        network, _ = trained((split[0], shifted), config, both)
        assert accuracy(network, split[1], shifted.labels) > 0.6
    with pytest.raises(SettingError, match="one value a teacher"):
        trained(split, replace(CONFIG, teacher_mixture=(1.0,)), both)
    with pytest.raises(SettingError, match="such a table for each"):
        trained(split, teacher_logits=both[:, :599])


def test_doubts_come_first_and_once(split, spoken):
    config = replace(CONFIG, alpha=0.0, loss="decoupled", loss_options={"other_weight": 1e5})
    _, steps = trained(split, config, spoken)
    assert [text.split(":")[0].split(" is")[0] for text in steps[0].warnings] == [
        "alpha",
        "On the first batch the teacher's gradient",
    ]
    assert not any(step.warnings for step in steps[1:])
    assert not trained(split, config)[1][0].warnings  # without a teacher there is nothing to doubt


def test_a_student_with_too_few_outputs_is_refused(split, spoken):
    with pytest.raises(ModelError, match="10 classes and the student 9"):
        trained(split, teacher_logits=spoken, network=new_network("paper_fc", SMALL, 9, 0))


def test_an_old_record_is_todays_configuration():
    # As experiment.json had it before there were other losses.
    record = {"epochs": 20, "batch_size": 256, "learning_rate": 1e-3, "temperature": 4.0, "alpha": 0.5, "seed": 0}
    record |= {"device": "auto", "bf16": "auto", "optimizer": "adam", "selected_by": "validation accuracy"}
    names = {field.name for field in fields(TrainingConfig)}
    assert TrainingConfig(**{name: value for name, value in record.items() if name in names}) == TrainingConfig()


# batches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(9, 4, [4, 5]), (9, 8, [9]), (8, 4, [4, 4]), (10, 4, [4, 4, 2]), (1, 4, [1]), (3, 1, [1, 1, 1]), (5, 99, [5])],
)
def test_no_sample_is_left_by_itself(split, count, size, expected):
    seen = []
    network = student()
    network.register_forward_pre_hook(lambda own, given: seen.append(len(given[0])) if own.training else None)
    config = replace(CONFIG, epochs=1, batch_size=size)
    _, steps = trained((split[0].take(torch.arange(count)), split[1]), config, network=network)
    assert seen == expected
    assert [(step.step, step.steps) for step in steps[:-1]] == [(n, len(expected)) for n in range(1, len(expected) + 1)]
    assert (steps[-1].step, steps[-1].steps) == (len(expected), len(expected))


def test_what_cannot_be_trained_says_so(split):
    class Normed(torch.nn.Sequential):
        def __init__(self, last):
            super().__init__(torch.nn.Flatten(), torch.nn.BatchNorm1d(196), torch.nn.Linear(196, 10), last)

    class Pair(torch.nn.Module):
        def forward(self, logits):
            return (logits, logits) if self.training else logits

    with pytest.raises(ModelError, match=r"'Normed' cannot learn from a batch of 1: Expected more than 1 value"):
        trained(split, replace(CONFIG, batch_size=1), network=Normed(torch.nn.Identity()))
    with pytest.raises(ModelError, match=r"'Normed' gives tuple while it is trained, no logits"):
        trained(split, network=Normed(Pair()))


def test_training_leaves_the_callers_random_numbers_alone_and_is_not_changed_by_them(small_digits):
    def trained(between):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(196, 10))
        torch.manual_seed(123)
        drawn = []
        config = TrainingConfig(epochs=2, batch_size=32, device="cpu")
        for _ in fit(network, small_digits, small_digits, lambda images: images.float() / 255, config):
            drawn += [torch.rand(())] if between else []
        return network, torch.stack([*drawn, torch.rand(())])

    quiet, after = trained(False)
    disturbed, drawn = trained(True)
    expected = torch.rand(len(drawn), generator=torch.Generator().manual_seed(123))
    assert torch.equal(drawn, torch.stack([*expected]))
    assert after == expected[0]
    assert torch.equal(quiet[2].weight, disturbed[2].weight)


# optimisers and the course of the learning rate -----------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_the_learning_rate_is_that_of_torchs_scheduler(schedule):
    """At whole steps of an epoch, against schedulers of torch, which count steps."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    steps = 40
    schedulers = {
        "constant": lambda: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0, steps),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps),
        "one_cycle": lambda: torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 1e-9, 1.0, steps // 5),
                torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps - steps // 5),
            ],
            [steps // 5],
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = schedulers[schedule]()
        for step in range(steps):
            rate = optimizer.param_groups[0]["lr"]
            assert learning_rate_schedules[schedule](step / steps) == pytest.approx(rate, abs=1e-6)
            optimizer.step()
            scheduler.step()


class Memory:
    """A checkpoint in memory."""

    def __init__(self):
        self.state = None

    def load(self):
        return copy.deepcopy(self.state)  # optimisers go on in the tensors that they are given

    def save(self, state):
        self.state = copy.deepcopy(state)


def test_a_training_interrupted_in_a_cycle_ends_with_the_same_weights(split):
    recipe = replace(CONFIG, epochs=4, optimizer="sgd", learning_rate=0.1, learning_rate_schedule="one_cycle")
    recipe = replace(recipe, weight_decay=5e-4)
    whole, _ = trained(split, recipe)
    memory, resumed = Memory(), student()
    for progress in fit(resumed, *split, SMALL.normalise, recipe, checkpoint=memory):
        if progress.epoch == 3:
            break
    list(fit(resumed, *split, SMALL.normalise, recipe, checkpoint=memory))
    assert same(whole.state_dict(), resumed.state_dict())
    constant, _ = trained(split, replace(recipe, learning_rate_schedule="constant"))
    assert not same(whole.state_dict(), constant.state_dict())


@pytest.mark.parametrize("loss", ["hints", *(name for name in feature_losses if feature_losses[name].auxiliary)])
@pytest.mark.slow
def test_the_module_of_a_loss_is_trained_saved_and_resumed_with_the_student(split, loss):
    teacher = new_network("paper_cnn", SMALL, 10, 7).eval().requires_grad_(False)
    before = copy.deepcopy(teacher.state_dict())
    # Before a ReLU there are negative values, whose means are a part of a module, too.
    layers = {"teacher_layer": "features.5:input"} if loss == "overhaul" else {}
    recipe = replace(CONFIG, epochs=3, batch_size=32, feature_loss=loss, **layers)

    def student() -> torch.nn.Module:
        return new_network("paper_cnn" if feature_losses[loss].needs_maps else "paper_fc", SMALL, 10, 0)

    few = split[0].take(torch.arange(80)), split[1].take(torch.arange(20))

    def steps(network, memory):
        return fit(network, *few, SMALL.normalise, recipe, teachers=[teacher], checkpoint=memory)

    expected, memory = Memory(), Memory()
    *_, end = steps(student(), expected)
    assert end.loss == pytest.approx(end.loss)  # finite
    resumed = student()
    for progress in steps(resumed, memory):
        if (progress.epoch, progress.step) == (3, 2):
            break
    begun = memory.load()
    list(steps(resumed, memory))
    for part in ("network", "auxiliary"):
        assert same(expected.state[part], memory.state[part])
    trained_on = {
        name for name, values in begun["auxiliary"].items() if not values.equal(memory.state["auxiliary"][name])
    }
    assert trained_on == set(begun["auxiliary"])
    assert same(before, teacher.state_dict())
    # With another one the training would end elsewhere.
    memory.state = {**begun, "auxiliary": {name: 2 * values for name, values in begun["auxiliary"].items()}}
    list(steps(student(), memory))
    assert not same(expected.state["network"], memory.state["network"])
    if loss == "hints":  # a training that began before there were other modules has another name for it
        memory.state = {"projection" if name == "auxiliary" else name: value for name, value in begun.items()}
        list(steps(student(), memory))
        assert same(expected.state["network"], memory.state["network"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sdg"}, "Unknown optimizer 'sdg'. Did you mean 'sgd'"),
        ({"learning_rate_schedule": "cos"}, "Unknown learning rate schedule 'cos'"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and below 1"),
    ],
    ids=["optimizer", "schedule", "decay"],
)
def test_a_recipe_with_an_unknown_optimisation_is_refused(settings, message):
    with pytest.raises(KdvizError, match=re.escape(message)):
        TrainingConfig(**settings)
