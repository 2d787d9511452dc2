"""A teacher's logits for the fixed views of the training samples, computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kdviz.core.files import Store
from kdviz.data import LabelledImages
from kdviz.distill.augment import Augment
from kdviz.distill.augment.views import view_of
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.objective import Normalise
from kdviz.distill.prediction import predict_logits
from kdviz.distill.storage.run_files import read_array, write_array


def view_logits(
    teacher: Callable[[], nn.Module],
    name: str,
    samples: LabelledImages,
    normalise: Normalise,
    config: TrainingConfig,
    store: Store,
) -> list[Tensor]:
    """The logits of one teacher for each view that is seen, float32 (N, classes) each.

    Args:
        teacher: Makes the network, in evaluation mode; only called where logits are missing.
        name: Begin of the names of its files in the store.
        samples: The training samples.
        normalise: uint8 (N, C, H, W) -> the network's input.
        config: The recipe of the student, with ``views``.
        store: Where they are kept.
    """
    augment = Augment(config.augment, len(samples.classes))
    stem = f"{name}-{samples.fingerprint[:8]}-{'+'.join(augment.names)}"
    network: nn.Module | None = None
    logits = []
    for view in range(config.seen_views):
        file_name = f"{stem}-{view:04d}.npy"
        if not store.has(file_name):
            network = network or teacher()
            seen = replace(samples, images=view_of(samples.images, augment, view))
            answers = predict_logits(network, seen, normalise, device=config.device, bf16=config.bf16)
            write_array(store, file_name, answers)
        logits.append(read_array(store, file_name))
    return logits


def of_several(logits: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Teacher -> view -> logits as one tensor a view, (N, classes), or (teachers, N, classes) for several teachers."""
    if len(logits) == 1:
        return list(logits[0])
    return [torch.stack(list(views)) for views in zip(*logits, strict=True)]
