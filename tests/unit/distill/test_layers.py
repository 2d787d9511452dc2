"""Where the features of a network are, and that reading them leaves it as it is."""

from __future__ import annotations

import copy
import gc
import math
import weakref

import pytest
import torch
from torch import nn

from kdviz.core.errors import KdvizError, ModelError, UnknownNameError
from kdviz.distill.objectives.feature_losses import feature_losses
from kdviz.distill.objectives.features import (
    FeatureSamples,
    as_features,
    build_auxiliary,
    build_projection,
    features_of,
)
from kdviz.distill.objectives.layers import FeatureHook, LayerPair, Layers, choose_layers, default_layers, head_of
from kdviz.models.networks import FunctionNetwork, build_network


def network(name: str, side: int = 14, channels: int = 1, classes: int = 7) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(name, classes=classes, channels=channels, size=(side, side))


def images(side: int = 14, channels: int = 1, count: int = 2) -> torch.Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(1))


class ConvHead(nn.Module):
    """As timm's resnetv2: the head is a 1 x 1 convolution, whose (N, classes, 1, 1) is flattened."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5, inplace=True)
        self.fc = nn.Conv2d(4, 7, 1)

    def forward(self, x):
        return self.fc(self.drop(self.pool(self.stem(x)))).flatten(1)


class Tokens(nn.Module):
    """As a vision transformer: patches are maps, but what follows are tokens."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 7, 7)
        self.block = nn.Sequential(nn.LayerNorm(8), nn.GELU())
        self.head = nn.Linear(8, 7)

    def forward(self, x):
        return self.head(self.block(self.patches(x).flatten(2).mT).mean(1))


class ChannelsLast(nn.Module):
    """As timm's swin: maps (N, H, W, C)."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 2, 2)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 7)

    def forward(self, x):
        return self.head(self.norm(self.patches(x).permute(0, 2, 3, 1)).mean((1, 2)))


class Afterwards(nn.Module):
    """Its linear layer is not the end."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 7)

    def forward(self, x):
        return self.fc(x.flatten(1)[:, :4]).log_softmax(1)


# default layers -------------------------------------------------------------------------------------------------------


DROPOUT_AND_LINEAR = Layers("classifier.1", "classifier.0:input", "features")


@pytest.mark.parametrize(
    ("name", "side", "expected", "vector", "map_shape"),
    [
        ("paper_cnn", 14, Layers("classifier.5", "classifier.4:input", "features"), 128, (64, 7, 7)),
        ("paper_fc", 14, Layers("5", "5:input", None), 196, None),
        ("torchvision/resnet18", 64, Layers("fc", "fc:input", "layer4"), 512, (512, 2, 2)),
        ("torchvision/resnet18", 32, Layers("fc", "fc:input", "layer3"), 512, (256, 2, 2)),  # layer4 is 1 x 1
        ("torchvision/mobilenet_v2", 64, DROPOUT_AND_LINEAR, 1280, (1280, 2, 2)),
        ("torchvision/efficientnet_b0", 64, DROPOUT_AND_LINEAR, 1280, (1280, 2, 2)),
        ("torchvision/squeezenet1_1", 64, DROPOUT_AND_LINEAR, 512, (512, 3, 3)),  # its head is a convolution
        ("torchvision/densenet121", 64, Layers("classifier", "classifier:input", "features"), 1024, (1024, 2, 2)),
    ],
)
def test_default_layers(name, side, expected, vector, map_shape):
    channels = 3 if "/" in name else 1
    net = network(name, side, channels)
    sample = images(side, channels)
    layers = default_layers(net, sample)
    assert layers == expected
    names = [layers.vectors] + ([layers.maps] if layers.maps else [])
    with FeatureHook(net.eval(), names) as tap, torch.no_grad():
        net(sample)
        vectors, *maps = tap.take()
    assert as_features(vectors, "vectors").shape == (2, vector)
    assert [tuple(values.shape) for values in maps] == ([(2, *map_shape)] if map_shape else [])


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (ConvHead(), Layers("fc", "drop:input", "stem")),
        (Tokens(), Layers("head", "head:input", None)),
        (ChannelsLast(), Layers("head", "head:input", None)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_default_layers_of_unusual_networks(net, expected):
    assert default_layers(net, images()) == expected


@pytest.mark.parametrize("name", ["paper_cnn", "paper_fc", "torchvision/resnet18", "torchvision/mobilenet_v2"])
def test_the_head_makes_the_logits_from_the_vectors(name):
    channels, side = (3, 32) if "/" in name else (1, 14)
    net = network(name, side, channels).eval()
    sample = images(side, channels)
    head_name, head = head_of(net, sample)
    assert net.get_submodule(head_name) is head
    with FeatureHook(net, [default_layers(net, sample).vectors]) as tap, torch.no_grad():
        logits = net(sample)
        (vectors,) = tap.take()
    torch.testing.assert_close(head(as_features(vectors, "vectors")), logits)
    torch.testing.assert_close(as_features(vectors, "vectors") @ head.weight.T + head.bias, logits)


def test_a_layer_that_runs_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat, self.fc = nn.Flatten(), nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(self.fc(self.flat(x)[:, :4]))

    assert default_layers(Twice(), images()) == Layers("fc", "fc:input", None)


def test_looking_changes_nothing():
    net = network("torchvision/mobilenet_v2", 32, 3)
    net.train()
    net.features[0].eval()  # frozen statistics
    modes = [module.training for module in net.modules()]
    state = copy.deepcopy(net.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    default_layers(net, images(32, 3))
    choose_layers("hints", net, net, images(32, 3), student_layer="features.3")
    assert torch.rand(1) == expected
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_hooks_are_gone_after_a_failure():
    net = network("paper_cnn")
    with pytest.raises(RuntimeError):
        default_layers(net, images(channels=2))
    assert not any(module._forward_hooks for module in net.modules())
    assert net.training


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (FunctionNetwork(lambda x: x.flatten(1)[:, :7]), "shows no layers"),
        (nn.Sequential(nn.Flatten()), "no linear layer"),
        (Afterwards(), "the last one, 'fc', does not give its logits"),
        (nn.Sequential(nn.Flatten(), nn.Linear(196, 7), nn.Softmax(1)), "does not end in a linear layer"),
    ],
    ids=["function", "flatten", "log_softmax", "softmax"],
)
def test_networks_without_a_head(net, reason):
    for ask in (default_layers, head_of):
        with pytest.raises(ModelError, match=reason):
            ask(net, images())


# tap ------------------------------------------------------------------------------------------------------------------


def test_a_tap_gives_what_the_layers_compute():
    net = network("paper_cnn").eval()
    with FeatureHook(net, ["classifier.5:input", "features"]) as tap:
        logits = net(images())
        vectors, maps = tap.take()
    torch.testing.assert_close(maps, net.features(images()))
    torch.testing.assert_close(net.classifier[5](vectors), logits)
    vectors.sum().backward()  # gradients flow back through the network
    assert net.features[0].weight.grad.abs().sum() > 0
    assert net.classifier[5].weight.grad is None


def test_a_tap_changes_no_answer_and_leaves_no_hook():
    net = network("paper_cnn").eval()
    expected = net(images())
    with FeatureHook(net, ["features", "features.1:input"]) as tap:
        assert torch.equal(net(images()), expected)
        tap.take()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize("taken", [True, False])
def test_a_tap_holds_nothing_afterwards(taken):
    net = network("paper_fc")
    tap = FeatureHook(net, ["2"])
    with tap:
        net(images())
        if taken:
            given = tap.take()
            watched = weakref.ref(given[0])
            del given
        else:
            watched = weakref.ref(tap._outputs["2"])
    gc.collect()
    assert watched() is None


def test_a_tap_gives_the_last_pass_once():
    net = network("paper_fc").eval()
    with FeatureHook(net, ["5"]) as tap, torch.no_grad():
        net(images())
        last = net(images()[:1])
        assert torch.equal(tap.take()[0], last)
        with pytest.raises(ModelError, match="did not run its layer '5'"):
            tap.take()


def test_the_input_of_a_layer_that_works_in_place_is_what_it_was():
    net = nn.Sequential(nn.Flatten(), nn.Linear(196, 7), nn.ReLU(inplace=True))
    with FeatureHook(net, ["2:input"]) as tap:
        net(images())
        (before,) = tap.take()
    torch.testing.assert_close(before, net[1](images().flatten(1)))
    assert (before < 0).any()


def test_vectors_are_not_dropped_out_while_training():
    for net in (ConvHead(), network("torchvision/efficientnet_b0", 32, 3)):
        channels, side = (3, 32) if not isinstance(net, ConvHead) else (1, 14)
        with FeatureHook(net.train(), [default_layers(net, images(side, channels)).vectors]) as tap:
            net(images(side, channels, 4))
            (vectors,) = tap.take()
        assert (vectors == 0).float().mean() < 0.01  # dropout takes 20 and 50 %


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("feature", "layer of 'PaperCNN' 'feature'. Did you mean 'features'"),
        ("classifier.6", "Did you mean 'classifier"),
        ("qqq:input", "Known: classifier, features"),
        ("", "Known: classifier, features"),
    ],
)
def test_unknown_layers(layer, reason):
    with pytest.raises(UnknownNameError) as raised:
        FeatureHook(network("paper_cnn"), ["features", layer])
    assert reason in str(raised.value)


def test_a_layer_without_a_tensor():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    net = nn.Sequential(Pair(), nn.Identity())
    for layer, what in (("0", "puts out tuple"), ("1:input", "takes in tuple")):
        with FeatureHook(net, [layer]), pytest.raises(ModelError, match=what):
            net(images())


# both sides -----------------------------------------------------------------------------------------------------------


def test_layers_of_two_networks():
    cnn, fc = network("paper_cnn"), network("paper_fc")
    vectors = {"cnn": "classifier.4:input", "fc": "5:input"}
    assert choose_layers("hints", cnn, cnn, images()) == LayerPair("features", "features", "maps")
    assert choose_layers("attention_transfer", cnn, cnn, images()) == LayerPair("features", "features", "maps")
    assert choose_layers("relational", cnn, cnn, images()) == LayerPair(vectors["cnn"], vectors["cnn"], "vectors")
    for loss in ("hints", "mmd", "relational"):
        assert choose_layers(loss, fc, cnn, images()) == LayerPair(vectors["fc"], vectors["cnn"], "vectors")
    named = choose_layers("hints", cnn, cnn, images(), student_layer="features.1", teacher_layer="features.6")
    assert named == LayerPair("features.1", "features.6", "maps")
    named = choose_layers("hints", cnn, cnn, images(), teacher_layer="classifier.3")
    assert named == LayerPair(vectors["cnn"], "classifier.3", "vectors")
    named = choose_layers("relational", cnn, fc, images(), student_layer="features")
    assert named == LayerPair("features", vectors["fc"], "vectors")


@pytest.mark.parametrize(
    ("student", "teacher", "layers", "reason"),
    [
        ("paper_fc", "paper_cnn", {}, "'PaperFC' has no convolution, so attention_transfer has nothing to compare"),
        ("paper_cnn", "paper_fc", {}, "'PaperFC' has no convolution"),
        ("paper_fc", "paper_cnn", {}, "use contrastive, hints, mmd, "),
        ("paper_fc", "paper_cnn", {}, " on its penultimate layer"),
        ("paper_cnn", "paper_cnn", {"teacher_layer": "classifier.3"}, "'classifier.3' of 'PaperCNN' gives no spatial"),
        ("paper_cnn", "paper_cnn", {"student_layer": "feature"}, "Did you mean 'features'"),
    ],
)
def test_attention_needs_maps(student, teacher, layers, reason):
    with pytest.raises(KdvizError) as raised:
        choose_layers("attention_transfer", network(student), network(teacher), images(), **layers)
    assert reason in str(raised.value)


def test_attention_without_maps_in_a_network_that_convolves():
    with pytest.raises(ModelError, match="'Tokens' has no spatial map before its head, so attention_transfer"):
        choose_layers("attention_transfer", Tokens(), network("paper_cnn"), images())


@pytest.mark.parametrize(
    ("net", "side", "stages"),
    [
        ("paper_cnn", 14, ("features.5", "features")),  # not the border that it adds before a pooling
        ("torchvision/resnet18", 64, ("layer1", "layer2", "layer3", "layer4")),  # not its stem
        ("torchvision/squeezenet1_1", 64, ("features.1", "features.4", "features.7", "features")),
        ("paper_fc", 14, ()),
        (Tokens(), 14, ()),
        (ChannelsLast(), 14, ()),
    ],
)
def test_stages_end_with_the_last_maps_of_each_size(net, side, stages):
    channels = 3 if isinstance(net, str) and net.startswith("torchvision") else 1
    net = network(net, side, channels) if isinstance(net, str) else net
    assert default_layers(net, images(side, channels)).stages == stages
    if not stages:
        return
    with FeatureHook(net.eval(), stages) as hook, torch.no_grad():
        net(images(side, channels))
        sizes = [maps.shape[2] for maps in hook.take()]
    assert sizes == sorted(set(sizes), reverse=True)


def test_as_many_stages_are_compared_as_both_networks_have():
    student, teacher = network("paper_cnn", 64, 3), network("torchvision/resnet18", 64, 3)
    pair = choose_layers("review", student, teacher, images(64, 3))
    assert pair == LayerPair("features.5,features", "layer3,layer4", "stages")
    pair = choose_layers("review", student, teacher, images(64, 3), teacher_layer="layer1,layer2")
    assert pair == LayerPair("features.5,features", "layer1,layer2", "stages")
    pair = choose_layers("review", student, teacher, images(64, 3), student_layer="features", teacher_layer="layer2")
    assert pair == LayerPair("features", "layer2", "stages")
    samples = FeatureSamples.of(pair, student, teacher, images(64, 3))
    assert [[tuple(each.shape) for each in both] for both in samples.stages] == [[(2, 64, 32, 32), (2, 128, 8, 8)]]
    for layers in ({"teacher_layer": "layer1,fc"}, {"student_layer": "classifier.2"}):
        with pytest.raises(ModelError, match="gives no spatial map for review"):
            choose_layers("review", student, teacher, images(64, 3), **layers)
    with pytest.raises(ModelError, match="hints compares one layer of each network, got 'layer1,layer2'"):
        choose_layers("hints", student, teacher, images(64, 3), teacher_layer="layer1,layer2")
    with pytest.raises(ModelError, match="Of the layers 'layer1,layer2,layer3' only 2 can be compared"):
        choose_layers("review", student, teacher, images(64, 3), teacher_layer="layer1,layer2,layer3")
    with pytest.raises(UnknownNameError, match="layer9"):
        choose_layers("review", student, teacher, images(64, 3), teacher_layer="layer1,layer9")


def test_vectors_are_means_over_positions():
    maps = images(4, 3)
    assert torch.equal(as_features(maps, "maps"), maps)
    torch.testing.assert_close(as_features(maps, "vectors"), torch.stack([image.flatten(1).mean(1) for image in maps]))
    assert as_features(torch.zeros(2, 5, 8), "vectors").shape == (2, 40)


# projection -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "wide"), [((2, 3), (2, 8)), ((2, 3, 4, 4), (2, 8, 2, 2))])
def test_a_projection_has_the_teachers_width_and_its_own_seed(shape, wide):
    student, teacher = torch.randn(shape), torch.randn(wide)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (build_projection(student, teacher, seed) for seed in (0, 0, 1))
    assert torch.rand(1) == expected  # the global generator is left alone
    assert first(student).shape == (2, 8, *shape[2:])
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    # At every position the same linear map of the channels.
    expected = torch.einsum("nc...,oc->no...", student, first.weight.flatten(1))
    expected = expected + first.bias.reshape(8, *[1] * len(shape[2:]))
    torch.testing.assert_close(first(student), expected)


@pytest.mark.parametrize(
    ("loss", "student_name"),
    [(loss, "paper_cnn") for loss in feature_losses]
    + [(loss, "paper_fc") for loss in feature_losses if not feature_losses[loss].needs_maps],
)
def test_a_student_learns_a_teachers_features(loss, student_name):
    student, teacher = network(student_name), network("paper_cnn").eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    batch, entry = images(count=8), feature_losses[loss]
    pair = choose_layers(loss, student, teacher, batch)
    module = build_auxiliary(entry, FeatureSamples.of(pair, student, teacher, batch), 0)
    hooks = FeatureHook(student.eval(), pair.student.split(",")), FeatureHook(teacher, pair.teacher.split(","))
    with hooks[0] as own, hooks[1] as other:
        teacher(batch)
        wanted = features_of(other.take(), pair.kind)
        trained = [*student.parameters(), *(module.parameters() if module else [])]
        optimizer = torch.optim.Adam(trained, lr=1e-3)
        values = []
        for _ in range(30):
            student(batch)
            value = entry(features_of(own.take(), pair.kind), wanted, {}, module)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(float(value.detach()))
    variance = math.log(5) / 2 if loss == "variational" else 0  # its first one, at which learning begins
    assert values[-1] - variance < 0.7 * (values[0] - variance)
