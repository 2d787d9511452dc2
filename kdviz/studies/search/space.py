"""What a search varies: parameters with ranges, written ``1:64``, or with names, written ``dist,decoupled``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import SettingError
from kdviz.core.language import N_
from kdviz.core.texts.comma_lists import entries

if TYPE_CHECKING:
    from optuna.trial import Trial

    from kdviz.distill import TrainingConfig

LOSS, WIDTH = "kd_loss", "width"


@dataclass(frozen=True)
class Parameter:
    """A setting that a search varies, or keeps.

    Attributes:
        name: Its column of search.parquet.
        option: Its option on the command line.
        title: Its title for people, to be translated.
        least, most: The values that it may have.
        log: Whether a search draws its logarithm evenly.
        whole: Whether it is a whole number.
        low, high: The range that is searched; equal: it is fixed.
        choices: The values to choose from, where they are names.
    """

    name: str
    option: str
    title: str
    least: float = 0.0
    most: float = math.inf
    log: bool = False
    whole: bool = False
    low: float = math.nan
    high: float = math.nan
    choices: tuple[str, ...] = ()

    @property
    def is_fixed(self) -> bool:
        return len(self.choices) == 1 if self.choices else self.low == self.high

    @property
    def fixed(self) -> Any:
        """Its only value."""
        return self.choices[0] if self.choices else self._typed(self.low)

    @property
    def text(self) -> str:
        """The range as it is written."""
        if self.choices:
            return ",".join(self.choices)
        return f"{self.low:g}" if self.is_fixed else f"{self.low:g}:{self.high:g}"

    def between(self, text: str) -> Parameter:
        """The parameter with the range of a text: ``1:64``, ``4``, or names with commas between.

        Raises:
            SettingError: The text is no range of this parameter.
            UnknownNameError: It names a loss that there is not.
        """
        if self.name == LOSS:
            from kdviz.studies.sweep.loss_values import parse_loss

            return replace(self, choices=tuple(dict.fromkeys(str(parse_loss(part)) for part in entries(text))))
        low, colon, high = text.partition(":")
        try:
            ends = float(low), float(high if colon else low)
        except ValueError:
            raise self._refused(text) from None
        fits = all(self.least <= end <= self.most and (not self.whole or end == int(end)) for end in ends)
        if not fits or ends[0] > ends[1]:
            raise self._refused(text)
        return replace(self, low=ends[0], high=ends[1])

    def _refused(self, text: str) -> SettingError:
        return SettingError(
            "'{text}' is no range of {option}; write one value, or two with a colon between, from {least:g} to "
            "{most:g}.",
            text=text,
            option=self.option,
            least=self.least,
            most=self.most,
        )

    def _typed(self, value: float) -> float | int:
        return int(value) if self.whole else float(value)

    def holds(self, value: Any) -> bool:
        """Whether a value is one that the search may draw."""
        if self.choices:
            return value in self.choices
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def suggested(self, trial: Trial) -> Any:
        """The value of a trial, which Optuna draws unless it is fixed."""
        if self.is_fixed:
            return self.fixed
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


PARAMETERS = {
    parameter.name: parameter
    for parameter in (
        Parameter("temperature", "--temperature", N_("Temperature"), 1e-3, 1e4, log=True),
        Parameter("alpha", "--alpha", N_("Weight of the teacher"), 0.0, 1.0),
        Parameter(LOSS, "--losses", N_("Loss against the teacher")),
        Parameter("learning_rate", "--learning-rate", N_("Learning rate"), 1e-7, 9.0, log=True),
        Parameter("epochs", "--epochs", N_("Epochs"), 1, 1e5, whole=True),
        Parameter(WIDTH, "--width", N_("Width of the student"), 0.05, 8.0),
    )
}
"""What a search can vary, by column."""

DEFAULTS = {
    "temperature": "1:64",
    "alpha": "0:1",
    LOSS: ",".join(("soft_targets", "decoupled", "dist")),
    WIDTH: "1",
}
"""The ranges of parameters for which none is given; epochs and learning rate depend on the default recipe."""

_FACTORS = (0.3, 3.0)  # of its learning rate


def space_of(texts: Mapping[str, str | None], config: TrainingConfig) -> dict[str, Parameter]:
    """The parameters of a search, by column.

    Args:
        texts: Column -> range as a text; None or absent: the default.
        config: The default recipe.

    Raises:
        SettingError: A text is no range.
    """
    low, high = (min(factor * config.learning_rate, PARAMETERS["learning_rate"].most) for factor in _FACTORS)
    defaults = {**DEFAULTS, "epochs": str(config.epochs), "learning_rate": f"{low:g}:{high:g}"}
    return {name: each.between(texts.get(name) or defaults[name]) for name, each in PARAMETERS.items()}


def settings_of(config: TrainingConfig) -> dict[str, Any]:
    """The values of all parameters in a recipe, for the width 1."""
    from kdviz.studies.sweep.loss_values import loss_text

    values = {name: getattr(config, name) for name in ("temperature", "alpha", "learning_rate", "epochs")}
    return {**values, LOSS: loss_text(config), WIDTH: 1.0}


def applied(config: TrainingConfig, settings: Mapping[str, Any], seed: int) -> TrainingConfig:
    """A recipe with these settings, but for the width, which is the network's."""
    from kdviz.studies.sweep.loss_values import parse_loss

    own = {name: settings[name] for name in ("temperature", "alpha", "learning_rate", "epochs")}
    changed = replace(config, seed=seed, **own)
    return parse_loss(settings[LOSS]).applied_to(changed)
