"""The starting point of a training: networks with their weights, and how many of the samples have labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdviz.core.errors import SettingError
from kdviz.core.moved import renamed
from kdviz.data import LabelledImages
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import InputSpec
from kdviz.models.checkpoints import classifier_head, load_pretrained, load_trained
from kdviz.models.networks import RENORMALISED, Renormalised


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
    """

    network: str
    weights: Mapping[str, Tensor] | None = field(default=None, repr=False)
    trained: bool = False
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None
    source: str = ""

    @property
    def name(self) -> str:
        """The network's name in the experiment."""
        return self.network.removesuffix(RENORMALISED) + RENORMALISED if self.normalisation else self.network

    def build(self, spec: InputSpec, classes: int, seed: int) -> tuple[nn.Module, tuple[str, ...]]:
        """The network, and the names of its tensors before the head that the weights lack.

        Raises:
            ModelError: The weights are not this network's.
        """
        network = new_network(self.name, spec, classes, seed)
        if self.normalisation and isinstance(network, Renormalised):
            network.between((spec.mean, spec.std), self.normalisation)
        if self.weights is None:
            return network, ()
        if self.trained:
            load_trained(network, self.weights)
            return network, ()
        loaded = load_pretrained(network, self.weights, head=classifier_head(network))
        return network, (*loaded.missing, *loaded.mismatched)


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
