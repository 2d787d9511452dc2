"""Architectures: the paper's two nets exactly, and others by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kdviz.errors import SettingError, UnknownNameError
from kdviz.networks import build_network, networks, parameter_count


@pytest.mark.parametrize(("name", "count"), [("paper_cnn", 1_625_866), ("paper_fc", 1_238_730)])
def test_the_papers_nets_have_exactly_its_parameters(name, count):
    assert parameter_count(build_network(name, classes=10, channels=1, size=(28, 28))) == count


@pytest.mark.parametrize("name", list(networks))
@pytest.mark.parametrize(("classes", "channels", "size"), [(10, 1, (28, 28)), (2, 3, (12, 9)), (5, 1, (7, 10))])
def test_every_network_takes_what_it_was_built_for(name, classes, channels, size):
    network = build_network(name, classes=classes, channels=channels, size=size).eval()
    inputs = torch.rand(3, channels, *size)
    logits = network(inputs)
    assert logits.shape == (3, classes)
    torch.testing.assert_close(logits[1:2], network(inputs[1:2]), rtol=1e-4, atol=1e-5)  # a batch equals one by one


def test_pooling_of_stride_one_is_that_of_keras():
    # Keras pads 'same' pooling with -infinity at the right and the bottom when the total padding is odd.
    network = build_network("paper_cnn", classes=10, channels=1, size=(9, 7))
    convolved = network.features[:2](torch.randn(4, 1, 9, 7))
    pooled = network.features[2:4](convolved)
    expected = F.max_pool2d(F.pad(convolved, (0, 1, 0, 1), value=-torch.inf), 2, stride=1)
    assert pooled.shape == convolved.shape
    assert torch.equal(pooled, expected)


def test_dropout_is_on_in_training_only():
    network = build_network("paper_cnn", classes=10, channels=1, size=(8, 8))
    inputs = torch.rand(2, 1, 8, 8)
    assert not torch.equal(network(inputs), network(inputs))
    network.eval()
    assert torch.equal(network(inputs), network(inputs))


def test_torchvision_by_name():
    network = build_network("torchvision/mobilenet_v3_small", classes=2, channels=3, size=(64, 64)).eval()
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "close"),
    [("paper_cn", "paper_cnn"), ("PAPER_FC", "paper_fc"), ("torchvision/mobilnet_v3_small", "mobilenet_v3_small")],
)
def test_an_unknown_network_suggests_the_closest(name, close):
    with pytest.raises(UnknownNameError) as caught:
        build_network(name, classes=2, channels=3, size=(64, 64))
    assert close in str(caught.value)
    if name != name.upper():
        assert f"Did you mean '{close}'?" in str(caught.value)


def test_torchvision_takes_colour_only():
    with pytest.raises(SettingError, match="3 channels"):
        build_network("torchvision/mobilenet_v3_small", classes=2, channels=1, size=(64, 64))
