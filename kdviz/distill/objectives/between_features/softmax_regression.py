"""Features that the teacher's own head understands (Yang et al., 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.core.errors import ModelError
from kdviz.distill.objectives.features import FeatureSamples
from kdviz.distill.objectives.layers import head_of
from kdviz.distill.objectives.registry import VECTORS, register_feature_loss
from kdviz.distill.objectives.shapes import check_widths, comparable


class _Connector(nn.Module):
    """A linear layer from the student's width to the teacher's, before the teacher's head, which is not trained."""

    head: Tensor

    def __init__(self, student_width: int, head: Tensor):
        super().__init__()
        self.connector = nn.Linear(student_width, head.shape[1])
        self.register_buffer("head", head, persistent=False)  # the teacher's: no part of a training's saved state

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.connector(student_features), teacher_features, self.head


@torch.no_grad()
def _build_connector(samples: FeatureSamples) -> nn.Module:
    """Raise :class:`ModelError` where the teacher's logits are not its head's output for the very features."""
    name, head = head_of(samples.teacher_network, samples.inputs)
    weight, bias = head.weight, head.bias
    assert isinstance(weight, Tensor)
    matrix = weight.detach().flatten(1).float()  # (classes, D), also of a convolution of one position
    logits = samples.teacher_network(samples.inputs).float()
    if matrix.shape[1] == samples.teacher.shape[1]:
        again = F.linear(samples.teacher.float(), matrix, bias.float() if isinstance(bias, Tensor) else None)
        if torch.allclose(again, logits, atol=0.01 * float(logits.abs().max())):  # a GPU rounds
            return _Connector(samples.student.shape[1], matrix)
    raise ModelError(
        "softmax_regression puts features through the teacher's head '{head}', which does not make its logits from the "
        "compared layer; leave teacher_layer away, or use another loss such as hints.",
        head=name,
    )


@register_feature_loss("softmax_regression", takes=(VECTORS,), auxiliary=_build_connector)
def softmax_regression_loss(
    student_features: Tensor,
    teacher_features: Tensor,
    head: Tensor,
    *,
    feature_weight: float = 1.0,
    regression_weight: float = 1.0,
) -> Tensor:
    """feature_weight * mean (s - t)^2 + regression_weight * mean (W s - W t)^2, with the teacher's head W.

    Softmax regression representation learning (SRRL; Yang et al., 2021, section 3): the student's penultimate features
    s, through a linear connector that is trained along and thrown away, should be the teacher's t, and give the
    teacher's logits when they go through the teacher's own frozen head. Of the forms in which the paper compares these
    logits it is the squared error, the best in their experiments. The head's bias is on both sides and cancels. Means
    run over all numbers. Lower is better; >= 0.

    Args:
        student_features, teacher_features: (N, D), the student's after the connector.
        head: Weights of the teacher's head, (classes, D).
        feature_weight, regression_weight: >= 0; 1 and 1 in the authors' code.

    Raises:
        ModelError: These are no vectors of one width.
    """
    student, teacher = comparable(student_features, teacher_features.detach())
    check_widths("softmax_regression", student, teacher)
    difference = student - teacher
    regression = (difference @ head.T).square().mean()
    return feature_weight * difference.square().mean() + regression_weight * regression
