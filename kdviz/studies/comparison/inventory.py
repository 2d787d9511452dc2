"""What an experiment consists of: each model with its network, size, file, hash, training and metrics, as data."""

from __future__ import annotations

import json
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

from kdviz.core.errors import KdvizError, ModelError
from kdviz.experiment import Experiment, InputSpec, Run
from kdviz.models.networks import ONNX, build_network, parameter_count

LIBRARIES = ("torchvision", "captum", "timm", "onnxruntime", "streamlit", "plotly", "numpy")
"""What results may depend on."""

_IMPORT = "import"  # the key of a run's training under which an import says how the model came


@dataclass(frozen=True)
class ModelCard:
    """One model.

    Attributes:
        role, network: As in experiment.json.
        parameters: Trainable and frozen; None where the file alone knows them (ONNX).
        weights: Name of the file.
        size: Of the file, in bytes; None when it is gone.
        sha256: Of the file.
        training: What experiment.json says of it.
        metrics: Split -> name -> number.
        title: What people call it; may be empty.
        spec: The network's own input; None where only the predictions are known.
        is_adapted: Whether that is made of another picture, or its classes are put into another order.
        outputs: Of the network; None likewise.
        class_order: For each class of the experiment the network's output; None: they are the same.
        origin: How it was imported: ``file``, ``network_from``, ``input_from``, ``notes``; empty for kdviz's own.
        parent, made_by: Of which other model it was made, and how; may be empty.
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
    """One a run, in the experiment's order. No weights are read."""
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
    """A network without numbers: names and shapes of its tensors, which take no memory however large it says it is.

    Args:
        network: Its name.
        spec: Its input.
        classes: Its logits.
        settings: What it is built with besides: see :func:`kdviz.models.networks.build_network`.

    Raises:
        UnknownNameError, SettingError: See :func:`kdviz.models.networks.build_network`.
        ModelError: It cannot be built without its numbers.
    """
    try:
        with torch.device("meta"):
            return build_network(network, classes=classes, channels=spec.channels, size=spec.size, settings=settings)
    except KdvizError:
        raise
    except NotImplementedError as error:  # torchvision's RegNets compute their widths with tensors
        if network.startswith("torchvision/regnet"):
            return build_network(network, classes=classes, channels=spec.channels, size=spec.size, settings=settings)
        raise ModelError(f"The size of a '{network}' cannot be found out without building it.") from error
    except Exception as error:  # a network says in its own way that it does not take such an input
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"A '{network}' cannot be built for this experiment's input: {reason}") from error


def versions() -> dict[str, str]:
    """Python's and that of each library that is here."""
    import kdviz

    found = {"kdviz": kdviz.__version__, "python": platform.python_version(), "torch": torch.__version__}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Glance:
    """What a list says of an experiment.

    Attributes:
        classes: How many.
        accuracies: Role -> accuracy on the test split, else on another one; None when it was not evaluated.
    """

    classes: int
    accuracies: Mapping[str, float | None]


def glance(folder: Path) -> Glance | None:
    """An experiment as its experiment.json says it, which is not checked; None when that cannot be read."""
    try:
        said = json.loads((folder / "experiment.json").read_text(encoding="utf-8"))
        runs = {str(run["role"]): _accuracy(run.get("metrics", {})) for run in said["runs"]}
        return Glance(len(said["classes"]), runs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _accuracy(metrics: Mapping[str, Mapping[str, float]]) -> float | None:
    split = next((one for one in ("test", *metrics) if "accuracy" in metrics.get(one, {})), None)
    return None if split is None else float(metrics[split]["accuracy"])


def metrics_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Tidy: one row a run and split, with every metric that any of them has; None where one lacks it."""
    names = _names(numbers for run in experiment.runs.values() for numbers in run.metrics.values())
    return [
        {"role": run.role, "split": split, **{name: numbers.get(name) for name in names}}
        for run in experiment.runs.values()
        for split, numbers in run.metrics.items()
    ]


def table(experiment: Experiment) -> pa.Table:
    """One row a run: file, hash, size, every setting as ``training.NAME`` and every metric as ``SPLIT.NAME``."""
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
    """Everything, for a reviewer: the experiment as experiment.json says it, sizes, versions and the device."""
    said = experiment.to_json()
    sizes = {card.role: {"parameters": card.parameters, "bytes": card.size} for card in cards(experiment)}
    runs = [{**run, **sizes[run["role"]]} for run in said["runs"]]
    return {"name": experiment.name, **said, "runs": runs, "versions": versions(), "device": device}


def _names(mappings: Any) -> list[str]:
    """All keys, in the order in which they first come."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
