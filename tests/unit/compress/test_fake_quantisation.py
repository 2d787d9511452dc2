"""Training with int8 in mind: what the network computes is what its file computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdviz.compress.fake_quantisation import FakeQuantised, fake_quantised, fold_norms, int8_network, set_ranges
from kdviz.compress.onnx_export import float_file
from kdviz.core.errors import ModelError
from kdviz.models.networks import OnnxNetwork, build_network


@pytest.fixture(scope="module", params=["paper_fc", "airbench_small"])
def quantised(request) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """A network, the same one fake-quantised with ranges, and inputs."""
    torch.manual_seed(0)
    channels, size = {"paper_fc": (1, (14, 14)), "airbench_small": (3, (16, 16))}[request.param]
    network = build_network(request.param, classes=10, channels=channels, size=size)
    inputs = torch.rand(64, channels, *size)
    if hasattr(network, "fit_to"):
        network.fit_to(inputs)
        network.train()(inputs)
    network.eval()
    fake = fake_quantised(network).eval()
    set_ranges(fake, inputs.split(32))
    return network, fake, inputs


def test_folded_norms_change_no_answer():
    torch.manual_seed(0)
    network = build_network("airbench_small", classes=10, channels=3, size=(16, 16))
    inputs = torch.rand(64, 3, 16, 16)
    network.fit_to(inputs)  # type: ignore[operator]
    network.train()(inputs)
    before = network.eval()(inputs)
    fold_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(network(inputs), before, rtol=1e-4, atol=1e-5)


def test_a_network_that_is_set_from_pictures_can_be_trained_on(small_digits):
    from dataclasses import replace

    from kdviz.distill import TrainingConfig, fit
    from kdviz.experiment import InputSpec

    colours = replace(small_digits.take(torch.arange(60)), images=small_digits.images[:60].repeat(1, 3, 1, 1))
    spec = InputSpec((14, 14), 3, (0.0,) * 3, (1.0,) * 3)
    network = build_network("airbench_small", classes=10, channels=3, size=(14, 14))
    network.fit_to(spec.normalise(colours.images))  # type: ignore[operator]
    fake = fake_quantised(network.eval())
    before = {name: tensor.clone() for name, tensor in fake.state_dict().items()}
    set_ranges(fake, [spec.normalise(colours.images)])
    config = TrainingConfig(epochs=1, batch_size=30, learning_rate=1e-3, device="cpu", bf16="off")
    assert list(fit(fake, colours, colours, spec.normalise, config))[-1].ends_epoch
    after = fake.state_dict()
    assert torch.equal(after["0.layer.weight"], before["0.layer.weight"])  # the whitening is never trained
    assert not torch.equal(after["2.0.layer.weight"], before["2.0.layer.weight"])


def test_a_norm_that_turns_values_round_is_not_moved_through_a_max_pool():
    norm = nn.BatchNorm2d(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -1.0]))
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), norm).eval()
    fold_norms(network)
    assert isinstance(network[2], nn.BatchNorm2d)


@torch.no_grad()
def test_rounding_changes_answers_a_little(quantised):
    network, fake, inputs = quantised
    difference = (fake(inputs) - network(inputs)).abs().max()
    assert 0 < difference < 0.1 * network(inputs).std() * 10


@pytest.mark.slow
@torch.no_grad()
def test_the_file_answers_as_the_network_to_a_rounding_step(quantised):
    network, fake, inputs = quantised
    content = float_file(int8_network(fake), inputs[:2])
    answers, wanted = OnnxNetwork(content)(inputs), fake(inputs)
    last = [module for module in fake.modules() if isinstance(module, FakeQuantised)][-1]
    step = last.input_levels()[0] * last.layer.weight.abs().amax()  # a level of one input, at its largest weight
    assert (answers - wanted).abs().max() <= 8 * step
    assert (answers - wanted).abs().mean() < 0.05 * (network(inputs) - wanted).abs().mean()
    assert (answers.argmax(1) == wanted.argmax(1)).all()
    assert len(content) < 0.5 * len(float_file(network, inputs[:2]))


def test_gradients_pass_the_rounding_and_ranges_follow_the_batches():
    torch.manual_seed(0)
    network = fake_quantised(build_network("paper_fc", classes=3, channels=1, size=(4, 4)).eval())
    for parameter in network.parameters():
        parameter.requires_grad_()
    first = network[1]
    assert isinstance(first, FakeQuantised)
    set_ranges(network, [torch.full((2, 1, 4, 4), 3.0)])
    assert (float(first.low), float(first.high)) == (0.0, 3.0)
    network.train()(torch.full((2, 1, 4, 4), -1.0)).sum().backward()
    assert float(first.low) == pytest.approx(-0.01)
    assert float(first.high) == pytest.approx(2.97)
    gradient = first.layer.weight.grad
    assert gradient is not None
    assert network.eval()(torch.zeros(1, 1, 4, 4)).isfinite().all()


def test_zero_is_always_a_level():
    layer = FakeQuantised(nn.Linear(3, 2))
    layer.widen(torch.tensor([[0.5, 1.0, 2.0]]))
    scale, zero = layer.input_levels()
    assert torch.fake_quantize_per_tensor_affine(torch.zeros(1), scale, zero, -128, 127) == 0
    assert float(layer.low) == 0


def test_a_network_without_weights_to_round_is_refused():
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        fake_quantised(nn.Sequential(nn.Flatten()))
