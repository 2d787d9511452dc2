"""Heads on frozen backbones: features computed once, and a training on them is the training of the head."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from coloured import SMALL_RGB, changed, coloured, network, state_of
from torch import nn

from kdviz.core.errors import ModelError
from kdviz.core.files import Store
from kdviz.distill import TrainingConfig, fit, predict_logits
from kdviz.distill.beginnings import freeze
from kdviz.distill.storage.run_files import new_network
from kdviz.distill.transfer import Backbone, frozen_backbone, trains_head_only

CONFIG = TrainingConfig(epochs=3, batch_size=8, device="cpu", bf16="off", trainable="head")
QUICK = "torchvision/shufflenet_v2_x0_5"  # no dropout


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def backbone_of(built: nn.Module, store: Store, spec=SMALL_RGB) -> Backbone:
    return Backbone(built, spec, store, "cpu")


def passes(built: nn.Module) -> list[int]:
    """From now on, the batch sizes of the network's forward passes."""
    seen: list[int] = []
    built.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    return seen


@pytest.mark.parametrize(
    "name",
    [
        QUICK,
        "torchvision/mobilenet_v2",
        "torchvision/resnet18",
        "torchvision/mobilenet_v2@renormalised",
        "timm/resnetv2_50",  # its head is a convolution
        "paper_cnn",
        "airbench_small",  # its head has no bias
    ],
)
def test_the_head_on_the_features_is_the_network(name, store):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    samples = coloured(10)
    built = network(name).train()  # a backbone is looked at as it is used
    expected = predict_logits(copy.deepcopy(built), samples, SMALL_RGB.normalise, device="cpu")
    backbone = backbone_of(built, store)
    features = backbone.features(samples)
    head = backbone.linear_head()
    assert (features.shape, features.dtype) == ((10, backbone.head_spec().channels), torch.float32)
    torch.testing.assert_close(head(features[:, :, None, None]).detach(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(backbone.logits(samples), expected, rtol=1e-4, atol=1e-4)


def test_samples_keep_all_but_their_images(store):
    samples = coloured(10)
    given = backbone_of(network(QUICK), store).as_samples(samples)
    assert given.images.shape == (10, 1024, 1, 1)
    assert (given.labels is samples.labels, given.names, given.classes) == (True, samples.names, samples.classes)


def test_features_are_computed_once_for_these_weights_and_samples(store):
    built, samples = network(QUICK), coloured(70)
    backbone, seen = backbone_of(built, store), passes(built)
    first = backbone.features(samples)
    assert seen == [32, 32, 6]
    assert torch.equal(backbone.features(coloured(70)), first)  # equal data, wherever it was read from
    again = network(QUICK)
    nn.init.zeros_(again.fc.weight)  # the head is not part of it
    other_object = backbone_of(again, store)
    more = passes(again)
    assert torch.equal(other_object.features(samples), first)
    assert (len(seen), more) == (3, [])


@pytest.mark.parametrize("what", ["weights", "statistics", "images", "normalisation", "store"])
def test_other_weights_or_samples_have_other_features(store, tmp_path, what):
    first = backbone_of(network(QUICK), store).features(coloured(10))
    built, samples = network(QUICK), coloured(10)
    if what == "weights":
        built = network(QUICK, seed=1)
    if what == "statistics":
        built.conv5[1].running_mean += 0.1
    if what == "images":
        samples.images[3, 0, 5, 5] ^= 128
    other = Store(tmp_path / "other") if what == "store" else store
    spec = replace(SMALL_RGB, mean=(0.5, 0.5, 0.5)) if what == "normalisation" else SMALL_RGB
    backbone, seen = Backbone(built, spec, other, "cpu"), passes(built)
    assert torch.equal(backbone.features(samples), first) == (what == "store")
    assert seen == [10]


@pytest.mark.parametrize("damage", [b"", b"no numbers", None])
def test_damaged_features_are_computed_again(store, tmp_path, damage):
    built, samples = network(QUICK), coloured(10)
    backbone = backbone_of(built, store)
    first = backbone.features(samples)
    (file,) = (tmp_path / "store" / "features").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-100] if damage is None else damage)
    seen = passes(built)
    assert torch.equal(backbone.features(samples), first)
    assert seen == [10]
    assert file.read_bytes() == whole


def test_training_the_head_on_features_is_training_it_in_the_network(store):
    splits = coloured(24), coloured(12, 1)
    whole = network(QUICK)
    by_parts = copy.deepcopy(whole)
    freeze(whole, "head", "fc")
    soft = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    before = state_of(whole)
    in_network = [step for step in fit(whole, *splits, SMALL_RGB.normalise, CONFIG, soft) if step.ends_epoch]

    backbone = backbone_of(by_parts, store)
    head = backbone.linear_head()
    parts = [backbone.as_samples(samples) for samples in splits]
    on_features = [step for step in fit(head, *parts, backbone.head_spec().normalise, CONFIG, soft) if step.ends_epoch]
    assert not changed(before, by_parts)  # until the head is put there
    backbone.set_head(head)

    assert changed(before, whole) == changed(before, by_parts) == {"fc.weight", "fc.bias"}
    # Nine steps of Adam, whose gradients differ by the rounding of other batches.
    torch.testing.assert_close(by_parts.fc.weight, whole.fc.weight, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(by_parts.fc.bias, whole.fc.bias, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(whole.fc.weight, before["fc.weight"], rtol=1e-3, atol=1e-5)
    assert [step.loss for step in in_network] == pytest.approx([step.loss for step in on_features], rel=1e-4)


@pytest.mark.parametrize("name", [QUICK, "timm/resnetv2_50"])
@pytest.mark.slow
def test_a_head_is_put_back_as_it_was_taken(name, store):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    built, other = network(name), network(name, seed=1)
    before = state_of(built)
    backbone = backbone_of(built, store)
    backbone.set_head(backbone.linear_head())
    assert not changed(before, built)
    taken = backbone_of(other, store).linear_head()
    backbone.set_head(taken)
    assert all(name.startswith(backbone.head_name) for name in changed(before, built))
    assert torch.equal(backbone.head.weight.flatten(1), taken[1].weight)
    assert torch.equal(backbone.head.bias, taken[1].bias)


def test_a_head_that_is_not_the_end_cannot_be_trained_by_itself(store):
    built = network("torchvision/squeezenet1_1")  # a ReLU and an average come after its head
    with pytest.raises(ModelError, match=r"goes on computing behind its head 'classifier\.1'.*\.$"):
        backbone_of(built, store)
    wide = replace(SMALL_RGB, size=(64, 64))
    with pytest.raises(ModelError, match="goes on computing"):
        backbone_of(built, store, wide)
    assert frozen_backbone(built, SMALL_RGB, store, CONFIG) is None


def test_a_function_has_no_backbone(store):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 3))

        def forward(self, images):
            return images.mean((2, 3)) @ self.weight

    with pytest.raises(ModelError, match="shows no layers"):
        backbone_of(Bare(), store)
    assert frozen_backbone(Bare(), SMALL_RGB, store, CONFIG) is None


@pytest.mark.parametrize(
    ("more", "only"),
    [
        ({}, True),
        ({"label_smoothing": 0.1, "loss": "dist"}, True),
        ({"trainable": "all"}, False),
        ({"trainable": "1"}, False),
        ({"augment": "flip"}, False),
        ({"feature_loss": "hints"}, False),
    ],
)
def test_when_features_can_be_kept(store, more, only):
    config = replace(CONFIG, **more)
    assert trains_head_only(config) == only
    assert (frozen_backbone(network(QUICK), SMALL_RGB, store, config) is not None) == only


def test_a_head_has_a_seed_of_its_own():
    spec = replace(SMALL_RGB, size=(1, 1), channels=8, mean=(0.0,), std=(1.0,))
    first, same_seed, second = (new_network("linear_head", spec, 3, seed) for seed in (0, 0, 1))
    assert not changed(state_of(first), same_seed)
    assert changed(state_of(first), second) == {"1.weight", "1.bias"}


def test_a_head_without_bias_is_trained_in_its_network_where_no_bias_can_be_lost(store):
    assert frozen_backbone(network("airbench_small"), SMALL_RGB, store, CONFIG) is None
