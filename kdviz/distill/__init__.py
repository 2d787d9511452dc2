"""Knowledge distillation: losses, schedules, checks, training that yields its progress, the runs of an experiment."""

from kdviz.distill.augment import augmentations
from kdviz.distill.check import check_settings, check_teacher
from kdviz.distill.config import TrainingConfig
from kdviz.distill.feature_losses import feature_losses
from kdviz.distill.losses import distillation_loss, losses, soft_target_loss, teacher_losses
from kdviz.distill.training import Progress, fit, predict_logits
from kdviz.distill.trio import MNIST_INPUT, Stage, train_experiment

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
