"""Files of a training run: its result, its weights, snapshots of epochs, checkpoints."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from kdviz.core.errors import KdvizError
from kdviz.core.files import Store
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.experiment import InputSpec
from kdviz.models.networks import build_network


def write_array(store: Store, name: str, values: Tensor) -> None:
    """Write a tensor as a NumPy file."""
    buffer = io.BytesIO()
    np.save(buffer, values.detach().cpu().numpy(), allow_pickle=False)
    store.write(name, buffer.getvalue())


def read_array(store: Store, name: str) -> Tensor:
    """Read what :func:`write_array` wrote.

    Raises:
        KdvizError: The file is missing, or was damaged and is set aside.
    """
    content = read_content(store, name)
    try:
        return torch.from_numpy(np.load(io.BytesIO(content), allow_pickle=False))
    except Exception as error:  # numpy has many ways to say that a file is damaged
        raise _set_aside(store, name) from error


def read_state(store: Store, name: str) -> dict[str, Tensor]:
    """Read what :func:`write_weights` wrote.

    Raises:
        KdvizError: The file is missing, or was damaged and is set aside.
    """
    content = read_content(store, name)
    try:
        return load_safetensors(content)
    except Exception as error:  # safetensors has its own errors for a damaged file
        raise _set_aside(store, name) from error


def _set_aside(store: Store, name: str) -> KdvizError:
    """Keep a damaged file under another name; the run that it is of no longer counts as finished."""
    store.set_aside(name)
    folder, _, _ = name.rpartition("/")
    if folder:
        store.remove(f"{folder}/result.json")
    return KdvizError(
        "'{name}' in '{url}' was damaged and is set aside; the same command, given once more, makes it again.",
        name=name,
        url=store.url,
    )


class NamedCheckpoint:
    """The state of a training in a store, under a name; a damaged one counts as missing."""

    def __init__(self, store: Store, name: str):
        self._store, self._name = store, name

    def load(self) -> dict[str, Any] | None:
        content = self._store.read(self._name)
        if content is None:
            return None
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            int(state["epoch"])
        except Exception:  # torch.load has many ways to say that a file is damaged
            self._store.set_aside(self._name)
            return None
        return state

    def save(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self._store.write(self._name, buffer.getvalue())

    def remove(self) -> None:
        self._store.remove(self._name)


class StoredCheckpoint(NamedCheckpoint):
    """The checkpoint of a study's run; one that lies beyond a missing snapshot counts as missing, too."""

    def __init__(self, store: Store, run: TrainingRun):
        super().__init__(store, f"{run.identity}/checkpoint.pt")
        self._run = run

    def load(self) -> dict[str, Any] | None:
        state = super().load()
        if state is None:
            return None
        passed = [epoch for epoch in self._run.snapshots if epoch <= state["epoch"]]
        return state if all(has_snapshot(self._store, self._run, epoch) for epoch in passed) else None


def read_result(store: Store, identity: str) -> dict[str, Any] | None:
    """The content of a finished run's result.json, or None."""
    content = store.read(f"{identity}/result.json")
    if content is None:
        return None
    try:
        result = json.loads(content)
        _ = result["curves"]
    except (ValueError, KeyError, TypeError):
        store.set_aside(f"{identity}/result.json")
        return None
    return result


def is_finished(store: Store, run: TrainingRun) -> bool:
    """Whether a run is complete."""
    result = read_result(store, run.identity)
    if result is None:
        return False
    return len(result["curves"]) >= run.config.epochs and all(
        has_snapshot(store, run, epoch) for epoch in run.snapshots
    )


def has_snapshot(store: Store, run: TrainingRun, epoch: int) -> bool:
    """Whether the weights and logits after an epoch are stored; the weights are written last."""
    return store.has(f"{run.identity}/{snapshot_name(epoch)}")


def read_weights(store: Store, run: TrainingRun, classes: int, epoch: int | None = None) -> nn.Module:
    """The trained network of a finished run, or as it was after ``epoch``.

    Raises:
        KdvizError: The weights are missing.
    """
    name = f"{run.identity}/" + ("weights.safetensors" if epoch is None else snapshot_name(epoch))
    if not store.has(name):
        raise KdvizError("'{name}' is missing from '{url}'; run the study again.", name=name, url=store.url)
    network = build_network(
        run.network, classes=classes, channels=run.spec.channels, size=run.spec.size, settings=run.network_settings
    )
    network.load_state_dict(read_state(store, name))
    return network.eval().requires_grad_(False)


def write_weights(store: Store, name: str, network: nn.Module) -> None:
    """Write a network's weights as safetensors."""
    store.write(name, weights_of(network))


def snapshot_name(epoch: int) -> str:
    return f"epoch-{epoch:04d}.safetensors"


def weights_of(network: nn.Module) -> bytes:
    """A network's weights as the content of a safetensors file."""
    return save_safetensors({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()})


def read_content(store: Store, name: str) -> bytes:
    content = store.read(name)
    if content is None:
        raise KdvizError(
            "'{name}' is missing from '{url}'; all machines must see the same folder of results.",
            name=name,
            url=store.url,
        )
    return content


def new_network(
    name: str, spec: InputSpec, classes: int, seed: int, settings: Mapping[str, Any] = MappingProxyType({})
) -> nn.Module:
    """A network whose initial weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would change a GPU's generator for good
        return build_network(name, classes=classes, channels=spec.channels, size=spec.size, settings=settings)
