"""Labelled images in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.core.vocabulary import Split
from kdviz.data.doubts import Doubt, copies

SPLITS = (Split.TEST, Split.VALIDATION, Split.BUNDLED)
"""Splits on which models are measured, the one that is preferred first."""

_HASHED_AT_ONCE = 1024  # images; a memory-mapped tensor is never read whole


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split with their ground truth.

    Attributes:
        images: ``uint8`` (N, C, H, W).
        labels: ``int64`` (N,).
        classes: Class names, in the order of the labels.
        split: ``train``, ``validation``, ``test`` or ``bundled``.
        names: Where each sample comes from: a file's path within the data folder, or ``train/123`` for number 123 of
            MNIST's training file. None: not known.
        annotators: How many of the annotators chose the last class, ``int64`` (N,); None: not known.
        notes: What a user should know about the data set, one sentence each.
        doubts: What looks wrong with the data set; their sentences are among the notes. None: not checked.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    split: str
    names: tuple[str, ...] | None = None
    annotators: Tensor | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor, split: str | None = None) -> LabelledImages:
        """Copy the samples at ``index`` (int64 or bool) into a new object, whose split may get another name."""
        samples = torch.arange(len(self))[index]
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            split=split or self.split,
            names=None if self.names is None else tuple(self.names[sample] for sample in samples.tolist()),
            annotators=None if self.annotators is None else self.annotators[index],
        )

    def picture(self, sample: int) -> Image.Image:
        """Sample number ``sample`` as a PIL image, mode ``L`` or ``RGB``."""
        return as_picture(self.images[sample])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, as hex, of the images, labels and classes: equal for equal data, wherever they were read from."""
        digest = hashlib.sha256(ascii((tuple(self.images.shape), self.classes)).encode())
        digest.update(np.ascontiguousarray(self.labels.numpy(), dtype="<i8").data)
        for part in self.images.split(_HASHED_AT_ONCE):
            digest.update(np.ascontiguousarray(part.numpy()).data)
        return digest.hexdigest()


def with_doubts(
    splits: Mapping[str, LabelledImages], reader_doubts: Iterable[Doubt], notes: Iterable[str] = ()
) -> dict[str, LabelledImages]:
    """Add doubts and notes to the splits of a data set: its reader's, and one for images that are in two splits.

    Args:
        splits: Name -> samples.
        reader_doubts: Doubts that arose while the files were read.
        notes: Further sentences, which are no doubts.
    """
    doubts = (*reader_doubts, *copies(splits))
    sentences = (*notes, *(doubt.text for doubt in doubts))
    return {name: replace(samples, notes=sentences, doubts=doubts) for name, samples in splits.items()}


def as_picture(pixels: Tensor) -> Image.Image:
    """Convert ``uint8`` (C, H, W) to a PIL image of mode ``L`` or ``RGB``."""
    array = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def as_pixels(picture: Image.Image) -> np.ndarray:
    """Convert a PIL image of mode ``L`` or ``RGB`` to ``uint8`` (C, H, W)."""
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def require_fraction(name: str, value: float) -> None:
    """Refuse a share of the samples that is not above 0 and below 1.

    Raises:
        SettingError: It is not.
    """
    if not 0 < value < 1:
        raise SettingError(
            "{name} is a share of the samples and must be above 0 and below 1, got {value:g}.", name=name, value=value
        )
