"""Conversion of a picture into a model's input, and of one common picture into the inputs of several models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, fx, nn

from kdviz.core.errors import ModelError, SettingError, UnknownNameError
from kdviz.core.images import fit_to, resize_and_crop, to_grey_or_rgb
from kdviz.core.mnist_digit import mnist_digit
from kdviz.core.resizing import cropped_region, fitted_region

BASELINES = ("black", "white", "mean", "grey")
"""Names of the constant values that can replace a removed pixel before normalisation."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
_TORCH_MODES = {"nearest": "nearest-exact", "lanczos": "bicubic"}  # torch has no Lanczos; bicubic is closest to it
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's convert("L")


@dataclass(frozen=True)
class InputSpec:
    """The input of a model, and how a picture is converted to it.

    Attributes:
        size: Height and width.
        channels: 1 (grey) or 3 (RGB).
        mean, std: Normalisation of values in [0, 1], one number a channel.
        fit: How a picture of another size is treated: ``digit`` (converted to MNIST's layout) or ``crop`` (resized and
            cropped at the centre).
        resize: The short side in pixels before the centre of ``size`` is cropped, as in torchvision's ``Resize`` and
            ``CenterCrop``; or (height, width), to which the whole picture is resized whatever its proportions. None:
            the smallest that covers ``size``.
        interpolation: A name in :data:`INTERPOLATIONS`; always with antialiasing.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str = "crop"
    resize: int | tuple[int, int] | None = None
    interpolation: str = "bicubic"

    def prepare(self, image: Image.Image) -> Image.Image:
        """Convert a picture to what the model sees; one of the right size is only converted to grey or RGB."""
        if self.fit == "digit":
            image = to_grey_or_rgb(image)
            image = image if image.size == self.size[::-1] else mnist_digit(image)
        if self.resize is not None and image.size != self.size[::-1]:
            return self.transform(image)
        return fit_to(image, self.size, self.channels)

    def transform(self, image: Image.Image) -> Image.Image:
        """Like :meth:`prepare`, but resize and crop a picture of the right size, too, as during training.

        Equal to the transforms of torchvision, timm and transformers on Pillow images.
        """
        if self.fit == "digit" or self.resize is None:
            return self.prepare(image)
        return resize_and_crop(image, self.resize, self.size, self.channels, self.interpolation)

    def transform_region(self, mask: np.ndarray) -> np.ndarray:
        """Resize and crop a region of a picture as :meth:`transform` does the picture: float32 (h, w), in [0, 1].

        Args:
            mask: bool (H, W), in the picture's own size.

        Returns:
            The share of each pixel of the input that lies inside.

        Raises:
            SettingError: The picture would be converted to MNIST's layout, which depends on what it shows.
        """
        if self.fit == "digit" and mask.shape != self.size:
            raise SettingError(
                "A picture of {height} x {width} pixels is converted to MNIST's layout, where its region cannot "
                "follow; use pictures of {size}.",
                height=mask.shape[0],
                width=mask.shape[1],
                size=" x ".join(map(str, self.size)),
            )
        if self.fit == "digit" or self.resize is None:
            return fitted_region(mask, self.size)
        return cropped_region(mask, self.resize, self.size)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise ``uint8`` pixels or values in [0, 1], (N, C, H, W), to float32 (N, C, H, W)."""
        mean, std = (torch.tensor(v, device=pixels.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        if pixels.dtype == torch.uint8:  # in place: each copy of a photograph costs as much as the arithmetic
            return pixels.float().div_(255).sub_(mean).div_(std)
        return (pixels.float() - mean) / std

    def pixels(self, inputs: Tensor) -> Tensor:
        """Undo :meth:`normalise`: values in [0, 1], float32 (N, C, H, W)."""
        mean, std = (torch.tensor(v, device=inputs.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return inputs * std + mean

    def baseline(self, name: str) -> Tensor:
        """A named constant baseline, normalised: float32 (1, C, 1, 1).

        Blending with it after normalisation equals blending before it, since normalisation is affine.

        Raises:
            UnknownNameError: There is no such baseline.
        """
        if name not in BASELINES:
            raise UnknownNameError("baseline", name, BASELINES)
        level = {"black": 0.0, "white": 1.0, "grey": 0.5}.get(name)
        values = self.mean if level is None else (level,) * self.channels
        return self.normalise(torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1))

    @property
    def short_side(self) -> int:
        """Short side, in pixels, of the resized picture from whose centre the input is cropped."""
        return self.resize if isinstance(self.resize, int) else min(self.size)

    def to_json(self) -> dict[str, Any]:
        """The entry in experiment.json; the default way of resizing is left out."""
        document: dict[str, Any] = {
            "size": list(self.size),
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "fit": self.fit,
        }
        if self.resize is not None:
            resize = self.resize if isinstance(self.resize, int) else list(self.resize)
            crop = "center" if isinstance(self.resize, int) else "none"
            document |= {"resize": resize, "crop": crop, "interpolation": self.interpolation}
        return document


def as_tensor(picture: Image.Image) -> Tensor:
    """Convert a picture of mode ``L`` or ``RGB`` to uint8 (1, C, H, W)."""
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).unsqueeze(0)


# several models -------------------------------------------------------------------------------------------------------


def common_picture(inputs: Sequence[InputSpec]) -> InputSpec:
    """The picture from which the inputs of several models are made, so that their maps refer to the same pixels.

    Models with the same input share it. Otherwise the picture holds everything that any of the models sees around the
    centre, at the highest resolution that one of them resizes to: the largest share that any of them crops. If all
    models take the whole picture, whatever its proportions, so does the common one; a model that does so among others
    that do not gets the centre.

    Args:
        inputs: The models' inputs, at least one.

    Returns:
        The common picture, with mean 0 and std 1 unless all inputs are the same.
    """
    first = inputs[0]
    if all(spec == first for spec in inputs):
        return first
    channels = max(spec.channels for spec in inputs)
    cropped = [spec for spec in inputs if not isinstance(spec.resize, tuple)]
    unit = {"channels": channels, "mean": (0.0,) * channels, "std": (1.0,) * channels, "fit": "crop"}
    if not cropped:
        height, width = (max(spec.size[side] for spec in inputs) for side in (0, 1))
        return replace(first, size=(height, width), resize=(height, width), **unit)
    largest = max(cropped, key=lambda spec: spec.short_side)
    short_side = largest.short_side
    height, width = (max(round(spec.size[side] * short_side / spec.short_side) for spec in cropped) for side in (0, 1))
    return replace(largest, size=(height, width), resize=short_side, **unit)


class AdaptedNetwork(nn.Module):
    """A network with a first step that makes its input from the common picture, and a last one that orders its logits.

    The picture is resized, cropped, converted to grey or RGB and normalised as in the network's training; the logits
    are put into the experiment's order. Differentiable if the network is.

    (N, C, H, W) as the experiment normalises it -> logits (N, classes).

    Args:
        network: (n, c, h, w), normalised as ``network_input`` says -> logits (n, outputs).
        picture: The common picture.
        network_input: The network's input.
        class_order: Number of the network's output for each class of the experiment; None: they are the same.

    Attributes:
        network: The network inside.
    """

    scale: Tensor
    shift: Tensor
    class_order: Tensor | None

    def __init__(
        self, network: nn.Module, picture: InputSpec, network_input: InputSpec, class_order: Sequence[int] | None = None
    ):
        super().__init__()
        self.network = network
        self.differentiable = bool(getattr(network, "differentiable", True))
        self._channels = (picture.channels, network_input.channels)
        self._resized, self._box, self._padding = _geometry(picture, network_input)
        self._mode = _TORCH_MODES.get(network_input.interpolation, network_input.interpolation)
        scale, shift = _renormalisation(picture, network_input)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        order = None if class_order is None else torch.tensor(list(class_order))
        self.register_buffer("class_order", order, persistent=False)

    @property
    def undoes_sigmoid(self) -> bool:
        """Whether the network undoes a sigmoid: see :class:`kdviz.models.networks.OnnxNetwork`."""
        return bool(getattr(self.network, "undoes_sigmoid", False))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(self.own_input(images))
        return logits if self.class_order is None else logits[:, self.class_order]

    def fit_to(self, images: Tensor) -> None:
        """Let the network set what it takes from pictures before its training, where it does so."""
        fit_to = getattr(self.network, "fit_to", None)
        if fit_to is not None:
            fit_to(self.own_input(images))

    def own_input(self, images: Tensor) -> Tensor:
        """Convert the common picture (N, C, H, W) to the network's input (N, c, h, w)."""
        if self._channels == (3, 1):
            luma = torch.tensor(_LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
            images = (images * luma).sum(1, keepdim=True)
        if self._channels == (1, 3):
            images = images.expand(-1, 3, -1, -1)
        if self._resized is not None:
            images = resized(images, self._resized, self._mode)
        if self._padding is not None:
            images = F.pad(images, self._padding)  # black, since a picture that has to be resized is not normalised yet
        if self._box is not None:
            top, left, height, width = self._box
            images = images[:, :, top : top + height, left : left + width]
        return images * self.scale + self.shift

    @property
    def conversion(self) -> str:
        """All that is done to the common picture, as one text: equal for equal inputs."""
        numbers = [values.flatten().tolist() for values in (self.scale, self.shift)]
        return repr((self._channels, self._resized, self._padding, self._box, self._mode, numbers))


@fx.wrap  # its branches depend on the values, and so must not be frozen in a traced copy of the network
def resized(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Resize (N, C, H, W) to (N, C, h, w) in the same dtype, with antialiasing.

    Without gradients on a CPU, values in [0, 1] are resized as 8 bits, as Pillow does and as in training: three times
    as fast, which counts for thousands of masked pictures.
    """
    if mode == "nearest-exact":
        return F.interpolate(images, size, mode=mode)
    if images.device.type == "cpu" and not torch.is_grad_enabled() and _are_in_unit_range(images):
        levels = (images * 255).add_(0.5).to(torch.uint8)
        return F.interpolate(levels, size, mode=mode, align_corners=False, antialias=True).to(images.dtype).div_(255)
    # torch has no antialiasing in bfloat16
    return F.interpolate(images.float(), size, mode=mode, align_corners=False, antialias=True).to(images.dtype)


def _are_in_unit_range(images: Tensor) -> bool:
    low, high = torch.aminmax(images)
    return bool(low >= 0) and bool(high <= 1)


def adapted(
    network: nn.Module, picture: InputSpec, network_input: InputSpec, class_order: Sequence[int] | None = None
) -> nn.Module:
    """The network itself if nothing has to be adapted, else an :class:`AdaptedNetwork`."""
    if network_input == picture and class_order is None:
        return network
    return AdaptedNetwork(network, picture, network_input, class_order).eval()


def _geometry(
    picture: InputSpec, network_input: InputSpec
) -> tuple[tuple[int, int] | None, tuple[int, int, int, int] | None, tuple[int, int, int, int] | None]:
    """The size that the common picture is resized to, the box (top, left, height, width) to crop, and the padding.

    Padding comes before cropping; None: nothing to do.
    """
    height, width = picture.size
    if isinstance(network_input.resize, tuple):
        resized_size = network_input.resize
    else:
        ratio = network_input.short_side / picture.short_side
        resized_size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    deficit = [max(0, target - available) for target, available in zip(network_input.size, resized_size, strict=True)]
    top, left = deficit[0] // 2, deficit[1] // 2
    padding = (left, deficit[1] - left, top, deficit[0] - top) if any(deficit) else None
    padded = (resized_size[0] + deficit[0], resized_size[1] + deficit[1])
    # torchvision's CenterCrop rounds half to even
    box = (
        *(round((side - target) / 2) for side, target in zip(padded, network_input.size, strict=True)),
        *network_input.size,
    )
    return (
        None if resized_size == picture.size else resized_size,
        None if padded == network_input.size else box,  # type: ignore[return-value]
        padding,
    )


def _renormalisation(picture: InputSpec, network_input: InputSpec) -> tuple[Tensor, Tensor]:
    """Scale and shift, (1, c, 1, 1), that turn the common picture's normalisation into the network's."""
    picture_mean, picture_std = (_per_channel(values, network_input.channels) for values in (picture.mean, picture.std))
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (network_input.mean, network_input.std))
    shape = (1, network_input.channels, 1, 1)
    return (picture_std / std).float().view(shape), ((picture_mean - mean) / std).float().view(shape)


def _per_channel(values: Sequence[float], channels: int) -> Tensor:
    """One number for each of the network's channels."""
    per_channel = torch.tensor(values, dtype=torch.float64)
    if len(per_channel) == channels:
        return per_channel
    if len(set(values)) > 1:
        raise ModelError("A grey and a colour model cannot share a picture that is normalised by channel.")
    return per_channel[:1].expand(channels)
