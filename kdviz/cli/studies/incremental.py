"""kdviz incremental: new classes for a network that knows others."""

from __future__ import annotations

import argparse
import json
from typing import Any

from kdviz.cli.common.arguments import (
    add_experiment,
    add_reader_options,
    at_least_one,
    common,
    schedule,
    seeds,
    set_threads,
    splits_of,
    the_experiment,
    verb,
)
from kdviz.cli.common.experiment_pictures import require_trainable
from kdviz.cli.common.progress import show_stages
from kdviz.cli.common.training_options import add_recipe, set_usual_loss


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "incremental",
        _incremental,
        "Teach a network new classes without the pictures of those that it knows: learning without forgetting, beside "
        "fine-tuning.",
        writes=the_experiment,
    )
    add_experiment(parser)
    parser.add_argument("--data", metavar="DIR", help="folder of the data; left away, MNIST is downloaded")
    add_reader_options(parser)
    parser.add_argument(
        "--old-classes", metavar="N", type=at_least_one, help="the first N are known already (default: half of them)"
    )
    parser.add_argument(
        "--new-teacher",
        metavar="NETWORK",
        help="also train a network of this name on the new classes' pictures, and learn from its answers (default: "
        "from labels alone)",
    )
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="seeds, with commas between")
    parser.add_argument("--temperature", metavar="T", type=schedule, default=2.0, help="of the answers that are kept")
    parser.add_argument("--alpha", type=schedule, default=0.5, help="weight of these answers against the new labels")
    add_recipe(parser)
    set_usual_loss(parser)
    common(parser)


def _incremental(options: argparse.Namespace) -> None:
    from kdviz.cli.sweep import config_like
    from kdviz.experiment import load_experiment
    from kdviz.studies.incremental import IncrementalStudy, read_incremental_report

    set_threads(options)
    experiment = load_experiment(options.experiment)
    require_trainable(experiment, "incremental")
    old = options.old_classes or max(2, len(experiment.classes) // 2)
    config = config_like(experiment, options)
    splits = splits_of(experiment, options)
    study = IncrementalStudy(experiment, splits, old, options.seeds, config, options.new_teacher)
    show_stages(study.run())
    report = read_incremental_report(experiment)
    assert report is not None  # it was written just now
    _print(experiment, report, options.json)


def _print(experiment: Any, report: Any, as_json: bool) -> None:
    from dataclasses import asdict

    from kdviz.narrative.other_data.incremental import incremental_rows, incremental_sentences
    from kdviz.studies.json_values import finite

    sentences = incremental_sentences(report)
    if as_json:
        document = {"experiment": str(experiment.folder), **finite(asdict(report)), "sentences": sentences}
        print(json.dumps(document, allow_nan=False))
        return
    old = f"{report.old_classes} old"
    print(f"{'':20} {old:>9} {'new':>9} {'all':>9}   (old and new: told which)")
    for method, *accuracies in incremental_rows(report):
        print(f"{method:20} " + " ".join(f"{accuracy:>9}" for accuracy in accuracies))
    print("\n".join(sentences))
