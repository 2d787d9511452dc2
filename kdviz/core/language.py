"""What people read, in their language: texts from gettext catalogues, and numbers in its way of writing.

English is written in the code; ``assets/locale/<language>.po`` holds the other languages. A text is marked by ``_``::

    _("{count} of {total} masks", count=number(300), total=number(2000))

Which language applies is asked for anew for every text: the one given by :func:`speaking`, else what the function
given to :func:`follow` says (the app: that of the session whose page is drawn), else English. The command line and
the notebook stay English.
"""

from __future__ import annotations

import gettext
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kdviz.core.files import ASSETS

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "zh_CN": "简体中文"}
"""Language -> its own name."""

ERRORS = "error"
"""The context, in a catalogue, of the messages of errors: their places are named after the code's expressions."""

_LARGEST = 1e15
_PLACE = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")
_WORDS = ("method", "title")
"""Places of errors that hold what pages call something, in English."""

_spoken: ContextVar[str | None] = ContextVar("language", default=None)
_ask: Callable[[], str | None] = lambda: None  # noqa: E731


def follow(ask: Callable[[], str | None]) -> None:
    """Ask this for the language; None: it cannot say."""
    global _ask
    _ask = ask


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Use a language here, whatever the page's is."""
    token = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(token)


def language() -> str:
    """A key of ``LANGUAGES``."""
    return _spoken.get() or _ask() or ENGLISH


def suited(wanted: str | None) -> str:
    """The language for a browser that wants this one: ``zh-Hans-CN`` gives ``zh_CN``."""
    first = (wanted or "").replace("_", "-").partition("-")[0].lower()
    return next((name for name in LANGUAGES if name.partition("_")[0] == first), ENGLISH)


def N_(message: str) -> str:  # noqa: N802  gettext's name for: translate this later
    """Mark a text of a table of constants; ``_`` translates it where it is shown."""
    return message


def _(message: str, **values: Any) -> str:
    """A text in the page's language, with its places filled."""
    text = _catalogue(language()).gettext(message)
    return text.format(**values) if values else text


def plural(one: str, many: str, count: int, **values: Any) -> str:
    """The form of a text for a count, which fills ``{count}``."""
    return _catalogue(language()).ngettext(one, many, count).format(**{"count": number(count), **values})


def error_text(message: str) -> str:
    """The message of an error in the page's language, found by its template; as it is when there is none.

    Errors are raised in English by code that knows nothing of pages. What fills a place may be a message, too.
    """
    for one in _error_templates(language()):
        found = one.pattern.fullmatch(message)
        if found:
            values = zip(one.places, found.groups(), strict=True)
            return one.text.format(*(_(value) if place in _WORDS else error_text(value) for place, value in values))
    return message


def number(value: float, digits: int = 0) -> str:
    """A number with this many decimals and the language's separators; a dash for what is not finite."""
    return _written(value, f"#,##0{_decimals(digits)}")


def signed(value: float, digits: int = 0) -> str:
    """:func:`number` with its sign, ``+`` too."""
    return _written(value, f"+#,##0{_decimals(digits)};-#,##0{_decimals(digits)}")


def listed(texts: Iterable[str], separator: str = N_(", ")) -> str:
    """Texts one after another, with the language's comma between them, or its semicolon: ``; ``."""
    return _(separator).join(texts)


def percent(share: float, digits: int = 1) -> str:
    """A share, 0 to 1, as a percentage."""
    return _written(share, f"#,##0{_decimals(digits)}%")


def _decimals(digits: int) -> str:
    return "." + "0" * digits if digits else ""


def _written(value: float, pattern: str) -> str:
    if not math.isfinite(value):
        return "–"
    if abs(value) > _LARGEST:  # beyond what is exact, and what Babel writes
        return f"{value:.3g}"
    parsed, locale = _pattern(pattern, language())
    return parsed.apply(value, locale)


@lru_cache(maxsize=128)
def _pattern(pattern: str, name: str) -> tuple[Any, Any]:
    """A pattern and a locale as Babel wants them: it would read both anew for every number."""
    from babel import Locale
    from babel.numbers import parse_pattern

    return parse_pattern(pattern), Locale.parse(name)


@lru_cache(maxsize=len(LANGUAGES))
def _catalogue(name: str) -> gettext.NullTranslations:
    if name == ENGLISH or name not in LANGUAGES:
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo

    compiled = io.BytesIO()
    write_mo(compiled, _read(name))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _read(name: str) -> Any:
    from babel.messages.pofile import read_po

    with (ASSETS / "locale" / f"{name}.po").open("rb") as file:
        return read_po(file, locale=name)


@dataclass(frozen=True)
class _Template:
    """What an error's English message looks like, the names of its places, and the translation with them numbered."""

    pattern: re.Pattern[str]
    places: tuple[str, ...]
    text: str


@lru_cache(maxsize=len(LANGUAGES))
def _error_templates(name: str) -> list[_Template]:
    """Those that say most first: a message may fit others, too, by their places alone."""
    if name == ENGLISH or name not in LANGUAGES:
        return []
    known = [one for one in _read(name) if one.context == ERRORS and one.string]
    return [_template(one.id, one.string) for one in sorted(known, key=lambda one: -len(_PLACE.sub("", one.id)))]


def _template(english: str, translated: str) -> _Template:
    places = _PLACE.findall(english)
    parts = [re.escape(part.replace("{{", "{").replace("}}", "}")) for part in _PLACE.split(english)[::2]]
    numbered = _PLACE.sub(lambda place: f"{{{places.index(place[1])}}}", translated)
    return _Template(re.compile("(.*?)".join(parts), re.DOTALL), tuple(places), numbered)
