"""Which pixels a network's answer hangs on, to first order: input times gradient."""

from __future__ import annotations

from torch import Tensor

from kdviz.distill.objectives.explained import Explained
from kdviz.distill.objectives.registry import register_explanation_loss
from kdviz.distill.objectives.shapes import unlikeness


def explain(explained: Explained) -> Tensor:
    """(x - baseline) * d logit / dx, summed over channels, (n, H, W) (Shrikumar et al., 2016).

    For a network that is linear in x it is what the pixel adds to the logit, beside the baseline.
    """
    inputs = explained.inputs
    return ((inputs - explained.baseline) * explained.score_gradient(inputs)).sum(1)


@register_explanation_loss("input_gradient", explain, from_inputs=True)
def input_gradient_loss(student_explanation: Tensor, teacher_explanation: Tensor) -> Tensor:
    """1 - cosine(E_s, E_t) of input x gradient of the teacher's class, mean over samples.

    Explanation-enhanced distillation (Parchami-Araghi et al., 2024, eq. 2) with an explanation that every network has,
    a fully connected one too. From 0 to 2, lower is better; a sample whose explanation is 0 everywhere counts 1. The
    gradient of a gradient is needed, which costs about as much as two further steps.

    Args:
        student_explanation, teacher_explanation: (n, H, W).
    """
    return unlikeness(student_explanation, teacher_explanation)
