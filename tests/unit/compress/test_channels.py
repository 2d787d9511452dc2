"""Structured pruning: what goes is what does not count, and what stays computes the same."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdviz.compress.channels import channel_importance, prune_channels, require_prunable
from kdviz.core.errors import ExperimentError, SettingError
from kdviz.experiment import InputSpec, Run
from kdviz.models.networks import WhiteningConv, build_network

SIZES = {"paper_fc": (1, (8, 8)), "paper_cnn": (1, (8, 8)), "airbench_small": (3, (16, 16))}


def with_idle_channels(name: str) -> tuple[nn.Module, torch.Tensor, list[int]]:
    """A network of which every second channel has no weight in the next layer, its inputs, and its widths."""
    channels, size = SIZES[name]
    torch.manual_seed(0)
    network = build_network(name, classes=5, channels=channels, size=size).eval()
    inputs = torch.rand(40, channels, *size)
    if hasattr(network, "fit_to"):
        network.fit_to(inputs)
        network.train()(inputs)  # statistics of batch norms that are not 0 and 1
        network.eval()
    layers = [
        module
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not isinstance(module, WhiteningConv)
    ]
    with torch.no_grad():
        for layer, following in pairwise(layers):
            places = following.weight.shape[1] // layer.weight.shape[0]
            following.weight.unflatten(1, (-1, places))[:, ::2] = 0
    return network, inputs, [len(layer.weight) for layer in layers[:-1]]


@pytest.mark.parametrize("name", SIZES)
def test_idle_channels_go_and_the_answers_stay(name):
    network, inputs, widths = with_idle_channels(name)
    before = network(inputs)
    pruned = prune_channels(network, 0.5, inputs, torch.arange(40) % 5)
    assert pruned.widths == [round(width / 2) for width in widths]
    channels, size = SIZES[name]
    narrow = build_network(name, classes=5, channels=channels, size=size, settings={"widths": pruned.widths}).eval()
    narrow.load_state_dict(pruned.state)
    torch.testing.assert_close(narrow(inputs), before, rtol=1e-4, atol=1e-5)
    assert sum(map(torch.numel, narrow.parameters())) < 0.62 * sum(map(torch.numel, network.parameters()))


def test_pruning_leaves_the_network_as_it_was():
    network, inputs, _widths = with_idle_channels("paper_fc")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    needed = [parameter.requires_grad for parameter in network.parameters()]
    prune_channels(network, 0.5, inputs, torch.zeros(40, dtype=torch.int64))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [parameter.requires_grad for parameter in network.parameters()] == needed


def test_importance_is_the_squared_effect_on_the_loss_of_each_sample():
    torch.manual_seed(1)
    network = build_network("paper_fc", classes=3, channels=1, size=(4, 4)).eval()
    inputs, teacher = torch.rand(6, 1, 4, 4), torch.rand(6, 3).softmax(1)
    first, rest = list(network.children())[:3], list(network.children())[3:]
    expected = torch.zeros(16)
    for row, wanted in zip(inputs, teacher, strict=True):
        hidden = nn.Sequential(*first)(row[None]).detach().requires_grad_()
        F.cross_entropy(nn.Sequential(*rest)(hidden), wanted[None]).backward()
        assert hidden.grad is not None
        expected += (hidden * hidden.grad)[0].detach().square() / 6
    torch.testing.assert_close(channel_importance(network, inputs, teacher)[0], expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_is_between_0_and_1(share):
    network, inputs, _widths = with_idle_channels("paper_fc")
    with pytest.raises(SettingError, match="must be between 0 and 1"):
        prune_channels(network, share, inputs, torch.zeros(40, dtype=torch.int64))


def test_a_network_that_is_no_chain_needs_torch_pruning(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    network = torch.nn.Linear(2, 2)
    require_prunable("paper_cnn", network)
    require_prunable("timm/vit_tiny", torch.nn.MultiheadAttention(2, 1))
    with pytest.raises(SettingError, match=r'pip install "kdviz\[prune\]"'):
        require_prunable("torchvision/resnet18", network)
    with pytest.raises(SettingError, match="needs torch-pruning"):
        require_prunable("linear_head", network)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ("8,8", "must be a list of whole numbers"),
        ([8, 0], "must be a list of whole numbers"),
        ([8, 5000], "must be a list of whole numbers"),
        ([8, True], "must be a list of whole numbers"),
        ([8, 8, 8], "cannot be built with widths="),
    ],
)
def test_widths_that_are_none_are_refused_in_one_sentence(widths, message):
    with pytest.raises(SettingError, match=message):
        build_network("paper_fc", classes=3, channels=1, size=(4, 4), settings={"widths": widths})


def test_a_network_without_widths_has_no_such_setting():
    with pytest.raises(SettingError, match="has no setting 'widths'; its settings are: none"):
        build_network("linear_head", classes=3, channels=1, size=(4, 4), settings={"widths": [3]})


def test_weights_of_other_widths_are_refused(tmp_path):
    import hashlib

    from safetensors.torch import save

    network = build_network("paper_fc", classes=3, channels=1, size=(4, 4))
    content = save(network.state_dict())
    (tmp_path / "a.safetensors").write_bytes(content)
    spec = InputSpec((4, 4), 1, (0.0,), (1.0,))
    digest = hashlib.sha256(content).hexdigest()
    run = Run("a", "paper_fc", "a.safetensors", digest, {}, {}, tmp_path, spec, 3, settings={"widths": [5, 5]})
    with pytest.raises(ExperimentError, match="does not hold the weights of a 'paper_fc'"):
        _ = run.model
