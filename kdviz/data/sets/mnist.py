"""The declaration of MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.data.registry import DataSet, Recipe, datasets

if TYPE_CHECKING:
    from kdviz.data.samples import LabelledImages

INPUT = {"size": (28, 28), "channels": 1, "mean": (0.0,), "std": (1.0,), "fit": "digit"}
"""Values in [0, 1] as the paper's networks take them, so that 0 is black."""


def read(data: str | Path | None, **_input: Any) -> dict[str, LabelledImages]:
    """See :func:`kdviz.data.mnist`; the images always have 28 x 28 pixels."""
    from kdviz.data import mnist

    return mnist(data)


datasets.add(
    "mnist",
    DataSet(
        title="MNIST",
        description="The official MNIST without the bundled digits, split for training.",
        read=read,
        recipe=Recipe("paper_cnn", "paper_fc", False, epochs=20, teacher_epochs=12, batch_size=256),
        input=INPUT,
        needs_folder=False,
        bundled="mnist-bundled",
    ),
)
