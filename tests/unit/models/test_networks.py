"""Architectures: the paper's two nets exactly, others by name, and functions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdviz.core.errors import ModelError, SettingError, UnknownNameError
from kdviz.models.networks import (
    FunctionNetwork,
    NumpyNetwork,
    PaperCNN,
    QuickDropout,
    build_network,
    networks,
    parameter_count,
)
from kdviz.saliency import RISE


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
        assert f"Did you mean '{close}'" in str(caught.value)


def test_torchvision_takes_colour_only():
    with pytest.raises(SettingError, match="3 channels"):
        build_network("torchvision/mobilenet_v3_small", classes=2, channels=1, size=(64, 64))


# functions ------------------------------------------------------------------------------------------------------------


def brightness(pixels: np.ndarray) -> np.ndarray:
    assert isinstance(pixels, np.ndarray)
    assert pixels.dtype == np.float32
    return pixels[:, 0, ::-1].astype(np.float64).reshape(len(pixels), -1)[:, ::-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_function_of_arrays_is_a_network(dtype):
    images = torch.rand(3, 1, 2, 4, dtype=dtype, requires_grad=True)
    scores = NumpyNetwork(brightness)(images)
    assert (scores.dtype, scores.shape) == (torch.float32, (3, 8))
    expected = images.detach().float()[:, 0].flip(1).flatten(1).flip(1)
    assert torch.equal(scores, expected)
    assert NumpyNetwork.differentiable is False


def test_rise_explains_a_function_of_arrays():
    image = torch.rand(1, 1, 6, 6)
    network = NumpyNetwork(lambda pixels: pixels.mean((1, 2, 3)))
    by_torch = RISE(lambda pixels: pixels.mean((1, 2, 3))).attribute(image, n_masks=40, grid=3)
    torch.testing.assert_close(RISE(network).attribute(image, n_masks=40, grid=3), by_torch, rtol=1e-3, atol=1e-5)


def test_a_function_that_changes_its_input_changes_nothing_else():
    def careless(pixels: np.ndarray) -> np.ndarray:
        pixels -= 1
        return pixels.reshape(len(pixels), -1)

    images = torch.ones(2, 1, 2, 2)
    assert NumpyNetwork(careless)(images).unique().tolist() == [0.0]
    assert images.unique().tolist() == [1.0]


@pytest.mark.parametrize("answer", [None, "text", [[1], [1, 2]], np.zeros(()), np.zeros((7, 2))], ids=repr)
def test_rise_says_what_is_wrong_with_a_functions_answer(answer):
    with pytest.raises(ModelError, match="The model 'model'"):
        RISE(NumpyNetwork(lambda pixels: answer)).attribute(torch.rand(1, 1, 6, 6), target=0, n_masks=40, grid=3)


def test_a_function_need_not_bear_copying():
    generator = (number for number in ())  # cannot be copied

    class Scores:
        def __init__(self):
            self.held = generator

        def __call__(self, images):
            return images.flatten(1)

    network = copy.deepcopy(FunctionNetwork(Scores()))
    assert network(torch.ones(2, 1, 2, 2)).shape == (2, 4)


# what makes the paper's CNN train fast -------------------------------------------------------------------------------


def test_dropout_drops_the_share_it_should_and_keeps_the_mean():
    torch.manual_seed(0)
    dropout, ones = QuickDropout(0.3), torch.ones(200, 500, requires_grad=True)
    out = dropout(ones)
    kept = out != 0
    # 100,000 draws with standard error sqrt(.3 * .7 / 100,000) = .00145; five of them.
    assert float(kept.float().mean()) == pytest.approx(0.7, abs=0.0073)
    assert torch.allclose(out[kept], torch.tensor(1 / 0.7))
    out.sum().backward()
    assert torch.equal(ones.grad, out.detach())  # a value's gradient is its factor
    assert not torch.equal(dropout(ones), out)
    assert dropout.eval()(ones) is ones


def test_the_cnn_has_the_gradients_that_its_layers_give():
    images, labels = torch.rand(6, 1, 28, 28), torch.arange(6)
    gradients = []
    for plain in (False, True):
        torch.manual_seed(0)
        network = PaperCNN().train().to(memory_format=torch.channels_last)
        torch.manual_seed(1)  # of dropout
        logits = network.classifier(network.features(images)) if plain else network(images)
        torch.nn.functional.cross_entropy(logits, labels).backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for gradient, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, expected)
