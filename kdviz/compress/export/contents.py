"""What is exported of a model: its files, what they answer, and how they compare with the model itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.compress.cost import Form, wilson
from kdviz.compress.export.graph import with_class_order, with_preprocessing
from kdviz.compress.export.openvino_files import OPENVINO_FILE, openvino_answers, openvino_files
from kdviz.compress.onnx_export import exporter_problem, float_file, int8_file
from kdviz.compress.operations import Operations, operations_of
from kdviz.compress.profile import ProfileSamples, own_input
from kdviz.core.errors import ModelError, Sentence, SettingError, UnknownNameError
from kdviz.experiment import Experiment, Run
from kdviz.experiment.run import only_predictions
from kdviz.models.networks import ONNX, OnnxNetwork, parameter_count
from kdviz.models.networks.onnx_content import opset_of

BESIDE, INSIDE = "beside", "inside"
"""Where pictures are scaled and normalised: by the caller, or in the file itself."""

FLOAT_FILE, INT8_FILE = "model.onnx", "model_int8.onnx"
CHECKED = 20
"""Number of pictures whose answers go with an export."""

MOST_DIFFERENT = 0.002
"""Share of samples on which int8 may answer otherwise than float32 before a note says so."""

_TOLERANCE = 1e-4  # of the largest score, by which a file may differ from the model before it is refused
_BATCH = 250
_MOST_LARGE = 1000  # samples that larger pictures are measured on, each by every file
_LARGE = 64 * 64


@dataclass(frozen=True)
class ExportSettings:
    """Settings of an export.

    Attributes:
        preprocessing: ``beside`` (the files take normalised floats, (N, C, H, W)) or ``inside`` (they take uint8
            pictures, (N, H, W, C)).
        opset: Version of ONNX's operators; None: the exporter's choice.
        int8: Whether to add an int8 file.
        openvino: Whether to add a file of OpenVINO.
    """

    preprocessing: str = BESIDE
    opset: int | None = None
    int8: bool = True
    openvino: bool = False


@dataclass(frozen=True)
class ExportedFile:
    """A model file and what was measured of it.

    Attributes:
        name, form: Its name in the folder, and its :class:`~kdviz.compress.cost.Form`.
        content: Its content.
        answers: Its scores for the pictures that go with the export, float32 (n, classes).
        right: bool (samples,): which samples it classifies correctly; None: not measured.
        different: On how many samples its answer is another than that of :data:`FLOAT_FILE`; None: not measured.
    """

    name: str
    form: str
    content: bytes = field(repr=False)
    answers: np.ndarray = field(repr=False)
    right: np.ndarray | None = field(default=None, repr=False)
    different: int | None = None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def accuracy(self, split: str) -> dict[str, Any]:
        """The columns of the cost table on accuracy, as JSON stores them; empty if it was not measured."""
        if self.right is None:
            return {}
        share, count = float(self.right.mean()), len(self.right)
        low, high = wilson(share, count)
        packed = base64.b64encode(np.packbits(self.right).tobytes()).decode()
        return {
            "split": split,
            "samples": count,
            "accuracy": share,
            "accuracy_low": low,
            "accuracy_high": high,
            "right": packed,
        }


@dataclass(frozen=True)
class Export:
    """A model as files to hand over.

    Attributes:
        experiment, run: Where it comes from.
        settings: How it was exported.
        files: The model files, float32 first.
        more: Further files that these need: name -> content.
        pictures: The pictures of the check, uint8 (n, H, W, C); ``invented`` if they are noise, since none were kept.
        split: Split of the samples that were measured; empty without any.
        samples: Their number.
        difference: The largest difference of a score of the float file from the model's own in torch; None for a
            model that is an ONNX file itself.
        opset: Version of ONNX's operators in the float file.
        operations, parameters: As far as they are known.
        notes: What could not be made, or should be known; sentences.
    """

    experiment: Experiment
    run: Run
    settings: ExportSettings
    files: tuple[ExportedFile, ...]
    more: Mapping[str, bytes] = field(repr=False)
    pictures: np.ndarray = field(repr=False)
    invented: bool
    split: str
    samples: int
    difference: float | None
    opset: int
    operations: Operations | None
    parameters: int | None
    notes: tuple[str, ...]

    @property
    def output(self) -> str:
        """What the files' scores are: ``logits``, ``probabilities`` or ``sigmoid``."""
        network = self.run.unadapted
        if getattr(network, "undoes_sigmoid", False):
            return "sigmoid"
        return "probabilities" if getattr(network, "returns_probabilities", False) else "logits"

    def file(self, form: str) -> ExportedFile | None:
        """The file of a form, if there is one."""
        return next((file for file in self.files if file.form == form), None)


def export(
    experiment: Experiment, role: str, samples: ProfileSamples | None, settings: ExportSettings | None = None
) -> Export:
    """Export a model of an experiment; nothing is written.

    Args:
        experiment: The experiment.
        role: Role of the model.
        samples: Pictures that are measured, and others on which int8 finds its ranges; None: neither is done.
        settings: Settings.

    Raises:
        UnknownNameError: The experiment has no such role.
        ModelError: Only predictions are known of it; ONNX lacks one of its operators; or the file answers otherwise
            than the model.
        SettingError: A package is missing, or a setting does not fit the model.
    """
    settings = settings or ExportSettings()
    run = model_of(experiment, role)
    if settings.preprocessing not in (BESIDE, INSIDE):
        raise UnknownNameError("place of preprocessing", settings.preprocessing, (BESIDE, INSIDE))
    problem = exporter_problem()
    if problem:
        raise SettingError(problem)
    notes: list[str] = []
    networks = _contents(experiment, run, samples, settings, notes)  # that take normalised floats
    measured = _measured(samples)
    answers = _predicted(experiment, run, networks, measured) if measured is not None else {}
    pictures, invented = _pictures(experiment, run, measured)
    contents = {name: _final(content, run, settings) for name, content in networks.items()}
    scores = {name: answers_of(content, prepared(pictures, run, settings)) for name, content in contents.items()}
    files = [
        ExportedFile(
            name,
            _form(run, name),
            content,
            scores[name],
            _right(answers.get(name), measured),
            _different(answers.get(name), answers.get(FLOAT_FILE)),
        )
        for name, content in contents.items()
    ]
    more: dict[str, bytes] = {}
    if settings.openvino:
        xml, more = openvino_files(contents[FLOAT_FILE])
        own = openvino_answers(xml, more, prepared(pictures, run, settings))
        files.append(ExportedFile(OPENVINO_FILE, Form.OPENVINO, xml, own, files[0].right, None))
    difference = _difference(run, pictures, scores[FLOAT_FILE])
    notes += _int8_note(files, len(measured[1]) if measured is not None else 0)
    is_file = run.network == ONNX
    example = torch.zeros(1, run.spec.channels, *run.spec.size)
    return Export(
        experiment,
        run,
        settings,
        tuple(files),
        more,
        pictures,
        invented,
        samples.measured.split if samples is not None and measured is not None else "",
        len(measured[1]) if measured is not None else 0,
        difference,
        opset_of(contents[FLOAT_FILE]),
        None if is_file else operations_of(run.unadapted, example),
        None if is_file else parameter_count(run.unadapted),
        tuple(notes),
    )


def model_of(experiment: Experiment, role: str) -> Run:
    """The run of a role, which has a model.

    Raises:
        UnknownNameError: The experiment has no such role.
        ModelError: Only predictions are known of it.
    """
    if role not in experiment.runs:
        raise UnknownNameError("role", role, experiment.runs)
    run = experiment.runs[role]
    if not run.has_model:
        raise ModelError(only_predictions(role))
    return run


# files ----------------------------------------------------------------------------------------------------------------


def _contents(
    experiment: Experiment, run: Run, samples: ProfileSamples | None, settings: ExportSettings, notes: list[str]
) -> dict[str, bytes]:
    """Name -> content of the ONNX files, from normalised floats to scores in the experiment's order of classes."""
    if run.network == ONNX:
        if settings.opset is not None:
            raise SettingError("The model '{role}' is an ONNX file, whose opset stays as it is.", role=run.role)
        notes.append(Sentence("The model '{role}' is an ONNX file itself, and gets no int8 file.", role=run.role))
        files = {FLOAT_FILE: run.unadapted.content}
    else:
        content = float_file(run.unadapted, torch.zeros(2, run.spec.channels, *run.spec.size), settings.opset)
        files = {FLOAT_FILE: content}
        if settings.int8 and samples is None:
            notes.append(
                Sentence("int8 finds its ranges on pictures, and none are kept; name the data's folder with --data.")
            )
        elif settings.int8 and samples is not None:
            files[INT8_FILE] = int8_file(content, own_input(experiment, run, samples.calibration))
    if run.class_order is None:
        return files
    return {name: with_class_order(content, run.class_order) for name, content in files.items()}


def _final(content: bytes, run: Run, settings: ExportSettings) -> bytes:
    return with_preprocessing(content, run.spec) if settings.preprocessing == INSIDE else content


def _form(run: Run, name: str) -> str:
    if run.network == ONNX:
        return Form.FILE
    return Form.ONNX_INT8 if name == INT8_FILE else Form.ONNX


# answers --------------------------------------------------------------------------------------------------------------


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
    return np.concatenate([session.run([output], {source.name: batch[i : i + 1]})[0] for i in range(len(batch))])


def prepared(pictures: np.ndarray, run: Run, settings: ExportSettings) -> np.ndarray:
    """The files' input for pictures, uint8 (n, H, W, C)."""
    if settings.preprocessing == INSIDE:
        return pictures
    mean, std = (np.float32(values) for values in (run.spec.mean, run.spec.std))
    return np.ascontiguousarray(((np.float32(pictures) / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))


def _measured(samples: ProfileSamples | None) -> tuple[Tensor, Tensor] | None:
    """Pictures as in the data and labels, of which some are enough if they are large; None without labels."""
    if samples is None or not len(samples.measured):
        return None
    images, labels = samples.measured.images, samples.measured.labels
    if images.shape[-1] * images.shape[-2] > _LARGE and len(labels) > _MOST_LARGE:
        chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:_MOST_LARGE].sort().values
        images, labels = images[chosen], labels[chosen]
    return images, labels


@torch.inference_mode()
def _predicted(
    experiment: Experiment, run: Run, contents: Mapping[str, bytes], measured: tuple[Tensor, Tensor]
) -> dict[str, np.ndarray]:
    """Name of a file -> its answers, int (samples,)."""
    networks = {name: OnnxNetwork(content, name) for name, content in contents.items()}
    answers: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    for pictures in measured[0].split(_BATCH):
        inputs = own_input(experiment, run, pictures)
        for name, network in networks.items():
            answers[name].append(network(inputs).argmax(1).numpy())
    return {name: np.concatenate(parts) for name, parts in answers.items()}


def _right(answers: np.ndarray | None, measured: tuple[Tensor, Tensor] | None) -> np.ndarray | None:
    if answers is None or measured is None or bool((measured[1] < 0).any()):
        return None
    return answers == measured[1].numpy()


def _different(answers: np.ndarray | None, others: np.ndarray | None) -> int | None:
    return None if answers is None or others is None else int((answers != others).sum())


def _pictures(experiment: Experiment, run: Run, measured: tuple[Tensor, Tensor] | None) -> tuple[np.ndarray, bool]:
    """Pictures of the size of the model's input, uint8 (n, H, W, C), and whether they are noise."""
    if measured is None:
        shape = (CHECKED, *run.spec.size, run.spec.channels)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8), True
    count = len(measured[1])
    chosen = torch.linspace(0, count - 1, min(CHECKED, count)).round().long()
    values = run.spec.pixels(own_input(experiment, run, measured[0][chosen]))
    pixels = (values * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy(), False


@torch.inference_mode()
def _difference(run: Run, pictures: np.ndarray, scores: np.ndarray) -> float | None:
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


def _int8_note(files: Sequence[ExportedFile], samples: int) -> list[str]:
    int8 = next((file for file in files if file.form == Form.ONNX_INT8), None)
    if int8 is None or int8.different is None or int8.different <= MOST_DIFFERENT * samples:
        return []
    return [
        Sentence(
            "In int8 it answers {different} of {samples} samples otherwise than in float32, more than {limit:g} %: "
            "look at its accuracy before you use it.",
            different=int8.different,
            samples=samples,
            limit=100 * MOST_DIFFERENT,
        )
    ]


