"""Transfer learning: a pretrained network whose backbone is frozen runs once for all trainings of its head.

What goes into the head, the features, does not change while only the head is trained and the images stay as they are.
So they are computed once and kept on disk, and a study of heads takes seconds. With random augmentation, or with
unfrozen stages, there is nothing to keep.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import KdvizError, ModelError
from kdviz.core.files import Store
from kdviz.data import LabelledImages
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.layers import INPUT, FeatureHook, head_of
from kdviz.distill.storage.run_files import read_array, write_array
from kdviz.experiment import InputSpec
from kdviz.models.inputs import AdaptedNetwork

HEAD = "linear_head"
"""The network that is trained on features: see :class:`kdviz.models.networks.LinearHead`."""

_BATCH = 32


def trains_head_only(config: TrainingConfig) -> bool:
    """Whether a recipe leaves the features of every sample as they are, so that they can be computed once."""
    return config.trainable == "head" and not config.augment and not config.feature_loss


class Backbone:
    """Everything of a network before its head, frozen.

    Args:
        network: (N, C, H, W) -> logits (N, classes); it is put into evaluation mode.
        spec: Specification of the network's input.
        store: Store of the features.
        device: A torch device, or ``auto``.

    Dropout before the head is left out.

    Raises:
        ModelError: No head can be found, or the logits are not the head's output for a single vector
            (SqueezeNet averages after it).
    """

    def __init__(self, network: nn.Module, spec: InputSpec, store: Store, device: str = "auto"):
        self.network, self._spec, self._store = network.eval(), spec, store
        self._device = choose_device(device)
        sample = torch.zeros(2, spec.channels, *spec.size)
        parameter = next(network.parameters())
        self.head_name, self.head = head_of(network, sample.to(parameter.device))
        self._require_last()
        self._weights = self._hash()
        self._input = hashlib.sha256(json.dumps(spec.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    @torch.no_grad()
    def _require_last(self) -> None:
        head = self.linear_head().to(next(self.network.parameters()).device)
        noise = torch.randn(4, self._spec.channels, *self._spec.size, generator=torch.Generator().manual_seed(0))
        with FeatureHook(self.network, [self.head_name + INPUT]) as hook:
            logits = self.network(noise.to(next(head.parameters()).device))
            features = hook.take()[0].flatten(1)
        tolerance = 0.01 * float(logits.abs().max())  # a GPU rounds convolutions
        if features.shape[1] != self._width or not torch.allclose(head(features), logits, atol=tolerance):
            raise ModelError(
                "'{name}' goes on computing behind its head '{head_name}', so that the head cannot be "
                "trained by itself.",
                name=type(self.network).__name__,
                head_name=self.head_name,
            )

    def _hash(self) -> str:
        """Hash of the weights before the head."""
        state = {
            name: value.detach().cpu().contiguous()
            for name, value in self.network.state_dict().items()
            if not name.startswith(f"{self.head_name}.")
        }
        conversion = self.network.conversion.encode() if isinstance(self.network, AdaptedNetwork) else b""
        return hashlib.sha256(save_safetensors(state) + conversion).hexdigest()[:16]

    def features(self, samples: LabelledImages) -> Tensor:
        """The head's input, float32 (N, features); computed once for these weights, input and samples.

        Args:
            samples: Samples whose images are as the network takes them, before normalisation.
        """
        name = f"features/{self._weights}-{self._input}-{samples.fingerprint[:16]}.npy"
        try:
            return read_array(self._store, name)
        except KdvizError:  # missing or damaged: it is computed again
            pass
        features = self._computed(samples)
        write_array(self._store, name, features)
        return features

    @torch.no_grad()
    def _computed(self, samples: LabelledImages) -> Tensor:
        network = self.network.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        features = []
        with FeatureHook(network, [self.head_name + INPUT]) as hook:
            for images in samples.images.split(_BATCH):
                inputs = self._spec.normalise(images.to(self._device))
                network(inputs.contiguous(memory_format=torch.channels_last))
                features.append(hook.take()[0].flatten(1).float().cpu())
        return torch.cat(features)

    def as_samples(self, samples: LabelledImages) -> LabelledImages:
        """The same samples with features in the place of images: float32 (N, features, 1, 1)."""
        return replace(samples, images=self.features(samples)[:, :, None, None])

    def head_spec(self) -> InputSpec:
        """Specification of the input of the head as a separate network."""
        return InputSpec(size=(1, 1), channels=self._width, mean=(0.0,), std=(1.0,))

    @property
    def _width(self) -> int:
        weight = self.head.weight
        assert isinstance(weight, Tensor)
        return weight.shape[1]

    def linear_head(self) -> nn.Module:
        """The head as a separate network, with the same weights."""
        from kdviz.models.networks import build_network

        weight, bias = self.head.weight, self.head.bias
        assert isinstance(weight, Tensor)
        network = build_network(HEAD, classes=weight.shape[0], channels=self._width, size=(1, 1))
        linear = network.get_submodule("1")
        with torch.no_grad():
            linear.weight.copy_(weight.flatten(1))  # type: ignore[operator,union-attr]
            if isinstance(bias, Tensor):
                linear.bias.copy_(bias)  # type: ignore[operator,union-attr]
            else:
                linear.bias.zero_()  # type: ignore[operator,union-attr]
        return network

    @torch.no_grad()
    def logits(self, samples: LabelledImages) -> Tensor:
        """Logits of the network, computed from the stored features: float32 (N, classes)."""
        return self.linear_head().eval()(self.features(samples)[:, :, None, None])

    def set_head(self, head: nn.Module) -> None:
        """Give the network the weights of a trained :data:`HEAD`."""
        linear = head.get_submodule("1")
        with torch.no_grad():
            self.head.weight.copy_(linear.weight.view_as(self.head.weight))  # type: ignore[operator,union-attr,arg-type]
            if isinstance(self.head.bias, Tensor):
                self.head.bias.copy_(linear.bias)  # type: ignore[arg-type]


def frozen_backbone(network: nn.Module, spec: InputSpec, store: Store, config: TrainingConfig) -> Backbone | None:
    """The backbone whose features are kept while a recipe trains the head; None where the whole network has to run."""
    if not trains_head_only(config):
        return None
    try:
        backbone = Backbone(network, spec, store, config.device)
    except ModelError:
        return None
    return backbone if backbone.head.bias is not None else None  # a trained HEAD has a bias, which must not be lost
