"""The state of an explanation while masks are evaluated: enough for the maps of any class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from kdviz.core.moved import warn_renamed
from kdviz.explanation.saliency_map import SaliencyMap
from kdviz.explanation.scores import MapDoubt, is_constant
from kdviz.rise.estimators import estimate
from kdviz.rise.states import RISEState

_KEEP_LEVEL = ("rise", "normalised")  # estimators whose map of a constant score is that score


@dataclass(frozen=True)
class ExplainState:
    """The state after ``n_masks`` of ``total`` masks. Maps of any class are computed on demand.

    Attributes:
        n_masks, total: Masks done and requested; for a method without masks, models.
        stopped: Why it ended before ``total``: ``settled`` or ``time``.
        states: Role -> scores under the masks, for RISE.
        ready: Role -> map, for a method without masks.
        incompatible: Role -> why the method does not fit this model.
        doubts: Role -> doubts about its scores, whatever the map.
    """

    n_masks: int
    total: int
    probabilities: Mapping[str, np.ndarray] = field(repr=False)
    targets: Mapping[str, int]
    picture: np.ndarray = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    settings: Mapping[str, Any]
    method: str = "rise"
    stopped: str | None = None
    states: Mapping[str, RISEState] = field(default_factory=dict, repr=False)
    ready: Mapping[str, SaliencyMap] = field(default_factory=dict, repr=False)
    incompatible: Mapping[str, str] = field(default_factory=dict)
    doubts: Mapping[str, tuple[MapDoubt, ...]] = field(default_factory=dict)

    def maps(self, targets: Mapping[str, int] | None = None) -> dict[str, SaliencyMap]:
        """Role -> current map of each model's target, or of other ``targets`` (role -> class index).

        Only RISE has the maps of every class; other methods have the map of their target.
        """
        classes = {**self.targets, **(targets or {})}
        if not self.states:
            return dict(self.ready)
        masks = next(iter(self.states.values())).masks
        rows = target_scores(self.states, classes)
        result = estimate(masks, rows, self.settings["estimator"])
        constant = is_constant(rows)
        maps = {
            role: SaliencyMap(
                role=role,
                target=classes[role],
                values=result.map[number].numpy(),
                standard_error=result.standard_error[number].numpy(),
                halves=result.halves[:, number].numpy(),
                jackknife_maps=result.jackknife_maps[:, number].numpy(),
                jackknife_halves=result.jackknife_halves[:, number].numpy(),
                probabilities=self.probabilities[role],
                picture=self.picture,
                classes=self.classes,
                n_masks=self.n_masks,
                method=self.method,
                settings={**self.settings, "precision": self.states[role].precision},
                doubts=self.doubts.get(role, ()),
            )
            for number, role in enumerate(self.states)
        }
        scores = {role: float(row[0]) for role, row, unchanged in zip(maps, rows, constant, strict=True) if unchanged}
        return {
            role: _without_noise(saliency_map, scores[role]) if role in scores else saliency_map
            for role, saliency_map in maps.items()
        }

    @property
    def misfits(self) -> Mapping[str, str]:
        """Former name of ``incompatible``."""
        warn_renamed("ExplainState.misfits", "incompatible")
        return self.incompatible


def target_scores(states: Mapping[str, RISEState], targets: Mapping[str, int]) -> torch.Tensor:
    """The scores of each model's target, (models, masks)."""
    return torch.stack([state.scores[0, :, targets[role]] for role, state in states.items()])


def _without_noise(saliency_map: SaliencyMap, score: float) -> SaliencyMap:
    """The flat map of a score that no mask changes: an estimate would show rounding, or the pattern of the masks."""
    level = score if saliency_map.settings["estimator"] in _KEEP_LEVEL else 0.0
    doubt = MapDoubt(
        "constant",
        saliency_map.role,
        {"class": saliency_map.classes[saliency_map.target], "probability": score, "masks": saliency_map.n_masks},
    )
    arrays = ("values", "halves", "jackknife_maps", "jackknife_halves")
    flat = {
        name: None if getattr(saliency_map, name) is None else np.full_like(getattr(saliency_map, name), level)
        for name in arrays
    }
    return replace(
        saliency_map,
        **flat,
        standard_error=np.zeros_like(saliency_map.standard_error),
        doubts=(*saliency_map.doubts, doubt),
    )
