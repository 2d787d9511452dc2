"""CVAT for images: an XML file with the boxes, polygons and masks of all pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from xml.etree.ElementTree import Element

from kdviz.core.errors import DatasetError
from kdviz.data.regions.formats.coordinates import box_of_corners, numbers_of, polygon_of, run_lengths_of, size_of
from kdviz.data.regions.regions import DrawnRegion
from kdviz.data.regions.shapes import RunLengths, Shape


def is_cvat(root: Element) -> bool:
    return root.tag == "annotations"


def read_cvat(root: Element, source: str) -> Iterator[DrawnRegion]:
    """The regions of every picture; lines, points and tags are none.

    Raises:
        DatasetError: An image has no name, or a shape lacks its coordinates.
    """
    for image in root.iter("image"):
        name = image.get("name", "")
        if not name:
            raise DatasetError("An image in '{source}' has no name.", source=source)
        shapes = tuple(_SHAPES[child.tag](child, name) for child in image if child.tag in _SHAPES)
        if shapes:
            yield DrawnRegion(name, shapes, size_of(image.get("height"), image.get("width")), source)


def _box(shape: Element, name: str) -> Shape:
    if any(numbers_of([shape.get("rotation") or 0], name)):
        raise DatasetError(
            "A box of '{name}' is turned, which kdviz does not read from CVAT; draw a polygon instead.", name=name
        )
    return box_of_corners(numbers_of(_values(shape, ("xtl", "ytl", "xbr", "ybr"), name), name), name)


def _polygon(shape: Element, name: str) -> Shape:
    (points,) = _values(shape, ("points",), name)
    return polygon_of(numbers_of(points.replace(";", ",").split(","), name), name)


def _mask(shape: Element, name: str) -> Shape:
    runs, *corner_and_size = _values(shape, ("rle", "left", "top", "width", "height"), name)
    left, top, width, height = run_lengths_of(corner_and_size, name)
    return RunLengths(run_lengths_of(runs.split(","), name), (height, width), left=left, top=top)


_SHAPES: dict[str, Callable[[Element, str], Shape]] = {"box": _box, "polygon": _polygon, "mask": _mask}


def _values(shape: Element, names: tuple[str, ...], picture: str) -> list[str]:
    missing = [name for name in names if name not in shape.attrib]
    if missing:
        raise DatasetError(
            "A {kind} of '{picture}' lacks '{missing}'.", kind=shape.tag, picture=picture, missing=missing[0]
        )
    return [shape.attrib[name] for name in names]
