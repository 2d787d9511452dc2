"""kdviz federated: clients that share answers about public pictures."""

from __future__ import annotations

import argparse
import json
from typing import Any

from kdviz.cli.common.arguments import (
    add_experiment,
    add_reader_options,
    at_least_one,
    common,
    engine,
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
from kdviz.core.texts.counted import counted


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "federated",
        _federated,
        "Clients with their own pictures share only answers about public ones (FedMD), beside the same clients alone.",
        writes=the_experiment,
    )
    add_experiment(parser)
    parser.add_argument("--data", metavar="DIR", help="folder of the data; left away, MNIST is downloaded")
    add_reader_options(parser)
    parser.add_argument("--clients", metavar="N", type=at_least_one, default=5, help="number of clients")
    parser.add_argument(
        "--concentration", metavar="C", type=float, default=0.3, help="of the classes' shares: small, few classes each"
    )
    parser.add_argument("--rounds", metavar="N", type=at_least_one, default=3, help="times that answers are shared")
    parser.add_argument("--public", metavar="N", type=at_least_one, default=2000, help="pictures that all see")
    parser.add_argument(
        "--private",
        metavar="N",
        type=at_least_one,
        default=0,
        help="labelled pictures of all clients (default: the rest)",
    )
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="seeds, with commas between")
    parser.add_argument("--temperature", metavar="T", type=schedule, default=4.0, help="of the shared answers")
    add_recipe(parser)
    set_usual_loss(parser)
    parser.set_defaults(alpha=0.5)
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="this machine, or a Ray cluster")
    parser.add_argument("--address", help="of the Ray cluster, e.g. auto; left away, one is started")
    parser.add_argument("--gpus", type=float, default=0.0, help="of one client on Ray")
    parser.add_argument("--results", metavar="DIR", help="folder or URL of the clients' files (default: runs/ beside)")
    common(parser)


def _federated(options: argparse.Namespace) -> None:
    from kdviz.cli.sweep import config_like
    from kdviz.experiment import load_experiment
    from kdviz.studies.federated import FederatedStudy, read_federated_report

    options.epochs = options.epochs or 2
    set_threads(options)
    experiment = load_experiment(options.experiment)
    require_trainable(experiment, "federated")
    config = config_like(experiment, options)  # what is wrong with it is said before any picture is read
    study = FederatedStudy(
        experiment,
        splits_of(experiment, options),
        options.clients,
        options.concentration,
        options.rounds,
        options.public,
        options.private,
        options.seeds,
        config,
        options.results,
    )
    show_stages(study.run(engine(options), threads=options.threads or 0))
    report = read_federated_report(experiment)
    assert report is not None  # it was written just now
    _print(experiment, report, options.json)


def _print(experiment: Any, report: Any, as_json: bool) -> None:
    from dataclasses import asdict

    from kdviz.narrative.other_data.federated import federated_sentences
    from kdviz.studies.json_values import finite

    sentences = federated_sentences(report)
    if as_json:
        document = {"experiment": str(experiment.folder), **finite(asdict(report)), "sentences": sentences}
        print(json.dumps(document, allow_nan=False))
        return
    clients, seeds_text = counted(report.clients, "client"), counted(report.seeds, "seed")
    print(f"{clients}, concentration {report.concentration:g}, {seeds_text}")
    for name in ("fedmd", "alone", "central"):
        print(f"{name:10} {getattr(report, name):>9.2%}")
    print("\n".join(sentences))
