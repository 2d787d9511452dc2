"""Pictures of experiments for commands, and refusals for experiments whose models were trained elsewhere."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.core.environment import cores
from kdviz.core.errors import DatasetError, ExperimentError, KdvizError
from kdviz.core.texts.counted import counted

if TYPE_CHECKING:
    from argparse import Namespace

    from kdviz.data import LabelledImages
    from kdviz.data.picture_files import PictureFiles
    from kdviz.experiment import Experiment

_THREADS = 16


def require_trained_here(experiment: Experiment, verb: str) -> None:
    """Check that kdviz has trained the models of an experiment.

    Raises:
        ExperimentError: Its models were trained elsewhere.
    """
    if experiment.is_imported:
        raise ExperimentError(
            "'{folder}' holds models that were trained elsewhere, and kdviz {verb} trains models, "
            "which it can only do like its own; compare the given models with: kdviz study --study "
            "models -e {folder}",
            folder=experiment.folder,
            verb=verb,
        )


def require_trainable(experiment: Experiment, verb: str) -> None:
    """Check that a study can train models like those of an experiment.

    Raises:
        ExperimentError: Its models were trained elsewhere, or its students see less than their teacher.
    """
    require_trained_here(experiment, verb)
    if any(run.is_adapted for run in experiment.runs.values()):
        raise ExperimentError(
            "The models of '{folder}' have inputs of their own, and kdviz {verb} trains students that see what their "
            "teacher sees; compare the given models with: kdviz study --study models -e {folder}",
            folder=experiment.folder,
            verb=verb,
        )


def require_replaceable(out: str) -> None:
    """Check that a training may write into a folder.

    Raises:
        ExperimentError: The folder holds an experiment of imported models, which training would replace, or things
            that are no experiment.
    """
    from kdviz.experiment import load_experiment
    from kdviz.experiment.out_folder import require_experiment_or_nothing

    require_experiment_or_nothing(out)
    try:
        experiment = load_experiment(Path(out).resolve())
    except KdvizError:
        return
    if experiment.is_imported:
        raise ExperimentError(
            "'{out}' holds models that were trained elsewhere; choose another folder with --out.", out=out
        )


def stored_samples(experiment: Experiment) -> LabelledImages:
    """The pictures that are stored in an experiment, of the first split that has some.

    Raises:
        DatasetError: There are none.
    """
    import torch

    from kdviz.core.errors import UnknownNameError
    from kdviz.data import LabelledImages
    from kdviz.data.samples import SPLITS

    for split in SPLITS:
        try:
            stored = experiment.samples(split)
        except (ExperimentError, UnknownNameError):
            continue
        indices = torch.arange(len(stored))
        return LabelledImages(stored.images(indices), stored.labels, stored.classes, split, stored.names)
    hint = "import it again with --data" if experiment.is_imported else "name the data's folder with --data"
    raise DatasetError("'{folder}' keeps no pictures of its data; {hint}.", folder=experiment.folder, hint=hint)


def picture_files(experiment: Experiment, options: Namespace) -> PictureFiles:
    """The pictures of ``--data``, with the experiment's classes.

    Raises:
        DatasetError: The pictures cannot be used.
    """
    from kdviz.data.labels.class_names import read_classes
    from kdviz.data.picture_files import read_picture_files

    names = read_classes(list(experiment.classes))
    return read_picture_files(
        options.data, classes=names, image_column=options.image_column, label_column=options.label_column
    )


def samples_of_files(experiment: Experiment, options: Namespace, most: int, seed: int = 0) -> LabelledImages:
    """A random choice of the pictures of ``--data``.

    Args:
        experiment: The experiment, whose classes and common picture are used.
        options: Those of the command.
        most: Largest number of pictures.
        seed: Seed of the choice.

    Raises:
        DatasetError: The pictures cannot be used.
    """
    import torch

    files = picture_files(experiment, options)
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    return samples_at(experiment, files, order.tolist())


def samples_at(experiment: Experiment, files: PictureFiles, indices: Sequence[int]) -> LabelledImages:
    """The pictures at some indices, as the models see them; several are decoded at a time.

    Raises:
        ImageError: A picture cannot be read.
    """
    import torch

    from kdviz.data import LabelledImages
    from kdviz.data.pictures import room_for
    from kdviz.data.samples import as_pixels

    pixels = room_for((len(indices), experiment.input.channels, *experiment.input.size))

    def prepare(row: int) -> None:
        pixels[row] = as_pixels(experiment.input.transform(files.open(indices[row])))

    with ThreadPoolExecutor(min(_THREADS, cores())) as pool:
        try:
            deque(pool.map(prepare, range(len(indices))), maxlen=0)
        finally:
            pool.shutdown(cancel_futures=True)
    labels = torch.full((len(indices),), -1) if files.labels is None else files.labels[list(indices)]
    names = tuple(files.names[index] for index in indices)
    return LabelledImages(torch.from_numpy(pixels), labels, experiment.classes, files.split, names)


def study_samples(experiment: Experiment, options: Any) -> LabelledImages:
    """The pictures for a study of the given models: those of ``--data``, or those that are stored in the experiment.

    Raises:
        ExperimentError: The study is one that trains models.
        DatasetError: There are no pictures, or they have no labels.
    """
    if options.study != "models":
        require_trainable(experiment, f"study --study {options.study}")
    stored = stored_samples(experiment) if not options.data else None
    samples = stored or samples_of_files(experiment, options, options.images, options.seed)
    if bool((samples.labels < 0).any()):
        raise DatasetError(
            "A study of attention chooses its images by their labels, and these pictures have none; the app's page "
            "Compare shows their maps one by one."
        )
    if stored is not None and len(stored) < options.images and not options.minutes:
        kept = counted(len(stored), "picture")
        print(f"kdviz: what is kept is studied, {kept}; more with --data", file=sys.stderr)
    return samples
