"""kdviz sweep: studies of a setting of distillation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdviz.distill import TrainingConfig
    from kdviz.studies.sweep.runner import Study

from kdviz.cli.common.arguments import (
    add_experiment,
    add_reader_options,
    comma_list,
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
from kdviz.cli.common.training_options import OF_THE_RECIPE, add_loss, add_recipe, recipe
from kdviz.cli.evaluate import margin
from kdviz.core.vocabulary import Role

_STUDIES = ["temperature", "alpha", "teacher-epochs", "loss", "transfer-set"]


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "sweep",
        _sweep,
        "Train a student for each value and seed, and say what came out; continues what was begun.",
        writes=the_experiment,
    )
    parser.add_argument("study", choices=_STUDIES, help="what is varied")
    add_experiment(parser)
    parser.add_argument("--data", metavar="DIR", help="folder of the data; left away, MNIST is downloaded")
    add_reader_options(parser)
    parser.add_argument(
        "--values",
        type=comma_list(str),
        help="values, with commas between (default: the study's own); a loss may be followed by one between layers "
        "with its weight: dist + 10 attention_transfer",
    )
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="seeds, with commas between")
    parser.add_argument("--temperature", metavar="T", type=schedule, default=4.0, help="where it is not varied")
    parser.add_argument("--alpha", type=schedule, default=0.5, help="weight of the teacher, where it is not varied")
    add_recipe(parser)
    add_loss(parser)
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="this machine, or a Ray cluster")
    parser.add_argument(
        "--address", help="of the Ray cluster, e.g. ray://host:10001 or auto; left away, one is started"
    )
    parser.add_argument("--gpus", type=float, default=0.0, help="of one run on Ray; a share such as 0.25 is fine")
    parser.add_argument(
        "--results", metavar="DIR", help="folder or fsspec URL of the runs' files (default: runs/ beside)"
    )
    parser.add_argument("--estimate", action="store_true", help="only say what the study would cost")
    parser.add_argument(
        "--margin",
        metavar="POINTS",
        type=margin,
        default=0.5,
        help="points of accuracy within which two models count as equal",
    )
    parser.add_argument("--tensorboard", metavar="DIR", help="also write the curves as TensorBoard event files")
    common(parser)


def _sweep(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment
    from kdviz.studies.sweep.runner import STUDIES, Sweep

    study = STUDIES[options.study]
    values = given_values(study, options) or study.values()
    set_threads(options)
    experiment = load_experiment(options.experiment)
    require_trainable(experiment, "sweep")
    config = config_like(experiment, options)  # what is wrong with it is said before any picture is read
    sweep = Sweep(
        experiment,
        options.study,
        splits_of(experiment, options),
        values,
        options.seeds,
        config,
        results=options.results,
    )
    local = options.engine == "local"
    events = sweep.run(
        engine(options),
        threads=options.threads or 0,
        estimate=local or options.estimate,
        estimate_only=options.estimate,
    )
    show_stages(events)
    if options.estimate:
        return
    if options.tensorboard:
        from kdviz.studies.sweep.export import write_events

        write_events(experiment, study.table, options.tensorboard)
    _print_study(experiment, options.study, options.json, options.margin / 100)


def given_values(study: Study, options: argparse.Namespace) -> Sequence[Any] | None:
    """The values of the option, None without it; a value of another type is reported as wrong usage."""
    if options.values is None:
        return None
    try:
        return [study.parse(text) for text in options.values]
    except ValueError:
        options.wrong_usage(f"argument --values: invalid values for {study.column}: {','.join(options.values)}")
        raise


def config_like(experiment: Any, options: argparse.Namespace) -> TrainingConfig:
    """The configuration of a study's students: that of the experiment's KD student unless options say otherwise."""
    run = experiment.runs.get(Role.KD_STUDENT)
    training = run.training if run else {}
    if options.augment == "":  # no changed copies, so no views of them
        options.views = options.views or 0
    for name in ("epochs", "batch_size", *OF_THE_RECIPE):
        if getattr(options, name) is None:
            setattr(options, name, training.get(name))
    if options.transfer_set is None:
        options.transfer_set = training.get("transfer_set")
        options.transfer_steps = options.transfer_steps or training.get("transfer_steps", 0)
    return recipe(options, experiment.dataset, trainable=str(training.get("unfreeze", "all")))


def _print_study(experiment: Any, name: str, as_json: bool, margin: float) -> None:
    from kdviz.narrative.other_data.transfer_sets import transfer_set_sentences
    from kdviz.narrative.sweeps import document as verdict_document
    from kdviz.narrative.sweeps import sentences
    from kdviz.studies.attention.statistics.agreements import value_text
    from kdviz.studies.sweep.kinds import TRANSFER_SET
    from kdviz.studies.sweep.runner import STUDIES, summary
    from kdviz.studies.sweep.transfer_values import transfer_values
    from kdviz.studies.sweep.verdict import verdict

    study = STUDIES[name]
    table = experiment.table(study.table)
    rows = summary(table, name)
    outcome = verdict(table, experiment.table("study_predictions"), name, margin=margin)
    sets = transfer_values(table, experiment.table("study_predictions")) if name == TRANSFER_SET else []
    further = transfer_set_sentences(sets)
    if as_json:
        verdict_json = None if outcome is None else verdict_document(outcome)
        document = {"experiment": str(experiment.folder), "study": name, "test": rows, "verdict": verdict_json}
        document |= {"transfer_sets": further} if further else {}
        print(json.dumps(document))
        return
    values = [value_text(row["value"]) for row in rows]
    width = max([18, *map(len, values)])
    titles = f"{'seeds':>5} {'accuracy':>9} {'spread':>8} {'F1':>7} {'ECE':>7} {'inherited':>9}"
    print(f"{'':12} {study.unit:>{width}} {titles}")
    for row, value in zip(rows, values, strict=True):
        spread = "" if row["accuracy_sd"] is None else f"{row['accuracy_sd']:.2%}"
        inherited = "" if row["inherited_errors"] is None else f"{row['inherited_errors']:.1%}"
        cells = f"{row['accuracy']:>9.2%} {spread:>8} {row['f1']:>7.4f} {row['ece']:>7.4f} {inherited:>9}"
        print(f"{row['role']:12} {value:>{width}} {row['seeds']:>5} {cells}")
    for sentence in (*(sentences(outcome) if outcome else ()), *further):
        print(sentence)
