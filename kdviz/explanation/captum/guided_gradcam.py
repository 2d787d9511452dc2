"""Guided Grad-CAM: Grad-CAM times guided backpropagation."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from kdviz.core.language import N_
from kdviz.explanation.captum.layer_gradcam import find_grad_cam_layer
from kdviz.explanation.captum.requirements import needs_relu
from kdviz.explanation.captum.task import AttributionTask
from kdviz.explanation.method import Method

if TYPE_CHECKING:
    from torch import Tensor


def _attribute(task: AttributionTask) -> Tensor:
    """Grad-CAM times guided backpropagation of the logit (Springenberg et al., 2014, arXiv:1412.6806).

    Selvaraju et al. (2017), arXiv:1610.02391, section 3.2. Summed over channels. -> (H, W).
    """
    from captum.attr import GuidedGradCam

    from kdviz.explanation.captum.isolation import Trace, isolate

    model = copy.deepcopy(task.model)  # others may use the model at the same time
    trace = Trace(model, task.inputs)
    grad_cam_layer = find_grad_cam_layer(task, model)
    if not grad_cam_layer.convolution:
        raise task.refused(
            "needs a convolution near the end, and {network} has none there; use layer_gradcam.", network=task.network
        )
    module = model.get_submodule(grad_cam_layer.name)
    if trace.functions:
        names = ", ".join(sorted(trace.functions))
        raise task.refused(
            "needs activations as modules and {network} calls {names}; use layer_gradcam.",
            network=task.network,
            names=names,
        )
    isolate(task, model, trace)
    values = GuidedGradCam(model, module).attribute(task.inputs, task.target, interpolate_mode="bilinear")
    return values[0].sum(0)


METHOD = Method(
    "guided_gradcam",
    N_("Guided Grad-CAM"),
    True,
    (),
    explains="logit",
    needs=N_("A convolution near its end, and no activation but nn.ReLU."),
    advice=N_("Fine lines within that region. Close to an edge detector: trust it least."),
    compute=_attribute,
    incompatibility=needs_relu,
)
