"""The losses by name. Names can be read without torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdviz.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TeacherLoss:
    """A loss between a student's and a teacher's logits, (N, classes) each, as a training uses it.

    Attributes:
        function: The pure function: student_logits, teacher_logits, then those of ``needs``, then its options.
        needs: Which of ``labels`` and ``temperature`` it takes.
        options: Its further settings and their defaults.
    """

    function: Callable[..., Tensor]
    needs: tuple[str, ...]
    options: Mapping[str, float]

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        temperature: float,
        options: Mapping[str, float],
    ) -> Tensor:
        inputs = {"labels": labels, "temperature": temperature}
        needed = {name: inputs[name] for name in self.needs}
        return self.function(student_logits, teacher_logits, **needed, **options)


losses: Registry[Callable[..., Tensor]] = Registry("loss")
"""All losses, as pure functions."""

teacher_losses: Registry[TeacherLoss] = Registry(
    "distillation loss", "kdviz.distill.objectives.against_teacher", one_per_file=True
)
"""The losses against a teacher's logits."""


def register_teacher_loss(name: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss that a student can be distilled with, as a decorator of a pure function.

    The function takes the student's and the teacher's logits, (N, classes) each, then ``labels``, int64 (N,), or
    ``temperature`` if it has parameters of these names, and gives the mean over the batch. Its keyword-only parameters
    are its options, with their defaults; the first line of its docstring describes it in lists.

    Args:
        name: Name of the loss.
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        parameters = list(inspect.signature(function).parameters.values())[2:]
        options = {
            parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
        }
        needs = tuple(parameter.name for parameter in parameters if parameter.name not in options)
        teacher_losses.add(name, TeacherLoss(function, needs, options))
        return losses.add(name, function)

    return register
