"""kdviz study --study tree: soft decision trees with and without the teacher, against depth."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import at_least_one, engine, set_threads, splits_of
from kdviz.cli.common.progress import show_stages

if TYPE_CHECKING:
    from kdviz.data import LabelledImages
    from kdviz.distill import TrainingConfig
    from kdviz.experiment import Experiment
    from kdviz.studies.tree import TreeReport
    from kdviz.studies.tree.report import Comparison, ModelFigures

TEMPERATURE = 1.0
"""That of the paper. Validation on MNIST, depth 8: 96.8 % at T = 1, 95.6 % at T = 4."""

RECIPE: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 256,
    "learning_rate": 0.01,
    "learning_rate_schedule": "cosine",
    "optimizer": "adam",
    "weight_decay": 0.0,
    "augment": "",
    "views": 0,
}
"""The recipe of trees, where no option says otherwise."""


def add_tree(parser: argparse.ArgumentParser) -> None:
    """The options of the study of trees."""
    group = parser.add_argument_group("tree")
    group.add_argument(
        "--backbone",
        metavar="ROLE",
        default="",
        help="model whose features the trees take, frozen (default: none, the pixels)",
    )
    group.add_argument(
        "--train-samples", metavar="N", type=at_least_one, default=0, help="train on N samples only (default: all)"
    )


def study_tree(options: argparse.Namespace) -> None:
    """Train the trees that are missing, and print what came out."""
    from kdviz.cli.common.experiment_pictures import require_trainable
    from kdviz.experiment import load_experiment
    from kdviz.models.networks import DEPTHS
    from kdviz.studies.tree import TreeStudy, read_tree_report

    set_threads(options)
    experiment = load_experiment(options.experiment)
    require_trainable(experiment, "study")
    depths, config = _depths(options) or DEPTHS, _config(experiment, options)  # before any picture is read
    study = TreeStudy(
        experiment,
        _splits(experiment, options),
        depths,
        options.seeds,
        config,
        options.runs or options.results,
        options.backbone,
        options.train_samples,
    )
    show_stages(study.run(engine(options), threads=options.threads or 0))
    report = read_tree_report(experiment)
    assert report is not None  # it was written just now
    _print(experiment, report, options.json)


def _splits(experiment: Experiment, options: argparse.Namespace) -> dict[str, LabelledImages]:
    """The splits of the data set, and the samples that kdviz brings of it, which the page shows."""
    from kdviz.data.registry import bundled_samples

    splits = dict(splits_of(experiment, options))
    bundled = bundled_samples(experiment.dataset)
    if bundled is None or bundled.images.shape[1:] != (experiment.input.channels, *experiment.input.size):
        return splits
    return {**splits, bundled.split: bundled}


def _depths(options: argparse.Namespace) -> list[int]:
    try:
        return [int(text) for text in options.values or ()]
    except ValueError:
        options.wrong_usage(f"argument --values: depths are whole numbers, got {','.join(options.values)}")
        raise


def _config(experiment: Experiment, options: argparse.Namespace) -> TrainingConfig:
    """The recipe of trees, with the options that were given."""
    from kdviz.cli.common.training_options import recipe

    for name, value in RECIPE.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return replace(recipe(options, experiment.dataset), trainable="all")


# results --------------------------------------------------------------------------------------------------------------


def _print(experiment: Experiment, report: TreeReport, as_json: bool) -> None:
    from kdviz.narrative.tree import tree_sentences

    sentences = tree_sentences(report)
    if as_json:
        document = {"experiment": str(experiment.folder), **report.to_json(), "sentences": sentences}
        print(json.dumps(document, allow_nan=False))
        return
    print(f"{'depth':>6} {'teacher':>8} {'accuracy':>9} {'spread':>8} {'agrees':>8} {'log-loss':>9} {'path':>8}")
    for comparison in (*report.trees, *filter(None, [report.linear])):
        for figures, teacher in ((comparison.kd, "with"), (comparison.alone, "without")):
            _print_figures(figures, teacher)
        _print_difference(comparison)
    print("\n".join(sentences))


def _print_figures(figures: ModelFigures, teacher: str) -> None:
    means, depth = figures.means, "linear" if figures.depth is None else figures.depth
    spread = f"{figures.spread:.2%}" if figures.spread == figures.spread else ""
    path = f"{means['path_accuracy']:.2%}" if means["path_accuracy"] == means["path_accuracy"] else ""
    print(
        f"{depth:>6} {teacher:>8} {figures.accuracy:>9.2%} {spread:>8} {means['same_as_teacher']:>8.2%} "
        f"{means['loss']:>9.4f} {path:>8}"
    )


def _print_difference(comparison: Comparison) -> None:
    from kdviz.studies.comparison.judgement import points_interval

    value, low, high = points_interval(comparison.accuracy.value, comparison.low, comparison.high)
    print(f"{'':>6} {'less':>8} {value} points [{low}, {high}]")
