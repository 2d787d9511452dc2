"""Pictures for steps that change models which were trained elsewhere: to measure on, and others to train on."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from kdviz.cli.common.experiment_pictures import picture_files, samples_at
from kdviz.core.errors import DatasetError
from kdviz.core.files import from_home
from kdviz.core.vocabulary import Split

if TYPE_CHECKING:
    from kdviz.data import LabelledImages
    from kdviz.data.picture_files import PictureFiles
    from kdviz.experiment import Experiment

_VALIDATION = 0.15  # of the pictures to train on, by which the best epoch is chosen
_RANGES = 200  # measured pictures on which the ranges of int8 are found where there are no others


@dataclass(frozen=True)
class MeasuredPictures:
    """The pictures that models are measured on, each decoded when it is asked for.

    Attributes:
        experiment: The experiment, whose input the pictures get.
        files: The pictures, with labels.
    """

    experiment: Experiment
    files: PictureFiles

    def __len__(self) -> int:
        return len(self.files)

    @property
    def labels(self) -> Tensor:
        """Labels, int64 (N,)."""
        assert self.files.labels is not None  # they were asked for
        return self.files.labels

    def picture(self, index: int) -> Image.Image:
        return self.experiment.input.transform(self.files.open(index))


def measured_pictures(experiment: Experiment, options: Namespace) -> MeasuredPictures:
    """The pictures of ``--data``.

    Raises:
        DatasetError: They cannot be used, or have no labels.
    """
    if not options.data:
        raise DatasetError(
            "Name the pictures with --data: '{folder}' holds models that were trained elsewhere, on pictures that are "
            "not known here.",
            folder=experiment.folder,
        )
    files = picture_files(experiment, options)
    if files.labels is None:
        raise DatasetError(
            "What a step breaks is counted on pictures with labels, and those of '{data}' have none.", data=options.data
        )
    return MeasuredPictures(experiment, files)


def step_splits(
    experiment: Experiment, measured: MeasuredPictures, options: Namespace, *, trains: bool
) -> dict[str, LabelledImages]:
    """The splits ``train`` and ``validation`` for steps: of ``--train-data``, or of the folder train in ``--data``.

    Where there are no pictures to train on, both are some of the measured pictures, on which ranges can be found.

    Args:
        experiment: The experiment.
        measured: The pictures of ``--data``.
        options: Those of the command.
        trains: Whether a step trains, for which the measured pictures will not do.

    Raises:
        DatasetError: There are no pictures to train on, they have no labels, or they cannot be used.
    """
    source = _training_source(options, measured.files)
    if source is not None:
        return _parted(experiment, picture_files(experiment, Namespace(**{**vars(options), "data": source})), source)
    if trains:
        raise DatasetError(
            "'{data}' has no pictures to train on beside those that models are measured on; name some with "
            "--train-data.",
            data=options.data,
        )
    print(
        f"kdviz: ranges of int8 are found on {min(_RANGES, len(measured))} of the pictures that are measured; name "
        "others with --train-data",
        file=sys.stderr,
    )
    some = samples_at(experiment, measured.files, _random(len(measured), _RANGES))
    return {Split.TRAIN: some, Split.VALIDATION: some}


def _training_source(options: Namespace, measured: PictureFiles) -> Path | None:
    """What holds the pictures to train on; None: nothing does."""
    from kdviz.data.picture_files import split_folders

    given = from_home(options.train_data or options.data)
    folders = split_folders(given) if given.is_dir() else {}
    inside = folders.get(Split.TRAIN)
    if options.train_data:
        return inside or given
    return inside if measured.split != Split.TRAIN else None


def _parted(experiment: Experiment, files: PictureFiles, source: Path) -> dict[str, LabelledImages]:
    """The pictures to train on, with a part of every class set aside for validation."""
    import numpy as np

    from kdviz.data.groups import split_by_group

    if files.labels is None:
        raise DatasetError("A step trains on pictures with labels, and those of '{source}' have none.", source=source)
    own = [str(number) for number in range(len(files))]
    parts = split_by_group(own, files.labels.numpy(), (1 - _VALIDATION, _VALIDATION), 0)
    numbered = {Split.TRAIN: 0, Split.VALIDATION: 1}
    indices = {split: np.flatnonzero(parts == number).tolist() for split, number in numbered.items()}
    if not all(indices.values()):
        raise DatasetError(
            "'{source}' has {count} pictures, too few to train on and to choose the best epoch by.",
            source=source,
            count=len(files),
        )
    return {split: _named(samples_at(experiment, files, chosen), split) for split, chosen in indices.items()}


def _named(samples: LabelledImages, split: str) -> LabelledImages:
    from dataclasses import replace

    return replace(samples, split=split)


def _random(count: int, most: int) -> list[int]:
    import torch

    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most].sort().values.tolist()
