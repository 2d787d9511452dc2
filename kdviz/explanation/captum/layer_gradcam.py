"""Grad-CAM: the channels of a late layer, weighted by their mean gradient."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from kdviz.core.language import N_
from kdviz.explanation.captum.requirements import needs_positions
from kdviz.explanation.captum.task import AttributionTask
from kdviz.explanation.method import Method, Setting

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdviz.explanation.captum.gradcam_layers import Layer


def _attribute(task: AttributionTask) -> Tensor:
    """Channels of the last layer with positions, weighted by the mean gradient of the logit; upsampled bilinearly.

    Selvaraju et al. (2017), arXiv:1610.02391. Without evidence against the class (ReLU), as published, unless ``relu``
    is off. The layer is the last convolution; where that is far from the end, as a transformer's patch embedding is,
    tokens on their grid, without class tokens (see :mod:`kdviz.explanation.captum.gradcam_layers`). -> (H, W).
    """
    from captum.attr import LayerAttribution

    from kdviz.explanation.captum.gradcam_layers import output_and_gradient

    model = copy.deepcopy(task.model)  # others may use the model at the same time
    layer = find_grad_cam_layer(task, model)
    output, gradient = output_and_gradient(model, layer, task.inputs, task.target)
    values = (gradient.mean((2, 3), keepdim=True) * output).sum(1, keepdim=True)
    values = values.relu() if task.settings["relu"] == "on" else values
    return LayerAttribution.interpolate(values, task.size, "bilinear")[0, 0]


def find_grad_cam_layer(task: AttributionTask, model: nn.Module) -> Layer:
    """The layer that Grad-CAM uses, in a copy of the task's model."""
    from kdviz.explanation.captum.gradcam_layers import find_layer

    layer = find_layer(model, task.inputs, task.target)
    if layer is None:
        raise task.refused(
            "needs a layer whose numbers have places in the picture and reach the class's score, and "
            "{network} has none; use rise or occlusion.",
            network=task.network,
        )
    if not layer.late:
        raise task.refused(
            "needs a layer with places near the end of the network; the last of {network}, '{name}', "
            "comes after {position:.0%} of its layers and says little about the answer; use rise or "
            "occlusion.",
            network=task.network,
            name=layer.name,
            position=layer.position,
        )
    return layer


METHOD = Method(
    "layer_gradcam",
    N_("Grad-CAM"),
    True,
    (
        Setting(
            "relu",
            "on",
            N_("on: only evidence for the class, as published; off: also evidence against it, below zero."),
            choices=("on", "off"),
            title=N_("Only evidence for the class"),
        ),
    ),
    explains="logit",
    needs=N_("Near its end a convolution, or tokens that lie on a grid over the picture."),
    advice=N_("Which region a convolutional network uses, coarsely and quickly. None for fully connected ones."),
    compute=_attribute,
    incompatibility=needs_positions,
)
