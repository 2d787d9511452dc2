"""ImageNet's 1,000 classes: their WordNet ids, their usual order and their names. Nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

COUNT = 1000

WNID = re.compile(r"n\d{8}")
"""The id of a noun in WordNet, as ImageNet's folders are called."""

_SYNSETS, _LEMMAS = "imagenet_synsets.txt", "imagenet_synset_to_lemma.txt"


@dataclass(frozen=True)
class ImageNet:
    """What the installed libraries know about ImageNet.

    Attributes:
        wnids: WordNet ids of the 1,000 classes, in their usual order; empty without timm.
        lemmas: WordNet id -> the words of its synset, such as ``tench, Tinca tinca``, for more than the 1,000 classes;
            empty without timm.
        names: Names of each of the 1,000 classes, one text a library; ``words`` gives the single words.
    """

    wnids: tuple[str, ...]
    lemmas: dict[str, str]
    names: tuple[tuple[str, ...], ...]

    def words(self, number: int) -> set[str]:
        """All names of class ``number``."""
        return {word for name in self.names[number] for word in synonyms(name)}


@lru_cache(maxsize=1)
def imagenet() -> ImageNet:
    """ImageNet's classes, from timm's tables and from the categories of torchvision's weights."""
    wnids, lemmas = synsets()
    short = _read_torchvision()
    long = [lemmas.get(wnid, "") for wnid in wnids] or [""] * COUNT
    names = tuple(tuple(name for name in sources if name) for sources in zip(long, short, strict=True))
    return ImageNet(wnids, lemmas, names)


def synonyms(name: str) -> tuple[str, ...]:
    """Split a synset's text into its words.

    >>> synonyms("tench, Tinca tinca")
    ('tench', 'Tinca tinca')
    """
    return tuple(word.strip() for word in name.split(",") if word.strip())


def wnid_of(name: str) -> str:
    """The WordNet id with which a name starts or ends (``n01440764``, ``crane (n03126707)``); empty if there is none.

    >>> wnid_of("crane (n03126707)")
    'n03126707'
    """
    words = re.split(r"[\s,_()\-]+", name.strip(" ()"))
    return next((word for word in (words[0], words[-1]) if WNID.fullmatch(word)), "")


def short_name(wnid: str) -> str:
    """The first word of a synset; the id itself if the synset is not known."""
    return next(iter(synonyms(synsets()[1].get(wnid, ""))), wnid)


def distinct(names: Sequence[str], wnids: Sequence[str] = ()) -> tuple[str, ...]:
    """The names, with the WordNet id appended where several classes of ImageNet share one: there are two cranes.

    Args:
        names: Names of classes.
        wnids: WordNet ids of the same classes.
    """
    imagenet_classes = imagenet()
    all_names = [short_name(wnid) for wnid in imagenet_classes.wnids]
    ambiguous = {name for name in all_names if all_names.count(name) > 1} | {
        name for name in names if names.count(name) > 1
    }
    return tuple(
        f"{name} ({wnid})" if name in ambiguous and name != wnid else name
        for name, wnid in zip(names, wnids, strict=True)
    )


@lru_cache(maxsize=1)
def synsets() -> tuple[tuple[str, ...], dict[str, str]]:
    """``wnids`` and ``lemmas`` of :class:`ImageNet`, without importing a library; both are empty without timm."""
    folder = _folder_of("timm")
    try:
        assert folder is not None
        tables = folder / "data" / "_info"
        wnids = tuple((tables / _SYNSETS).read_text(encoding="utf-8").split())
        lines = (tables / _LEMMAS).read_text(encoding="utf-8").splitlines()
    except (AssertionError, OSError, ValueError):
        return (), {}
    lemmas = dict(line.split("\t", 1) for line in lines if "\t" in line)
    return (wnids, lemmas) if len(wnids) == COUNT else ((), {})


def _folder_of(package: str) -> Path | None:
    """Folder of an installed package, found without importing it, which takes seconds for timm."""
    spec = find_spec(package)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _read_torchvision() -> tuple[str, ...]:
    from torchvision.models import ResNet18_Weights

    names = tuple(ResNet18_Weights.DEFAULT.meta["categories"])
    return names if len(names) == COUNT else ("",) * COUNT
