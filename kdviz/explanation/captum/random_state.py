"""Random numbers for methods that draw from the global state of torch and NumPy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from kdviz.explanation.captum.task import AttributionTask

_lock = threading.RLock()


@contextmanager
def seeded(task: AttributionTask) -> Iterator[None]:
    """Seed torch and NumPy with the task's seed, and restore their random states afterwards."""
    with _lock:  # the state is global: two threads that seed it would get each other's numbers
        state = np.random.get_state()  # noqa: NPY002 (Captum's GradientShap draws from NumPy's global state)
        device = task.inputs.device
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                _seed(task.settings["seed"], device)
                yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _seed(seed: int, device: torch.device) -> None:
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the other GPUs
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
