"""Saliency methods by name, each with its own settings: the one description that forms, options and tests use."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from kdviz.errors import SettingError, UnknownNameError
from kdviz.experiment import BASELINES
from kdviz.registry import Registry
from kdviz.saliency.estimators import MINIMUM_MASKS, estimators
from kdviz.saliency.masks import samplers

MAXIMUM_MASKS = 200_000


@dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Attributes:
        name: As in :func:`kdviz.explain` and, with dashes, on the command line.
        default: Its value when nothing is said.
        help: One sentence for people.
        low, high: Range of a number, both allowed.
        choices: The allowed values of a text.
    """

    name: str
    default: int | float | str
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> int | float | str:
        """``value`` in the type of the default.

        Raises:
            SettingError: It is of another kind or outside the range.
            UnknownNameError: It is none of the choices.
        """
        if self.choices:
            if value not in self.choices:
                raise UnknownNameError(self.name, str(value), self.choices)
            return value
        kind = type(self.default)
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        fine = number and isfinite(value) and kind(value) == value
        if not fine or not (self.low is None or value >= self.low) or not (self.high is None or value <= self.high):
            raise SettingError(f"{self.name} must be {self._range()}, got {value}.")
        return kind(value)

    def _range(self) -> str:
        what = "a whole number" if isinstance(self.default, int) else "a number"
        return f"{what} from {self.low:g} to {self.high:g}" if self.low is not None and self.high is not None else what


@dataclass(frozen=True)
class Method:
    """A saliency method.

    Attributes:
        name: For ``method=`` and ``--method``.
        title: For people.
        signed: Whether below zero means something.
        settings: What can be set.
    """

    name: str
    title: str
    signed: bool
    settings: tuple[Setting, ...]

    def complete(self, given: dict[str, Any]) -> dict[str, Any]:
        """All settings: those given, checked, and the defaults of the others.

        Raises:
            UnknownNameError: The method has no such setting, or no such choice.
            SettingError: A value is outside its range.
        """
        known = {setting.name: setting for setting in self.settings}
        for name in given:
            if name not in known:
                raise UnknownNameError(f"setting of {self.title}", name, known)
        return {name: setting.check(given.get(name, setting.default)) for name, setting in known.items()}


methods: Registry[Method] = Registry("method")

methods.add(
    "rise",
    Method(
        "rise",
        "RISE",
        True,
        (
            Setting("n_masks", 4000, "Random masks: more of them, less noise.", MINIMUM_MASKS, MAXIMUM_MASKS),
            Setting(
                "grid", 7, "Cells of the mask grid from side to side: more of them, finer maps, more noise.", 1, 64
            ),
            Setting("probability", 0.5, "Chance that a cell keeps its pixels.", 0.01, 0.99),
            Setting("baseline", "black", "What a removed pixel becomes.", choices=BASELINES),
            Setting(
                "sampler",
                "auto",
                "How the masks are drawn: iid as published; hadamard and sobol need far fewer; auto takes the best.",
                choices=("auto", *samplers),
            ),
            Setting(
                "estimator",
                "ridge",
                "ridge and centred: change of the probability when a pixel is kept; ridge has less noise; "
                "rise: as published.",
                choices=tuple(estimators),
            ),
            Setting(
                "precision",
                "auto",
                "auto: bfloat16 where the device is faster with it and it changes nothing that matters, else float32.",
                choices=("auto", "float32", "bfloat16"),
            ),
            Setting("seed", 0, "The same seed gives the same masks.", 0, 2**31 - 1),
        ),
    ),
)
