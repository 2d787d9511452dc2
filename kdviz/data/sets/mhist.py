"""The declaration of MHIST."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.data.registry import TRANSFER, DataSet, datasets

if TYPE_CHECKING:
    from kdviz.data.samples import LabelledImages

TITLE = "MHIST"


def read(data: str | Path, size: tuple[int, int], **_input: Any) -> dict[str, LabelledImages]:
    """See :func:`kdviz.data.mhist`."""
    from kdviz.data import mhist

    return mhist(data, size)


def title_of(splits: Mapping[str, LabelledImages]) -> str:
    """The title; it differs from MHIST for other images in MHIST's layout."""
    from kdviz.data import MHIST_IMAGES

    return TITLE if sum(map(len, splits.values())) == MHIST_IMAGES else "Images in MHIST's layout"


datasets.add(
    "mhist",
    DataSet(
        title=TITLE,
        description="MHIST, or a data set in its form: annotations.csv and images/.",
        read=read,
        recipe=TRANSFER,
        title_of=title_of,
    ),
)
