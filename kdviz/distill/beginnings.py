"""Networks before their first step: whether they take the images, and which of their weights are trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.features import compared_layers
from kdviz.distill.objectives.layers import head_of
from kdviz.distill.objectives.objective import freeze
from kdviz.distill.stages import is_statistic
from kdviz.experiment import InputSpec


@torch.no_grad()
def require_image_size(network: nn.Module, spec: InputSpec, name: str) -> None:
    """Raise a ModelError when a network does not take the experiment's images.

    Args:
        network: The network, which is left in evaluation mode.
        spec: Specification of the experiment's input.
        name: The network's name.
    """
    try:
        network.eval()(torch.zeros(2, spec.channels, *spec.size))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason, size = str(error).strip().partition("\n")[0].rstrip("."), "{} x {}".format(*spec.size)
        refused = "'{name}' does not take images of {size} pixels: {reason}."
        raise ModelError(refused, name=name, size=size, reason=reason) from error


def require_layers(student: nn.Module, teacher: nn.Module, spec: InputSpec, config: TrainingConfig) -> None:
    """Raise a ModelError when two networks have no layers for the feature loss, or its module does not fit them.

    Args:
        student, teacher: The networks, trained or not; they are left as they are.
        spec: Specification of the input of both.
        config: The recipe.
    """
    noise = torch.rand(2, spec.channels, *spec.size, generator=torch.Generator().manual_seed(0))
    compared_layers(config, student, teacher, noise)


def freeze_untrained(network: nn.Module, spec: InputSpec, trainable: str, missing: Sequence[str], role: str) -> None:
    """Freeze what is to be frozen, and raise a SettingError when fresh weights would not be trained.

    Args:
        network: The network.
        spec: Specification of its input.
        trainable: Which weights are trained; see :class:`kdviz.distill.TrainingConfig`.
        missing: Names of its tensors before the head that its first weights lack.
        role: Its role.
    """
    if trainable == "all":
        return
    head, _ = head_of(network, torch.zeros(2, spec.channels, *spec.size))
    freeze(network, trainable, head)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    untrained = [name for name in missing if name not in trained and not is_statistic(name)]
    if untrained:
        raise SettingError(
            "The weights of the {role} lack {n_untrained} tensors (first '{untrained}') that would "
            "stay random, since they are frozen; unfreeze more stages, or give complete weights.",
            role=role,
            n_untrained=len(untrained),
            untrained=untrained[0],
        )
