"""Occlusion: fall of the probability when a square is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdviz.core.language import N_
from kdviz.explanation.captum.task import AttributionTask
from kdviz.explanation.method import BASELINE, Method, Setting

if TYPE_CHECKING:
    from torch import Tensor


def _attribute(task: AttributionTask) -> Tensor:
    """Fall of the probability when a square is replaced by the baseline, mean over the squares that cover a pixel.

    Zeiler & Fergus (2014), arXiv:1311.2901. -> (H, W).
    """
    from captum.attr import Occlusion

    channels = task.inputs.shape[1]
    side = max(1, round(task.settings["window"] * min(task.size)))
    step = max(1, round(task.settings["stride"] * side))
    values = Occlusion(task.probabilities).attribute(
        task.inputs.detach(),
        (channels, side, side),
        strides=(channels, step, step),
        baselines=task.baseline,
        target=task.target,
        perturbations_per_eval=task.batch_size,
    )
    return values[0, 0]  # a square covers all channels, and each channel gets its whole effect


METHOD = Method(
    "occlusion",
    N_("Occlusion"),
    True,
    (
        Setting(
            "window",
            0.15,
            N_("Side of the square that is removed, as a share of the picture's."),
            0.01,
            1,
            title=N_("Side of the square, as a share of the picture's"),
        ),
        Setting(
            "stride",
            0.25,
            N_("Step from one square to the next, as a share of the square's side."),
            0.01,
            1,
            title=N_("Step, as a share of the square's side"),
        ),
        BASELINE,
    ),
    advice=N_("Any model; one square at a time. Misses what two places show only together."),
    compute=_attribute,
)
