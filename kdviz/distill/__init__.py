"""Knowledge distillation: losses, training that yields its progress, and the runs of an experiment."""

from kdviz.distill.losses import distillation_loss, losses, soft_target_loss
from kdviz.distill.training import Progress, TrainingConfig, fit, predict_logits
from kdviz.distill.trio import MNIST_INPUT, Stage, train_mnist, train_student

__all__ = [
    "MNIST_INPUT",
    "Progress",
    "Stage",
    "TrainingConfig",
    "distillation_loss",
    "fit",
    "losses",
    "predict_logits",
    "soft_target_loss",
    "train_mnist",
    "train_student",
]
