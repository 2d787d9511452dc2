"""kdviz study: attention over a whole test set."""

from __future__ import annotations

import argparse
from typing import Any

from kdviz.cli.common.arguments import (
    above_zero,
    add_experiment,
    add_reader_options,
    at_least_one,
    at_least_zero,
    comma_list,
    common,
    experiment_folder,
    schedule,
    seeds,
    the_experiment,
    verb,
)
from kdviz.cli.common.training_options import add_loss, add_recipe
from kdviz.cli.studies.attention import study_attention
from kdviz.cli.studies.loss_shifts import study_loss_shifts
from kdviz.cli.studies.regions import add_regions, study_regions
from kdviz.cli.studies.shifts import add_shifts, study_shifts
from kdviz.cli.studies.shortcuts import IMAGES, add_shortcuts, study_shortcuts
from kdviz.cli.studies.transfer import study_transfer
from kdviz.cli.studies.tree import TEMPERATURE, add_tree, study_tree

_IMAGES = 2000
_UNTIMED = {
    "shifts": study_shifts,
    "loss-shifts": study_loss_shifts,
    "shortcuts": study_shortcuts,
    "transfer": study_transfer,
    "tree": study_tree,
}
"""Studies whose time is not known beforehand."""
_STUDIES = ["temperature", "alpha", "teacher-epochs", "loss", "models", "regions", *_UNTIMED]


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "study",
        _study,
        "Maps of every model for many images: does the KD student look where its teacher looks, or at regions that "
        "people drew? Continues what was begun, and first trains the students whose weights are missing.",
        writes=_written,
    )
    add_experiment(parser)
    parser.add_argument("--data", metavar="DIR", help="folder of the data; left away, MNIST is downloaded")
    add_reader_options(parser)
    parser.add_argument(
        "--images", metavar="N", type=at_least_one, help="images, stratified (default 2000; shortcuts: 200)"
    )
    parser.add_argument(
        "--minutes",
        metavar="M",
        type=above_zero,
        help="as many images as fit into this time, at least 8 (with 1,000 masks)",
    )
    parser.add_argument("--split", default="test", help="of which images")
    parser.add_argument(
        "--study",
        choices=_STUDIES,
        default="temperature",
        help="whose students; models: the experiment's own three, without trainings; regions: whether its models look "
        "at the regions of --regions; shifts: whether they are right, and answer as the teacher does, on pictures with "
        "the shifts --values; loss-shifts: the same of a sweep's students, by loss; shortcuts: whether they use a mark "
        "that was planted in training; transfer: which layers, confusions and errors of the teacher they have; tree: "
        "soft decision trees of the depths --values, with and without the teacher",
    )
    parser.add_argument("--values", type=comma_list(str), help="of the study (default: those of its table)")
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="seeds, with commas between")
    parser.add_argument(
        "--teachers",
        metavar="N",
        type=at_least_one,
        default=1,
        help="with further teachers, from the next seeds, and as many students of each",
    )
    parser.add_argument("--no-controls", action="store_true", help="no second students and no shuffled teachers")
    _add_maps(parser)
    add_regions(parser)
    add_shifts(parser)
    add_shortcuts(parser)
    add_tree(parser)
    parser.add_argument("--faithfulness", metavar="N", type=int, default=200, help="images for insertion and deletion")
    parser.add_argument(
        "--temperature", metavar="T", type=schedule, help="where it is not varied (default: 4; of trees: 1)"
    )
    parser.add_argument("--alpha", type=schedule, default=0.5, help="weight of the teacher, where it is not varied")
    add_recipe(parser)
    add_loss(parser)
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="this machine, or a Ray cluster")
    parser.add_argument("--address", help="of the Ray cluster, e.g. auto; left away, one is started")
    parser.add_argument("--gpus", type=float, default=0.0, help="of one group of images on Ray")
    parser.add_argument("--results", metavar="DIR", help="folder or URL of the maps (default: study/ beside)")
    parser.add_argument("--runs", metavar="DIR", help="folder or URL of the trainings (default: runs/ beside)")
    parser.add_argument("--estimate", action="store_true", help="only say what the study would cost")
    common(parser)


def _written(options: argparse.Namespace) -> list[str]:
    """The experiment's folder, and that of ``--into``."""
    into = experiment_folder(options.into) if options.into and not options.estimate else None
    return [folder for folder in (the_experiment(options), into) if folder is not None]


def _add_maps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method", action="append", help="see: kdviz list methods (default: rise); regions, shortcuts: once for each"
    )
    parser.add_argument("--masks", type=at_least_one, metavar="N", help="rise: random masks of a group (default 2000)")
    parser.add_argument("--baseline", help="what a removed pixel becomes (default: black)")
    parser.add_argument("--seed", type=at_least_zero, default=0, help="of the choice of images, and of masks")
    parser.add_argument(
        "--chunk", type=at_least_one, metavar="N", help="masked images in a forward pass (default: the fastest)"
    )


def _study(options: argparse.Namespace) -> None:
    from kdviz.experiment.baselines import require_baseline
    from kdviz.explanation.methods import methods

    _check_options(options)
    for name in options.method or ():
        _ = methods[name]  # an error before any picture is read
    if options.baseline is not None:
        require_baseline(options.baseline)
    if options.temperature is None:
        options.temperature = TEMPERATURE if options.study == "tree" else 4.0
    options.images = options.images or (IMAGES if options.study == "shortcuts" else _IMAGES)
    if options.study == "regions":
        if options.estimate:
            options.wrong_usage("argument --estimate: not with --study regions; try it with --images 4")
        study_regions(options)
        return
    if options.study in _UNTIMED:
        if options.estimate or options.minutes:
            options.wrong_usage(
                f"arguments --estimate and --minutes: not with --study {options.study}; try it with --images 5"
            )
        _UNTIMED[options.study](options)
        return
    options.method = _one_method(options)
    study_attention(options)


def _one_method(options: argparse.Namespace) -> str:
    names = options.method or ["rise"]
    if len(names) > 1:
        options.wrong_usage("argument --method: only --study regions and shortcuts take several")
    return names[0]


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options of another study."""
    if (options.study == "regions") != bool(options.regions):
        options.wrong_usage("arguments --study regions and --regions: both or none")
    if options.study != "shortcuts" and (options.plant or options.into):
        options.wrong_usage("arguments --plant and --into: only with --study shortcuts")
    if options.study not in ("shifts", "loss-shifts") and options.severities:
        options.wrong_usage("argument --severities: only with --study shifts and loss-shifts")
    if options.study != "shifts" and options.null:
        options.wrong_usage("argument --null: only with --study shifts")
