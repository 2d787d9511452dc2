"""A run in its own form: its network's own input and logits, which may differ from the experiment's."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.compress.onnx_export import without_notes
from kdviz.compress.profile import own_input
from kdviz.experiment import Experiment, Run
from kdviz.experiment.run import as_network, validated_network
from kdviz.models.inputs import adapted
from kdviz.models.networks import ONNX, OnnxNetwork, build_network


def built(run: Run) -> nn.Module:
    """A run's network with fresh weights."""
    return build_network(
        run.network, classes=run.n_classes, channels=run.spec.channels, size=run.spec.size, settings=run.settings
    )


def for_experiment(experiment: Experiment, run: Run, network: nn.Module) -> nn.Module:
    """A network with the form of a run, from the experiment's input to its classes; the network itself is inside."""
    return adapted(network, experiment.input, run.spec, run.class_order)


def own_inputs(experiment: Experiment, run: Run, pictures: Tensor) -> Tensor:
    """Inputs of a run's network, float32 (N, c, h, w), through which gradients may flow.

    Args:
        experiment: The experiment.
        run: The run.
        pictures: As in the data, uint8 (N, C, H, W).
    """
    return own_input(experiment, run, pictures).clone()


def own_targets(run: Run, targets: Tensor) -> Tensor:
    """Targets of a run's own logits.

    Args:
        run: The run.
        targets: Labels in the experiment, int64 (N,), or probabilities of its classes, float (N, classes).
    """
    if run.class_order is None:
        return targets
    order = torch.tensor(run.class_order)
    if not targets.is_floating_point():
        return order[targets]
    own = torch.zeros(len(targets), run.n_classes)
    own[:, order] = targets
    return own


def example_of(run: Run) -> Tensor:
    """Two inputs of a run's network."""
    return torch.zeros(2, run.spec.channels, *run.spec.size)


def add_network(
    experiment: Experiment, role: str, network: nn.Module, like: Run, record: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Add a network as a run, with the input and the logits of another one; its weights are written."""
    run = experiment.add_run(role, like.network, network, record, {}, spec=like.spec)
    run.n_classes, run.class_order, run.settings = like.n_classes, like.class_order, settings


def add_file(experiment: Experiment, role: str, content: bytes, like: Run, record: dict[str, Any]) -> None:
    """Add an ONNX file as a run, with the input and the logits of another one; saving the experiment writes it.

    Raises:
        ModelError: onnxruntime cannot run it, as where an operator is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{role}.onnx"
        path.write_bytes(without_notes(content))
        network = validated_network(as_network(path), role, like.spec, like.n_classes)
    assert isinstance(network, OnnxNetwork)
    digest = hashlib.sha256(network.content).hexdigest()
    file = f"{role}-{digest[:8]}.onnx"
    run = Run(
        role,
        ONNX,
        file,
        digest,
        record,
        {},
        experiment.folder,
        like.spec,
        like.n_classes,
        experiment.input,
        like.class_order,
    )
    run.unadapted = network
    experiment.runs[role] = run
