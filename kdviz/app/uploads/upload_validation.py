"""Whether files that somebody sent may be used: weights that fit their network, tables that can be read. No widgets.

The order of the checks makes it safe: names and shapes are compared with those of the network before either takes
memory, and tables are first read by another process (see table_check.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kdviz.app import limits
from kdviz.app.uploads import table_check
from kdviz.core.errors import ExperimentError, KdvizError, ModelError, Sentence
from kdviz.experiment import Experiment, Run, load_experiment
from kdviz.models.checkpoints import load_trained, read_checkpoint
from kdviz.models.identify import identify
from kdviz.models.networks import ONNX, RENORMALISED, build_network, networks
from kdviz.studies.comparison.inventory import outline

_NUMBERS = {"F64", "F32", "F16", "BF16"}
_COUNTER = "num_batches_tracked"
_MOST_TENSORS = 20_000
_Shapes = Mapping[str, tuple[tuple[int, ...], bool]]  # name -> shape, and whether its numbers are floating-point


# an experiment --------------------------------------------------------------------------------------------------------


def validate_experiment(folder: Path, name: str) -> Experiment:
    """The experiment in a folder that was sent.

    Args:
        folder: The folder of its files.
        name: The name that the person gave to it, for messages.

    Raises:
        KdvizError: It is refused; the message says why.
    """
    try:
        experiment = load_experiment(folder)  # fields and hashes; builds nothing
        for run in experiment.models.values():
            _check_run(run)
        check_tables(sorted(folder.glob("*.parquet")))
    except KdvizError as error:
        without_paths = partial(_without_paths, folder=folder, name=name)
        raise ExperimentError(error.sentence.replaced(without_paths)) from error
    return experiment


def _without_paths(message: str, folder: Path, name: str) -> str:
    """A message without the server's paths."""
    for path in (str(folder), str(folder.resolve())):
        message = message.replace(f"{path}{os.sep}", "").replace(path, name)
    return message


def _check_run(run: Run) -> None:
    if run.network == ONNX:
        if limits.onnx_allowed():
            return  # it holds its own network: there is nothing to compare it with
        raise ModelError(
            "The model '{role}' is an ONNX file, which the page does not take from others; open the "
            "experiment where kdviz runs, with kdviz app --models.",
            role=run.role,
        )
    difference = first_difference(shapes_of(run.network, run), shapes_in(run.folder / run.weights), every=True)
    if difference:
        raise ModelError(
            "The weights of the {role} do not fit a '{network}': {difference}.",
            role=run.role,
            network=run.network,
            difference=difference,
        )


def check_tables(paths: Sequence[Path]) -> None:
    """Check tables in another process, before this one reads them.

    Raises:
        ExperimentError: A table is damaged, far too large, or has a column of a kind that no table here has.
    """
    if not paths:
        return
    command = [sys.executable, "-I", table_check.__file__, *map(str, paths)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=2 * table_check.SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ExperimentError("The upload is refused: its tables take too long to read.") from error
    if process.returncode == 0:
        return
    name, _, reason = process.stdout.strip().partition("\t")
    if reason == "large":
        raise ExperimentError("The upload is refused: '{name}' would take too much memory.", name=name)
    if reason == "kind":
        raise ExperimentError(
            "The upload is refused: '{name}' has a column of a kind that no table here has.", name=name
        )
    raise ExperimentError("The upload is refused: '{name}' is damaged.", name=name or paths[0].name)


# weights --------------------------------------------------------------------------------------------------------------


def shapes_in(path: Path) -> _Shapes:
    """Names and shapes of the tensors in a safetensors file; the numbers are not read.

    Raises:
        ModelError: The file is damaged, or holds something else.
    """
    shapes: dict[str, tuple[tuple[int, ...], bool]] = {}
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                tensor = file.get_slice(name)
                shapes[name] = tuple(tensor.get_shape()), tensor.get_dtype() in _NUMBERS
    except (SafetensorError, OSError, ValueError, OverflowError, RuntimeError) as error:
        raise ModelError(
            "'{name}' is damaged, or is no safetensors file; please save it again.", name=path.name
        ) from error
    if not 0 < len(shapes) <= _MOST_TENSORS:
        raise ModelError(
            "'{name}' holds {n_shapes} tensors, which is no network's number.", name=path.name, n_shapes=len(shapes)
        )
    return shapes


def shapes_of(network: str, run: Run) -> _Shapes:
    """Names and shapes of the tensors of a network for the input and classes of ``run``.

    Raises:
        KdvizError: There is no such network, or it does not take this input.
    """
    state = outline(network, run.spec, run.n_classes, run.settings if network == run.network else {}).state_dict()
    return {name: (tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in state.items()}


def first_difference(expected: _Shapes, actual: _Shapes, *, every: bool = False) -> str:
    """A description of the first tensor that differs; empty if all fit.

    Args:
        expected: The tensors of the network.
        actual: The tensors in the file.
        every: Whether counters of BatchNorm, on which nothing depends, must be there too.
    """
    for name, (shape, real) in expected.items():
        if name not in actual:
            if every or not name.endswith(_COUNTER):
                return Sentence("'{name}' ({shape}) is not in the file", name=name, shape=_shape_text(shape))
        elif actual[name][0] != shape:
            return Sentence(
                "'{name}' is {actual} in the file and {expected} in the network",
                name=name,
                actual=_shape_text(actual[name][0]),
                expected=_shape_text(shape),
            )
        elif actual[name][1] != real:
            return Sentence("'{name}' holds numbers of another kind than the network's", name=name)
    extra = next((name for name in actual if name not in expected), None)
    return "" if extra is None else Sentence("the file has '{extra}', which the network has not", extra=extra[:80])


def _shape_text(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a single number"


def fitting_network(path: Path, experiment: Experiment, candidates: Iterable[str]) -> str:
    """Name of the first network whose tensors are those of the file.

    Raises:
        ModelError: No network fits; the message says why the nearest one, by names of tensors, does not.
    """
    (_, actual), run = _read_state(path), _any_run(experiment)
    tried: dict[str, _Shapes] = {}
    for name in candidates:
        try:
            tried[name] = shapes_of(name, run)
        except KdvizError:
            continue
        if not first_difference(tried[name], actual):
            return name
    identified = _identified_network(path, actual, experiment, tried)
    if identified:
        return identified
    nearest = max(tried, key=lambda name: len(tried[name].keys() & actual.keys()) / len(tried[name].keys() | actual))
    raise ModelError(
        "The weights fit none of {tried}; choose their network by name. In the nearest, '{nearest}', "
        "{first_difference}.",
        tried=", ".join(tried),
        nearest=nearest,
        first_difference=first_difference(tried[nearest], actual),
    )


def _identified_network(path: Path, actual: _Shapes, experiment: Experiment, tried: Iterable[str]) -> str:
    """Name of the network of torchvision or timm with these tensors; empty if there is none, or it was tried already.

    Raises:
        ModelError: There is one, but for other pictures or classes than the experiment's.
    """
    try:
        match = identify({name: shape for name, (shape, _) in actual.items()})
    except ModelError:
        return ""
    if match.network in tried:
        return ""
    classes, channels = len(experiment.classes), experiment.input.channels
    if (match.classes, match.channels) != (classes, channels) or match.settings or match.foreign:
        raise ModelError(
            "'{name}' is a '{network}' with {classes} outputs for pictures of {channels} channels, and "
            "this experiment has {expected_classes} classes and {expected_channels} channels; make an experiment of "
            "it on the page Bring your models.",
            name=path.name,
            network=match.network,
            classes=match.classes,
            channels=match.channels,
            expected_classes=classes,
            expected_channels=channels,
        )
    return match.network


def candidate_networks(experiment: Experiment) -> list[str]:
    """Networks to try if none is named: those of the experiment, then those of kdviz."""
    names = [run.network for run in experiment.models.values() if run.network != ONNX]
    plain = [name.removesuffix(RENORMALISED) for name in names]
    return list(dict.fromkeys([*names, *plain, *networks]))


def selectable_networks(experiment: Experiment) -> list[str]:
    """All networks that could take the experiment's pictures."""
    from torchvision import models

    names = candidate_networks(experiment)
    if experiment.input.channels == 3:
        names += [f"torchvision/{name}" for name in models.list_models(module=models)]
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError:
        return list(dict.fromkeys(names))
    return list(dict.fromkeys([*names, *(f"timm/{name}" for name in timm.list_models())]))


def add_weights(experiment: Experiment, path: Path, network: str, role: str, name: str) -> Run:
    """Add a checkpoint as a further run to an experiment in the session's folder, and save it.

    Args:
        experiment: The experiment, which gets the run.
        path: The file that was sent.
        network: Name of its network.
        role: Role of the new run.
        name: The name that the person gave to the file.

    Raises:
        KdvizError: The weights do not fit; the message names the first tensor that differs. Nothing is changed then.
    """
    spec, classes = experiment.input, len(experiment.classes)
    state, actual = _read_state(path)
    difference = first_difference(shapes_of(network, _any_run(experiment)), actual)
    if difference:
        raise ModelError(
            "The weights do not fit a '{network}' with this experiment's input and classes: {difference}.",
            network=network,
            difference=difference,
        )
    for tensor_name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(
                "'{tensor_name}' in '{name}' holds numbers that are not finite.",
                tensor_name=tensor_name[:80],
                name=name,
            )
    model = build_network(network, classes=classes, channels=spec.channels, size=spec.size)
    load_trained(model, state)
    model.float().eval()
    experiment.with_model(role, model)  # a free role, and logits of the right shape from noise
    run = experiment.add_run(role, network, model, {"weights_from": name}, {})
    experiment.save()
    return run


def _read_state(path: Path) -> tuple[dict[str, Tensor], _Shapes]:
    """The tensors of a checkpoint under the names of a network's parameters and buffers, and their shapes."""
    if path.suffix == ".safetensors":
        shapes_in(path)  # refuses what is no safetensors file, which read_checkpoint might take for something else
    state = read_checkpoint(path)
    if not 0 < len(state) <= _MOST_TENSORS:
        raise ModelError(
            "'{name}' holds {n_state} tensors, which is no network's number.", name=path.name, n_state=len(state)
        )
    return state, {name: (tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in state.items()}


def _any_run(experiment: Experiment) -> Run:
    """A run, whichever, with the common picture and the classes of the experiment."""
    plain = {"spec": experiment.input, "n_classes": len(experiment.classes), "settings": {}}
    return replace(next(iter(experiment.runs.values())), network="", **plain)


# a copy ---------------------------------------------------------------------------------------------------------------


def derive_experiment(experiment: Experiment, folder: Path, title: str) -> Experiment:
    """A copy of an experiment in another folder: links to weights and tables, and an experiment.json of its own.

    The copy's files are only ever replaced, never written into, so that the originals stay as they are.
    """
    folder.mkdir(parents=True)
    weights = [run.weights for run in experiment.runs.values() if run.weights]
    for name in dict.fromkeys([*weights, *(path.name for path in sorted(experiment.folder.glob("*.parquet")))]):
        _link(experiment.folder / name, folder / name)
    runs = {role: replace(run, folder=folder) for role, run in experiment.runs.items()}
    copy = replace(experiment, folder=folder, runs=runs, title=title)
    copy.save()
    return copy


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # Windows lets only few users make links
        target.write_bytes(source.read_bytes())
