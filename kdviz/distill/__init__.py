"""Knowledge distillation: losses, schedules, checks, training that yields its progress, the runs of an experiment."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kdviz.core.moved import warn_renamed

if TYPE_CHECKING:
    from kdviz.distill.augment.registry import augmentations, register_augmentation
    from kdviz.distill.checks import check_settings, check_teacher
    from kdviz.distill.config import TrainingConfig
    from kdviz.distill.experiment_trainer import MNIST_INPUT, train_experiment
    from kdviz.distill.objectives.losses import distillation_loss, losses, soft_target_loss
    from kdviz.distill.objectives.registry import (
        explanation_losses,
        feature_losses,
        register_explanation_loss,
        register_feature_loss,
        register_teacher_loss,
        teacher_losses,
    )
    from kdviz.distill.prediction import predict_logits
    from kdviz.distill.stages import Stage
    from kdviz.distill.teaching.settings import Teaching
    from kdviz.distill.training import TrainingProgress, fit

__all__ = [
    "MNIST_INPUT",
    "Stage",
    "Teaching",
    "TrainingConfig",
    "TrainingProgress",
    "augmentations",
    "check_settings",
    "check_teacher",
    "distillation_loss",
    "explanation_losses",
    "feature_losses",
    "fit",
    "losses",
    "predict_logits",
    "register_augmentation",
    "register_explanation_loss",
    "register_feature_loss",
    "register_teacher_loss",
    "soft_target_loss",
    "teacher_losses",
    "train_experiment",
]

# Imported when first used: the names of losses and augmentations are read without torch.
_HOMES = {
    "MNIST_INPUT": "experiment_trainer",
    "Stage": "stages",
    "Teaching": "teaching.settings",
    "TrainingConfig": "config",
    "TrainingProgress": "training",
    "augmentations": "augment.registry",
    "check_settings": "checks",
    "check_teacher": "checks",
    "distillation_loss": "objectives.losses",
    "explanation_losses": "objectives.registry",
    "feature_losses": "objectives.registry",
    "fit": "training",
    "losses": "objectives.losses",
    "predict_logits": "prediction",
    "register_augmentation": "augment.registry",
    "register_explanation_loss": "objectives.registry",
    "register_feature_loss": "objectives.registry",
    "register_teacher_loss": "objectives.registry",
    "soft_target_loss": "objectives.losses",
    "teacher_losses": "objectives.registry",
    "train_experiment": "experiment_trainer",
}


_RENAMED = {"Progress": "TrainingProgress"}


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        warn_renamed(f"{__name__}.{name}", _RENAMED[name])
    name = _RENAMED.get(name, name)
    if name in _HOMES:
        return getattr(importlib.import_module(f"kdviz.distill.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'kdviz.distill' has no attribute '{name}'")
