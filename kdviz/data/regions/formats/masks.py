"""Masks: a picture for each picture, with the same name, in a folder of their own or beside the pictures."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath

from kdviz.core.errors import DatasetError
from kdviz.data.pictures import files_below, is_picture
from kdviz.data.regions.regions import DrawnRegion
from kdviz.data.regions.shapes import MaskFile

_MARK = re.compile(r"(?i)[._-](?:masks?|segmentation|seg|regions?)$")
"""What names of masks may have behind the picture's name."""

_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")


def is_mask(name: str) -> bool:
    """Whether a picture file is a mask by its name: ``lesion_mask.png``."""
    return bool(_MARK.search(PurePosixPath(name).stem))


def read_masks(folder: Path, pictures: Container[str]) -> Iterator[DrawnRegion]:
    """The masks in a folder and its subfolders.

    Args:
        folder: The folder.
        pictures: Names of the pictures, which are no masks if they lie in the folder itself.

    Raises:
        DatasetError: A mask is a JPEG.
    """
    names = [name for name in files_below(folder, folder) if is_picture(name)]
    marked = [name for name in names if is_mask(name)]
    # Beside the pictures only marked names are masks; in a folder of their own masks have the pictures' names.
    beside = bool(marked) and any(name in pictures for name in names if not is_mask(name))
    for name in marked if beside else names:
        path = PurePosixPath(name)
        if path.suffix.lower() in _LOSSY:
            raise DatasetError(
                "The mask '{name}' is a JPEG, in which what is outside is not exactly black; save masks as PNG.",
                name=folder / name,
            )
        yield DrawnRegion(str(path.with_name(_MARK.sub("", path.stem))), (MaskFile(folder / name),), source=name)
