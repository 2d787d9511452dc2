"""Small colour pictures whose class a network learns in a few steps, and folders of them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from kdviz.data import LabelledImages
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import InputSpec

SMALL_RGB = InputSpec((32, 32), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLASSES = ("blue", "green", "red")
TINTS = torch.tensor([[40, 60, 200], [40, 200, 60], [200, 60, 40]])


def coloured(count: int, seed: int = 0, split: str = "train", classes: tuple[str, ...] = CLASSES) -> LabelledImages:
    """Noise with a tint for each class, in turn; uint8 (count, 3, 32, 32)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(classes)
    noise = torch.randint(-40, 40, (count, 3, 32, 32), generator=generator)
    images = (TINTS[labels][:, :, None, None] + noise).clamp(0, 255).to(torch.uint8)
    names = tuple(f"{split}/{number:03}.png" for number in range(count))
    return LabelledImages(images, labels, classes, split, names)


def coloured_splits(train: int = 24, validation: int = 12, test: int = 12) -> dict[str, LabelledImages]:
    counts = {"train": train, "validation": validation, "test": test}
    return {split: coloured(count, seed, split) for seed, (split, count) in enumerate(counts.items())}


def plant_tree(folder: Path, splits: dict[str, LabelledImages]) -> Path:
    """The pictures as files: split/class/number.png."""
    for split, samples in splits.items():
        for number, label in enumerate(samples.labels.tolist()):
            path = folder / split / samples.classes[label] / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples.picture(number).save(path)
    return folder


def network(name: str, seed: int = 0, classes: int = 3, spec: InputSpec = SMALL_RGB) -> nn.Module:
    """A network of torchvision or kdviz, in evaluation mode."""
    return new_network(name, spec, classes, seed).eval()


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of its tensors."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: nn.Module) -> set[str]:
    """The names of the tensors that are not what they were."""
    return {name for name, value in after.state_dict().items() if not torch.equal(before[name], value)}


def same(first: nn.Module, second: nn.Module) -> bool:
    return not changed(state_of(first), second)
