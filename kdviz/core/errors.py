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
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class Sentence(str):
    """A text for people that knows how it was made: by its template it is translated.

    It is the English text, and goes wherever a text goes; a pickled copy is the same.

    Args:
        template: The text, with places as in :meth:`str.format`; without values it is taken as it is.
        values: What fills the places. Numbers, and other sentences, stay what they are; everything else becomes a text.

    >>> sentence = Sentence("'{path}' has {count:,} rows.", path="a.csv", count=1200)
    >>> sentence
    "'a.csv' has 1,200 rows."
    >>> sentence.template
    "'{path}' has {count:,} rows."
    """

    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> Sentence:
        kept = {name: _plain(value) for name, value in values.items()}
        sentence = super().__new__(cls, template.format(**kept) if kept else template)
        sentence.template, sentence.values = template, kept
        return sentence

    def within(self, whole: str, /, **values: Any) -> Sentence:
        """A sentence of which this one is a part.

        Args:
            whole: The template of the whole, with ``{}`` where this one goes.
            values: What fills the other places; their names must not be among those of this one.
        """
        assert not values.keys() & self.values.keys(), f"{whole} has a place of a name that {self.template} has"
        return Sentence(whole.replace("{}", self.template, 1), **self.values, **values)

    def replaced(self, replace: Callable[[str], str]) -> Sentence:
        """The same sentence with every text in it replaced, to keep a server's paths out of it."""

        def changed(value: Any) -> Any:
            if isinstance(value, Sentence):
                return value.replaced(replace)
            return replace(value) if isinstance(value, str) else value

        values = {name: changed(value) for name, value in self.values.items()}
        return Sentence(self.template, **values) if values else Sentence(replace(self.template))

    def to_json(self) -> dict[str, Any]:
        """Template and values, for another process."""
        values = {
            name: value.to_json() if isinstance(value, Sentence) else value for name, value in self.values.items()
        }
        return {"template": self.template, "values": values}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Sentence:
        """The sentence that :meth:`to_json` wrote."""
        values = {
            name: cls.from_json(value) if isinstance(value, dict) else value
            for name, value in document["values"].items()
        }
        return cls(document["template"], **values)


_LONGEST = 1500  # characters of one value


def _plain(value: Any) -> Any:
    if isinstance(value, KdvizError):
        return value.sentence
    if isinstance(value, (Sentence, int, float)):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"  # a file may have names without end


ERRORS_VARIABLE = "KDVIZ_ERRORS"
"""Environment variable: with ``json``, a command's error is printed so that the app can translate it."""


class KdvizError(Exception):
    """Base of all kdviz errors. Its text is one sentence that can be shown to a user.

    Args:
        template: The sentence, with places; see :class:`Sentence`.
        values: What fills the places.
    """

    def __init__(self, template: str, /, **values: Any):
        ready = isinstance(template, Sentence) and not values
        super().__init__(template if ready else Sentence(template, **values))

    @property
    def sentence(self) -> Sentence:
        """The text, which can be translated."""
        return self.args[0]


class UnknownNameError(KdvizError):
    """A name is not among the known ones; the text suggests the nearest ones.

    Args:
        kind: What is named.
        name: The name.
        known: The names that there are.
        listed: What ``kdviz list`` is told to list them; empty: it does not.
        suggested: The names from which the nearest are chosen; empty: the known ones.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], listed: str = "", suggested: Sequence[str] = ()):
        names = sorted(known)
        close = nearest(name, suggested or names)
        kind = kind if isinstance(kind, Sentence) else Sentence(kind)
        values: dict[str, Any] = {"kind": kind, "name": name, "known": _known_text(names, close, listed)}
        if len(close) == 1:
            template = "Unknown {kind} '{name}'. Did you mean '{closest}'? Known: {known}."
            super().__init__(template, closest=close[0], **values)
        elif close:
            template = "Unknown {kind} '{name}'. Did you mean {closest}? Known: {known}."
            super().__init__(template, closest=", ".join(f"'{each}'" for each in close), **values)
        else:
            super().__init__("Unknown {kind} '{name}'. Known: {known}.", **values)
        self.kind = kind
        self.name = name
        self.known = names
        self._more = listed, close

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[Any, ...]]:
        # An exception is otherwise copied from its text alone.
        return type(self), (self.kind, self.name, self.known, *self._more)


_NEAREST = 3  # names that are suggested
_NAMED = 40  # names that a sentence lists


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known names that are most like a mistyped one, the nearest first; few, or none.

    The part after a slash counts alone, too: ``mobilenet_v2`` is near ``torchvision/mobilenet_v2``.

    >>> nearest("cifar10", ["MNIST", "CIFAR10"])
    ['CIFAR10']
    """
    by_form: dict[str, str] = {}
    for other in known:
        by_form.setdefault(other.lower(), other)
        by_form.setdefault(other.lower().rpartition("/")[2], other)
    matches = difflib.get_close_matches(name.lower(), by_form, n=2 * _NEAREST, cutoff=0.5)
    ratios = {match: difflib.SequenceMatcher(None, match, name.lower()).ratio() for match in matches}
    kept = [match for match in matches if ratios[match] > ratios[matches[0]] - 0.15]  # others would only distract
    return list(dict.fromkeys(by_form[match] for match in kept))[:_NEAREST]


def _known_text(names: Sequence[str], close: Sequence[str], listed: str) -> str | Sentence:
    """The names there are; of very many only some, with how many there are."""
    text: str | Sentence = ", ".join(names) if names else Sentence("none")
    if len(names) > _NAMED:
        some = ", ".join(close or names[:_NAMED])
        text = Sentence("{some} and others, {count:,} in all", some=some, count=len(names))
    return Sentence("{names} (all: kdviz list {listed})", names=text, listed=listed) if listed else text


class ImageError(KdvizError):
    """A picture cannot be read, or is too large."""


class TooCostlyError(ImageError):
    """The file of a picture keeps its decoder busy, or takes all of its memory."""


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
