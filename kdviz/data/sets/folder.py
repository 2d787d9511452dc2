"""The declaration of any folder of images as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.data.registry import TRANSFER, DataSet, datasets

if TYPE_CHECKING:
    from kdviz.data.samples import LabelledImages


def read(data: str | Path, size: tuple[int, int], channels: int, **options: Any) -> dict[str, LabelledImages]:
    """See :func:`kdviz.data.image_folder`."""
    from kdviz.data import image_folder

    return image_folder(data, size, channels=channels, **options)


datasets.add(
    "folder",
    DataSet(
        title="Images",
        description="Any folder of images: one folder a class, inside train/, val/ and test/ or without them.",
        read=read,
        recipe=TRANSFER,
        options=("groups",),
    ),
)
