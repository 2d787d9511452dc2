"""What a search can optimise, all on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.core.language import N_, number, percent

ACCURACY, OPERATIONS, LATENCY, AGREEMENT, INHERITED = "accuracy", "operations", "latency", "agreement", "inherited"


@dataclass(frozen=True)
class Objective:
    """A figure of a trial that is made as high or as low as possible.

    Attributes:
        name: Its name on the command line.
        column: Its column of search.parquet.
        title: Its title with its unit, to be translated.
        higher: Whether more is better.
        share: Whether it is a share, shown in percent.
    """

    name: str
    column: str
    title: str
    higher: bool
    share: bool = False

    @property
    def direction(self) -> str:
        return "maximize" if self.higher else "minimize"

    def text(self, value: float) -> str:
        """A value as people write it."""
        return percent(value, 2) if self.share else number(value, 3)


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective(ACCURACY, "accuracy", N_("Validation accuracy"), True, True),
        Objective(OPERATIONS, "mflop", N_("Operations (MFLOP)"), False),
        Objective(LATENCY, "latency", N_("Time of one picture (relative)"), False),
        Objective(AGREEMENT, "agreement", N_("Agreement of maps with the teacher's"), True),
        Objective(INHERITED, "inherited", N_("Inherited errors"), False, True),
    )
}


def objectives_of(names: Sequence[str]) -> list[Objective]:
    """The objectives of these names; accuracy, by which the winner is chosen, is the first.

    Raises:
        UnknownNameError: There is no such objective.
        SettingError: Accuracy is not the first, or one is named twice.
    """
    for name in names:
        if name not in OBJECTIVES:
            raise UnknownNameError("objective", name, list(OBJECTIVES))
    if not names or names[0] != ACCURACY or len(set(names)) < len(names):
        raise SettingError("The objectives begin with accuracy, and each is named once.")
    return [OBJECTIVES[name] for name in names]
