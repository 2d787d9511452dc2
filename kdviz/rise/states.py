"""The state of RISE for a model after some of the masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from kdviz.rise.engine import Forward
from kdviz.rise.estimators import Estimate, estimate
from kdviz.rise.masks import RandomMasks
from kdviz.rise.targets import Target, select_scores

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ModelWithActivation:
    """A model and its ``activation``, which turns logits into the scores that are explained."""

    forward: Forward
    activation: Activation | None = None


@dataclass(frozen=True)
class RISEState:
    """The state after ``n_masks`` of ``total`` masks, for one model. Maps are computed on demand.

    Attributes:
        n_masks, total: Numbers of masks done and requested.
        scores: (N, n_masks, ...): the model's output for each image under each mask.
        stopped: Why it ended early: ``settled`` or ``time``; None if it continues, or all masks are done.
        precision: Precision in which the model was run.
    """

    n_masks: int
    total: int
    scores: Tensor
    masks: RandomMasks
    estimator: str
    target: Target = None
    stopped: str | None = None
    precision: str = "float32"

    def first(self, count: int) -> RISEState:
        """The state after ``count`` masks."""
        return replace(self, n_masks=count, scores=self.scores[:, :count])

    def estimate(self, target: Target = None) -> Estimate:
        """The maps of the N images, one target each, as the N targets of one :class:`Estimate`.

        Args:
            target: As in :meth:`RISE.attribute`; default: the target given there.
        """
        scores = select_scores(self.scores, self.target if target is None else target)
        return estimate(self.masks, scores, self.estimator)

    @cached_property
    def _estimate(self) -> Estimate:
        return self.estimate()

    @property
    def map(self) -> Tensor:
        """Current saliency map, float32 (N, 1, H, W)."""
        return self._estimate.map.unsqueeze(1).to(self.scores.device)

    @property
    def standard_error(self) -> Tensor:
        """Standard error of :attr:`map`, float32 (N, 1, H, W)."""
        return self._estimate.standard_error.unsqueeze(1).to(self.scores.device)

    @property
    def halves(self) -> Tensor:
        """Maps from two independent halves of the masks, float32 (2, N, 1, H, W)."""
        return self._estimate.halves.unsqueeze(2).to(self.scores.device)

    @property
    def reliability(self) -> Tensor:
        """Predicted correlation of each image's map with that of infinitely many masks, (N,)."""
        return self._estimate.reliability


def softmax(logits: Tensor) -> Tensor:
    """The default activation, so that RISE explains probabilities (Petsiuk et al., 2018, section 3.1)."""
    return logits.softmax(1)
