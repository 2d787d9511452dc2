"""What the options of kdviz train say of a training beyond its recipe: who teaches, how many labels, which shortcut."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdviz.data.registry import DataSet
    from kdviz.data.shortcuts.planting import PlantedShortcut


def teaching_of(options: argparse.Namespace, dataset: DataSet, spec: Any, student_spec: Any) -> Any:
    """Who stands between the teachers and the KD student; assistants see what it sees."""
    from dataclasses import replace

    from kdviz.distill.recipes import model_source, recipe_for
    from kdviz.distill.teaching.settings import Teaching

    pretrained = recipe_for(dataset).pretrained and not options.no_pretrained
    assistants = [model_source(name, student_spec or spec, pretrained=pretrained) for name in options.assistants]
    return Teaching(
        tuple(replace(assistant, input=student_spec) for assistant in assistants),
        options.generations,
        options.generation_start,
        options.mutual,
    )


def require_names(options: argparse.Namespace) -> None:
    """Check that the networks that are named are known, before data are read or weights downloaded.

    Raises:
        UnknownNameError: One is not.
    """
    from kdviz.models.networks import require_network

    for name in (*filter(None, [options.student]), *(options.teacher or ()), *options.assistants):
        if name != "self":
            require_network(name)


def label_budget_of(options: argparse.Namespace, train: Any, spec: Any) -> Any:
    from kdviz.distill.experiment_trainer import LabelBudget
    from kdviz.distill.recipes import read_unlabelled

    unlabelled = read_unlabelled(options.unlabelled, train, spec) if options.unlabelled else None
    return LabelBudget(options.train_samples, options.pseudo_labels, unlabelled)


def shortcut_of(options: argparse.Namespace) -> PlantedShortcut | None:
    from kdviz.data.shortcuts.planting import PlantedShortcut, ShownTo

    if options.plant is None:
        if options.share is not None or options.plant_for:
            options.wrong_usage("arguments --share and --plant-for: only with --plant")
        return None
    share = 0.9 if options.share is None else options.share
    return PlantedShortcut(options.plant, share, options.plant_for or ShownTo.ALL, options.seed)
