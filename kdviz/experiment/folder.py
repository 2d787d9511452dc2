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

import hashlib
import json
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from kdviz.core.errors import ExperimentError, SettingError, TargetError, UnknownNameError
from kdviz.core.files import atomic_write, parquet_of
from kdviz.core.images import open_image
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.data.store import StoredSamples, samples_table
from kdviz.experiment.run import ROLE_NAME, Run, as_network, check_new_role, tried
from kdviz.models.inputs import BASELINES, InputSpec, as_tensor
from kdviz.models.networks import ONNX, OnnxNetwork

FORMATS = (1, 2)
"""Versions of experiment.json that can be read. 2 says each run's own input, class order and title; it is written only
where 1 cannot say what there is."""


ROLES: tuple[str, ...] = tuple(Role)
"""The three roles every experiment can have, in the order in which they are shown."""


IMPORTED = "imported"
"""The data set of an experiment whose models kdviz did not train."""


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


_HASH = "[0-9a-f]" * 8  # in a weights file's name


_DIGITS = re.compile(r"\+?[0-9]{1,9}")


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

    @property
    def format(self) -> int:
        """The version of experiment.json that can say all there is."""
        plain = self.input.resize is None and not any(_needs_format_2(run) for run in self.runs.values())
        return 1 if plain else 2

    @property
    def models(self) -> dict[str, Run]:
        """The runs that have a model: of others the predictions alone are known."""
        return {role: run for role, run in self.runs.items() if run.has_model}

    @property
    def is_imported(self) -> bool:
        """Whether its models were trained elsewhere: what they learned from is not known here."""
        return self.dataset == IMPORTED

    @property
    def held_out(self) -> bool:
        """Whether it is known that no model was trained on the pictures of its splits: of kdviz's own models alone."""
        return not self.is_imported

    def prepare(self, image: Image.Image | str | Path) -> Image.Image:
        """The picture that the models see, before scaling and normalisation."""
        picture = open_image(image) if isinstance(image, (str, Path)) else image
        return self.input.prepare(picture)

    def preprocess(self, image: Image.Image | str | Path) -> Tensor:
        """A picture (or its path) -> (1, C, H, W) float32. One of the input size is only scaled and normalised.

        Raises:
            ImageError: The picture cannot be read, or shows no digit where one is needed.
        """
        return self.input.normalise(as_tensor(self.prepare(image)))

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
            return self.input.normalise(_blurred(as_tensor(picture)))
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

    def write_stored(self, content: bytes) -> None:
        """Replace samples.parquet by what :func:`kdviz.data.store.stored_samples` gave."""
        atomic_write(self.folder / "samples.parquet", content)

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
        if not ROLE_NAME.fullmatch(role):
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
                arrays in ``kdviz.models.networks.NumpyNetwork``); anything else is the path of an ONNX file.

        Raises:
            SettingError: The role is no name, or is taken; or onnxruntime is missing.
            ModelError: The model fails on noise, or its answer is not one row of logits a picture.
        """
        check_new_role(role, self.runs)
        network = tried(as_network(model), role, self.input, len(self.classes))
        if isinstance(network, OnnxNetwork):
            digest = hashlib.sha256(network.content).hexdigest()
            name, file = ONNX, f"{role}-{digest[:8]}.onnx"
        else:
            name, file, digest = type(network).__name__, "", ""
        run = Run(role, name, file, digest, {}, {}, self.folder, self.input, len(self.classes))
        run.unadapted = run.model = network
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
            if run.network == ONNX and not path.exists() and isinstance(run.unadapted, OnnxNetwork):
                atomic_write(path, run.unadapted.content)
        atomic_write(self.folder / "experiment.json", f"{document}\n".encode())
        kept = {run.weights for run in self.runs.values()}
        for file in chain(self.folder.glob(f"*-{_HASH}.safetensors"), self.folder.glob(f"*-{_HASH}.onnx")):
            if file.name not in kept:
                file.unlink(missing_ok=True)

    def to_json(self) -> dict[str, Any]:
        version = self.format
        return {
            "format": version,
            "title": self.title,
            "dataset": self.dataset,
            "classes": list(self.classes),
            "input" if version == 1 else "picture": self.input.to_json(),
            "runs": [run.to_json(version) for run in self.runs.values()],
        }


def _needs_format_2(run: Run) -> bool:
    more = run.title or run.settings or run.parent or run.made_by
    return bool(run.is_adapted or not run.has_model or run.network.startswith("transformers/") or more)


def _whole_number(value: object) -> int:
    """A number, or a text of digits, as int; -1 for anything else."""
    if isinstance(value, str):
        return int(value) if _DIGITS.fullmatch(value) else -1
    try:
        return -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return -1
