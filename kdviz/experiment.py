"""An experiment: one data set, a teacher, its students, and what was measured of them, as a folder.

::

    models/<name>/
      experiment.json          format, data set, classes, input, runs (role, network, weights, sha256, ...)
      <role>-<hash>.safetensors, or <role>-<hash>.onnx
      samples.parquet          pictures of the data set, as the models see them
      predictions.parquet, temperature.parquet, ...

A weights file carries its hash in its name, and experiment.json is replaced last, so an interrupted
write leaves the older experiment whole. Nothing in a folder is executed or unpickled.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import operator
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from kdviz.datasets import LabelledImages
from kdviz.errors import ExperimentError, KdvizError, ModelError, SettingError, TargetError, UnknownNameError
from kdviz.files import MODELS, atomic_write, parquet_of
from kdviz.images import fit_to, mnist_digit, open_image, to_grey_or_rgb
from kdviz.networks import ONNX, RENORMALISED, FunctionNetwork, OnnxNetwork, build_network, networks
from kdviz.samples_store import StoredSamples, samples_table

FORMAT = 1
ROLES = ("teacher", "kd_student", "student")
"""The three roles every experiment can have, in the order in which they are shown."""

BASELINES = ("black", "white", "mean", "grey")
"""What a removed pixel becomes, by name: a constant that is put in before normalisation."""

MORE_BASELINES = ("blur", "noise")
"""Those that are not constant."""

_TABLES = (
    "predictions",
    "temperature",
    "alpha",
    "teacher_epochs",
    "loss",
    "curves",
    "study_predictions",
    "agreement",
    "attention",
    "attention_samples",
    "faithfulness",
    "cost",
    "showcase",
)  # what is said of an experiment's own teacher

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HASH = "[0-9a-f]" * 8  # in a weights file's name
_DIGITS = re.compile(r"\+?[0-9]{1,9}")


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes a model's input.

    Attributes:
        size: Height and width.
        channels: 1 (grey) or 3 (RGB).
        mean, std: Normalisation of values in [0, 1], one number a channel.
        fit: What happens to a picture of another size: ``digit`` (brought to MNIST's form) or
            ``crop`` (short side resized, centre cropped).
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str = "crop"

    def prepare(self, image: Image.Image) -> Image.Image:
        """What the model sees, as a picture; one of the right size is only converted to grey or RGB."""
        if self.fit == "digit":
            image = to_grey_or_rgb(image)
            image = image if image.size == self.size[::-1] else mnist_digit(image)
        return fit_to(image, self.size, self.channels)

    def normalise(self, pixels: Tensor) -> Tensor:
        """``uint8`` or values in [0, 1] (N, C, H, W) -> float32 (N, C, H, W)."""
        values = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        mean, std = (torch.tensor(v, device=values.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return (values - mean) / std

    def baseline(self, name: str) -> Tensor:
        """A named constant baseline as the model's input: float32 (1, C, 1, 1).

        Blending with it after normalisation equals blending before it, since normalising is affine.

        Raises:
            UnknownNameError: No such baseline.
        """
        if name not in BASELINES:
            raise UnknownNameError("baseline", name, BASELINES)
        level = {"black": 0.0, "white": 1.0, "grey": 0.5}.get(name)
        values = self.mean if level is None else (level,) * self.channels
        return self.normalise(torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1))

    def to_json(self) -> dict[str, Any]:
        return {
            "size": list(self.size),
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "fit": self.fit,
        }


def _as_tensor(picture: Image.Image) -> Tensor:
    """uint8 (1, C, H, W)."""
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).unsqueeze(0)


def _blurred(pixels: Tensor) -> Tensor:
    """Values in [0, 1], blurred by a Gaussian whose deviation is an eighth of the shorter side."""
    from torchvision.transforms.v2.functional import gaussian_blur  # slow: two seconds, and 160 MB

    sigma = min(pixels.shape[-2:]) / 8
    odd = [2 * min(round(3 * sigma), side - 1) + 1 for side in (pixels.shape[-1], pixels.shape[-2])]
    return gaussian_blur(pixels.float() / 255, odd, [sigma, sigma])


def _is_level(what: object) -> bool:
    try:
        return math.isfinite(float(what))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


@dataclass
class Run:
    """One trained model.

    Attributes:
        role: ``teacher``, ``kd_student``, ``student`` or a further name.
        network: Its architecture, by name; ``onnx`` for an ONNX file.
        weights: File name inside the experiment's folder; empty for a model that is in memory only.
        sha256: Of that file; empty likewise.
        training: The configuration it was trained with.
        metrics: Split -> name -> number.
        model: (N, C, H, W) as ``Experiment.preprocess`` gives it -> logits (N, classes); in evaluation mode.
    """

    role: str
    network: str
    weights: str
    sha256: str
    training: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    folder: Path = field(repr=False)
    spec: InputSpec = field(repr=False)
    n_classes: int = field(repr=False)
    _copies: dict[torch.device, nn.Module] = field(default_factory=dict, repr=False, init=False)

    @cached_property
    def model(self) -> nn.Module:
        """The network with its weights, loaded when first asked for; an ``OnnxNetwork`` for an ONNX file.

        Raises:
            ExperimentError: The weights changed, or do not fit the network.
            ModelError: The ONNX file is none, or does not fit the experiment's input and classes.
            SettingError: onnxruntime is missing.
        """
        data = _read_weights(self)
        if self.network == ONNX:
            return _tried(OnnxNetwork(data, self.weights).eval(), self.role, self.spec, self.n_classes)
        return self._built(data)

    def _built(self, data: bytes) -> nn.Module:
        # kdviz's own nets grow with the input: on "meta" they take no memory until the file is seen to hold them.
        own = self.network.removesuffix(RENORMALISED) in networks
        try:
            with torch.device("meta" if own else "cpu"):
                network = build_network(
                    self.network, classes=self.n_classes, channels=self.spec.channels, size=self.spec.size
                )
            network.load_state_dict(load_safetensors(data), assign=own)
        except (SafetensorError, RuntimeError, ValueError) as error:
            raise ExperimentError(
                f"{self.folder / self.weights} does not hold the weights of a '{self.network}'; train this run again."
            ) from error
        return network.float().eval().requires_grad_(False)

    def on(self, device: str | torch.device) -> nn.Module:
        """The model on a device; ``model`` itself stays on the CPU, where ``Experiment.preprocess`` puts its inputs.

        An ONNX file and a function have nothing to move: they take inputs from any device and answer there.
        """
        device = torch.device(device)
        tensors = chain(self.model.parameters(), self.model.buffers())
        if device.type == "cpu" or next(tensors, None) is None:
            return self.model
        if device not in self._copies:
            self._copies[device] = copy.deepcopy(self.model).to(device)
        return self._copies[device]

    def to_json(self) -> dict[str, Any]:
        """As in experiment.json.

        Raises:
            SettingError: The model is in memory only.
        """
        if not self.weights:
            raise SettingError(
                f"The model '{self.role}' is in memory only and cannot be saved; export it to ONNX and add that file, "
                "or use add_run."
            )
        names = ("role", "network", "weights", "sha256", "training", "metrics")
        return {name: getattr(self, name) for name in names}


@dataclass
class Experiment:
    """A loaded experiment; ``classes`` are the class names, ``runs`` maps a role to its :class:`Run`."""

    folder: Path
    dataset: str
    classes: tuple[str, ...]
    input: InputSpec
    runs: dict[str, Run]
    title: str = ""

    @property
    def name(self) -> str:
        return self.folder.name

    def prepare(self, image: Image.Image | str | Path) -> Image.Image:
        """The picture that the models see, before scaling and normalisation."""
        picture = open_image(image) if isinstance(image, (str, Path)) else image
        return self.input.prepare(picture)

    def preprocess(self, image: Image.Image | str | Path) -> Tensor:
        """A picture (or its path) -> (1, C, H, W) float32. One of the input size is only scaled and normalised.

        Raises:
            ImageError: The picture cannot be read, or shows no digit where one is needed.
        """
        return self.input.normalise(_as_tensor(self.prepare(image)))

    def baseline(self, what: str | float | Image.Image | Path, picture: Image.Image, seed: int = 0) -> Tensor:
        """What a removed pixel becomes, as the models' input: float32 (1, C, H, W), put in before normalisation.

        Args:
            what: A name in ``BASELINES``; ``blur``, the picture itself without its details; ``noise``, uniform and the
                same for every mask; a grey level from 0 to 1; or another picture, or its path.
            picture: What :meth:`prepare` made of the picture that is explained.
            seed: Of the noise.

        Raises:
            UnknownNameError, SettingError, ImageError: There is no such baseline.
        """
        if isinstance(what, str) and what in BASELINES:
            return self.input.baseline(what).expand(1, -1, *self.input.size)
        if what == "blur":
            return self.input.normalise(_blurred(_as_tensor(picture)))
        if what == "noise":
            noise = np.random.default_rng(seed).random((1, self.input.channels, *self.input.size), dtype=np.float32)
            return self.input.normalise(torch.from_numpy(noise))
        if isinstance(what, (Image.Image, Path)) or (isinstance(what, str) and Path(what).is_file()):
            return self.preprocess(what)
        if not _is_level(what):
            raise UnknownNameError("baseline", str(what), (*BASELINES, *MORE_BASELINES))
        level = float(what)
        if not 0 <= level <= 1:
            raise SettingError(f"A baseline's grey level goes from 0 to 1, got {level:g}.")
        return self.input.normalise(torch.full((1, self.input.channels, *self.input.size), level))

    def class_index(self, target: int | str) -> int:
        """The index of a class given by index or by name.

        Raises:
            TargetError: There is no such class.
        """
        if isinstance(target, str) and target in self.classes:
            return self.classes.index(target)
        index = _whole_number(target)
        if 0 <= index < len(self.classes):
            return index
        shown = ", ".join(self.classes[:20]) + (" ..." if len(self.classes) > 20 else "")
        raise TargetError(f"'{target}' is not a class of this experiment; its classes are {shown}.")

    def has_table(self, name: str) -> bool:
        return (self.folder / f"{name}.parquet").is_file()

    def table(self, name: str) -> pa.Table:
        """A tidy table of this experiment, by file name without ``.parquet``.

        Raises:
            ExperimentError: It is missing or damaged.
        """
        path = self.folder / f"{name}.parquet"
        try:
            return parquet_of(path.read_bytes())
        except FileNotFoundError as error:
            raise ExperimentError(f"'{self.folder}' has no {name}.parquet; see README on how to make it.") from error
        except (pa.ArrowException, OSError) as error:
            raise ExperimentError(f"'{path}' is damaged; please make it again.") from error

    def write_table(self, name: str, table: pa.Table) -> None:
        """Replace the table ``name`` atomically."""
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd")
        atomic_write(self.folder / f"{name}.parquet", buffer.getvalue().to_pybytes())

    def write_samples(self, splits: Sequence[LabelledImages], limit: int | None = None) -> None:
        """Replace samples.parquet: pictures of these splits, so that the folder can be shown without the data set.

        Args:
            splits: What predictions.parquet is made of.
            limit: The most samples of a split; of more, a random choice that is always the same is stored.

        Raises:
            SettingError: The classes or images of a split are not the experiment's, or two splits have one name.
        """
        shape = (self.input.channels, *self.input.size)
        for samples in splits:
            if samples.classes != self.classes or tuple(samples.images.shape[1:]) != shape:
                raise SettingError(
                    f"The split {samples.split} cannot be stored: its classes, or its images of shape "
                    f"{tuple(samples.images.shape[1:])}, are not the experiment's ({shape})."
                )
        atomic_write(self.folder / "samples.parquet", samples_table(splits, limit))

    def samples(self, split: str) -> StoredSamples:
        """The stored samples of a split; their pictures are read when they are asked for.

        Raises:
            ExperimentError: None are stored, or the table is damaged.
            UnknownNameError: None of this split are stored.
        """
        path = self.folder / "samples.parquet"
        return StoredSamples(path, split, self.classes, (self.input.channels, *self.input.size))

    def set_aside_tables(self) -> None:
        """Rename tables that were made with another teacher than this experiment's: they say nothing about it."""
        try:
            document = json.loads((self.folder / "experiment.json").read_text(encoding="utf-8"))
            earlier = next(str(run["sha256"]) for run in document["runs"] if run["role"] == "teacher")
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            return  # nothing was here, or nothing that can be read
        if "teacher" in self.runs and earlier != self.runs["teacher"].sha256:
            for name in _TABLES:
                if self.has_table(name):
                    path = self.folder / f"{name}.parquet"
                    path.replace(path.with_name(f"{name}-of-{earlier[:8]}.parquet"))

    def add_run(
        self, role: str, network_name: str, network: nn.Module, training: dict[str, Any], metrics: dict[str, Any]
    ) -> Run:
        """Write a trained network's weights and list it; :meth:`save` makes it count."""
        if not _NAME.fullmatch(role):
            raise SettingError(f"'{role}' is no role name; use letters, digits, '.', '_' and '-'.")
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        data = save_safetensors(state)
        digest = hashlib.sha256(data).hexdigest()
        file = f"{role}-{digest[:8]}.safetensors"
        atomic_write(self.folder / file, data)
        run = Run(role, network_name, file, digest, training, metrics, self.folder, self.input, len(self.classes))
        self.runs[role] = run
        return run

    def with_model(self, role: str, model: nn.Module | Callable[[Tensor], Tensor] | str | Path) -> Experiment:
        """A copy of this experiment with one more run, to compare a model of one's own. Nothing is written.

        :meth:`save` of the copy stores an ONNX file with the others, and refuses a model that is in memory only.

        Args:
            role: Its name: a new one.
            model: Takes (N, C, H, W) as :meth:`preprocess` gives it and returns logits (N, classes). A module is
                copied, as float32, in evaluation mode and on the CPU; a callable is used as it is (wrap a function of
                arrays in ``kdviz.networks.NumpyNetwork``); anything else is the path of an ONNX file.

        Raises:
            SettingError: The role is no name, or is taken; or onnxruntime is missing.
            ModelError: The model fails on noise, or its answer is not one row of logits a picture.
        """
        _check_new_role(role, self.runs)
        network = _tried(_as_network(model), role, self.input, len(self.classes))
        if isinstance(network, OnnxNetwork):
            digest = hashlib.sha256(network.content).hexdigest()
            name, file = ONNX, f"{role}-{digest[:8]}.onnx"
        else:
            name, file, digest = type(network).__name__, "", ""
        run = Run(role, name, file, digest, {}, {}, self.folder, self.input, len(self.classes))
        run.model = network
        return replace(self, runs={**self.runs, role: run})

    def save(self) -> None:
        """Write ONNX files that are not there yet and experiment.json; remove weights that no run lists any more.

        Raises:
            ExperimentError: A number is not finite, which JSON cannot say.
            SettingError: A model is in memory only.
        """
        try:
            document = json.dumps(self.to_json(), indent=2, allow_nan=False)
        except ValueError as error:
            raise ExperimentError(f"'{self.folder}' cannot be saved: a number in it is not finite.") from error
        for run in self.runs.values():
            path = self.folder / run.weights
            if run.network == ONNX and not path.exists() and isinstance(run.model, OnnxNetwork):
                atomic_write(path, run.model.content)
        atomic_write(self.folder / "experiment.json", f"{document}\n".encode())
        kept = {run.weights for run in self.runs.values()}
        for file in chain(self.folder.glob(f"*-{_HASH}.safetensors"), self.folder.glob(f"*-{_HASH}.onnx")):
            if file.name not in kept:
                file.unlink(missing_ok=True)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "title": self.title,
            "dataset": self.dataset,
            "classes": list(self.classes),
            "input": self.input.to_json(),
            "runs": [run.to_json() for run in self.runs.values()],
        }


def _check_new_role(role: str, taken: Mapping[str, Any]) -> None:
    if not _NAME.fullmatch(role):
        raise SettingError(f"'{role}' is no role name; use letters, digits, '.', '_' and '-'.")
    # In a file of maps, NAME_se is the standard error of NAME.
    if {role, role.removesuffix("_se"), f"{role}_se"} & taken.keys():
        raise SettingError(f"The role '{role}' is taken, by one of {', '.join(taken)}; choose another name.")


def _as_network(model: nn.Module | Callable[[Tensor], Tensor] | str | Path) -> nn.Module:
    if isinstance(model, nn.Module):
        return copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    return (FunctionNetwork(model) if callable(model) else OnnxNetwork(model)).eval()


@torch.no_grad()
def _tried(network: nn.Module, role: str, spec: InputSpec, n_classes: int) -> nn.Module:
    """The network, once it gave logits (N, classes) for noise of the experiment's input size.

    Raises:
        KdvizError: It did not.
    """
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((8, spec.channels, *spec.size), np.float32))
    try:
        logits = network(noise)
    except KdvizError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"The model '{role}' failed on a batch of shape {tuple(noise.shape)}: {reason}") from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (len(noise), n_classes):
        raise ModelError(f"The model '{role}' must return logits of shape {(len(noise), n_classes)}, got {shape}.")
    if _are_probabilities(logits):
        if not isinstance(network, OnnxNetwork):
            raise ModelError(f"The model '{role}' returns probabilities; leave its softmax away: logits are expected.")
        network.returns_probabilities = True
    return network


def _are_probabilities(scores: Tensor) -> bool:
    """Whether each row has no negative number and the sum 1, as far as int8 can tell."""
    return bool((scores >= 0).all() and ((scores.float().sum(1) - 1).abs() < 0.02).all())


def list_experiments(folder: Path = MODELS) -> list[str]:
    """Names of the experiments in ``folder``."""
    return sorted(path.parent.name for path in folder.glob("*/experiment.json"))


def load_experiment(path: str | Path) -> Experiment:
    """Open and check an experiment's folder; a bare name is looked up in models/.

    Every field is checked and every weights file is compared with its SHA-256; models are built when
    they are first used.

    Raises:
        ExperimentError: The folder does not validate; the text names the field.
        UnknownNameError: There is no such experiment.
    """
    folder = _find(Path(path))
    document = _read_json(folder / "experiment.json")
    check = _Checker(folder)
    version = document.get("format")
    check.that(_is_number(version) and version == FORMAT, "format", f"must be {FORMAT}, got {version!r}")
    title = document.get("title", "")
    check.that(isinstance(title, str), "title", "must be a text")
    classes = check.strings(document, "classes")
    spec = _input_spec(check, document.get("input"))
    experiment = Experiment(
        folder=folder,
        dataset=check.text(document, "dataset"),
        classes=tuple(classes),
        input=spec,
        runs={},
        title=title,
    )
    entries = document.get("runs")
    check.that(isinstance(entries, list) and bool(entries), "runs", "must be a list of at least one run")
    for number, entry in enumerate(entries):  # type: ignore[arg-type]
        run = _run(check, entry, f"runs[{number}]", experiment)
        check.that(run.role not in experiment.runs, f"runs[{number}].role", f"'{run.role}' is listed twice")
        _read_weights(run)
        experiment.runs[run.role] = run
    return experiment


def _find(path: Path) -> Path:
    try:
        if (path / "experiment.json").is_file():
            return path
        named = MODELS / path
        if len(path.parts) == 1 and (named / "experiment.json").is_file():
            return named
        is_folder = path.is_dir()
    except OSError:  # no file can have such a name
        is_folder = False
    if is_folder:
        raise ExperimentError(f"'{path}' is not an experiment: it has no experiment.json.")
    raise UnknownNameError("experiment", str(path), list_experiments())


def _whole_number(value: object) -> int:
    """A number, or a text of digits, as int; -1 for anything else."""
    if isinstance(value, str):
        return int(value) if _DIGITS.fullmatch(value) else -1
    try:
        return -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return -1


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExperimentError(f"'{path}' is not valid JSON; restore it or train the experiment again.") from error
    if not isinstance(document, dict):
        raise ExperimentError(f"'{path}' must hold a JSON object.")
    return document


class _Checker:
    """Turns a wrong field into one sentence that names it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def that(self, fine: bool, name: str, problem: str) -> None:
        if not fine:
            raise ExperimentError(f"The experiment '{self.folder}' is refused: field '{name}' {problem}.")

    def text(self, mapping: Mapping[str, Any], key: str, prefix: str = "") -> str:
        value = mapping.get(key)
        self.that(isinstance(value, str) and bool(value), prefix + key, "must be a text")
        return str(value)

    def strings(self, mapping: Mapping[str, Any], key: str) -> list[str]:
        value = mapping.get(key)
        fine = isinstance(value, list) and len(value) >= 2 and all(isinstance(item, str) for item in value)
        self.that(fine, key, "must be a list of two or more texts")
        self.that(len(set(value)) == len(value), key, "must not repeat a class")  # type: ignore[arg-type]
        return list(value)  # type: ignore[arg-type]

    def numbers(self, mapping: Mapping[str, Any], key: str, count: int, name: str) -> tuple[float, ...]:
        value = mapping.get(key)
        fine = isinstance(value, list) and len(value) == count and all(_is_number(item) for item in value)
        self.that(fine, name, f"must be a list of {count} finite numbers")
        return tuple(float(item) for item in value)  # type: ignore[union-attr]


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def _is_finite_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _are_metrics(value: object) -> bool:
    """Split -> name -> number."""
    return isinstance(value, dict) and all(
        isinstance(numbers, dict) and all(_is_number(number) for number in numbers.values())
        for numbers in value.values()
    )


def _input_spec(check: _Checker, entry: Any) -> InputSpec:
    check.that(isinstance(entry, dict), "input", "must be an object")
    channels = entry.get("channels")
    check.that(type(channels) is int and channels in (1, 3), "input.channels", "must be 1 or 3")
    height, width = check.numbers(entry, "size", 2, "input.size")
    whole = all(side == int(side) and 1 <= side <= 4096 for side in (height, width))
    check.that(whole, "input.size", "must be two whole numbers from 1 to 4096")
    std = check.numbers(entry, "std", channels, "input.std")
    check.that(min(std) > 0, "input.std", "must be above zero")
    fit = entry.get("fit", "crop")
    check.that(fit in ("crop", "digit"), "input.fit", "must be 'crop' or 'digit'")
    is_digit = (height, width, channels) == (28, 28, 1)
    check.that(fit == "crop" or is_digit, "input.fit", "can be 'digit' for 28 x 28 grey pixels only")
    mean = check.numbers(entry, "mean", channels, "input.mean")
    return InputSpec((int(height), int(width)), channels, mean, std, fit)


def _run(check: _Checker, entry: Any, name: str, experiment: Experiment) -> Run:
    check.that(isinstance(entry, dict), name, "must be an object")
    prefix = f"{name}."
    role = check.text(entry, "role", prefix)
    check.that(_NAME.fullmatch(role) is not None, prefix + "role", "has characters that a role must not have")
    weights = check.text(entry, "weights", prefix)
    kind = ".onnx" if entry.get("network") == ONNX else ".safetensors"
    fine = _NAME.fullmatch(weights) is not None and weights.endswith(kind)
    check.that(fine, prefix + "weights", f"must be the name of a {kind} file in the same folder")
    training, metrics = entry.get("training", {}), entry.get("metrics", {})
    fine = isinstance(training, dict) and _is_finite_json(training)
    check.that(fine, prefix + "training", "must be an object of finite values")
    check.that(_are_metrics(metrics), prefix + "metrics", "must hold finite numbers by split and name")
    network = check.text(entry, "network", prefix)
    plain = network.removesuffix(RENORMALISED)
    known = plain in networks or network == ONNX or plain.startswith(("torchvision/", "timm/"))
    check.that(known, prefix + "network", "must be a network of kdviz, or torchvision/NAME, timm/NAME or onnx")
    return Run(
        role=role,
        network=network,
        weights=weights,
        sha256=check.text(entry, "sha256", prefix),
        training=training,
        metrics=metrics,
        folder=experiment.folder,
        spec=experiment.input,
        n_classes=len(experiment.classes),
    )


def _read_weights(run: Run) -> bytes:
    path = run.folder / run.weights
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ExperimentError(f"The weights of the {run.role} are missing: '{path}'.") from error
    if hashlib.sha256(data).hexdigest() != run.sha256:
        raise ExperimentError(
            f"The weights of the {run.role}, '{path}', do not match the sha256 in experiment.json; "
            "restore the file or train the experiment again."
        )
    return data


__all__ = [
    "BASELINES",
    "FORMAT",
    "MORE_BASELINES",
    "ROLES",
    "Experiment",
    "InputSpec",
    "KdvizError",
    "Run",
    "list_experiments",
    "load_experiment",
]
