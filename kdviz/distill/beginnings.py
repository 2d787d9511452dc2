"""Networks before their first step: whether they take the images, and which of their weights are trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.features import compared_layers
from kdviz.distill.objectives.layers import head_of
from kdviz.distill.objectives.registry import network_loss
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

    A loss between explanations that needs no layer fits all.

    Args:
        student, teacher: The networks, trained or not; they are left as they are.
        spec: Specification of the input of both.
        config: The recipe.
    """
    if not network_loss(config.feature_loss).takes:
        return
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


def freeze(network: nn.Module, trainable: str, head: str) -> None:
    """Decide which parameters are trained.

    Args:
        network: Its parameters' ``requires_grad`` is set.
        trainable: ``all``, ``head``, or the number of :func:`stages` before the head that are trained too. A norm by
            itself is not counted: it goes with the stage before it.
        head: The name of the head.

    Raises:
        SettingError: ``trainable`` is none of these.
    """
    if trainable != "all" and trainable != "head" and not trainable.isdecimal():
        raise SettingError("trainable must be all, head or a number of stages, got '{trainable}'.", trainable=trainable)
    network.requires_grad_(trainable == "all")
    if trainable == "all":
        return
    network.get_submodule(head).requires_grad_(True)
    count = 0 if trainable == "head" else int(trainable)
    for name in reversed(stages(network, head)):
        if not count:
            break
        stage = network.get_submodule(name).requires_grad_(True)
        count -= any(parameter.ndim > 1 for parameter in stage.parameters())


def stages(network: nn.Module, head: str) -> list[str]:
    """The parts of a network before its head, by name and in order: the blocks of its first lists of blocks.

    A part that is a list (``features`` of MobileNetV2, ``stages`` of ResNetV2) counts as its items, and a part that
    holds the head counts as what comes before the head in it.
    """
    names = []
    for name, child in network.named_children():
        if head == name:
            continue
        if head.startswith(f"{name}."):
            names += [f"{name}.{inner}" for inner in stages(child, head.removeprefix(f"{name}."))]
            continue
        is_list = isinstance(child, (nn.Sequential, nn.ModuleList))
        names += [f"{name}.{number}" for number, _ in child.named_children()] if is_list else [name]
    return [name for name in names if any(True for _ in network.get_submodule(name).parameters())]
