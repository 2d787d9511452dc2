"""kdviz import."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import add_columns, at_least_one, common, set_threads, the_out, verb
from kdviz.core.errors import SettingError
from kdviz.core.files import from_home
from kdviz.core.texts.counted import counted

if TYPE_CHECKING:
    from kdviz.data.labels.class_names import ClassNames
    from kdviz.data.picture_collection import PictureFiles
    from kdviz.experiment import Experiment
    from kdviz.importing import ImportPlan, ModelSpec

SPEC = "FILE[,key=value]..."
_STUDY_MINUTES = "15"


def add(verbs: Any) -> None:
    parser = verb(verbs, "import", _import, "Make an experiment of models that were trained elsewhere.", writes=the_out)
    parser.add_argument("--out", metavar="DIR", required=True, help="folder of the experiment, such as models/mine")
    group = parser.add_argument_group(
        "models",
        f"Each is {SPEC}: a checkpoint, an ONNX file, or a folder of timm or transformers. Keys, all optional: "
        "network, size=260 or 240x320, resize=292 (short side), 292x292 or squash, crop=.89, interpolation, mean=.5 or "
        ".485/.456/.406, std, channels=1 or 3, classes=FILE or a/b/c (names of its logits), key and prefix (where its "
        "tensors are), code=FILE.py:NAME (with --trust).",
    )
    group.add_argument("--teacher", metavar="SPEC", action="append", default=[], help="the teacher")
    group.add_argument(
        "--kd-student", metavar="SPEC", action="append", default=[], help="the student distilled from it"
    )
    group.add_argument("--student", metavar="SPEC", action="append", default=[], help="the same student trained alone")
    group.add_argument("--model", metavar="ROLE=SPEC", action="append", default=[], help="a further model")
    group.add_argument(
        "--predictions",
        metavar="ROLE=FILE",
        action="append",
        default=[],
        help="a model of which only the predictions are known: .npz, .npy or .csv",
    )
    group.add_argument("--trust", action="store_true", help="run code in the files, with all your rights")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        metavar="DIR|FILE",
        help="pictures to measure on: a folder of class folders or parquet files, a CSV, or pictures alone",
    )
    data.add_argument(
        "--regions",
        metavar="DIR|FILE",
        help="regions that people drew on the pictures of --data; go on with kdviz study --study regions, for about "
        f"{_STUDY_MINUTES} minutes",
    )
    data.add_argument("--classes", metavar="FILE|A,B,C", help="names of the classes, or which folder is which class")
    data.add_argument("--keep-samples", metavar="N", type=at_least_one, default=500, help="pictures kept for the app")
    add_columns(data)
    data.add_argument("--title", default="", help="heading of the experiment")
    after = parser.add_argument_group("then")
    after.add_argument(
        "--study", action="store_true", help=f"go on with kdviz study, for about {_STUDY_MINUTES} minutes"
    )
    after.add_argument("--profile", action="store_true", help="go on with kdviz profile")
    common(parser)


def _import(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment
    from kdviz.importing import import_experiment, report, require_replaceable, small_footprint

    if options.regions and not options.data:
        options.wrong_usage("argument --regions: needs the pictures, with --data")
    set_threads(options)
    replaces = require_replaceable(Path(options.out))  # before any picture is read
    plan = plan_of(options)
    if replaces:
        print(f"kdviz: '{plan.out}' holds an earlier import, which this one replaces", file=sys.stderr)
    with small_footprint():
        _watch(import_experiment(plan))
        experiment = load_experiment(options.out)
        if plan.pictures is not None:
            _add_showcase(experiment, options.device)
    records = report(experiment)
    if options.json:
        # Each role is at the top, as the interface says, and all of them under "models", which no role can hide.
        print(json.dumps(records | {"experiment": str(experiment.folder), "models": records}, allow_nan=False))
    else:
        _print(experiment, records)
    _go_on_with_all(options)
    if not options.json:
        print(f"\nLook at it: kdviz app --models {Path(options.out).parent}")


def plan_of(options: argparse.Namespace) -> ImportPlan:
    """What the command asks for.

    Raises:
        KdvizError: No model, a role twice, or data that cannot be read.
    """
    from kdviz.data.labels.class_names import read_classes
    from kdviz.importing import ImportPlan

    models = specs_of(options)
    predictions = _predictions(options.predictions, [spec.role for spec in models])
    if not models and not predictions:
        raise SettingError("No model is named; give --teacher FILE, --kd-student FILE, --student FILE or --model.")
    names = read_classes(options.classes) if options.classes else None
    pictures = _pictures(options, names) if options.data else None
    return ImportPlan(
        Path(options.out),
        models,
        pictures,
        names.names if names is not None and not names.aliases else (),
        names.aliases if names is not None else {},
        predictions,
        options.title,
        options.trust,
        options.device,
        options.keep_samples,
    )


def _pictures(options: argparse.Namespace, names: ClassNames | None) -> PictureFiles:
    from kdviz.data.picture_files import read_picture_files

    return read_picture_files(
        options.data, classes=names, image_column=options.image_column, label_column=options.label_column
    )


def specs_of(options: argparse.Namespace) -> list[ModelSpec]:
    """The models that are named, in the order in which they are shown.

    Raises:
        SettingError: A role is given twice, or a SPEC cannot be read.
    """
    from kdviz.experiment import ROLES
    from kdviz.importing import named_model, parse_spec, role_of

    given = {role: getattr(options, role) for role in ROLES}
    for role, texts in given.items():
        if len(texts) > 1:
            raise SettingError(
                "The role '{role}' is given twice; use --model TITLE=FILE for a further model.", role=role
            )
    specs = [parse_spec(role, text) for role, texts in given.items() for text in texts]
    for text in options.model:
        title, spec = named_model(text)
        role = role_of(title, [spec.role for spec in specs])
        specs.append(parse_spec(role, spec, "" if title == role else title))
    return specs


def _predictions(texts: Iterable[str], taken: list[str]) -> list[tuple[str, str, Path]]:
    from kdviz.importing import named_model, role_of

    predictions: list[tuple[str, str, Path]] = []
    for text in texts:
        title, file = named_model(text)
        role = role_of(title, [*taken, *(spec[0] for spec in predictions)])
        predictions.append((role, "" if title == role else title, from_home(file)))
    return predictions


def _watch(steps: Any) -> None:
    from tqdm import tqdm

    with tqdm(unit="model", file=sys.stderr) as bar:
        for step in steps:
            for role, record in (step.assumed or {}).items():
                bar.write(f"kdviz: {role}: {record['network']}, {_input_text(record)}", file=sys.stderr)
            bar.set_description(step.stage)
            bar.unit = "picture" if step.stage == "evaluate" else "model"
            bar.total, bar.n = step.total, step.done
            bar.refresh()


def _add_showcase(experiment: Experiment, device: str) -> None:
    """A few maps for the first page; without them it offers to make some."""
    from kdviz.importing import first_maps

    for story in first_maps(experiment, device):
        print(f"kdviz: maps of an example: {story}", file=sys.stderr)


def _print(experiment: Experiment, records: dict[str, dict[str, Any]]) -> None:
    print(f"{experiment.folder}: {counted(len(experiment.classes), 'class', 'classes')}")
    print(f"{'role':14} {'network':38} {'from':8} {'accuracy':>9}  input")
    for role, record in records.items():
        accuracy = "" if record["accuracy"] is None else f"{record['accuracy']:.2%}"
        print(f"{role:14} {record['network']:38} {record['network_from'] or '':8} {accuracy:>9}  {_input_text(record)}")
    for role, record in records.items():
        for note in record["notes"]:
            print(f"- {role}: {note}")
    if not any(run.metrics for run in experiment.runs.values()):
        print("kdviz: without --data nothing was measured, and no pictures are kept", file=sys.stderr)
    for doubt in dict.fromkeys(doubt for record in records.values() for doubt in record["doubts"]):
        print(f"kdviz: warning: {doubt}", file=sys.stderr)


def _input_text(record: Mapping[str, Any]) -> str:
    """``260 x 260 RGB, short side 292, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5 (library)``."""
    spec = record["input"]
    if spec is None:
        return "predictions alone"
    height, width = spec["size"]
    resize = spec.get("resize")
    parts = [f"{height} x {width} {'grey' if spec['channels'] == 1 else 'RGB'}"]
    if resize is not None:
        parts.append(f"short side {resize}" if isinstance(resize, int) else "whole picture")
        parts.append(spec["interpolation"])
    parts += [f"{name} {' '.join(f'{value:g}' for value in spec[name])}" for name in ("mean", "std")]
    return f"{', '.join(parts)} ({record['input_from']})"


def _go_on_with_all(options: argparse.Namespace) -> None:
    """The further commands that were asked for."""
    options.let_go()
    studies = ["--minutes", _STUDY_MINUTES]
    for option, column in (("--image-column", options.image_column), ("--label-column", options.label_column)):
        studies += [option, column] if column else []
    if options.regions:
        _go_on("study", options, "--study", "regions", "--regions", options.regions, "--data", options.data, *studies)
    if options.study:
        _go_on("study", options, "--study", "models", *studies)
    if options.profile:
        _go_on("profile", options)


def _go_on(name: str, options: argparse.Namespace, *arguments: str) -> None:
    """Another command on the new experiment."""
    from kdviz.cli import main

    command = [name, "-e", options.out, "--device", options.device, *arguments]
    command += ["--threads", str(options.threads)] if options.threads else []
    with redirect_stdout(sys.stderr if options.json else sys.stdout):  # --json is one document
        status = main(command)
    if status:
        raise SettingError("The experiment is made, but kdviz {name} failed; see above.", name=name)
