"""COCO: JSON with ``images`` and ``annotations``, of boxes, polygons and run lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdviz.core.errors import DatasetError
from kdviz.data.regions.formats.coordinates import box_of_size, numbers_of, polygon_of, run_lengths_of, size_of
from kdviz.data.regions.regions import DrawnRegion
from kdviz.data.regions.shapes import RunLengths, Shape


def is_coco(document: Any) -> bool:
    return isinstance(document, dict) and {"images", "annotations"} <= document.keys()


def read_coco(document: Mapping[str, Any], source: str) -> Iterator[DrawnRegion]:
    """The annotations, each a segmentation or, without one, a box.

    Raises:
        DatasetError: An annotation is of no image, or cannot be understood.
    """
    try:
        images = {image["id"]: image for image in document["images"]}
        for annotation in document["annotations"]:
            image = images[annotation["image_id"]]
            name, size = str(image["file_name"]), size_of(image.get("height"), image.get("width"))
            yield DrawnRegion(name, _shapes(annotation, name), size, source)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise DatasetError(
            "'{source}' looks like COCO, but an annotation in it lacks its image, or has no form that COCO describes; "
            "export it again.",
            source=source,
        ) from error


def _shapes(annotation: Mapping[str, Any], name: str) -> tuple[Shape, ...]:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return (_run_lengths(segmentation, name),)
    if segmentation:
        return tuple(polygon_of(numbers_of(polygon, name), name) for polygon in segmentation)
    return (box_of_size(numbers_of(annotation["bbox"], name), name),)


def _run_lengths(segmentation: Mapping[str, Any], name: str) -> RunLengths:
    counts = segmentation["counts"]
    if isinstance(counts, str):
        raise DatasetError(
            "The region of '{name}' has compressed run lengths, which kdviz does not read; export them as a list of "
            "numbers, as polygons, or as masks.",
            name=name,
        )
    height, width = segmentation["size"]
    return RunLengths(run_lengths_of(counts, name), (int(height), int(width)), by_column=True)
