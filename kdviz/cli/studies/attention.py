"""kdviz study: maps of a sweep's students, or of an experiment's own three models, for many pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import engine, set_threads, splits_of
from kdviz.cli.common.progress import show_stages
from kdviz.cli.common.study_results import print_estimate, print_report
from kdviz.cli.studies.regions import QUICK_MASKS
from kdviz.core.texts.counted import counted, duration

if TYPE_CHECKING:
    from kdviz.distill import TrainingConfig
    from kdviz.studies.attention import AttentionStudy, StudyModel

_MAPS_SHARE = 0.6  # of the time of --minutes; the rest is for deletion and insertion


def study_attention(options: argparse.Namespace) -> None:
    """Train what is missing, make the maps, and print what came out."""
    from kdviz.experiment import load_experiment

    if options.minutes and options.method != "rise":
        options.wrong_usage("argument --minutes: only the time of RISE is known beforehand; use --images")
    set_threads(options)
    experiment = load_experiment(options.experiment)
    trains = options.study != "models"
    values, config = _sweep_settings(experiment, options) if trains else (None, None)
    splits = _splits(experiment, options)
    models = _models(experiment, splits, values, config, options)
    if not models:
        return
    if options.minutes:
        _limit(experiment, models, len(splits[options.split]), options)
    study = _new_study(experiment, splits[options.split], models, options)
    if options.estimate:
        print_estimate(study.estimate(), options.json)
        return
    print(f"kdviz: {counted(len(models), 'model')}, maps in {study.store.url}", file=sys.stderr)
    _show(study.run(engine(options)))
    if options.faithfulness > 0 and options.method == "rise":
        _measure_faithfulness(study, options.faithfulness, options.minutes)
    _keep(experiment, splits[options.split])
    print_report(experiment, options.study, options.json)


def _limit(experiment: Any, models: list[StudyModel], available: int, options: argparse.Namespace) -> None:
    """Set the number of masks and of images to what fits into ``--minutes``, and say so."""
    from kdviz.studies.attention.budget import affordable_images

    options.masks = options.masks or QUICK_MASKS
    seconds = 60 * options.minutes * _MAPS_SHARE
    spec, classes = experiment.input, len(experiment.classes)
    images = affordable_images(models, spec, classes, options.masks, seconds, options.device)
    options.images = min(images, options.images, available)
    chosen = f"{options.images:,} of {counted(available, 'image')} with {counted(options.masks, 'mask')}"
    print(
        f"kdviz: {chosen}, for about {duration(60 * options.minutes)}; "
        f"more with: kdviz study -e {experiment.folder} --study {options.study} --images N",
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


def _sweep_settings(experiment: Any, options: argparse.Namespace) -> tuple[Sequence[Any] | None, TrainingConfig]:
    """Values and recipe of a sweep's students; what is wrong with them is said before any picture is read."""
    from kdviz.cli.common.experiment_pictures import require_trainable
    from kdviz.cli.sweep import config_like, given_values
    from kdviz.studies.sweep.runner import STUDIES

    require_trainable(experiment, "study")
    return given_values(STUDIES[options.study], options), config_like(experiment, options)


def _models(
    experiment: Any,
    splits: Any,
    values: Sequence[Any] | None,
    config: TrainingConfig | None,
    options: argparse.Namespace,
) -> list[StudyModel]:
    """The models of the study, of its own ones without a recipe; with ``--estimate``, none while trainings are left."""
    from kdviz.studies.attention import own_models, shuffles, sweep_for

    seeds = list(dict.fromkeys(options.seeds))
    if config is None:
        models = own_models(experiment)
        return models if options.no_controls else [*models, *shuffles(models[0], [0])]
    own = sweep_for(experiment, options.study, splits, values, seeds, config, options.runs)
    sweeps = _sweeps(own, seeds, options)
    if not sweeps:
        return []
    last = max(sweeps[-1].seeds)  # seeds of second students are nobody else's
    second = [
        [] if options.no_controls else [last + 1 + len(seeds) * teacher + offset for offset in range(len(seeds))]
        for teacher in range(len(sweeps))
    ]
    for sweep, further in zip(sweeps, second, strict=True):
        if train_missing(sweep, further, options):
            return []
    return _all_models(sweeps, second, options)


def _sweeps(own: Any, seeds: list[int], options: argparse.Namespace) -> list[Any]:
    """The sweep of each teacher, the experiment's own first; with ``--estimate``, none while a teacher is untrained."""
    from kdviz.distill.storage.run_files import is_finished
    from kdviz.studies.attention import seeds_of_teacher, sweep_of_teacher, teacher_runs, train_teachers

    runs = teacher_runs(own, options.teachers - 1)
    left = sum(not is_finished(own.store, run) for run in runs)
    if left and options.estimate:
        verb = "is" if left == 1 else "are"
        print(f"kdviz: {counted(left, 'teacher')} {verb} to be trained; estimate again then", file=sys.stderr)
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


def train_missing(sweep: Any, second: list[int], options: argparse.Namespace) -> bool:
    """Train what is missing; whether something is left, as with ``--estimate``.

    Args:
        sweep: The students of a study.
        second: Seeds of further students alone.
        options: Those of the command.
    """
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
