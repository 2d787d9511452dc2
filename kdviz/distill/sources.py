"""The starting point of a training: networks with their weights, and how many of the samples have labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from kdviz.core.errors import SettingError
from kdviz.core.moved import renamed
from kdviz.data import LabelledImages
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import InputSpec
from kdviz.models.checkpoints import classifier_head, load_pretrained, load_trained
from kdviz.models.inputs import AdaptedNetwork, common_picture
from kdviz.models.networks import RENORMALISED, Renormalised

_LEAST_SIDE = 2
"""Of a student's input, in pixels: torch cannot shrink pictures to a single one."""


@dataclass(frozen=True)
class ModelSource:
    """Where a network comes from.

    Attributes:
        network: Name of the network.
        weights: Initial weights; None: fresh ones.
        trained: The weights are a finished classifier's, which is used as it is. Otherwise they are pretrained on other
            classes, and the head is fresh.
        normalisation: Mean and std that the weights were trained with, where the experiment's differ.
        source: Source of the weights in the training record, e.g. the name of their file.
        input: The network's own input, where it is not the experiment's: the network gets the experiment's pictures,
            and a first step makes its input from them.
    """

    network: str
    weights: Mapping[str, Tensor] | None = field(default=None, repr=False)
    trained: bool = False
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None
    source: str = ""
    input: InputSpec | None = None

    @property
    def name(self) -> str:
        """The network's name in the experiment."""
        return self.network.removesuffix(RENORMALISED) + RENORMALISED if self.normalisation else self.network

    def build(self, spec: InputSpec, classes: int, seed: int) -> tuple[nn.Module, tuple[str, ...]]:
        """The network, and the names of its tensors before the head that the weights lack.

        Args:
            spec: The experiment's input, which the network takes.
            classes: Number of classes.
            seed: Seed of fresh weights.

        Raises:
            ModelError: The weights are not this network's.
        """
        own = self.input or spec
        network = new_network(self.name, own, classes, seed)
        if self.normalisation and isinstance(network, Renormalised):
            network.between((own.mean, own.std), self.normalisation)
        missing = self._load(network)
        if own == spec:
            return network, missing
        return AdaptedNetwork(network, spec, own), tuple(f"network.{name}" for name in missing)

    def _load(self, network: nn.Module) -> tuple[str, ...]:
        """Load the weights; return the names of the tensors before the head that they lack."""
        if self.weights is None:
            return ()
        if self.trained:
            load_trained(network, self.weights)
            return ()
        loaded = load_pretrained(network, self.weights, head=classifier_head(network))
        return (*loaded.missing, *loaded.mismatched)


@dataclass(frozen=True)
class LabelBudget:
    """Which training samples have labels, and how the other samples are used.

    Attributes:
        samples: Number of training samples that have labels, drawn in the proportions of the classes; 0: all.
        pseudo_labels: Least confidence of the teacher for the KD student to learn also from the other samples, with the
            teacher's predictions as labels. None: it does not.
        unlabelled: Further images without labels (their labels are ignored).
    """

    samples: int = 0
    pseudo_labels: float | None = None
    unlabelled: LabelledImages | None = None

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise SettingError(
                "The number of labelled training samples must be at least 1, got {samples}.", samples=self.samples
            )
        if self.pseudo_labels is not None and not 0 <= self.pseudo_labels < 1:
            raise SettingError(
                "pseudo_labels must be at least 0 and below 1, got {pseudo_labels:g}.", pseudo_labels=self.pseudo_labels
            )
        if self.unlabelled is not None and self.pseudo_labels is None:
            raise SettingError("Unlabelled images are used with pseudo_labels, the least confidence of the teacher.")
        if self.pseudo_labels is not None and not self.samples and self.unlabelled is None:
            raise SettingError("pseudo_labels need images without labels: others, or fewer labelled training samples.")


def student_input(spec: InputSpec, size: int | None, channels: int | None) -> tuple[InputSpec, InputSpec]:
    """The common picture of an experiment whose students see less than their teacher, and the students' input.

    Args:
        spec: The teacher's input.
        size: Side of the students' input, in pixels, which gets the proportions of the teacher's; None: the same.
        channels: 1 for grey; None: the same.

    Raises:
        SettingError: The students would see more than their teacher.
    """
    height, width = spec.size
    if size is not None and size < _LEAST_SIDE:
        raise SettingError("--student-size must be at least {least}, got {size}.", least=_LEAST_SIDE, size=size)
    short = size or min(spec.size)
    channels = channels or spec.channels
    if short > min(spec.size) or channels > spec.channels:
        raise SettingError(
            "The students cannot see more than their teacher, whose pictures have {size} pixels and {channels} "
            "channels; --size makes these larger.",
            size=f"{height} x {width}",
            channels=spec.channels,
        )
    if (short, channels) == (min(spec.size), spec.channels):
        return spec, spec
    scale = short / min(spec.size)
    side = (round(height * scale), round(width * scale))
    own = replace(spec, size=side, channels=channels, fit="crop")
    if channels < spec.channels:
        grey = [sum(values) / len(values) for values in (spec.mean, spec.std)]
        own = replace(own, mean=(grey[0],), std=(grey[1],))
    own = replace(own, resize=None if spec.resize is None else side)
    return replace(common_picture([spec, own]), fit=spec.fit, resize=spec.resize), own


def labelled_part(samples: LabelledImages, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of ``count`` samples, classes in their proportions but at least one each, and of the other samples.

    Raises:
        SettingError: There are fewer samples, or ``count`` is less than one per class.
    """
    classes = len(samples.classes)
    if not classes <= count <= len(samples):
        raise SettingError(
            "The labelled training samples must be {classes} to {n_samples}, got {count}.",
            classes=classes,
            n_samples=len(samples),
            count=count,
        )
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    # The rank of each sample within its class, as a share: the smallest shares are a stratified draw.
    share = torch.empty(len(samples), dtype=torch.float64)
    for label in range(classes):
        members = order[samples.labels[order] == label]
        share[members] = torch.arange(len(members), dtype=torch.float64) / max(1, len(members))
    ranked = order[share[order].argsort(stable=True)]
    return ranked[:count].sort().values, ranked[count:].sort().values


__getattr__ = renamed(__name__, {"Few": "LabelBudget", "Origin": "ModelSource"})
