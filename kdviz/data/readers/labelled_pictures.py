"""From parts of a data set whose pictures are decoded one at a time to splits in memory, and to their usual training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdviz.core.errors import DatasetError, ImageError
from kdviz.core.images import depth_of, fit_to
from kdviz.core.vocabulary import Split
from kdviz.data.doubts.copies import digests
from kdviz.data.groups import split_by_group
from kdviz.data.pictures import Reading, require_input, room_for
from kdviz.data.readers.folders import require_shares
from kdviz.data.registry import TRANSFER, DataSet, Recipe
from kdviz.data.samples import LabelledImages, as_pixels, with_doubts

SMALL = 64
"""Longest side, in pixels, of pictures that networks see in their own size; larger ones are for pretrained networks."""

SMALL_GREY = Recipe("paper_cnn", "paper_fc", False, epochs=20, teacher_epochs=12, batch_size=256)
"""Training on small grey pictures: as on MNIST."""

SMALL_COLOUR = Recipe("torchvision/resnet18", "paper_cnn", False, epochs=20, teacher_epochs=20, batch_size=128)
"""Training on small colour pictures, from fresh weights."""

_SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)
_THREADS = 4
_AT_ONCE = 512  # pictures; more are not read ahead, since parquet files hold them encoded

Label = int | str
Decode = Callable[[], tuple[Image.Image, Label]]
"""Decodes one picture and returns it with its label; it raises an ImageError for one that cannot be used."""


@dataclass(frozen=True)
class PicturePart:
    """A part of a data set, as its authors divide it.

    Attributes:
        name: Their name of it, such as ``train`` or ``trainval``.
        count: Number of pictures.
        pictures: Makes an iterator over the pictures, in order.
        examples: Makes one over a few, from the whole part.
    """

    name: str
    count: int
    pictures: Callable[[], Iterator[Decode]]
    examples: Callable[[], Iterator[Decode]]


@dataclass(frozen=True)
class LabelledPictures:
    """A data set whose pictures are labelled and not decoded yet.

    Attributes:
        source: What it is, for errors, such as ``torchvision's CIFAR10``.
        parts: Split -> part; ``train`` at least.
        class_names: Name of each label from 0; None: the labels, sorted, are the names.
        notes: What a user should know about it, one sentence each.
    """

    source: str
    parts: Mapping[str, PicturePart]
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def read(
        self,
        size: tuple[int, int],
        channels: int,
        *,
        validation: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
    ) -> dict[str, LabelledImages]:
        """Decode the pictures, fitted to a model's input as ``Experiment.prepare`` does.

        Splits that are missing are taken from train, each with its share of every class; pictures that are equal pixel for
        pixel then stay together.

        Args:
            size: Height and width.
            channels: 1 (grey) or 3 (RGB).
            validation, test: Share of train that becomes the split if there is none.
            seed: Seed of these splits.

        Returns:
            The splits ``train``, ``validation`` and ``test``.

        Raises:
            DatasetError: A picture or a label cannot be used, or there are too few to make a split.
            SettingError: A share, the size or the channels are out of range.
        """
        require_input(size, channels)
        require_shares(validation, test)
        reading = Reading()
        decoded = {split: _decoded(part, self.source, size, channels, reading) for split, part in self.parts.items()}
        classes, notes = _classes(self, decoded[Split.TRAIN][1])
        splits = {split: self._samples(split, *decoded[split], classes) for split in decoded}
        shares = {split: share for split, share in ((Split.VALIDATION, validation), (Split.TEST, test))}
        shares = {split: share for split, share in shares.items() if split not in splits}
        splits |= _divided(splits[Split.TRAIN], shares, seed, self.source) if shares else {}
        return with_doubts({split: splits[split] for split in _SPLITS}, reading.doubts(), (*self.notes, *notes))

    def _samples(
        self, split: str, pixels: np.ndarray, labels: Sequence[Label], classes: dict[Label, str]
    ) -> LabelledImages:
        number_of = {label: number for number, label in enumerate(classes)}
        unknown = next((label for label in labels if label not in number_of), None)
        if unknown is not None:
            raise DatasetError(
                "The part '{part}' of {source} has pictures of the class '{name}', and none of them is there to train on; "
                "add some to train.",
                part=self.parts[split].name,
                source=self.source,
                name=_name_of(unknown, self.class_names),
            )
        numbers = torch.tensor([number_of[label] for label in labels])
        names = tuple(f"{self.parts[split].name}/{number}" for number in range(len(labels)))
        return LabelledImages(torch.from_numpy(pixels), numbers, tuple(classes.values()), split, names)


def _decoded(
    part: PicturePart, source: str, size: tuple[int, int], channels: int, reading: Reading
) -> tuple[np.ndarray, list[Label]]:
    """The pictures of a part, uint8 (N, C, H, W), and their labels."""
    pixels = room_for((part.count, channels, *size))

    def read(task: tuple[int, Decode]) -> Label | ImageError:
        number, decode = task
        try:
            picture, label = decode()
            pixels[number] = as_pixels(fit_to(picture, size, channels))
        except ImageError as error:
            return error
        reading.deep += [depth_of(picture)] if depth_of(picture)[0] else []
        return label

    results: list[Label | ImageError] = []
    tasks = enumerate(part.pictures())
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        while some := list(islice(tasks, _AT_ONCE)):
            results += pool.map(read, some)
    failures = [result for result in results if isinstance(result, ImageError)]
    if failures:
        raise DatasetError(
            "{n_failures} of {n_pictures} pictures in the part '{part}' of {source} cannot be used: {failure}",
            n_failures=len(failures),
            n_pictures=part.count,
            part=part.name,
            source=source,
            failure=failures[0].sentence,
        )
    reading.read += part.count
    return pixels, [result for result in results if not isinstance(result, ImageError)]


def _classes(data: LabelledPictures, labels: Sequence[Label]) -> tuple[dict[Label, str], list[str]]:
    """Label -> class name, for the labels of train in their order, and a note on the classes without pictures."""
    present = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    names = data.class_names
    if names is not None:
        wrong = [label for label in present if not (isinstance(label, int) and 0 <= label < len(names))]
        if wrong:
            raise DatasetError(
                "A label of {source} is {label}, and its {n_classes} classes are numbered from 0; the data are damaged.",
                source=data.source,
                label=wrong[0],
                n_classes=len(names),
            )
    if len(present) < 2:
        raise DatasetError("All pictures to train on in {source} have one class; two are needed.", source=data.source)
    absent = [name for label, name in enumerate(names or ()) if label not in present]
    notes = (
        [f"There are no pictures to train on of these classes, which are left out: {', '.join(absent)}."]
        if absent
        else []
    )
    return {label: _name_of(label, names) for label in present}, notes


def _name_of(label: Label, names: Sequence[str] | None) -> str:
    return names[label] if names is not None and isinstance(label, int) and 0 <= label < len(names) else str(label)


# splits ---------------------------------------------------------------------------------------------------------------


def _divided(samples: LabelledImages, shares: Mapping[str, float], seed: int, source: str) -> dict[str, LabelledImages]:
    """Train and the splits in ``shares``, made of the samples of train, whose images are put in another order."""
    labels = samples.labels.numpy()
    splits = (Split.TRAIN, *shares)
    numbers = split_by_group(
        _equal_pictures(samples.images), labels, [1 - sum(shares.values()), *shares.values()], seed
    )
    order = np.argsort(numbers, kind="stable")
    _put_in_order(samples.images.numpy(), order)  # in place: a second copy of a large data set might not fit
    bounds = np.cumsum([0, *np.bincount(numbers, minlength=len(splits))])
    divided = {}
    for split, start, stop in zip(splits, bounds[:-1], bounds[1:], strict=True):
        index = order[start:stop]
        names = tuple(samples.names[number] for number in index.tolist()) if samples.names else None
        images = samples.images[int(start) : int(stop)]
        divided[split] = replace(samples, images=images, labels=samples.labels[index], names=names, split=split)
    _require_classes(divided, source)
    return divided


def _equal_pictures(images: Tensor) -> list[str]:
    """For each image the number, as a text, of the first that is equal to it; blank ones stand alone."""
    first: dict[bytes, int] = {}
    return [
        f"{first.setdefault(digest, number) if digest else number:09}" for number, digest in enumerate(digests(images))
    ]


def _put_in_order(rows: np.ndarray, order: np.ndarray) -> None:
    """Assign ``rows[order]`` to ``rows``, one row at a time along the cycles of the permutation."""
    source = order.copy()
    for start in range(len(rows)):
        if source[start] == start:
            continue
        first, row = rows[start].copy(), start
        while source[row] != start:
            following = source[row]
            rows[row] = rows[following]
            source[row], row = row, following
        rows[row], source[row] = first, row


def _require_classes(splits: Mapping[str, LabelledImages], source: str) -> None:
    empty = next((split for split, samples in splits.items() if not len(samples)), None)
    if empty:
        raise DatasetError(
            "There are too few pictures in {source} for a split {split}; add some.", source=source, split=empty
        )
    training = splits[Split.TRAIN]
    counts = torch.bincount(training.labels, minlength=len(training.classes))
    if not bool(counts.all()):
        raise DatasetError(
            "There are too few pictures of the class '{name}' in {source} to train on some and hold out others; add some.",
            name=training.classes[int(counts.argmin())],
            source=source,
        )


# training -------------------------------------------------------------------------------------------------------------


def declaration_for(entry: DataSet, data: LabelledPictures, size: tuple[int, int] | None) -> DataSet:
    """The declaration for given data: small pictures of one size are trained on as they are, others by transfer learning.

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
    """Height and width of a few pictures from the whole of train, None if they differ; and 1 if all are grey, else 3."""
    sizes, grey = set(), True
    for decode in data.parts[Split.TRAIN].examples():
        picture, _ = decode()
        sizes.add(picture.size[::-1])
        grey = grey and picture.mode not in _COLOUR
    return (sizes.pop() if len(sizes) == 1 else None), 1 if grey else 3


_COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV")


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
