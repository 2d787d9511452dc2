"""Changed copies of training images: each sample individually, and pairs of samples mixed with their labels.

What is drawn depends on the given seed alone, and torch's generators are left as they were: a training that is resumed
draws what it would have drawn without the break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.core.registry import Registry


@dataclass(frozen=True)
class Augmentation:
    """One way to change a batch, drawn from torch's global generator on the CPU.

    Attributes:
        function: For images: uint8 (n, C, H, W) -> the same, changed. For a mix: the network's input (n, C, H, W) ->
            the mixed input, each sample's weight in its own mix in [0, 1] (n,), and the index of its partner (n,).
        mixes: Whether it mixes pairs.
    """

    function: Callable[[Tensor], Any]
    mixes: bool

    @property
    def description(self) -> str:
        """The first line of its documentation."""
        return (self.function.__doc__ or "").partition("\n")[0]


augmentations: Registry[Augmentation] = Registry("augmentation")


def _augmentation(name: str, *, mixes: bool = False) -> Callable[[Callable[[Tensor], Any]], Callable[[Tensor], Any]]:
    def register(function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        augmentations.add(name, Augmentation(function, mixes))
        return function

    return register


class Augment:
    """Augmentations by name, in their order.

    A teacher must see the images that the student sees (Beyer et al., 2022): logits of the unchanged images would be
    wrong targets.

    >>> augment = Augment("flip,mixup", classes=3)
    >>> images = augment.images(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), seed=0)
    >>> inputs, labels = augment.mix(images / 255, torch.tensor([0, 1, 2, 0]), seed=0)
    >>> labels.sum(1)
    tensor([1., 1., 1., 1.])

    Args:
        names: Names in ``augmentations``, separated by commas; empty for none.
        classes: Number of classes.

    Attributes:
        names: The names as a tuple.
        mixes: Whether :meth:`mix` mixes; if not, the labels can stay numbers.

    Raises:
        UnknownNameError: No such augmentation.
        SettingError: One is named twice.
    """

    def __init__(self, names: str, classes: int):
        self.names = tuple(name.strip() for name in names.split(",") if name.strip())
        self.classes = classes
        if len(set(self.names)) < len(self.names):
            raise SettingError("An augmentation is named twice in '{names}'.", names=names)
        selected = [augmentations[name] for name in self.names]
        self._changes = [augmentation.function for augmentation in selected if not augmentation.mixes]
        self._mixes = [augmentation.function for augmentation in selected if augmentation.mixes]

    @property
    def mixes(self) -> bool:
        return bool(self._mixes)

    def images(self, batch: Tensor, seed: int) -> Tensor:
        """Changed copies, before normalisation: uint8 (n, C, H, W) -> uint8 (n, C, H, W), on the same device.

        Args:
            batch: Grey or RGB; left as it is.
            seed: Seed of the random changes; different for every batch of a training.

        Raises:
            SettingError: The images are not uint8 (n, 1 or 3, H, W).
        """
        if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[1] not in (1, 3):
            kind = str(batch.dtype).removeprefix("torch.")
            raise SettingError(
                "Augmentation takes uint8 (n, 1 or 3, H, W), got {kind} {shape}.", kind=kind, shape=tuple(batch.shape)
            )
        with _drawing(2 * seed):
            for change in self._changes:
                batch = change(batch)
        return batch

    def mix(self, inputs: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Samples mixed with partners of the same batch, and their soft labels.

        With several mixes named, one of them is drawn for the batch. With none the inputs are unchanged.

        Args:
            inputs: Float (n, C, H, W), normalised.
            labels: int64 (n,).
            seed: As for :meth:`images`; it may be the same.

        Returns:
            The inputs, and soft labels, float32 (n, classes), whose rows sum to 1, as ``cross_entropy`` takes them.
        """
        soft = F.one_hot(labels, self.classes).float()
        if not self._mixes:
            return inputs, soft
        with _drawing(2 * seed + 1):
            mixed, share, partner = self._mixes[int(torch.randint(len(self._mixes), ()))](inputs)
        weight = share.to(soft)[:, None]
        return mixed, weight * soft + (1 - weight) * soft[partner.to(soft.device)]


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Draw from ``seed`` in torch's generator on the CPU, and put it back. A GPU's is not touched: it makes dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


# images ---------------------------------------------------------------------------------------------------------------


@_augmentation("flip")
def flip(images: Tensor) -> Tensor:
    """Left to right, every second image on average. Not for digits or letters."""
    flipped = torch.rand(len(images)) < 0.5
    return torch.where(flipped.to(images.device)[:, None, None, None], images.flip(3), images)


@_augmentation("crop")
def crop(images: Tensor) -> Tensor:
    """A random part of 70 to 100 % of the area, sides 3:4 to 4:3, enlarged to the full size."""
    size = [images.shape[2], images.shape[3]]
    return _each(images, _v2().RandomResizedCrop(size, scale=(0.7, 1.0)))


@_augmentation("rotate90")
def rotate90(images: Tensor) -> Tensor:
    """One of the eight quarter turns and mirror images, for tissue, which has no up. Not for digits or letters.

    Images that are not square keep their shape: they are turned by 0 or 180 degrees, and mirrored.
    """
    quarters = 1 if images.shape[2] == images.shape[3] else 2
    turns = quarters * torch.randint(4 // quarters, (len(images),))
    mirrored = torch.rand(len(images)) < 0.5
    result = torch.empty_like(images)
    for turn in range(0, 4, quarters):
        for mirror in (False, True):
            selected = ((turns == turn) & (mirrored == mirror)).to(images.device)
            turned = images[selected].rot90(turn, (2, 3))
            result[selected] = turned.flip(3) if mirror else turned
    return result


@_augmentation("colour")
def colour(images: Tensor) -> Tensor:
    """Brightness, contrast and saturation by up to 20 %, hue by 5 %; on grey images the first two."""
    return _each(images, _v2().ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05))


@_augmentation("auto")
def auto(images: Tensor) -> Tensor:
    """AutoAugment (Cubuk et al., 2019): one of 25 learned pairs of changes; what they uncover is black.

    Grey images get the policy learned on street numbers (SVHN): shears, shifts and turns that digits bear, no mirror.
    Half of ImageNet's change colours, which grey images do not have. Colour images get ImageNet's.
    """
    policy = "svhn" if images.shape[1] == 1 else "imagenet"
    return _each(images, _v2().AutoAugment(_v2().AutoAugmentPolicy(policy), fill=0))


@_augmentation("rand")
def rand(images: Tensor) -> Tensor:
    """RandAugment (Cubuk et al., 2020): two random changes of magnitude 9 of 30; what they uncover is black."""
    return _each(images, _v2().RandAugment(num_ops=2, magnitude=9, fill=0))


@_augmentation("erase")
def erase(images: Tensor) -> Tensor:
    """A black rectangle over 2 to 33 % of every second image on average (Zhong et al., 2020)."""
    return _each(images, _v2().RandomErasing(p=0.5, value=0))


def _each(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Image by image: on a batch, torchvision's transforms draw once and do the same to all."""
    return torch.stack([change(image) for image in images])


def _v2() -> Any:
    from torchvision.transforms import v2  # a second to import, which only training needs

    return v2


# mixes ----------------------------------------------------------------------------------------------------------------


@_augmentation("mixup", mixes=True)
def mixup(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A weighted mean with the partner (Zhang et al., 2018), the sample's share from Beta(0.2, 0.2) for each sample."""
    share, partner = _shares(len(inputs), 0.2), torch.randperm(len(inputs))
    weight = share.to(inputs)[:, None, None, None]
    return weight * inputs + (1 - weight) * inputs[partner.to(inputs.device)], share, partner


@_augmentation("cutmix", mixes=True)
def cutmix(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A rectangle of the partner pasted into the sample (Yun et al., 2019), its area from a uniform distribution.

    The rectangle is cut off at the edges; the sample's share is the part that really remains of it.
    """
    height, width = inputs.shape[2:]
    side, partner = (1 - _shares(len(inputs), 1.0)).sqrt(), torch.randperm(len(inputs))
    inside = _interval(side, height)[:, :, None] & _interval(side, width)[:, None, :]  # (n, H, W)
    pasted = torch.where(inside.to(inputs.device)[:, None], inputs[partner.to(inputs.device)], inputs)
    return pasted, 1 - inside.float().mean((1, 2)), partner


def _shares(count: int, concentration: float) -> Tensor:
    return torch.distributions.Beta(concentration, concentration).sample((count,))


def _interval(fraction: Tensor, length: int) -> Tensor:
    """Positions within a random interval of about ``fraction * length`` pixels: (n,) -> bool (n, length)."""
    half = (fraction * length).floor() / 2
    centre = torch.randint(length, fraction.shape)
    positions = torch.arange(length)
    return (positions >= (centre - half)[:, None]) & (positions < (centre + half)[:, None])
