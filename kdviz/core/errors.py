"""Exceptions that kdviz raises.

::

    KdvizError                 one sentence for the user: what, why, what to do
    ├── UnknownNameError       a name that is in no registry, folder or list
    ├── ImageError             a picture that cannot be read, or is not accepted
    ├── DatasetError           a data folder that is missing, incomplete or damaged
    ├── ExperimentError        an experiment folder that does not validate
    ├── TargetError            a class to explain that the model does not have
    ├── SettingError           an option outside its range, or options that do not fit together
    └── ModelError             a model that fails while it is loaded, explained or trained
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KdvizError(Exception):
    """Base class of kdviz's errors. Its text is one sentence that can be shown to a user."""


class UnknownNameError(KdvizError):
    """A name is not among the known ones; the text suggests the closest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        listed = ", ".join(names) if names else "none"
        super().__init__(f"Unknown {kind} '{name}'.{hint} Known: {listed}.")
        self.kind = kind
        self.name = name
        self.known = names

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        return type(self), (self.kind, self.name, self.known)  # by default, an exception is copied from its text alone


class ImageError(KdvizError):
    """A picture cannot be read, or is too large."""


class DatasetError(KdvizError):
    """A data set is missing, incomplete or damaged."""


class ExperimentError(KdvizError):
    """An experiment folder does not validate."""


class TargetError(KdvizError):
    """The class to explain does not exist."""


class SettingError(KdvizError):
    """An option is outside its range, or two options contradict each other."""


class ModelError(KdvizError):
    """A model cannot be loaded, explained or trained."""
