"""Names of a search's states and settings, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdviz.core.language import N_, _, listed
from kdviz.studies.search.space import LOSS, PARAMETERS
from kdviz.studies.search.table import COMPLETE, FAILED, PRUNED

STATES: Mapping[str, str] = {
    COMPLETE: N_("trained to the end"),
    PRUNED: N_("stopped early"),
    FAILED: N_("could not be trained"),
}


def settings_text(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """Settings in words: ``temperature 4, loss dist``."""
    parts = [
        _("{name}: {value}", name=_(PARAMETERS[name].title), value=value_text(name, settings[name]))
        for name in names or PARAMETERS
    ]
    return listed(parts)


def value_text(name: str, value: Any) -> str:
    """A value with three significant digits, or a loss's name."""
    return str(value) if name == LOSS else f"{value:.3g}"
