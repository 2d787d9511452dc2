"""Measure each model of an experiment: size, operations, time and accuracy; in float32 and int8.

Times are taken in rounds, in each of which every model has its turn in a new random order, so that other load of the
machine affects all alike. They serve to compare models on this machine; other machines give other times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from kdviz.compress.cost import Form, wilson
from kdviz.compress.forms import CPU, ModelForm, cost_table
from kdviz.compress.onnx_export import exporter_problem, float_file, int8_file
from kdviz.compress.operations import operations_of
from kdviz.compress.timing import Settings, time_forms
from kdviz.core.devices import choose_device
from kdviz.core.errors import ExperimentError, KdvizError, SettingError, UnknownNameError
from kdviz.core.vocabulary import Split
from kdviz.data import LabelledImages
from kdviz.data.registry import bundled_samples
from kdviz.data.samples import SPLITS
from kdviz.experiment import Experiment, Run
from kdviz.experiment.run import only_predictions
from kdviz.models.inputs import AdaptedNetwork
from kdviz.models.networks import ONNX, OnnxNetwork, parameter_count

MOST = 2000
"""Largest number of pictures read from an imported experiment's data folder, for accuracy and for calibration."""


CALIBRATION = 200  # pictures on which the ranges of int8 are measured


_BATCH = 250  # pictures in a batch while accuracy is measured


@dataclass(frozen=True)
class ProfileSamples:
    """Samples for accuracy, and other pictures, for the ranges of int8.

    Attributes:
        measured: The samples.
        calibration: The other pictures, (N, C, H, W) as in the data.
        labels: Their labels, below 0 where they are not known; None: of all of them.
    """

    measured: LabelledImages
    calibration: Tensor
    labels: Tensor | None = None

    @property
    def only_class(self) -> str:
        """The class of all pictures for the ranges of int8; empty if they have several, or it is not known."""
        classes = set() if self.labels is None else set(self.labels.tolist())
        only = classes.pop() if len(classes) == 1 else -1
        return self.measured.classes[only] if only >= 0 else ""


@dataclass(frozen=True)
class ProfileProgress:
    """Progress of a profile: its share from 0 to 1, the step, notes for the user, and at its end the table."""

    share: float
    doing: str
    notes: tuple[str, ...] = ()
    table: pa.Table | None = None


def own_samples(experiment: Experiment) -> ProfileSamples | None:
    """The bundled digits, or the samples that the experiment keeps: never what it was trained on. None without any."""
    bundled = bundled_samples(experiment.dataset)
    if bundled is not None and bundled.images.shape[1:] == (experiment.input.channels, *experiment.input.size):
        return parted(bundled)
    stored = [samples for samples in (_stored(experiment, split) for split in SPLITS) if samples is not None]
    if not stored:
        return None
    return ProfileSamples(stored[0], *_some(stored[1])) if len(stored) > 1 else parted(stored[0])


def samples_of(splits: dict[str, LabelledImages]) -> ProfileSamples:
    """The test split of a data set, and pictures of its validation split."""
    return ProfileSamples(splits[Split.TEST], *_some(splits[Split.VALIDATION]))


def _stored(experiment: Experiment, split: str) -> LabelledImages | None:
    try:
        stored = experiment.samples(split)
    except (ExperimentError, UnknownNameError):
        return None
    indices = torch.arange(len(stored))
    return LabelledImages(stored.images(indices), stored.labels, stored.classes, split, stored.names)


def parted(samples: LabelledImages) -> ProfileSamples:
    """Set a part aside for calibration, on which accuracy is not measured."""
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    count = min(CALIBRATION, len(samples) // 4)
    return ProfileSamples(
        samples.take(order[count:].sort().values), samples.images[order[:count]], samples.labels[order[:count]]
    )


def _some(samples: LabelledImages) -> tuple[Tensor, Tensor]:
    """Pictures and labels of some samples."""
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:CALIBRATION]
    return samples.images[order], samples.labels[order]


def profile(
    experiment: Experiment, samples: ProfileSamples | None, settings: Settings | None = None
) -> Iterator[ProfileProgress]:
    """Measure every model of an experiment; yield its progress, and with the last share, 1, the table.

    Args:
        experiment: The experiment; its models are not changed, and nothing is written.
        samples: Samples for accuracy; None: accuracies are those of the runs' metrics, and there is no int8.
        settings: Settings; default: one CPU thread, one picture per call and a batch for throughput.

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
            form.accuracy = _accuracy(experiment, form, samples, device)
        for number, threads in enumerate(settings.threads):
            torch.set_num_threads(threads)
            for share in time_forms(experiment, forms, threads, settings, device):
                yield ProfileProgress(0.5 + 0.5 * (number + share) / len(settings.threads), "times", tuple(notes))
    finally:
        torch.set_num_threads(threads_before)
    yield ProfileProgress(1.0, "done", tuple(notes), cost_table(forms, device))


def _forms(
    experiment: Experiment, run: Run, samples: ProfileSamples | None, device: torch.device, notes: list[str]
) -> list[ModelForm]:
    """The forms of a run: PyTorch and, on the CPU, ONNX files; a form that cannot be made is noted."""
    example = torch.zeros(2, run.spec.channels, *run.spec.size)
    size = (run.folder / run.weights).stat().st_size if run.weights else 0
    if run.network == ONNX:
        return [ModelForm(run, Form.FILE, run.unadapted, size, None, None)] if device.type == "cpu" else []
    parameters, flops = parameter_count(run.unadapted), operations_of(run.unadapted, example[:1])
    forms = [ModelForm(run, Form.TORCH, unadapted(run.on(device)), size, flops, parameters)]
    if device.type != "cpu":
        return forms
    problem = exporter_problem()
    if problem:
        return forms if problem in notes else (notes.append(problem) or forms)
    try:
        content = float_file(run.unadapted, example)
        forms.append(ModelForm(run, Form.ONNX, OnnxNetwork(content), len(content), flops, parameters))
        if samples is None:
            raise SettingError("int8 finds its ranges on pictures; name the data's folder with --data.")
        content = int8_file(content, own_input(experiment, run, samples.calibration))
        forms.append(ModelForm(run, Form.ONNX_INT8, OnnxNetwork(content), len(content), flops, parameters))
    except KdvizError as error:
        notes.append(f"{run.role}: {error}")
    return forms


def operations(network: nn.Module, picture: Tensor) -> int:
    """Floating point operations for one picture (1, C, H, W): two for each multiplication with its addition.

    Only known operators count; :func:`kdviz.compress.operations.operations_of` names the others.
    """
    return operations_of(network, picture).flops


def _accuracy(
    experiment: Experiment, form: ModelForm, samples: ProfileSamples | None, device: torch.device
) -> dict[str, Any]:
    """The columns of a form's accuracy."""
    test_accuracy = form.run.metrics.get(Split.TEST, {}).get("accuracy")
    if samples is None or bool((samples.measured.labels < 0).any()):
        split = next((split for split in SPLITS if "accuracy" in form.run.metrics.get(split, {})), None)
        if split is None or form.form == Form.ONNX_INT8:
            return {"test_accuracy": test_accuracy}
        metrics = form.run.metrics[split]
        return _accuracy_columns(split, int(metrics.get("samples", 0)), metrics["accuracy"], None) | {
            "test_accuracy": test_accuracy
        }
    correct = _correct(experiment, form, samples.measured, device)
    packed = np.packbits(correct).tobytes()
    measured = _accuracy_columns(samples.measured.split, len(correct), float(correct.mean()), packed)
    return measured | {"test_accuracy": test_accuracy if form.form in (Form.TORCH, Form.FILE) else None}


def _accuracy_columns(split: str, count: int, accuracy: float, right: bytes | None) -> dict[str, Any]:
    low, high = wilson(accuracy, count) if count else (None, None)
    columns = {"split": split, "samples": count, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}
    return {**columns, "right": right}


@torch.inference_mode()
def _correct(experiment: Experiment, form: ModelForm, samples: LabelledImages, device: torch.device) -> np.ndarray:
    predictions = []
    for pictures in samples.images.split(_BATCH):
        logits = form.network(own_input(experiment, form.run, pictures, device))
        order = form.run.class_order
        predictions.append((logits if order is None else logits[:, list(order)]).argmax(1).cpu())
    return (torch.cat(predictions) == samples.labels).numpy()


@torch.inference_mode()
def own_input(experiment: Experiment, run: Run, pictures: Tensor, device: torch.device = CPU) -> Tensor:
    """The network's own input from pictures as in the data, uint8 (N, C, H, W) -> float32 (N, c, h, w)."""
    inputs, model = experiment.input.normalise(pictures.to(device)), run.on(device)
    return model.own_input(inputs) if isinstance(model, AdaptedNetwork) else inputs


def unadapted(model: nn.Module) -> nn.Module:
    """The network without its adapter."""
    return model.network if isinstance(model, AdaptedNetwork) else model
