"""How a picture becomes a model's input, and how one common picture becomes the inputs of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, fx, nn

from kdviz.core.errors import ModelError, UnknownNameError
from kdviz.core.images import fit_to, resized_middle, to_grey_or_rgb
from kdviz.core.mnist_digit import mnist_digit

BASELINES = ("black", "white", "mean", "grey")
"""What a removed pixel becomes, by name: a constant that is put in before normalisation."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
_OF_TENSORS = {"nearest": "nearest-exact", "lanczos": "bicubic"}  # torch has no Lanczos; bicubic is the nearest to it
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's convert("L")


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes a model's input.

    Attributes:
        size: Height and width.
        channels: 1 (grey) or 3 (RGB).
        mean, std: Normalisation of values in [0, 1], one number a channel.
        fit: What happens to a picture of another size: ``digit`` (brought to MNIST's form) or
            ``crop`` (resized, and the middle cut out).
        resize: The short side in pixels before the middle of ``size`` is cut out, as in torchvision's ``Resize`` and
            ``CenterCrop``; or (height, width), to which the whole picture is brought whatever its proportions. None:
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
        """What the model sees, as a picture; one of the right size is only converted to grey or RGB."""
        if self.fit == "digit":
            image = to_grey_or_rgb(image)
            image = image if image.size == self.size[::-1] else mnist_digit(image)
        if self.resize is not None and image.size != self.size[::-1]:
            return self.transform(image)
        return fit_to(image, self.size, self.channels)

    def transform(self, image: Image.Image) -> Image.Image:
        """The same, but a picture of the right size is resized and cropped as any other: what the model learned from.

        Equal to the transforms of torchvision, timm and transformers on Pillow's pictures.
        """
        if self.fit == "digit" or self.resize is None:
            return self.prepare(image)
        return resized_middle(image, self.resize, self.size, self.channels, self.interpolation)

    def normalise(self, pixels: Tensor) -> Tensor:
        """``uint8`` or values in [0, 1] (N, C, H, W) -> float32 (N, C, H, W)."""
        values = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        mean, std = (torch.tensor(v, device=values.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return (values - mean) / std

    def pixels(self, inputs: Tensor) -> Tensor:
        """What :meth:`normalise` was given, as values in [0, 1]: float32 (N, C, H, W)."""
        mean, std = (torch.tensor(v, device=inputs.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return inputs * std + mean

    def baseline(self, name: str) -> Tensor:
        """A named constant baseline as the model's input: float32 (1, C, 1, 1).

        Blending with it after normalisation equals blending before it, since normalising is affine.

        Raises:
            UnknownNameError: No such baseline.
        """
        if name not in BASELINES:
            raise UnknownNameError("baseline", name, BASELINES)
        level = {"black": 0.0, "white": 1.0, "grey": 0.5}.get(name)
        values = self.mean if level is None else (level,) * self.channels
        return self.normalise(torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1))

    @property
    def short_side(self) -> int:
        """Of the resized picture whose middle this is, in pixels."""
        return self.resize if isinstance(self.resize, int) else min(self.size)

    def to_json(self) -> dict[str, Any]:
        """As in experiment.json; what is as it always was is left out."""
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
    """A picture in mode ``L`` or ``RGB`` -> uint8 (1, C, H, W)."""
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).unsqueeze(0)


# several models -------------------------------------------------------------------------------------------------------


def common_picture(inputs: Sequence[InputSpec]) -> InputSpec:
    """The picture of which several models' inputs are made, so that their maps are of the same pixels.

    Models with one input share it. Otherwise it holds all that any of them sees of the middle of a picture, at the
    highest resolution that one of them resizes to: of a short side of R pixels the largest share that is cut out. Where
    all models take the whole picture, whatever its proportions, so does it. A model that does so among others that do
    not gets the middle.

    Args:
        inputs: One at least.

    Returns:
        Its mean is 0 and its std 1 unless all inputs are the same.
    """
    first = inputs[0]
    if all(one == first for one in inputs):
        return first
    channels = max(one.channels for one in inputs)
    cropped = [one for one in inputs if not isinstance(one.resize, tuple)]
    unit = {"channels": channels, "mean": (0.0,) * channels, "std": (1.0,) * channels, "fit": "crop"}
    if not cropped:
        height, width = (max(one.size[side] for one in inputs) for side in (0, 1))
        return replace(first, size=(height, width), resize=(height, width), **unit)
    largest = max(cropped, key=lambda one: one.short_side)
    short = largest.short_side
    height, width = (max(round(one.size[side] * short / one.short_side) for one in cropped) for side in (0, 1))
    return replace(largest, size=(height, width), resize=short, **unit)


class AdaptedNetwork(nn.Module):
    """A network behind what makes its own input from the common picture, and its classes those of the experiment.

    The picture is resized and cropped, made grey or RGB and normalised as the network learned it; its logits are put
    into the experiment's order. Differentiable if the network is.

    (N, C, H, W) as the experiment normalises it -> logits (N, classes).

    Args:
        network: (n, c, h, w), normalised as ``own`` says -> logits (n, outputs).
        picture: The common picture.
        own: The network's input.
        class_order: For each class of the experiment the number of the network's output; None: they are the same.

    Attributes:
        network: As given.
    """

    scale: Tensor
    shift: Tensor
    class_order: Tensor | None

    def __init__(
        self, network: nn.Module, picture: InputSpec, own: InputSpec, class_order: Sequence[int] | None = None
    ):
        super().__init__()
        self.network = network
        self.differentiable = bool(getattr(network, "differentiable", True))
        self._channels = (picture.channels, own.channels)
        self._resized, self._box, self._padding = _geometry(picture, own)
        self._mode = _OF_TENSORS.get(own.interpolation, own.interpolation)
        scale, shift = _renormalisation(picture, own)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        order = None if class_order is None else torch.tensor(list(class_order))
        self.register_buffer("class_order", order, persistent=False)

    @property
    def undoes_sigmoid(self) -> bool:
        """Of the network: see :class:`kdviz.models.networks.OnnxNetwork`."""
        return bool(getattr(self.network, "undoes_sigmoid", False))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(self.own_input(images))
        return logits if self.class_order is None else logits[:, self.class_order]

    def own_input(self, images: Tensor) -> Tensor:
        """(N, C, H, W) of the common picture -> (N, c, h, w) of the network."""
        if self._channels == (3, 1):
            luma = torch.tensor(_LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
            images = (images * luma).sum(1, keepdim=True)
        if self._channels == (1, 3):
            images = images.expand(-1, 3, -1, -1)
        if self._resized is not None:
            images = resized(images, self._resized, self._mode)
        if self._padding is not None:
            images = F.pad(images, self._padding)  # black: a picture that is resized is not normalised yet
        if self._box is not None:
            top, left, height, width = self._box
            images = images[:, :, top : top + height, left : left + width]
        return images * self.scale + self.shift


@fx.wrap  # its branches depend on the values: a traced copy of the network must ask anew
def resized(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """(N, C, H, W) -> (N, C, h, w) in the same type, with antialiasing.

    Without gradients on a CPU, values in [0, 1] are resized as 8 bits, as Pillow does it and as the network learned it:
    three times as fast, which counts when thousands of masked pictures pass.
    """
    if mode == "nearest-exact":
        return F.interpolate(images, size, mode=mode)
    if images.device.type == "cpu" and not torch.is_grad_enabled() and _are_levels(images):
        levels = (images * 255).add_(0.5).to(torch.uint8)
        return F.interpolate(levels, size, mode=mode, align_corners=False, antialias=True).to(images.dtype).div_(255)
    # torch has no antialiasing in bfloat16
    return F.interpolate(images.float(), size, mode=mode, align_corners=False, antialias=True).to(images.dtype)


def _are_levels(images: Tensor) -> bool:
    low, high = torch.aminmax(images)
    return bool(low >= 0) and bool(high <= 1)


def adapted(
    network: nn.Module, picture: InputSpec, own: InputSpec, class_order: Sequence[int] | None = None
) -> nn.Module:
    """The network itself where nothing has to be done, else an :class:`AdaptedNetwork`."""
    if own == picture and class_order is None:
        return network
    return AdaptedNetwork(network, picture, own, class_order).eval()


def _geometry(
    picture: InputSpec, own: InputSpec
) -> tuple[tuple[int, int] | None, tuple[int, int, int, int] | None, tuple[int, int, int, int] | None]:
    """What the common picture is resized to, the box (top, left, height, width) cut out of it, and padding before.

    None: nothing to do.
    """
    height, width = picture.size
    if isinstance(own.resize, tuple):
        wanted = own.resize
    else:
        ratio = own.short_side / picture.short_side
        wanted = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    missing = [max(0, mine - theirs) for mine, theirs in zip(own.size, wanted, strict=True)]
    top, left = missing[0] // 2, missing[1] // 2
    padding = (left, missing[1] - left, top, missing[0] - top) if any(missing) else None
    padded = (wanted[0] + missing[0], wanted[1] + missing[1])
    # torchvision's CenterCrop rounds half to even
    box = (*(round((have - need) / 2) for have, need in zip(padded, own.size, strict=True)), *own.size)
    return (
        None if wanted == picture.size else wanted,
        None if padded == own.size else box,  # type: ignore[return-value]
        padding,
    )


def _renormalisation(picture: InputSpec, own: InputSpec) -> tuple[Tensor, Tensor]:
    """Factor and summand (1, c, 1, 1) that turn the common picture's normalisation into the network's."""
    given_mean, given_std = (_spread(values, own.channels) for values in (picture.mean, picture.std))
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (own.mean, own.std))
    shape = (1, own.channels, 1, 1)
    return (given_std / std).float().view(shape), ((given_mean - mean) / std).float().view(shape)


def _spread(values: Sequence[float], channels: int) -> Tensor:
    """One number a channel, for as many channels as the network has."""
    numbers = torch.tensor(values, dtype=torch.float64)
    if len(numbers) == channels:
        return numbers
    if len(set(values)) > 1:
        raise ModelError("A grey and a colour model cannot share a picture that is normalised by channel.")
    return numbers[:1].expand(channels)


def logits_of(output: Any) -> Any:
    """The logits in what a network returned: a tensor; or the ``logits`` of a dataclass or mapping; or of a tuple the
    first tensor (Inception gives its auxiliary logits after it). Anything else is returned as it is."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        values = list(output.values())
        return output.get("logits", output.get("out", values[0] if len(values) == 1 else output))
    if getattr(output, "logits", None) is not None:
        return output.logits
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return output[0]
    return output


class TensorOutput(nn.Module):
    """A network whose logits come in a tuple, a mapping or a dataclass, as one that returns them alone."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.differentiable = bool(getattr(network, "differentiable", True))

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.network(images))
