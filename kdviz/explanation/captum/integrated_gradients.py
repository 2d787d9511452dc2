"""Integrated gradients: gradients along the line from the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdviz.core.language import N_
from kdviz.explanation.captum.task import AttributionTask
from kdviz.explanation.method import BASELINE, GRADIENTS, MAXIMUM_STEPS, Method, Setting

if TYPE_CHECKING:
    from torch import Tensor


def _attribute(task: AttributionTask) -> Tensor:
    """Gradients of the logit along the line from the baseline, times the difference; summed over channels.

    Sundararajan, Taly & Yan (2017), arXiv:1703.01365. The sum is the logit's change from the baseline. -> (H, W).
    """
    from captum.attr import IntegratedGradients

    values = IntegratedGradients(task.model).attribute(
        task.inputs,
        task.baseline,
        task.target,
        n_steps=task.settings["n_steps"],
        internal_batch_size=task.batch_size,
    )
    return values[0].sum(0)


METHOD = Method(
    "integrated_gradients",
    N_("Integrated gradients"),
    True,
    (
        Setting(
            "n_steps",
            64,
            N_("Steps from the baseline to the picture."),
            2,
            MAXIMUM_STEPS,
            title=N_("Steps from the baseline to the picture"),
        ),
        BASELINE,
    ),
    explains="logit",
    needs=GRADIENTS,
    advice=N_("Fine detail of a smooth model; adds up to the change of the logit. Depends on the baseline."),
    compute=_attribute,
)
