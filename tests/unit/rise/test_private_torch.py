"""Torch without the private functions that make models faster: the same scores all the same."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from kdviz.core.devices import fast_bf16
from kdviz.rise.engine import onednn, prepare

CPU = torch.device("cpu")
PRIVATE = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    return nn.Sequential(*layers).eval().requires_grad_(False)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def assert_same_scores(model: nn.Module, images: torch.Tensor) -> None:
    prepared = prepare(model, images, "float32")
    memory = torch.channels_last if prepared.channels_last else torch.contiguous_format
    scores = prepared.forward(images.to(prepared.dtype).contiguous(memory_format=memory))
    torch.testing.assert_close(scores, model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("missing", PRIVATE)
def test_one_question_about_the_processor_is_missing(monkeypatch, missing):
    monkeypatch.delattr(torch.cpu, missing)
    (left,) = set(PRIVATE) - {missing}
    for answer in (True, False):
        monkeypatch.setattr(torch.cpu, left, lambda answer=answer: answer)
        assert fast_bf16(CPU) is answer


def test_without_both_bfloat16_is_not_taken_for_fast(monkeypatch):
    for name in PRIVATE:
        monkeypatch.delattr(torch.cpu, name)
    assert not fast_bf16(CPU)


def test_without_onednn_operators_nothing_is_fused(monkeypatch, model, images):
    assert onednn.has_onednn_operators()  # as torch is today: the test below is not one of nothing
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert not onednn.has_onednn_operators()
    traced = torch.fx.symbolic_trace(model)
    assert onednn.fuse_for_onednn(traced) is traced
    assert not [name for name, _ in traced.named_modules() if "fused" in name]
    assert_same_scores(model, images)


def test_without_fx_fusion_the_copy_is_not_traced(monkeypatch, model, images):
    monkeypatch.setitem(sys.modules, "torch.fx.experimental.optimization", None)
    assert_same_scores(model, images)
