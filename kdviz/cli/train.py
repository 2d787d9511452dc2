"""kdviz train: teacher, KD student and student alone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import SettingError
from kdviz.core.vocabulary import Split
from kdviz.data.registry import named_datasets, trainable_names

if TYPE_CHECKING:
    from kdviz.data.registry import DataSet
    from kdviz.distill import TrainingConfig

from kdviz.cli.common.arguments import (
    LEARNED,
    SCHEDULE,
    LazyNames,
    LazyText,
    add_reader_options,
    at_least_one,
    comma_list,
    comma_list_or_none,
    common,
    reader_options,
    schedule,
    set_threads,
    the_out,
    verb,
)
from kdviz.cli.common.experiment_pictures import require_replaceable
from kdviz.cli.common.progress import show_stages
from kdviz.cli.common.training_inputs import label_budget_of, require_names, shortcut_of, teaching_of
from kdviz.cli.common.training_options import add_loss, add_recipe, recipe
from kdviz.cli.evaluate import evaluate_on, print_metrics
from kdviz.cli.studies.shortcuts import shortcut_names


def add(verbs: Any) -> None:
    parser = verb(
        verbs, "train", _train, "Train a teacher, a student distilled from it, and the student alone.", writes=the_out
    )
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        nargs="?",
        choices=_DatasetNames(trainable_names, named_datasets),
        help=LazyText(_dataset_help),
    )
    parser.add_argument(
        "--recipe",
        metavar="FILE|NAME",
        help="a TOML file with any of these options, or one of kdviz list recipes; what is given beside it counts more",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the data; left away, MNIST and torchvision's are downloaded"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder of the new experiment, e.g. models/mine")
    add_recipe(parser)
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and dropout")
    parser.add_argument(
        "--temperature", metavar="T", type=schedule, default=4.0, help=f"of the KD student; {SCHEDULE}{LEARNED}"
    )
    parser.add_argument(
        "--alpha", type=schedule, default=0.5, help="weight of the teacher against the labels, 0 to 1; " + SCHEDULE
    )
    add_loss(parser)
    _add_teachers(parser)
    _add_images(parser)
    common(parser)


class _DatasetNames(LazyNames):
    """The names of data sets, to which all those of the form LIBRARY/NAME belong."""

    def __contains__(self, name: object) -> bool:
        from kdviz.data.registry import is_in_library

        return super().__contains__(name) or is_in_library(str(name))


def _dataset_help() -> str:
    from kdviz.data.registry import datasets, libraries, trainable_datasets

    named = [f"{name} ({datasets[name].title})" for name in trainable_datasets()]
    of_libraries = [f"{name}/NAME ({libraries[name].description.rstrip('.')})" for name in libraries]
    return "what to train on: " + "; ".join([*named, *of_libraries])


def _add_teachers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("networks")
    group.add_argument(
        "--teacher",
        type=comma_list(str),
        help="network of the teacher; several, with commas between, teach together; self: the student's own network",
    )
    group.add_argument("--teacher-epochs", type=at_least_one, help="epochs of the teacher")
    group.add_argument("--teacher-learning-rate", type=float, help="of the teacher (default: --learning-rate)")
    group.add_argument(
        "--teacher-mixture",
        "--teacher-mix",
        type=comma_list_or_none(float),
        default=[],
        help="weights of several teachers; none: all the same",
    )
    group.add_argument("--student", help="network of both students")
    group.add_argument(
        "--assistants",
        type=comma_list_or_none(str),
        default=[],
        help="networks between teacher and student, with commas between, each distilled from the one before it; none: "
        "without, unlike a recipe",
    )
    group.add_argument(
        "--generations", metavar="N", type=at_least_one, default=1, help="students distilled one from the other"
    )
    group.add_argument(
        "--generation-start",
        choices=["fresh", "previous"],
        default="fresh",
        help="what a generation begins with: fresh weights, or those of the network that teaches it",
    )
    group.add_argument(
        "--mutual",
        action="store_true",
        help="train teachers and KD student at the same time, each learning from the others",
    )
    group.add_argument("--no-mutual", dest="mutual", action="store_false", help="one after the other, unlike a recipe")
    group.add_argument(
        "--student-size",
        metavar="N",
        type=at_least_one,
        help="side of what both students see, in pixels, at most the teacher's: --size",
    )
    group.add_argument(
        "--student-channels",
        type=int,
        choices=[1, 3],
        help="1: both students see grey pictures (default: the teacher's)",
    )
    group.add_argument(
        "--teacher-pretrained",
        "--teacher-weights",
        metavar="FILE",
        type=comma_list(str),
        help="pretrained weights, with a new head",
    )
    group.add_argument("--student-pretrained", "--student-weights", metavar="FILE", help="the same for the students")
    group.add_argument("--no-pretrained", action="store_true", help="begin with fresh weights; download none")
    group.add_argument(
        "--pretrained", dest="no_pretrained", action="store_false", help="begin with ImageNet weights, unlike a recipe"
    )
    group.add_argument("--teacher-checkpoint", metavar="FILE", help="a trained teacher of these classes, used as it is")
    group.add_argument("--teacher-logits", metavar="FILE", help="a teacher's answers alone: .npz or .parquet")
    group.add_argument(
        "--trainable", "--unfreeze", metavar="WHAT", help="head, a number of stages before it, or all weights"
    )
    group.add_argument(
        "--teacher-trainable",
        "--teacher-unfreeze",
        metavar="WHAT",
        help="the same for the teacher (default: --trainable)",
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument("--train-samples", metavar="N", type=at_least_one, default=0, help="use the labels of N only")
    group.add_argument(
        "--pseudo-labels",
        metavar="P",
        type=float,
        help="learn the others as the teacher labels them, if P sure or more",
    )
    group.add_argument("--unlabelled", metavar="DIR", help="further images for --pseudo-labels")
    group.add_argument("--size", metavar="N", type=at_least_one, help="side of the images (default: the student's own)")
    add_reader_options(group)
    group.add_argument(
        "--plant",
        metavar="KIND",
        choices=LazyNames(shortcut_names),
        help=LazyText(_shortcut_help),
    )
    group.add_argument("--share", metavar="S", type=float, help="of the training pictures with it (default 0.9)")
    group.add_argument(
        "--plant-for",
        choices=["all", "teacher", "random", "students"],
        help="whose pictures have it: all, the default; teacher: the students' are clean; random: the students' have "
        "marks of random classes, whose meaning only the teacher could tell; students: the teacher's are clean",
    )
    group.add_argument(
        "--keep-samples", metavar="N", type=at_least_one, default=2000, help="test images kept for the app"
    )


def _shortcut_help() -> str:
    return f"plant a shortcut that goes with the class in training alone: {', '.join(shortcut_names())}"


def _train(options: argparse.Namespace) -> None:
    from kdviz.data.doubts import recorded_doubts
    from kdviz.data.registry import bundled_samples
    from kdviz.distill.recipes import dataset_for, input_for, read_splits, recipe_for
    from kdviz.distill.sources import student_input
    from kdviz.distill.storage.interrupted import forget_unfinished
    from kdviz.experiment import load_experiment

    if not options.dataset:
        options.wrong_usage("the following arguments are required: DATASET, or a recipe with a dataset")
    if options.mutual and options.teacher_epochs:
        options.wrong_usage("argument --teacher-epochs: not allowed with argument --mutual, where all have --epochs")
    set_threads(options)
    shortcut_of(options)  # an error before the data are read
    require_replaceable(options.out)
    require_names(options)
    size = options.size and (options.size, options.size)
    dataset = dataset_for(options.dataset, options.data, size, **reader_options(options))
    defaults = recipe_for(dataset)
    config = recipe(
        options,
        dataset,
        seed=options.seed,
        teacher_mixture=tuple(options.teacher_mixture),
        trainable=options.trainable or ("all" if options.no_pretrained else defaults.trainable),
    )
    spec = input_for(dataset, options.student or defaults.student, size)
    picture, student_spec = student_input(spec, options.student_size, options.student_channels)
    student, teachers = _model_sources(options, defaults, spec, student_spec)
    spec = picture
    splits = read_splits(dataset, options.data, spec, **reader_options(options))
    _train_models(options, dataset, config, spec, splits, student, teachers)
    experiment = load_experiment(options.out)
    evaluated = [splits[Split.VALIDATION], splits[Split.TEST]]
    bundled = bundled_samples(options.dataset)
    if bundled is None:
        experiment.write_samples(evaluated, options.keep_samples)
    else:
        evaluated.append(bundled)
    evaluate_on(experiment, evaluated, options.device, reported=recorded_doubts(experiment))
    forget_unfinished(options.out)
    print_metrics(experiment, options.json)


def _train_models(
    options: argparse.Namespace,
    dataset: DataSet,
    config: TrainingConfig,
    spec: Any,
    splits: Any,
    student: Any,
    teachers: list[Any],
) -> None:
    from dataclasses import replace

    from kdviz.distill import check_settings, train_experiment
    from kdviz.distill.recipes import read_logits, recipe_for, title_of

    training = splits[Split.TRAIN]
    label_budget = label_budget_of(options, training, spec)
    stages = train_experiment(
        splits,
        spec,
        options.dataset,
        options.out,
        config,
        teachers=teachers,
        student=student,
        teacher_config=replace(
            config,
            epochs=options.teacher_epochs or options.epochs or recipe_for(dataset).teacher_epochs,
            learning_rate=options.teacher_learning_rate or config.learning_rate,
            trainable=options.teacher_trainable or config.trainable,
        ),
        teacher_logits=read_logits(options.teacher_logits, training) if options.teacher_logits else None,
        label_budget=label_budget,
        shortcut=shortcut_of(options),
        teaching=teaching_of(options, dataset, spec, student.input),
        title=title_of(dataset, splits),
        keep_unfinished=True,  # until the experiment is evaluated, too
    )
    unlabelled = () if label_budget.unlabelled is None else label_budget.unlabelled.notes
    # These warnings are printed before the teacher's training, not after it.
    show_stages(stages, (*training.notes, *unlabelled, *check_settings(config)))


def _model_sources(options: argparse.Namespace, defaults: Any, spec: Any, student_spec: Any) -> tuple[Any, list[Any]]:
    """The sources of the student's and of the teachers' first weights; each has its own input where these differ."""
    from dataclasses import replace

    student, teachers = _sources_of_weights(options, defaults, spec, student_spec)
    if student_spec == spec:
        return student, teachers
    return replace(student, input=student_spec), [replace(teacher, input=spec) for teacher in teachers]


def _sources_of_weights(
    options: argparse.Namespace, defaults: Any, spec: Any, student_spec: Any
) -> tuple[Any, list[Any]]:
    from kdviz.distill.recipes import model_source

    pretrained = defaults.pretrained and not options.no_pretrained
    name = options.student or defaults.student
    student = model_source(name, student_spec, weights=options.student_pretrained, pretrained=pretrained)
    if options.teacher_logits:
        if options.teacher or options.teacher_pretrained or options.teacher_checkpoint:
            raise SettingError("Either a teacher's logits are given, or teachers; not both.")
        return student, []
    names = [defaults.teacher] if options.teacher is None else options.teacher
    if options.teacher_checkpoint and len(names) > 1:
        raise SettingError(
            "--teacher-checkpoint is one trained teacher, and --teacher names {n_names}.", n_names=len(names)
        )
    files = options.teacher_pretrained or [None] * len(names)
    if len(files) != len(names):
        raise SettingError(
            "--teacher-pretrained needs one file a teacher ({n_names}), got {n_files}.",
            n_names=len(names),
            n_files=len(files),
        )
    teachers = []
    for teacher, file in zip(names, files, strict=True):
        if teacher == "self":
            teachers.append(student)
            continue
        checkpoint = options.teacher_checkpoint
        teachers.append(
            model_source(teacher, spec, weights=file, checkpoint=checkpoint, pretrained=pretrained and not checkpoint)
        )
    return student, teachers
