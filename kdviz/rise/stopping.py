"""The rule that ends a stream of masks: the maps have settled, or time is up."""

from __future__ import annotations

import time
from itertools import combinations

import torch
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.rise.estimators import estimate, reliability
from kdviz.rise.masks import RandomMasks

_CHECK_GROWTH = 1.25  # maps are checked again when the number of masks has grown by this factor


class StoppingRule:
    """Stop when the maps, and the differences of compared maps, are reliable, or time is up.

    Args:
        masks: The series of masks.
        estimator: Name of the estimator of the maps.
        wanted: Reliability that every map and difference must have, between 0 and 1; None: not checked.
        seconds: Time limit in seconds, from now; None: no limit.
        compared: Whether the maps are of one image by several models, so that their differences matter too.

    Raises:
        SettingError: A limit is outside its range.
    """

    def __init__(
        self,
        masks: RandomMasks,
        estimator: str,
        wanted: float | None = None,
        seconds: float | None = None,
        compared: bool = False,
    ):
        if wanted is not None and not 0 < wanted < 1:
            raise SettingError("reliability must be between 0 and 1 (exclusive), got {wanted:g}.", wanted=wanted)
        if seconds is not None and not seconds > 0:
            raise SettingError("seconds must be above 0, got {seconds:g}.", seconds=seconds)
        self._masks, self._estimator, self._wanted, self._compared = masks, estimator, wanted, compared
        self._end = None if seconds is None else time.monotonic() + seconds
        self._next = 2 * masks.block

    def reason(self, scores: Tensor, done: int) -> tuple[str, int] | None:
        """Why to stop, and with how many masks.

        Maps are checked after fixed numbers of whole blocks, whatever the chunks are, so that the result does not
        depend on speed.

        Args:
            scores: Scores of the targets, (maps, done).
            done: Number of masks so far.

        Returns:
            ``settled`` or ``time`` and a number of masks, or None to continue.
        """
        while self._wanted is not None and done >= self._next:
            count, block = self._next, self._masks.block
            self._next = max(count + block, int(count * _CHECK_GROWTH) // block * block)
            if self._settled(scores[:, :count], self._wanted):
                return "settled", count
        if self._end is not None and time.monotonic() >= self._end:
            return "time", done
        return None

    def _settled(self, scores: Tensor, wanted: float) -> bool:
        halves = estimate(self._masks, scores, self._estimator).halves  # (2, maps, H, W)
        if self._compared:
            pairs = [halves[:, a] - halves[:, b] for a, b in combinations(range(halves.shape[1]), 2)]
            halves = torch.cat([halves, *(pair.unsqueeze(1) for pair in pairs)], dim=1)
        return bool((reliability(halves) >= wanted).all())
