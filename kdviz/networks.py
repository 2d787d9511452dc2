"""Architectures by name: the paper's two nets, and any classifier of torchvision or timm; and what they run on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdviz.errors import SettingError, UnknownNameError
from kdviz.registry import Registry

networks: Registry[Callable[..., nn.Module]] = Registry("network")


@networks.register("paper_cnn")
class PaperCNN(nn.Module):
    """The paper's MNIST teacher: 1,625,866 parameters at 28 x 28 and 10 classes.

    Conv 3x3x32 'same' -> MaxPool 2x2 stride 1 'same' -> Conv 3x3x64 'same' -> MaxPool 2x2 stride 2
    -> Dropout .5 -> Dense 128 -> Dropout .5 -> Dense. ReLU after each layer but the last.
    (N, C, H, W) -> logits (N, classes).
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: tuple[int, int] = (28, 28)):
        super().__init__()
        height, width = size
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding="same"),
            nn.ReLU(),
            # Keras pads 'same' pooling at the right and bottom; after ReLU, zero never wins the maximum.
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.MaxPool2d(2, stride=1),
            nn.Conv2d(32, 64, 3, padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(64 * (height // 2) * (width // 2), 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))


@networks.register("paper_fc")
class PaperFC(nn.Sequential):
    """The paper's MNIST student: 784 -> 784 -> 784 -> 10 with ReLU, 1,238,730 parameters.

    (N, C, H, W) -> logits (N, classes).
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: tuple[int, int] = (28, 28)):
        width = channels * size[0] * size[1]
        super().__init__(
            nn.Flatten(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )


def build_network(name: str, *, classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: One of ``networks``, or ``torchvision/NAME`` or ``timm/NAME`` for any classifier of theirs.
        classes: Number of logits.
        channels: Of the input.
        size: Height and width of the input.

    Raises:
        UnknownNameError: No such network.
        SettingError: timm is asked for and not installed, or the network does not take such an input.
    """
    library, _, model = name.partition("/")
    if model and library == "torchvision":
        return _torchvision(model, classes, channels)
    if model and library == "timm":
        return _timm(model, classes, channels)
    return networks[name](classes=classes, channels=channels, size=size)


def _torchvision(name: str, classes: int, channels: int) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownNameError("torchvision network", name, known)
    if channels != 3:
        raise SettingError(f"torchvision's '{name}' takes 3 channels, not {channels}.")
    return models.get_model(name, weights=None, num_classes=classes)


def _timm(name: str, classes: int, channels: int) -> nn.Module:
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError(f"The network 'timm/{name}' needs timm; install it with: pip install timm") from error
    if name not in timm.list_models():
        raise UnknownNameError("timm network", name, timm.list_models())
    return timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels)


def parameter_count(network: nn.Module) -> int:
    """Number of trainable and frozen parameters (buffers are not counted)."""
    return sum(parameter.numel() for parameter in network.parameters())


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` -> CUDA, then Apple's MPS, then the CPU; any other name as torch understands it.

    Raises:
        SettingError: torch does not know such a device, or there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"There is no device '{name}' here; use cpu, or auto.") from error


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 autocast makes this device faster: CUDA from Ampere on, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()
