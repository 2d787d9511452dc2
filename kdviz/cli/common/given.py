"""What commands do with an experiment whose models were trained elsewhere: its pictures, its limits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import DatasetError, ExperimentError, KdvizError

if TYPE_CHECKING:
    from kdviz.data import LabelledImages
    from kdviz.data.picture_files import PictureFiles
    from kdviz.experiment import Experiment


def require_trainable(experiment: Experiment, verb: str) -> None:
    """Raises:
    ExperimentError: Its models were trained elsewhere.
    """
    if experiment.is_imported:
        raise ExperimentError(
            f"'{experiment.folder}' holds models that were trained elsewhere, and kdviz {verb} trains models, which it "
            "can only do like its own; compare the given models with: "
            f"kdviz study --study models -e {experiment.folder}"
        )


def require_replaceable(out: str) -> None:
    """Raises:
    ExperimentError: The folder holds an experiment of imported models, which training would replace.
    """
    from kdviz.experiment import load_experiment

    try:
        experiment = load_experiment(Path(out).resolve())
    except KdvizError:
        return
    if experiment.is_imported:
        raise ExperimentError(f"'{out}' holds models that were trained elsewhere; choose another folder with --out.")


def stored_samples(experiment: Experiment) -> LabelledImages:
    """The pictures that an experiment keeps, of the first split that has some.

    Raises:
        DatasetError: It keeps none.
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
        every = torch.arange(len(stored))
        return LabelledImages(stored.images(every), stored.labels, stored.classes, split, stored.names)
    hint = "import it again with --data" if experiment.is_imported else "name the data's folder with --data"
    raise DatasetError(f"'{experiment.folder}' keeps no pictures of its data; {hint}.")


def picture_files(experiment: Experiment, data: str) -> PictureFiles:
    """Pictures in files, with the experiment's classes.

    Raises:
        DatasetError: They cannot be used.
    """
    from kdviz.data.labels.class_names import read_classes
    from kdviz.data.picture_files import read_picture_files

    return read_picture_files(data, classes=read_classes(list(experiment.classes)))


def samples_of_files(experiment: Experiment, data: str, most: int, seed: int = 0) -> LabelledImages:
    """At most so many pictures of a folder or CSV, by chance, as the experiment's common picture.

    Raises:
        DatasetError: They cannot be used.
    """
    import torch

    from kdviz.data import LabelledImages
    from kdviz.data.samples import as_pixels

    files = picture_files(experiment, data)
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    pictures = [torch.from_numpy(as_pixels(experiment.input.transform(files.open(one)))) for one in order.tolist()]
    labels = torch.full((len(order),), -1) if files.labels is None else files.labels[order]
    names = tuple(files.names[one] for one in order.tolist())
    return LabelledImages(torch.stack(pictures), labels, experiment.classes, files.split, names)


def study_samples(experiment: Experiment, options: Any) -> LabelledImages:
    """Pictures for a study of the given models: those of ``--data``, or those that the experiment keeps.

    Raises:
        ExperimentError: Another study is asked for, which trains models.
        DatasetError: There are no pictures, or they have no labels.
    """
    if options.study != "models":
        require_trainable(experiment, f"study --study {options.study}")
    kept = stored_samples(experiment) if not options.data else None
    samples = kept or samples_of_files(experiment, options.data, options.images, options.seed)
    if bool((samples.labels < 0).any()):
        raise DatasetError(
            "A study of attention chooses its images by their labels, and these pictures have none; the app's page "
            "Compare shows their maps one by one."
        )
    if kept is not None and len(kept) < options.images and not options.minutes:
        print(f"kdviz: the {len(kept)} pictures that are kept are studied; more with --data", file=sys.stderr)
    return samples
