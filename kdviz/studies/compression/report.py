"""What compression.parquet says: each step's cost and saving, and whether it changed more than another seed would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.metrics import Difference, PairedShares, paired_difference, paired_shares, score_interval
from kdviz.studies.compression.names import INT8, QAT, SEED
from kdviz.studies.compression.rows import known
from kdviz.studies.compression.steps import is_repeatable
from kdviz.studies.compression.table import read_compression
from kdviz.studies.json_values import finite

MORE, LESS, UNKNOWN = "more", "less", "cannot tell"
_FEWEST = 5  # images for an interval


@dataclass(frozen=True)
class CompressedRun:
    """One run against the one that it was made from, on the same test samples.

    Attributes:
        row: Its row of compression.parquet.
        accuracy: Its accuracy less its parent's.
        changed: Bool (samples,): another answer than its parent's.
        maps_parent: Mean agreement of its maps with its parent's, 1 where they are equal; None: not measured.
        maps_teacher: That of its maps with the teacher's, less that of its parent's.
        beyond_changed: Share of changed answers less that of another seed's; None: no other seed was trained.
        beyond_maps: Its maps' agreement with its parent's less that of another seed's; None likewise.
        nulls: Roles of the runs that were trained with another seed.
        since_root: Its accuracy less that of the run where the chain of steps began; None after the first step.
        untrained: Role of the run that was quantised from the same parent without training, if this was quantised with
            it; empty without.
        beside_untrained: Its accuracy less that of ``untrained``; None without.
    """

    row: Mapping[str, Any]
    accuracy: Difference
    changed: np.ndarray
    maps_parent: Difference | None
    maps_teacher: Difference | None
    beyond_changed: Difference | None = None
    beyond_maps: Difference | None = None
    nulls: tuple[str, ...] = ()
    since_root: Difference | None = None
    untrained: str = ""
    beside_untrained: Difference | None = None

    @property
    def child(self) -> str:
        return self.row["child"]

    @property
    def parent(self) -> str:
        return self.row["parent"]

    @property
    def step(self) -> str:
        return self.row["step"]

    @property
    def right(self) -> np.ndarray:
        """Which samples it classifies correctly, bool (samples,)."""
        return _bits(self.row, "right")

    @property
    def is_null(self) -> bool:
        """Whether it is the same model trained with another seed."""
        return self.step == SEED

    @property
    def size(self) -> float:
        """Its file over its parent's."""
        return self.row["bytes"] / self.row["parent_bytes"]

    @property
    def operations(self) -> float:
        """Its operations over its parent's; NaN where they are not known."""
        return known(self.row["flops"]) / known(self.row["parent_flops"])

    @property
    def answers(self) -> str:
        """Whether it changed ``more`` or ``less`` answers than another seed, or one ``cannot tell``."""
        return side(self.beyond_changed)

    @property
    def looks(self) -> str:
        """Whether its maps changed ``more`` or ``less`` than another seed's, or one ``cannot tell``."""
        return {MORE: LESS, LESS: MORE, UNKNOWN: UNKNOWN}[side(self.beyond_maps)]

    @property
    def teacher_side(self) -> str:
        """Whether its maps agree ``more`` or ``less`` with the teacher's than its parent's do."""
        return side(self.maps_teacher)


def side(difference: Difference | None) -> str:
    """On which side of 0 the whole 95 % interval lies."""
    if difference is None or math.isnan(difference.low):
        return UNKNOWN
    return MORE if difference.low > 0 else LESS if difference.high < 0 else UNKNOWN


@dataclass(frozen=True)
class CompressionReport:
    """All steps of an experiment, parents before their children.

    Attributes:
        runs: Role -> what its step did.
        stale: Roles whose weights, or whose parent's, have changed since the measurement.
        absent: Roles of which the experiment has only these figures, and no model.
        unrepeatable: Roles of models of which it is not known how they were trained.
    """

    runs: Mapping[str, CompressedRun]
    stale: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unrepeatable: tuple[str, ...] = ()

    @property
    def roots(self) -> list[str]:
        """Roles that something was made from and that were made from nothing."""
        return list(dict.fromkeys(run.parent for run in self.runs.values() if run.parent not in self.runs))

    def children(self, role: str) -> list[CompressedRun]:
        return [run for run in self.runs.values() if run.parent == role]

    def root_of(self, role: str) -> str:
        """The run at the beginning of a chain of steps."""
        seen: set[str] = set()
        while role in self.runs and role not in seen:
            seen.add(role)
            role = self.runs[role].parent
        return role

    def to_json(self) -> dict[str, Any]:
        """The numbers; None for what is not known."""
        return finite({"compression": [_as_json(run) for run in self.runs.values()], "stale": list(self.stale)})


def _as_json(run: CompressedRun) -> dict[str, Any]:
    left_out = ("changed", "right", "images", "maps_parent", "maps_teacher", "parent_teacher", "ceiling")
    numbers = {name: value for name, value in run.row.items() if name not in left_out}
    differences = {
        name: None if getattr(run, name) is None else asdict(getattr(run, name))
        for name in ("since_root", "maps_parent", "maps_teacher", "beyond_changed", "beyond_maps", "beside_untrained")
    }
    words = {"answers": run.answers, "looks": run.looks, "nulls": list(run.nulls), "untrained": run.untrained or None}
    return {**numbers, "changed": float(run.changed.mean()), **differences, **words}


def read_compression_report(experiment: Experiment) -> CompressionReport | None:
    """The report on compression.parquet; None: there is no such table.

    Raises:
        ExperimentError: The table is damaged.
    """
    rows = read_compression(experiment)
    if not rows:
        return None
    try:
        return report_of(rows, experiment)
    except (KeyError, TypeError, ValueError) as error:
        raise ExperimentError(
            "compression.parquet of '{folder}' is damaged; remove it, and compress a model again.",
            folder=experiment.folder,
        ) from error


def report_of(rows: Sequence[Mapping[str, Any]], experiment: Experiment | None = None) -> CompressionReport:
    """The report on rows of compression.parquet.

    Args:
        rows: The rows.
        experiment: Where given, rows of runs whose weights have changed are named as stale.
    """
    plain = CompressionReport({row["child"]: _run(row) for row in rows})
    nulls: dict[str, list[CompressedRun]] = {}
    for run in plain.runs.values():
        if run.is_null:
            nulls.setdefault(run.parent, []).append(run)
    runs = {
        role: run if run.is_null else _beside_untrained(_against(run, nulls.get(plain.root_of(role), [])), plain)
        for role, run in plain.runs.items()
    }
    if experiment is None:
        return CompressionReport(runs)
    stale = tuple(row["child"] for row in rows if _is_stale(row, experiment))
    absent = tuple(role for role in runs if role not in experiment.runs)
    unrepeatable = tuple(role for role, run in experiment.runs.items() if not is_repeatable(run))
    return CompressionReport(runs, stale, absent, unrepeatable)


def _is_stale(row: Mapping[str, Any], experiment: Experiment) -> bool:
    wanted = {row["child"]: row["weights"], row["parent"]: row["parent_weights"]}
    runs = experiment.runs
    return any(role in runs and runs[role].sha256 != digest for role, digest in wanted.items())


def _run(row: Mapping[str, Any]) -> CompressedRun:
    samples = row["samples"]
    return CompressedRun(
        row,
        _accuracy(row["fixed"], row["broken"], samples),
        _bits(row, "changed"),
        _mean(_values(row, "maps_parent")),
        _mean(_values(row, "maps_teacher") - _values(row, "parent_teacher")),
        since_root=_accuracy(row["root_fixed"], row["root_broken"], samples) if row["root"] else None,
    )


def _bits(row: Mapping[str, Any], name: str) -> np.ndarray:
    return np.unpackbits(np.frombuffer(row[name], np.uint8), count=row["samples"]).astype(bool)


def _accuracy(fixed: int, broken: int, samples: int) -> PairedShares:
    value = (fixed - broken) / samples
    error = max(((fixed + broken) / samples - value**2) / samples, 0.0) ** 0.5
    return PairedShares(value, *score_interval(fixed, broken, samples), 1, samples, math.nan, error)


def _values(row: Mapping[str, Any], name: str) -> np.ndarray:
    return np.array([known(value) for value in row[name] or ()], float)


def _mean(values: np.ndarray) -> Difference | None:
    """The mean over images with its 95 % interval; None for too few of them.

    Args:
        values: (images,), or (seeds, images); images with a value that is not finite are left out.
    """
    table = np.atleast_2d(values)
    table = table[:, np.isfinite(table).all(0)]
    if table.shape[1] < _FEWEST:
        return None
    return paired_difference(np.zeros(table.shape), table)


def _by_image(run: CompressedRun) -> dict[int, float]:
    """Image -> agreement of its maps with its parent's; empty where none were measured."""
    return dict(zip(run.row["images"] or (), _values(run.row, "maps_parent"), strict=True))


def _against(run: CompressedRun, nulls: Sequence[CompressedRun]) -> CompressedRun:
    """A run with what it changed beyond what other seeds change, on the same samples and images."""
    nulls = [null for null in nulls if len(null.changed) == len(run.changed)]
    if not nulls:
        return run
    changed = np.stack([null.changed for null in nulls])
    own = np.broadcast_to(run.changed, changed.shape)
    beyond = paired_shares(changed[0], run.changed) if len(nulls) == 1 else paired_difference(changed, own)
    names = tuple(null.child for null in nulls)
    return replace(run, beyond_changed=beyond, beyond_maps=_maps_beyond(run, nulls), nulls=names)


def _maps_beyond(run: CompressedRun, nulls: Sequence[CompressedRun]) -> Difference | None:
    """Agreement of a run's maps with its parent's less that of other seeds', on the images that all have maps of."""
    own = _by_image(run)
    others = [other for other in map(_by_image, nulls) if other]
    common = [image for image in own if all(image in other for other in others)]
    if not others or not common:
        return None
    return _mean(np.array([[own[image] - other[image] for image in common] for other in others]))


def _beside_untrained(run: CompressedRun, report: CompressionReport) -> CompressedRun:
    """A run that was trained with int8 in mind beside the one that was quantised from the same parent without it."""
    others = [other for other in report.children(run.parent) if other.step == INT8]
    if run.step != QAT or not others or len(others[0].changed) != len(run.changed):
        return run
    return replace(run, untrained=others[0].child, beside_untrained=paired_shares(others[0].right, run.right))
