"""kdviz tune: a search for a recipe of distillation, on validation only, and the winner's test with new seeds."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import (
    above_zero,
    add_experiment,
    add_reader_options,
    at_least_one,
    comma_list,
    common,
    engine,
    names,
    seeds,
    set_threads,
    splits_of,
    the_experiment,
    verb,
)
from kdviz.cli.common.experiment_pictures import require_trainable
from kdviz.cli.common.progress import show_stages
from kdviz.cli.common.training_options import OF_THE_RECIPE, recipe, set_usual_loss
from kdviz.cli.evaluate import margin
from kdviz.core.errors import Sentence, SettingError
from kdviz.core.vocabulary import Role

if TYPE_CHECKING:
    from kdviz.distill import TrainingConfig
    from kdviz.experiment import Experiment
    from kdviz.studies.search.report import SearchReport
    from kdviz.studies.search.trainings import Trainings

_RANGES = ("temperature", "alpha", "kd_loss", "learning_rate", "epochs", "width")


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "tune",
        _tune,
        "Search a recipe of distillation with Optuna, on the validation split; then train the winner and the default "
        "recipe with new seeds and judge them on the test split. The same command continues what was begun.",
        writes=the_experiment,
    )
    add_experiment(parser)
    parser.add_argument("--data", metavar="DIR", help="folder of the data; left away, MNIST is downloaded")
    add_reader_options(parser)
    parser.add_argument(
        "--trials", metavar="N", type=at_least_one, default=30, help="trials in all, earlier ones included"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=above_zero,
        help="begin no further trial after so many seconds of training in all trials, earlier ones included "
        "(default: no such limit)",
    )
    parser.add_argument(
        "--objectives",
        type=comma_list(str),
        default=["accuracy"],
        help="accuracy first, by which the winner is chosen; then any of operations, latency (of a picture, beside the "
        "student in its own width), agreement (of maps with the teacher's) and inherited (errors)",
    )
    _add_ranges(parser)
    parser.add_argument("--batch-size", type=at_least_one, help="of all trainings (default: the KD student's own)")
    parser.add_argument(
        "--train-samples",
        metavar="N",
        type=at_least_one,
        help="train all on N random training samples (default: on all)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all trials and of the search itself")
    parser.add_argument(
        "--test-seeds", type=seeds, default=[101, 102, 103], help="new seeds of the test, with commas between"
    )
    parser.add_argument(
        "--grid", action="store_true", help="also train the grid of temperature and alpha, and test its best"
    )
    parser.add_argument(
        "--pruning",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="stop hopeless trials early (default: with accuracy as the one objective, and on this machine; "
        "otherwise it cannot be done)",
    )
    parser.add_argument("--images", metavar="N", type=at_least_one, default=20, help="of the objective agreement")
    parser.add_argument("--masks", metavar="N", type=at_least_one, default=500, help="of each map of that objective")
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="this machine, or a Ray cluster")
    parser.add_argument(
        "--address", help="of the Ray cluster, e.g. ray://host:10001 or auto; left away, one is started"
    )
    parser.add_argument("--gpus", type=float, default=0.0, help="of one run on Ray; a share such as 0.25 is fine")
    parser.add_argument("--parallel", metavar="N", type=at_least_one, help="trials at a time (default: 1; on Ray 4)")
    parser.add_argument(
        "--results", metavar="DIR", help="folder or fsspec URL of the runs' files (default: runs/ beside)"
    )
    parser.add_argument(
        "--margin",
        metavar="POINTS",
        type=margin,
        default=0.5,
        help="points of accuracy within which two recipes count as equal",
    )
    common(parser)


def _add_ranges(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is varied: LOW:HIGH, or one value that is kept")
    group.add_argument("--temperature", dest="range_temperature", metavar="RANGE", help="default: 1:64")
    group.add_argument("--alpha", dest="range_alpha", metavar="RANGE", help="weight of the teacher; default: 0:1")
    group.add_argument(
        "--losses",
        dest="range_kd_loss",
        metavar="NAMES",
        type=names,
        help="with commas between; default: soft_targets,decoupled,dist",
    )
    group.add_argument(
        "--learning-rate", dest="range_learning_rate", metavar="RANGE", help="default: 0.3 to 3 times its own"
    )
    group.add_argument("--epochs", dest="range_epochs", metavar="RANGE", help="default: those of the KD student")
    group.add_argument(
        "--width", dest="range_width", metavar="RANGE", help="of the student's layers, beside its own; default: 1"
    )


def _tune(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment
    from kdviz.studies.search.finals import check_new
    from kdviz.studies.search.objectives import objectives_of
    from kdviz.studies.search.space import settings_of, space_of
    from kdviz.studies.search.storage import import_optuna
    from kdviz.studies.search.table import GRID_SEEDS
    from kdviz.studies.search.trials import Search

    import_optuna()
    set_threads(options)
    objectives = objectives_of(options.objectives)
    prunes = _prunes(options)
    check_new(options.test_seeds, [options.seed, *(GRID_SEEDS if options.grid else ())])
    experiment = load_experiment(options.experiment)
    require_trainable(experiment, "tune")
    config = _default_recipe(experiment, options)
    space = space_of({name: getattr(options, f"range_{name}") for name in _RANGES}, config)
    default = {
        name: space[name].fixed if space[name].is_fixed else value for name, value in settings_of(config).items()
    }
    trainings = _trainings(experiment, config, options)
    local = options.engine == "local"
    search = Search(
        trainings,
        space,
        objectives,
        options.seed,
        default,
        prunes,
        options.images,
        options.masks,
    )
    parallel = options.parallel or (1 if local else 4)
    show_stages(search.run(options.trials, engine(options), parallel, options.timeout or math.inf))
    _finals(trainings, default, options)
    _print(experiment, options)


def _prunes(options: argparse.Namespace) -> bool:
    """Whether hopeless trials are stopped early.

    Raises:
        SettingError: It is asked for where it cannot be done.
    """
    if len(options.objectives) > 1:
        reason = Sentence("with several objectives a trial is not hopeless by one of them alone, and Optuna stops none")
    elif options.engine != "local":
        reason = Sentence("trials on Ray report no epochs")
    else:
        return options.pruning is not False
    if options.pruning:
        raise SettingError("--pruning cannot be had here: {reason}; leave it away.", reason=reason)
    return False


def _default_recipe(experiment: Experiment, options: argparse.Namespace) -> TrainingConfig:
    """The recipe that the experiment's KD student was trained with."""
    run = experiment.runs.get(Role.KD_STUDENT)
    if run is None:
        raise SettingError(
            "'{folder}' has no {role}, whose recipe is searched.", folder=experiment.folder, role=Role.KD_STUDENT
        )
    training = run.training
    set_defaults = argparse.ArgumentParser()
    set_usual_loss(set_defaults)
    usual = vars(set_defaults.parse_args([]))
    given = {name: training.get(name) for name in ("epochs", *OF_THE_RECIPE)}
    own: Mapping[str, Any] = {"temperature": training.get("temperature", 4.0), "alpha": training.get("alpha", 0.5)}
    batch_size = options.batch_size or training.get("batch_size")
    merged = argparse.Namespace(**{**usual, **given, **own, "batch_size": batch_size, "device": options.device})
    names = ("loss", "loss_options", "kd_epochs", "label_smoothing", "class_weights", "feature_loss", "feature_weight")
    names += ("feature_options", "student_layer", "teacher_layer", "transfer_set", "transfer_steps")
    kept = {name: training[name] for name in names if training.get(name) is not None}
    trainable = str(training.get("unfreeze", "all"))
    return recipe(merged, experiment.dataset, **kept, trainable=trainable, seed=options.seed)


def _trainings(experiment: Experiment, config: TrainingConfig, options: argparse.Namespace) -> Trainings:
    from kdviz.studies.search.trainings import Trainings, part_of

    splits, results = splits_of(experiment, options), options.results or experiment.folder / "runs"
    if options.train_samples:  # the teacher's logits of a part are no one else's
        splits = part_of(splits, options.train_samples)
        results = f"{str(results).rstrip('/')}/train-{options.train_samples}"
    return Trainings(experiment, splits, config, results, options.threads or 0)


def _finals(trainings: Trainings, default: Mapping[str, Any], options: argparse.Namespace) -> None:
    from kdviz.studies.search.finals import Candidate, best_of_grid, run_finals, run_grid
    from kdviz.studies.search.pareto import winner_of
    from kdviz.studies.search.report import rows_of, settings_in
    from kdviz.studies.search.table import DEFAULT, GRID_RUNS, GRID_SEEDS, SEARCH, WINNER

    winner = winner_of(rows_of(SEARCH, trainings.experiment, trainings.about))
    candidates = [Candidate(WINNER, settings_in(winner), winner["accuracy"]), Candidate(DEFAULT, default)]
    used = [options.seed]
    if options.grid:
        show_stages(run_grid(trainings, default, engine(options)))
        candidates.append(best_of_grid(rows_of(GRID_RUNS, trainings.experiment, trainings.about)))
        used += GRID_SEEDS
    show_stages(run_finals(trainings, candidates, options.test_seeds, used, engine(options)))


def _print(experiment: Experiment, options: argparse.Namespace) -> None:
    from kdviz.narrative.products.search import search_sentences
    from kdviz.studies.search.report import read_search_report

    report = read_search_report(experiment)
    assert report is not None  # it was written just now
    sentences = search_sentences(report, options.margin / 100)
    if options.json:
        print(
            json.dumps(
                {"experiment": str(experiment.folder), **report.to_json(), "sentences": sentences}, allow_nan=False
            )
        )
        return
    _print_trials(report)
    print("\n".join(sentences))


def _print_trials(report: SearchReport) -> None:
    names = [name for name in _RANGES if name in report.varied]
    print(f"{'trial':>5} {'state':9} {'validation':>10} {'seconds':>8}  " + "  ".join(f"{name:>13}" for name in names))
    for row in report.trials:
        accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        values = "  ".join(
            f"{row[name] if isinstance(row[name], str) else format(row[name], '.4g'):>13}" for name in names
        )
        print(f"{row['trial']:>5} {row['state']:9} {accuracy:>10} {seconds:>8}  {values}")
