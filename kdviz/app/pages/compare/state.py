"""What one session computes on this page. It is cancelled when the tab closes."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import is_
from typing import Any, TypeVar

from kdviz.app import service
from kdviz.core.jobs import Job
from kdviz.metrics import AgreementReport, Faithfulness, agreement
from kdviz.saliency import ExplainState, SaliencyMap
from kdviz.serving import FaithfulnessTask, RemoteJob
from kdviz.serving.tasks import Target

MEASURES = ("spearman", "ssim", "iou")
Maps = dict[str, SaliencyMap]
Reports = dict[str, AgreementReport]
"""By the name of the measure."""

_DRAWN_BYTES = 2**17  # about, of a row
_REST = 4.0  # times as long as an estimate took, until the next: others use this server too
Drawn = TypeVar("Drawn")


class MapSession:
    """At most one job for maps, and one for their curves."""

    def __init__(self) -> None:
        self.wanted: service.Request | None = None
        self.job: Job[service.States] | None = None
        self.curves: dict[int, RemoteJob] = {}
        self._maps: dict[int, tuple[ExplainState, Target, bool, tuple[Maps, Reports]]] = {}
        self._drawn: tuple[Hashable, Sequence[Mapping[str, SaliencyMap]], Any] = (None, [], None)
        self._rests_until = 0.0

    def cancel(self) -> None:
        """Stop everything."""
        for job in [self.job, *self.curves.values()]:
            if job is not None:
                job.cancel()

    def request(self, wanted: service.Request) -> None:
        """Compute this unless it is what is being computed; a job for anything else is stopped.

        Raises:
            QueueFullError: Too many are under way.
        """
        if self.wanted is not None and wanted.keys == self.wanted.keys:
            return
        self.cancel()
        self.wanted, self._maps, self.curves = None, {}, {}
        self.job = service.start(wanted)
        self.wanted = wanted

    def again(self) -> None:
        self.wanted = None

    def maps(self, row: int, state: ExplainState, target: Target, complete: bool) -> tuple[Maps, Reports]:
        """A row's maps and their agreement, by all of ``MEASURES`` when no more masks will come.

        Computed again only for another state or class, not too often while it is under way, and once for all requests
        of the same when they are complete.
        """
        kept = self._maps.get(row)
        same = kept is not None and kept[1:3] == (target, complete)
        if kept is not None and same and (kept[0] is state or self._rests(complete)):
            return kept[3]
        begun = time.monotonic()
        kept = self._maps[row] = (state, target, complete, self._made(row, state, target, complete))
        self._rests_until = time.monotonic() + _REST * (time.monotonic() - begun)
        self.curves.pop(row, None)
        return kept[3]

    def _rests(self, complete: bool) -> bool:
        return not complete and time.monotonic() < self._rests_until

    def drawn(
        self,
        rows: Sequence[Mapping[str, SaliencyMap]],
        about: tuple[Hashable, ...],
        complete: bool,
        make: Callable[[], Drawn],
    ) -> Drawn:
        """What ``make`` makes of the maps, once for the same; kept with the request's results when they are complete.

        Args:
            rows: Maps of each row, from :meth:`maps`.
            about: Everything else that it depends on.
            complete: Whether no more masks will come.
            make: Makes it.
        """
        kept, kept_rows, found = self._drawn
        if kept == about and len(kept_rows) == len(rows) and all(map(is_, kept_rows, rows)):
            return found
        known = (*self.wanted.keys, *(_amount(maps) for maps in rows), *about) if complete and self.wanted else None
        results = self.wanted.results if known and self.wanted else None
        found = results.drawn.get(known) if results and known else None
        if found is None:
            found = make()
            if results and known:
                results.drawn.put(known, found, _DRAWN_BYTES * len(rows))
        self._drawn = (about, rows, found)
        return found

    def _made(self, row: int, state: ExplainState, target: Target, complete: bool) -> tuple[Maps, Reports]:
        if not complete or self.wanted is None:
            maps = state.maps(targets(target, state))
            return maps, {"spearman": agreement(maps)}
        key = (*self.wanted.keys[row], target, state.n_masks)
        known = self.wanted.results.drawn.get(key)
        if known is None:
            maps = state.maps(targets(target, state))
            known = maps, {name: agreement(maps, name) for name in MEASURES}
            self.wanted.results.drawn.put(key, known, sum(map(_size, maps.values())))
        return known

    def start_curves(self, row: int, maps: Maps, baseline: str) -> None:
        """Compute deletion and insertion of a row's maps.

        Raises:
            QueueFullError: Too many are under way.
        """
        if self.wanted is None:
            return
        task = self.wanted.task
        values = {role: one.values for role, one in maps.items()}
        classes = {role: one.target for role, one in maps.items()}
        curves = FaithfulnessTask(task.folder, task.fingerprint, task.picture, values, classes, baseline)
        self.curves[row] = service.pool().submit(curves)


def _amount(maps: Mapping[str, SaliencyMap]) -> tuple[tuple[str, int, int], ...]:
    return tuple((role, one.target, one.n_masks) for role, one in maps.items())


def _size(one: SaliencyMap) -> int:
    """Bytes of a map with what its intervals need."""
    parts = (one.values, one.standard_error, one.halves, one.jackknife_maps, one.jackknife_halves)
    return sum(part.nbytes for part in parts if part is not None)


def targets(target: Target, state: ExplainState) -> dict[str, int] | None:
    """Role -> class for :meth:`ExplainState.maps`; None: each model's own."""
    roles = state.states or state.ready
    if isinstance(target, tuple):
        return {role: index for role, index in target if role in roles}
    index = state.targets.get(service.TEACHER) if target == service.TEACHER else target
    return dict.fromkeys(roles, index) if isinstance(index, int) else None


def found_curves(job: RemoteJob) -> dict[str, dict[str, Faithfulness]]:
    """Role -> curves of its map, as ``map``, and of the blurred picture, as ``trivial``."""
    return dict(job.latest or ())
