"""The losses between features under one name, and the check of their options.

Each is a file of :mod:`kdviz.distill.objectives.between_features`.
"""

from __future__ import annotations

from collections.abc import Mapping

from kdviz.distill.objectives.between_features.attention_transfer import attention_transfer_loss
from kdviz.distill.objectives.between_features.hints import hints_loss
from kdviz.distill.objectives.between_features.mmd import mmd_loss
from kdviz.distill.objectives.between_features.relational import relational_loss
from kdviz.distill.objectives.losses import check_known_options
from kdviz.distill.objectives.registry import MAPS, VECTORS, FeatureLoss, feature_losses, network_loss

__all__ = [
    "MAPS",
    "VECTORS",
    "FeatureLoss",
    "attention_transfer_loss",
    "check_feature_options",
    "feature_losses",
    "hints_loss",
    "mmd_loss",
    "relational_loss",
]


def check_feature_options(loss: str, options: Mapping[str, float]) -> None:
    """Raise when the loss between layers or explanations or an option is unknown, or a value is outside its range."""
    entry = network_loss(loss)
    check_known_options(loss, options, entry.options)
    if entry.check is not None:
        entry.check(**{**entry.options, **options})
