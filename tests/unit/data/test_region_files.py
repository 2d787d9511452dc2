"""Readers of regions: one small region in every form, and input that cannot be used."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kdviz.core.errors import DatasetError, ImageError
from kdviz.data.regions import FileSizes, read_regions
from kdviz.data.regions.formats import documents
from kdviz.data.regions.shapes import Box, Polygon, RunLengths

SIZES = {"lesions/a.png": (10, 20), "lesions/b.jpg": (10, 20)}
EXPECTED = np.zeros((10, 20), bool)
EXPECTED[2:6, 3:8] = True


def coco(**annotation):
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 10, "width": 20}],
        "annotations": [{"image_id": 7, "bbox": [3, 2, 5, 4], **annotation}],
    }


def runs(mask):
    """Run lengths of a flat mask, the first run outside, by a loop."""
    counts, value = [0], False
    for pixel in mask:
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def voc(box="<xmin>4</xmin><ymin>3</ymin><xmax>8</xmax><ymax>6</ymax>", head=""):
    size = "<size><width>20</width><height>10</height></size>"
    bndbox = f"<object><name>x</name><bndbox>{box}</bndbox></object>"
    return f"{head}<annotation><filename>a.png</filename>{size}{bndbox}</annotation>"


def cvat(shape):
    return f'<annotations><image id="0" name="a.png" width="20" height="10">{shape}</image></annotations>'


def label_studio(kind, **value):
    result = {"type": kind, "original_width": 20, "original_height": 10, "value": value}
    return [{"data": {"image": "/data/upload/1/0a1b2c3d-a.png"}, "annotations": [{"result": [result]}]}]


BOX_PERCENT = {"x": 15, "y": 20, "width": 25, "height": 40}
POLYGON_PERCENT = {"points": [[15, 20], [40, 20], [40, 60], [15, 60]]}
CORNERS = [3, 2, 8, 2, 8, 6, 3, 6]
COCO_RUNS = {"counts": runs(EXPECTED.T.ravel()), "size": [10, 20]}
CVAT_RUNS = "0,20"
FORMS = {
    "csv sizes": "picture,x,y,width,height\na.png,3,2,5,4\n",
    "csv corners": "image, x_min, y_min, x_max, y_max\nlesions/a.png,3,2,8,6\n",
    "csv in parts": "picture,x,y,width,height\na.png,3,2,5,2\na.png,3,4,5,2\n",
    "coco box": json.dumps(coco()),
    "coco polygon": json.dumps(coco(segmentation=[CORNERS])),
    "coco runs": json.dumps(coco(segmentation=COCO_RUNS)),
    "voc": voc(),
    "cvat box": cvat('<box xtl="3" ytl="2" xbr="8" ybr="6"/>'),
    "cvat polygon": cvat('<polygon points="3,2;8,2;8,6;3,6"/>'),
    "cvat mask": cvat(f'<mask rle="{CVAT_RUNS}" left="3" top="2" width="5" height="4"/>'),
    "label studio box": json.dumps(label_studio("rectanglelabels", **BOX_PERCENT)),
    "label studio polygon": json.dumps(label_studio("polygonlabels", **POLYGON_PERCENT)),
    "label studio turned": json.dumps(
        label_studio("rectangle", x=40, y=20, width=20, height=50, rotation=90)  # 4 by 5 pixels about (8, 2)
    ),
}


def write(folder, content, name="regions"):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_the_same_region_in_every_form(form, tmp_path):
    regions = read_regions(write(tmp_path, FORMS[form]), SIZES)
    assert regions.names == ("lesions/a.png",)
    assert regions.missing == 1
    assert (regions.mask("lesions/a.png") == EXPECTED).all()
    assert regions.notes == ("1 picture has no region.",)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "black on nothing"])
def test_masks_of_every_mode(mode, tmp_path):
    (tmp_path / "lesions").mkdir()
    grey = EXPECTED.astype(np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(EXPECTED.astype(np.uint16))
    elif mode == "black on nothing":
        picture = Image.fromarray(np.stack([0 * grey] * 3 + [255 * grey], -1))
    elif mode in ("RGBA", "LA"):
        colours = 3 if mode == "RGBA" else 1
        picture = Image.fromarray(np.stack([grey] * colours + [255 * grey], -1), mode)
    else:
        picture = Image.fromarray(grey * (255 if mode == "1" else 1)).convert(mode)
    if mode == "P":
        picture.putpalette([0, 0, 0, 9, 9, 9])
    picture.save(tmp_path / "lesions" / "a.png")
    regions = read_regions(tmp_path, SIZES)
    assert (regions.mask("lesions/a.png") == EXPECTED).all()


def test_masks_beside_the_pictures(tmp_path):
    folder = tmp_path / "lesions"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.new("L", (20, 10), 200).save(folder / name)
    Image.fromarray(EXPECTED).save(folder / "a_mask.png")
    regions = read_regions(tmp_path, SIZES)
    assert regions.names == ("lesions/a.png",)
    assert (regions.mask("lesions/a.png") == EXPECTED).all()


def test_a_folder_of_voc_files(tmp_path):
    write(tmp_path, voc(), "a.xml")
    write(tmp_path, voc().replace("a.png", "b.jpg"), "b.xml")
    write(tmp_path, "<annotation><filename>c.png</filename></annotation>", "c.xml")
    assert read_regions(tmp_path, SIZES).names == tuple(SIZES)


def test_sizes_are_those_of_upright_pictures(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    Image.new("L", (30, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert FileSizes({"a": tmp_path / "a.jpg"})["a"] == (30, 10)


@pytest.mark.parametrize("seed", range(8))
def test_polygons_hold_the_pixels_whose_centres_are_inside(seed):
    generator = np.random.default_rng(seed)
    points = generator.uniform(-3, 23, (int(generator.integers(3, 8)), 2))
    mask = np.zeros((18, 20), bool)
    Polygon(tuple(map(tuple, points.tolist()))).draw(mask, "a")
    expected = [[_is_inside(x + 0.5, y + 0.5, points) for x in range(20)] for y in range(18)]
    assert (mask == np.array(expected)).all()


def _is_inside(x, y, points):
    """Whether a ray to the right crosses an odd number of edges."""
    inside = False
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def test_shapes_that_are_partly_outside_are_clipped():
    mask = np.zeros((4, 5), bool)
    Box(-3, -3, 2, 1).draw(mask, "a")
    RunLengths((0, 9), (3, 3), left=4, top=3).draw(mask, "a")
    assert mask.nonzero()[0].tolist() == [0, 0, 3]
    assert mask.nonzero()[1].tolist() == [0, 1, 4]


def test_run_lengths_go_along_rows_or_down_columns():
    for by_column, expected in ((False, [[0, 1, 1], [1, 0, 0]]), (True, [[0, 1, 0], [1, 1, 0]])):
        mask = np.zeros((2, 3), bool)
        RunLengths((1, 3, 2), (2, 3), by_column).draw(mask, "a")
        assert (mask == np.array(expected, bool)).all(), by_column


@pytest.mark.parametrize(
    ("names", "pictures", "expected"),
    [
        (["train/1.png", "test/1.png"], ["test/1"], {"test/1": "test/1.png"}),
        (["C:\\me\\a.tif"], ["x/a.png"], {"x/a.png": "C:\\me\\a.tif"}),
        (["https://host/x/a%20b.png?v=1"], ["a b.png"], {"a b.png": "https://host/x/a%20b.png?v=1"}),
        (["a", "lesion.1"], ["a.png", "lesion.1.png"], {"a.png": "a", "lesion.1.png": "lesion.1"}),
    ],
)
def test_which_picture_is_meant(names, pictures, expected, tmp_path):
    rows = "\n".join(f'"{name}",0,0,1,1' for name in names)
    regions = read_regions(write(tmp_path, f"picture,x,y,width,height\n{rows}\n"), dict.fromkeys(pictures, (4, 4)))
    assert {picture: region.picture for picture, region in regions.drawn.items()} == expected
    assert regions.unknown == tuple(name for name in names if name not in expected.values())


def test_regions_of_no_picture_are_counted(tmp_path):
    path = write(tmp_path, "picture,x,y,width,height\na.png,1,1,1,1\nc.png,1,1,1,1\nd.png,1,1,1,1\n")
    assert read_regions(path, SIZES).notes[1] == "2 regions are of no picture here, such as 'c.png'."


HEAD = "picture,x,y,width,height\n"
REFUSED = {
    "wholly outside": (HEAD + "a.png,20,2,5,4\n", "is wholly outside the picture of 20 x 10"),
    "no extent": (HEAD + "a.png,3,2,0,4\n", "has no extent"),
    "no number": (HEAD + "a.png,3,2,wide,4\n", "coordinates that are no numbers: 3, 2, wide, 4"),
    "not finite": (HEAD + "a.png,3,2,inf,4\n", "no numbers"),
    "strangers": (HEAD + "c.png,3,2,5,4\n", "None of the 1 regions"),
    "other columns": ("picture,x,y\na.png,1,2\n", "is no table of boxes"),
    "no rows": (HEAD, "has a header but no rows"),
    "no text": ("", "is empty"),
    "binary": ("\x00\x01", "is no table of boxes|is not a CSV"),
    "damaged json": ('{"images": [', "is no JSON file that can be read"),
    "deep json": ("[" * 200_000, "is no JSON file that can be read"),
    "other json": ('{"a": 1}', "has no form that is known; kdviz reads masks as PNG"),
    "coco without image": (json.dumps(coco(image_id=8)), "looks like COCO, but an annotation in it lacks its image"),
    "coco compressed": (json.dumps(coco(segmentation={"counts": "d0", "size": [10, 20]})), "compressed run lengths"),
    "coco runs": (json.dumps(coco(segmentation={"counts": [3, 4], "size": [10, 20]})), "add up to 7 pixels"),
    "coco huge runs": (json.dumps(coco(segmentation={"counts": [10**12], "size": [10**6] * 2})), "not whole numbers"),
    "coco line": (json.dumps(coco(segmentation=[[1, 2, 3, 4]])), "has 4 coordinates"),
    "other size": (json.dumps(coco()).replace('"width": 20', '"width": 40'), "40 x 10 pixels, and the picture has 20"),
    "brush": (json.dumps(label_studio("brushlabels", rle=[1])), "painted with a brush"),
    "label studio odd": (json.dumps([{"data": {}, "annotations": []}]), "looks like Label Studio's JSON"),
    "damaged xml": ("<annotation>", "is no XML file that can be read"),
    "other xml": ("<svg/>", "has no form that is known"),
    "entities": (voc(head='<!DOCTYPE x [<!ENTITY a "aaaa">]>'), "declares a document type"),
    "voc without box": (voc("<xmin>4</xmin>"), "has no bndbox with xmin"),
    "cvat without points": (cvat("<polygon/>"), "A polygon of 'a.png' lacks 'points'"),
    "cvat turned": (cvat('<box xtl="3" ytl="2" xbr="8" ybr="6" rotation="30"/>'), "is turned"),
    "cvat nothing": (cvat('<points points="1,2"/>'), "has no regions"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence(case, tmp_path):
    content, message = REFUSED[case]
    path = write(tmp_path, content)
    with pytest.raises(DatasetError, match=message) as refused:
        read_regions(path, SIZES).mask("lesions/a.png")
    assert "\n" not in str(refused.value)


def test_entities_are_refused_in_any_encoding(tmp_path):
    path = tmp_path / "a.xml"
    head = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x SYSTEM "file:///etc/hostname">'
    path.write_bytes(voc(head=head).encode("utf-16"))
    with pytest.raises(DatasetError, match="declares a document type"):
        read_regions(tmp_path, SIZES)


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_BYTES", 10)
    with pytest.raises(DatasetError, match="split the file"):
        read_regions(write(tmp_path, json.dumps(coco())), SIZES)


def test_ambiguous_names_are_refused(tmp_path):
    sizes = dict.fromkeys(["x/a.png", "y/a.png"], (4, 4))
    with pytest.raises(DatasetError, match=r"could be any of the pictures 'x/a\.png', 'y/a\.png'"):
        read_regions(write(tmp_path, HEAD + "a.png,1,1,1,1\n"), sizes)
    with pytest.raises(DatasetError, match=r"Both 'p/a\.png' and 'q/a\.png'"):
        read_regions(write(tmp_path, HEAD + "p/a.png,1,1,1,1\nq/a.png,1,1,1,1\n"), {"a.png": (4, 4)})


def test_masks_that_cannot_be_used(tmp_path):
    Image.fromarray(EXPECTED[:, :9]).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="is for a picture of 9 x 10 pixels, and the picture has 20 x 10"):
        read_regions(tmp_path, SIZES).mask("lesions/a.png")
    with pytest.raises(DatasetError, match="is one picture; name the folder"):
        read_regions(tmp_path / "a.png", SIZES)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    with pytest.raises(ImageError, match="damaged or cut off"):
        read_regions(tmp_path, SIZES).mask("lesions/a.png")
    Image.fromarray(EXPECTED).save(tmp_path / "b.jpeg")
    with pytest.raises(DatasetError, match="is a JPEG"):
        read_regions(tmp_path, SIZES)


def test_folders_without_regions(tmp_path):
    with pytest.raises(DatasetError, match="has no regions; kdviz reads"):
        read_regions(tmp_path, SIZES)
    with pytest.raises(DatasetError, match="There is no file or folder"):
        read_regions(tmp_path / "missing", SIZES)


def test_an_empty_mask_is_empty(tmp_path):
    Image.fromarray(np.zeros_like(EXPECTED)).save(tmp_path / "a.png")
    assert not read_regions(tmp_path, SIZES).mask("lesions/a.png").any()


def test_drawing_agrees_with_pillow_away_from_the_border():
    points = [(3.0, 2.0), (18.0, 5.0), (9.0, 16.0)]
    mask, canvas = np.zeros((20, 20), bool), Image.new("1", (200, 200))
    Polygon(tuple(points)).draw(mask, "a")
    ImageDraw.Draw(canvas).polygon([(10 * x, 10 * y) for x, y in points], fill=1)
    share = np.asarray(canvas).reshape(20, 10, 20, 10).mean((1, 3))
    assert mask[share > 0.7].all()
    assert not mask[share < 0.3].any()
