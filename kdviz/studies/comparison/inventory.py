"""The contents of an experiment as data: each model with its network, size, file, hash, training and metrics."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import torch
from torch import nn

from kdviz.core.errors import ExperimentError, KdvizError, ModelError
from kdviz.core.vocabulary import Split
from kdviz.experiment import Experiment, InputSpec, Run
from kdviz.experiment.checking import read_json
from kdviz.experiment.loading import read_document
from kdviz.models.networks import ONNX, build_network, parameter_count

LIBRARIES = ("torchvision", "captum", "timm", "onnxruntime", "streamlit", "plotly", "numpy")
"""Libraries whose versions results may depend on."""

_IMPORT = "import"  # the key in a run's training under which an import records the model's origin


@dataclass(frozen=True)
class ModelCard:
    """The description of one model.

    Attributes:
        role, network: As in experiment.json.
        parameters: Number of parameters, trainable and frozen; None for an ONNX file, which is not read.
        weights: Name of the weights file.
        size: Size of that file in bytes; None when it is missing.
        sha256: Hash of that file.
        training: Its training configuration in experiment.json.
        metrics: Split -> name -> number.
        title: What people call it; may be empty.
        spec: The network's own input; None where only the predictions are known.
        is_adapted: Whether that input is converted from the experiment's, or its classes are reordered.
        outputs: Number of outputs of the network; None likewise.
        class_order: For each class of the experiment the network's output; None: the order is the same.
        origin: How it was imported: ``file``, ``network_from``, ``input_from``, ``notes``; empty for kdviz's own.
        parent, made_by: The model that it was made from, and how; may be empty.
    """

    role: str
    network: str
    parameters: int | None
    weights: str
    size: int | None
    sha256: str
    training: Mapping[str, Any] = field(repr=False)
    metrics: Mapping[str, Mapping[str, float]] = field(repr=False)
    title: str = ""
    spec: InputSpec | None = field(default=None, repr=False)
    is_adapted: bool = False
    outputs: int | None = None
    class_order: tuple[int, ...] | None = field(default=None, repr=False)
    origin: Mapping[str, Any] = field(default_factory=dict, repr=False)
    parent: str = ""
    made_by: str = ""


def cards(experiment: Experiment) -> list[ModelCard]:
    """A card for each run, in the experiment's order; no weights are read."""
    return [_card(run) for run in experiment.runs.values()]


def _card(run: Run) -> ModelCard:
    try:
        size = (run.folder / run.weights).stat().st_size if run.weights else None
    except OSError:
        size = None
    origin = run.training.get(_IMPORT, {})
    return ModelCard(
        run.role,
        run.network,
        _parameters(run),
        run.weights,
        size,
        run.sha256,
        {name: value for name, value in run.training.items() if name != _IMPORT},
        run.metrics,
        run.title,
        run.spec if run.has_model else None,
        run.is_adapted,
        run.n_classes if run.has_model else None,
        run.class_order,
        origin if isinstance(origin, dict) else {},
        run.parent,
        run.made_by,
    )


def _parameters(run: Run) -> int | None:
    if run.network == ONNX or not run.weights:
        return None
    try:
        return parameter_count(outline(run.network, run.spec, run.n_classes, run.settings))
    except KdvizError:
        return None


def outline(
    network: str, spec: InputSpec, classes: int, settings: Mapping[str, Any] = MappingProxyType({})
) -> nn.Module:
    """Build a network on torch's meta device: names and shapes of its tensors, which take no memory.

    Args:
        network: Name of the network.
        spec: Its input.
        classes: Number of its logits.
        settings: Further settings; see :func:`kdviz.models.networks.build_network`.

    Raises:
        UnknownNameError, SettingError: See :func:`kdviz.models.networks.build_network`.
        ModelError: It cannot be built on the meta device.
    """
    try:
        with torch.device("meta"):
            return build_network(network, classes=classes, channels=spec.channels, size=spec.size, settings=settings)
    except KdvizError:
        raise
    except NotImplementedError as error:  # torchvision's RegNets compute their widths with tensors
        if network.startswith("torchvision/regnet"):
            return build_network(network, classes=classes, channels=spec.channels, size=spec.size, settings=settings)
        raise ModelError(
            "The size of a '{network}' cannot be found out without building it.", network=network
        ) from error
    except Exception as error:  # each network has its own error for an input that it does not take
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            "A '{network}' cannot be built for this experiment's input: {reason}", network=network, reason=reason
        ) from error


def versions() -> dict[str, str]:
    """Versions of kdviz, Python and each installed library."""
    import kdviz

    installed = {"kdviz": kdviz.__version__, "python": platform.python_version(), "torch": torch.__version__}
    for name in LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


@dataclass(frozen=True)
class Glance:
    """The line of an experiment in a list.

    Attributes:
        classes: Number of classes.
        accuracies: Role -> accuracy on the test split, or else on another one; None when it was not evaluated.
    """

    classes: int
    accuracies: Mapping[str, float | None]


def glance(folder: Path) -> Glance | None:
    """Read an experiment's line from its experiment.json, without its weights; None when it could not be opened."""
    try:
        experiment = read_document(folder, read_json(folder / "experiment.json"))
    except ExperimentError:
        return None
    return Glance(len(experiment.classes), {role: _accuracy(run.metrics) for role, run in experiment.runs.items()})


def _accuracy(metrics: Mapping[str, Mapping[str, float]]) -> float | None:
    split = next((split for split in (Split.TEST, *metrics) if "accuracy" in metrics.get(split, {})), None)
    return None if split is None else float(metrics[split]["accuracy"])


def metrics_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Metrics, tidy: one row a run and split, with every metric that any of them has; None where one lacks it."""
    names = _names(numbers for run in experiment.runs.values() for numbers in run.metrics.values())
    return [
        {"role": run.role, "split": split, **{name: numbers.get(name) for name in names}}
        for run in experiment.runs.values()
        for split, numbers in run.metrics.items()
    ]


def table(experiment: Experiment) -> pa.Table:
    """A table of the runs: file, hash, size, every setting as ``training.NAME``, every metric as ``SPLIT.NAME``."""
    rows = []
    for card in cards(experiment):
        row: dict[str, Any] = {
            "role": card.role,
            "network": card.network,
            "parameters": card.parameters,
            "weights": card.weights,
            "bytes": card.size,
            "sha256": card.sha256,
        }
        row |= {f"import.{name}": _text(value) for name, value in card.origin.items()}
        row |= {f"training.{name}": _text(value) for name, value in card.training.items()}
        row |= {f"{split}.{name}": value for split, numbers in card.metrics.items() for name, value in numbers.items()}
        rows.append(row)
    return pa.table({name: [row.get(name) for row in rows] for name in _names(rows)})


def document(experiment: Experiment, device: str) -> dict[str, Any]:
    """Everything, for a reviewer: the contents of experiment.json, sizes, versions and the device."""
    contents = experiment.to_json()
    sizes = {card.role: {"parameters": card.parameters, "bytes": card.size} for card in cards(experiment)}
    runs = [{**run, **sizes[run["role"]]} for run in contents["runs"]]
    return {"name": experiment.name, **contents, "runs": runs, "versions": versions(), "device": device}


def _names(mappings: Any) -> list[str]:
    """All keys, in the order in which they first occur."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
