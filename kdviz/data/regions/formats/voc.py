"""Pascal VOC: an XML file for each picture, with boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from kdviz.core.errors import DatasetError
from kdviz.data.regions.formats.coordinates import box_of_corners, numbers_of, size_of
from kdviz.data.regions.regions import DrawnRegion
from kdviz.data.regions.shapes import Box

_EDGES = ("xmin", "ymin", "xmax", "ymax")


def is_voc(root: Element) -> bool:
    return root.tag == "annotation"


def read_voc(root: Element, path: Path) -> Iterator[DrawnRegion]:
    """The boxes of a picture; nothing where no object was marked.

    Pixels are counted from 1 and both edges belong to the box (VOC 2012 development kit, section 8.3).

    Raises:
        DatasetError: An object has no box.
    """
    name = (root.findtext("filename") or "").strip() or path.stem
    boxes = tuple(_box(marked, name) for marked in root.iter("object"))
    if boxes:
        size = size_of(root.findtext("size/height"), root.findtext("size/width"))
        yield DrawnRegion(name, boxes, size, path.name)


def _box(marked: Element, name: str) -> Box:
    texts = [marked.findtext(f"bndbox/{edge}") for edge in _EDGES]
    if None in texts:
        raise DatasetError("An object of '{name}' has no bndbox with {edges}.", name=name, edges=", ".join(_EDGES))
    left, top, right, bottom = numbers_of(texts, name)
    return box_of_corners((left - 1, top - 1, right, bottom), name)
