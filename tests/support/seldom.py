"""For scripts that tests serve: what is computed is looked at every two seconds, and not several times in one.

Each time, the server estimates again and the browser draws again, a third of a second of processor time on a slow
machine, while what they wait for is computed beside them.
"""

from __future__ import annotations

import sys

_SECONDS = 2.0
VALUES = {
    "kdviz.app.pages.compare.page": {"_REFRESH_SECONDS": _SECONDS},
    "kdviz.app.pages.compare.curves": {"_REFRESH_SECONDS": _SECONDS},
    "kdviz.app.pages.cost.cost_panel": {"_REFRESH_SECONDS": _SECONDS},
    "kdviz.app.pages.bring_models.page": {"_REFRESH_SECONDS": _SECONDS},
    "kdviz.app.pages.mistakes.sample_panel": {"_PAUSE": int(1000 * _SECONDS)},
}


def refresh_seldom() -> None:
    """Set what the pages that are loaded wait for; they load torch, so that none is loaded for it."""
    for name, values in VALUES.items():
        module = vars(sys.modules[name]) if name in sys.modules else {}
        if module.keys() >= values.keys():  # else another session is just importing it
            module.update(values)
