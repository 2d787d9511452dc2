"""Maps that display themselves as the result of a notebook cell."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdviz.explanation.saliency_map import SaliencyMap


class Maps(dict[str, "SaliencyMap"]):
    """Role -> map of one picture. Jupyter shows it as :func:`kdviz.figures.comparison` draws it."""

    def _repr_png_(self) -> bytes | None:
        if not self:
            return None
        # Imported by name: figures depend on maps, not the reverse, and load only when a map is shown.
        return importlib.import_module("kdviz.figures").comparison.file("png", self)
