"""Knowledge distillation: losses, schedules, checks, training that yields its progress, the runs of an experiment."""

from kdviz.distill.augment import augmentations
from kdviz.distill.checks import check_settings, check_teacher
from kdviz.distill.config import TrainingConfig
from kdviz.distill.experiment_trainer import MNIST_INPUT, Stage, train_experiment
from kdviz.distill.objectives.feature_losses import feature_losses
from kdviz.distill.objectives.losses import distillation_loss, losses, soft_target_loss, teacher_losses
from kdviz.distill.training import Progress, fit, predict_logits

__all__ = [
    "MNIST_INPUT",
    "Progress",
    "Stage",
    "TrainingConfig",
    "augmentations",
    "check_settings",
    "check_teacher",
    "distillation_loss",
    "feature_losses",
    "fit",
    "losses",
    "predict_logits",
    "soft_target_loss",
    "teacher_losses",
    "train_experiment",
]
