"""What a step of a training minimises: who sees which images, who is trained, and when the teacher is heard."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from coloured import SMALL_RGB, changed, coloured, network, state_of
from conftest import SMALL
from torch import nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.distill import TrainingConfig, fit, predict_logits
from kdviz.distill.beginnings import freeze, stages
from kdviz.distill.objectives import objective
from kdviz.distill.objectives.layers import head_of
from kdviz.distill.objectives.objective import Objective
from kdviz.distill.objectives.registry import feature_losses
from kdviz.distill.storage.run_files import new_network

CONFIG = TrainingConfig(epochs=2, batch_size=40, device="cpu", bf16="off")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split(small_digits):
    return small_digits.take(torch.arange(120)), small_digits.take(torch.arange(120, 160), "validation")


class Recording(nn.Module):
    """Keeps what the network inside is given: (in training mode, input)."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner
        self.given: list[tuple[bool, torch.Tensor]] = []
        self.train(inner.training)

    def forward(self, images):
        self.given.append((self.training, images.detach().clone()))
        return self.inner(images)


def student(seed: int = 0) -> nn.Module:
    return new_network("paper_fc", SMALL, 10, seed)


def teacher(seed: int = 7, name: str = "paper_cnn") -> nn.Module:
    return new_network(name, SMALL, 10, seed).eval().requires_grad_(False)


def train(split, config=CONFIG, own=None, soft=None, teachers=()):
    own = own or student()
    steps = list(fit(own, *split, SMALL.normalise, config, soft, teachers=teachers))
    return own, steps


def make(split, config=CONFIG, own=None, **more) -> Objective:
    return Objective(own or student(), split[0], SMALL.normalise, config, CPU, **more)


def assert_alike(expected: nn.Module, actual: nn.Module) -> None:
    # The teacher's batches differ, so that its answers do in the last digits: 6 steps of Adam at 1e-3.
    for first, second in zip(expected.state_dict().values(), actual.state_dict().values(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)


# what the networks see ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", ["rotate90", "erase,mixup", "cutmix"])
def test_the_teacher_sees_the_very_images_of_the_student(split, augment):
    own, live = Recording(student()), Recording(teacher())
    train(split, replace(CONFIG, augment=augment), own, teachers=[live])
    learned = [images for training, images in own.given if training]
    heard = [images for _, images in live.given[1:]]  # the first looks for doubts, before the training
    assert len(learned) == len(heard) == 6
    assert all(map(torch.equal, learned, heard))
    first, second = torch.cat(learned[:3]), torch.cat(learned[3:])
    assert not torch.equal(first.sort(0).values, second.sort(0).values)  # each epoch draws anew
    plain = {image.numpy().tobytes() for image in SMALL.normalise(split[0].images)}
    assert sum(image.numpy().tobytes() not in plain for image in first) > 40


def test_without_augmentation_each_image_is_seen_once_an_epoch_as_it_is(split):
    own, live = Recording(student()), Recording(teacher())
    train(split, replace(CONFIG, feature_loss="hints"), own, teachers=[live])
    plain = SMALL.normalise(split[0].images)
    for images in (
        torch.cat([images for training, images in own.given if training][:3]),
        torch.cat([images for _, images in live.given if len(images) == 40][1:4]),
    ):
        torch.testing.assert_close(images.flatten(1).sort(0).values, plain.flatten(1).sort(0).values)


def test_the_live_teacher_is_not_changed_and_not_in_training_mode(split):
    live = network("torchvision/mobilenet_v2", classes=3).requires_grad_(False)  # BatchNorm would show it
    before = state_of(live)
    data = coloured(12), coloured(6, 1)
    config = replace(CONFIG, epochs=1, batch_size=6, augment="flip", feature_loss="mmd")
    own = network("torchvision/shufflenet_v2_x0_5")
    list(fit(own, *data, SMALL_RGB.normalise, config, teachers=[live]))
    assert not changed(before, live)
    assert not any(module.training for module in live.modules())


def test_a_live_teacher_and_its_logits_train_alike(split):
    live = teacher()
    soft = predict_logits(live, split[0], SMALL.normalise, device="cpu")
    assert_alike(train(split, teachers=[live])[0], train(split, soft=soft)[0])
    other, _ = train(split, soft=soft.flip(1))
    with pytest.raises(AssertionError):
        assert_alike(train(split, soft=soft)[0], other)


def test_several_live_teachers_and_their_logits_train_alike(split):
    live = [teacher(1), teacher(2, "paper_fc")]
    soft = torch.stack([predict_logits(live_teacher, split[0], SMALL.normalise, device="cpu") for live_teacher in live])
    config = replace(CONFIG, teacher_mixture=(3.0, 1.0), alpha=0.9)
    assert_alike(train(split, config, teachers=live)[0], train(split, config, soft=soft)[0])
    with pytest.raises(AssertionError):
        assert_alike(train(split, config, teachers=live[::-1])[0], train(split, config, soft=soft)[0])


@pytest.mark.parametrize("bf16", ["off", "on"])
def test_images_that_are_kept_ready_train_as_those_that_are_not(split, monkeypatch, bf16):
    soft = torch.randn(120, 10, generator=torch.Generator().manual_seed(0))
    config = replace(CONFIG, bf16=bf16)
    ready = make(split, config)
    assert ready._normalised is not None
    first, _ = train(split, config, soft=soft)
    monkeypatch.setattr(objective, "_NORMALISED_BYTES", 0)
    assert make(split, config)._normalised is None
    second, _ = train(split, config, soft=soft)
    assert not changed(state_of(first), second)


@pytest.mark.parametrize(("more", "what"), [({"augment": "flip"}, "'flip'"), ({"feature_loss": "hints"}, "'hints'")])
def test_logits_cannot_answer_for_other_images_or_show_features(split, more, what):
    with pytest.raises(SettingError, match=f"{what} the teacher has to answer in every step") as caught:
        train(split, replace(CONFIG, **more), soft=torch.zeros(120, 10))
    assert "\n" not in str(caught.value)
    train(split, replace(CONFIG, epochs=1, **more))  # without a teacher there is nothing to refuse


def test_mixed_samples_have_mixed_labels(small_digits):
    one_each = torch.stack([(small_digits.labels == label).nonzero()[0, 0] for label in range(10)])
    samples = small_digits.take(one_each)
    mixing = make((samples,), replace(CONFIG, augment="mixup"))
    index = torch.randperm(10)
    inputs, labels = mixing.inputs(index, seed=3)
    assert labels.shape == (10, 10)
    torch.testing.assert_close(labels.sum(1), torch.ones(10))
    # Each class is there once, so that its label says how much of which image there is.
    plain = SMALL.normalise(samples.images).flatten(1)
    torch.testing.assert_close(inputs.flatten(1), labels @ plain, rtol=1e-4, atol=1e-5)
    assert ((labels > 0.02) & (labels < 0.98)).any()
    logits = torch.randn(10, 10, generator=torch.Generator().manual_seed(0))
    expected = -(labels * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(mixing.loss(logits, inputs, labels, None, index, 1), expected)
    taught = torch.randn(10, 10, generator=torch.Generator().manual_seed(1))
    soft = F.kl_div((logits / 4).log_softmax(1), (taught / 4).softmax(1), reduction="batchmean")
    torch.testing.assert_close(mixing.loss(logits, inputs, labels, taught, index, 1), 0.5 * expected + 0.5 * 16 * soft)


# features -------------------------------------------------------------------------------------------------------------


def test_a_feature_loss_trains_the_student_and_the_projection_and_nobody_else(split, monkeypatch):
    built = []

    def build(*args):
        pair, module = projections(*args)
        built.extend([module, copy.deepcopy(module)])
        return pair, module

    projections = objective.compared_layers
    monkeypatch.setattr(objective, "compared_layers", build)
    own, live = student(), teacher()
    before = state_of(live)
    config = replace(CONFIG, feature_loss="hints", feature_weight=10.0)
    with_features, _ = train(split, config, own, teachers=[live])
    assert not changed(before, live)
    assert all(parameter.grad is None for parameter in live.parameters())
    without, _ = train(split, replace(CONFIG, feature_loss="hints", feature_weight=0.0), teachers=[live])
    assert changed(state_of(with_features), without)
    assert len(built) == 4
    projection, start = built[:2]
    assert changed(start.state_dict(), projection) == {"weight", "bias"}
    assert (projection.in_features, projection.out_features) == (196, 128)  # the student's width, and the teacher's


def test_the_feature_loss_is_added_with_its_weight(split):
    own, live = student(), teacher()
    config = replace(CONFIG, feature_loss="hints", feature_weight=2.5)
    training_objective = make(split, config, own, teachers=[live])
    index = torch.arange(40)
    inputs, labels = training_objective.inputs(index, 0)
    logits = own(inputs)
    taught = training_objective.teacher_logits_of(inputs, index, 1)
    loss = training_objective.loss(logits, inputs, labels, taught, index, 1)
    with torch.no_grad():
        taught = live(inputs)
        features = (
            training_objective.auxiliary(nn.Sequential(*list(own)[:5])(inputs)),
            live.classifier[:4](live.features(inputs)),
        )
        # What the head decides on, a dropout left away: the teacher's fourth layer is its hidden ReLU.
        soft = F.kl_div((logits / 4).log_softmax(1), (taught / 4).softmax(1), reduction="batchmean")
        expected = 0.5 * F.cross_entropy(logits, labels) + 8 * soft + 2.5 * F.mse_loss(*features)
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-4, atol=1e-5)
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in training_objective.auxiliary.parameters())
    training_objective.close()


def test_after_kd_epochs_neither_teacher_nor_features_count(split):
    own, live = student(), Recording(teacher())
    config = replace(CONFIG, epochs=3, kd_epochs=1, feature_loss="hints", feature_weight=5.0)
    training_objective = make(split, config, own, teachers=[live])
    index = torch.arange(40)
    inputs, labels = training_objective.inputs(index, 0)
    logits = own(inputs)
    assert training_objective.teacher_logits_of(inputs, index, 1) is not None
    assert training_objective.teacher_logits_of(inputs, index, 2) is None
    assert training_objective.loss(logits, inputs, labels, None, index, 2) == F.cross_entropy(logits, labels)
    training_objective.close()
    live.given.clear()
    _, steps = train(split, config, teachers=[live])
    asked = [len(images) for _, images in live.given if len(images) == 40]
    assert len(asked) == 1 + 3  # doubts, and the three batches of the first epoch
    assert [step.alpha for step in steps if step.ends_epoch] == [0.5, None, None]


def test_the_taps_are_taken_off_even_after_an_error(split):
    own, live = student(), teacher()
    config = replace(CONFIG, feature_loss="hints")

    def hooks() -> int:
        return sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for net in (own, live)
            for module in net.modules()
        )

    train(split, config, own, teachers=[live])
    assert hooks() == 0
    with torch.no_grad():
        own[-1].bias[0] = float("nan")
    with pytest.raises(ModelError, match="lower learning rate"):
        train(split, config, own, teachers=[live])
    assert hooks() == 0


@pytest.mark.parametrize("loss", list(feature_losses))
@pytest.mark.slow
def test_feature_losses_train_in_bfloat16(loss):
    config = replace(CONFIG, epochs=1, batch_size=6, feature_loss=loss, bf16="on", augment="flip")
    name = "mobilenet_v2" if loss == "softmax_regression" else "squeezenet1_1"  # the latter has a ReLU after its head
    own, live = network("torchvision/shufflenet_v2_x0_5"), network(f"torchvision/{name}").requires_grad_(False)
    spec = replace(SMALL_RGB, size=(48, 48))
    data = tuple(
        replace(samples, images=F.interpolate(samples.images.float(), size=spec.size).to(torch.uint8))
        for samples in (coloured(12), coloured(6, 1))
    )
    before = state_of(own)
    *_, end = fit(own, *data, spec.normalise, config, teachers=[live])
    assert end.loss == pytest.approx(end.loss)  # finite
    assert len(changed(before, own)) > 100


# freezing -------------------------------------------------------------------------------------------------------------


def trained_parts(name: str, trainable: str, spec=SMALL_RGB) -> set[str]:
    built = network(name, spec=spec)
    head, _ = head_of(built, torch.zeros(2, spec.channels, *spec.size))
    freeze(built, trainable, head)
    return {name for name, parameter in built.named_parameters() if parameter.requires_grad}


def starting(names: set[str], *parts: str) -> bool:
    """Whether these are the parts, each of which has some."""
    return {part for part in parts for name in names if name.startswith(f"{part}.")} == set(parts) and all(
        any(name.startswith(f"{part}.") for part in parts) for name in names
    )


@pytest.mark.parametrize(
    ("name", "trainable", "parts"),
    [
        ("torchvision/mobilenet_v2", "head", ["classifier.1"]),
        ("torchvision/mobilenet_v2", "0", ["classifier.1"]),
        ("torchvision/mobilenet_v2", "1", ["classifier.1", "features.18"]),
        ("torchvision/mobilenet_v2", "3", ["classifier.1", "features.18", "features.17", "features.16"]),
        ("torchvision/mobilenet_v2", "all", ["classifier", "features"]),
        ("torchvision/mobilenet_v2", "99", ["classifier", "features"]),
        ("torchvision/mobilenet_v2@renormalised", "1", ["network.classifier.1", "network.features.18"]),
        ("torchvision/resnet18", "head", ["fc"]),
        ("torchvision/resnet18", "1", ["fc", "layer4.1"]),
        ("torchvision/resnet18", "3", ["fc", "layer4", "layer3.1"]),
        ("torchvision/resnet18", "8", ["fc", "layer1", "layer2", "layer3", "layer4"]),
        ("torchvision/resnet18", "9", ["fc", "layer1", "layer2", "layer3", "layer4", "bn1", "conv1"]),
        ("paper_cnn", "head", ["classifier.5"]),
        ("paper_cnn", "1", ["classifier.5", "classifier.2"]),
        ("paper_cnn", "2", ["classifier.5", "classifier.2", "features.4"]),
        ("paper_fc", "1", ["5", "3"]),
    ],
)
def test_what_is_trained(name, trainable, parts):
    assert starting(trained_parts(name, trainable), *parts)


@pytest.mark.slow
def test_a_norm_by_itself_goes_with_the_stage_before_it():
    pytest.importorskip("timm")
    spec = replace(SMALL_RGB, size=(64, 64))
    assert starting(trained_parts("timm/resnetv2_50", "head", spec), "head.fc")
    assert starting(trained_parts("timm/resnetv2_50", "1", spec), "head.fc", "norm", "stages.3")


def test_stages_are_in_order_and_leave_the_head_out():
    built = network("torchvision/resnet18")
    names = stages(built, "fc")
    assert names == ["conv1", "bn1", *(f"layer{layer}.{block}" for layer in range(1, 5) for block in range(2))]


@pytest.mark.parametrize("trainable", ["", "some", "-1", "1.5", "head,1", "²"])
def test_nonsense_to_unfreeze(trainable):
    with pytest.raises(SettingError, match="trainable must be all, head or a number of stages"):
        freeze(network("torchvision/resnet18"), trainable, "fc")


@pytest.mark.parametrize("trainable", ["head", "1"])
def test_frozen_weights_and_their_statistics_do_not_move(trainable):
    own = network("torchvision/mobilenet_v2")
    freeze(own, trainable, "classifier.1")
    before = state_of(own)
    config = replace(CONFIG, batch_size=6, trainable=trainable)
    list(fit(own, coloured(12), coloured(6, 1), SMALL_RGB.normalise, config))
    moved = changed(before, own)
    parts = {"head": ["classifier.1"], "1": ["classifier.1", "features.18"]}[trainable]
    assert starting(moved, *parts)
    assert ("features.18.1.running_mean" in moved) == (trainable == "1")


def test_a_network_with_nothing_to_train_says_so(split):
    with pytest.raises(ModelError, match="no weights to train"):
        train(split, own=student().requires_grad_(False))
