"""kdviz recipe: the configuration of a trained experiment as a recipe file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import add_experiment, verb
from kdviz.core.vocabulary import Role

if TYPE_CHECKING:
    from kdviz.experiment import Experiment


def add(verbs: Any) -> None:
    parser = verb(verbs, "recipe", _recipe, "Print how an experiment was trained, as a recipe for kdviz train.")
    add_experiment(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.set_defaults(train=verbs.choices["train"])


def _recipe(options: argparse.Namespace) -> None:
    from kdviz.cli.common.experiment_pictures import require_trained_here
    from kdviz.experiment import load_experiment

    experiment = load_experiment(options.experiment)
    require_trained_here(experiment, "recipe")
    values = recipe_of(experiment, options.train)
    if options.json:
        print(json.dumps(values))
        return
    print("".join(f"{key} = {_toml(value)}\n" for key, value in values.items()), end="")


def recipe_of(experiment: Experiment, train: argparse.ArgumentParser) -> dict[str, Any]:
    """Option of ``kdviz train`` -> value, of all settings that the experiment's records say.

    Args:
        experiment: An experiment that kdviz has trained.
        train: The parser of ``kdviz train``.
    """
    from kdviz.cli.common.recipe_files import recipe_options

    chosen = _networks(experiment) | _sizes(experiment)
    said = {name: value for name, value in chosen.items() if value != train.get_default(name)}
    known = {"dataset": experiment.dataset, **_settings(experiment), **said}
    names: dict[str, str] = {}
    for name, action in recipe_options(train).items():
        names.setdefault(action.dest, name)  # the first of several
    values = {name: known.get(dest) for dest, name in names.items()}
    defaults = {name: train.get_default(dest) for dest, name in names.items()}
    empty = ({}, (), [])
    return {
        name: value
        for name, value in values.items()
        if value or (value is not None and value not in empty and value != defaults[name])
    }


def _settings(experiment: Experiment) -> dict[str, Any]:
    """Settings of the students and the teacher, by the names of their options."""
    from dataclasses import fields

    from kdviz.data.shortcuts.planting import PlantedShortcut
    from kdviz.distill.config import TrainingConfig, recorded_name

    runs = experiment.runs
    record = next((runs[role].training for role in (Role.KD_STUDENT, Role.STUDENT) if role in runs), {})
    settings = {each.name: record.get(recorded_name(each.name)) for each in fields(TrainingConfig)}
    settings |= {f"{name}_option": settings.pop(f"{name}_options") or {} for name in ("loss", "feature")}
    settings |= {"train_samples": record.get("labelled"), "pseudo_labels": record.get("pseudo_labels")}
    teacher = runs[Role.TEACHER].training if Role.TEACHER in runs else {}
    if teacher.get("epochs") and not teacher.get("mutual"):
        of_teacher = {"epochs": "epochs", "learning_rate": "learning_rate", "unfreeze": "trainable"}
        settings |= {f"teacher_{option}": teacher.get(name) for name, option in of_teacher.items()}
    shortcut = PlantedShortcut.from_records(run.training for run in runs.values())
    if shortcut is not None:
        settings |= {"plant": shortcut.kind, "share": shortcut.share, "plant_for": str(shortcut.shown_to)}
    return {**settings, "no_pretrained": "weights_from" not in record, "device": None}  # of another machine


def _networks(experiment: Experiment) -> dict[str, Any]:
    """Who taught whom, by the names of the options."""
    runs = experiment.runs
    named = {kind: [run.network for role, run in runs.items() if _is(role, kind)] for kind in _KINDS}
    student = runs.get(Role.KD_STUDENT) or runs.get(Role.STUDENT)
    record: Mapping[str, Any] = student.training if student else {}
    return {
        "teacher": named["teacher"] or None,
        "student": student.network if student else None,
        "assistants": named["assistant"],
        "generations": len(named["generation"]) + 1,
        "generation_start": "previous" if record.get("continues") else "fresh",
        "mutual": bool(record.get("mutual")),
    }


def _sizes(experiment: Experiment) -> dict[str, int | None]:
    """What the networks see, by the names of the options; None where the data or the teacher say it."""
    from kdviz.data.registry import find_dataset

    height, width = experiment.input.size
    usual = (find_dataset(experiment.dataset).input or {}).get("size")
    student = experiment.runs.get(Role.KD_STUDENT) or experiment.runs.get(Role.STUDENT)
    own = student.spec if student and student.is_adapted else experiment.input
    return {
        "size": height if height == width and (height, width) != usual else None,
        "student_size": min(own.size) if own.size != experiment.input.size else None,
        "student_channels": own.channels if own.channels != experiment.input.channels else None,
    }


_KINDS = ("teacher", "assistant", "generation")


def _is(role: str, kind: str) -> bool:
    return role == kind or (role.startswith(f"{kind}_") and role.removeprefix(f"{kind}_").isdecimal())


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_toml(number)}' for name, number in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
