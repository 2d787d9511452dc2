"""Label Studio: a JSON list of tasks, each with the results of annotators."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdviz.core.errors import DatasetError
from kdviz.data.regions.formats.coordinates import box_of_size, numbers_of, polygon_of, size_of
from kdviz.data.regions.regions import DrawnRegion
from kdviz.data.regions.shapes import Shape

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file
_PERCENT = 100.0


def is_label_studio(document: Any) -> bool:
    first = document[0] if isinstance(document, list) and document else None
    return isinstance(first, dict) and "data" in first and ("annotations" in first or "completions" in first)


def read_label_studio(document: Sequence[Any], source: str) -> Iterator[DrawnRegion]:
    """The rectangles and polygons of every annotator; annotations that were cancelled do not count.

    Raises:
        DatasetError: A task has no picture, regions were painted with a brush, or one cannot be understood.
    """
    try:
        for task in document:
            name = _picture_of(task)
            for annotation in task.get("annotations", task.get("completions", ())):
                if not annotation.get("was_cancelled"):
                    yield from _results(annotation["result"], name, source)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DatasetError(
            "'{source}' looks like Label Studio's JSON, but a task in it has no form that Label Studio describes; "
            "export it again.",
            source=source,
        ) from error


def _picture_of(task: Mapping[str, Any]) -> str:
    data = task["data"]
    address = str(data["image" if "image" in data else min(data)])
    name = address.partition("?d=")[2] or address  # of a file in a folder of the server
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{_UPLOADED.sub('', file)}"


def _results(results: Sequence[Mapping[str, Any]], name: str, source: str) -> Iterator[DrawnRegion]:
    for result in results:
        kind = str(result.get("type", ""))
        if kind.startswith("brush"):
            raise DatasetError(
                "The region of '{name}' was painted with a brush, which Label Studio's JSON packs in its own way; "
                "export it as PNG masks instead.",
                name=name,
            )
        size = size_of(result.get("original_height"), result.get("original_width"))
        if kind.startswith(("rectangle", "polygon")) and size is not None:
            shape = _rectangle if kind.startswith("rectangle") else _polygon
            yield DrawnRegion(name, (shape(result["value"], size, name),), size, source)


def _rectangle(value: Mapping[str, Any], size: tuple[int, int], name: str) -> Shape:
    """The box, or where it is turned about its upper left corner, its polygon."""
    left, top, width, height, angle = numbers_of(
        [value["x"], value["y"], value["width"], value["height"], value.get("rotation") or 0], name
    )
    x_unit, y_unit = size[1] / _PERCENT, size[0] / _PERCENT
    box = box_of_size((left * x_unit, top * y_unit, width * x_unit, height * y_unit), name)
    if not angle:
        return box
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    across, down = box.right - box.left, box.bottom - box.top
    corners = [(0.0, 0.0), (across, 0.0), (across, down), (0.0, down)]
    turned = [(box.left + x * cos - y * sin, box.top + x * sin + y * cos) for x, y in corners]
    return polygon_of([number for point in turned for number in point], name)


def _polygon(value: Mapping[str, Any], size: tuple[int, int], name: str) -> Shape:
    numbers = numbers_of([number for point in value["points"] for number in point], name)
    units = (size[1] / _PERCENT, size[0] / _PERCENT)
    return polygon_of([number * units[index % 2] for index, number in enumerate(numbers)], name)
