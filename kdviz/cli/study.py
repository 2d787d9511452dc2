"""kdviz study: attention over a whole test set."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import (
    add_experiment,
    add_reader_options,
    at_least_one,
    at_least_zero,
    common,
    engine,
    numbers,
    schedule,
    seeds,
    set_threads,
    splits_of,
    verb,
)
from kdviz.cli.common.progress import show_stages
from kdviz.cli.common.study_results import print_estimate, print_report
from kdviz.cli.common.training_options import add_loss, add_recipe
from kdviz.cli.studies.regions import QUICK_MASKS, add_regions, study_regions
from kdviz.cli.studies.shifts import add_shifts, study_shifts
from kdviz.cli.studies.shortcuts import IMAGES, add_shortcuts, study_shortcuts
from kdviz.cli.studies.transfer import study_transfer
from kdviz.cli.studies.tree import TEMPERATURE, add_tree, study_tree

if TYPE_CHECKING:
    from kdviz.studies.attention import AttentionStudy, StudyModel

_IMAGES = 2000
_UNTIMED = {"shifts": study_shifts, "shortcuts": study_shortcuts, "transfer": study_transfer, "tree": study_tree}
"""Studies whose time is not known beforehand."""
_STUDIES = ["temperature", "alpha", "teacher-epochs", "loss", "models", "regions", *_UNTIMED]
_MAPS_SHARE = 0.6  # of the time of --minutes; the rest is for deletion and insertion


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "study",
        _study,
        "Maps of every model for many images: does the KD student look where its teacher looks, or at regions that "
        "people drew? Continues what was begun, and first trains the students whose weights are missing.",
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
        type=_minutes,
        help="as many images as fit into this time, at least 8 (with 1,000 masks)",
    )
    parser.add_argument("--split", default="test", help="of which images")
    parser.add_argument(
        "--study",
        choices=_STUDIES,
        default="temperature",
        help="whose students; models: the experiment's own three, without trainings; regions: whether its models look "
        "at the regions of --regions; shifts: whether they are right, and answer as the teacher does, on pictures with "
        "the shifts --values; shortcuts: whether they use a mark that was planted in training; transfer: which layers, "
        "confusions and errors of the teacher they have; tree: soft decision trees of the depths --values, with and "
        "without the teacher",
    )
    parser.add_argument("--values", type=numbers(str), help="of the study (default: those of its table)")
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


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


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
    _check_options(options)
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
    _study_attention(options)


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options of another study."""
    if (options.study == "regions") != bool(options.regions):
        options.wrong_usage("arguments --study regions and --regions: both or none")
    if options.study != "shortcuts" and (options.plant or options.into):
        options.wrong_usage("arguments --plant and --into: only with --study shortcuts")
    if options.study != "shifts" and (options.severities or options.null):
        options.wrong_usage("arguments --severities and --null: only with --study shifts")


def _study_attention(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment

    if options.minutes and options.method != "rise":
        options.wrong_usage("argument --minutes: only the time of RISE is known beforehand; use --images")
    set_threads(options)
    experiment = load_experiment(options.experiment)
    splits = _splits(experiment, options)
    if options.split not in splits:
        options.wrong_usage(f"argument --split: there are {', '.join(splits)}")
    models = _models(experiment, splits, options)
    if not models:
        return
    if options.minutes:
        _limit(experiment, models, len(splits[options.split]), options)
    study = _new_study(experiment, splits[options.split], models, options)
    if options.estimate:
        print_estimate(study.estimate(), options.json)
        return
    print(f"kdviz: {len(models)} models, maps in {study.store.url}", file=sys.stderr)
    _show(study.run(engine(options)))
    if options.faithfulness > 0 and options.method == "rise":
        _measure_faithfulness(study, options.faithfulness, options.minutes)
    _keep(experiment, splits[options.split])
    print_report(experiment, options.study, options.json)


def _one_method(options: argparse.Namespace) -> str:
    names = options.method or ["rise"]
    if len(names) > 1:
        options.wrong_usage("argument --method: only --study regions and shortcuts take several")
    return names[0]


def _limit(experiment: Any, models: list[StudyModel], available: int, options: argparse.Namespace) -> None:
    """Set the number of masks and of images to what fits into ``--minutes``, and say so."""
    from kdviz.studies.attention.budget import affordable_images

    options.masks = options.masks or QUICK_MASKS
    seconds = 60 * options.minutes * _MAPS_SHARE
    spec, classes = experiment.input, len(experiment.classes)
    images = affordable_images(models, spec, classes, options.masks, seconds, options.device)
    options.images = min(images, options.images, available)
    print(
        f"kdviz: {options.images} of {available} images with {options.masks:,} masks, for about {options.minutes:g} "
        f"minutes; more with: kdviz study -e {experiment.folder} --study {options.study} --images N",
        file=sys.stderr,
    )


def _splits(experiment: Any, options: argparse.Namespace) -> Any:
    """Split -> samples; of models that were trained elsewhere the one split that is known."""
    if not experiment.is_imported:
        return splits_of(experiment, options)
    from kdviz.cli.common.experiment_pictures import study_samples

    samples = study_samples(experiment, options)
    options.split = samples.split
    return {samples.split: samples}


def _new_study(experiment: Any, samples: Any, models: list[StudyModel], options: argparse.Namespace) -> AttentionStudy:
    from kdviz.saliency import methods
    from kdviz.studies.attention import AttentionStudy

    known = {setting.name for setting in methods[options.method].settings}
    settings: dict[str, Any] = {"n_masks": options.masks or 2000} if options.method == "rise" else {}
    settings |= {"seed": options.seed} if "seed" in known else {}
    settings |= {"baseline": options.baseline} if options.baseline else {}
    return AttentionStudy(
        experiment,
        samples,
        models,
        options.images,
        options.study,
        options.method,
        settings,
        options.results,
        options.device,
        options.threads or 0,
        options.chunk,
    )


def _models(experiment: Any, splits: Any, options: argparse.Namespace) -> list[StudyModel]:
    """The models of the study; with ``--estimate``, none while trainings are left."""
    from kdviz.studies.attention import own_models, shuffles, sweep_for

    seeds = list(dict.fromkeys(options.seeds))
    if options.study == "models":
        models = own_models(experiment)
        return models if options.no_controls else [*models, *shuffles(models[0], [0])]
    own = sweep_for(
        experiment, options.study, splits, options.values, seeds, _config(experiment, options), options.runs
    )
    sweeps = _sweeps(own, seeds, options)
    if not sweeps:
        return []
    last = max(sweeps[-1].seeds)  # seeds of second students are nobody else's
    second = [
        [] if options.no_controls else [last + 1 + len(seeds) * teacher + offset for offset in range(len(seeds))]
        for teacher in range(len(sweeps))
    ]
    for sweep, further in zip(sweeps, second, strict=True):
        if _train(sweep, further, options):
            return []
    return _all_models(sweeps, second, options)


def _sweeps(own: Any, seeds: list[int], options: argparse.Namespace) -> list[Any]:
    """The sweep of each teacher, the experiment's own first; with ``--estimate``, none while a teacher is untrained."""
    from kdviz.distill.storage.run_files import is_finished
    from kdviz.studies.attention import seeds_of_teacher, sweep_of_teacher, teacher_runs, train_teachers

    runs = teacher_runs(own, options.teachers - 1)
    left = sum(not is_finished(own.store, run) for run in runs)
    if left and options.estimate:
        who = "1 teacher is" if left == 1 else f"{left} teachers are"
        print(f"kdviz: {who} to be trained; estimate again then", file=sys.stderr)
        return []
    show_stages(train_teachers(own, runs, engine(options), threads=options.threads or 0))
    further = [sweep_of_teacher(own, run, seeds_of_teacher(seeds, number)) for number, run in enumerate(runs, 1)]
    return [own, *further]


def _all_models(sweeps: list[Any], second: list[list[int]], options: argparse.Namespace) -> list[StudyModel]:
    """Teachers first, then students, then shuffled teachers: one for each seed, or one for each of several teachers."""
    from kdviz.studies.attention import shuffles, swept_models

    models = [model for sweep, seeds in zip(sweeps, second, strict=True) for model in swept_models(sweep, seeds)]
    teachers = [model for model in models if model.role == "teacher"]
    models = [*teachers, *(model for model in models if model.role != "teacher")]
    if options.no_controls or options.study == "teacher-epochs":
        return models
    if len(teachers) == 1:
        return [*models, *shuffles(teachers[0], sweeps[0].seeds)]
    shuffled = [shuffles(teacher, [seed])[0] for seed, teacher in enumerate(teachers)]
    return [*models, *shuffled]


def _config(experiment: Any, options: argparse.Namespace) -> Any:
    from kdviz.cli.sweep import config_like

    return config_like(experiment, options)


def _train(sweep: Any, second: list[int], options: argparse.Namespace) -> bool:
    """Train what is missing; whether something is left, as with ``--estimate``."""
    stages = sweep.make_weights(second, engine(options), threads=options.threads or 0, estimate_only=options.estimate)
    first = next(stages, None)
    if first is None:
        return False
    show_stages([first])
    if options.estimate:
        print("kdviz: and then the maps; estimate again when the students are trained", file=sys.stderr)
        return True
    show_stages(stages)
    return False


def _show(states: Iterator[Any]) -> None:
    """A bar over the images."""
    from tqdm import tqdm

    state = next(states)
    with tqdm(total=state.images, desc="maps", unit="image", file=sys.stderr, initial=round(state.done)) as bar:
        for state in states:
            bar.update(round(state.done) - bar.n)


def _measure_faithfulness(study: AttentionStudy, count: int, minutes: float | None) -> None:
    from tqdm import tqdm

    from kdviz.studies.attention.faithfulness import run_faithfulness

    total = min(count, len(study.chosen.samples))
    with tqdm(total=total, desc="faithfulness", unit="image", file=sys.stderr) as bar:
        seconds = None if minutes is None else 60 * minutes * (1 - _MAPS_SHARE)
        for done in run_faithfulness(study, count, seconds):
            bar.update(done - bar.n)


def _keep(experiment: Any, samples: Any) -> None:
    """What is computed from agreement.parquet: the effects as a table, and the pictures that the page shows."""
    from kdviz.narrative.attention.document import EFFECTS, effects_table
    from kdviz.studies.attention.pictures import write_pictures
    from kdviz.studies.attention.statistics.likeness import read_likeness

    if read_likeness(experiment) is not None:
        return
    experiment.write_table(EFFECTS, effects_table(experiment))
    write_pictures(experiment, samples)
