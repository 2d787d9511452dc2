"""Changed copies of training images: their registry, one file for each change, and a batch changed by several."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdviz.distill.augment.augment import Augment
    from kdviz.distill.augment.changes.auto import auto
    from kdviz.distill.augment.changes.colour import colour
    from kdviz.distill.augment.changes.crop import crop
    from kdviz.distill.augment.changes.cutmix import cutmix
    from kdviz.distill.augment.changes.erase import erase
    from kdviz.distill.augment.changes.flip import flip
    from kdviz.distill.augment.changes.mixup import mixup
    from kdviz.distill.augment.changes.rand import rand
    from kdviz.distill.augment.changes.rotate90 import rotate90
    from kdviz.distill.augment.changes.shift import shift
    from kdviz.distill.augment.registry import Augmentation, augmentations, register_augmentation

__all__ = [
    "Augment",
    "Augmentation",
    "augmentations",
    "auto",
    "colour",
    "crop",
    "cutmix",
    "erase",
    "flip",
    "mixup",
    "rand",
    "register_augmentation",
    "rotate90",
    "shift",
]

# Imported when first used: the names of the augmentations are read without torch.
_HOMES = {
    "Augment": "augment",
    "Augmentation": "registry",
    "augmentations": "registry",
    "auto": "changes.auto",
    "colour": "changes.colour",
    "crop": "changes.crop",
    "cutmix": "changes.cutmix",
    "erase": "changes.erase",
    "flip": "changes.flip",
    "mixup": "changes.mixup",
    "rand": "changes.rand",
    "register_augmentation": "registry",
    "rotate90": "changes.rotate90",
    "shift": "changes.shift",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
