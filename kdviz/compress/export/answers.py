"""What exported files answer: to the samples that they are measured on, and to the pictures that go with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.compress.profile import ProfileSamples, own_input
from kdviz.core.errors import ModelError
from kdviz.experiment import Experiment, Run
from kdviz.models.networks import ONNX, OnnxNetwork

CHECKED = 20
"""Number of pictures whose answers go with an export."""

_TOLERANCE = 1e-4  # of the largest score, by which a file may differ from the model before it is refused
BATCH = 250
_MOST_LARGE = 1000  # samples that larger pictures are measured on, each by every file
_LARGE = 64 * 64

Measured = tuple[Tensor, Tensor]
"""Pictures as in the data, uint8 (N, C, H, W), and labels (N,), below 0 where they are not known."""


def answers_of(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """A file's scores (n, classes) for its inputs, one at a time on one thread, as ``check.py`` asks for them."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    source, output = session.get_inputs()[0], session.get_outputs()[0].name
    kinds = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    batch = inputs.astype(kinds.get(source.type, np.float32), copy=False)
    rows: Any = [session.run([output], {source.name: batch[i : i + 1]})[0] for i in range(len(batch))]
    return np.concatenate(rows)


def prepared(pictures: np.ndarray, run: Run, inside: bool) -> np.ndarray:
    """The files' input for pictures, uint8 (n, H, W, C)."""
    if inside:
        return pictures
    mean, std = (np.asarray(values, np.float32) for values in (run.spec.mean, run.spec.std))
    return np.ascontiguousarray(((np.float32(pictures) / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))


def measured_samples(samples: ProfileSamples | None) -> Measured | None:
    """Pictures as in the data and labels, of which some are enough if they are large; None without labels."""
    if samples is None or not len(samples.measured):
        return None
    images, labels = samples.measured.images, samples.measured.labels
    if images.shape[-1] * images.shape[-2] > _LARGE and len(labels) > _MOST_LARGE:
        chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:_MOST_LARGE].sort().values
        images, labels = images[chosen], labels[chosen]
    return images, labels


@torch.inference_mode()
def predicted(
    experiment: Experiment, run: Run, contents: Mapping[str, bytes], measured: Measured
) -> dict[str, np.ndarray]:
    """Name of a file -> its answers, int (samples,)."""
    networks = {name: OnnxNetwork(content, name) for name, content in contents.items()}
    answers: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    for pictures in measured[0].split(BATCH):
        inputs = own_input(experiment, run, pictures)
        for name, network in networks.items():
            answers[name].append(network(inputs).argmax(1).numpy())
    return {name: np.concatenate(parts) for name, parts in answers.items()}


def right_answers(answers: np.ndarray | None, measured: Measured | None) -> np.ndarray | None:
    if answers is None or measured is None or bool((measured[1] < 0).any()):
        return None
    return answers == measured[1].numpy()


def different_answers(answers: np.ndarray | None, others: np.ndarray | None) -> int | None:
    return None if answers is None or others is None else int((answers != others).sum())


def check_pictures(experiment: Experiment, run: Run, measured: Measured | None) -> tuple[np.ndarray, bool]:
    """Pictures of the size of the model's input, uint8 (n, H, W, C), and whether they are noise."""
    if measured is None:
        shape = (CHECKED, *run.spec.size, run.spec.channels)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8), True
    count = len(measured[1])
    chosen = torch.linspace(0, count - 1, min(CHECKED, count)).round().long()
    return as_pictures(experiment, run, measured[0][chosen]), False


def as_pictures(experiment: Experiment, run: Run, images: Tensor) -> np.ndarray:
    """Pictures of the size of the model's input, uint8 (n, H, W, C), from those of the data, uint8 (n, c, h, w)."""
    values = run.spec.pixels(own_input(experiment, run, images))
    pixels = (values * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


@torch.inference_mode()
def difference_from_torch(run: Run, pictures: np.ndarray, scores: np.ndarray) -> float | None:
    """The largest difference between the file's scores and the model's own.

    Raises:
        ModelError: It is more than rounding.
    """
    if run.network == ONNX:
        return None
    network: Callable[[Tensor], Tensor] = run.unadapted
    own = network(run.spec.normalise(torch.from_numpy(pictures).permute(0, 3, 1, 2))).numpy()
    own = own if run.class_order is None else own[:, list(run.class_order)]
    difference = float(np.abs(own - scores).max())
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(own).max())):
        raise ModelError(
            "The ONNX file of '{role}' answers otherwise than the model (scores differ by up to {difference:.2g}), so "
            "that it was not exported; its network does something that the exporter does not see.",
            role=run.role,
            difference=difference,
        )
    return difference
