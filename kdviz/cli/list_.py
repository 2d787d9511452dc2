"""kdviz list: names of experiments, networks, methods, losses and the other things that are found by name."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import KdvizError

if TYPE_CHECKING:
    from kdviz.saliency import Method

from kdviz.cli.common.arguments import verb


def add(verbs: Any) -> None:
    parser = verb(verbs, "list", _list, "List what can be named.")
    parser.add_argument("what", choices=list(_KINDS), help="what is listed")
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
    """Name -> one line of description."""
    return _KINDS[what]()


def _experiments() -> dict[str, str]:
    from kdviz.experiment import list_experiments

    return {name: _roles(name) for name in list_experiments()}


def _methods() -> dict[str, str]:
    from kdviz.saliency import methods

    return {name: _about_method(methods[name]) for name in methods}


def _augmentations() -> dict[str, str]:
    from kdviz.distill import augmentations

    return {name: augmentations[name].description for name in augmentations}


def _transfer_sets() -> dict[str, str]:
    from kdviz.distill.transfer_sets.registry import TRAINING, transfer_sets

    own = {TRAINING: "The pictures of the data set: the usual distillation."}
    return own | {name: transfer_sets[name].description for name in sorted(transfer_sets)}


def _shifts() -> dict[str, str]:
    from kdviz.data.shifts.registry import shifts

    return {name: shifts[name].description for name in sorted(shifts)}


def _shortcuts() -> dict[str, str]:
    from kdviz.data.shortcuts.registry import shortcuts

    return {name: shortcuts[name].description for name in shortcuts}


def _recipes() -> dict[str, str]:
    from kdviz.cli.common.recipe_files import shipped_recipes

    return {name: f"{recipe.title} ({recipe.paper})" for name, recipe in shipped_recipes().items()}


def _losses() -> dict[str, str]:
    from kdviz.distill import losses

    return {name: _about_loss(name) for name in losses}


def _datasets() -> dict[str, str]:
    from kdviz.data.registry import datasets
    from kdviz.data.registry import libraries as dataset_libraries

    texts = {name: datasets[name].description for name in datasets}
    return texts | {f"{name}/NAME": dataset_libraries[name].description for name in dataset_libraries}


def _networks() -> dict[str, str]:
    from kdviz.models.networks import libraries, networks

    texts = {name: _first_line(networks[name]) for name in networks}
    return texts | {f"{name}/NAME": libraries[name].description for name in libraries}


def _optimizers() -> dict[str, str]:
    from kdviz.distill.optimisation import optimizers

    return {name: _first_line(optimizers[name]) for name in optimizers}


def _schedules() -> dict[str, str]:
    from kdviz.distill.optimisation import learning_rate_schedules

    return {name: _first_line(learning_rate_schedules[name]) for name in learning_rate_schedules}


def _first_line(described: object) -> str:
    return (described.__doc__ or "").strip().partition("\n")[0]


_KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "experiments": _experiments,
    "networks": _networks,
    "methods": _methods,
    "losses": _losses,
    "augmentations": _augmentations,
    "transfer-sets": _transfer_sets,
    "datasets": _datasets,
    "shifts": _shifts,
    "shortcuts": _shortcuts,
    "recipes": _recipes,
    "optimizers": _optimizers,
    "schedules": _schedules,
}
"""What can be listed -> its names, each with one line of description."""


def _about_loss(name: str) -> str:
    from kdviz.distill import explanation_losses, feature_losses, losses, teacher_losses

    text = _first_line(losses[name])
    registries = (
        ("--loss", teacher_losses),
        ("--feature-loss", feature_losses),
        ("--feature-loss", explanation_losses),
    )
    for option, registry in registries:
        if name in registry:
            options = ", ".join(f"{key} (default {value:g})" for key, value in registry[name].options.items())
            return f"{text} [train {option}{'; options: ' if options else ''}{options}]"
    return text


def _about_method(method: Method) -> str:
    settings = ", ".join(setting.name for setting in method.settings)
    return f"{method.title}, explains the {method.explains}" + (f"; settings: {settings}" if settings else "")


def _roles(name: str) -> str:
    from kdviz.experiment import load_experiment

    try:
        return ", ".join(_role_with_title(run) for run in load_experiment(name).runs.values())
    except KdvizError as error:  # one damaged folder must not hide the others
        return f"refused: {error}"


def _role_with_title(run: Any) -> str:
    return f"{run.role} ({run.title})" if run.title else run.role
