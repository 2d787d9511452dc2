"""Soft targets of the classes that are learned already (Li and Hoiem, 2016)."""

from __future__ import annotations

from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.distill.objectives.registry import register_teacher_loss
from kdviz.distill.objectives.soft_targets import divergence


@register_teacher_loss("without_forgetting")
def without_forgetting_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, *, old: float = 0.0, new: float = 0.0
) -> Tensor:
    """T^2 * KL of the softened probabilities of the first `old` classes alone (0: all), mean over the batch.

    Learning without forgetting (Li and Hoiem, 2016, eq. 2 and 3): on pictures of new classes the network keeps giving
    the answers that it gave about the old ones, while cross entropy teaches the new. The softmax is over the old
    classes, which the teacher knows; with `old` 0 it is the loss of the softened targets. With a weight `new` the
    softened probabilities of the other classes, about which another teacher has answered, count as well (one network
    from several teachers of different classes: Shen et al., 2019). Lower is better; >= 0.

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0; the paper has 2.
        old: Number of the old classes, which come first.
        new: Weight of the other classes' answers.
    """
    count = int(old) or student_logits.shape[1]
    if not 2 <= count <= student_logits.shape[1] or count != (old or count):
        raise SettingError(
            "old must be 0 or a whole number of classes from 2 to {classes}, got {old:g}.",
            classes=student_logits.shape[1],
            old=old,
        )
    teacher_logits = teacher_logits.detach()
    loss = divergence(student_logits[:, :count], teacher_logits[:, :count], temperature)[0].mean()
    if not new or count == student_logits.shape[1]:
        return loss
    return loss + new * divergence(student_logits[:, count:], teacher_logits[:, count:], temperature)[0].mean()
