"""Logits of a network for many images."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.data import LabelledImages
from kdviz.distill.objectives.objective import Normalise, autocasts

_BATCH_VALUES = 4_000_000  # values of the images in a batch


def autocast(device: torch.device, bf16: str) -> AbstractContextManager[Any]:
    """The autocast of ``bf16`` (``auto``, ``on`` or ``off``) on this device."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocasts(device, bf16))


def predict_logits(
    network: nn.Module, samples: LabelledImages, normalise: Normalise, *, device: str = "auto", bf16: str = "off"
) -> Tensor:
    """Logits of every sample, float32 (N, classes) on the CPU: evaluation mode, no gradient.

    float32 by default: reported results must not depend on the machine's bfloat16.
    """
    torch_device = choose_device(device)
    return batch_logits(network.to(torch_device), samples, normalise, torch_device, bf16)


def to_channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.shape[1] > 1 else inputs


@torch.inference_mode()
def batch_logits(
    network: nn.Module, samples: LabelledImages, normalise: Normalise, device: torch.device, bf16: str
) -> Tensor:
    was_training = network.training
    network.eval()
    # On a CPU, large pictures in large batches cost more time for memory than for arithmetic.
    size = max(8, min(500, _BATCH_VALUES // max(1, samples.images[:1].numel())))
    with autocast(device, bf16):
        logits = [
            network(to_channels_last(normalise(images.to(device)))).float().cpu()
            for images in samples.images.split(size)
        ]
    network.train(was_training)
    return torch.cat(logits).clone()
