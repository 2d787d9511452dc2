"""Plugins: installed distributions that register losses, data sets and other entries of registries.

A plugin is a module that is named by an entry point of the group ``kdviz.plugins``. Importing it registers its
entries::

    [project.entry-points."kdviz.plugins"]
    mine = "kdviz_mine"

Plugins are imported once a process, when a registry is first read. Only install trusted ones: they run with the same
rights as kdviz.
"""

from __future__ import annotations

import threading
import warnings
from importlib.metadata import EntryPoint, entry_points

GROUP = "kdviz.plugins"
"""Group of the entry points."""

_lock = threading.RLock()
_state = {"loaded": False}


class PluginWarning(UserWarning):
    """A plugin cannot be imported, and is left out."""


def load_plugins() -> None:
    """Import every installed plugin, unless this was done before.

    Warns:
        PluginWarning: A plugin cannot be imported; the others are.
    """
    if _state["loaded"]:
        return
    with _lock:
        if _state["loaded"]:
            return
        _state["loaded"] = True  # set first, since a plugin may read a registry while it is imported
        for plugin in sorted(entry_points(group=GROUP), key=lambda entry_point: entry_point.name):
            _load(plugin)


def _load(plugin: EntryPoint) -> None:
    try:
        plugin.load()
    except Exception as error:  # foreign code may raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        text = f"The plugin '{plugin.name}' ({plugin.value}) cannot be loaded, and is left out: {reason}"
        warnings.warn(text, PluginWarning, stacklevel=2)
