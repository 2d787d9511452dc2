"""The declaration of torchvision's classification data sets."""

from __future__ import annotations

from kdviz.data.registry import DataSet, DataSetLibrary, libraries


def find(name: str) -> DataSet:
    """See :func:`kdviz.data.readers.torchvision_sets.torchvision_dataset`."""
    from kdviz.data.readers.torchvision_sets import torchvision_dataset

    return torchvision_dataset(name)


def names() -> list[str]:
    """The names of torchvision's data sets for classification."""
    from kdviz.data.readers.torchvision_sets import classification_sets

    return list(classification_sets())


libraries.add(
    "torchvision",
    DataSetLibrary(
        "Any classification data set of torchvision, such as CIFAR10, FashionMNIST or Flowers102.",
        find,
        names,
    ),
)
