"""Pruning of vision transformers: units of fully connected blocks, and heads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from kdviz.compress.operations import operations_of
from kdviz.compress.transformer_units import _groups, _importance, has_attention, prune_transformer
from kdviz.core.errors import ModelError, SettingError
from kdviz.models.narrowed import heads_of, narrowed
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
    heads = [module for module in narrow.modules() if heads_of(module)]
    assert {module.num_heads for module in heads} == {1}
    assert len(heads) == len([name for name in pruned.shapes if name.endswith("qkv.weight")]) > 3
    whole, rest = (operations_of(each, inputs[:1]).flops for each in (network, narrow.eval()))
    assert 0.45 < rest / whole < 0.65  # but for the patches and the tokens' width
    weights = [sum(weight.numel() for weight in each.parameters()) for each in (network, narrow)]
    assert weights[1] < 0.75 * weights[0]

    unit = pruned.shapes["blocks.0.mlp.fc1.weight"][0]
    assert unit == network.blocks[0].mlp.fc1.out_features // 2
    _silence(network, narrow)
    with torch.no_grad():
        assert torch.allclose(network(inputs), narrow(inputs), atol=1e-4)


def _silence(network: nn.Module, narrow: nn.Module) -> int:
    """Set weights of what went to 0 in the whole network; the number of layers.

    A second, differently written computation of what pruning has to leave.
    """
    layers = [
        (whole.weight, narrow.get_submodule(name).weight)
        for name, whole in network.named_modules()
        if isinstance(whole, nn.Linear) and whole.in_features > narrow.get_submodule(name).in_features
    ]
    for before, after in layers:
        gone = [column for column in range(before.shape[1]) if not _is_among(before[:, column], after)]
        assert len(gone) == before.shape[1] - after.shape[1]
        before.data[:, gone] = 0
    return len(layers)


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


TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16}
TINY |= {"patch_size": 8, "num_channels": 3}
TINY_SWIN = {"patch_size": [4, 4], "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": [2, 2]}
WINDOWS = {"image_size": 16, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2}


def _vision_transformer() -> nn.Module:
    return VisionTransformer(16, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4)


def _swin() -> nn.Module:
    return SwinTransformer(**TINY_SWIN, num_classes=4)  # type: ignore[arg-type]


def _swin_v2() -> nn.Module:
    blocks = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    return SwinTransformer(**TINY_SWIN, **blocks, num_classes=4)  # type: ignore[arg-type]


def _of_transformers(kind: str, **more: object) -> nn.Module:
    pytest.importorskip("transformers", reason='needs transformers: pip install "kdviz[transformers]"')
    config = {**(WINDOWS if kind.startswith("swin") else TINY), **more}
    return build_network(f"transformers/{kind}", classes=4, channels=3, size=(16, 16), settings={"config": config})


LIBRARIES: dict[str, tuple[Callable[[], nn.Module], int, bool]] = {
    "torchvision vit": (_vision_transformer, 2, False),
    "torchvision swin": (_swin, 2, False),
    "torchvision swin v2": (_swin_v2, 2, False),
    "transformers vit": (partial(_of_transformers, "vit"), 4, True),
    "transformers deit": (
        partial(_of_transformers, "deit", architectures=["DeiTForImageClassificationWithTeacher"]),
        4,
        True,
    ),
    "transformers swin": (partial(_of_transformers, "swin"), 2, False),
    "transformers data2vec": (partial(_of_transformers, "data2vec-vision"), 2, False),
}
"""Real classes in a tiny form -> how to build them, how many layers take less after pruning, whether heads go."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name.startswith("transformers") else ()) for name in LIBRARIES],
)
def test_transformers_of_the_libraries_compute_what_they_would_without_what_went(name):
    fresh, layers, lose_heads = LIBRARIES[name]

    def build() -> nn.Module:
        torch.manual_seed(0)
        network = fresh().eval()
        for parameter in network.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
        return network

    network, (inputs, targets) = build(), data(16)
    pruned = prune_transformer(network, build, 0.5, inputs, targets)
    narrow = narrowed(fresh().eval(), name, pruned.shapes)
    narrow.load_state_dict(pruned.state)
    assert {heads.count for module in narrow.modules() if (heads := heads_of(module))} == ({1} if lose_heads else set())
    weights = [sum(weight.numel() for weight in each.parameters()) for each in (network, narrow)]
    assert weights[1] < 0.9 * weights[0]
    with torch.no_grad():
        answers, whole = narrow(inputs), network(inputs)
        assert (answers - whole).abs().max() > 1e-3
        assert _silence(network, narrow) == layers
        torch.testing.assert_close(answers, network(inputs), rtol=1e-4, atol=1e-5)


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
