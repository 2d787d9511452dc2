"""What transfer.parquet says, and what its intervals allow to conclude of the KD student beside the student alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.studies.comparison.judgement import EQUAL, HIGHER, LOWER, MUCH_HIGHER, MUCH_LOWER, NO_HIGHER, outcome
from kdviz.studies.transfer.confusions import ALL
from kdviz.studies.transfer.layers import last_depth
from kdviz.studies.transfer.table import CKA, CONFUSIONS, INHERITED, SCORES, TABLE

CLOSER, NOT_CLOSER, FURTHER, UNKNOWN = "closer", "not closer", "further", "cannot tell"
"""Whether the KD student is closer to its teacher than the student alone."""

MARGIN = 0.02
"""Difference of CKA, or of rank correlations, within which two models count as equally close."""

INHERITED_MARGIN = 0.1
"""The same of shares of the teacher's errors, as on the first page."""

_VERDICTS = {
    MUCH_HIGHER: CLOSER,
    HIGHER: CLOSER,
    EQUAL: NOT_CLOSER,
    NO_HIGHER: NOT_CLOSER,
    LOWER: FURTHER,
    MUCH_LOWER: FURTHER,
}


@dataclass(frozen=True)
class Estimate:
    """A value with its intervals.

    Attributes:
        value: The value.
        low, high: The interval of 95 %; NaN where there is none.
        inner_low, inner_high: That of 90 %.
        together: Number of intervals that hold at once.
        count: Pictures, or errors of the teacher.
    """

    value: float
    low: float
    high: float
    inner_low: float
    inner_high: float
    together: int
    count: int

    def verdict(self, margin: float = MARGIN) -> str:
        """What a difference allows to say: one of ``CLOSER``, ``NOT_CLOSER``, ``FURTHER``, ``UNKNOWN``.

        As everywhere in kdviz (:func:`kdviz.studies.comparison.judgement.outcome`): not closer where the whole 90 %
        interval is below the margin, closer or further where the 95 % interval excludes zero, and otherwise it cannot
        be told.
        """
        result = outcome((self.low, self.high), (self.inner_low, self.inner_high), margin)
        return _VERDICTS.get(result, UNKNOWN)

    def shown(self, margin: float = MARGIN) -> tuple[float, float, float]:
        """The level and the ends of the interval that a reader sees: of 95 %, unless only that of 90 % bears it out."""
        outer = self.low, self.high
        is_borne_out = _VERDICTS.get(outcome(outer, outer, margin), UNKNOWN) == self.verdict(margin)
        return (0.95, *outer) if is_borne_out else (0.9, self.inner_low, self.inner_high)


@dataclass(frozen=True)
class LayerLikeness:
    """How alike a layer of a model and one of its teacher are, or how much more so than another model's.

    Attributes:
        role: Which model.
        less: Role of the model whose likeness is taken from it; empty: none.
        layer, teacher_layer: Names.
        depth, teacher_depth: Positions from 1; the logits come last.
        counterpart: Whether these two layers are compared in sentences and in the chart.
        cka: Linear CKA, or the difference of two.
        shuffled, shuffled_high: Mean with pictures paired at random, and what 95 % of such pairings do not exceed; NaN
            where it was not computed.
        within: Mean with each picture paired with one of its class; NaN where it was not computed.
    """

    role: str
    less: str
    layer: str
    teacher_layer: str
    depth: int
    teacher_depth: int
    counterpart: bool
    cka: Estimate
    shuffled: float
    shuffled_high: float
    within: float


@dataclass(frozen=True)
class LayerScore:
    """A score of a layer by distance correlation, or how much higher it is than another model's.

    Attributes:
        measure: One of :data:`kdviz.studies.transfer.table.SCORES`.
        role, less, layer, teacher_layer, depth, teacher_depth: As in :class:`LayerLikeness`; the two layers are
            counterparts. The teacher itself has its relevance.
        score: The distance correlation, a partial one of what is unique to a student, or the difference of two.
        shuffled, shuffled_high, within: As in :class:`LayerLikeness`.
    """

    measure: str
    role: str
    less: str
    layer: str
    teacher_layer: str
    depth: int
    teacher_depth: int
    score: Estimate
    shuffled: float
    shuffled_high: float
    within: float


@dataclass(frozen=True)
class ConfusionLikeness:
    """Rank correlation of a model's confusions with its teacher's, or the difference of two.

    Attributes:
        role, less: As in :class:`LayerLikeness`.
        temperature: Of the softmax.
        correlation: Spearman's.
    """

    role: str
    less: str
    temperature: float
    correlation: Estimate


@dataclass(frozen=True)
class InheritedErrors:
    """Share of the teacher's errors that a model repeats with the same wrong class, or the difference of two.

    Attributes:
        role, less: As in :class:`LayerLikeness`.
        label: True class; ``ALL``: every class.
        share: The share, without an interval; the difference has one.
    """

    role: str
    less: str
    label: int
    share: Estimate


@dataclass(frozen=True)
class TransferReport:
    """A study of what distillation transferred.

    Attributes:
        about: How it was made.
        layers: A row a model and pair of layers, and the differences.
        confusions: By temperature and model, and the differences.
        inherited: By class and model, and the differences.
        scores: By layer, measure and model, and the differences; empty in tables of earlier versions.
    """

    about: Mapping[str, Any]
    layers: tuple[LayerLikeness, ...]
    confusions: tuple[ConfusionLikeness, ...]
    inherited: tuple[InheritedErrors, ...]
    scores: tuple[LayerScore, ...] = ()

    @property
    def roles(self) -> list[str]:
        """The models whose layers are compared with the teacher's."""
        return list(dict.fromkeys(entry.role for entry in self.layers if not entry.less))

    def counterparts(self, role: str, less: str = "") -> list[LayerLikeness]:
        """A model's layers with their counterparts, by depth, or their differences to another model's."""
        entries = [entry for entry in self.layers if (entry.role, entry.less) == (role, less) and entry.counterpart]
        return sorted(entries, key=lambda entry: entry.depth)

    def last(self, role: str, less: str = "") -> LayerLikeness | None:
        """The last layer before the logits, which decides; None: it was not compared."""
        entries = self.counterparts(role, less)
        return next((entry for entry in entries if entry.depth == last_depth(self.depths(role))), None)

    def depths(self, role: str) -> int:
        """Number of a model's layers, with the logits."""
        return max((entry.depth for entry in self.layers if entry.role == role), default=0)

    @property
    def teacher_depths(self) -> int:
        """Number of the teacher's layers, with the logits."""
        return max((entry.teacher_depth for entry in self.layers), default=0)

    def score(self, measure: str, depth: int, role: str, less: str = "") -> LayerScore | None:
        """The score of a model's layer, or its difference to another model's; None: it was not computed."""
        wanted = (measure, depth, role, less)
        entries = self.scores
        return next((each for each in entries if (each.measure, each.depth, each.role, each.less) == wanted), None)

    def last_score(self, measure: str, role: str, less: str = "") -> LayerScore | None:
        """The score of the last layer before the logits, which decides; None: it was not computed."""
        return self.score(measure, last_depth(self.depths(role)), role, less)

    @property
    def temperatures(self) -> list[float]:
        return list(dict.fromkeys(entry.temperature for entry in self.confusions))

    def confusion(self, temperature: float, role: str, less: str = "") -> ConfusionLikeness | None:
        """The likeness of a model's confusions to its teacher's; None: it was not computed."""
        wanted = (temperature, role, less)
        entries = self.confusions
        return next((entry for entry in entries if (entry.temperature, entry.role, entry.less) == wanted), None)

    def inheritance(self, role: str = Role.KD_STUDENT, less: str = "") -> list[InheritedErrors]:
        """The shares of a model, or their differences to another's: all classes first."""
        return [entry for entry in self.inherited if (entry.role, entry.less) == (role, less)]

    def to_json(self) -> dict[str, Any]:
        """The numbers; None for what is not known."""
        parts = {name: [_json_of(asdict(entry)) for entry in getattr(self, name)] for name in _PARTS}
        return {"study": "transfer", **self.about, **parts}


_PARTS = ("layers", "confusions", "inherited", "scores")


def _json_of(values: Mapping[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, value in values.items():
        is_unknown = isinstance(value, float) and not math.isfinite(value)
        plain[name] = _json_of(value) if isinstance(value, dict) else None if is_unknown else value
    return plain


def read_transfer_report(experiment: Experiment) -> TransferReport | None:
    """The study in transfer.parquet; None: there is no such table.

    Raises:
        ExperimentError: The table is damaged.
    """
    table = TABLE.read(experiment)
    if table is None:
        return None
    rows = table.to_pylist()
    known = (CKA, CONFUSIONS, INHERITED, *SCORES)
    if any(row["measure"] not in known or row["value"] is None for row in rows):
        raise TABLE.damaged(experiment)
    return TransferReport(
        TABLE.about(table),
        tuple(_layer(row) for row in rows if row["measure"] == CKA),
        tuple(
            ConfusionLikeness(row["role"], row["less"], row["temperature"], _estimate(row))
            for row in rows
            if row["measure"] == CONFUSIONS
        ),
        tuple(
            InheritedErrors(row["role"], row["less"], row["label"], _estimate(row))
            for row in rows
            if row["measure"] == INHERITED
        ),
        tuple(_score(row) for row in rows if row["measure"] in SCORES),
    )


def _layer(row: Mapping[str, Any]) -> LayerLikeness:
    return LayerLikeness(**_of_layers(row), counterpart=row["counterpart"], cka=_estimate(row))


def _score(row: Mapping[str, Any]) -> LayerScore:
    return LayerScore(**_of_layers(row), measure=row["measure"], score=_estimate(row))


def _of_layers(row: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: row[name] for name in ("role", "less", "layer", "teacher_layer", "depth", "teacher_depth")}
    return known | {name: _number(row[name]) for name in ("shuffled", "shuffled_high", "within")}


def _estimate(row: Mapping[str, Any]) -> Estimate:
    ends = {name: _number(row[name]) for name in ("value", "low", "high", "inner_low", "inner_high")}
    return Estimate(**ends, together=row["together"] or 1, count=row["count"] or 0)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


__all__ = [
    "ALL",
    "CLOSER",
    "FURTHER",
    "INHERITED_MARGIN",
    "MARGIN",
    "NOT_CLOSER",
    "UNKNOWN",
    "ConfusionLikeness",
    "Estimate",
    "InheritedErrors",
    "LayerLikeness",
    "LayerScore",
    "TransferReport",
    "read_transfer_report",
]
