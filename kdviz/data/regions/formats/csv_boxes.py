"""Boxes in a CSV file with a header: one box a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kdviz.core.errors import DatasetError
from kdviz.data.labels.csv_files import read_header, read_rows
from kdviz.data.regions.formats.coordinates import box_of_corners, box_of_size, numbers_of
from kdviz.data.regions.regions import DrawnRegion

_PICTURE = ("picture", "file", "filename", "file_name", "image", "name", "path")
_SIZES = (("x", "y", "width", "height"),)
_CORNERS = (("x_min", "y_min", "x_max", "y_max"), ("xmin", "ymin", "xmax", "ymax"))


def read_csv_boxes(path: Path) -> Iterator[DrawnRegion]:
    """The boxes of a file with the columns picture, x, y, width, height, or picture, x_min, y_min, x_max, y_max.

    Raises:
        DatasetError: The file has other columns, or a value is no number.
    """
    header = read_header(path)
    picture = next((name for name in _PICTURE if name in header), None)
    columns = next((names for names in (*_SIZES, *_CORNERS) if set(names) <= set(header)), None)
    if picture is None or columns is None:
        raise DatasetError(
            "'{path}' is no table of boxes: it needs the columns picture, x, y, width and height, or picture, x_min, "
            "y_min, x_max and y_max.",
            path=path,
        )
    make = box_of_size if columns in _SIZES else box_of_corners
    for name, *texts in read_rows(path, (picture, *columns)):
        yield DrawnRegion(name, (make(numbers_of(texts, name), name),), source=path.name)
