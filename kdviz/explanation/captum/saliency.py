"""Saliency: the size of the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdviz.core.language import N_
from kdviz.explanation.captum.task import AttributionTask
from kdviz.explanation.method import GRADIENTS, Method

if TYPE_CHECKING:
    from torch import Tensor


def _attribute(task: AttributionTask) -> Tensor:
    """Size of the logit's gradient: the largest over channels, without sign.

    Simonyan, Vedaldi & Zisserman (2013), arXiv:1312.6034, section 3.1. -> (H, W).
    """
    from captum.attr import Saliency

    return Saliency(task.model).attribute(task.inputs, task.target, abs=True)[0].amax(0)


METHOD = Method(
    "saliency",
    N_("Gradient (saliency)"),
    False,
    (),
    explains="logit",
    needs=GRADIENTS,
    advice=N_("A first look within milliseconds; noisy, and without a sign."),
    compute=_attribute,
)
