"""GradientSHAP: gradients at random points on the line from the baseline, with noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdviz.core.language import N_
from kdviz.explanation.captum.task import AttributionTask
from kdviz.explanation.method import BASELINE, GRADIENTS, MAXIMUM_SAMPLES, REPEATS, SEED, Method, Setting

if TYPE_CHECKING:
    from torch import Tensor


def _attribute(task: AttributionTask) -> Tensor:
    """Integrated gradients of the logit at random points on the line, with noise on the picture.

    Erion et al. (2021), arXiv:1906.10670, with noise as in SmoothGrad (Smilkov et al., 2017, arXiv:1706.03825): a
    share of the picture's range of values. Summed over channels. -> (REPEATS, H, W).
    """
    import torch
    from captum.attr import GradientShap

    from kdviz.explanation.captum.random_state import seeded

    samples = -(-task.settings["n_samples"] // REPEATS)
    images = task.inputs.detach()
    noise = task.settings["noise"] * float(images.max() - images.min())
    explainer = GradientShap(task.model)

    def mean_of_samples() -> Tensor:
        total = torch.zeros(task.size, device=images.device)
        for start in range(0, samples, task.batch_size):
            batch = min(task.batch_size, samples - start)
            total += batch * explainer.attribute(images, task.baseline, batch, noise, target=task.target)[0].sum(0)
        return total / samples

    with seeded(task):
        return torch.stack([mean_of_samples() for _ in range(REPEATS)])


METHOD = Method(
    "gradient_shap",
    N_("GradientSHAP"),
    True,
    (
        Setting(
            "n_samples",
            400,
            N_("Random points between baseline and picture: more, less noise."),
            8,
            MAXIMUM_SAMPLES,
            title=N_("Random samples"),
        ),
        Setting(
            "noise",
            0.1,
            N_("Standard deviation of the noise on the picture, as a share of its range of values."),
            0,
            1,
            title=N_("Noise on the picture, as a share of its range"),
        ),
        BASELINE,
        SEED,
    ),
    explains="logit",
    needs=GRADIENTS,
    advice=N_("The same, averaged over noise: less of the gradient's own noise, more time."),
    compute=_attribute,
)
