"""What shifts.parquet says, and what its intervals allow to conclude of the KD student beside the student alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.metrics.equivalence import ALPHA
from kdviz.studies.json_values import finite
from kdviz.studies.shifts.table import ALL, MEASURES, SECOND, TABLE, UNSHIFTED

MORE, LESS, UNKNOWN = "holds better", "holds worse", "cannot tell"
"""Whether a model is right, or answers as the teacher does, more often than another one on shifted pictures."""


@dataclass(frozen=True)
class Share:
    """The share of right answers, or of answers that are the teacher's.

    Attributes:
        measure: ``accuracy`` or ``agreement``.
        shift: Name of the shift; ``UNSHIFTED``, or ``ALL`` for the mean over them.
        severity: From 1 to 5; None: the mean over severities, or pictures that are not shifted.
        role: Which model.
        value: The share.
    """

    measure: str
    shift: str
    severity: int | None
    role: str
    value: float


@dataclass(frozen=True)
class Gain:
    """The share of a model less that of another one, over the same pictures.

    Attributes:
        measure, shift, severity, role: As in :class:`Share`.
        less: Role of the other model.
        beyond: Whether the difference on the unshifted pictures is taken from it.
        value: The difference.
        low, high: The 95 % interval over pictures.
        p_value: Of no difference.
        p_adjusted: The same for all shifts together (Holm, 1979); NaN where it is not one of them.
    """

    measure: str
    shift: str
    severity: int | None
    role: str
    less: str
    beyond: bool
    value: float
    low: float
    high: float
    p_value: float
    p_adjusted: float

    @property
    def outcome(self) -> str:
        """One of ``MORE``, ``LESS`` and ``UNKNOWN`` by the p-value, which of a single shift holds for all together.

        It is about these very models: see :meth:`ShiftsReport.verdict`.
        """
        return outcome_of(self.value, self.p_value, self.p_adjusted)


def outcome_of(value: float, p_value: float, p_adjusted: float) -> str:
    """``MORE``, ``LESS`` or ``UNKNOWN``, by the adjusted p-value where there is one; what has no p-value is unknown."""
    p_value = p_value if math.isnan(p_adjusted) else p_adjusted
    if not p_value < ALPHA:
        return UNKNOWN
    return MORE if value > 0 else LESS


@dataclass(frozen=True)
class ShiftsReport:
    """A study of shifted pictures.

    Attributes:
        about: How it was made.
        shares: Of each measure, model, shift and severity.
        gains: Differences to the student alone.
    """

    about: Mapping[str, Any]
    shares: tuple[Share, ...]
    gains: tuple[Gain, ...]

    @property
    def pictures(self) -> int:
        return int(self.about.get("pictures", 0))

    @property
    def shifts(self) -> list[str]:
        """Names of the shifts."""
        return [name for name in dict.fromkeys(share.shift for share in self.shares) if name not in (UNSHIFTED, ALL)]

    @property
    def severities(self) -> list[int]:
        return sorted({share.severity for share in self.shares if share.severity is not None})

    @property
    def roles(self) -> list[str]:
        """The models of the experiment, in its order."""
        return [role for role in dict.fromkeys(share.role for share in self.shares) if role != SECOND]

    @property
    def has_second(self) -> bool:
        """Whether a second student alone was studied."""
        return any(gain.role == SECOND for gain in self.gains)

    def share(self, measure: str, role: str, shift: str = ALL, severity: int | None = None) -> float:
        """A share; NaN where there is none, as of the teacher's agreement with itself."""
        wanted = (measure, role, shift, severity)
        found = (each.value for each in self.shares if (each.measure, each.role, each.shift, each.severity) == wanted)
        return next(found, math.nan)

    def gain(
        self,
        measure: str,
        shift: str = ALL,
        severity: int | None = None,
        *,
        role: str = Role.KD_STUDENT,
        beyond: bool = False,
    ) -> Gain:
        """A difference to the student alone.

        Raises:
            KeyError: There is no such difference.
        """
        wanted = (measure, role, shift, severity, beyond)
        for each in self.gains:
            if (each.measure, each.role, each.shift, each.severity, each.beyond) == wanted:
                return each
        raise KeyError(wanted)

    def verdict(self, gain: Gain) -> str:
        """What a difference allows to say: its outcome, unless the chance of a training makes differences as large.

        Two students alone that differ in their seed can differ surely, over pictures. So where a second one was
        studied, the interval of ``gain`` must lie further from zero than any end of the interval of their difference.
        """
        if not self.has_second or gain.outcome == UNKNOWN:
            return gain.outcome
        chance = self.gain(gain.measure, gain.shift, gain.severity, role=SECOND, beyond=gain.beyond)
        nearest = gain.low if gain.value > 0 else -gain.high
        return gain.outcome if nearest > max(-chance.low, chance.high) else UNKNOWN

    def to_json(self) -> dict[str, Any]:
        """The numbers; None for what is not known."""
        shares = [asdict(share) for share in self.shares]
        # Of single severities there are many, whose p-values do not hold together: nothing is said of them.
        gains = [{**asdict(gain), "verdict": None if gain.severity else self._said(gain)} for gain in self.gains]
        return finite({"study": "shifts", **self.about, "shares": shares, "differences": gains})

    def _said(self, gain: Gain) -> str:
        return gain.outcome if gain.role == SECOND else self.verdict(gain)


def read_shifts_report(experiment: Experiment) -> ShiftsReport | None:
    """The study in shifts.parquet; None: there is no such table.

    Raises:
        ExperimentError: The table is damaged.
    """
    table = TABLE.read(experiment)
    if table is None:
        return None
    rows = table.to_pylist()
    if any(row["measure"] not in MEASURES or row["value"] is None for row in rows):
        raise TABLE.damaged(experiment)
    if any(not any(row["measure"] == measure and not row["less"] for row in rows) for measure in MEASURES):
        raise TABLE.damaged(experiment)
    report = ShiftsReport(
        TABLE.about(table),
        tuple(_share(row) for row in rows if not row["less"]),
        tuple(_gain(row) for row in rows if row["less"]),
    )
    try:
        roles = (Role.KD_STUDENT, SECOND) if report.has_second else (Role.KD_STUDENT,)
        for measure, role in product(MEASURES, roles):
            report.gain(measure, role=role, beyond=True)
            for shift in (UNSHIFTED, ALL, *report.shifts):
                report.gain(measure, shift, role=role)
    except KeyError as error:
        raise TABLE.damaged(experiment) from error
    return report


def _share(row: Mapping[str, Any]) -> Share:
    return Share(row["measure"], row["shift"], row["severity"], row["role"], row["value"])


def _gain(row: Mapping[str, Any]) -> Gain:
    names = ("measure", "shift", "severity", "role", "less", "beyond", "value")
    known: dict[str, Any] = {name: row[name] for name in names}
    for name in ("low", "high", "p_value", "p_adjusted"):
        known[name] = math.nan if row[name] is None else row[name]
    return Gain(**known)
