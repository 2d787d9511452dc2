"""The networks of the paper, and the head for transfer learning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdviz.models.networks.registry import networks


class QuickDropout(nn.Dropout):
    """Dropout that takes half the time on a CPU: it draws uniform numbers, where torch draws Bernoulli ones."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        if input.device.type != "cpu":
            return super().forward(input)
        return input * (torch.rand(input.shape) >= self.p).to(input.dtype) / (1 - self.p)


@networks.register("paper_cnn")
class PaperCNN(nn.Module):
    """The paper's MNIST teacher: 1,625,866 parameters at 28 x 28 and 10 classes.

    Conv 3x3x32 'same' -> MaxPool 2x2 stride 1 'same' -> Conv 3x3x64 'same' -> MaxPool 2x2 stride 2
    -> Dropout .5 -> Dense 128 -> Dropout .5 -> Dense. ReLU after each layer but the last.
    (N, C, H, W) -> logits (N, classes).

    Args:
        classes: Number of logits.
        channels: Number of input channels.
        size: Height and width of the input.
        widths: Outputs of all layers but the last; default: the paper's 32, 64 and 128.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        size: tuple[int, int] = (28, 28),
        widths: Sequence[int] = (32, 64, 128),
    ):
        super().__init__()
        height, width = size
        first, second, dense = widths
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, 3, padding="same"),
            nn.ReLU(),
            # Keras pads 'same' pooling at the right and bottom; after ReLU, zero never wins the maximum.
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.MaxPool2d(2, stride=1),
            nn.Conv2d(first, second, 3, padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            QuickDropout(0.5),
            nn.Flatten(),
            nn.Linear(second * (height // 2) * (width // 2), dense),
            nn.ReLU(),
            QuickDropout(0.5),
            nn.Linear(dense, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        if self.training and features.requires_grad:
            features.register_hook(_as_channels_last)
        return self.classifier(features)


def _as_channels_last(gradient: Tensor) -> Tensor:
    # Flatten's gradient has its channels first; with that layout, copies take a third of the step.
    return gradient.contiguous(memory_format=torch.channels_last)


@networks.register("paper_fc")
class PaperFC(nn.Sequential):
    """The paper's MNIST student: 784 -> 784 -> 784 -> 10 with ReLU, 1,238,730 parameters.

    (N, C, H, W) -> logits (N, classes).

    Args:
        classes: Number of logits.
        channels: Number of input channels.
        size: Height and width of the input.
        widths: Outputs of the two layers before the last; default: as many as inputs.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        size: tuple[int, int] = (28, 28),
        widths: Sequence[int] | None = None,
    ):
        inputs = channels * size[0] * size[1]
        first, second = widths or (inputs, inputs)
        super().__init__(
            nn.Flatten(),
            nn.Linear(inputs, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, classes),
        )


@networks.register("linear_head")
class LinearHead(nn.Sequential):
    """A linear layer on the features of a frozen backbone: (N, features, 1, 1) -> logits (N, classes)."""

    def __init__(self, classes: int = 10, channels: int = 1, size: tuple[int, int] = (1, 1)):
        super().__init__(nn.Flatten(), nn.Linear(channels * size[0] * size[1], classes))
