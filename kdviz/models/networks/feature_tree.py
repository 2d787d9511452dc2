"""Soft trees on the features of a frozen network, for photographs, whose pixels no linear decision tells apart."""

from __future__ import annotations

from torch import nn

from kdviz.models.networks.airbench import airbench_small
from kdviz.models.networks.registry import networks
from kdviz.models.networks.soft_tree import SoftTree


def tree_on_features(network: nn.Module, head: str, classes: int) -> nn.Module:
    """A network with a :class:`SoftTree` in the place of its head, and everything before it frozen.

    Its tensors have the network's names, so that pretrained weights of the network fit. A frozen part stays in
    evaluation mode while the tree is trained.

    Args:
        network: (N, C, H, W) -> (N, classes); it is changed in place.
        head: Name of its last linear layer.
        classes: Number of logits.
    """
    linear = network.get_submodule(head)
    assert isinstance(linear, nn.Linear)
    network.requires_grad_(False)
    parent, _, name = head.rpartition(".")
    setattr(network.get_submodule(parent), name, SoftTree(classes, linear.in_features, (1, 1)))
    return network


@networks.register("airbench_small_tree")
def airbench_small_tree(classes: int = 10, channels: int = 3, size: tuple[int, int] = (32, 32)) -> nn.Module:
    """A soft decision tree on the features of a frozen ``airbench_small``, whose weights are to be given."""
    network = airbench_small(classes, channels, size)
    head = str(len(list(network.children())) - 1)
    return tree_on_features(network, head, classes)


@networks.register("mobilenet_v2_tree")
def mobilenet_v2_tree(classes: int = 10, channels: int = 3, size: tuple[int, int] = (224, 224)) -> nn.Module:
    """A soft decision tree on the features of torchvision's frozen ``mobilenet_v2``, whose weights are to be given."""
    from torchvision import models

    network = models.mobilenet_v2(weights=None, num_classes=classes)
    if channels != 3:
        network.features[0][0] = nn.Conv2d(channels, 32, 3, 2, 1, bias=False)  # type: ignore[index]
    return tree_on_features(network, "classifier.1", classes)
