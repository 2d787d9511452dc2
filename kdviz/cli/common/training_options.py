"""Options of a training: loss, schedules, optimiser; and the configuration that they give."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdviz.data.registry import DataSet, Recipe
    from kdviz.distill import TrainingConfig

from kdviz.cli.common.arguments import LazyText, at_least_one, name_or_none, named_number, names_or_none

OF_THE_RECIPE = ("learning_rate", "learning_rate_schedule", "optimizer", "weight_decay", "augment", "views")


def add_loss(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--loss", metavar="NAME", default="soft_targets", help=LazyText(_loss_help))
    parser.add_argument(
        "--loss-option",
        metavar="NAME=VALUE",
        type=named_number,
        action="append",
        default=[],
        help="an option of that loss; can be given several times",
    )
    parser.add_argument("--kd-epochs", metavar="N", type=at_least_one, help="leave the teacher away after N epochs")
    parser.add_argument("--label-smoothing", metavar="E", type=float, default=0.0, help="of the students, 0 to below 1")
    parser.add_argument(
        "--class-weights", choices=["none", "balanced"], default="none", help="balanced: all classes weigh the same"
    )
    parser.add_argument(
        "--feature-loss",
        metavar="NAME",
        type=name_or_none,
        default="",
        help="between layers or explanations: kdviz list losses; none: without, unlike a recipe",
    )
    parser.add_argument("--feature-weight", metavar="W", type=float, default=1.0, help="of that loss")
    parser.add_argument(
        "--feature-option",
        metavar="NAME=VALUE",
        type=named_number,
        action="append",
        default=[],
        help="an option of that loss; can be given several times",
    )
    parser.add_argument(
        "--teacher-layer", metavar="NAME", type=names_or_none, default="", help="that it compares (default: found)"
    )
    parser.add_argument(
        "--student-layer", metavar="NAME", type=names_or_none, default="", help="the same of the student"
    )
    parser.add_argument("--transfer-set", metavar="NAME|PATH", help=LazyText(_transfer_set_help))
    parser.add_argument(
        "--transfer-steps",
        metavar="N",
        type=at_least_one,
        default=0,
        help="steps in which the generator of a transfer set is trained (default: as many as draw each picture once)",
    )
    parser.add_argument(
        "--augment",
        metavar="NAMES",
        type=names_or_none,
        help="of training images: kdviz list augmentations; none: the images as they are",
    )
    parser.add_argument(
        "--views",
        metavar="N",
        type=int,
        help="fixed views of each image by --augment, of which the teacher's logits are computed once; 0: new ones in "
        "every epoch",
    )


def set_usual_loss(parser: argparse.ArgumentParser) -> None:
    """For verbs without the options of :func:`add_loss`: the softened targets, the pictures as they are."""
    parser.set_defaults(loss="soft_targets", loss_option=[], kd_epochs=None, label_smoothing=0.0)
    parser.set_defaults(class_weights="none", feature_loss="", feature_weight=1.0, feature_option=[])
    parser.set_defaults(teacher_layer="", student_layer="", transfer_set="training", transfer_steps=0)
    parser.set_defaults(augment="", views=0)


def _loss_help() -> str:
    from kdviz.distill.objectives.registry import teacher_losses

    return f"against the teacher: {', '.join(sorted(teacher_losses))}; see kdviz list losses"


def _transfer_set_help() -> str:
    from kdviz.distill.transfer_sets.registry import TRAINING, transfer_sets

    own = ", ".join(sorted(transfer_sets))
    return (
        f"what the KD student is distilled on, with the teacher's answers as labels: {TRAINING}, the data set's own "
        f"pictures, the default; {own}: see kdviz list transfer-sets; a folder of other pictures; or one large "
        "picture, to be cut into crops"
    )


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
        **({} if options.transfer_set is None else {"transfer_set": options.transfer_set}),
        "transfer_steps": options.transfer_steps,
    }


def add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=at_least_one, help="epochs of the students (default: the data set's own)")
    parser.add_argument("--batch-size", type=at_least_one, help="samples a step (default: the data set's own)")
    parser.add_argument("--learning-rate", type=float, help="its highest value (default: the data set's own, 0.001)")
    parser.add_argument(
        "--learning-rate-schedule", metavar="NAME", help=LazyText(lambda: _names("learning_rate_schedules"))
    )
    parser.add_argument("--optimizer", metavar="NAME", help=LazyText(lambda: _names("optimizers")))
    parser.add_argument("--weight-decay", metavar="W", type=float, help="default: the data set's own")


def _names(registry: str) -> str:
    from kdviz.distill import optimisation

    return f"{', '.join(getattr(optimisation, registry))} (default: the data set's own)"


def _recipe_settings(options: argparse.Namespace, defaults: Recipe) -> dict[str, Any]:
    given = {name: getattr(options, name, None) for name in OF_THE_RECIPE}
    if given["augment"] is not None and given["views"] is None:
        given["views"] = defaults.views if given["augment"] else 0
    return {name: getattr(defaults, name) if value is None else value for name, value in given.items()}


def recipe(options: argparse.Namespace, dataset: str | DataSet, **overrides: Any) -> TrainingConfig:
    from kdviz.distill import TrainingConfig
    from kdviz.distill.recipes import recipe_for

    networks = getattr(options, "teacher", None) or (), getattr(options, "student", None) or ""
    defaults = recipe_for(dataset).for_networks(*networks)
    if getattr(options, "teacher_logits", None):  # nobody can ask that teacher about changed pictures
        defaults = replace(defaults, augment="", views=0)
    return TrainingConfig(
        epochs=options.epochs or defaults.epochs,
        batch_size=options.batch_size or defaults.batch_size,
        **_recipe_settings(options, defaults),
        temperature=options.temperature,
        alpha=options.alpha,
        device=options.device,
        **{"trainable": defaults.trainable, **_loss_settings(options), **overrides},
    )
