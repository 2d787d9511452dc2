"""DeepLIFT: contributions to the difference from the baseline, by the Rescale rule."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from kdviz.core.language import N_
from kdviz.explanation.captum.requirements import needs_rules
from kdviz.explanation.captum.task import AttributionTask
from kdviz.explanation.method import BASELINE, Method

if TYPE_CHECKING:
    from torch import Tensor

_INCOMPLETE = 1e-3  # of the total attribution: rounding errors of DeepLIFT stay far below
_ROUNDING = 1e-5  # of a logit


def _attribute(task: AttributionTask) -> Tensor:
    """Contributions to the logit's difference from the baseline, by the Rescale rule; summed over channels.

    Shrikumar, Greenside & Kundaje (2017), arXiv:1704.02685. Their sum must be the logit's difference: where it is not,
    the model has a layer that Captum has no rule for, and the map would be wrong. -> (H, W).
    """
    from captum.attr import DeepLift

    from kdviz.explanation.captum.isolation import Trace, isolate

    model = copy.deepcopy(task.model)  # others may use the model at the same time
    isolate(task, model, Trace(model, task.inputs))
    logit = model(task.inputs)[0, task.target].abs().item()
    values, delta = DeepLift(model).attribute(task.inputs, task.baseline, task.target, return_convergence_delta=True)
    if delta.abs().item() > _INCOMPLETE * values.abs().sum().item() + _ROUNDING * logit:
        raise task.refused(
            "does not add up for {network}: it has a layer that Captum has no rule for, for instance "
            "an activation that is called as a function; use integrated_gradients.",
            network=task.network,
        )
    return values[0].sum(0)


METHOD = Method(
    "deeplift",
    N_("DeepLIFT"),
    True,
    (BASELINE,),
    explains="logit",
    needs=N_(
        "Layers that DeepLIFT has rules for, as modules: linear ones, ReLU and its like, sigmoid, tanh, max pooling."
    ),
    advice=N_("Like integrated gradients in one pass, for networks of the usual layers; checked on every call."),
    compute=_attribute,
    incompatibility=needs_rules,
)
