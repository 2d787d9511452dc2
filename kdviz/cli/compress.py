"""kdviz compress: a smaller model from a model, as a run of its own, and what each step broke."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import (
    add_experiment,
    add_reader_options,
    at_least_one,
    at_least_zero,
    common,
    set_threads,
    splits_of,
    verb,
)
from kdviz.cli.common.experiment_pictures import require_trainable
from kdviz.cli.common.progress import show_stages
from kdviz.core.vocabulary import Role, Split

if TYPE_CHECKING:
    from kdviz.data import LabelledImages
    from kdviz.experiment import Experiment
    from kdviz.studies.compression.steps import Step

PATTERNS, RANGES = ("channels", "weights", "2:4"), ("static", "dynamic")
_GIVEN = ("epochs", "batch_size", "learning_rate", "optimizer", "temperature", "alpha", "seed")


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "compress",
        _compress,
        "Make a smaller model from one of an experiment, step by step (prune, train with int8 in mind, quantise); each "
        "step is a run of its own with its parent, and compression.parquet says what it cost and saved.",
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
        default=PATTERNS[0],
        help="what is pruned: channels, which makes file and operations smaller; single weights; or 2 of every 4",
    )
    steps.add_argument("--qat", action="store_true", help="train on while computing as int8 does; gives an int8 file")
    steps.add_argument(
        "--int8",
        nargs="?",
        choices=RANGES,
        const=RANGES[0],
        help="quantise without training, with ranges from pictures (static) or from each batch (dynamic); --qat "
        "already gives int8",
    )
    _add_training(parser)
    parser.add_argument("--data", metavar="DIR", help="folder of the data; MNIST and torchvision's are downloaded")
    add_reader_options(parser)
    parser.add_argument(
        "--images", metavar="N", type=at_least_zero, default=100, help="test images whose maps are compared; 0: none"
    )
    parser.add_argument("--masks", metavar="N", type=at_least_one, default=1000, help="masks of each map")
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
    from kdviz.studies.compression.steps import plan_steps

    set_threads(options)
    experiment = load_experiment(options.experiment)
    require_trainable(experiment, "compress")
    planned = plan_steps(experiment, options.of, _steps(options), options.role)
    splits = splits_of(experiment, options)
    given = {name: getattr(options, name) for name in _GIVEN if getattr(options, name) is not None}
    making = Making(experiment, splits, given, options.device, options.teacher)
    making.check(planned)
    evaluated = _evaluated(experiment, splits)
    for number, each in enumerate(planned, 1):
        show_stages(make_run(making, each, number, len(planned)))
        _evaluate(experiment, each.role, evaluated, options.device)
    _report(experiment, splits[Split.TEST], options, [each.role for each in planned])


def _steps(options: argparse.Namespace) -> list[Step]:
    from kdviz.studies.compression.steps import INT8, PRUNE, QAT, SEED, Step

    compresses = options.prune is not None or options.qat or options.int8
    if options.other_seed:
        if compresses:
            options.wrong_usage("argument --other-seed: not allowed with --prune, --qat or --int8")
        return [Step(SEED)]
    if not compresses:
        options.wrong_usage("one of --prune F, --qat, --int8 and --other-seed is required")
    steps = [] if options.prune is None else [Step(PRUNE, options.prune, options.pattern)]
    if options.qat:
        if options.int8 == RANGES[1]:
            options.wrong_usage("argument --int8: with --qat the ranges are those of the training, not dynamic")
        return [*steps, Step(QAT)]
    return [*steps, Step(INT8, ranges=options.int8)] if options.int8 else steps


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


def _report(experiment: Experiment, samples: LabelledImages, options: argparse.Namespace, made: list[str]) -> None:
    print(json.dumps({role: experiment.runs[role].metrics for role in made}))
