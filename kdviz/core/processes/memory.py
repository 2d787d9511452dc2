"""Memory that the C library keeps although nothing is in it, if the library is glibc; others keep less."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

_ARENA_MAX = -8  # M_ARENA_MAX in glibc's malloc.h
_ARENAS = 2


def use_few_arenas() -> bool:
    """Let all threads of this process share two heaps, unless ``MALLOC_ARENA_MAX`` says how many; done early.

    glibc makes up to eight heaps a core for threads that allocate at the same time, and each keeps its gaps. Threads of
    Python take turns, so that they need no heap of their own; a page server, whose every run of a page is a new thread,
    would spread what it allocates over all of them.

    Returns:
        Whether the number was set.
    """
    set_option = None if "MALLOC_ARENA_MAX" in os.environ else _of_glibc("mallopt")
    return set_option is not None and bool(set_option(_ARENA_MAX, _ARENAS))


def return_free_memory() -> bool:
    """Return what is free in all heaps to the system, which takes a few milliseconds; False with another library."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)
    return trim is not None


def _of_glibc(function: str) -> Any:
    """A function that only glibc has, or has in this form; None with another library."""
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL(None)
        return getattr(library, function) if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, AttributeError, TypeError):
        return None
