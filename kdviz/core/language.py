"""Translation of texts by gettext catalogues, and formatting of numbers, in the user's language.

English texts are in the code; ``assets/locale/<language>.po`` has the other languages. A text is marked by ``_``::

    _("{count} of {total} masks", count=number(300), total=number(2000))

The language is determined for every text: the one set by :func:`speaking`, else the one that the function passed to
:func:`follow` returns (in the app: that of the session whose page is drawn), else English. The command line and
notebooks stay English.
"""

from __future__ import annotations

import gettext
import io
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from kdviz.core.errors import KdvizError, Sentence
from kdviz.core.files import ASSETS

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "zh_CN": "简体中文"}
"""Language -> its name in that language."""

ERRORS = "error"
"""Context of the templates of errors in a catalogue."""

_LARGEST = 1e15
_MOST_MORE = 4  # decimals of an interval
_NOISE = 1e-12  # that of floating-point arithmetic, which is no difference
_TRANSLATED = ("method", "title")
"""Placeholders of errors whose values are English texts of pages, and are translated, too."""

_forced: ContextVar[str | None] = ContextVar("language", default=None)
_ask: Callable[[], str | None] = lambda: None  # noqa: E731


def follow(ask: Callable[[], str | None]) -> None:
    """Call ``ask`` for the language of each text; it returns None if it does not know."""
    global _ask
    _ask = ask


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Use a language in this block, whatever the page's is."""
    token = _forced.set(language)
    try:
        yield
    finally:
        _forced.reset(token)


def language() -> str:
    """The current language, a key of ``LANGUAGES``."""
    return _forced.get() or _ask() or ENGLISH


def best_language(browser_language: str | None) -> str:
    """The available language that matches a browser's: ``zh-Hans-CN`` gives ``zh_CN``."""
    code = (browser_language or "").replace("_", "-").partition("-")[0].lower()
    return next((name for name in LANGUAGES if name.partition("_")[0] == code), ENGLISH)


def N_(message: str) -> str:  # noqa: N802  gettext's name for: translate this later
    """Mark a constant text for translation; ``_`` translates it where it is shown."""
    return message


def _(message: str, **values: Any) -> str:
    """Translate a text to the current language, and fill its placeholders."""
    text = _catalogue(language()).gettext(message)
    return text.format(**values) if values else text


def plural(singular: str, plural_form: str, count: int, **values: Any) -> str:
    """Translate a text in the form for a count, which fills ``{count}``."""
    return _catalogue(language()).ngettext(singular, plural_form, count).format(**{"count": number(count), **values})


def error_text(error: KdvizError | str) -> str:
    """An error, or a sentence of one, in the page's language; as it is where the catalogue has no such template.

    Errors are raised in English by code that knows nothing of pages. What fills a place may be a sentence, too.
    """
    sentence = error.sentence if isinstance(error, KdvizError) else error
    template = sentence.template if isinstance(sentence, Sentence) else sentence
    text = _catalogue(language()).pgettext(ERRORS, template) if template else ""
    values = sentence.values if isinstance(sentence, Sentence) else {}
    return text.format(**{name: _value_text(name, value) for name, value in values.items()}) if values else text


def _value_text(name: str, value: Any) -> Any:
    if name in _TRANSLATED:
        return _(value)
    is_part = isinstance(value, Sentence) or (isinstance(value, str) and " " in value)
    return error_text(value) if is_part else value


def number(value: float, digits: int = 0) -> str:
    """Format a number with so many decimals and the language's separators; a dash if it is not finite."""
    return _format_number(value, f"#,##0{_decimals(digits)}")


def signed(value: float, digits: int = 0) -> str:
    """Format as :func:`number` does, with a sign, also for positive numbers; what rounds to zero has none."""
    plain = number(value, digits)
    return plain if _is_zero(plain) else _format_number(value, f"+#,##0{_decimals(digits)};-#,##0{_decimals(digits)}")


def signed_interval(value: float, low: float, high: float, digits: int) -> tuple[str, str, str]:
    """A difference and the ends of its interval, formatted as :func:`signed` does, with :func:`interval_digits`.

    An end that is not zero never looks like zero, and so keeps its sign: the interval would else seem to touch zero.
    """
    shown = interval_digits(low, high, digits)
    value_text = _never_zero(value, shown) if low * high > 0 else signed(value, shown)
    return value_text, _never_zero(low, shown), _never_zero(high, shown)


def _never_zero(value: float, digits: int) -> str:
    """As :func:`signed`; a number that would look like zero is in scientific notation."""
    text = signed(value, digits)
    is_hidden = math.isfinite(value) and abs(value) > _NOISE and _is_zero(text)
    return f"{value:+.0e}" if is_hidden else text


def interval_digits(low: float, high: float, digits: int, neutral: float = 0.0) -> int:
    """The decimals at which an interval does not look as if it ended at a value at which it does not end.

    Args:
        low, high: The ends of the interval.
        digits: The decimals that are usual; more are used only where an end would round to the value, and where a few
            more keep it from that.
        neutral: The value, such as 0 for a difference and 1 for a ratio.
    """
    ends = [end for end in (low, high) if math.isfinite(end) and abs(end - neutral) > _NOISE]

    def tells(more: int) -> bool:
        return all(number(end, more) != number(neutral, more) for end in ends)

    return next(filter(tells, range(digits, digits + _MOST_MORE + 1)), digits)


def listed(texts: Iterable[str], separator: str = N_(", ")) -> str:
    """Join texts with the language's comma, or with its semicolon: ``; ``."""
    return _(separator).join(texts)


def percent(share: float, digits: int = 1) -> str:
    """Format a share from 0 to 1 as a percentage."""
    return _format_number(share, f"#,##0{_decimals(digits)}%")


def _decimals(digits: int) -> str:
    return "." + "0" * digits if digits else ""


def _format_number(value: float, pattern: str) -> str:
    if not math.isfinite(value):
        return "–"
    if abs(value) > _LARGEST:  # beyond what is exact, and what Babel formats
        return f"{value:.3g}"
    parsed, locale = _parse_pattern(pattern, language())
    text = parsed.apply(value, locale)
    return parsed.apply(0.0, locale) if _is_zero(text) else text  # never -0.000


def _is_zero(text: str) -> bool:
    """Whether no digit of a number's text shows anything."""
    return not any(digit in text for digit in "123456789")


@lru_cache(maxsize=128)
def _parse_pattern(pattern: str, name: str) -> tuple[Any, Any]:
    """A pattern and a locale, parsed by Babel, which would otherwise parse both for every number."""
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
