"""From the parts of a data set, whose pictures are decoded one at a time, to splits in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdviz.core.environment import cores
from kdviz.core.errors import DatasetError, KdvizError
from kdviz.core.images import depth_of, fit_to
from kdviz.core.vocabulary import Split
from kdviz.data.doubts.copies import digests
from kdviz.data.groups import split_by_group
from kdviz.data.pictures import Reading, read_or_error, require_input, room_for
from kdviz.data.readers.folders import require_shares
from kdviz.data.samples import LabelledImages, as_pixels, with_doubts

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

        Splits that are missing are taken from train, each with its share of every class; pictures that are equal pixel
        for pixel then stay together.

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
        wanted = ((Split.VALIDATION, validation), (Split.TEST, test))
        shares: dict[str, float] = {split: share for split, share in wanted if split not in splits}
        splits |= _divided(splits[Split.TRAIN], shares, seed, self.source) if shares else {}
        ordered: dict[str, LabelledImages] = {split: splits[split] for split in _SPLITS}
        return with_doubts(ordered, reading.doubts(), (*self.notes, *notes, *_absent_classes(ordered)))

    def read_split(
        self,
        split: str,
        size: tuple[int, int],
        channels: int,
        prepare: Callable[[Image.Image], Image.Image] | None = None,
    ) -> LabelledImages:
        """Decode the pictures of one part alone; its classes are all that are named, or else those that it has.

        Args:
            split: Split of the part.
            size, channels: See :meth:`read`.
            prepare: Is applied to each picture before it is fitted.

        Raises:
            DatasetError: A picture or a label cannot be used.
        """
        reading = Reading()
        pixels, labels = _decoded(self.parts[split], self.source, size, channels, reading, prepare)
        known: Sequence[Label] = sorted(set(labels)) if self.class_names is None else range(len(self.class_names))
        return self._samples(split, pixels, labels, {label: _name_of(label, self.class_names) for label in known})

    def _samples(
        self, split: str, pixels: np.ndarray, labels: Sequence[Label], classes: dict[Label, str]
    ) -> LabelledImages:
        number_of = {label: number for number, label in enumerate(classes)}
        unknown = next((label for label in labels if label not in number_of), None)
        if unknown is not None:
            raise DatasetError(
                "The part '{part}' of {source} has pictures of the class '{name}', of which there are none to "
                "train on; add some.",
                part=self.parts[split].name,
                source=self.source,
                name=_name_of(unknown, self.class_names),
            )
        numbers = torch.tensor([number_of[label] for label in labels])
        names = tuple(f"{self.parts[split].name}/{number}" for number in range(len(labels)))
        return LabelledImages(torch.from_numpy(pixels), numbers, tuple(classes.values()), split, names)


def _decoded(
    part: PicturePart,
    source: str,
    size: tuple[int, int],
    channels: int,
    reading: Reading,
    prepare: Callable[[Image.Image], Image.Image] | None = None,
) -> tuple[np.ndarray, list[Label]]:
    """The pictures of a part, uint8 (N, C, H, W), and their labels."""
    pixels = room_for((part.count, channels, *size))

    def read(number: int, decode: Decode) -> Label:
        picture, label = decode()
        picture = picture if prepare is None else prepare(picture)
        pixels[number] = as_pixels(fit_to(picture, size, channels))
        reading.deep += [depth_of(picture)] if depth_of(picture)[0] else []
        return label

    results: list[Label | KdvizError] = []
    tasks = enumerate(part.pictures())
    with ThreadPoolExecutor(min(_THREADS, cores())) as pool:
        while some := list(islice(tasks, _AT_ONCE)):
            results += pool.map(lambda task: read_or_error(partial(read, *task)), some)
    failures = [result for result in results if isinstance(result, KdvizError)]
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
    return pixels, [result for result in results if not isinstance(result, KdvizError)]


def _classes(data: LabelledPictures, labels: Sequence[Label]) -> tuple[dict[Label, str], list[str]]:
    """Label -> class name, for the labels of train in their order, and a note on the classes without pictures."""
    present = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    names = data.class_names
    if names is not None:
        wrong = [label for label in present if not (isinstance(label, int) and 0 <= label < len(names))]
        if wrong:
            raise DatasetError(
                "A label of {source} is {label}, and its {n_classes} classes have the numbers from 0; please get the "
                "data again.",
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


def _absent_classes(splits: Mapping[str, LabelledImages]) -> list[str]:
    """A sentence for each split that has no pictures of some classes."""
    absent = {split: set(range(len(data.classes))) - set(data.labels.tolist()) for split, data in splits.items()}
    return [
        f"The split {split} has no picture of: {', '.join(splits[split].classes[label] for label in sorted(labels))}."
        for split, labels in absent.items()
        if labels
    ]


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
            "There are too few pictures of the class '{name}' in {source} to train on some and hold out others; add "
            "some.",
            name=training.classes[int(counts.argmin())],
            source=source,
        )
