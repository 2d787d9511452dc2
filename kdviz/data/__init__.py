"""Data sets as tensors in memory: MNIST, the bundled digits, MHIST, torchvision's, and any folder of images.

Images are kept as one ``uint8`` tensor: indexing it is faster than any loader with workers. A tensor larger than
``pictures.IN_MEMORY`` is mapped from a temporary file, of which the system keeps in memory what is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdviz.data.readers.folders import image_folder
    from kdviz.data.readers.mhist import MHIST_CLASSES, MHIST_IMAGES, mhist
    from kdviz.data.readers.mnist import BUNDLED, MNIST_CLASSES, bundled_digits, mnist
    from kdviz.data.readers.parquet import parquet_folder
    from kdviz.data.readers.torchvision_sets import torchvision_set
    from kdviz.data.registry import DataSet, Recipe, datasets
    from kdviz.data.samples import LabelledImages

__all__ = [
    "BUNDLED",
    "MHIST_CLASSES",
    "MHIST_IMAGES",
    "MNIST_CLASSES",
    "DataSet",
    "LabelledImages",
    "Recipe",
    "bundled_digits",
    "datasets",
    "image_folder",
    "mhist",
    "mnist",
    "parquet_folder",
    "torchvision_set",
]

# Imported on first use: the names of the data sets are read without importing torch.
_MODULES = {
    "BUNDLED": "readers.mnist",
    "MHIST_CLASSES": "readers.mhist",
    "MHIST_IMAGES": "readers.mhist",
    "MNIST_CLASSES": "readers.mnist",
    "DataSet": "registry",
    "LabelledImages": "samples",
    "Recipe": "registry",
    "bundled_digits": "readers.mnist",
    "datasets": "registry",
    "image_folder": "readers.folders",
    "mhist": "readers.mhist",
    "mnist": "readers.mnist",
    "parquet_folder": "readers.parquet",
    "torchvision_set": "readers.torchvision_sets",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"kdviz.data.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'kdviz.data' has no attribute '{name}'")
