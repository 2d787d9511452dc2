"""Small checkpoints for the tests: a network of four kinds of layers, its state dicts, and files of them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn


class Small(nn.Sequential):
    """Four kinds of tensors: of two and one dimensions, running statistics, and a counter."""

    def __init__(self, classes: int = 3):
        layers = {
            "conv": nn.Conv2d(3, 4, 3),
            "norm": nn.BatchNorm2d(4),
            "flat": nn.Flatten(),
            "fc": nn.Linear(4, classes),
        }
        super().__init__(OrderedDict(layers))


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return Small().state_dict()


STUDENT, TEACHER, AVERAGE = state(1), state(2), state(3)


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def below(prefix: str, tensors) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def saved(folder: Path, content, name: str = "checkpoint.pth", **how) -> Path:
    torch.save(content, folder / name, **how)
    return folder / name


def trained() -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """A network after one step, so that the optimiser has a state."""
    network = Small()
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.rand(2, 3, 3, 3)).sum().backward()
    optimiser.step()
    return network, optimiser, torch.optim.lr_scheduler.StepLR(optimiser, 1)
