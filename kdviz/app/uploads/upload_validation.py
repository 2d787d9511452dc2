"""Whether files that somebody sent may be used: weights that fit their network, tables that can be read. No widgets.

The order is what makes it safe: names and shapes are compared with the network's before either takes memory, and
tables are first read by another process (see table_check.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kdviz.app import limits
from kdviz.app.uploads import table_check
from kdviz.core.errors import ExperimentError, KdvizError, ModelError
from kdviz.experiment import Experiment, Run, load_experiment
from kdviz.models.checkpoints import load_trained, read_checkpoint
from kdviz.models.identify import identify
from kdviz.models.networks import ONNX, RENORMALISED, build_network, networks
from kdviz.studies.comparison.inventory import outline

_NUMBERS = {"F64", "F32", "F16", "BF16"}
_COUNTER = "num_batches_tracked"
_MOST_TENSORS = 20_000
_Shapes = Mapping[str, tuple[tuple[int, ...], bool]]  # name -> shape, and whether its numbers are real ones


# an experiment --------------------------------------------------------------------------------------------------------


def validate_experiment(folder: Path, name: str) -> Experiment:
    """The experiment in a folder that was sent.

    Args:
        folder: Where its files are now.
        name: What the person called it, for messages.

    Raises:
        KdvizError: It is refused; the text says why.
    """
    try:
        experiment = load_experiment(folder)  # fields and hashes; builds nothing
        for run in experiment.models.values():
            _check_run(run)
        check_tables(sorted(folder.glob("*.parquet")))
    except KdvizError as error:
        raise ExperimentError(_in_its_words(str(error), folder, name)) from error
    return experiment


def _in_its_words(message: str, folder: Path, name: str) -> str:
    """A message without the server's paths."""
    for own in (str(folder), str(folder.resolve())):
        message = message.replace(f"{own}{os.sep}", "").replace(own, name)
    return message


def _check_run(run: Run) -> None:
    if run.network == ONNX:
        if limits.onnx_allowed():
            return  # it holds its own network: there is nothing to compare it with
        raise ModelError(
            f"The model '{run.role}' is an ONNX file, which the page does not take from others; open the experiment "
            "where kdviz runs, with kdviz app --models."
        )
    difference = first_difference(shapes_of(run.network, run), shapes_in(run.folder / run.weights), every=True)
    if difference:
        raise ModelError(f"The weights of the {run.role} do not fit a '{run.network}': {difference}.")


def check_tables(paths: Sequence[Path]) -> None:
    """Raises:
    ExperimentError: One is damaged, far too large, or holds what no table of an experiment holds.
    """
    if not paths:
        return
    command = [sys.executable, "-I", table_check.__file__, *map(str, paths)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=2 * table_check.SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ExperimentError("The experiment is refused: its tables take too long to read.") from error
    if done.returncode == 0:
        return
    name, _, reason = done.stdout.strip().partition("\t")
    if reason == "large":
        raise ExperimentError(f"The experiment is refused: '{name}' would take too much memory.")
    if reason == "kind":
        raise ExperimentError(f"The experiment is refused: '{name}' has a column of a kind that no table here has.")
    raise ExperimentError(f"The experiment is refused: '{name or paths[0].name}' is damaged.")


# weights --------------------------------------------------------------------------------------------------------------


def shapes_in(path: Path) -> _Shapes:
    """Names and shapes in a safetensors file; the numbers are not read.

    Raises:
        ModelError: It is damaged, or holds something else.
    """
    found: dict[str, tuple[tuple[int, ...], bool]] = {}
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                tensor = file.get_slice(name)
                found[name] = tuple(tensor.get_shape()), tensor.get_dtype() in _NUMBERS
    except (SafetensorError, OSError, ValueError, OverflowError, RuntimeError) as error:
        raise ModelError(f"'{path.name}' is damaged, or is no safetensors file; please save it again.") from error
    if not 0 < len(found) <= _MOST_TENSORS:
        raise ModelError(f"'{path.name}' holds {len(found)} tensors, which is no network's number.")
    return found


def shapes_of(network: str, run: Run) -> _Shapes:
    """Those of a network for the input and classes of ``run``.

    Raises:
        KdvizError: There is no such network, or none for this input.
    """
    state = outline(network, run.spec, run.n_classes, run.settings if network == run.network else {}).state_dict()
    return {name: (tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in state.items()}


def first_difference(wanted: _Shapes, given: _Shapes, *, every: bool = False) -> str:
    """The first tensor that differs, in words; empty when all fit.

    Args:
        wanted: The network's.
        given: The file's.
        every: Counters of BatchNorm, on which nothing depends, must be there too.
    """
    for name, (shape, real) in wanted.items():
        if name not in given:
            if every or not name.endswith(_COUNTER):
                return f"'{name}' ({_shown(shape)}) is not in the file"
        elif given[name][0] != shape:
            return f"'{name}' is {_shown(given[name][0])} in the file and {_shown(shape)} in the network"
        elif given[name][1] != real:
            return f"'{name}' holds numbers of another kind than the network's"
    extra = next((name for name in given if name not in wanted), None)
    return "" if extra is None else f"the file has '{extra[:80]}', which the network has not"


def _shown(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a single number"


def fitting_network(path: Path, experiment: Experiment, candidates: Iterable[str]) -> str:
    """The first of some networks whose tensors are the file's.

    Raises:
        ModelError: None; the text says what is the matter with the one that has the most names in common.
    """
    (_, given), run = _state_in(path), _any_run(experiment)
    tried: dict[str, _Shapes] = {}
    for name in candidates:
        try:
            tried[name] = shapes_of(name, run)
        except KdvizError:
            continue
        if not first_difference(tried[name], given):
            return name
    found = _identified(path, given, experiment, tried)
    if found:
        return found
    nearest = max(tried, key=lambda name: len(tried[name].keys() & given.keys()) / len(tried[name].keys() | given))
    raise ModelError(
        f"The weights fit none of {', '.join(tried)}; choose their network by name. In the nearest, '{nearest}', "
        f"{first_difference(tried[nearest], given)}."
    )


def _identified(path: Path, given: _Shapes, experiment: Experiment, tried: Iterable[str]) -> str:
    """The network of torchvision or timm whose tensors these are; empty: none but those that were tried.

    Raises:
        ModelError: It is one, but not for this experiment's pictures or classes.
    """
    try:
        match = identify({name: shape for name, (shape, _) in given.items()})
    except ModelError:
        return ""
    if match.network in tried:
        return ""
    classes, channels = len(experiment.classes), experiment.input.channels
    if (match.classes, match.channels) != (classes, channels) or match.settings or match.foreign:
        raise ModelError(
            f"'{path.name}' is a '{match.network}' with {match.classes} outputs for pictures of {match.channels} "
            f"channels, and this experiment has {classes} classes and {channels} channels; make an experiment of it on "
            "the page Bring your models."
        )
    return match.network


def usual_networks(experiment: Experiment) -> list[str]:
    """Networks to try without being told: those of the experiment, then kdviz's own."""
    own = [run.network for run in experiment.models.values() if run.network != ONNX]
    plain = [name.removesuffix(RENORMALISED) for name in own]
    return list(dict.fromkeys([*own, *plain, *networks]))


def selectable_networks(experiment: Experiment) -> list[str]:
    """All networks that could take the experiment's pictures."""
    from torchvision import models

    found = usual_networks(experiment)
    if experiment.input.channels == 3:
        found += [f"torchvision/{name}" for name in models.list_models(module=models)]
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError:
        return list(dict.fromkeys(found))
    return list(dict.fromkeys([*found, *(f"timm/{name}" for name in timm.list_models())]))


def add_weights(experiment: Experiment, path: Path, network: str, role: str, name: str) -> Run:
    """List a checkpoint as one more run of an experiment in a folder of the session's own, and save that.

    Args:
        experiment: The one in the session's folder; it gets the run.
        path: The file that was sent.
        network: Its network, by name.
        role: The new run's.
        name: What the person called the file.

    Raises:
        KdvizError: It does not fit; the text names the first tensor that differs. Nothing is changed then.
    """
    spec, classes = experiment.input, len(experiment.classes)
    state, given = _state_in(path)
    difference = first_difference(shapes_of(network, _any_run(experiment)), given)
    if difference:
        raise ModelError(
            f"The weights do not fit a '{network}' with this experiment's input and classes: {difference}."
        )
    for tensor_name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"'{tensor_name[:80]}' in '{name}' holds numbers that are not finite.")
    built = build_network(network, classes=classes, channels=spec.channels, size=spec.size)
    load_trained(built, state)
    built.float().eval()
    experiment.with_model(role, built)  # a free role, and logits of the right shape from noise
    run = experiment.add_run(role, network, built, {"weights_from": name}, {})
    experiment.save()
    return run


def _state_in(path: Path) -> tuple[dict[str, Tensor], _Shapes]:
    """The tensors of a checkpoint under the names that a network has, and their shapes."""
    if path.suffix == ".safetensors":
        shapes_in(path)  # refuses what is no safetensors file, which read_checkpoint might take for something else
    state = read_checkpoint(path)
    if not 0 < len(state) <= _MOST_TENSORS:
        raise ModelError(f"'{path.name}' holds {len(state)} tensors, which is no network's number.")
    return state, {name: (tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in state.items()}


def _any_run(experiment: Experiment) -> Run:
    """A run of the experiment's common picture and classes."""
    plain = {"spec": experiment.input, "n_classes": len(experiment.classes), "settings": {}}
    return replace(next(iter(experiment.runs.values())), network="", **plain)


# a copy ---------------------------------------------------------------------------------------------------------------


def derive_experiment(experiment: Experiment, folder: Path, title: str) -> Experiment:
    """A copy of an experiment in a folder of its own: links to weights and tables, and its own experiment.json.

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
    except OSError:  # Windows lets few people make links
        target.write_bytes(source.read_bytes())
