"""The photographs in assets/photographs, which belong to no data set and may be shown anywhere.

An experiment whose own pictures must not be passed on opens with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from kdviz.core.errors import DatasetError
from kdviz.core.files import ASSETS
from kdviz.core.images import open_image

PHOTOGRAPHS = ASSETS / "photographs"


@dataclass(frozen=True)
class Photograph:
    """One photograph.

    Attributes:
        name: Its name, by which an experiment lists it.
        shows: Name of the class that it shows.
        author, licence: Who made it, and under which licence.
        package: The package of a registry from which it was taken.
        path: Its file.
    """

    name: str
    shows: str
    author: str
    licence: str
    package: str
    path: Path

    def picture(self) -> Image.Image:
        """Its pixels, mode ``RGB``.

        Raises:
            ImageError: The file is missing or damaged.
        """
        return open_image(self.path)


@lru_cache(maxsize=1)
def photographs() -> dict[str, Photograph]:
    """Name -> photograph, in a fixed order.

    Raises:
        DatasetError: The list of the photographs is missing or damaged.
    """
    try:
        entries = json.loads((PHOTOGRAPHS / "photographs.json").read_text(encoding="utf-8"))
        return {name: Photograph(name, **entry, path=PHOTOGRAPHS / f"{name}.png") for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            "The bundled photographs cannot be read ({name}); restore assets/photographs from the repository.",
            name=type(error).__name__,
        ) from error


def photographs_of(names: Sequence[str], classes: Sequence[str]) -> list[Photograph]:
    """The photographs with these names, without those that show none of the classes or are not known here."""
    known = photographs()
    return [known[name] for name in names if name in known and known[name].shows in classes]
