"""Plugins: installed distributions that register losses, data sets and whatever else a registry holds.

A plugin is a module that an entry point of the group ``kdviz.plugins`` names. Importing it registers its entries::

    [project.entry-points."kdviz.plugins"]
    mine = "kdviz_mine"

Plugins are imported once in a process, when a registry is first read. Only install those that are trusted: they run as
kdviz does.
"""

from __future__ import annotations

import threading
import warnings
from importlib.metadata import EntryPoint, entry_points

GROUP = "kdviz.plugins"
"""The group of entry points."""

_lock = threading.RLock()
_state = {"loaded": False}


class PluginWarning(UserWarning):
    """A plugin that cannot be imported, and is left out."""


def load_plugins() -> None:
    """Import every installed plugin, unless that was done before.

    Warns:
        PluginWarning: One cannot be imported; the others are.
    """
    if _state["loaded"]:
        return
    with _lock:
        if _state["loaded"]:
            return
        _state["loaded"] = True  # before: a plugin may read a registry while it is imported
        for plugin in sorted(entry_points(group=GROUP), key=lambda each: each.name):
            _load(plugin)


def _load(plugin: EntryPoint) -> None:
    try:
        plugin.load()
    except Exception as error:  # it is somebody's own code
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        text = f"The plugin '{plugin.name}' ({plugin.value}) cannot be loaded, and is left out: {reason}"
        warnings.warn(text, PluginWarning, stacklevel=2)
