"""The usual training on pictures of any data set: in their own size where they are small, else by transfer learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from kdviz.core.errors import KdvizError
from kdviz.core.vocabulary import Split
from kdviz.data.pictures import read_or_error
from kdviz.data.readers.labelled_pictures import LabelledPictures
from kdviz.data.registry import TRANSFER, DataSet, Recipe
from kdviz.data.samples import LabelledImages

SMALL = 64
"""Longest side, in pixels, of pictures that networks see in their own size; larger ones are for pretrained networks."""

SMALL_GREY = Recipe("paper_cnn", "paper_fc", False, epochs=20, teacher_epochs=12, batch_size=256)
"""Training on small grey pictures: as on MNIST."""

SMALL_COLOUR = Recipe(
    "airbench",
    "airbench_small",
    False,
    epochs=8,
    teacher_epochs=12,
    batch_size=256,
    learning_rate=0.25,
    learning_rate_schedule="one_cycle",
    optimizer="sgd_fast_bias",
    weight_decay=1.3e-3,
    augment="shift",
    views=6,
)
"""Training on small colour pictures, from fresh weights (Jordan, 2024), without mirror images: some are of digits."""

_GREY = ("1", "L", "I", "F")  # beginnings of Pillow's modes, such as LA and I;16; LAB is not read from files
_AT_ONCE = 512  # images


def declaration_for(entry: DataSet, data: LabelledPictures, size: tuple[int, int] | None) -> DataSet:
    """The declaration for given data: small pictures of one size are trained on as they are, others by transfer.

    Args:
        entry: The declaration for any data.
        data: The data.
        size: Height and width that the user wants; None: the pictures' own, or what pretrained weights expect.

    Raises:
        DatasetError: The data cannot be used.
    """
    own_size, channels = _shape(data)
    side = size or own_size
    if own_size is None or side is None or max(*own_size, *side) > SMALL:
        return replace(entry, recipe=TRANSFER, input=None, of_data=None, read=_reader(data))
    splits = data.read(side, channels)
    mean, std = normalisation(splits[Split.TRAIN].images)
    return replace(
        entry,
        recipe=SMALL_GREY if channels == 1 else SMALL_COLOUR,
        input={"size": side, "channels": channels, "mean": mean, "std": std},
        of_data=None,
        read=_reader(data, splits),
    )


def _reader(
    data: LabelledPictures, splits: dict[str, LabelledImages] | None = None
) -> Callable[..., dict[str, LabelledImages]]:
    """The reader of a declaration, which returns the splits that were read already if they have the wanted form."""

    def read(_data: object, size: tuple[int, int], channels: int, **_options: object) -> dict[str, LabelledImages]:
        if splits is not None and splits[Split.TRAIN].images.shape[1:] == (channels, *size):
            return splits
        return data.read(size, channels)

    return read


def _shape(data: LabelledPictures) -> tuple[tuple[int, int] | None, int]:
    """Height and width of some pictures to train on, None if they differ; and channels, 1 if all are grey."""
    sizes, grey = set(), True
    for decode in data.parts[Split.TRAIN].examples():
        read = read_or_error(decode)
        if isinstance(read, KdvizError):  # reading reports all of them
            continue
        picture, _ = read
        sizes.add(picture.size[::-1])
        grey = grey and picture.mode.startswith(_GREY)
    return (sizes.pop() if len(sizes) == 1 else None), 1 if grey else 3


def normalisation(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation over all pixels of each channel, of values in [0, 1], to four decimals.

    Args:
        images: ``uint8`` (N, C, H, W).
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros((images.shape[1], 256), dtype=torch.float64)
    for part in images.split(_AT_ONCE):
        counts += torch.stack([torch.bincount(part[:, c].flatten(), minlength=256) for c in range(images.shape[1])])
    weights = counts / counts.sum(1, keepdim=True)
    mean = weights @ levels
    std = (weights * (levels - mean[:, None]) ** 2).sum(1).sqrt().clamp(min=1 / 255)  # never 0, which divides
    return tuple(round(value, 4) for value in mean.tolist()), tuple(round(value, 4) for value in std.tolist())
