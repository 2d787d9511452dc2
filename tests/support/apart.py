"""Run a function in a thread of its own.

Playwright's event loop stays in the main thread from the first browser test to the last, and ``asyncio.run`` refuses
to start a second one there.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def apart(function: Callable, *values: Any) -> Any:
    """What the function returns, or its exception."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *values).result()
