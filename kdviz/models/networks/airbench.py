"""Networks for small colour photographs that train in about ten epochs.

K. Jordan: 94 % on CIFAR-10 in 3.29 seconds on a single GPU (2024, arXiv:2404.00498), sections 3.1 to 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.models.networks.registry import networks

_PATCH = 2  # side of the patches that are whitened
_LEAST_VARIANCE = 5e-4  # added to the variances, so that noise is not enlarged without limit
_HEAD_SCALE = 1 / 9


class WhiteningConv(nn.Conv2d):
    """A 2 x 2 convolution onto the leading principal components of the pictures' patches, with variance 1, and their
    negatives. It is set once from training pictures by :meth:`fit_to`, and never trained (section 3.2).

    Args:
        channels: Number of input channels.
        components: Number of components, at most 4 times ``channels``.
    """

    def __init__(self, channels: int, components: int):
        super().__init__(channels, 2 * components, _PATCH, bias=False)
        self.components = components
        self.weight.requires_grad_(False)
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def fit_to(self, inputs: Tensor) -> None:
        """Set the weights from pictures (n, C, H, W), unless they are set already."""
        if bool(self.fitted):
            return
        patches = F.unfold(inputs.float(), _PATCH).transpose(1, 2).flatten(0, 1).double()
        variances, vectors = torch.linalg.eigh(torch.cov(patches.T))
        leading = (
            vectors.T.flip(0)[: self.components] / (variances.flip(0)[: self.components, None] + _LEAST_VARIANCE).sqrt()
        )
        # A component's sign is arbitrary, and differs between processors.
        largest = leading.gather(1, leading.abs().argmax(1, keepdim=True))
        leading = (leading * largest.sign()).view(self.components, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([leading, -leading]))
        self.fitted.fill_(True)


class ScaledFlatten(nn.Flatten):
    """(n, C, 1, 1) -> (n, C), times 1 / 9: the scale of the logits (section 3.1), before the head, which stays last."""

    def forward(self, input: Tensor) -> Tensor:
        return _HEAD_SCALE * super().forward(input)


class Airbench(nn.Sequential):
    """Whitening, GELU, three blocks of two convolutions, the maximum over the places, a linear layer.

    A block is conv 3x3 -> max pool 2x2 -> batch norm -> GELU -> conv 3x3 -> batch norm -> GELU. Convolutions
    begin as the identity on their first channels (section 3.3); batch norms have a bias and no weight.

    (N, C, H, W) -> logits (N, classes). A block of a small picture does without its max pool.

    Args:
        classes: Number of logits.
        channels: Number of input channels.
        size: Height and width of the input.
        components: Components of the whitening.
        widths: Outputs of the convolutions after the whitening, two a block.
    """

    def __init__(self, classes: int, channels: int, size: tuple[int, int], components: int, widths: Sequence[int]):
        components = min(components, channels * _PATCH**2)
        inputs, side = (2 * components, *widths[1::2]), min(size) - _PATCH + 1
        sides = [side // 2**number for number in range(len(widths) // 2)]
        super().__init__(
            WhiteningConv(channels, components),
            nn.GELU(),
            *(_block(*each) for each in zip(inputs, widths[::2], widths[1::2], sides, strict=False)),
            nn.AdaptiveMaxPool2d(1),
            ScaledFlatten(),
            nn.Linear(widths[-1], classes, bias=False),
        )

    def fit_to(self, inputs: Tensor) -> None:
        """Set the whitening from training pictures (n, C, H, W), once; one that is rounded to int8 is set already."""
        whitening = self[0]
        if isinstance(whitening, WhiteningConv):
            whitening.fit_to(inputs)


def _block(channels: int, inner: int, width: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(channels, inner),
        nn.MaxPool2d(2) if side > 1 else nn.Identity(),
        _batch_norm(inner),
        nn.GELU(),
        _convolution(inner, width),
        _batch_norm(width),
        nn.GELU(),
    )


def _convolution(channels: int, width: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, width, 3, padding="same", bias=False)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[: min(channels, width)])
    return convolution


def _batch_norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


@networks.register("airbench")
def airbench(
    classes: int = 10,
    channels: int = 3,
    size: tuple[int, int] = (32, 32),
    widths: Sequence[int] = (64, 64, 256, 256, 256, 256),
) -> Airbench:
    """A teacher for small colour photographs, 2.0 million parameters, 118 million multiply-adds at 32 x 32."""
    return Airbench(classes, channels, size, 12, widths)


@networks.register("airbench_small")
def airbench_small(
    classes: int = 10,
    channels: int = 3,
    size: tuple[int, int] = (32, 32),
    widths: Sequence[int] = (16, 16, 40, 40, 64, 64),
) -> Airbench:
    """Its student of the same family: less than a twentieth of its operations."""
    return Airbench(classes, channels, size, 4, widths)
