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
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from kdviz.files import ASSETS

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "zh_CN": "简体中文"}
"""Language -> its own name."""

ERRORS = "error"
"""The context, in a catalogue, of the messages of errors: their places are named after the code's expressions."""

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


def _(message: str, **values: Any) -> str:
    """A text in the page's language, with its places filled."""
    text = _catalogue(language()).gettext(message)
    return text.format(**values) if values else text


def plural(one: str, many: str, count: int, **values: Any) -> str:
    """The form of a text for a count, which fills ``{count}``."""
    return _catalogue(language()).ngettext(one, many, count).format(**{"count": number(count), **values})


def N_(message: str) -> str:  # noqa: N802  gettext's name for: translate this later
    """Mark a text of a table of constants; ``_`` translates it where it is shown."""
    return message


def error_text(message: str) -> str:
    """The message of an error in the page's language, found by its template; as it is when there is none.

    Errors are raised in English by code that knows nothing of pages.
    """
    for pattern, template in _error_templates(language()):
        found = pattern.fullmatch(message)
        if found:
            return template.format(*found.groups())
    return message


def number(value: float, digits: int = 0) -> str:
    """A number with this many decimals and the language's separators."""
    from babel.numbers import format_decimal

    zeros = "." + "0" * digits if digits else ""
    return format_decimal(value, f"#,##0{zeros}", locale=language())


def signed(value: float, digits: int = 0) -> str:
    """:func:`number` with its sign, ``+`` too."""
    from babel.numbers import format_decimal

    zeros = "." + "0" * digits if digits else ""
    return format_decimal(value, f"+#,##0{zeros};-#,##0{zeros}", locale=language())


def listed(texts: Iterable[str]) -> str:
    """Texts one after another, with the language's comma between them."""
    return _(", ").join(texts)


def percent(share: float, digits: int = 1) -> str:
    """A share, 0 to 1, as a percentage."""
    from babel.numbers import format_percent

    zeros = "." + "0" * digits if digits else ""
    return format_percent(share, f"#,##0{zeros}%", locale=language())


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


@lru_cache(maxsize=len(LANGUAGES))
def _error_templates(name: str) -> list[tuple[re.Pattern[str], str]]:
    """Of each error: what its English message looks like, and the translation with its places numbered."""
    if name == ENGLISH or name not in LANGUAGES:
        return []
    return [_template(one.id, one.string) for one in _read(name) if one.context == ERRORS and one.string]


def _template(english: str, translated: str) -> tuple[re.Pattern[str], str]:
    places = re.findall(r"\{(\w+)\}", english)
    parts = re.split(r"\{\w+\}", english)
    numbered = re.sub(r"\{(\w+)\}", lambda place: f"{{{places.index(place[1])}}}", translated)
    return re.compile("(.*?)".join(map(re.escape, parts)), re.DOTALL), numbered
