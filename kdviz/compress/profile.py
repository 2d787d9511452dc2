"""What each model of an experiment costs and what it is worth: size, operations, time, accuracy; in float32 and int8.

Times are taken in rounds, in each of which every model has its turn in another order, so that what else the machine
does falls on all alike. They are good for comparing models on this machine; other machines give others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from kdviz.compress.cost import wilson
from kdviz.compress.forms import CPU, ModelForm, cost_table
from kdviz.compress.onnx_export import exporter_problem, float_file, int8_file
from kdviz.compress.operations import operations_of
from kdviz.compress.timing import Settings, timed
from kdviz.core.devices import choose_device
from kdviz.core.errors import ExperimentError, KdvizError, SettingError, UnknownNameError
from kdviz.data import LabelledImages
from kdviz.data.registry import bundled_samples
from kdviz.data.samples import SPLITS
from kdviz.experiment import Experiment, Run
from kdviz.experiment.run import only_predictions
from kdviz.models.inputs import AdaptedNetwork
from kdviz.models.networks import ONNX, OnnxNetwork, parameter_count

MOST = 2000
"""Pictures of an imported experiment's data folder that accuracy is measured on, with those for int8."""


CALIBRATION = 200  # pictures on which the ranges of int8 are measured


_AT_ONCE = 250  # pictures, while accuracy is measured


@dataclass(frozen=True)
class ProfileSamples:
    """What accuracy is measured on, and other pictures, on which int8 finds its ranges; (N, C, H, W) as in the data."""

    measured: LabelledImages
    calibration: Tensor


@dataclass(frozen=True)
class ProfileProgress:
    """How far a profile is: a share from 0 to 1, what is done, what a user should know, and at its end the table."""

    share: float
    doing: str
    notes: tuple[str, ...] = ()
    table: pa.Table | None = None


def own_samples(experiment: Experiment) -> ProfileSamples | None:
    """The bundled digits, or the samples that the experiment keeps: never what it was trained on. None without any."""
    bundled = bundled_samples(experiment.dataset)
    if bundled is not None and bundled.images.shape[1:] == (experiment.input.channels, *experiment.input.size):
        return parted(bundled)
    found = [one for one in (_stored(experiment, split) for split in SPLITS) if one is not None]
    if not found:
        return None
    return ProfileSamples(found[0], _some(found[1].images)) if len(found) > 1 else parted(found[0])


def samples_of(splits: dict[str, LabelledImages]) -> ProfileSamples:
    """The test split of a data set, and pictures of its validation split."""
    return ProfileSamples(splits["test"], _some(splits["validation"].images))


def _stored(experiment: Experiment, split: str) -> LabelledImages | None:
    try:
        stored = experiment.samples(split)
    except (ExperimentError, UnknownNameError):
        return None
    every = torch.arange(len(stored))
    return LabelledImages(stored.images(every), stored.labels, stored.classes, split, stored.names)


def parted(samples: LabelledImages) -> ProfileSamples:
    """A few for calibration, which accuracy is then not measured on."""
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    few = min(CALIBRATION, len(samples) // 4)
    return ProfileSamples(samples.take(order[few:].sort().values), samples.images[order[:few]])


def _some(images: Tensor) -> Tensor:
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:CALIBRATION]]


def profile(
    experiment: Experiment, samples: ProfileSamples | None, settings: Settings | None = None
) -> Iterator[ProfileProgress]:
    """Measure every model of an experiment; yield how far it is, and with the last share, 1, the table.

    Args:
        experiment: Its models are not changed, and nothing is written.
        samples: None: accuracies are those that the runs' metrics have, and there is no int8.
        settings: Default: one CPU thread, one picture and a batch for throughput.

    Raises:
        SettingError: A setting cannot be used.
        DatasetError: The samples' classes are not the experiment's.
    """
    settings = settings or Settings()
    device = choose_device(settings.device)
    if min((*settings.threads, *settings.batches, 1)) < 1 or settings.seconds <= 0 or not settings.threads:
        raise SettingError("Threads, batches and seconds must be above zero.")
    if samples is not None and samples.measured.classes != experiment.classes:
        raise SettingError("The data's classes are not those of the experiment; name its own data with --data.")
    threads_before = torch.get_num_threads()
    notes: list[str] = []
    try:
        torch.set_num_threads(settings.threads[0])
        forms: list[ModelForm] = []
        notes += [only_predictions(role) for role in experiment.runs if role not in experiment.models]
        for number, run in enumerate(experiment.models.values()):
            yield ProfileProgress(0.35 * number / len(experiment.models), f"{run.role}: files", tuple(notes))
            forms += _forms(experiment, run, samples, device, notes)
        for number, form in enumerate(forms):
            yield ProfileProgress(0.35 + 0.15 * number / len(forms), f"{form.name}: accuracy", tuple(notes))
            form.about = _accuracy(experiment, form, samples, device)
        for number, threads in enumerate(settings.threads):
            torch.set_num_threads(threads)
            for share in timed(experiment, forms, threads, settings, device):
                yield ProfileProgress(0.5 + 0.5 * (number + share) / len(settings.threads), "times", tuple(notes))
    finally:
        torch.set_num_threads(threads_before)
    yield ProfileProgress(1.0, "done", tuple(notes), cost_table(forms, device))


def _forms(
    experiment: Experiment, run: Run, samples: ProfileSamples | None, device: torch.device, notes: list[str]
) -> list[ModelForm]:
    """A run as it is and, on the CPU, as ONNX files; what cannot be made is noted."""
    example = torch.zeros(2, run.spec.channels, *run.spec.size)
    size = (run.folder / run.weights).stat().st_size if run.weights else 0
    if run.network == ONNX:
        return [ModelForm(run, "file", run.unadapted, size, None, None)] if device.type == "cpu" else []
    parameters, counted = parameter_count(run.unadapted), operations_of(run.unadapted, example[:1])
    found = [ModelForm(run, "torch", unadapted(run.on(device)), size, counted, parameters)]
    if device.type != "cpu":
        return found
    problem = exporter_problem()
    if problem:
        return found if problem in notes else (notes.append(problem) or found)
    try:
        content = float_file(run.unadapted, example)
        found.append(ModelForm(run, "onnx", OnnxNetwork(content), len(content), counted, parameters))
        if samples is None:
            raise SettingError("int8 finds its ranges on pictures; name the data's folder with --data.")
        content = int8_file(content, own_input(experiment, run, samples.calibration))
        found.append(ModelForm(run, "onnx_int8", OnnxNetwork(content), len(content), counted, parameters))
    except KdvizError as error:
        notes.append(f"{run.role}: {error}")
    return found


def operations(network: nn.Module, picture: Tensor) -> int:
    """Floating point operations for one picture (1, C, H, W): two for each multiplication with its addition.

    Of operators that are known; :func:`kdviz.compress.operations.operations_of` names the others.
    """
    return operations_of(network, picture).flops


def _accuracy(
    experiment: Experiment, form: ModelForm, samples: ProfileSamples | None, device: torch.device
) -> dict[str, Any]:
    """The columns of a form's accuracy."""
    test = form.run.metrics.get("test", {}).get("accuracy")
    if samples is None or bool((samples.measured.labels < 0).any()):
        split = next((one for one in SPLITS if "accuracy" in form.run.metrics.get(one, {})), None)
        if split is None or form.form == "onnx_int8":
            return {"test_accuracy": test}
        said = form.run.metrics[split]
        return _shown(split, int(said.get("samples", 0)), said["accuracy"], None) | {"test_accuracy": test}
    right = _right(experiment, form, samples.measured, device)
    packed = np.packbits(right).tobytes()
    measured = _shown(samples.measured.split, len(right), float(right.mean()), packed)
    return measured | {"test_accuracy": test if form.form in ("torch", "file") else None}


def _shown(split: str, count: int, accuracy: float, right: bytes | None) -> dict[str, Any]:
    low, high = wilson(accuracy, count) if count else (None, None)
    shown = {"split": split, "samples": count, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}
    return {**shown, "right": right}


@torch.inference_mode()
def _right(experiment: Experiment, form: ModelForm, samples: LabelledImages, device: torch.device) -> np.ndarray:
    said = []
    for part in samples.images.split(_AT_ONCE):
        logits = form.network(own_input(experiment, form.run, part, device))
        order = form.run.class_order
        said.append((logits if order is None else logits[:, list(order)]).argmax(1).cpu())
    return (torch.cat(said) == samples.labels).numpy()


@torch.inference_mode()
def own_input(experiment: Experiment, run: Run, pictures: Tensor, device: torch.device = CPU) -> Tensor:
    """A network's own input made of common pictures, uint8 (N, C, H, W) -> float32 (N, c, h, w)."""
    inputs, model = experiment.input.normalise(pictures.to(device)), run.on(device)
    return model.own_input(inputs) if isinstance(model, AdaptedNetwork) else inputs


def unadapted(model: nn.Module) -> nn.Module:
    """The network alone."""
    return model.network if isinstance(model, AdaptedNetwork) else model
