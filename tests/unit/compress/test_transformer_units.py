"""Pruning of vision transformers: units of fully connected blocks, and heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdviz.compress.operations import operations_of
from kdviz.compress.transformer_units import _groups, _importance, has_attention, prune_transformer
from kdviz.core.errors import ModelError, SettingError
from kdviz.models.narrowed import has_heads, narrowed
from kdviz.models.networks import build_network

TIMM = "timm/test_vit"  # 6 blocks of width 64, 2 heads, 192 units


def built(name: str = TIMM, size: int = 160) -> nn.Module:
    torch.manual_seed(0)
    network = build_network(name, classes=4, channels=3, size=(size, size)).eval()
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape))  # layers that begin at 0 would hide everything
    return network


def data(size: int = 160, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1)), torch.arange(count) % 4


def test_units_and_heads_are_left_out_and_the_rest_computes_what_the_whole_would_without_them():
    network, (inputs, targets) = built(), data()
    pruned = prune_transformer(network, built, 0.5, inputs, targets)
    narrow = narrowed(built(), TIMM, pruned.shapes)
    narrow.load_state_dict(pruned.state)
    heads = [module for module in narrow.modules() if has_heads(module)]
    assert {module.num_heads for module in heads} == {1}
    assert len(heads) == len([name for name in pruned.shapes if name.endswith("qkv.weight")]) > 3
    whole, rest = (operations_of(each, inputs[:1]).flops for each in (network, narrow.eval()))
    assert 0.45 < rest / whole < 0.65  # but for the patches and the tokens' width
    weights = [sum(weight.numel() for weight in each.parameters()) for each in (network, narrow)]
    assert weights[1] < 0.75 * weights[0]

    # a second, differently written computation: the whole network, in which weights of what went are 0
    unit = pruned.shapes["blocks.0.mlp.fc1.weight"][0]
    assert unit == network.blocks[0].mlp.fc1.out_features // 2
    for block, small in zip(network.blocks, narrow.blocks, strict=True):
        for name in ("mlp.fc2", "attn.proj"):
            before, after = block.get_submodule(name).weight, small.get_submodule(name).weight
            gone = [column for column in range(before.shape[1]) if not _is_among(before[:, column], after)]
            assert len(gone) == before.shape[1] - after.shape[1]
            before.data[:, gone] = 0
    with torch.no_grad():
        assert torch.allclose(network(inputs), narrow(inputs), atol=1e-4)


def _is_among(column: torch.Tensor, weights: torch.Tensor) -> bool:
    return bool((weights == column[:, None]).all(0).any())


def test_what_does_not_count_is_what_goes():
    network, (inputs, targets) = built(), data()
    network.blocks[1].mlp.fc2.weight.data[:, ::2] = 0
    network.blocks[2].attn.proj.weight.data[:, :32] = 0  # the first of two heads
    groups = list(_groups(network))
    scores = dict(zip([group.after for group in groups], _importance(network, groups, inputs, targets), strict=True))
    assert scores["blocks.1.mlp.fc2"][::2].max() == 0
    assert scores["blocks.1.mlp.fc2"][1::2].min() > 0
    assert scores["blocks.2.attn.proj"][0] == 0 < scores["blocks.2.attn.proj"][1]
    pruned = prune_transformer(network, built, 0.5, inputs, targets)
    assert torch.equal(pruned.state["blocks.1.mlp.fc2.weight"], network.blocks[1].mlp.fc2.weight[:, 1::2])
    kept = network.blocks[2].attn.qkv.weight.view(3, 2, 32, 64)[:, 1].reshape(96, 64)
    assert torch.equal(pruned.state["blocks.2.attn.qkv.weight"], kept)


def test_torchs_own_attention_keeps_its_heads_and_loses_units():
    network = _torch_transformer()
    inputs, targets = data(8)
    assert has_attention(network)
    pruned = prune_transformer(network, _torch_transformer, 0.25, inputs, targets)
    assert pruned.shapes == {"mlp.0.weight": [12, 8], "mlp.0.bias": [12], "mlp.3.weight": [8, 12]}


class _TorchTransformer(nn.Module):
    def __init__(self, units: bool = True):
        super().__init__()
        self.tokens, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = (
            nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(), nn.Linear(16, 8)) if units else nn.Identity()
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.tokens(images).flatten(2).mT
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        return self.head((tokens + self.mlp(tokens)).mean(1))


def _torch_transformer(units: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return _TorchTransformer(units).eval()


def test_a_transformer_without_either_is_refused_with_what_to_do_instead():
    inputs, targets = data(8)
    with pytest.raises(ModelError, match="Quantise it with --int8, or prune single weights"):
        prune_transformer(_torch_transformer(False), lambda: _torch_transformer(False), 0.5, inputs, targets)


@pytest.mark.parametrize("rows", [16, 100, 192 - 96 + 1])
def test_shapes_of_a_file_that_leave_no_whole_head_are_refused(rows):
    with pytest.raises(SettingError, match="leaves no whole number of heads"):
        narrowed(built(), TIMM, {"blocks.0.attn.qkv.weight": [rows, 64], "blocks.0.attn.qkv.bias": [rows]})


def test_convolutional_networks_are_no_transformers():
    assert not has_attention(build_network("torchvision/resnet18", classes=4, channels=3, size=(32, 32)))
    assert not has_attention(build_network("timm/convnext_atto", classes=4, channels=3, size=(32, 32)))
    assert has_attention(build_network("torchvision/swin_t", classes=4, channels=3, size=(64, 64)))
