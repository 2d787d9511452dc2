"""Settings from environment variables."""

from __future__ import annotations

import os

from kdviz.core.errors import SettingError

THREADS = "KDVIZ_THREADS"


def cores() -> int:
    """The number of processor cores that this process may use, which a container or taskset can make fewer."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_from_environment() -> int | None:
    """The number of CPU threads in ``KDVIZ_THREADS``; None: not set.

    Raises:
        SettingError: The value is not a whole number above zero.
    """
    text = os.environ.get(THREADS, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise SettingError("KDVIZ_THREADS must be a whole number of at least 1, got '{text}'.", text=text)
    return int(text)
