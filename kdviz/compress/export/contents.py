"""What is exported of a model: its files, what they answer, and how they compare with the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from kdviz.compress.cost import Form
from kdviz.compress.export.answers import (
    BATCH,
    Measured,
    answers_of,
    as_pictures,
    check_pictures,
    difference_from_torch,
    different_answers,
    measured_samples,
    predicted,
    prepared,
    right_answers,
)
from kdviz.compress.export.device_files import RUNTIMES, DeviceRuntime
from kdviz.compress.export.exported_file import ExportedFile
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
MOST_DIFFERENT = 0.002
"""Share of samples on which int8 may answer otherwise than float32 before a note says so."""


@dataclass(frozen=True)
class ExportSettings:
    """Settings of an export.

    Attributes:
        preprocessing: ``beside`` (the files take normalised floats, (N, C, H, W)) or ``inside`` (they take uint8
            pictures, (N, H, W, C)).
        opset: Version of ONNX's operators; None: the exporter's choice.
        int8: Whether to add an int8 file.
        openvino, executorch, litert: Whether to add a file of that runtime.
    """

    preprocessing: str = BESIDE
    opset: int | None = None
    int8: bool = True
    openvino: bool = False
    executorch: bool = False
    litert: bool = False


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
        SettingError: A package is missing, a setting does not fit the model, or the pictures for int8 are of one class.
    """
    settings = settings or ExportSettings()
    run = model_of(experiment, role)
    if settings.preprocessing not in (BESIDE, INSIDE):
        raise UnknownNameError("place of preprocessing", settings.preprocessing, (BESIDE, INSIDE))
    problem = exporter_problem()
    if problem:
        raise SettingError(problem)
    notes: list[str] = []
    networks = _networks(experiment, run, samples, settings, notes)
    measured = measured_samples(samples)
    pictures, invented = check_pictures(experiment, run, measured)
    files = _files(experiment, run, networks, pictures, measured, settings)
    difference = difference_from_torch(run, pictures, files[0].answers)
    more: dict[str, bytes] = {}
    if settings.openvino:
        file, more = _openvino(experiment, run, files[0].content, pictures, measured, settings)
        files.append(file)
    for runtime in RUNTIMES:
        if getattr(settings, runtime.extra):
            files.append(_of_runtime(experiment, run, runtime, pictures, measured, settings))
    count = 0 if measured is None else len(measured[1])
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
        samples.measured.split if samples is not None and count else "",
        count,
        difference,
        opset_of(files[0].content),
        None if is_file else operations_of(run.unadapted, example),
        None if is_file else parameter_count(run.unadapted),
        (*notes, *_int8_note(files, count)),
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


def _networks(
    experiment: Experiment, run: Run, samples: ProfileSamples | None, settings: ExportSettings, notes: list[str]
) -> dict[str, bytes]:
    """Name -> content of the ONNX files, from normalised floats to scores in the experiment's order of classes."""
    if run.network == ONNX:
        if settings.opset is not None:
            raise SettingError("The model '{role}' is an ONNX file, whose opset stays as it is.", role=run.role)
        notes.append(Sentence("The model '{role}' is an ONNX file itself, and gets no int8 file.", role=run.role))
        network = run.unadapted
        assert isinstance(network, OnnxNetwork)
        if isinstance(network.shape[0], int):
            raise ModelError(
                "The model '{role}' is an ONNX file for exactly {count} pictures a call, which kdviz does not hand on; "
                "make the file again with any number (dynamic_shapes of torch.onnx.export).",
                role=run.role,
                count=network.shape[0],
            )
        files = {FLOAT_FILE: network.content}
    else:
        content = float_file(run.unadapted, torch.zeros(2, run.spec.channels, *run.spec.size), settings.opset)
        files = {FLOAT_FILE: content}
        if settings.int8 and samples is None:
            notes.append(
                Sentence("int8 finds its ranges on pictures, and none are kept; name the data's folder with --data.")
            )
        elif settings.int8 and samples is not None:
            _require_classes(samples)
            files[INT8_FILE] = int8_file(content, own_input(experiment, run, samples.calibration))
    if run.class_order is None:
        return files
    return {name: with_class_order(content, run.class_order) for name, content in files.items()}


def _require_classes(samples: ProfileSamples) -> None:
    if samples.only_class:
        raise SettingError(
            "The pictures that int8 would find its ranges on are all of the class '{name}'; name data with more "
            "classes, or leave int8 away with --no-int8.",
            name=samples.only_class,
        )


def _files(
    experiment: Experiment,
    run: Run,
    networks: Mapping[str, bytes],
    pictures: np.ndarray,
    measured: Measured | None,
    settings: ExportSettings,
) -> list[ExportedFile]:
    """The ONNX files, with their answers; float32 is the first."""
    inside = settings.preprocessing == INSIDE
    contents = {name: with_preprocessing(file, run.spec) if inside else file for name, file in networks.items()}
    answers = {} if measured is None else predicted(experiment, run, networks, measured)
    return [
        ExportedFile(
            name,
            _form(run, name),
            content,
            answers_of(content, prepared(pictures, run, inside)),
            len(content),
            right_answers(answers.get(name), measured),
            different_answers(answers.get(name), answers.get(FLOAT_FILE)),
        )
        for name, content in contents.items()
    ]


def _form(run: Run, name: str) -> str:
    if run.network == ONNX:
        return Form.FILE
    return Form.ONNX_INT8 if name == INT8_FILE else Form.ONNX


def _openvino(
    experiment: Experiment,
    run: Run,
    content: bytes,
    pictures: np.ndarray,
    measured: Measured | None,
    settings: ExportSettings,
) -> tuple[ExportedFile, dict[str, bytes]]:
    """The same network for OpenVINO, and the file of its weights."""
    inside = settings.preprocessing == INSIDE
    xml, more = openvino_files(content)
    inputs = prepared(pictures, run, inside)
    answers = openvino_answers(xml, more, (inputs[i : i + 1] for i in range(len(inputs))))
    right = None
    if measured is not None:
        batches = (prepared(as_pictures(experiment, run, part), run, inside) for part in measured[0].split(BATCH))
        right = right_answers(openvino_answers(xml, more, batches).argmax(1), measured)
    size = len(xml) + sum(map(len, more.values()))
    return ExportedFile(OPENVINO_FILE, Form.OPENVINO, xml, answers, size, right), more


def _of_runtime(
    experiment: Experiment,
    run: Run,
    runtime: DeviceRuntime,
    pictures: np.ndarray,
    measured: Measured | None,
    settings: ExportSettings,
) -> ExportedFile:
    """The same network for another runtime."""
    inside = settings.preprocessing == INSIDE
    content = runtime.content(run, inside)
    answers = runtime.answers(content, prepared(pictures, run, inside))
    difference_from_torch(run, pictures, answers)
    right = None
    if measured is not None:
        batches = (prepared(as_pictures(experiment, run, part), run, inside) for part in measured[0].split(BATCH))
        right = right_answers(np.concatenate([runtime.answers(content, each).argmax(1) for each in batches]), measured)
    return ExportedFile(runtime.file, runtime.form, content, answers, len(content), right)


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
