"""Training with int8 in mind: what the network computes is what its file computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdviz.compress.fake_quantisation import FakeQuantised, fake_quantised, int8_network
from kdviz.compress.norm_folding import with_folded_norms
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
    return network, fake_quantised(network, inputs).eval(), inputs


def test_folded_norms_change_no_answer():
    torch.manual_seed(0)
    network = build_network("airbench_small", classes=10, channels=3, size=(16, 16))
    inputs = torch.rand(64, 3, 16, 16)
    network.fit_to(inputs)  # type: ignore[operator]
    network.train()(inputs)
    before = network.eval()(inputs)
    folded = with_folded_norms(network, inputs[:2])
    assert _norms(folded) == 0 < _norms(network)
    torch.testing.assert_close(folded(inputs), before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(inputs), before, rtol=0, atol=0)


def _norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


class _Library(nn.Module):
    """Layers as libraries have them: a norm beside its convolution, another one with its activation inside."""

    def __init__(self, is_split: bool = False, is_changed: bool = False):
        super().__init__()
        timm = pytest.importorskip("timm.layers", reason="needs timm: pip install timm")
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 1), timm.BatchNormAct2d(4))
        self.last = nn.Linear(4, 3)
        self.is_split, self.is_changed = is_split, is_changed
        for norm in (self.bn, self.inner[1]):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, -1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.conv(images)
        if self.is_changed:
            values.mul_(2)
        normed = self.bn(values)
        return self.last(self.inner(normed + values if self.is_split else normed).mean((2, 3)))


@pytest.mark.parametrize(("options", "left"), [({}, 0), ({"is_split": True}, 2), ({"is_changed": True}, 1)])
@torch.no_grad()
def test_norms_are_folded_as_the_network_calls_them_and_never_change_an_answer(options, left):
    torch.manual_seed(0)
    network, inputs = _Library(**options).eval(), torch.randn(8, 3, 6, 6)
    folded = with_folded_norms(network, inputs[:2])
    assert _norms(folded) == left
    torch.testing.assert_close(folded(inputs), network(inputs), rtol=1e-4, atol=1e-5)


class _Padded(nn.Conv2d):
    """A library's convolution that pads by itself."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(input, (0, 1, 0, 1)))


@pytest.mark.slow
@torch.no_grad()
def test_layers_of_a_library_are_rounded_and_exported_with_what_they_do_besides():
    torch.manual_seed(0)
    network = nn.Sequential(_Padded(3, 8, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()
    inputs = torch.rand(32, 3, 6, 6)
    fake = fake_quantised(network, inputs).eval()
    assert 0 < (fake(inputs) - network(inputs)).abs().max() < 0.03
    answers = OnnxNetwork(float_file(int8_network(fake), inputs[:2]))(inputs)
    assert (answers - fake(inputs)).abs().mean() < 0.1 * (fake(inputs) - network(inputs)).abs().mean()


def test_layers_that_get_no_inputs_stay_as_they_are():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.last = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, images):
            tokens = images.flatten(2)
            return self.last(self.attention(tokens, tokens, tokens)[0].mean(1))

    network = Attends().eval()
    fake = fake_quantised(network, torch.randn(4, 3, 2, 4))
    assert isinstance(fake.last, FakeQuantised)
    assert isinstance(fake.attention.out_proj, nn.Linear)
    with pytest.raises(ModelError, match="its layers get no inputs, or only zeros"):
        fake_quantised(network, torch.zeros(4, 3, 2, 4))


def test_a_network_that_is_set_from_pictures_can_be_trained_on(small_digits):
    from dataclasses import replace

    from kdviz.distill import TrainingConfig, fit
    from kdviz.experiment import InputSpec

    colours = replace(small_digits.take(torch.arange(60)), images=small_digits.images[:60].repeat(1, 3, 1, 1))
    spec = InputSpec((14, 14), 3, (0.0,) * 3, (1.0,) * 3)
    network = build_network("airbench_small", classes=10, channels=3, size=(14, 14))
    network.fit_to(spec.normalise(colours.images))  # type: ignore[operator]
    fake = fake_quantised(network.eval(), spec.normalise(colours.images))
    before = {name: tensor.clone() for name, tensor in fake.state_dict().items()}
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
    folded = with_folded_norms(network, torch.randn(2, 1, 6, 6))
    assert isinstance(folded, nn.Sequential)
    assert isinstance(folded[2], nn.BatchNorm2d)


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
    built = build_network("paper_fc", classes=3, channels=1, size=(4, 4)).eval()
    network = fake_quantised(built, torch.full((2, 1, 4, 4), 3.0))
    for parameter in network.parameters():
        parameter.requires_grad_()
    assert isinstance(network, nn.Sequential)
    first = network[1]
    assert isinstance(first, FakeQuantised)
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
        fake_quantised(nn.Sequential(nn.Flatten()), torch.zeros(2, 3))
