"""An experiment: one data set, a teacher, its students, and their measurements, as a folder.

::

    models/<name>/
      experiment.json          format, data set, classes, input, runs (role, network, weights, sha256, ...)
      <role>-<hash>.safetensors, or <role>-<hash>.onnx
      samples.parquet          pictures of the data set, as the models see them
      fingerprints.parquet     hashes of pictures that are not here, but can be fetched
      predictions.parquet, temperature.parquet, ...

A weights file has its hash in its name, and experiment.json is replaced last, so that an interrupted write leaves the
older experiment intact. Nothing in a folder is executed or unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from kdviz.core.decoding.guarded import open_image_guarded
from kdviz.core.errors import ExperimentError, SettingError, TargetError
from kdviz.core.files import atomic_write
from kdviz.core.processes.folder_lock import writing_within
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.data.store import StoredSamples, samples_table
from kdviz.experiment.baselines import blurred, require_baseline
from kdviz.experiment.checking import as_index
from kdviz.experiment.picture_source import FIELD as PICTURE_SOURCE
from kdviz.experiment.picture_source import PictureSource
from kdviz.experiment.run import ROLE_NAME, Run, as_network, check_new_role, validated_network
from kdviz.experiment.tables import ExperimentTables
from kdviz.models.inputs import BASELINES, AdaptedNetwork, InputSpec, as_tensor
from kdviz.models.networks import ONNX, OnnxNetwork

FORMATS = (1, 2)
"""Versions of experiment.json that can be read. Version 2 has each run's own input, class order and title; it is
written only if version 1 cannot hold the experiment."""

ROLES: tuple[str, ...] = tuple(Role)
"""The three roles every experiment can have, in the order in which they are shown."""

IMPORTED = "imported"
"""The data set of an experiment whose models kdviz did not train."""


_SWEEPS = ("temperature", "alpha", "teacher_epochs", "loss", "loss_shifts", "transfer_set")
_OF_SWEEPS = ("curves", "study_predictions")
_ATTENTION = ("agreement", "attention", "attention_samples", "faithfulness")
_REGIONS = ("regions", "region_samples", "shortcuts", "shortcut_samples")
_TABLES = (
    "predictions",
    *_SWEEPS,
    *_OF_SWEEPS,
    *_ATTENTION,
    *_REGIONS,
    "cost",
    "compression",
    "search",
    "search_grid",
    "search_final",
    "shifts",
    "showcase",
    "transfer",
    "tree",
    "tree_nodes",
)  # that depend on the experiment's teacher

_HASH = "[0-9a-f]" * 8  # in the name of a weights file


@dataclass
class Experiment(ExperimentTables):
    """A loaded experiment; ``classes`` are the class names, ``runs`` maps a role to its :class:`Run`.

    ``picture_source`` says where its pictures come from if they are not passed on with it, and ``opening_pictures``
    names the photographs of :mod:`kdviz.data.photographs` that are shown first, then.
    """

    folder: Path
    dataset: str
    classes: tuple[str, ...]
    input: InputSpec
    runs: dict[str, Run]
    title: str = ""
    picture_source: PictureSource | None = None
    opening_pictures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def format(self) -> int:
        """The lowest version of experiment.json that can hold this experiment."""
        plain = self.input.resize is None and not any(run.needs_format_2 for run in self.runs.values())
        return 1 if plain else 2

    @property
    def models(self) -> dict[str, Run]:
        """The runs that have a model; of others only the predictions are known."""
        return {role: run for role, run in self.runs.items() if run.has_model}

    @property
    def is_imported(self) -> bool:
        """Whether the models were trained elsewhere, so that their training data are not known here."""
        return self.dataset == IMPORTED

    @property
    def held_out(self) -> bool:
        """Whether it is known that no model was trained on the stored splits, as for models that kdviz trained."""
        return not self.is_imported

    def prepare(self, image: Image.Image | str | Path) -> Image.Image:
        """Convert a picture to what the models see, before scaling and normalisation."""
        picture = open_image_guarded(image) if isinstance(image, (str, Path)) else image
        return self.input.prepare(picture)

    def preprocess(self, image: Image.Image | str | Path) -> Tensor:
        """Convert a picture, or the file at a path, to the models' input: float32 (1, C, H, W).

        A picture of the input size is only scaled and normalised.

        Raises:
            ImageError: The picture cannot be read, or shows no digit where one is needed.
        """
        return self.input.normalise(as_tensor(self.prepare(image)))

    def baseline(self, what: str | float | Image.Image | Path, picture: Image.Image, seed: int = 0) -> Tensor:
        """The baseline that replaces removed pixels, normalised as the models' input: float32 (1, C, H, W).

        Args:
            what: A name in ``BASELINES``; ``blur``, the picture itself without its details; ``noise``, uniform and the
                same for every mask; a grey level from 0 to 1; or another picture, or its path.
            picture: The picture that is explained, as :meth:`prepare` returns it.
            seed: Seed of the noise.

        Raises:
            UnknownNameError, SettingError, ImageError: There is no such baseline.
        """
        if isinstance(what, str) and what in BASELINES:
            return self.input.baseline(what).expand(1, -1, *self.input.size)
        if what == "blur":
            return self.input.normalise(blurred(as_tensor(picture)))
        if what == "noise":
            noise = np.random.default_rng(seed).random((1, self.input.channels, *self.input.size), dtype=np.float32)
            return self.input.normalise(torch.from_numpy(noise))
        if isinstance(what, (Image.Image, Path)) or (isinstance(what, str) and Path(what).is_file()):
            return self.preprocess(what)
        require_baseline(str(what))
        return self.input.normalise(torch.full((1, self.input.channels, *self.input.size), float(what)))

    def class_index(self, target: int | str) -> int:
        """The index of a class given by index or by name.

        Raises:
            TargetError: There is no such class.
        """
        if isinstance(target, str) and target in self.classes:
            return self.classes.index(target)
        index = as_index(target)
        if 0 <= index < len(self.classes):
            return index
        class_names = ", ".join(self.classes[:20]) + (" ..." if len(self.classes) > 20 else "")
        raise TargetError(
            "'{target}' is not a class of this experiment; its classes are {class_names}.",
            target=target,
            class_names=class_names,
        )

    def write_samples(self, splits: Sequence[LabelledImages], limit: int | None = None) -> None:
        """Replace samples.parquet by pictures of some splits, so that the folder can be shown without the data set.

        Args:
            splits: The splits whose predictions are stored.
            limit: The most samples to store of a split; of a larger split a fixed random choice is stored.

        Raises:
            SettingError: The classes or images of a split are not the experiment's, or two splits have one name.
        """
        shape = (self.input.channels, *self.input.size)
        for samples in splits:
            if samples.classes != self.classes or tuple(samples.images.shape[1:]) != shape:
                raise SettingError(
                    "The split {split} cannot be stored: its classes, or its images of shape {shape}, "
                    "are not the experiment's ({expected}).",
                    split=samples.split,
                    shape=tuple(samples.images.shape[1:]),
                    expected=shape,
                )
        with writing_within(self.folder):
            atomic_write(self.folder / "samples.parquet", samples_table(splits, limit))

    def write_stored(self, content: bytes) -> None:
        """Replace samples.parquet by ``content``, as :func:`kdviz.data.store.stored_samples` returns it."""
        with writing_within(self.folder):
            atomic_write(self.folder / "samples.parquet", content)

    def samples(self, split: str) -> StoredSamples:
        """The stored samples of a split; their pictures are read on demand.

        Raises:
            ExperimentError: No samples are stored, or the table is damaged.
            UnknownNameError: No samples of this split are stored.
        """
        path = self.folder / "samples.parquet"
        if self.picture_source is not None and not path.exists():
            raise ExperimentError(
                "The pictures of '{folder}' are not here; get them with: kdviz get {folder}", folder=self.folder
            )
        return StoredSamples(path, split, self.classes, (self.input.channels, *self.input.size))

    def set_aside_tables(self) -> None:
        """Rename tables that were made with another teacher, since they do not apply to this experiment."""
        try:
            document = json.loads((self.folder / "experiment.json").read_text(encoding="utf-8"))
            earlier = next(str(run["sha256"]) for run in document["runs"] if run["role"] == Role.TEACHER)
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            return  # there is no earlier experiment, or none that can be read
        if Role.TEACHER in self.runs and earlier != self.runs[Role.TEACHER].sha256:
            for name in _TABLES:
                if self.has_table(name):
                    path = self.folder / f"{name}.parquet"
                    path.replace(path.with_name(f"{name}-of-{earlier[:8]}.parquet"))

    def add_run(
        self,
        role: str,
        network_name: str,
        network: nn.Module,
        training: dict,
        metrics: dict,
        spec: InputSpec | None = None,
    ) -> Run:
        """Write a trained network's weights and add its run; :meth:`save` then records it in experiment.json.

        ``network`` may be inside an ``AdaptedNetwork``; ``spec`` is its own input (None: the experiment's).
        """
        if not ROLE_NAME.fullmatch(role):
            raise SettingError("'{role}' is no role name; use letters, digits, '.', '_' and '-'.", role=role)
        inner = network.network if isinstance(network, AdaptedNetwork) else network
        data = save_safetensors(
            {name: tensor.detach().cpu().contiguous() for name, tensor in inner.state_dict().items()}
        )
        digest = hashlib.sha256(data).hexdigest()
        file = f"{role}-{digest[:8]}.safetensors"
        with writing_within(self.folder):
            atomic_write(self.folder / file, data)
        own, n_classes = spec or self.input, len(self.classes)
        run = Run(role, network_name, file, digest, training, metrics, self.folder, own, n_classes, self.input)
        self.runs[role] = run
        return run

    def with_model(self, role: str, model: nn.Module | Callable[[Tensor], Tensor] | str | Path) -> Experiment:
        """Copy this experiment with one more run, to compare a model of one's own. Nothing is written.

        :meth:`save` of the copy stores an ONNX file with the others, and refuses a model that is only in memory.

        Args:
            role: A new role for it.
            model: Maps (N, C, H, W), as :meth:`preprocess` returns it, to logits (N, classes). A module is copied, as
                float32, in evaluation mode and on the CPU; a callable is used as it is (wrap a function of arrays in
                ``kdviz.models.networks.NumpyNetwork``); anything else is the path of an ONNX file.

        Raises:
            SettingError: The role is not valid, or is taken; or onnxruntime is missing.
            ModelError: The model fails on noise, or does not return one row of logits a picture.
        """
        check_new_role(role, self.runs)
        network = validated_network(as_network(model), role, self.input, len(self.classes))
        if isinstance(network, OnnxNetwork):
            digest = hashlib.sha256(network.content).hexdigest()
            name, file = ONNX, f"{role}-{digest[:8]}.onnx"
        else:
            name, file, digest = type(network).__name__, "", ""
        run = Run(role, name, file, digest, {}, {}, self.folder, self.input, len(self.classes))
        run.unadapted = run.model = network
        return replace(self, runs={**self.runs, role: run})

    def save(self) -> None:
        """Write experiment.json and missing ONNX files; remove weights files that no run lists any more.

        Raises:
            ExperimentError: It could not be opened again; the text names the field.
            SettingError: A model is only in memory.
        """
        self.check()
        try:
            document = json.dumps(self.to_json(), indent=2, allow_nan=False)
        except ValueError as error:
            raise ExperimentError(
                "'{folder}' cannot be saved: a number in it is not finite.", folder=self.folder
            ) from error
        with writing_within(self.folder):
            for run in self.runs.values():
                path = self.folder / run.weights
                if run.network == ONNX and not path.exists() and isinstance(run.unadapted, OnnxNetwork):
                    atomic_write(path, run.unadapted.content)
            atomic_write(self.folder / "experiment.json", f"{document}\n".encode())
            listed = {run.weights for run in self.runs.values()}
            for file in chain(self.folder.glob(f"*-{_HASH}.safetensors"), self.folder.glob(f"*-{_HASH}.onnx")):
                if file.name not in listed:
                    file.unlink(missing_ok=True)

    def check(self) -> None:
        """Refuse what :func:`kdviz.experiment.load_experiment` would refuse, before anything is trained or written.

        Raises:
            ExperimentError: The text names the field.
            SettingError: A model is only in memory.
        """
        from kdviz.experiment.loading import read_document  # it makes an Experiment

        read_document(self.folder, json.loads(json.dumps(self.to_json())), may_be_empty=True)  # tuples become lists

    def to_json(self) -> dict[str, Any]:
        version = self.format
        return {
            "format": version,
            "title": self.title,
            "dataset": self.dataset,
            "classes": list(self.classes),
            "input" if version == 1 else "picture": self.input.to_json(),
            **self._pictures_to_json(),
            "runs": [run.to_json(version) for run in self.runs.values()],
        }

    def _pictures_to_json(self) -> dict[str, Any]:
        source = {} if self.picture_source is None else {PICTURE_SOURCE: self.picture_source.to_json()}
        return source | ({"opening_pictures": list(self.opening_pictures)} if self.opening_pictures else {})
