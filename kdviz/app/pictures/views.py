"""The pictures of an experiment as samples that pages show, without predictions, from each place where they may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from kdviz.app.samples import SampleView
from kdviz.core.errors import ExperimentError, UnknownNameError
from kdviz.core.vocabulary import Split
from kdviz.data import bundled_digits
from kdviz.data.photographs import photographs_of
from kdviz.data.samples import as_picture
from kdviz.data.store import StoredSamples
from kdviz.data.thumbnails import Thumbnails
from kdviz.experiment import Experiment
from kdviz.studies.attention.pictures import StudiedPictures

_GREY = 160  # of a picture that is not here


def stored_view(experiment: Experiment, split: str) -> SampleView | None:
    """The pictures of a split that are stored with the experiment; None without any.

    Raises:
        ExperimentError: Their file is damaged.
    """
    try:
        samples = experiment.samples(split)
    except UnknownNameError:
        return None
    except ExperimentError:
        if (experiment.folder / "samples.parquet").exists():
            raise
        return None
    return SampleView(split, samples.numbers.numpy(), samples.labels.numpy(), _reader(samples))


def bundled_view(experiment: Experiment) -> SampleView | None:
    """The bundled digits; None for an experiment that has another input."""
    if (experiment.input.size, experiment.input.channels) != ((28, 28), 1):
        return None
    digits = bundled_digits()[Split.BUNDLED]
    return SampleView(
        Split.BUNDLED,
        np.arange(len(digits)),
        digits.labels.numpy(),
        lambda indices: [digits.picture(index) for index in indices],
    )


def thumbnail_view(thumbnails: Thumbnails, stored: SampleView | None) -> SampleView | None:
    """All pictures of the thumbnails' split, those that are stored in full; None where nothing is gained by it.

    Args:
        thumbnails: Small copies of the pictures.
        stored: The pictures that are stored; None: none are.
    """
    if stored is not None and (thumbnails.split != stored.split or len(thumbnails) <= len(stored)):
        return None
    places = {} if stored is None else {int(number): index for index, number in enumerate(stored.numbers)}

    def pictures(indices: Sequence[int]) -> list[Image.Image]:
        numbers = [int(thumbnails.numbers[index]) for index in indices]
        return [
            thumbnails.pictures([index])[0]
            if stored is None or number not in places
            else stored.picture(places[number])
            for index, number in zip(indices, numbers, strict=True)
        ]

    kept = np.isin(thumbnails.numbers, list(places))
    return SampleView(thumbnails.split, thumbnails.numbers, thumbnails.labels, pictures, thumbnails.pictures, kept)


def blank_view(experiment: Experiment, split: str, labels: np.ndarray) -> SampleView:
    """Samples whose pictures are not here: all grey, of the experiment's size.

    Args:
        experiment: The experiment.
        split: Name of the split.
        labels: Ground truth of all its samples, int64 (N,).
    """
    height, width = experiment.input.size
    mode, grey = ("L", _GREY) if experiment.input.channels == 1 else ("RGB", (_GREY,) * 3)
    return SampleView(
        split,
        np.arange(len(labels)),
        labels,
        lambda indices: [Image.new(mode, (width, height), grey) for _index in indices],
        has_pictures=False,
    )


def photograph_view(experiment: Experiment) -> SampleView | None:
    """The photographs of no data set with which an experiment opens; None without any."""
    chosen = photographs_of(experiment.opening_pictures, experiment.classes)
    if not chosen:
        return None
    labels = np.array([experiment.classes.index(photograph.shows) for photograph in chosen])
    return SampleView(
        Split.PHOTOGRAPHS,
        np.arange(len(chosen)),
        labels,
        lambda indices: [experiment.prepare(chosen[index].picture()) for index in indices],
    )


def studied_view(pictures: StudiedPictures) -> SampleView:
    """The pictures that attention studies keep."""
    return SampleView(
        pictures.split,
        pictures.numbers,
        pictures.labels,
        lambda indices: [pictures.picture(index) for index in indices],
    )


def _reader(samples: StoredSamples) -> Callable[[Sequence[int]], list[Image.Image]]:
    return lambda indices: [as_picture(pixels) for pixels in samples.images(list(indices))]
