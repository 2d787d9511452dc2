"""The kinds of studies: what is varied in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kdviz.errors import SettingError


@dataclass(frozen=True)
class Study:
    """One kind of study.

    Attributes:
        table: Its table's name.
        column: The column that is varied.
        title: A heading.
        values: Those that are tried when none are given.
        parse: Text -> value; raises ValueError.
        unit: What stands before a value, as in ``T = 4``.
        phrase: A distillation with a value, in the middle of a sentence; ``{}`` is the value as it is shown.
    """

    table: str
    column: str
    title: str
    values: tuple[Any, ...]
    parse: Callable[[str], Any]
    unit: str
    phrase: str

    def checked(self, values: Sequence[Any]) -> list[Any]:
        """The values in their own type, each once, in the order given.

        Raises:
            SettingError: One is no value of this study.
        """
        return list(dict.fromkeys(self._checked(value) for value in values))

    def _checked(self, value: Any) -> Any:
        try:
            found = self.parse(value)
            fine = isinstance(value, str) or found == value or found != found  # NaN is refused with its reason, later
        except (TypeError, ValueError, OverflowError):
            fine, found = False, None
        if not fine:
            raise SettingError(f"'{value}' is no value of {self.column}.")
        return found

    def distillation(self, value: Any) -> str:
        """A distillation with this value, as in a sentence: ``at T = 4``, ``with the loss dist``."""
        plain = f"{value:g}" if self.column == "teacher_epochs" else self.shown(value)
        return self.phrase.format(plain).replace("after 1 epochs", "after 1 epoch")

    def shown(self, value: Any) -> str:
        """A value as people write it: ``T = 4``, or a loss's name."""
        return value if isinstance(value, str) else f"{self.unit} = {value:g}"


STUDIES = {
    "temperature": Study(
        "temperature", "temperature", "Temperature", (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0), float, "T", "at {}"
    ),
    "alpha": Study("alpha", "alpha", "Weight of the teacher", (0.1, 0.3, 0.5, 0.7, 0.9, 1.0), float, "alpha", "at {}"),
    "teacher-epochs": Study(
        "teacher_epochs",
        "teacher_epochs",
        "Teacher's epochs",
        (1, 3, 6, 12, 25),
        int,
        "epochs",
        "from a teacher stopped after {} epochs",
    ),
    "loss": Study(
        "loss",
        "kd_loss",
        "Loss against the teacher",
        ("soft_targets", "hard_distillation", "decoupled", "dist"),
        str,
        "loss",
        "with the loss {}",
    ),
}
"""By the name that the command line uses."""
