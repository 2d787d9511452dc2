"""Reading of regions in any form, which is found from what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kdviz.core.errors import DatasetError, Sentence
from kdviz.core.files import from_home
from kdviz.data.pictures import files_below, is_picture
from kdviz.data.regions.formats.coco import is_coco, read_coco
from kdviz.data.regions.formats.csv_boxes import read_csv_boxes
from kdviz.data.regions.formats.cvat import is_cvat, read_cvat
from kdviz.data.regions.formats.documents import parse_json, parse_xml, read_content
from kdviz.data.regions.formats.label_studio import is_label_studio, read_label_studio
from kdviz.data.regions.formats.masks import read_masks
from kdviz.data.regions.formats.voc import is_voc, read_voc
from kdviz.data.regions.matching import match_regions
from kdviz.data.regions.regions import DrawnRegion, Regions
from kdviz.data.regions.shapes import Size

_FORMS = Sentence("masks as PNG, a CSV file of boxes, COCO or Label Studio JSON, or Pascal VOC or CVAT XML")
_BEFORE_TEXT = b"\xef\xbb\xbf\xfe\xff\x00 \t\r\n"  # byte order marks, and blanks
_DOCUMENTS = (".json", ".xml", ".csv")


def read_regions(path: str | Path, pictures: Mapping[str, Size]) -> Regions:
    """Read the regions that people drew; masks are opened only when they are asked for.

    Args:
        path: A folder of masks, which have the pictures' names or lie beside them as ``NAME_mask.png``; a folder of
            Pascal VOC's XML files; or a file: CSV, COCO or Label Studio JSON, Pascal VOC or CVAT XML.
        pictures: Name -> height and width of the pictures; see :class:`FileSizes`.

    Raises:
        DatasetError: There are no regions of these pictures, a file has no known form or is damaged, or a shape has
            no extent.
    """
    source = from_home(path)
    if source.is_dir():
        return match_regions(_of_folder(source, pictures), pictures, str(path))
    if not source.is_file():
        raise DatasetError("There is no file or folder '{path}' with regions.", path=path)
    return match_regions(_of_file(source), pictures, str(path))


def _of_folder(folder: Path, pictures: Mapping[str, Size]) -> Iterable[DrawnRegion]:
    files = files_below(folder, folder)
    documents = {ending: [name for name in files if name.lower().endswith(ending)] for ending in _DOCUMENTS}
    if documents[".xml"]:
        return (region for name in documents[".xml"] for region in _of_file(folder / name))
    if any(is_picture(name) for name in files):
        return read_masks(folder, pictures)
    single = [*documents[".json"], *documents[".csv"]]
    if len(single) == 1:
        return _of_file(folder / single[0])
    raise DatasetError("'{folder}' has no regions; kdviz reads {forms}.", folder=folder, forms=_FORMS)


def _of_file(path: Path) -> Iterator[DrawnRegion]:
    if is_picture(path.name):
        raise DatasetError("'{path}' is one picture; name the folder with the masks.", path=path)
    content = read_content(path)
    start = content.lstrip(_BEFORE_TEXT)[:1]
    if start == b"<":
        yield from _of_xml(content, path)
    elif start in (b"{", b"["):
        yield from _of_json(content, path)
    else:
        yield from read_csv_boxes(path)


def _of_xml(content: bytes, path: Path) -> Iterator[DrawnRegion]:
    root = parse_xml(content, path)
    if is_voc(root):
        return read_voc(root, path)
    if is_cvat(root):
        return read_cvat(root, path.name)
    raise _unknown(path)


def _of_json(content: bytes, path: Path) -> Iterator[DrawnRegion]:
    document = parse_json(content, path)
    if is_coco(document):
        return read_coco(document, path.name)
    if is_label_studio(document):
        return read_label_studio(document, path.name)
    raise _unknown(path)


def _unknown(path: Path) -> DatasetError:
    return DatasetError("'{path}' has no form that is known; kdviz reads {forms}.", path=path, forms=_FORMS)
