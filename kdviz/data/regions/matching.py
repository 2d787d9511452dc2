"""Which picture a file of regions means: names are compared as paths, without the endings of picture files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from kdviz.core.errors import DatasetError
from kdviz.core.images import ENDINGS
from kdviz.data.labels.matching import listed
from kdviz.data.regions.regions import DrawnRegion, Regions
from kdviz.data.regions.shapes import Size

_Parts = tuple[str, ...]


def match_regions(drawn: Iterable[DrawnRegion], sizes: Mapping[str, Size], source: str) -> Regions:
    """Give each picture its region: that whose path ends like the picture's for the most folders.

    Several entries under one name are parts of one region.

    Args:
        drawn: The regions, as a file names their pictures.
        sizes: Name -> height and width, of the pictures.
        source: Name of the file or folder, for errors.

    Raises:
        DatasetError: No region is of any picture, or two are of one picture, or one could be of several.
    """
    regions = _joined(drawn)
    matches: dict[str, tuple[int, str]] = {}
    by_end = _by_end(sizes)
    for name in regions:
        shared, pictures = _meant(_parts(name), by_end)
        for picture in pictures:
            _require_one(name, pictures, source)
            matches[picture] = _better((shared, name), matches.get(picture), picture, source)
    if not matches:
        _refuse_strangers(regions, sizes, source)
    used = {name for _, name in matches.values()}
    by_picture = {picture: regions[matches[picture][1]] for picture in sizes if picture in matches}
    return Regions(sizes, by_picture, tuple(name for name in regions if name not in used))


def _joined(drawn: Iterable[DrawnRegion]) -> dict[str, DrawnRegion]:
    joined: dict[str, DrawnRegion] = {}
    for region in drawn:
        before = joined.get(region.picture)
        shapes = region.shapes if before is None else (*before.shapes, *region.shapes)
        joined[region.picture] = DrawnRegion(region.picture, shapes, region.size, region.source)
    return joined


def _parts(name: str) -> _Parts:
    """The folders and the file's name without the ending of a picture; of an address without server and query."""
    path = urlsplit(name).path if "://" in name else name
    parts = PurePosixPath(unquote(path) if "://" in name else path.replace("\\", "/")).parts
    ending = PurePosixPath(parts[-1]).suffix if parts else ""
    return (*parts[:-1], parts[-1].removesuffix(ending)) if ending.lower() in ENDINGS else parts


def _by_end(names: Iterable[str]) -> dict[_Parts, list[str]]:
    """The last parts of a path, of every length -> pictures whose paths end like that."""
    ends: dict[_Parts, list[str]] = {}
    for name in names:
        parts = _parts(name)
        for start in range(len(parts)):
            ends.setdefault(parts[start:], []).append(name)
    return ends


def _meant(parts: _Parts, by_end: Mapping[_Parts, list[str]]) -> tuple[int, list[str]]:
    """How many parts at the end are shared with some picture, and the pictures."""
    for start in range(len(parts)):
        if parts[start:] in by_end:
            return len(parts) - start, by_end[parts[start:]]
    return 0, []


def _require_one(name: str, pictures: Sequence[str], source: str) -> None:
    if len(pictures) > 1:
        raise DatasetError(
            "'{name}' in '{source}' could be any of the pictures {pictures}; name their folders, too.",
            name=name,
            source=source,
            pictures=listed(pictures),
        )


def _better(new: tuple[int, str], old: tuple[int, str] | None, picture: str, source: str) -> tuple[int, str]:
    if old is not None and old[0] == new[0]:
        raise DatasetError(
            "Both '{first}' and '{second}' in '{source}' could be the region of '{picture}'; keep one of them.",
            first=old[1],
            second=new[1],
            source=source,
            picture=picture,
        )
    return new if old is None else max(old, new)


def _refuse_strangers(regions: Mapping[str, DrawnRegion], sizes: Mapping[str, Size], source: str) -> None:
    if not regions:
        raise DatasetError("'{source}' has no regions; name a file or folder with some.", source=source)
    raise DatasetError(
        "None of the {n_regions} regions in '{source}' ({regions}) is of a picture here ({pictures}); name them as the "
        "pictures.",
        n_regions=len(regions),
        source=source,
        regions=listed(list(regions)),
        pictures=listed(list(sizes)[:4]),
    )
