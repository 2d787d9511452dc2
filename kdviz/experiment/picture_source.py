"""Where the pictures of an experiment come from that may not be passed on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kdviz.core.vocabulary import Split
from kdviz.experiment.checking import Checker
from kdviz.experiment.values import SHORT, text_problem

_MOST_OPENING = 100

FIELD = "picture_source"
"""Name of the field in experiment.json."""


@dataclass(frozen=True)
class PictureSource:
    """The data set whose pictures an experiment shows once they have been fetched.

    Attributes:
        dataset: Its name, such as ``torchvision/CIFAR10``.
        split: The split, which has predictions.
        site: The site that it is downloaded from, for people; empty if it is not known.
        megabytes: Size of the download; 0 if it is not known.
        jpeg_quality: If not 0, the models were trained and measured on copies as JPEG of this quality, and fetched
            pictures are copied in the same way.
    """

    dataset: str
    split: str = Split.TEST
    site: str = ""
    megabytes: int = 0
    jpeg_quality: int = 0

    def to_json(self) -> dict[str, Any]:
        """Its fields, without those that are not known."""
        return {name: value for name, value in asdict(self).items() if value}


def picture_source(check: Checker, document: Mapping[str, Any]) -> PictureSource | None:
    """Read the field ``picture_source`` of experiment.json; None without it.

    Raises:
        ExperimentError: It is not valid.
    """
    entry = document.get(FIELD)
    if entry is None:
        return None
    check.that(isinstance(entry, dict), FIELD, "must be an object")
    prefix = f"{FIELD}."
    numbers = [entry.get(name, 0) for name in ("megabytes", "jpeg_quality")]
    check.that(type(numbers[0]) is int and 0 <= numbers[0] < 10**7, f"{prefix}megabytes", "must be a whole number")
    is_quality = type(numbers[1]) is int and 0 <= numbers[1] <= 100
    check.that(is_quality, f"{prefix}jpeg_quality", "must be a whole number from 0 to 100")
    split = check.optional_text(entry, "split", prefix) or str(Split.TEST)
    return PictureSource(
        check.text(entry, "dataset", prefix), split, check.optional_text(entry, "site", prefix), *numbers
    )


def opening_pictures(check: Checker, document: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the field ``opening_pictures``, names of photographs that belong to no data set.

    Raises:
        ExperimentError: It is no list of texts.
    """
    names = document.get("opening_pictures", [])
    is_valid = isinstance(names, list) and len(names) <= _MOST_OPENING and all(isinstance(name, str) for name in names)
    check.that(is_valid, "opening_pictures", "must be a list of texts")
    for number, name in enumerate(names):
        check.refuse(f"opening_pictures[{number}]", text_problem(name, SHORT))
    return tuple(names)
