"""What a session computes on this page; it is cancelled when the tab closes."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import is_
from typing import Any, TypeVar

from kdviz.app import service
from kdviz.core.jobs import Job
from kdviz.core.vocabulary import Role
from kdviz.metrics import AgreementReport, Faithfulness, agreement
from kdviz.saliency import ExplainState, SaliencyMap
from kdviz.serving import FaithfulnessTask, RemoteJob
from kdviz.serving.tasks import Target

MEASURES = ("spearman", "ssim", "iou")
Maps = dict[str, SaliencyMap]
Reports = dict[str, AgreementReport]
"""Name of a measure -> agreement by it."""

_DRAWN_BYTES = 2**17  # approximate size of what is drawn of one row
_PAUSE = 4.0  # before the next estimate, in durations of the last one: others use this server too
Drawn = TypeVar("Drawn")


class MapSession:
    """At most one job for maps, and one for the curves of each row of them."""

    def __init__(self) -> None:
        self.current_request: service.Request | None = None
        self.job: Job[service.States] | None = None
        self.curves: dict[int, RemoteJob] = {}
        self._maps: dict[int, tuple[ExplainState, Target, bool, tuple[Maps, Reports]]] = {}
        self._drawn: tuple[Hashable, Sequence[Mapping[str, SaliencyMap]], Any] = (None, [], None)
        self._paused_until = 0.0

    def cancel(self) -> None:
        """Stop everything."""
        for job in [self.job, *self.curves.values()]:
            if job is not None:
                job.cancel()

    def request(self, request: service.Request) -> None:
        """Compute the maps of a request unless they are being computed already; any other job is stopped.

        Raises:
            QueueFullError: Too many computations are under way.
        """
        if self.current_request is not None and request.keys == self.current_request.keys:
            return
        self.cancel()
        self.current_request, self._maps, self.curves = None, {}, {}
        self.job = service.start(request)
        self.current_request = request

    def again(self) -> None:
        """Let the next request be computed even if it is the same."""
        self.current_request = None

    def maps(self, row: int, state: ExplainState, target: Target, complete: bool) -> tuple[Maps, Reports]:
        """A row's maps and their agreement, by all of ``MEASURES`` when no more masks will come.

        They are computed again only for another state or class, and not too often while the job is under way. Complete
        ones are computed once for all equal requests.
        """
        entry = self._maps.get(row)
        same = entry is not None and entry[1:3] == (target, complete)
        if entry is not None and same and (entry[0] is state or self._paused(complete)):
            return entry[3]
        started = time.monotonic()
        entry = self._maps[row] = (state, target, complete, self._compute(row, state, target, complete))
        pause = _PAUSE * service.patience(self.job)
        self._paused_until = time.monotonic() + pause * (time.monotonic() - started)
        self.curves.pop(row, None)
        return entry[3]

    def _paused(self, complete: bool) -> bool:
        return not complete and time.monotonic() < self._paused_until

    def drawn(
        self,
        rows: Sequence[Mapping[str, SaliencyMap]],
        key: tuple[Hashable, ...],
        complete: bool,
        make: Callable[[], Drawn],
    ) -> Drawn:
        """What ``make`` makes of the maps, once for equal arguments; complete ones are kept with the request's results.

        Args:
            rows: The maps of each row, from :meth:`maps`.
            key: Everything else on which the result depends.
            complete: Whether no more masks will come.
            make: Makes the result.
        """
        last_key, last_rows, result = self._drawn
        if last_key == key and len(last_rows) == len(rows) and all(map(is_, last_rows, rows)):
            return result
        cache_key = (
            (*self.current_request.keys, *(_fingerprint(maps) for maps in rows), *key)
            if complete and self.current_request
            else None
        )
        results = self.current_request.results if cache_key and self.current_request else None
        result = results.drawn.get(cache_key) if results and cache_key else None
        if result is None:
            result = make()
            if results and cache_key:
                results.drawn.put(cache_key, result, _DRAWN_BYTES * len(rows))
        self._drawn = (key, rows, result)
        return result

    def _compute(self, row: int, state: ExplainState, target: Target, complete: bool) -> tuple[Maps, Reports]:
        if not complete or self.current_request is None:
            maps = state.maps(targets(target, state))
            return maps, {"spearman": agreement(maps)}
        key = (*self.current_request.keys[row], target, state.n_masks)
        entry = self.current_request.results.drawn.get(key)
        if entry is None:
            maps = state.maps(targets(target, state))
            entry = maps, {name: agreement(maps, name) for name in MEASURES}
            self.current_request.results.drawn.put(key, entry, sum(map(_map_bytes, maps.values())))
        return entry

    def start_curves(self, row: int, maps: Maps, baseline: str) -> None:
        """Compute deletion and insertion of a row's maps.

        Raises:
            QueueFullError: Too many computations are under way.
        """
        if self.current_request is None:
            return
        maps_task = self.current_request.task
        values = {role: saliency_map.values for role, saliency_map in maps.items()}
        classes = {role: saliency_map.target for role, saliency_map in maps.items()}
        task = FaithfulnessTask(maps_task.folder, maps_task.fingerprint, maps_task.picture, values, classes, baseline)
        self.curves[row] = service.pool().submit(task)


def _fingerprint(maps: Mapping[str, SaliencyMap]) -> tuple[tuple[str, int, int], ...]:
    return tuple((role, saliency_map.target, saliency_map.n_masks) for role, saliency_map in maps.items())


def _map_bytes(saliency_map: SaliencyMap) -> int:
    """Bytes of a map, with the arrays that its intervals need."""
    parts = (
        saliency_map.values,
        saliency_map.standard_error,
        saliency_map.halves,
        saliency_map.jackknife_maps,
        saliency_map.jackknife_halves,
    )
    return sum(part.nbytes for part in parts if part is not None)


def targets(target: Target, state: ExplainState) -> dict[str, int] | None:
    """Role -> class for :meth:`ExplainState.maps`; None stands for each model's own prediction."""
    roles = state.states or state.ready
    if isinstance(target, tuple):
        return {role: index for role, index in target if role in roles}
    index = state.targets.get(Role.TEACHER) if target == service.TEACHER else target
    return dict.fromkeys(roles, index) if isinstance(index, int) else None


def latest_curves(job: RemoteJob) -> dict[str, dict[str, Faithfulness]]:
    """Role -> curves of its map, as ``map``, and of the blurred picture, as ``trivial``."""
    return dict(job.latest or ())
