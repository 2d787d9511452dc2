"""Reader of torchvision's classification data sets, all of them by the arguments of their classes."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from kdviz.core.errors import DatasetError, ImageError, UnknownNameError
from kdviz.core.files import from_home
from kdviz.core.vocabulary import Split
from kdviz.data.readers.labelled_pictures import Label, LabelledPictures, PicturePart
from kdviz.data.readers.usual_training import declaration_for
from kdviz.data.registry import LISTED, TRANSFER, DataSet
from kdviz.data.samples import LabelledImages

_FIXED: dict[str, dict[str, Any]] = {"EMNIST": {"split": "balanced"}}
"""Arguments that a data set needs and that are no split: EMNIST's 47 classes with equally many pictures."""

_OTHERS = ("VisionDataset", "LSUN", "LSUNClass", "SBU", "WIDERFace", "LFWPairs", "LFWPeople")
"""What the arguments do not tell: no single class a picture, or (LFWPeople) other people in test than in train."""

_FOLDERS = ("ImageFolder", "DatasetFolder")

_SPLITS: dict[str, tuple[str, ...]] = {
    Split.TRAIN: ("train", "train-standard", "trainval"),
    Split.VALIDATION: ("val", "valid", "validation"),
    Split.TEST: ("test",),
}
"""Split -> values of the argument ``split``, in the order of preference."""

_EXAMPLES = 64


def torchvision_set(
    name: str, data: str | Path | None = None, size: tuple[int, int] = (224, 224), *, channels: int = 3, **shares: Any
) -> dict[str, LabelledImages]:
    """Read a classification data set of torchvision, which is downloaded if it is not in its folder.

    Args:
        name: Name of the class in ``torchvision.datasets``.
        data: The folder that torchvision calls ``root``; None: the user's cache.
        size, channels, shares: See :meth:`kdviz.data.readers.labelled_pictures.LabelledPictures.read`.

    Returns:
        The splits ``train``, ``validation`` and ``test``. An official test split is kept; without one, the official
        validation split is the test split. Further splits that are missing are taken from train.

    Raises:
        UnknownNameError: There is no such data set.
        DatasetError: It is not for classification, is damaged, or cannot be downloaded.
        SettingError: A share, the size or the channels are out of range.
    """
    return open_torchvision(name, data).read(size, channels, **shares)


def torchvision_split(
    name: str,
    split: str,
    data: str | Path | None = None,
    size: tuple[int, int] = (224, 224),
    *,
    channels: int = 3,
    prepare: Callable[[Image.Image], Image.Image] | None = None,
) -> LabelledImages:
    """Read one official split of a classification data set of torchvision; see :func:`torchvision_set`.

    Args:
        name, data, size, channels: See :func:`torchvision_set`.
        split: Name of the split.
        prepare: Is applied to each picture before it is fitted to the size.

    Raises:
        DatasetError: It has no such split, is damaged, or cannot be downloaded.
    """
    pictures = open_torchvision(name, data)
    if split not in pictures.parts:
        raise DatasetError("torchvision's {name} has no official split '{split}'.", name=name, split=split)
    return pictures.read_split(split, size, channels, prepare)


def download_site(name: str) -> str:
    """The site from which torchvision downloads a data set, as far as its class says so; else an empty text."""
    url = getattr(_class_of(name), "url", "")
    return urlsplit(url).hostname or "" if isinstance(url, str) else ""


def torchvision_dataset(name: str) -> DataSet:
    """The declaration of a classification data set of torchvision.

    Raises:
        UnknownNameError: There is no such data set.
        DatasetError: It is not for classification.
    """
    _class_of(name)

    def of_data(data: str | Path | None, size: tuple[int, int] | None = None) -> DataSet:
        return declaration_for(entry, open_torchvision(name, data), size)

    entry = DataSet(
        title=name,
        description=f"torchvision's {name}.",
        read=partial(torchvision_set, name),
        recipe=TRANSFER,
        needs_folder=False,
        of_data=of_data,
        read_split=partial(torchvision_split, name),
        site=partial(download_site, name),
    )
    return entry


@cache
def classification_sets() -> dict[str, type]:
    """Name -> class of torchvision's data sets in which each picture has one class."""
    return {name: kind for name, kind in _all_sets().items() if _is_for_classification(name, kind)}


def open_torchvision(name: str, data: str | Path | None = None) -> LabelledPictures:
    """Open a classification data set of torchvision without decoding it; see :func:`torchvision_set`."""
    root = Path.home() / ".cache" / "kdviz" if data is None else from_home(data)
    kind = _class_of(name)
    sources = {split: (part, _open(name, kind, root, given)) for split, (part, given) in _parts_of(kind).items()}
    labelled = {split: source for split, source in sources.items() if _is_labelled(name, *source)}
    notes = []
    if Split.TEST not in labelled and Split.VALIDATION in labelled:
        labelled[Split.TEST] = labelled.pop(Split.VALIDATION)
        notes.append(f"{name} has no test split with labels: its split '{labelled[Split.TEST][0]}' is the test split.")
    if Split.TRAIN not in labelled:
        raise _not_for_classification(name)
    parts = {split: _part(*source) for split, source in labelled.items()}
    class_names = {_class_names(dataset) for _, dataset in labelled.values()}
    if len(class_names) > 1:
        raise DatasetError(
            "The splits of torchvision's {name} in '{root}' have different classes; remove it there, so that it is "
            "downloaded again.",
            name=name,
            root=root,
        )
    return LabelledPictures(f"torchvision's {name}", parts, class_names.pop(), tuple(notes))


# classes of torchvision -----------------------------------------------------------------------------------------------


def _class_of(name: str) -> type:
    known = classification_sets()
    if name in known:
        return known[name]
    if name in _FOLDERS:
        raise DatasetError("torchvision's {name} reads any folder; train on it with: kdviz train folder", name=name)
    if name in _all_sets():
        raise _not_for_classification(name)
    raise UnknownNameError("torchvision data set", name, known, LISTED)


def _not_for_classification(name: str) -> DatasetError:
    return DatasetError(
        "torchvision's {name} cannot be trained on: its pictures do not have one class each, in a training split; "
        "choose one of: {names}.",
        name=name,
        names=", ".join(sorted(classification_sets())),
    )


@cache
def _all_sets() -> dict[str, type]:
    from torchvision import datasets

    members = {name: getattr(datasets, name) for name in datasets.__all__}
    return {name: kind for name, kind in members.items() if isinstance(kind, type)}


def _arguments(kind: type) -> dict[str, inspect.Parameter]:
    """The arguments of a class, with those of its bases where it passes further ones on."""
    arguments: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__[:-1]:
        if "__init__" not in vars(base):
            continue
        own = dict(inspect.signature(vars(base)["__init__"]).parameters)
        arguments = {**own, **arguments}
        if not any(argument.kind is argument.VAR_KEYWORD for argument in own.values()):
            break
    return arguments


def _is_for_classification(name: str, kind: type) -> bool:
    """Whether the arguments are those of pictures with one label each.

    Other data sets take annotation files or further required arguments, transform picture and target together
    (``transforms``), or have targets that are no category.
    """
    arguments = _arguments(kind)
    given = ("self", "root", *_FIXED.get(name, ()))
    required = [
        argument
        for argument in arguments.values()
        if argument.default is argument.empty and argument.kind is argument.POSITIONAL_OR_KEYWORD
    ]
    target = arguments.get("target_type", arguments.get("target_types"))
    is_category = target is not None and target.default in ("category", "full")
    return (
        name not in (*_OTHERS, *_FOLDERS)
        and {"root", "target_transform"} <= arguments.keys()
        and all(argument.name in given for argument in required)
        and (is_category or (target is None and "transforms" not in arguments))
    )


@cache
def _parts_of(kind: type) -> dict[str, tuple[str, dict[str, Any]]]:
    """Split -> torchvision's name of it, and the arguments that choose it."""
    arguments, fixed = _arguments(kind), _FIXED.get(kind.__name__, {})
    if "train" in arguments:
        return {
            Split.TRAIN: ("train", {**fixed, "train": True}),
            Split.TEST: ("test", {**fixed, "train": False}),
        }
    if "split" not in arguments:
        return {Split.TRAIN: ("all", fixed)}
    with tempfile.TemporaryDirectory() as empty:
        accepted = {
            split: next((value for value in values if _accepts(kind, value, empty)), None)
            for split, values in _SPLITS.items()
        }
    return {split: (value, {"split": value}) for split, value in accepted.items() if value is not None}


def _accepts(kind: Callable[..., Any], split: str, empty: str) -> bool:
    """Whether a class takes this split, by its error for an empty folder: another split is a ValueError."""
    try:
        kind(empty, split=split)
    except ValueError:
        return False
    except Exception:  # the data are missing, which each class reports in its own way
        return True
    return True


# data -----------------------------------------------------------------------------------------------------------------


def _open(name: str, kind: Callable[..., Any], root: Path, given: Mapping[str, Any]) -> Any:
    """A split of a data set; it is downloaded if it is not in its folder, or not whole."""
    can_download = "download" in _arguments(kind)  # type: ignore[arg-type]
    try:
        return kind(str(root), **given, **({"download": False} if can_download else {}))
    except Exception as error:  # missing and damaged files are whatever their reading raises
        if not can_download:
            raise DatasetError(
                "torchvision's {name} cannot be read from '{root}' ({reason}), and torchvision cannot download it; put "
                "its files there as torchvision's documentation says, or name another folder with --data.",
                name=name,
                root=root,
                reason=_reason(error),
            ) from error
    try:
        return kind(str(root), **given, download=True)
    except Exception as error:
        raise DatasetError(
            "torchvision's {name} is missing or damaged in '{root}' and cannot be downloaded ({reason}); remove what "
            "is damaged and check the network, or put its files there.",
            name=name,
            root=root,
            reason=_reason(error),
        ) from error


def _reason(error: Exception) -> str:
    """The first line of an error's text, without its full stop."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".: ")


def _is_labelled(name: str, part: str, dataset: Any) -> bool:
    """Whether a split has labels.

    Raises:
        DatasetError: It is empty, or its items are not pictures with one label each.
    """
    if not len(dataset):
        raise DatasetError("The split '{part}' of torchvision's {name} has no pictures.", part=part, name=name)
    try:
        item = dataset[0]
    except Exception as error:
        raise DatasetError(
            "torchvision cannot read the first picture of the split '{part}' of {name} ({reason}); remove its files, "
            "so that they are downloaded again.",
            part=part,
            name=name,
            reason=_reason(error),
        ) from error
    if not (isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Image.Image)):
        raise _not_for_classification(name)
    if item[1] is None:
        return False
    try:
        _label(item[1])
    except (TypeError, ValueError) as error:
        raise _not_for_classification(name) from error
    return True


def _label(value: Any) -> Label:
    return value if isinstance(value, str) else int(value)


def _part(name: str, dataset: Any) -> PicturePart:
    count = len(dataset)

    def pictures(indices: range) -> Iterator[Any]:
        return (partial(_item, dataset, name, index) for index in indices)

    few = range(0, count, max(1, count // _EXAMPLES))
    return PicturePart(name, count, partial(pictures, range(count)), partial(pictures, few))


def _item(dataset: Any, part: str, index: int) -> tuple[Image.Image, Label]:
    try:
        picture, label = dataset[index]
        return picture, _label(label)
    except Exception as error:  # a damaged file is whatever Pillow or the data set's own reader raises
        raise ImageError("{name} cannot be read ({reason}).", name=f"{part}/{index}", reason=_reason(error)) from error


def _class_names(dataset: Any) -> tuple[str, ...] | None:
    """The class names in the order of the labels, where a data set has them."""
    numbers = getattr(dataset, "class_to_idx", None)
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    if not names and isinstance(numbers, dict):
        names = sorted(numbers, key=numbers.__getitem__)
    if not isinstance(names, (list, tuple)):
        return None
    return tuple(name if isinstance(name, str) else ", ".join(name) for name in names)  # ImageNet's have synonyms
