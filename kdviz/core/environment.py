"""Settings that come from the environment."""

from __future__ import annotations

import os

from kdviz.core.errors import SettingError

THREADS = "KDVIZ_THREADS"


def threads_from_environment() -> int | None:
    """The number of CPU threads that ``KDVIZ_THREADS`` asks for; None: it is not set.

    Raises:
        SettingError: It is not a whole number above zero.
    """
    asked = os.environ.get(THREADS, "").strip()
    if not asked:
        return None
    if not (asked.isascii() and asked.isdecimal() and int(asked)):
        raise SettingError(f"{THREADS} must be a whole number of at least 1, got '{asked}'.")
    return int(asked)
