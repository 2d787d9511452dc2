"""Numbers for JSON, which has none that are not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def finite(value: Any) -> Any:
    """A value with None for each number in it that is not finite, as deep as mappings and lists go.

    >>> finite({"low": float("nan"), "ends": (1.0, float("inf"))})
    {'low': None, 'ends': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
