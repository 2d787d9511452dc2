"""A file of an export and what was measured of it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdviz.compress.cost import wilson


@dataclass(frozen=True)
class ExportedFile:
    """A model file and what was measured of it.

    Attributes:
        name, form: Its name in the folder, and its :class:`~kdviz.compress.cost.Form`.
        content: Its content.
        answers: Its scores for the pictures that go with the export, float32 (n, classes).
        size: Bytes of the file and of those that only it needs.
        right: bool (samples,): which samples it classifies correctly; None: not measured.
        different: On how many samples its answer is another than that of ``model.onnx``; None: not measured.
    """

    name: str
    form: str
    content: bytes = field(repr=False)
    answers: np.ndarray = field(repr=False)
    size: int
    right: np.ndarray | None = field(default=None, repr=False)
    different: int | None = None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def accuracy(self, split: str) -> dict[str, Any]:
        """The columns of the cost table on accuracy, as JSON stores them; empty if it was not measured."""
        if self.right is None:
            return {}
        share, count = float(self.right.mean()), len(self.right)
        low, high = wilson(share, count)
        packed = base64.b64encode(np.packbits(self.right).tobytes()).decode()
        return {
            "split": split,
            "samples": count,
            "accuracy": share,
            "accuracy_low": low,
            "accuracy_high": high,
            "right": packed,
        }
