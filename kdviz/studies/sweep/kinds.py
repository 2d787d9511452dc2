"""The kinds of sweeps, by the setting that each of them varies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kdviz.core.errors import SettingError
from kdviz.core.language import N_, plural
from kdviz.distill.transfer_sets.registry import check_transfer_set, transfer_set_names
from kdviz.studies.sweep.loss_values import default_losses, parse_loss

TRANSFER_SET = "transfer-set"
"""Name of the study of what students are distilled on."""


@dataclass(frozen=True)
class Study:
    """One kind of study.

    Attributes:
        table: Name of its table.
        column: The column that is varied.
        title: Heading, to be translated.
        values: Returns the default values.
        parse: Text -> value; raises ValueError.
        unit: The unit or name before a value, as in ``T = 4``.
        subject, best: The beginning of a sentence about one of its distillations, to be translated; ``best`` where
            validation chose it. ``{value}`` stands for :meth:`amount`.
        phrase: The same within a sentence, to be translated.
    """

    table: str
    column: str
    title: str
    values: Callable[[], tuple[Any, ...]]
    parse: Callable[[str], Any]
    unit: str
    subject: str
    best: str
    phrase: str = N_("distillation at {value}")

    def checked(self, values: Sequence[Any]) -> list[Any]:
        """The values converted to their type, each once, in the given order.

        Raises:
            SettingError: A value is not valid for this study.
        """
        return list(dict.fromkeys(self._checked(value) for value in values))

    def _checked(self, value: Any) -> Any:
        try:
            parsed = self.parse(value)
            # NaN is refused later, with its reason.
            is_valid = isinstance(value, str) or parsed == value or parsed != parsed
        except (TypeError, ValueError, OverflowError):
            is_valid, parsed = False, None
        if not is_valid:
            raise SettingError("'{value}' is no value of {column}.", value=value, column=self.column)
        return parsed

    @property
    def has_order(self) -> bool:
        """Whether its values are numbers, so that one can come after another."""
        return self.column not in ("kd_loss", "transfer_set")

    def shown(self, value: Any) -> str:
        """A value in the name of a run: ``T = 4``, or a name."""
        return value if isinstance(value, str) else f"{self.unit} = {value:g}"

    def amount(self, value: Any) -> str:
        """A value as people write it, in their language: ``T = 4``, ``3 epochs``, or a name."""
        if self.column == "teacher_epochs":
            return plural("{count} epoch", "{count} epochs", int(value))
        return self.shown(value)


def _transfer_set(text: str) -> str:
    """A name or path; it raises an error that says what is known."""
    check_transfer_set(text)
    return str(text)


STUDIES = {
    "temperature": Study(
        "temperature",
        "temperature",
        N_("Temperature"),
        lambda: (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
        float,
        "T",
        N_("Distillation at {value}"),
        N_("Distillation at {value}, the best by validation,"),
    ),
    "alpha": Study(
        "alpha",
        "alpha",
        N_("Weight of the teacher"),
        lambda: (0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
        float,
        "alpha",
        N_("Distillation at {value}"),
        N_("Distillation at {value}, the best by validation,"),
    ),
    "teacher-epochs": Study(
        "teacher_epochs",
        "teacher_epochs",
        N_("Teacher's epochs"),
        lambda: (1, 3, 6, 12, 25),
        int,
        "epochs",
        N_("Distillation from a teacher stopped after {value}"),
        N_("Distillation from a teacher stopped after {value}, the best by validation,"),
    ),
    "loss": Study(
        "loss",
        "kd_loss",
        N_("Loss against the teacher"),
        default_losses,
        lambda text: str(parse_loss(text)),
        "loss",
        N_("Distillation with the loss {value}"),
        N_("Distillation with the loss {value}, the best by validation,"),
        N_("distillation with the loss {value}"),
    ),
    TRANSFER_SET: Study(
        "transfer_set",
        "transfer_set",
        N_("Transfer set"),
        lambda: tuple(transfer_set_names()),
        _transfer_set,
        "transfer set",
        N_("Distillation on the transfer set {value}"),
        N_("Distillation on the transfer set {value}, the best by validation,"),
        N_("distillation on the transfer set {value}"),
    ),
}
"""Kinds of studies by their names on the command line."""
