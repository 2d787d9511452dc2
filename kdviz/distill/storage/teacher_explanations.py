"""A teacher's explanations of the training samples, computed once and kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.core.files import Store
from kdviz.data import LabelledImages
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.explanations import Explainer, draws_of, explained_in
from kdviz.distill.objectives.layers import default_layers
from kdviz.distill.objectives.objective import ExplanationsOf, Normalise, autocasts, baseline_of
from kdviz.distill.prediction import to_channels_last
from kdviz.distill.storage.run_files import read_array, write_array

_BATCH_VALUES = 400_000  # values of the images in a batch; gradients need more memory than answers


def teacher_explanations(
    teacher: Callable[[], nn.Module] | None,
    normalise: Normalise,
    config: TrainingConfig,
    store: Store,
    key: str,
    samples: LabelledImages,
) -> ExplanationsOf | None:
    """What gives a training the explanations of its teacher; None where its recipe compares none, or not these.

    Args:
        teacher: Makes the network, in evaluation mode; None without a teacher.
        normalise: uint8 (N, C, H, W) -> the network's input.
        config: The recipe of the student.
        store: Where they are kept.
        key: The name of the teacher's logits in the store.
        samples: The training samples.
    """
    if teacher is None or not config.explains_fixed_images:
        return None
    name = f"{key.removesuffix('.npy')}-{samples.fingerprint[:8]}"
    return TeacherExplanations(teacher, normalise, config, store, name).of


class TeacherExplanations:
    """The explanations of one teacher, where the images do not change from epoch to epoch or have fixed views.

    Args:
        teacher: Makes the network, in evaluation mode; only called where explanations are missing.
        normalise: uint8 (N, C, H, W) -> the network's input.
        config: The recipe of the student, with an explanation loss.
        store: Where they are kept.
        name: Begin of the names of its files in the store: that of the teacher and the training samples.
    """

    def __init__(
        self, teacher: Callable[[], nn.Module], normalise: Normalise, config: TrainingConfig, store: Store, name: str
    ):
        assert config.explanation_loss is not None
        self._teacher, self._normalise, self._config, self._store = teacher, normalise, config, store
        self._loss, self._options = config.explanation_loss, config.feature_options
        options = {**self._loss.options, **self._options}  # defaults, too, which another version may change
        given = "".join(f"-{option}={value:g}" for option, value in sorted(options.items()))
        layer = f"-{config.teacher_layer}" if config.teacher_layer else ""
        self._stem = f"{name}-{config.augment.replace(',', '+') or 'plain'}-{config.feature_loss}{layer}{given}"

    def of(self, images: Tensor, target: Tensor, epoch: int) -> Tensor:
        """The explanations of the samples that are explained in an epoch, in their order: (n, ...).

        Args:
            images: uint8 (N, C, H, W), all training samples as they are seen in this epoch.
            target: int64 (N,), the classes to explain: those of the teacher.
            epoch: The epoch, from 1.
        """
        sampled = bool(self._loss.every_option)
        view = (epoch - 1) % self._config.views if self._config.views else 0
        file_name = f"{self._stem}-{f'epoch-{epoch:04d}' if sampled else f'view-{view:04d}'}.npy"
        if not self._store.has(file_name):
            write_array(self._store, file_name, self._computed(images, target.cpu(), epoch))
        return read_array(self._store, file_name)

    def _computed(self, images: Tensor, target: Tensor, epoch: int) -> Tensor:
        device = choose_device(self._config.device)
        rows = explained_in(torch.arange(len(images)), epoch, self._loss.every(self._options))
        draws = draws_of(rows, epoch)
        network = self._teacher().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        explainer = Explainer(
            self._loss,
            self._options,
            network,
            baseline_of(self._normalise, images, device),
            self._layer(network, images, device),
            autocasts(device, self._config.bf16),
        )
        size = max(8, min(500, _BATCH_VALUES // max(1, images[:1].numel())))
        try:
            parts = [
                explainer.explain_pictures(
                    to_channels_last(self._normalise(images[batch].to(device))),
                    target[batch].to(device),
                    draws[start : start + len(batch)].to(device),
                ).cpu()
                for start, batch in zip(range(0, len(rows), size), rows.split(size), strict=True)
            ]
        finally:
            explainer.close()
        return torch.cat(parts)

    def _layer(self, network: nn.Module, images: Tensor, device: torch.device) -> str:
        if not self._loss.takes or self._config.teacher_layer:
            return self._config.teacher_layer
        return default_layers(network, self._normalise(images[:2].to(device))).maps or ""
