"""The pictures of a split that a study of an experiment can choose from."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdviz.cli.common.arguments import splits_of
from kdviz.core.vocabulary import Split

if TYPE_CHECKING:
    import numpy as np

    from kdviz.data import LabelledImages
    from kdviz.experiment import Experiment


@dataclass(frozen=True)
class PictureSource:
    """Pictures of a split, of which some may have regions.

    Attributes:
        names: Their names.
        sizes: Name -> height and width in which regions are drawn.
        numbers: int64 (N,), their numbers in the split; None: 0, 1, ...
        samples_of: Gives the pictures at some indices.
        shares_of: Fits a region to the models' input.
    """

    names: Sequence[str]
    sizes: Mapping[str, tuple[int, int]]
    samples_of: Callable[[Sequence[int]], LabelledImages]
    shares_of: Callable[[np.ndarray], np.ndarray]
    numbers: np.ndarray | None = None


def picture_source(experiment: Experiment, options: argparse.Namespace) -> PictureSource:
    """The pictures of ``--data`` or ``--split``, or those that are kept in the experiment.

    Raises:
        DatasetError: There are none, or they cannot be used.
    """
    if experiment.is_imported and options.data:
        return _source_of_files(experiment, options)
    is_kept = (experiment.folder / "samples.parquet").is_file()
    if options.data or options.split == "bundled" or not (is_kept or experiment.is_imported):
        return _source_of_split(experiment, options)
    return _source_of_stored(experiment, options)


def random_pictures(experiment: Experiment, options: argparse.Namespace, count: int) -> LabelledImages:
    """A random choice of the pictures, by ``--seed``, in their order.

    Raises:
        DatasetError: There are none, or they cannot be used.
    """
    import numpy as np

    from kdviz.cli.common.experiment_pictures import samples_of_files

    if options.data and experiment.dataset == "folder" and (Path(options.data) / options.split).is_dir():
        return samples_of_files(experiment, options, count, options.seed)  # the training pictures need not be there
    source = picture_source(experiment, options)
    order = np.random.default_rng([options.seed, 4]).permutation(len(source.names))[:count]
    return source.samples_of(np.sort(order).tolist())


def _source_of_files(experiment: Experiment, options: argparse.Namespace) -> PictureSource:
    from kdviz.cli.common.experiment_pictures import picture_files, samples_at
    from kdviz.data.regions import FileSizes
    from kdviz.data.regions.formats.masks import is_mask

    files = picture_files(experiment, options)
    kept = [index for index, name in enumerate(files.names) if not is_mask(name)]  # masks may lie beside the pictures
    names = [files.names[index] for index in kept]
    return PictureSource(
        names,
        FileSizes({name: files.files[index] for name, index in zip(names, kept, strict=True)}),
        lambda indices: samples_at(experiment, files, [kept[index] for index in indices]),
        experiment.input.transform_region,
        _numbers(kept),
    )


def _source_of_split(experiment: Experiment, options: argparse.Namespace) -> PictureSource:
    from kdviz.core.resizing import fitted_region
    from kdviz.data.regions import FileSizes
    from kdviz.studies.regions.pictures import taken_from

    splits = _bundled(experiment) if options.split == "bundled" else splits_of(experiment, options)
    if options.split not in splits:
        options.wrong_usage(f"argument --split: there are {', '.join(splits)}")
    samples, size = splits[options.split], experiment.input.size
    names = samples.names or tuple(map(str, range(len(samples))))
    folder = Path(options.data or ".")
    is_file = [bool(options.data) and (folder / name).is_file() for name in names]  # MNIST's samples are none
    files = {name: folder / name for name, known in zip(names, is_file, strict=True) if known}
    sizes = FileSizes(files) if all(is_file) else dict.fromkeys(names, size)
    return PictureSource(names, sizes, taken_from(samples), lambda mask: fitted_region(mask, size))


def _bundled(experiment: Experiment) -> Mapping[str, LabelledImages]:
    """The digits that come with kdviz.

    Raises:
        DatasetError: The experiment's models were not made for them.
    """
    from kdviz.core.errors import DatasetError
    from kdviz.data import bundled_digits

    splits = bundled_digits()
    digits = splits["bundled"]
    shape = experiment.input.channels, *experiment.input.size
    if tuple(digits.images.shape[1:]) != shape or list(digits.classes) != list(experiment.classes):
        raise DatasetError(
            "The bundled pictures are MNIST's digits, and '{folder}' has other classes or another input; name its data "
            "with --data.",
            folder=experiment.folder,
        )
    return splits


def _source_of_stored(experiment: Experiment, options: argparse.Namespace) -> PictureSource:
    """The pictures that are kept in the experiment, which are regions' own pictures: those that the models see."""
    import numpy as np

    from kdviz.cli.common.experiment_pictures import stored_samples
    from kdviz.studies.regions.pictures import taken_from

    samples = stored_samples(experiment)
    if options.split not in (Split.TEST, samples.split):
        options.wrong_usage(f"argument --split: of '{experiment.folder}' only {samples.split} is kept; name --data")
    names = samples.names or tuple(map(str, range(len(samples))))
    numbers = experiment.samples(samples.split).numbers.numpy()
    sizes = dict.fromkeys(names, experiment.input.size)
    return PictureSource(names, sizes, taken_from(samples), lambda mask: mask.astype(np.float32), numbers)


def _numbers(kept: Sequence[int]) -> np.ndarray:
    import numpy as np

    return np.array(kept, np.int64)
