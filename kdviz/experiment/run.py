"""One trained model of an experiment: its record, its weights file, and its network."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from kdviz.core.errors import ExperimentError, KdvizError, ModelError, Sentence, SettingError
from kdviz.models.inputs import InputSpec, adapted
from kdviz.models.networks import ONNX, RENORMALISED, FunctionNetwork, OnnxNetwork, build_network, networks
from kdviz.models.outputs import TensorOutput, logits_of

PREDICTIONS = "predictions"
"""Name of the network in a run of which only the predictions are known."""

ROLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass
class Run:
    """One trained model.

    Attributes:
        role: ``teacher``, ``kd_student``, ``student`` or a further name.
        network: Name of its architecture; ``onnx`` for an ONNX file, ``predictions`` if there is no model.
        weights: Name of its weights file in the experiment's folder; empty for a model that is only in memory.
        sha256: SHA-256 of that file; empty for a model that is only in memory.
        training: The configuration it was trained with, as far as it is known.
        metrics: Split -> name -> number.
        spec: The network's own input.
        n_classes: Number of the network's logits.
        picture: The input that the model gets: the experiment's common picture; None: the network's own input.
        class_order: The network's logit for each class of the experiment; None: they are the same.
        settings: Settings that the network is built with besides classes, channels and size.
        title: Title for people; empty: the title of its role.
        parent, made_by: Role of the model from which it was made, and how; empty: not known.
        model: (N, C, H, W), as ``Experiment.preprocess`` returns it -> logits (N, classes); in evaluation mode.
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
    picture: InputSpec | None = field(default=None, repr=False)
    class_order: tuple[int, ...] | None = field(default=None, repr=False)
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    title: str = ""
    parent: str = field(default="", repr=False)
    made_by: str = field(default="", repr=False)
    _copies: dict[torch.device, nn.Module] = field(default_factory=dict, repr=False, init=False)

    @property
    def has_model(self) -> bool:
        """Whether there is a model; otherwise only its predictions are known."""
        return self.network != PREDICTIONS

    @property
    def needs_format_2(self) -> bool:
        """Whether format 1 of experiment.json cannot hold it."""
        has_details = self.title or self.settings or self.parent or self.made_by
        is_foreign = self.network.startswith("transformers/") or not self.has_model
        return bool(self.is_adapted or is_foreign or has_details)

    @property
    def is_adapted(self) -> bool:
        """Whether the network's input or classes are not those of the experiment."""
        return self.class_order is not None or (self.picture is not None and self.picture != self.spec)

    @cached_property
    def model(self) -> nn.Module:
        """The network with its weights, loaded on first use.

        It is wrapped in an :class:`~kdviz.models.inputs.AdaptedNetwork` if its input or classes are not the
        experiment's.

        Raises:
            ExperimentError: The weights changed, or do not fit the network.
            ModelError: The ONNX file is not valid, or does not fit the experiment's input and classes; or there is no
                model.
            SettingError: A library that it needs is missing.
        """
        return adapted(self.unadapted, self.picture or self.spec, self.spec, self.class_order)

    @cached_property
    def unadapted(self) -> nn.Module:
        """The network itself, from its own input to its own logits; an ``OnnxNetwork`` for an ONNX file.

        Raises:
            KdvizError: As for :attr:`model`.
        """
        if not self.has_model:
            raise ModelError(only_predictions(self.role))
        data = read_weights(self)
        if self.network == ONNX:
            return validated_network(OnnxNetwork(data, self.weights).eval(), self.role, self.spec, self.n_classes)
        return self._build(data)

    def _build(self, data: bytes) -> nn.Module:
        # The size of kdviz's own networks depends on the input's: on "meta" they take no memory until the weights fit.
        is_builtin = self.network.removesuffix(RENORMALISED) in networks
        try:
            with torch.device("meta" if is_builtin else "cpu"):
                network = build_network(
                    self.network,
                    classes=self.n_classes,
                    channels=self.spec.channels,
                    size=self.spec.size,
                    settings=self.settings,
                )
            network.load_state_dict(load_safetensors(data), assign=is_builtin)
        except KdvizError:
            raise
        except Exception as error:  # networks of libraries raise anything for settings that they do not take
            raise ExperimentError(
                "{folder} does not hold the weights of a '{network}'; train or import this run again.",
                folder=self.folder / self.weights,
                network=self.network,
            ) from error
        self._require_finite(network)
        return network.float().eval().requires_grad_(False)

    def _require_finite(self, network: nn.Module) -> None:
        """Refuse weights with which every answer would be NaN.

        Raises:
            ExperimentError: A weight is infinite or NaN.
        """
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ExperimentError(
                    "'{name}' in {folder} holds numbers that are not finite; train or import this run again.",
                    name=name[:80],
                    folder=self.folder / self.weights,
                )

    def on(self, device: str | torch.device) -> nn.Module:
        """The model on a device; ``model`` itself stays on the CPU, where ``Experiment.preprocess`` puts its inputs.

        An ONNX file or a function has nothing to move: it accepts inputs on any device and returns its logits there.
        """
        device = torch.device(device)
        tensors = chain(self.model.parameters(), self.model.buffers())
        if device.type == "cpu" or next(tensors, None) is None:
            return self.model
        if device not in self._copies:
            self._copies[device] = copy.deepcopy(self.model).to(device)
        return self._copies[device]

    def to_json(self, version: int) -> dict[str, Any]:
        """The run's entry in experiment.json, in a version of its format.

        Raises:
            SettingError: The model is only in memory.
        """
        if not self.weights and self.has_model:
            raise SettingError(
                "The model '{role}' is in memory only and cannot be saved; export it to ONNX and add "
                "that file, or use add_run.",
                role=self.role,
            )
        names = ("role", "network", "weights", "sha256", "training", "metrics")
        document = {name: getattr(self, name) for name in names}
        if version == 1:
            return document
        order = {} if self.class_order is None else {"class_order": list(self.class_order)}
        document["input"] = self.spec.to_json() | order
        document["logits"] = self.n_classes
        optional = {name: getattr(self, name) for name in ("title", "settings", "parent", "made_by")}
        return document | {name: value for name, value in optional.items() if value}


def only_predictions(role: str) -> Sentence:
    """One sentence on why nothing can be computed with a run that has no model."""
    return Sentence("Of '{role}' only the predictions are known; import its weights to compute with it.", role=role)


def read_weights(run: Run) -> bytes:
    """Read the content of a run's weights file.

    Raises:
        ExperimentError: The file is missing, or is not the one that experiment.json lists.
    """
    path = run.folder / run.weights
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ExperimentError("The weights of the {role} are missing: '{path}'.", role=run.role, path=path) from error
    if hashlib.sha256(data).hexdigest() != run.sha256:
        raise ExperimentError(
            "The weights of the {role}, '{path}', do not match the sha256 in experiment.json; restore "
            "the file or train the experiment again.",
            role=run.role,
            path=path,
        )
    return data


def check_new_role(role: str, roles: Mapping[str, Any]) -> None:
    """Refuse a role that is not valid, or taken.

    Raises:
        SettingError: It is.
    """
    if not ROLE_NAME.fullmatch(role):
        raise SettingError("'{role}' is no role name; use letters, digits, '.', '_' and '-'.", role=role)
    # In a file of maps, NAME_se is the standard error of NAME.
    if {role, role.removesuffix("_se"), f"{role}_se"} & roles.keys():
        raise SettingError(
            "The role '{role}' is taken, by one of {roles}; choose another name.", role=role, roles=", ".join(roles)
        )


def as_network(model: nn.Module | Callable[[Tensor], Tensor] | str | Path) -> nn.Module:
    """Wrap a model as a network: copy a module as float32 to the CPU, keep a callable, open the ONNX file at a path."""
    if isinstance(model, nn.Module):
        return _deep_copy(model).cpu().float().eval().requires_grad_(False)
    return (FunctionNetwork(model) if callable(model) else OnnxNetwork(model)).eval()


def _deep_copy(model: nn.Module) -> nn.Module:
    """A deep copy of a module, in which tensors that are no leaves of a graph are detached.

    Torch copies only leaves, which activations stored by a forward pass and the weights of weight_norm are not.

    Raises:
        ModelError: The module cannot be copied.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # objects in a module may raise anything
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            "The model {name} cannot be copied ({reason}); pass a function: lambda x: model(x).",
            name=type(model).__name__,
            reason=reason,
        ) from error


@torch.no_grad()
def validated_network(network: nn.Module, role: str, spec: InputSpec, n_classes: int) -> nn.Module:
    """The network, after a check that it returns logits (N, classes) for noise of the size of its input.

    A network that returns them in a tuple, a mapping or a dataclass is wrapped in a
    :class:`~kdviz.models.outputs.TensorOutput`.

    Raises:
        KdvizError: The network fails, or does not return logits.
    """
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((8, spec.channels, *spec.size), np.float32))
    try:
        logits = network(noise)
        if not isinstance(logits, Tensor) and isinstance(logits_of(logits), Tensor):
            network = TensorOutput(network).eval()
            logits = network(noise)
    except KdvizError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            "The model '{role}' failed on a batch of shape {shape}: {reason}",
            role=role,
            shape=tuple(noise.shape),
            reason=reason,
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (len(noise), n_classes):
        raise ModelError(
            "The model '{role}' must return logits of shape {expected}, got {shape}.",
            role=role,
            expected=(len(noise), n_classes),
            shape=shape,
        )
    if _are_probabilities(logits):
        if not isinstance(network, OnnxNetwork):
            raise ModelError(
                "The model '{role}' returns probabilities; leave its softmax away: logits are expected.", role=role
            )
        network.returns_probabilities = True
    return network


def _are_probabilities(scores: Tensor) -> bool:
    """Whether each row is non-negative and sums to 1, within the precision of int8."""
    return bool((scores >= 0).all() and ((scores.float().sum(1) - 1).abs() < 0.02).all())
