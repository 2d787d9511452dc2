"""KernelSHAP: Shapley values of the cells of a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdviz.core.language import N_
from kdviz.explanation.captum.task import AttributionTask
from kdviz.explanation.method import BASELINE, MAXIMUM_SAMPLES, REPEATS, SEED, Method, Setting

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import DataLoader


def _attribute(task: AttributionTask) -> Tensor:
    """Shapley values of the probability for the cells of a grid; each pixel gets the value of its cell.

    Lundberg & Lee (2017), arXiv:1705.07874, section 4.1. Each repeat is a separate regression. -> (REPEATS, H, W).
    """
    import torch
    from captum.attr import KernelShap

    from kdviz.explanation.captum.random_state import seeded

    cells = _cells(task)
    count = -(-task.settings["n_samples"] // REPEATS)
    explainer = KernelShap(task.probabilities)
    explainer.interpretable_model = _LeastSquares()  # type: ignore[assignment]
    with seeded(task):
        repeats = [
            explainer.attribute(
                task.inputs.detach(),
                task.baseline,
                task.target,
                feature_mask=cells.expand_as(task.inputs),
                n_samples=count,
                perturbations_per_eval=task.batch_size,
                return_input_shape=False,
            )
            for _ in range(REPEATS)
        ]
    return torch.stack([values[cells] for values in repeats])


def _cells(task: AttributionTask) -> Tensor:
    """The index of each pixel's cell, (H, W)."""
    import torch

    grid, (height, width) = task.settings["grid"], task.size
    if grid > min(height, width):
        raise task.refused(
            "with grid {grid} does not fit a picture of {height} × {width} pixels; use fewer cells.",
            grid=grid,
            height=height,
            width=width,
        )
    minimum = 2 * REPEATS * grid**2  # each repeat's regression has grid² unknowns
    if task.settings["n_samples"] < minimum:
        raise task.refused(
            "with grid {grid} needs n_samples of at least {minimum}; use more samples or fewer cells.",
            grid=grid,
            minimum=minimum,
        )
    device = task.inputs.device
    rows = torch.arange(height, device=device) * grid // height
    columns = torch.arange(width, device=device) * grid // width
    return rows[:, None] * grid + columns


class _LeastSquares:
    """The linear model that KernelSHAP fits, without scikit-learn, which Captum's default needs."""

    def fit(self, train_data: DataLoader, **_: object) -> None:
        import torch

        # A single batch: which cells are kept (n, cells), scores (n,), and weights (n,). On the CPU, as only there
        # can torch solve a system whose rank is not full.
        (batch,) = train_data
        kept, scores, weights = (column.cpu().double() for column in batch)
        design = torch.cat([kept, torch.ones(len(kept), 1, dtype=kept.dtype)], 1)
        root = weights.sqrt()[:, None]
        solution = torch.linalg.lstsq(design * root, scores[:, None] * root, driver="gelsd").solution
        self._values = solution[:-1, 0].to(batch[1])  # without the intercept

    def representation(self) -> Tensor:
        return self._values


METHOD = Method(
    "kernel_shap",
    N_("KernelSHAP"),
    True,
    (
        Setting(
            "n_samples",
            4000,
            N_("Random sets of cells: more of them, less noise."),
            2 * REPEATS,
            MAXIMUM_SAMPLES,
            title=N_("Random samples"),
        ),
        Setting(
            "grid",
            7,
            N_("Cells from side to side; all pixels of a cell get its value."),
            2,
            64,
            title=N_("Grid, cells a side"),
        ),
        BASELINE,
        SEED,
    ),
    advice=N_("Any model; shares the probability fairly among cells. Coarse, slow."),
    compute=_attribute,
)
