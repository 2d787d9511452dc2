"""Trainings of an experiment that were interrupted: saved after every epoch, so that the same command continues them.

::

    <experiment>/runs/unfinished/<identity>.pt      the state after the last epoch of one training

The identity is a hash of everything that decides the result. Another recipe, other data or other weights are another
training, which starts from the beginning. All files are removed when the experiment is complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from kdviz.core.files import Store
from kdviz.distill.config import TEACHER_SETTINGS, TrainingConfig
from kdviz.distill.storage.run_files import NamedCheckpoint, weights_of
from kdviz.models.inputs import AdaptedNetwork

_FOLDER, _FORGOTTEN = "unfinished", ".forgotten"


class UnfinishedTrainings:
    """The unfinished trainings of one experiment.

    Args:
        store: The experiment's folder of runs.
        shared: What they have in common, such as fingerprints of the data; JSON values.
    """

    def __init__(self, store: Store, shared: Mapping[str, Any]):
        self._store, self._shared = store, dict(shared)

    def checkpoint(
        self,
        role: str,
        network: nn.Module,
        config: TrainingConfig,
        teachers: Sequence[nn.Module] = (),
        logits: Tensor | None = None,
    ) -> NamedCheckpoint:
        """The checkpoint of a training.

        Args:
            role: Role of the network.
            network: Network with its initial weights.
            config: The recipe.
            teachers: Trained networks that it learns from; their weights stand for their logits.
            logits: Logits of a teacher of which nothing else is known.
        """
        distilled = bool(teachers) or logits is not None
        ignored = {"device"} if distilled else {"device", *TEACHER_SETTINGS}
        settings = {name: value for name, value in config.to_json().items() if name not in ignored}
        if not config.views:
            settings.pop("views")  # as before there were views
        if not (distilled and config.has_own_pictures):
            settings.pop("transfer_set", None)  # likewise
            settings.pop("transfer_steps", None)
        inputs = {
            **self._shared,
            "role": role,
            "start": _hash(weights_of(network)),
            "trained": [name for name, parameter in network.named_parameters() if parameter.requires_grad],
            "kind": type(network).__name__,
            **({"conversion": network.conversion} if isinstance(network, AdaptedNetwork) else {}),
            "settings": settings,
            "teachers": [_hash(weights_of(teacher)) for teacher in teachers],
            "logits": "" if logits is None else _hash(np.ascontiguousarray(logits.numpy()).tobytes()),
        }
        identity = _hash(json.dumps(inputs, sort_keys=True).encode())[:16]
        return NamedCheckpoint(self._store, f"{_FOLDER}/{identity}.pt")


def forget_unfinished(experiment: str | Path) -> None:
    """Remove the unfinished trainings in an experiment's folder, including those of other recipes."""
    runs = Path(experiment) / "runs"
    shutil.rmtree(runs / _FORGOTTEN, ignore_errors=True)
    with suppress(OSError):  # there are none; all or none are forgotten, also by a process that is killed here
        (runs / _FOLDER).rename(runs / _FORGOTTEN)
    shutil.rmtree(runs / _FORGOTTEN, ignore_errors=True)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
