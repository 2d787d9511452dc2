"""Counts and times in English sentences that are not translated: those of commands and of trainings."""

from __future__ import annotations

_FROM_MINUTES, _FROM_HOURS = 120, 7200  # seconds from which the larger unit is the better one


def counted(count: float, noun: str, plural: str = "") -> str:
    """A number with its noun.

    Args:
        count: The number; it is rounded to a whole one.
        noun: What is counted, in the singular.
        plural: Its plural, where that is not the singular with an s.

    >>> counted(1, "second"), counted(1200, "mask"), counted(2, "class", "classes")
    ('1 second', '1,200 masks', '2 classes')
    """
    text = f"{count:,.0f}"
    return f"{text} {noun if text == '1' else plural or f'{noun}s'}"


def duration(seconds: float) -> str:
    """A time for people, in the unit that fits; what is shorter than half a second is less than a second.

    >>> duration(0.2), duration(1.2), duration(119), duration(180), duration(7300)
    ('less than a second', '1 second', '119 seconds', '3 minutes', '2 hours')
    """
    if seconds < 0.5:
        return "less than a second"
    if seconds < _FROM_MINUTES:
        return counted(seconds, "second")
    return counted(seconds / 60, "minute") if seconds < _FROM_HOURS else counted(seconds / 3600, "hour")
