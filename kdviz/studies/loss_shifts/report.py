"""What loss_shifts.parquet says, and what its intervals allow to conclude of losses on shifted pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.studies.json_values import finite
from kdviz.studies.loss_shifts.table import TABLE
from kdviz.studies.shifts.report import outcome_of
from kdviz.studies.shifts.table import ACCURACY, ALL, MEASURES, UNSHIFTED
from kdviz.studies.sweep.loss_values import DEFAULT_LOSS

REFERENCE = DEFAULT_LOSS


@dataclass(frozen=True)
class LossShare:
    """A mean over seeds, severities and pictures.

    Attributes:
        measure: ``accuracy`` or ``agreement``.
        shift: Name of the shift; ``UNSHIFTED``, or ``ALL`` for the mean over them.
        role: ``teacher``, ``kd_student`` or ``student``.
        loss: The loss of a KD student, else None.
        value: The share.
    """

    measure: str
    shift: str
    role: str
    loss: str | None
    value: float


@dataclass(frozen=True)
class LossGain:
    """The share of the students of a loss less that of others, over the same seeds and pictures.

    Attributes:
        measure, shift, loss: As in :class:`LossShare`.
        less: The other loss, or ``student``.
        beyond: Whether the difference on the unshifted pictures is taken from it.
        value: The difference.
        low, high: The 95 % interval over seeds and pictures.
        p_value: Of no difference.
        p_adjusted: The same for all losses together, and of single shifts for all losses and shifts (Holm, 1979).
    """

    measure: str
    shift: str
    loss: str
    less: str
    beyond: bool
    value: float
    low: float
    high: float
    p_value: float
    p_adjusted: float

    @property
    def outcome(self) -> str:
        """One of ``MORE``, ``LESS`` and ``UNKNOWN``, by the p-value that holds for all losses together."""
        return outcome_of(self.value, self.p_value, self.p_adjusted)


@dataclass(frozen=True)
class LossShiftsReport:
    """A study of losses on shifted pictures.

    Attributes:
        about: How it was made.
        shares: Of each measure, loss and shift.
        gains: Differences to the softened targets, and to the student alone.
    """

    about: Mapping[str, Any]
    shares: tuple[LossShare, ...]
    gains: tuple[LossGain, ...]

    @property
    def pictures(self) -> int:
        return int(self.about.get("pictures", 0))

    @property
    def seeds(self) -> int:
        """Number of trainings of each loss."""
        return len(self.about.get("seeds", ()))

    @property
    def shifts(self) -> list[str]:
        """Names of the shifts."""
        return [name for name in dict.fromkeys(share.shift for share in self.shares) if name not in (UNSHIFTED, ALL)]

    @property
    def losses(self) -> list[str]:
        """The losses, the softened targets first."""
        names = dict.fromkeys(share.loss for share in self.shares if share.loss)
        return sorted(names, key=lambda name: name != REFERENCE)

    def share(self, measure: str, loss: str | None, shift: str = ALL, role: str = "") -> float:
        """A mean; of the student alone with loss None, of the teacher with this role.

        Raises:
            KeyError: There is no such figure.
        """
        role = role or (Role.STUDENT if loss is None else Role.KD_STUDENT)
        for each in self.shares:
            if (each.measure, each.shift, each.role, each.loss) == (measure, shift, role, loss):
                return each.value
        raise KeyError((measure, shift, role, loss))

    def gain(self, measure: str, loss: str, less: str, shift: str = ALL, *, beyond: bool = False) -> LossGain:
        """A difference.

        Raises:
            KeyError: There is no such difference.
        """
        wanted = (measure, loss, less, shift, beyond)
        for each in self.gains:
            if (each.measure, each.loss, each.less, each.shift, each.beyond) == wanted:
                return each
        raise KeyError(wanted)

    def to_json(self) -> dict[str, Any]:
        """The numbers with their verdicts; None for what is not known."""
        gains = [{**asdict(gain), "verdict": gain.outcome} for gain in self.gains]
        shares = [asdict(share) for share in self.shares]
        return finite({"study": "loss-shifts", **self.about, "shares": shares, "differences": gains})


def read_loss_shifts(experiment: Experiment) -> LossShiftsReport | None:
    """The study in loss_shifts.parquet; None: there is no such table.

    Raises:
        ExperimentError: The table is damaged.
    """
    table = TABLE.read(experiment)
    if table is None:
        return None
    rows = table.to_pylist()
    if any(row["measure"] not in MEASURES or row["value"] is None or row["role"] is None for row in rows):
        raise TABLE.damaged(experiment)
    report = LossShiftsReport(
        TABLE.about(table),
        tuple(_share(row) for row in rows if not row["less"]),
        tuple(_gain(row) for row in rows if row["less"]),
    )
    try:
        _require_whole(report)
    except KeyError as error:
        raise TABLE.damaged(experiment) from error
    return report


def _require_whole(report: LossShiftsReport) -> None:
    """Ask for everything that sentences and tables show.

    Raises:
        KeyError: Something is missing.
    """
    if REFERENCE not in report.losses or len(report.losses) < 2:
        raise KeyError(REFERENCE)
    places = (UNSHIFTED, ALL, *report.shifts)
    for shift in places:
        report.share(ACCURACY, None, shift, Role.TEACHER)
    for measure in MEASURES:
        for shift in places:
            for loss in (None, *report.losses):
                report.share(measure, loss, shift)
            for loss, less in compared(report):
                report.gain(measure, loss, less, shift)
        for loss, less in compared(report):
            report.gain(measure, loss, less, beyond=True)


def compared(report: LossShiftsReport) -> list[tuple[str, str]]:
    """What is told: each loss less the softened targets, and these less the student alone."""
    return [(REFERENCE, Role.STUDENT), *((loss, REFERENCE) for loss in report.losses if loss != REFERENCE)]


def _share(row: Mapping[str, Any]) -> LossShare:
    return LossShare(row["measure"], row["shift"], row["role"], row["loss"], row["value"])


def _gain(row: Mapping[str, Any]) -> LossGain:
    names = ("measure", "shift", "loss", "less", "beyond", "value")
    known: dict[str, Any] = {name: row[name] for name in names}
    for name in ("low", "high", "p_value", "p_adjusted"):
        known[name] = math.nan if row[name] is None else row[name]
    return LossGain(**known)
