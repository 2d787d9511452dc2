"""A process that works for another one ends with it, however that one goes."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

VARIABLE = "KDVIZ_ENDS_WITH_STDIN"
"""Environment variable: with ``1``, a command ends as soon as its standard input does.

Without it a command may have any standard input, such as none at all.
"""


def end_with_parent() -> None:
    """End as soon as the process that started this one is gone, if that has asked for it by ``VARIABLE``.

    It holds the other end of this process's standard input, and writes nothing there. Not even SIGKILL keeps the
    operating system from closing it. Processes that this one starts do not inherit the variable.
    """
    if os.environ.pop(VARIABLE, "") == "1":
        threading.Thread(target=_wait_for_end, name="kdviz-parent", daemon=True).start()


def _wait_for_end() -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os._exit(1)  # nobody waits for what is under way, and files are replaced whole
