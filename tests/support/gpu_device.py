"""What the tests marked gpu run on. ``KDVIZ_GPU_TEST_DEVICE=cpu`` runs all but CUDA's own on the CPU: a dry run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

NAME = os.environ.get("KDVIZ_GPU_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "")
DEVICE = torch.device(NAME or "cpu", 0 if NAME == "cuda" else None)
CPU = torch.device("cpu")
DRY = DEVICE.type == "cpu"  # then fewer masks do: what is shown is that the tests themselves work

on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not NAME, reason="no CUDA device")]
needs_cuda = pytest.mark.skipif(DRY, reason="no CUDA device; a dry run does not show it")
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of float32 products to 10 bits."""
    settings = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "tf32" if allowed else "ieee"
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


class SmallNet(nn.Module):
    """Convolutions, a norm, a residual and a head, with weights that do not depend on the device: 3 channels."""

    def __init__(self, width: int = 8, classes: int = 5):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(3)
            self.stem = nn.Conv2d(3, width, 3, padding=1)
            self.norm, self.relu = nn.BatchNorm2d(width), nn.ReLU()
            self.conv, self.last = nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * width, classes))
            self.norm.running_mean.normal_().mul_(0.1)
            self.norm.running_var.uniform_(0.5, 2)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.norm(self.stem(images)))
        return 4 * self.head(self.last(self.conv(hidden) + hidden))


def pictures(count: int, side: int = 32) -> Tensor:
    """Coloured noise that is smooth enough to have parts: (count, 3, side, side), about -1 to 1."""
    coarse = torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(11))
    return nn.functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)


def correlation(first: Tensor, second: Tensor) -> float:
    """The least over the maps (..., H, W)."""
    a, b = (saliency_map.detach().double().cpu().flatten(-2) for saliency_map in (first, second))
    a, b = (saliency_map - saliency_map.mean(-1, keepdim=True) for saliency_map in (a, b))
    return float(((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).min())
