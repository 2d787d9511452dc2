"""What one session computes on this page. It is cancelled when the tab closes."""

from __future__ import annotations

from kdviz.execution import Job
from kdviz.metrics import AgreementReport, Faithfulness, agreement
from kdviz.saliency import ExplainState, SaliencyMap
from kdviz.serving import FaithfulnessTask, RemoteJob
from kdviz.serving.tasks import Target
from kdviz.ui import service

MEASURES = ("spearman", "ssim", "iou")
Maps = dict[str, SaliencyMap]
Reports = dict[str, AgreementReport]
"""By the name of the measure."""


class Current:
    """At most one job for maps, and one for their curves."""

    def __init__(self) -> None:
        self.wanted: service.Request | None = None
        self.job: Job[service.States] | None = None
        self.curves: dict[int, RemoteJob] = {}
        self._maps: dict[int, tuple[ExplainState, Target, bool, tuple[Maps, Reports]]] = {}

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

        Computed again only for another state or class, and once for all sessions when they are complete.
        """
        kept = self._maps.get(row)
        if kept is None or kept[0] is not state or kept[1:3] != (target, complete):
            kept = self._maps[row] = (state, target, complete, self._made(row, state, target, complete))
            self.curves.pop(row, None)
        return kept[3]

    def _made(self, row: int, state: ExplainState, target: Target, complete: bool) -> tuple[Maps, Reports]:
        if not complete or self.wanted is None:
            maps = state.maps(targets(target, state))
            return maps, {"spearman": agreement(maps)}
        key = (*self.wanted.keys[row], target, state.n_masks)
        known = service.made().get(key)
        if known is None:
            maps = state.maps(targets(target, state))
            known = maps, {name: agreement(maps, name) for name in MEASURES}
            service.made().put(key, known, sum(map(_size, maps.values())))
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


def _size(one: SaliencyMap) -> int:
    """Bytes of a map with what its intervals need."""
    parts = (one.values, one.standard_error, one.halves, one.left_out, one.halves_without)
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
