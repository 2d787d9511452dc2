"""The declaration of the bundled digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.data.registry import DataSet, datasets

if TYPE_CHECKING:
    from kdviz.data.samples import LabelledImages


def read(data: str | Path | None = None, **_input: Any) -> dict[str, LabelledImages]:
    """See :func:`kdviz.data.bundled_digits`."""
    from kdviz.data import bundled_digits

    return bundled_digits() if data is None else bundled_digits(data)


datasets.add(
    "mnist-bundled",
    DataSet(
        title="MNIST",
        description="The 5,000 real MNIST training digits, 500 a class, that ship with kdviz and are never trained on.",
        read=read,
        needs_folder=False,
    ),
)
