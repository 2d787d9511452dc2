"""Maps that show themselves where they are the last thing in a notebook's cell."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdviz.explanation.saliency_map import SaliencyMap


class Maps(dict[str, "SaliencyMap"]):
    """Role -> map, of one picture. Jupyter shows it as :func:`kdviz.figures.comparison` draws it."""

    def _repr_png_(self) -> bytes | None:
        if not self:
            return None
        # By name: drawing stands above computing, and is loaded only where somebody looks.
        return importlib.import_module("kdviz.figures").comparison.file("png", self)
