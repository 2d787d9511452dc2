"""kdviz get: the pictures of an experiment that is passed on without them."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import SettingError
from kdviz.core.texts.counted import counted

if TYPE_CHECKING:
    from kdviz.experiment import Experiment
    from kdviz.experiment.fetching import FetchedPictures

from kdviz.cli.common.arguments import add_reader_options, at_least_one, splits_of, the_experiment, verb


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "get",
        _get,
        "Get the pictures of an experiment that comes without them, so that the app shows them.",
        writes=lambda options: the_experiment(options) if options.record else None,
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", help="folder of the experiment, or its name in models/")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder that has them already, one folder a class, inside test/ or without it; or torchvision's folder; "
        "left away, they are downloaded into the user's cache",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    group = parser.add_argument_group("for those who pass an experiment on without its pictures")
    group.add_argument(
        "--record",
        metavar="DATASET",
        help="note in the experiment where others get its test pictures, such as torchvision/CIFAR10, and by which "
        "fingerprints they are recognised; with --data as for kdviz evaluate",
    )
    group.add_argument("--megabytes", metavar="N", type=at_least_one, default=0, help="size of the download")
    group.add_argument(
        "--jpeg-quality",
        metavar="Q",
        type=at_least_one,
        default=0,
        help="the pictures in --data are copies as JPEG of this quality; those that others get are copied likewise",
    )
    add_reader_options(group)


def _get(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment
    from kdviz.experiment.fetching import fetch_pictures, fetched

    experiment = load_experiment(options.experiment)
    if options.record:
        _record(experiment, options)
        return
    pictures = None if options.data else fetched(experiment)
    if pictures is not None:
        _say(options, experiment, pictures, is_new=False)
        return
    _say(options, experiment, fetch_pictures(experiment, options.data), is_new=True)


def _say(options: argparse.Namespace, experiment: Experiment, pictures: FetchedPictures, *, is_new: bool) -> None:
    if options.json:
        document = {"experiment": str(experiment.folder), "samples": pictures.samples, "kept": pictures.kept}
        document |= {"file": str(pictures.path), "fetched": is_new} | ({"exact": pictures.exact} if is_new else {})
        print(json.dumps(document))
        return
    count = f"{pictures.kept:,} of {counted(pictures.samples, f'{pictures.split} picture')}"
    verb = "is" if pictures.kept == 1 else "are"
    if not is_new:
        print(f"{count} {verb} in '{pictures.path}' already.")
        return
    print(f"{count} {verb} in '{pictures.path}' now; {_exactness(pictures)}")


def _exactness(pictures: FetchedPictures) -> str:
    if pictures.exact == pictures.kept:
        return "pixel for pixel those on which the models were measured."
    others = pictures.kept - pictures.exact
    verb = "differs" if others == 1 else "differ"
    return f"{others:,} {verb} in some pixels from those on which the models were measured, as copies do."


def _record(experiment: Experiment, options: argparse.Namespace) -> None:
    from kdviz.core.vocabulary import Split
    from kdviz.data.registry import find_dataset
    from kdviz.experiment.fetching import record_pictures
    from kdviz.experiment.picture_source import PictureSource

    if not options.data:
        raise SettingError("--record needs --data: the folder of the pictures on which the models were measured.")
    if options.jpeg_quality > 100:
        raise SettingError("The quality of JPEG goes to 100, got {quality}.", quality=options.jpeg_quality)
    dataset = find_dataset(options.record)
    site = dataset.site() if dataset.site is not None else ""
    samples = splits_of(experiment, options)[Split.TEST]
    _require_labels(experiment, samples)
    source = PictureSource(options.record, samples.split, site, options.megabytes, options.jpeg_quality)
    recorded = record_pictures(experiment, samples, source)
    recorded.write_samples([samples])
    print(f"The fingerprints of {counted(len(samples), f'{samples.split} picture')} are in '{experiment.folder}'.")
    print(f"Others get the pictures with: kdviz get {experiment.name}; samples.parquet has them: do not pass it on.")


def _require_labels(experiment: Experiment, samples: Any) -> None:
    """Refuse pictures that are not those of the predictions.

    Raises:
        SettingError: They are others, or in another order.
    """
    import numpy as np

    from kdviz.studies.predictions.mistakes import read_predictions

    if experiment.has_table("predictions"):
        predictions = read_predictions(experiment.table("predictions"), samples.split)
        if not np.array_equal(predictions.labels, samples.labels.numpy()):
            raise SettingError("The predictions are of other pictures than those in --data; name the same folder.")
