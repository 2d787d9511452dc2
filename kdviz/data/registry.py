"""Registry of data sets: title, reader and usual training of each.

Each data set is declared once, in a file of :mod:`kdviz.data.sets` or in a plugin; the command line, the lists and
training are derived from that. A declaration does not import torch: its reader does, when it is called. The data sets
of a library need no declaration each: :data:`libraries` finds them by their names there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import UnknownNameError
from kdviz.core.registry import Registry
from kdviz.core.vocabulary import Split

if TYPE_CHECKING:
    from kdviz.data.samples import LabelledImages


@dataclass(frozen=True)
class Recipe:
    """The usual training on a data set.

    Attributes:
        teacher, student: Names of the networks.
        pretrained: Whether the networks start from ImageNet weights.
        epochs, teacher_epochs: Passes over the training split.
        batch_size: Samples per step.
        learning_rate, learning_rate_schedule, optimizer, weight_decay: See :class:`kdviz.distill.TrainingConfig`.
        trainable: Which weights are trained; see :class:`kdviz.distill.TrainingConfig`.
        augment, views: Augmentation of the training pictures, and its fixed views, likewise.
    """

    teacher: str
    student: str
    pretrained: bool
    epochs: int
    teacher_epochs: int
    batch_size: int
    learning_rate: float = 1e-3
    trainable: str = "all"
    learning_rate_schedule: str = "constant"
    optimizer: str = "adam"
    weight_decay: float = 0.0
    augment: str = ""
    views: int = 0

    def for_networks(self, teachers: Sequence[str], student: str) -> Recipe:
        """The recipe for these networks: other ones than its own get the usual optimiser, as rates are a network's own.

        Args:
            teachers: Names of the teachers; empty: the recipe's own.
            student: Name of the student; empty: the recipe's own.
        """
        if set(teachers) <= {self.teacher, "self"} and student in ("", self.student):
            return self
        usual = {item.name: item.default for item in fields(self) if item.name in _OF_THE_NETWORK}
        return replace(self, **usual)


_OF_THE_NETWORK = ("learning_rate", "learning_rate_schedule", "optimizer", "weight_decay")

TRANSFER = Recipe("timm/resnetv2_50", "torchvision/mobilenet_v2", True, 30, 30, 32, trainable="head")
"""The paper's transfer learning: ResNet50V2 into MobileNetV2, frozen backbones, batches of 32."""


@dataclass(frozen=True)
class DataSet:
    """A data set that can be named.

    Attributes:
        title: Title of an experiment on it.
        description: One sentence, for lists and help texts.
        read: ``read(data, size=(height, width), channels=channels, **options)`` -> its splits. ``data`` is the folder
            that the user names, or None. A data set to train on has the splits ``train``, ``validation`` and ``test``.
        recipe: The usual training; None: it cannot be trained on.
        input: Keyword arguments for the networks' :class:`kdviz.models.inputs.InputSpec`; None: the input that the
            student's pretrained weights expect.
        needs_folder: Whether ``data`` must be given. Otherwise the data are downloaded, or come with kdviz.
        options: Options of ``read`` that the command line can pass, such as ``groups``.
        bundled: Name of the data set whose samples come with kdviz and are never trained on.
        title_of: The title for splits that were read, where it is not always ``title``.
        of_data: ``of_data(data, size=(height, width) or None, **options)`` -> the declaration for these data, where
            recipe and input depend on the pictures. ``recipe`` is then only one of those that are possible.
        read_split: ``read_split(split, data, size, channels=channels, prepare=None or a function)`` -> one official
            split alone; None: only all of them together can be read.
        site: Returns the site that it is downloaded from, for people; None: not known.
    """

    title: str
    description: str
    read: Callable[..., dict[str, LabelledImages]]
    recipe: Recipe | None = None
    input: Mapping[str, Any] | None = None
    needs_folder: bool = True
    options: tuple[str, ...] = ()
    bundled: str = ""
    title_of: Callable[[Mapping[str, LabelledImages]], str] | None = None
    of_data: Callable[..., DataSet] | None = None
    read_split: Callable[..., LabelledImages] | None = None
    site: Callable[[], str] | None = None


@dataclass(frozen=True)
class DataSetLibrary:
    """A library whose data sets can be trained on, by the names ``LIBRARY/NAME``.

    Attributes:
        description: One line for the user.
        find: The declaration of a data set by its name in the library; it raises an error for any other name.
        names: The names of its data sets; None: only ``find`` knows them.
    """

    description: str
    find: Callable[[str], DataSet]
    names: Callable[[], Sequence[str]] | None = None


LISTED = "datasets"
"""What ``kdviz list`` is told to list data sets."""

datasets: Registry[DataSet] = Registry("data set", "kdviz.data.sets", listed=LISTED)

libraries: Registry[DataSetLibrary] = Registry("library of data sets", "kdviz.data.libraries")


def is_in_library(name: str) -> bool:
    """Whether a name has the form ``LIBRARY/NAME``, of a library that is known."""
    library, _, member = name.partition("/")
    return bool(member) and library in libraries


def find_dataset(name: str) -> DataSet:
    """The declaration of a data set to train on, by its name or as ``LIBRARY/NAME``.

    Raises:
        UnknownNameError: There is no such data set to train on.
    """
    if is_in_library(name):
        library, _, member = name.partition("/")
        return libraries[library].find(member)
    entry = datasets.get(name)
    if entry is None or entry.recipe is None:
        raise UnknownNameError("data set", name, trainable_names(), LISTED, named_datasets())
    return entry


def trainable_datasets() -> list[str]:
    """The names of the data sets that can be trained on, sorted, since a registry's order depends on imports."""
    return sorted(name for name in datasets if datasets[name].recipe is not None)


def trainable_names() -> list[str]:
    """What can be trained on, as it is written: names, and the forms of those of libraries."""
    return [*trainable_datasets(), *(f"{library}/NAME" for library in libraries)]


def named_datasets() -> list[str]:
    """The names of all that can be trained on, also those of each library that knows its own."""
    named = {library: libraries[library].names for library in libraries}
    members = [f"{library}/{name}" for library, names in named.items() if names is not None for name in names()]
    return [*trainable_datasets(), *members]


def bundled_samples(dataset: str) -> LabelledImages | None:
    """The samples of a data set that come with kdviz and are never trained on; None if there are none.

    Args:
        dataset: Name of a data set, known or not.

    Raises:
        DatasetError: The bundled samples are damaged.
    """
    entry = datasets.get(dataset)
    if entry is None or not entry.bundled:
        return None
    return datasets[entry.bundled].read(None)[Split.BUNDLED]
