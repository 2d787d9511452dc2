"""Unstructured pruning: zeros where they are asked for, and they stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdviz.compress.sparse_weights import make_permanent, prune_two_of_four, prune_weights, two_of_four, zero_share
from kdviz.core.errors import ModelError, SettingError
from kdviz.models.networks import build_network


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_network("paper_fc", classes=3, channels=1, size=(4, 4))


def step(network: nn.Module) -> None:
    """A step of training with a large rate."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    network(torch.rand(8, 1, 4, 4)).square().sum().backward()
    optimizer.step()


def test_the_smallest_weights_of_all_layers_go_and_stay_away(network):
    names = set(network.state_dict())
    weights = torch.cat([module.weight.flatten() for module in network if isinstance(module, nn.Linear)])
    threshold = weights.abs().quantile(0.7)
    prune_weights(network, 0.7)
    step(network)
    make_permanent(network)
    assert set(network.state_dict()) == names
    assert zero_share(network) == pytest.approx(0.7, abs=0.002)
    after = torch.cat([module.weight.flatten() for module in network if isinstance(module, nn.Linear)])
    assert ((after == 0) == (weights.abs() <= threshold)).float().mean() > 0.99


def test_two_of_every_four_stay(network):
    prune_two_of_four(network)
    step(network)
    make_permanent(network)
    for module in network:
        if isinstance(module, nn.Linear):
            assert ((module.weight.unflatten(1, (-1, 4)) != 0).sum(2) == 2).all()


def test_the_two_largest_of_four_stay():
    assert two_of_four(torch.tensor([[1.0, -3.0, 2.0, 0.5]])).tolist() == [[0, 1, 1, 0]]


def test_what_does_not_fit_is_refused(network):
    with pytest.raises(SettingError, match="between 0 and 1"):
        prune_weights(network, 1.0)
    with pytest.raises(ModelError, match="multiple of four"):
        prune_two_of_four(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        prune_weights(nn.Sequential(nn.Flatten()), 0.5)
