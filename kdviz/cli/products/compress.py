"""kdviz compress: a smaller model from a model, as a run of its own, and what each step broke."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import (
    add_experiment,
    add_reader_options,
    at_least_one,
    at_least_zero,
    common,
    set_threads,
    splits_of,
    the_experiment,
    verb,
)
from kdviz.cli.common.progress import show_stages
from kdviz.cli.evaluate import margin
from kdviz.core.errors import SettingError
from kdviz.core.vocabulary import Role, Split
from kdviz.studies.compression.names import CHANNELS, DYNAMIC, INT4, INT8, PATTERNS, PRUNE, QAT, RANGES, SEED, STATIC

if TYPE_CHECKING:
    from kdviz.data import LabelledImages
    from kdviz.experiment import Experiment
    from kdviz.studies.compression.maps import PicturesWithLabels
    from kdviz.studies.compression.report import CompressionReport
    from kdviz.studies.compression.steps import Step

_GIVEN = ("epochs", "batch_size", "learning_rate", "optimizer", "temperature", "alpha", "seed")


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "compress",
        _compress,
        "Make a smaller model from one of an experiment, step by step (prune, train with int8 in mind, quantise); each "
        "step is a run of its own with its parent, and compression.parquet says what it cost and saved.",
        writes=the_experiment,
    )
    add_experiment(parser)
    parser.add_argument("--of", metavar="ROLE", default=str(Role.KD_STUDENT), help="the model to begin with")
    parser.add_argument("--as", dest="role", metavar="ROLE", default="", help="role of the last product")
    steps = parser.add_argument_group("steps, in this order")
    steps.add_argument(
        "--other-seed",
        action="store_true",
        help="train the same model anew with another seed, which tells what would change by chance; no other step",
    )
    steps.add_argument("--prune", metavar="F", type=float, help="share that is pruned, between 0 and 1")
    steps.add_argument(
        "--pattern",
        choices=PATTERNS,
        default=CHANNELS,
        help="what is pruned: channels, which makes file and operations smaller; single weights; or 2 of every 4",
    )
    steps.add_argument("--qat", action="store_true", help="train on while computing as int8 does; gives an int8 file")
    steps.add_argument(
        "--int8",
        nargs="?",
        choices=RANGES,
        const=STATIC,
        help="quantise without training, with ranges from pictures (static) or from each batch (dynamic); --qat "
        "already gives int8",
    )
    steps.add_argument(
        "--int4", action="store_true", help="quantise the weights of fully connected layers to 4 bits, without training"
    )
    steps.add_argument("--measure", action="store_true", help="make nothing; measure anew what was made of the model")
    _add_training(parser)
    parser.add_argument("--data", metavar="DIR", help="folder of the data; MNIST and torchvision's are downloaded")
    parser.add_argument(
        "--train-data",
        metavar="DIR",
        help="imported models: pictures that a step trains on (default: the folder train in --data)",
    )
    add_reader_options(parser)
    parser.add_argument(
        "--images", metavar="N", type=at_least_zero, default=100, help="test images whose maps are compared; 0: none"
    )
    parser.add_argument("--masks", metavar="N", type=at_least_one, default=1000, help="masks of each map")
    parser.add_argument(
        "--margin",
        type=margin,
        metavar="POINTS",
        default=0.5,
        help="points of accuracy within which two models count as equal",
    )
    common(parser)


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training after a step")
    group.add_argument(
        "--teacher",
        action=argparse.BooleanOptionalAction,
        help="whether the teacher takes part (default: if it did when the model was trained)",
    )
    group.add_argument("--epochs", type=at_least_one, help="default: the model's own; with --qat a quarter of them")
    group.add_argument("--batch-size", type=at_least_one, help="default: the model's own")
    group.add_argument("--learning-rate", type=float, help="default: the model's own; with --qat 0.0001")
    group.add_argument("--optimizer", metavar="NAME", help="default: the model's own; with --qat adam")
    group.add_argument("--temperature", metavar="T", type=float, help="default: the model's own")
    group.add_argument("--alpha", type=float, help="weight of the teacher, 0 to 1; default: the model's own")
    group.add_argument("--seed", type=int, help="default: the model's own; with --other-seed the next one")


def _compress(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment
    from kdviz.studies.compression.making import Making, make_run
    from kdviz.studies.compression.rows import descendants
    from kdviz.studies.compression.steps import plan_steps, step_config

    set_threads(options)
    experiment = load_experiment(options.experiment)
    steps = _steps(options)
    planned = plan_steps(experiment, options.of, steps, options.role) if steps else []
    made = [each.role for each in planned] or descendants(experiment, options.of)
    if not made:
        raise SettingError("Nothing was made of '{role}' yet that could be measured.", role=options.of)
    given = {name: getattr(options, name) for name in _GIVEN if getattr(options, name) is not None}
    for each in planned:
        if each.step.trains:  # what is wrong with the settings is said before any picture is read
            step_config(experiment.runs[options.of], each.step, given)
    splits, measured, evaluate = _pictures(experiment, options, trains=any(each.step.trains for each in planned))
    making = Making(experiment, splits, given, options.device, options.teacher)
    if planned:
        making.check(planned)
    for number, each in enumerate(planned, 1):
        show_stages(make_run(making, each, number, len(planned)))
        evaluate(each.role)
    _print(experiment, _measure(experiment, measured, options, made), options, made)


def _pictures(
    experiment: Experiment, options: argparse.Namespace, *, trains: bool
) -> tuple[dict[str, LabelledImages], PicturesWithLabels, Callable[[str], None]]:
    """The splits that steps train on, the samples that they are measured on, and what measures a run of a role."""
    if not experiment.is_imported:
        if options.train_data:
            raise SettingError("--train-data is for models that were trained elsewhere; leave it away.")
        splits = splits_of(experiment, options)
        evaluated = _evaluated(experiment, splits)
        return splits, splits[Split.TEST], lambda role: _evaluate(experiment, role, evaluated, options.device)
    from kdviz.cli.common.imported_pictures import measured_pictures, step_splits
    from kdviz.cli.evaluate import evaluate_picture_files

    measured = measured_pictures(experiment, options)
    splits = step_splits(experiment, measured, options, trains=trains) if not options.measure else {}
    return splits, measured, lambda role: evaluate_picture_files(experiment, measured.files, options.device)


def _steps(options: argparse.Namespace) -> list[Step]:
    from kdviz.studies.compression.steps import Step

    quantising = _quantising(options)
    compresses = options.prune is not None or bool(quantising)
    if options.other_seed:
        if compresses:
            options.wrong_usage("argument --other-seed: not allowed with --prune, --qat, --int8 or --int4")
        return [Step(SEED)]
    if options.measure:
        return []
    if not compresses:
        options.wrong_usage("one of --prune F, --qat, --int8, --int4, --other-seed and --measure is required")
    return ([] if options.prune is None else [Step(PRUNE, options.prune, options.pattern)]) + quantising


def _quantising(options: argparse.Namespace) -> list[Step]:
    """The step that gives a quantised file; the last one, since its layers cannot be changed any more."""
    from kdviz.studies.compression.steps import Step

    if options.int4 and (options.qat or options.int8):
        options.wrong_usage("argument --int4: not allowed with --qat or --int8")
    if options.qat and options.int8 == DYNAMIC:
        options.wrong_usage("argument --int8: with --qat the ranges are those of the training, not dynamic")
    if options.qat or options.int4:
        return [Step(QAT if options.qat else INT4)]
    return [Step(INT8, ranges=options.int8)] if options.int8 else []


def _evaluated(experiment: Experiment, splits: dict[str, LabelledImages]) -> list[LabelledImages]:
    """The samples that every run of the experiment is measured on."""
    from kdviz.data.registry import bundled_samples

    bundled = bundled_samples(experiment.dataset)
    fits = bundled is not None and bundled.images.shape[1:] == (experiment.input.channels, *experiment.input.size)
    more = [bundled] if fits and bundled is not None else []
    return [splits[Split.VALIDATION], splits[Split.TEST], *more]


def _evaluate(experiment: Experiment, role: str, splits: list[LabelledImages], device: str) -> None:
    from tqdm import tqdm

    from kdviz.studies.compression.evaluating import evaluate_run

    for samples in tqdm(splits, desc=f"evaluate {role}", unit="split", file=sys.stderr):
        evaluate_run(experiment, role, samples, device)


def _measure(
    experiment: Experiment, samples: PicturesWithLabels, options: argparse.Namespace, made: list[str]
) -> CompressionReport:
    """Compare the maps of what was made, write compression.parquet, and read it."""
    from tqdm import tqdm

    from kdviz.studies.compression.maps import compare_maps
    from kdviz.studies.compression.report import read_compression_report
    from kdviz.studies.compression.rows import compression_rows
    from kdviz.studies.compression.table import write_compression

    write_compression(experiment, compression_rows(experiment, {}))  # complete but for the maps, which take long
    maps: dict[str, Any] = {}
    count = min(options.images, len(samples))
    for role in made if count else ():
        steps = compare_maps(experiment, role, samples, count, options.masks, options.device)
        for columns in tqdm(steps, total=count, desc=f"maps {role}", unit="image", file=sys.stderr):
            maps[role] = columns
    write_compression(experiment, compression_rows(experiment, maps))
    report = read_compression_report(experiment)
    assert report is not None  # it was written just now
    return report


def _print(experiment: Experiment, report: CompressionReport, options: argparse.Namespace, made: list[str]) -> None:
    from kdviz.narrative.products.compression import compression_sentences, limit_sentences, run_sentences

    share = options.margin / 100
    if options.json:
        sentences = compression_sentences(report, share)
        document = {"experiment": str(experiment.folder), "made": made, **report.to_json(), "sentences": sentences}
        print(json.dumps(document, allow_nan=False))
        return
    print(f"{'model':28} {'step':14} {'MB':>7} {'MFLOP':>8} {'accuracy':>9} {'points':>7} {'fixed':>6} {'broken':>6}")
    for run in report.runs.values():
        row = run.row
        operations = "" if row["flops"] is None else f"{row['flops'] / 1e6:.2f}"
        print(
            f"{run.child:28} {run.step:14} {row['bytes'] / 1e6:>7.2f} {operations:>8} {row['accuracy']:>9.2%} "
            f"{100 * row['difference']:>+7.2f} {row['fixed']:>6} {row['broken']:>6}"
        )
    sentences = [sentence for role in made for sentence in run_sentences(report.runs[role], share)]
    print("\n".join([*sentences, *limit_sentences(report)]))
