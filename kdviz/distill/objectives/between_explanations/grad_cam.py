"""Where a network's last maps speak for the teacher's class (Parchami-Araghi et al., 2024)."""

from __future__ import annotations

from torch import Tensor

from kdviz.distill.objectives.explained import Explained
from kdviz.distill.objectives.registry import MAPS, register_explanation_loss
from kdviz.distill.objectives.shapes import comparable, unlikeness


def explain(explained: Explained) -> Tensor:
    """Grad-CAM of the target, (n, h, w), >= 0: ReLU(sum_k a_k A_k), a_k the mean gradient (Selvaraju et al., 2017)."""
    maps = explained.maps
    assert maps is not None
    weights = explained.score_gradient(maps).mean((2, 3), keepdim=True)
    return (weights * maps).sum(1).relu()


@register_explanation_loss("grad_cam", explain, takes=(MAPS,), methods=("layer_gradcam",))
def grad_cam_loss(student_explanation: Tensor, teacher_explanation: Tensor) -> Tensor:
    """1 - cosine(E_s, E_t) of the Grad-CAM maps of the teacher's class, mean over samples.

    Explanation-enhanced distillation, e2KD (Parchami-Araghi et al., 2024, arXiv:2402.03119, eq. 2). From 0 to 1, as the
    maps are not negative; lower is better. Where a map is 0 everywhere there is nothing to compare, and the sample
    counts 1 without a gradient. Maps of different sizes are averaged down to the smaller one.

    Args:
        student_explanation, teacher_explanation: (n, h, w); h and w may differ.
    """
    student, teacher = comparable(student_explanation[:, None], teacher_explanation[:, None])
    return unlikeness(student, teacher)
