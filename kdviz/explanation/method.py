"""The description of a saliency method: its title, settings, requirements, and its computation.

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

from kdviz.core.errors import Sentence, SettingError, UnknownNameError
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
    """Names in a registry, read lazily: registries whose entries use torch import it.

    Args:
        module: Module of the registries.
        collections: Names of registries, or of other collections of names, in that module.
        first: Names that come before those.
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
        name: Name as in :func:`kdviz.explain` and, with dashes, on the command line.
        default: Value when the setting is not given.
        help: One sentence for people, to be translated.
        low, high: Range of a number, both allowed.
        choices: Allowed values of a text.
        title: Label of its field in a form, to be translated; empty for a setting without a field.
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
            SettingError: It has another type or is outside the range.
            UnknownNameError: It is not among the choices.
        """
        if self.choices:
            if value not in self.choices:
                raise UnknownNameError(self.name, str(value), self.choices)
            return value
        number_type = type(self.default)
        valid = _is_number(value) and isfinite(value) and number_type(value) == value
        if not valid or not (self.low is None or value >= self.low) or not (self.high is None or value <= self.high):
            raise SettingError(self._range().within("{name} must be {}, got {value}.", name=self.name, value=value))
        return number_type(value)

    def _range(self) -> Sentence:
        integer = isinstance(self.default, int)
        if self.low is None or self.high is None:
            return Sentence("a whole number" if integer else "a number")
        if integer:
            return Sentence("a whole number from {low:g} to {high:g}", low=self.low, high=self.high)
        return Sentence("a number from {low:g} to {high:g}", low=self.low, high=self.high)


def _is_number(value: object) -> bool:
    """Of Python or of numpy, which registers its own."""
    return isinstance(value, Real) and not isinstance(value, bool)


@dataclass(frozen=True)
class Method:
    """A saliency method.

    Attributes:
        name: Name for ``method=`` and ``--method``.
        title: Title for people, to be translated.
        signed: Whether values below zero have a meaning.
        settings: Settings of the method.
        explains: ``probability`` or ``logit`` of the class, to which the map's values refer. A method that explains
            the logit needs a model that torch can differentiate.
        needs: What the model must have, in one sentence, to be translated.
        advice: When to use it, and its limits, for people, to be translated.
        compute: The map of a task, (H, W), or the independent repeats of a random method, (REPEATS, H, W). None for
            RISE, whose maps are a stream.
        incompatibility: Why the method does not fit a model, as the rest of a sentence that begins with the method's
            title; None when it fits. Without this function the method fits every model.
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

    def complete(self, settings: dict[str, Any]) -> dict[str, Any]:
        """All settings: the given ones, checked, and the defaults of the others.

        Raises:
            UnknownNameError: The method has no such setting, or no such choice.
            SettingError: A value is outside its range.
        """
        by_name = {setting.name: setting for setting in self.settings}
        for name in settings:
            if name not in by_name:
                raise UnknownNameError(Sentence("setting of {title}", title=self.title), name, by_name)
        return {name: setting.check(settings.get(name, setting.default)) for name, setting in by_name.items()}


@dataclass(frozen=True)
class BaselineSetting(Setting):
    """What a removed pixel becomes: a name, a grey level, or another picture."""

    def check(self, value: Any) -> Any:
        """``value`` as a name, the path of a picture, a grey level or a picture.

        Raises:
            SettingError: The grey level is not from 0 to 1, or the value is of another kind.
            UnknownNameError: It is neither a name nor the path of a picture.
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
            raise SettingError(
                "{name} must be a name, a grey level from 0 to 1, or a picture, got {value}.",
                name=self.name,
                value=value,
            )
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
