"""The network that draws pictures from noise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NOISE = 64
"""Numbers of noise for each picture."""


class PictureGenerator(nn.Module):
    """Noise (N, 64) -> pictures in [0, 1], (N, C, H, W).

    A quarter of the size, twice enlarged with a convolution after each, as in DCGAN (Radford et al., 2016) but with
    nearest neighbours in place of strides, which leave a pattern of squares. Any height and width from 4 on.

    Args:
        channels: 1 or 3.
        size: Height and width.
        width: Feature maps at half the size; twice as many before, half as many after.
    """

    def __init__(self, channels: int, size: tuple[int, int], width: int = 32):
        super().__init__()
        self._sizes = [(-(-size[0] // part), -(-size[1] // part)) for part in (4, 2, 1)]
        self._width = 2 * width
        height, breadth = self._sizes[0]
        self.spread = nn.Linear(NOISE, self._width * height * breadth)
        self.norm = nn.BatchNorm2d(self._width)
        self.enlarge_half = _block(2 * width, width)
        self.enlarge_full = _block(width, width // 2)
        self.draw = nn.Sequential(nn.Conv2d(width // 2, channels, 3, padding=1), nn.BatchNorm2d(channels))

    def forward(self, noise: Tensor) -> Tensor:
        maps = self.norm(self.spread(noise).view(-1, self._width, *self._sizes[0]))  # (N, 2 width, H/4, W/4)
        maps = self.enlarge_half(F.interpolate(maps, self._sizes[1]))  # (N, width, H/2, W/2)
        maps = self.enlarge_full(F.interpolate(maps, self._sizes[2]))  # (N, width/2, H, W)
        return self.draw(maps).sigmoid()


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))
