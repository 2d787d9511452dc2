"""What a saliency method is: its title, settings, requirements, and how it is computed.

Reading this module does not import torch, so that the command line can list all methods at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.core.language import N_

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdviz.explanation.captum.task import AttributionTask

MAXIMUM_MASKS = 200_000
MAXIMUM_STEPS = 1000
MAXIMUM_SAMPLES = 200_000
REPEATS = 8  # independent parts of a random method's samples, for its standard error
LARGEST_SEED = 2**31 - 1


class Choices(Sequence[str]):
    """Names in a registry, read when they are needed: registries whose entries use torch import it.

    Args:
        module: The module that has them.
        collections: Names of registries, or of other collections of names, in that module.
        first: Names before those.
    """

    def __init__(self, module: str, *collections: str, first: tuple[str, ...] = ()):
        self._module, self._collections, self._first = module, collections, first

    def _names(self) -> tuple[str, ...]:
        module = importlib.import_module(self._module)
        return (*self._first, *(name for collection in self._collections for name in getattr(module, collection)))

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self._names()[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


@dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Attributes:
        name: As in :func:`kdviz.explain` and, with dashes, on the command line.
        default: Its value when nothing is said.
        help: One sentence for people, to be translated.
        low, high: Range of a number, both allowed.
        choices: The allowed values of a text.
        title: Label of its field in a form, to be translated; empty for a setting that forms do not show among others.
    """

    name: str
    default: int | float | str
    help: str
    low: float | None = None
    high: float | None = None
    choices: Sequence[str] = ()
    title: str = ""

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
        fine = _is_number(value) and isfinite(value) and kind(value) == value
        if not fine or not (self.low is None or value >= self.low) or not (self.high is None or value <= self.high):
            raise SettingError(f"{self.name} must be {self._range()}, got {value}.")
        return kind(value)

    def _range(self) -> str:
        whole = isinstance(self.default, int)
        if self.low is None or self.high is None:
            return "a whole number" if whole else "a number"
        if whole:
            return f"a whole number from {self.low:g} to {self.high:g}"
        return f"a number from {self.low:g} to {self.high:g}"


def _is_number(value: object) -> bool:
    """Of Python or of numpy, which registers its own."""
    return isinstance(value, Real) and not isinstance(value, bool)


@dataclass(frozen=True)
class Method:
    """A saliency method.

    Attributes:
        name: For ``method=`` and ``--method``.
        title: For people, to be translated.
        signed: Whether below zero means something.
        settings: What can be set.
        explains: ``probability`` or ``logit`` of the class: what the map's values are about. A method that explains
            the logit needs a model that torch can differentiate.
        needs: What the model must have, in one sentence, to be translated.
        advice: When to use it, and its limits, for people, to be translated.
        compute: The map of a task, (H, W), or for a random method its independent repeats, (REPEATS, H, W). None for
            RISE, whose maps come as a stream.
        incompatibility: Why the method does not fit a model, as the rest of a sentence that begins with the method's
            title; None when nothing speaks against it. None in its place: the method fits every model.
    """

    name: str
    title: str
    signed: bool
    settings: tuple[Setting, ...]
    explains: str = "probability"
    needs: str = N_("Nothing but the model's scores.")
    advice: str = ""
    compute: Callable[[AttributionTask], Tensor] | None = None
    incompatibility: Callable[[nn.Module], str | None] | None = None

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


@dataclass(frozen=True)
class BaselineSetting(Setting):
    """What a removed pixel becomes: a name, a grey level, or another picture."""

    def check(self, value: Any) -> Any:
        """A name or the path of a picture as text, a grey level as a number, a picture as it is.

        Raises:
            SettingError: The grey level is not from 0 to 1, or it is nothing of these.
            UnknownNameError: It is no name, and there is no such picture.
        """
        from PIL import Image

        if isinstance(value, str) and value in self.choices:
            return value
        if isinstance(value, Image.Image) or (isinstance(value, (str, Path)) and Path(value).is_file()):
            return value if isinstance(value, Image.Image) else str(value)
        try:
            level = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise UnknownNameError(self.name, str(value), self.choices) from error
        if isinstance(value, bool) or not 0 <= level <= 1:
            raise SettingError(f"{self.name} must be a name, a grey level from 0 to 1, or a picture, got {value}.")
        return level


BASELINE = BaselineSetting(
    "baseline",
    "black",
    N_(
        "What a removed pixel becomes: black, white, mean, grey, blur, noise, a grey level f"
        "rom 0 to 1, or another picture."
    ),
    choices=Choices("kdviz.experiment", "BASELINES", "MORE_BASELINES"),
)
SEED = Setting("seed", 0, N_("The same seed gives the same map."), 0, LARGEST_SEED, title=N_("Seed"))
GRADIENTS = N_("A model that torch can differentiate.")
