"""The command line. Results go to stdout, progress and errors to stderr; exit 0 done, 1 a kdviz error, 2 usage."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz import __version__
from kdviz.errors import DatasetError, KdvizError, SettingError

if TYPE_CHECKING:
    from kdviz.analysis.studies import Cost, Study
    from kdviz.datasets import LabelledImages
    from kdviz.distill import Stage, TrainingConfig
    from kdviz.experiment import Experiment
    from kdviz.saliency import Method, SaliencyMap

OUTPUTS = (".png", ".svg", ".html", ".npz")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except KdvizError as error:
        print(f"kdviz: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("kdviz: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output left (kdviz ... | head): nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdviz", description="See and measure what knowledge distillation changes in an image classifier."
    )
    parser.add_argument("--version", action="version", version=f"kdviz {__version__}")
    verbs = parser.add_subparsers(title="commands", dest="verb", required=True, metavar="COMMAND")
    for add in (_add_app, _add_train, _add_sweep, _add_evaluate, _add_explain, _add_bench, _add_list):
        add(verbs)
    return parser


def _verb(verbs: Any, name: str, run: Callable[[Any], None], help: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=help, description=help, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.set_defaults(run=run, wrong_usage=parser.error)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps, or auto for the fastest there is")
    parser.add_argument("--threads", type=_at_least_one, default=None, help="CPU threads (default: torch's choice)")


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _numbers(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def parse(text: str) -> list[Any]:
        return [kind(part) for part in text.split(",") if part.strip()]

    parse.__name__ = "list"
    return parse


# What --temperature and --alpha take; kdviz.distill.schedules reads it, and imports torch.
SCHEDULE = "a number, or over the epochs: 10:1 linear, 10:1:cosine, or 1=10,6=4 for 10 from epoch 1 and 4 from epoch 6"


def _schedule(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _named_number(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


_named_number.__name__ = "NAME=VALUE"


def _set_threads(options: argparse.Namespace) -> None:
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)


# app ------------------------------------------------------------------------------------------------------------------


def _add_app(verbs: Any) -> None:
    parser = _verb(verbs, "app", _app, "Open the web app.")
    parser.add_argument("--port", type=_at_least_one, default=8501, help="port of the page")
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    parser.add_argument("--models", metavar="DIR", help="folder of further experiments to show (also: KDVIZ_MODELS)")


def _app(options: argparse.Namespace) -> None:
    from importlib.util import find_spec

    from kdviz.files import ASSETS

    if find_spec("streamlit") is None:
        raise KdvizError("The app needs streamlit; install it with: pip install streamlit")
    script = ASSETS.parent / "app.py"
    if not script.is_file():
        raise KdvizError("app.py is not here; run the app from a checkout of the repository.")
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(options.port)]
    if options.headless:
        command += ["--server.headless", "true"]
    if options.models:
        os.environ["KDVIZ_MODELS"] = str(Path(options.models).resolve())
    os.chdir(script.parent)  # where .streamlit/config.toml is
    os.execv(sys.executable, command)


# train ----------------------------------------------------------------------------------------------------------------


def _add_train(verbs: Any) -> None:
    parser = _verb(verbs, "train", _train, "Train a teacher, a student distilled from it, and the student alone.")
    parser.add_argument("dataset", choices=["mnist", "mhist", "folder"], help="what to train on")
    parser.add_argument("--data", metavar="DIR", help="folder of the data; left away, MNIST is downloaded")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder of the new experiment, e.g. models/mine")
    _add_recipe(parser)
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and dropout")
    parser.add_argument(
        "--temperature", metavar="T", type=_schedule, default=4.0, help="of the KD student; " + SCHEDULE
    )
    parser.add_argument(
        "--alpha", type=_schedule, default=0.5, help="weight of the teacher against the labels, 0 to 1; " + SCHEDULE
    )
    _add_loss(parser)
    _add_teachers(parser)
    _add_images(parser)
    _common(parser)


def _add_teachers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("networks")
    group.add_argument(
        "--teacher",
        type=_numbers(str),
        help="network of the teacher; several, with commas between, teach together; self: the student's own network",
    )
    group.add_argument("--teacher-epochs", type=_at_least_one, help="epochs of the teacher")
    group.add_argument("--teacher-learning-rate", type=float, help="of the teacher (default: --learning-rate)")
    group.add_argument("--teacher-mix", type=_numbers(float), default=[], help="weights of several teachers")
    group.add_argument("--student", help="network of both students")
    group.add_argument(
        "--teacher-weights", metavar="FILE", type=_numbers(str), help="pretrained weights, with a new head"
    )
    group.add_argument("--student-weights", metavar="FILE", help="the same for the students")
    group.add_argument("--no-pretrained", action="store_true", help="begin with fresh weights; download none")
    group.add_argument("--teacher-checkpoint", metavar="FILE", help="a trained teacher of these classes, used as it is")
    group.add_argument("--teacher-logits", metavar="FILE", help="a teacher's answers alone: .npz or .parquet")
    group.add_argument("--unfreeze", metavar="WHAT", help="head, a number of stages before it, or all weights")
    group.add_argument("--teacher-unfreeze", metavar="WHAT", help="the same for the teacher (default: --unfreeze)")


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument("--train-samples", metavar="N", type=_at_least_one, default=0, help="use the labels of N only")
    group.add_argument(
        "--pseudo-labels",
        metavar="P",
        type=float,
        help="learn the others as the teacher labels them, if P sure or more",
    )
    group.add_argument("--unlabelled", metavar="DIR", help="further images for --pseudo-labels")
    group.add_argument(
        "--size", metavar="N", type=_at_least_one, help="side of the images (default: the student's own)"
    )
    _add_groups(group)
    group.add_argument(
        "--keep-samples", metavar="N", type=_at_least_one, default=2000, help="test images kept for the app"
    )


def _add_groups(parser: Any) -> None:
    parser.add_argument("--groups", metavar="CSV", help="folder: columns file and group; no group is split")


def _add_loss(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--loss", metavar="NAME", default="soft_targets", help="against the teacher: kdviz list losses")
    parser.add_argument(
        "--loss-option",
        metavar="NAME=VALUE",
        type=_named_number,
        action="append",
        default=[],
        help="an option of that loss; can be given several times",
    )
    parser.add_argument("--kd-epochs", metavar="N", type=_at_least_one, help="leave the teacher away after N epochs")
    parser.add_argument("--label-smoothing", metavar="E", type=float, default=0.0, help="of the students, 0 to below 1")
    parser.add_argument(
        "--class-weights", choices=["none", "balanced"], default="none", help="balanced: all classes weigh the same"
    )
    parser.add_argument("--feature-loss", metavar="NAME", default="", help="between layers: kdviz list losses")
    parser.add_argument("--feature-weight", metavar="W", type=float, default=1.0, help="of that loss")
    parser.add_argument("--feature-option", metavar="NAME=VALUE", type=_named_number, action="append", default=[])
    parser.add_argument("--teacher-layer", metavar="NAME", default="", help="that it compares (default: found)")
    parser.add_argument("--student-layer", metavar="NAME", default="", help="the same of the student")
    parser.add_argument("--augment", metavar="NAMES", default="", help="of training images: kdviz list augmentations")


def _loss_settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "loss": options.loss,
        "loss_options": dict(options.loss_option),
        "kd_epochs": options.kd_epochs,
        "label_smoothing": options.label_smoothing,
        "class_weights": options.class_weights,
        "feature_loss": options.feature_loss,
        "feature_weight": options.feature_weight,
        "feature_options": dict(options.feature_option),
        "teacher_layer": options.teacher_layer,
        "student_layer": options.student_layer,
        "augment": options.augment,
    }


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=_at_least_one, help="epochs of the students (default: the data set's own)")
    parser.add_argument("--batch-size", type=_at_least_one, help="samples a step (default: the data set's own)")
    parser.add_argument("--learning-rate", type=float, help="of Adam (default: the data set's own, 0.001)")


def _config(options: argparse.Namespace, dataset: str, **more: Any) -> TrainingConfig:
    from kdviz.distill import TrainingConfig
    from kdviz.distill.recipes import RECIPES

    usual = RECIPES[dataset]
    return TrainingConfig(
        epochs=options.epochs or usual.epochs,
        batch_size=options.batch_size or usual.batch_size,
        learning_rate=usual.learning_rate if options.learning_rate is None else options.learning_rate,
        temperature=options.temperature,
        alpha=options.alpha,
        device=options.device,
        **{"unfreeze": usual.unfreeze, **_loss_settings(options), **more},
    )


def _train(options: argparse.Namespace) -> None:
    from kdviz.datasets import bundled_digits
    from kdviz.distill.recipes import RECIPES, input_for, read_splits
    from kdviz.experiment import load_experiment

    _set_threads(options)
    usual = RECIPES[options.dataset]
    config = _config(
        options,
        options.dataset,
        seed=options.seed,
        teacher_mix=tuple(options.teacher_mix),
        unfreeze=options.unfreeze or ("all" if options.no_pretrained else usual.unfreeze),
    )
    spec = input_for(options.dataset, options.student or usual.student, options.size and (options.size, options.size))
    student, teachers = _origins(options, usual, spec)
    splits = read_splits(options.dataset, options.data, spec, **({"groups": options.groups} if options.groups else {}))
    _train_models(options, config, spec, splits, student, teachers)
    experiment = load_experiment(options.out)
    measured = [splits["validation"], splits["test"]]
    if options.dataset != "mnist":
        experiment.write_samples(measured, options.keep_samples)
    else:
        measured.append(bundled_digits()["bundled"])
    _evaluate_on(experiment, measured, options.device)
    _print_metrics(experiment, options.json)


def _train_models(
    options: argparse.Namespace, config: TrainingConfig, spec: Any, splits: Any, student: Any, teachers: list[Any]
) -> None:
    from dataclasses import replace

    from kdviz.distill import check_settings, train_experiment
    from kdviz.distill.recipes import RECIPES, read_logits, title_of

    training = splits["train"]
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
            epochs=options.teacher_epochs or options.epochs or RECIPES[options.dataset].teacher_epochs,
            learning_rate=options.teacher_learning_rate or config.learning_rate,
            unfreeze=options.teacher_unfreeze or config.unfreeze,
        ),
        teacher_logits=read_logits(options.teacher_logits, training) if options.teacher_logits else None,
        few=_few(options, training, spec),
        title=title_of(options.dataset, splits),
    )
    # Warnings are said now, not after the teacher's training.
    _show_stages(stages, (*training.notes, *check_settings(config)))


def _origins(options: argparse.Namespace, usual: Any, spec: Any) -> tuple[Any, list[Any]]:
    """The student's origin and the teachers'."""
    from kdviz.distill.recipes import origin
    from kdviz.errors import SettingError

    pretrained = usual.pretrained and not options.no_pretrained
    name = options.student or usual.student
    student = origin(name, spec, weights=options.student_weights, pretrained=pretrained)
    if options.teacher_logits:
        if options.teacher or options.teacher_weights or options.teacher_checkpoint:
            raise SettingError("Either a teacher's logits are given, or teachers; not both.")
        return student, []
    names = [usual.teacher] if options.teacher is None else options.teacher
    if options.teacher_checkpoint and len(names) > 1:
        raise SettingError(f"--teacher-checkpoint is one trained teacher, and --teacher names {len(names)}.")
    files = options.teacher_weights or [None] * len(names)
    if len(files) != len(names):
        raise SettingError(f"--teacher-weights needs one file for each of {len(names)} teacher(s), got {len(files)}.")
    teachers = []
    for one, file in zip(names, files, strict=True):
        if one == "self":
            teachers.append(student)
            continue
        check = options.teacher_checkpoint
        teachers.append(origin(one, spec, weights=file, checkpoint=check, pretrained=pretrained and not check))
    return student, teachers


def _few(options: argparse.Namespace, train: Any, spec: Any) -> Any:
    from kdviz.distill.recipes import read_unlabelled
    from kdviz.distill.trio import Few

    unlabelled = read_unlabelled(options.unlabelled, train, spec) if options.unlabelled else None
    return Few(options.train_samples, options.pseudo_labels, unlabelled)


def _show_stages(stages: Iterable[Stage | Cost], warnings: Iterable[str] = ()) -> None:
    """One bar a training, with the loss and the validation accuracy of its last epoch; each warning once."""
    with ExitStack() as shown:  # a bar that is left open would be drawn again behind an error
        _show_bars(stages, warnings, shown)


def _show_bars(stages: Iterable[Stage | Cost], warnings: Iterable[str], open_bars: ExitStack) -> None:
    from tqdm import tqdm

    from kdviz.analysis.studies import Cost

    said: set[str] = set()
    _warn(warnings, said)
    bar, shown = None, ""
    for stage in stages:
        if isinstance(stage, Cost):
            tqdm.write(_cost_in_words(stage), file=sys.stderr)
            continue
        progress = stage.progress
        _warn(progress.warnings if progress else (), said)
        if bar is None or stage.name != shown:
            open_bars.close()
            shown = stage.name
            total = progress.epochs * progress.steps if progress else 1
            bar = tqdm(total=total, desc=f"{stage.number}/{stage.count} {stage.name}", unit="batch")
            open_bars.callback(bar.close)
        if progress is None:
            bar.update(bar.total - bar.n)
            continue
        bar.update((progress.epoch - 1) * progress.steps + progress.step - bar.n)
        if progress.loss is not None:
            bar.set_postfix_str(f"loss {progress.loss:.4f}, validation {progress.validation_accuracy:.2%}")


def _cost_in_words(cost: Any) -> str:
    minutes = cost.seconds / 60
    time = f"{minutes:.0f} minutes" if minutes >= 2 else f"{cost.seconds:.0f} seconds"
    return f"kdviz: {cost.runs} runs, {cost.epochs} epochs: about {time} on this machine"


def _warn(warnings: Iterable[str], said: set[str]) -> None:
    from tqdm import tqdm

    for warning in warnings:
        if warning not in said:
            tqdm.write(f"kdviz: warning: {warning}", file=sys.stderr)
            said.add(warning)


# sweep ----------------------------------------------------------------------------------------------------------------


def _add_sweep(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "sweep",
        _sweep,
        "Train a student for each value and seed, and say what came out; continues what was begun.",
    )
    parser.add_argument("study", choices=["temperature", "alpha", "teacher-epochs", "loss"], help="what is varied")
    _add_experiment(parser)
    parser.add_argument("--data", metavar="DIR", help="folder of the data; left away, MNIST is downloaded")
    _add_groups(parser)
    parser.add_argument("--values", type=_numbers(str), help="values, with commas between (default: the study's own)")
    parser.add_argument("--seeds", type=_numbers(int), default=[0, 1, 2], help="seeds, with commas between")
    parser.add_argument("--temperature", metavar="T", type=_schedule, default=4.0, help="where it is not varied")
    parser.add_argument("--alpha", type=_schedule, default=0.5, help="weight of the teacher, where it is not varied")
    _add_recipe(parser)
    _add_loss(parser)
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="this machine, or a Ray cluster")
    parser.add_argument(
        "--address", help="of the Ray cluster, e.g. ray://host:10001 or auto; left away, one is started"
    )
    parser.add_argument("--gpus", type=float, default=0.0, help="of one run on Ray; a share such as 0.25 is fine")
    parser.add_argument(
        "--results", metavar="DIR", help="folder or fsspec URL of the runs' files (default: runs/ beside)"
    )
    parser.add_argument("--estimate", action="store_true", help="only say what the study would cost")
    parser.add_argument("--tensorboard", metavar="DIR", help="also write the curves as TensorBoard event files")
    _common(parser)


def _sweep(options: argparse.Namespace) -> None:
    from kdviz.analysis.studies import STUDIES, Sweep
    from kdviz.experiment import load_experiment

    study = STUDIES[options.study]
    values = _values(study, options)
    _set_threads(options)
    experiment = load_experiment(options.experiment)
    sweep = Sweep(
        experiment,
        options.study,
        _splits_of(experiment, options),
        values,
        options.seeds,
        _config_like(experiment, options),
        results=options.results,
    )
    local = options.engine == "local"
    events = sweep.run(
        _engine(options),
        threads=options.threads or 0,
        estimate=local or options.estimate,
        estimate_only=options.estimate,
    )
    _show_stages(events)
    if options.estimate:
        return
    if options.tensorboard:
        from kdviz.analysis.export import write_events

        write_events(experiment, study.table, options.tensorboard)
    _print_study(experiment, options.study, options.json)


def _engine(options: argparse.Namespace) -> Any:
    from functools import partial

    from kdviz.execution import run_local, run_on_ray

    if options.engine == "local":
        return run_local
    return partial(run_on_ray, address=options.address, cpus=options.threads or 1, gpus=options.gpus)


def _values(study: Study, options: argparse.Namespace) -> Sequence[Any]:
    """The values to vary, or the study's own; one of another kind is wrong usage."""
    if options.values is None:
        return study.values
    try:
        return [study.parse(text) for text in options.values]
    except ValueError:
        options.wrong_usage(f"argument --values: invalid values for {study.column}: {','.join(options.values)}")
        raise


def _splits_of(experiment: Any, options: argparse.Namespace) -> Any:
    """The data set of an experiment. A warning says if its training split is not the one that was learned."""
    from kdviz.distill.recipes import read_splits

    more = {"groups": options.groups} if options.groups else {}
    splits = read_splits(experiment.dataset, options.data, experiment.input, **more)
    learned = {run.training["data"] for run in experiment.runs.values() if "data" in run.training}
    if learned and splits["train"].fingerprint[:16] not in learned:
        what = "its models may have learned from images of the other splits; name the same folder and --groups"
        print(
            f"kdviz: warning: '{options.data}' has another training split than '{experiment.folder}': {what}.",
            file=sys.stderr,
        )
    return splits


def _config_like(experiment: Any, options: argparse.Namespace) -> TrainingConfig:
    """The recipe of a study's students: that of the experiment's KD student, where the options don't say otherwise."""
    run = experiment.runs.get("kd_student")
    known = run.training if run else {}
    for name in ("epochs", "batch_size", "learning_rate"):
        if getattr(options, name) is None:
            setattr(options, name, known.get(name))
    return _config(options, experiment.dataset, unfreeze=str(known.get("unfreeze", "all")))


def _print_study(experiment: Any, name: str, as_json: bool) -> None:
    from kdviz.analysis.studies import STUDIES, summary
    from kdviz.analysis.verdict import verdict

    study = STUDIES[name]
    table = experiment.table(study.table)
    rows = summary(table, name)
    found = verdict(table, experiment.table("study_predictions"), name)
    if as_json:
        judged = None if found is None else _verdict_json(found)
        print(json.dumps({"experiment": str(experiment.folder), "study": name, "test": rows, "verdict": judged}))
        return
    print(f"{'':12} {study.unit:>18} {'seeds':>5} {'accuracy':>9} {'spread':>8} {'F1':>7} {'ECE':>7} {'inherited':>9}")
    for row in rows:
        value = row["value"]
        shown = "" if value is None else value if isinstance(value, str) else f"{value:g}"
        spread = "" if row["accuracy_sd"] is None else f"{row['accuracy_sd']:.2%}"
        inherited = "" if row["inherited_errors"] is None else f"{row['inherited_errors']:.1%}"
        figures = f"{row['accuracy']:>9.2%} {spread:>8} {row['f1']:>7.4f} {row['ece']:>7.4f} {inherited:>9}"
        print(f"{row['role']:12} {shown:>18} {row['seeds']:>5} {figures}")
    for sentence in found.sentences if found else ():
        print(sentence)


def _verdict_json(found: Any) -> dict[str, Any]:
    from dataclasses import asdict

    known = {**asdict(found), "outcome": found.outcome}
    if known["difference"]["seeds"] == 1:
        known["difference"]["seed_error"] = None  # JSON has no NaN
    return known


# evaluate -------------------------------------------------------------------------------------------------------------


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-e", "--experiment", metavar="DIR", default="mnist", help="folder of the experiment, or its name in models/"
    )


def _add_evaluate(verbs: Any) -> None:
    parser = _verb(verbs, "evaluate", _evaluate, "Measure every model of an experiment on a test set.")
    _add_experiment(parser)
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the data; left away, the pictures that are kept or bundled are used"
    )
    _add_groups(parser)
    _common(parser)


def _evaluate(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment

    _set_threads(options)
    experiment = load_experiment(options.experiment)
    samples = _held_out(experiment, options)
    _evaluate_on(experiment, [samples], options.device)
    _print_metrics(experiment, options.json, samples.split)


def _held_out(experiment: Experiment, options: argparse.Namespace) -> LabelledImages:
    """The test split; without its folder, the digits that come with kdviz or the samples that the experiment keeps."""
    import torch

    from kdviz.datasets import LabelledImages, bundled_digits

    if options.data:
        return _splits_of(experiment, options)["test"]
    if experiment.dataset == "mnist":
        return bundled_digits()["bundled"]
    stored = experiment.samples("test")
    every = torch.arange(len(stored))
    if not torch.equal(stored.numbers, every):
        raise DatasetError(
            "Only some of the test images are stored in the experiment; name the data's folder with --data."
        )
    return LabelledImages(stored.images(every), stored.labels, stored.classes, "test", stored.names)


def _evaluate_on(experiment: Experiment, splits: Sequence[LabelledImages], device: str) -> None:
    from tqdm import tqdm

    from kdviz.analysis.evaluation import evaluate

    for samples in splits:
        roles = evaluate(experiment, samples, device)
        for _ in tqdm(roles, total=len(experiment.runs), desc=f"evaluate on {samples.split}", file=sys.stderr):
            pass


def _print_metrics(experiment: Experiment, as_json: bool, split: str | None = None) -> None:
    metrics = {
        role: {name: values for name, values in run.metrics.items() if split in (None, name)}
        for role, run in experiment.runs.items()
    }
    if as_json:
        print(json.dumps({"experiment": str(experiment.folder), "metrics": metrics}))
        return
    print(f"{'role':12} {'split':10} {'samples':>7} {'accuracy':>9} {'loss':>7} {'ECE':>7}")
    for role, splits in metrics.items():
        for name, values in splits.items():
            print(
                f"{role:12} {name:10} {values['samples']:>7.0f} {values['accuracy']:>9.2%} "
                f"{values['loss']:>7.4f} {values['ece']:>7.4f}"
            )


# explain --------------------------------------------------------------------------------------------------------------


# Every setting of every method, written out: asking the methods would import torch before `kdviz --help` answers.
METHOD_OPTIONS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "masks": ("n_masks", int, "rise: random masks (default 4000)"),
    "grid": ("grid", int, "rise, kernel_shap: cells from side to side (default 7)"),
    "probability": ("probability", float, "rise: chance that a cell keeps its pixels (default 0.5)"),
    "baseline": (
        "baseline",
        str,
        "what a removed pixel becomes: black (default), white, mean, grey, blur, noise, a grey level from 0 to 1, or "
        "the path of a picture",
    ),
    "sampler": ("sampler", str, "rise: auto (default), hadamard, sobol, or iid as published"),
    "estimator": ("estimator", str, "rise: logistic (default), ridge, centred, normalised, or rise as published"),
    "precision": ("precision", str, "rise: auto (default), float32, bfloat16 or float16"),
    "reliability": ("reliability", float, "rise: stop when all maps and differences are this reliable, say 0.99"),
    "seconds": ("seconds", float, "rise: stop after so much time"),
    "seed": ("seed", int, "rise, gradient_shap, kernel_shap: of what is random (default 0)"),
    "window": ("window", float, "occlusion: side of the removed square, as a share of the picture's (default 0.15)"),
    "stride": ("stride", float, "occlusion: step, as a share of the square's side (default 0.25)"),
    "steps": ("n_steps", int, "integrated_gradients: steps from the baseline to the picture (default 64)"),
    "samples": ("n_samples", int, "gradient_shap (default 400), kernel_shap (default 4000): random samples"),
    "noise": ("noise", float, "gradient_shap: noise on the picture, as a share of its range (default 0.1)"),
    "relu": ("relu", str, "layer_gradcam: on (default), or off to see evidence against the class too"),
}


def _add_explain(verbs: Any) -> None:
    parser = _verb(verbs, "explain", _explain, "Saliency maps of pictures by every model, into one file a picture.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="pictures")
    _add_experiment(parser)
    parser.add_argument(
        "--add",
        action="append",
        metavar="NAME=FILE.onnx",
        help="compare this ONNX model too, float or int8, under that name; can be given several times",
    )
    parser.add_argument("--method", default="rise", help="see: kdviz list methods")
    parser.add_argument("--target", metavar="CLASS", help="class to explain (default: each model's own prediction)")
    for option, (name, kind, text) in METHOD_OPTIONS.items():
        parser.add_argument(f"--{option}", dest=f"setting_{name}", type=kind, metavar=name.upper(), help=text)
    parser.add_argument(
        "--out",
        metavar="FILE",
        required=True,
        help="FILE.png, .svg, .html or .npz; with several pictures their names are added",
    )
    _common(parser)


def _explain(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment
    from kdviz.metrics import agreement

    if Path(options.out).suffix.lower() not in OUTPUTS:
        raise SettingError(f"--out must end in {', '.join(OUTPUTS)}, got '{options.out}'.")
    _set_threads(options)
    experiment = _with_models(load_experiment(options.experiment), options.add or [])
    documents = []
    for image, out in zip(options.images, _out_files(options.images, Path(options.out)), strict=True):
        maps = _maps(experiment, image, options)
        _write_maps(maps, out)
        report = agreement(maps)
        documents.append(_explain_document(image, out, maps, report.to_json()))
        if not options.json:
            print(f"{out}\n{_describe(maps)}\n{report}")
    if options.json:
        print(json.dumps({"experiment": str(experiment.folder), "images": documents}))


def _with_models(experiment: Experiment, additions: Sequence[str]) -> Experiment:
    """The experiment and the ONNX models of ``--add NAME=FILE.onnx``."""
    for addition in additions:
        name, _, file = addition.partition("=")
        if not (name and file):
            raise SettingError(f"--add must be NAME=FILE.onnx, got '{addition}'.")
        experiment = experiment.with_model(name, file)
    return experiment


def _maps(experiment: Experiment, image: str, options: argparse.Namespace) -> dict[str, SaliencyMap]:
    from tqdm import tqdm

    from kdviz.saliency import explain_stream

    given = {name: getattr(options, f"setting_{name}") for name, _, _ in METHOD_OPTIONS.values()}
    settings = {name: value for name, value in given.items() if value is not None}
    states = explain_stream(experiment, image, options.target, options.method, device=options.device, **settings)
    first = state = next(states)  # what is wrong is found before there is a bar
    unit = "mask" if state.states else "model"
    with tqdm(total=state.total, desc=Path(image).name, unit=unit, file=sys.stderr) as bar:
        for state in chain([first], states):
            bar.update(state.n_masks - bar.n)
    for role, reason in state.misfits.items():
        print(f"kdviz: {role} is left out: {reason}", file=sys.stderr)
    if state.stopped:
        print(f"kdviz: stopped after {state.n_masks} of {state.total} masks ({state.stopped})", file=sys.stderr)
    return state.maps()


def _out_files(images: Sequence[str], out: Path) -> list[Path]:
    if len(images) == 1:
        return [out]
    files: list[Path] = []
    for image in images:
        base = f"{out.stem}-{Path(image).stem}"
        names = [base, *(f"{base}-{number}" for number in range(2, len(images) + 1))]
        files.append(next(file for file in (out.with_name(name + out.suffix) for name in names) if file not in files))
    return files


def _write_maps(maps: dict[str, SaliencyMap], out: Path) -> None:
    from kdviz import figures
    from kdviz.files import atomic_write
    from kdviz.saliency import maps_npz

    kind = out.suffix.lower()
    if kind == ".npz":
        atomic_write(out, maps_npz(maps))
    elif kind == ".html":
        page = figures.comparison(maps).to_html(include_plotlyjs=True, full_html=True)
        atomic_write(out, page.encode())
    else:
        atomic_write(out, figures.comparison_file(maps, kind[1:]))


def _describe(maps: dict[str, SaliencyMap]) -> str:
    return "\n".join(_describe_one(role, one) for role, one in maps.items())


def _describe_one(role: str, one: SaliencyMap) -> str:
    answer = f"predicts {one.classes[one.predicted]} ({one.probabilities[one.predicted]:.1%})"
    how = f" from {one.n_masks} masks, reliability {one.reliability:.3f}" if one.n_masks else ""
    return f"{role:12} {answer}; map of {one.classes[one.target]}{how}"


def _explain_document(image: str, out: Path, maps: dict[str, SaliencyMap], report: dict[str, Any]) -> dict[str, Any]:
    models = {
        role: {
            "predicted": one.classes[one.predicted],
            "confidence": float(one.probabilities[one.predicted]),
            "target": one.classes[one.target],
            "target_probability": float(one.probabilities[one.target]),
            "masks": one.n_masks,
            "reliability": one.reliability,
        }
        for role, one in maps.items()
    }
    first = next(iter(maps.values()))
    settings = {"method": first.method, **first.settings}
    return {"image": image, "out": str(out), "settings": settings, "models": models, "agreement": report}


# bench ----------------------------------------------------------------------------------------------------------------


def _add_bench(verbs: Any) -> None:
    parser = _verb(verbs, "bench", _bench, "Measure speed, memory and how many masks are needed, against references.")
    parser.add_argument("what", choices=["rise", "train"], help="what is measured")
    parser.add_argument("--quick", action="store_true", help="within a minute or two, less exactly")
    parser.add_argument("--data", metavar="DIR", help="train: folder of MNIST; left away, it is downloaded")
    parser.add_argument("--epochs", type=_at_least_one, help="train: of each training (default: 12, quick: 2)")
    parser.add_argument(
        "--mobilenet-weights", metavar="FILE", help="torchvision's weights of MobileNetV2 (default: random ones)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of masks and images")
    _common(parser)


def _bench(options: argparse.Namespace) -> None:
    from kdviz.bench import about, bench_rise, bench_train
    from kdviz.networks import choose_device

    _set_threads(options)
    device = choose_device(options.device)
    machine, rows = about(device), []
    if not options.json:
        print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.what == "rise":
        measured = bench_rise(device, options.quick, options.mobilenet_weights, options.seed)
    else:
        measured = bench_train(options.device, options.quick, options.data, options.epochs)
    for row in measured:
        rows.append(row)
        if not options.json:
            print(f"{row.value:>10.3f} {row.unit:1}  {row.text}", flush=True)
    if options.json:
        figures = {row.key: row.value if row.value == row.value else None for row in rows}
        print(json.dumps({**machine, **figures, "details": {row.key: dict(row.details) for row in rows}}))


# list -----------------------------------------------------------------------------------------------------------------


def _add_list(verbs: Any) -> None:
    parser = _verb(verbs, "list", _list, "List what can be named.")
    parser.add_argument("what", choices=["experiments", "networks", "methods", "losses", "augmentations", "datasets"])
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def _list(options: argparse.Namespace) -> None:
    entries = _entries(options.what)
    if options.json:
        print(json.dumps({options.what: entries}))
        return
    width = max((len(name) for name in entries), default=0)
    for name, text in entries.items():
        print(f"{name:{width}}  {text}".rstrip())


def _entries(what: str) -> dict[str, str]:
    """Name -> one line about it."""
    if what == "experiments":
        from kdviz.experiment import list_experiments

        return {name: _roles(name) for name in list_experiments()}
    if what == "methods":
        from kdviz.saliency import methods

        return {name: _about_method(methods[name]) for name in methods}
    if what == "augmentations":
        from kdviz.distill.augment import augmentations

        return {name: augmentations[name].description for name in augmentations}
    if what == "losses":
        from kdviz.distill import losses

        return {name: _about_loss(name) for name in losses}
    registry = _registry(what)
    texts = {name: (registry[name].__doc__ or "").strip().partition("\n")[0] for name in registry}
    if what == "networks":
        texts |= {"torchvision/NAME": "Any classifier of torchvision.", "timm/NAME": "Any classifier of timm."}
    return texts


def _about_loss(name: str) -> str:
    from kdviz.distill import feature_losses, losses, teacher_losses

    text = (losses[name].__doc__ or "").strip().partition("\n")[0]
    found = {"--loss": teacher_losses, "--feature-loss": feature_losses}
    for option, registry in found.items():
        if name in registry:
            own = ", ".join(f"{key} (default {value:g})" for key, value in registry[name].options.items())
            return f"{text} [train {option}{'; options: ' if own else ''}{own}]"
    return text


def _about_method(method: Method) -> str:
    settings = ", ".join(setting.name for setting in method.settings)
    return f"{method.title}, explains the {method.explains}" + (f"; settings: {settings}" if settings else "")


def _roles(name: str) -> str:
    from kdviz.experiment import load_experiment

    try:
        return ", ".join(load_experiment(name).runs)
    except KdvizError as error:  # one damaged folder must not hide the others
        return f"refused: {error}"


def _registry(what: str) -> Any:
    if what == "networks":
        from kdviz.networks import networks

        return networks
    from kdviz.datasets import datasets

    return datasets


if __name__ == "__main__":
    sys.exit(main())
