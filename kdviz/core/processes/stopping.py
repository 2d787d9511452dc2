"""A process that is asked to end (SIGTERM, as a supervisor, a queue or a container does it) ends within seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STATUS = 128 + signal.SIGTERM
"""The exit status of what SIGTERM has ended, as shells count it."""

_SECONDS = 4.0  # for what is under way, and for files that are to be removed


class Stopped(BaseException):
    """The process was asked to end. No error: only what cleans up should catch it, and let it pass."""


@contextmanager
def ending_when_asked() -> Iterator[None]:
    """Turn SIGTERM into :class:`Stopped`, which unwinds as Ctrl-C does; what takes longer than four seconds is cut off.

    Files are replaced whole, so that a cut leaves the older one. Where another handler is installed, or outside of the
    main thread, nothing changes.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is under way; a second one must not interrupt the cleaning up
    limit = threading.Timer(_SECONDS, _cut)
    limit.daemon = True
    limit.start()
    raise Stopped


def _cut() -> None:
    print("kdviz: stopped.", file=sys.stderr, flush=True)
    os._exit(STATUS)
