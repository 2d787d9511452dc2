"""Trainings of an experiment that were interrupted: kept epoch by epoch, so that the same command goes on with them.

::

    <experiment>/runs/unfinished/<identity>.pt      the state after the last epoch of one training

The identity is a hash of all that decides the result. Another recipe, other data or other weights are another
training, which begins afresh. All are removed when the experiment is complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from kdviz.core.files import Store
from kdviz.distill.config import TEACHER_SETTINGS, TrainingConfig
from kdviz.distill.storage.run_files import NamedCheckpoint, weights_of

_FOLDER = "unfinished"


class Unfinished:
    """The unfinished trainings of one experiment.

    Args:
        store: The experiment's folder of runs.
        about: What they share, such as the fingerprints of the data; as JSON holds it.
    """

    def __init__(self, store: Store, about: Mapping[str, Any]):
        self._store, self._about = store, dict(about)

    def checkpoint(
        self,
        role: str,
        network: nn.Module,
        config: TrainingConfig,
        teachers: Sequence[nn.Module] = (),
        logits: Tensor | None = None,
    ) -> NamedCheckpoint:
        """Where a training is kept.

        Args:
            role: Of the network.
            network: With the weights that it begins with.
            config: The recipe.
            teachers: Those it learns from, trained; they stand for their answers.
            logits: Of a teacher of which nothing else is known.
        """
        distilled = bool(teachers) or logits is not None
        never = {"device"} if distilled else {"device", *TEACHER_SETTINGS}
        everything = {
            **self._about,
            "role": role,
            "start": _hash(weights_of(network)),
            "trained": [name for name, value in network.named_parameters() if value.requires_grad],
            "kind": type(network).__name__,
            "settings": {name: value for name, value in config.to_json().items() if name not in never},
            "teachers": [_hash(weights_of(teacher)) for teacher in teachers],
            "logits": "" if logits is None else _hash(np.ascontiguousarray(logits.numpy()).tobytes()),
        }
        identity = _hash(json.dumps(everything, sort_keys=True).encode())[:16]
        return NamedCheckpoint(self._store, f"{_FOLDER}/{identity}.pt")


def forget_unfinished(experiment: str | Path) -> None:
    """Remove what is kept of trainings in an experiment's folder, those of other recipes too."""
    shutil.rmtree(Path(experiment) / "runs" / _FOLDER, ignore_errors=True)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
