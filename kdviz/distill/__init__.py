"""Knowledge distillation: losses, schedules, checks, training that yields its progress, the runs of an experiment."""

from kdviz.distill.check import check_settings, check_teacher
from kdviz.distill.config import TrainingConfig
from kdviz.distill.losses import distillation_loss, losses, soft_target_loss, teacher_losses
from kdviz.distill.training import Progress, fit, predict_logits
from kdviz.distill.trio import MNIST_INPUT, Stage, train_mnist, train_student

__all__ = [
    "MNIST_INPUT",
    "Progress",
    "Stage",
    "TrainingConfig",
    "check_settings",
    "check_teacher",
    "distillation_loss",
    "fit",
    "losses",
    "predict_logits",
    "soft_target_loss",
    "teacher_losses",
    "train_mnist",
    "train_student",
]
