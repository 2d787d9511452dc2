"""Changed copies of training images: each sample individually, and pairs of samples mixed with their labels.

What is drawn depends on the given seed alone, and torch's generators are left as they were: a training that is resumed
draws what it would have drawn without the break.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.core.texts.comma_lists import entries
from kdviz.distill.augment.drawing import drawing
from kdviz.distill.augment.registry import augmentations


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
        SettingError: One is named twice, or the list has an empty entry.
    """

    def __init__(self, names: str, classes: int):
        self.names = tuple(entries(names)) if names else ()
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
        with drawing(2 * seed):
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
        with drawing(2 * seed + 1):
            mixed, share, partner = self._mixes[int(torch.randint(len(self._mixes), ()))](inputs)
        weight = share.to(soft)[:, None]
        return mixed, weight * soft + (1 - weight) * soft[partner.to(soft.device)]
