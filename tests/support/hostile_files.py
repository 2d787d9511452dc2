"""Files that somebody made to do harm, or that were damaged on their way: a generator for each kind that kdviz opens.

Each is made anew from a good file by the same seeds: cut off, with changed bytes, with a header that lies, with content
of another kind under its name, or with what its format can do and kdviz must not (code in a pickle, a path in a zip).
"""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save

EXPLODED = "exploded"
"""The file that appears in the working folder where code of a hostile file is run."""


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {EXPLODED}",)


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """(Name, content) of files of all kinds but zips of experiments."""
    for name, good in good_files().items():
        stem, _, ending = name.rpartition(".")
        yield from ((f"{stem}-{how}.{ending}", content) for how, content in damaged(good))
    yield from _pictures()
    yield from _weights()
    yield from _tables()
    yield from _texts()


def good_files() -> dict[str, bytes]:
    """A file of each kind that can be opened."""
    image = Image.fromarray(np.arange(28 * 28 * 3, dtype=np.int64).astype(np.uint8).reshape(28, 28, 3))
    files = {f"picture.{ending}": _encoded(image, kind) for ending, kind in _PICTURES.items()}
    tensors = {"fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)}
    return {
        **files,
        "weights.safetensors": save(tensors),
        "weights.pt": _torch(tensors),
        "predictions.npz": _npz(logits=np.zeros((5, 3), np.float32), labels=np.zeros(5, np.int64)),
        "predictions.npy": _npy(np.zeros((5, 3), np.float32)),
        "predictions.csv": b"a,b,c\n1,2,3\n4,5,6\n",
        "table.parquet": _parquet(pa.table({"image": [b"x"], "label": [1]})),
        "model.onnx": _onnx(),
        "regions.json": json.dumps(
            {
                "images": [{"id": 7, "file_name": "a.png", "height": 10, "width": 20}],
                "annotations": [{"image_id": 7, "bbox": [3, 2, 5, 4]}],
            }
        ).encode(),
        "regions.csv": b"file,x,y,width,height\na.png,3,2,5,4\n",
        "regions.xml": b"<annotation><filename>a.png</filename><size><width>20</width><height>10</height></size>"
        b"<object><bndbox><xmin>4</xmin><ymin>3</ymin><xmax>8</xmax><ymax>6</ymax></bndbox></object></annotation>",
        "recipe.toml": b'temperature = 4\nalpha = 0.5\n\n[about]\ntitle = "T"\npaper = "P"\ndiffers = "D"\n',
    }


def damaged(good: bytes) -> Iterator[tuple[str, bytes]]:
    """A file with what happens to files: nothing left, a part left, other bytes, something else altogether."""
    yield "empty", b""
    yield "head", good[:12]
    yield "half", good[: len(good) // 2]
    yield "tail", good[-(len(good) // 2) :]
    yield "but-one", good[:-1]
    yield "zeros", bytes(len(good))
    yield "longer", good + b"\0" * 100_000
    yield "twice", good * 2
    random = np.random.default_rng(len(good))
    for number in range(4):
        content = bytearray(good)
        for place in random.integers(0, len(good), 1 + len(good) // 200):
            content[place] ^= int(random.integers(1, 256))
        yield f"changed{number}", bytes(content)
    yield "huge-counts", good[:16] + b"\xff" * 8 + good[24:]
    yield "pickle", pickle.dumps(Bomb())
    yield "polyglot", good + _zip({"archive/data.pkl": pickle.dumps(Bomb()), "archive/version": b"3\n"})


def hostile_zips(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """(Name, content) of zips of an experiment that lead out, lie, or are far too large.

    Args:
        files: The experiment's files by name.
    """
    plain = {"compression": zipfile.ZIP_DEFLATED}
    for number, name in enumerate(
        [
            "../experiment.json",
            "/tmp/kdviz-hostile.json",
            "a/../../../x.parquet",
            "C:\\x.parquet",
            "\\\\host\\x.parquet",
        ]
    ):
        yield f"slip{number}", _zip({**files, name: b"{}"}, **plain)
    yield "bomb", _zip({**files, "big.safetensors": bytes(100_000_000)}, **plain)
    yield "nested", _zip({"experiment.json": _zip(files, **plain)}, **plain)
    yield "many", _zip({f"{number}.parquet": b"" for number in range(30_000)})
    yield "pickled", _zip({**files, "predictions.parquet": pickle.dumps(Bomb())})
    yield (
        "weights",
        _zip({name: pickle.dumps(Bomb()) if name.endswith("safetensors") else c for name, c in files.items()}),
    )
    yield "document", _zip({**files, "experiment.json": b"[" * 1_000_000}, **plain)
    for kind, name in ((stat.S_IFLNK, "link"), (stat.S_IFIFO, "pipe")):
        yield name, _zip(files, special=("predictions.parquet", kind | 0o777), **plain)
    good = _zip(files, **plain)
    yield from damaged(good)
    encrypted = bytearray(good)
    encrypted[6] |= 1
    yield "encrypted", bytes(encrypted)


_PICTURES = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "tif": "TIFF", "webp": "WEBP", "bmp": "BMP"}


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(width: int, height: int, rows: bytes, more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + more + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def png_in_chunks(count: int) -> bytes:
    """A PNG of 8 x 8 pixels with so many empty chunks, of which a reader takes each in turn."""
    return _png(8, 8, zlib.compress(bytes(72)), _chunk(b"abCd", b"") * count)


def _pictures() -> Iterator[tuple[str, bytes]]:
    yield "huge.png", _png(2**31 - 1, 2**31 - 1, zlib.compress(b""))
    yield "wide.png", _png(40_000_000, 1, zlib.compress(bytes(40_000_001)))
    yield "text-bomb.png", _png(8, 8, zlib.compress(bytes(72)), _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))))
    yield (
        "profile-bomb.png",
        _png(8, 8, zlib.compress(bytes(72)), _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8)))),
    )
    yield "chunks.png", png_in_chunks(1_500_000)
    yield "more-data.png", _png(8, 8, zlib.compress(bytes(10**8)))
    progressive = _encoded(Image.new("L", (1000, 1000)), "JPEG", progressive=True)
    last, end = progressive.rindex(b"\xff\xda"), progressive.rindex(b"\xff\xd9")
    yield "scans.jpg", progressive[:end] + progressive[last:end] * 30_000 + progressive[end:]
    yield (
        "animated.gif",
        _encoded(
            Image.new("P", (64, 64)),
            "GIF",
            save_all=True,
            append_images=[Image.new("P", (64, 64), n) for n in range(200)],
        ),
    )
    yield "vector.png", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield "postscript.jpg", b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%touch exploded) (w) file\n"
    yield "float.tif", _encoded(Image.fromarray(np.full((6300, 6300), 7, np.float32)), "TIFF", compression="tiff_lzw")
    yield "loop.tif", struct.pack("<2sHIHI", b"II", 42, 8, 0, 8)


def _weights() -> Iterator[tuple[str, bytes]]:
    def safetensors(header: object, size: int | None = None, data: bytes = b"") -> bytes:
        text = json.dumps(header).encode() if not isinstance(header, bytes) else header
        return struct.pack("<Q", len(text) if size is None else size) + text + data

    yield "header-size.safetensors", safetensors({}, 2**62)
    yield (
        "offsets.safetensors",
        safetensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, None, b"1234"),
    )
    yield (
        "negative.safetensors",
        safetensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}, None, b"1234"),
    )
    yield "deep.safetensors", safetensors(b"[" * 100_000)
    yield "names.safetensors", save({"\u202e\x00" * 50: torch.zeros(2), "../../x": torch.zeros(2)})
    yield "nan.safetensors", save({"fc.weight": torch.full((3, 4), float("nan")), "fc.bias": torch.zeros(3)})
    yield "bomb.pt", _torch(Bomb())
    yield "bomb.pth", pickle.dumps({"state_dict": Bomb()})
    yield "module.pt", _torch(torch.nn.Linear(3, 4))
    yield "zip.pt", _zip({"archive/data.pkl": pickle.dumps(Bomb()), "archive/version": b"3\n", "../x": b""})
    for name, content in damaged(b"\x08\x07\x12\x04test" + bytes(200)):
        yield f"model-{name}.onnx", content
    yield "length.onnx", b"\x3a\xff\xff\xff\xff\x0f" + bytes(100)


def _tables() -> Iterator[tuple[str, bytes]]:
    yield "objects.npy", _npy(np.array([Bomb()], dtype=object), allow_pickle=True)
    yield "objects.npz", _npz(logits=np.array([Bomb()], dtype=object))
    yield "large.npy", _npy(np.zeros((1, 1))).replace(b"(1, 1)", b"(9999999, 999999)"[:6])
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000), }"
    yield "lies.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    yield "code.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 40) + b"{'descr': __import__('os').system('x')} \n"
    # found by tests/integration/test_any_text.py
    yield "brackets.npy", b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': F5, 3), }".ljust(117) + b"\n"
    yield "bomb.npz", _zip({"logits.npy": _npy(np.zeros(1))[:-8] + bytes(10**8)}, compression=zipfile.ZIP_DEFLATED)
    yield "texts.csv", b"=cmd|' /C calc'!A0,\x00,\xff\n" * 50
    yield "wide.csv", b"1," * 200_000 + b"\n"
    yield "infinite.csv", b"a,b\nnan,inf\n1e400,-1e400\n"
    deep = pa.array([[[[[[1]]]]]])
    yield "deep.parquet", _parquet(pa.table({"image": deep}))
    yield "repeated.parquet", _parquet(pa.table({"image": pa.array(["x" * 100] * 200_000).dictionary_encode()}))


def _texts() -> Iterator[tuple[str, bytes]]:
    yield "deep.toml", b"a = " + b"[" * 50_000
    yield "number.toml", b"temperature = " + b"9" * 5000
    yield "kinds.toml", b"temperature = [1]\nalpha = {}\nepochs = 'x'\n"
    yield "path.toml", b'data = "/etc"\nout = "../../outside"\nresults = "/tmp/x"\n'
    yield "infinite.toml", b"temperature = inf\nalpha = nan\n"
    for number, content in enumerate(_regions()):
        yield f"regions-{number}.json", content
    yield (
        "entities.xml",
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY %c "%s">' % (letter, b"&%c;" % (letter - 1) * 20) for letter in range(98, 110))
        + b"]><annotation><filename>&m;</filename></annotation>",
    )
    yield (
        "file.xml",
        b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>',
    )
    yield "web.xml", b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><annotation/>'
    yield "deep.xml", b"<a>" * 100_000
    yield "numbers.csv", b"file,x,y,width,height\na.png,nan,-1e400,inf,99999999999999999999\n../../a.png,0,0,1,1\n"
    yield "surrogate.toml", b'loss = "\\ud800"\n'


def _regions() -> Iterator[bytes]:
    """Regions in COCO's form that are no regions."""
    image = {"id": 7, "file_name": "a.png", "height": 10, "width": 20}
    for annotation in (
        {"bbox": [float("nan"), 0, 1, 1]},
        {"bbox": [0, 0, 1e308, 1e308]},
        {"bbox": ["1", None, {}, []]},
        {"bbox": [10**400, 0, 1, 1]},
        {"segmentation": {"counts": [10**18], "size": [10, 20]}},
        {"segmentation": {"counts": "\ud800" * 9, "size": [10, 20]}},
        {"segmentation": {"counts": "P" * 10**6, "size": [10**9, 10**9]}},
        {"segmentation": [[0, 0, 1e9, 0, 1e9, 1e9]]},
        {"segmentation": [[0, 0]] * 50_000},
    ):
        yield json.dumps({"images": [image], "annotations": [{"image_id": 7, **annotation}]}).encode()
    for changed in ({"file_name": "../../../etc/passwd"}, {"height": 10**12, "width": 10**12}, {"file_name": "\0"}):
        images = [{**image, **changed}]
        yield json.dumps({"images": images, "annotations": [{"image_id": 7, "bbox": [0, 0, 1, 1]}]}).encode()
    yield b'{"a":' * 100_000
    yield b'{"images": ' + b"[" * 100_000


def _onnx() -> bytes:
    from onnx import TensorProto, helper

    kind, shapes = TensorProto.FLOAT, (("x", [None, 1, 4, 4]), ("y", [None, 16]))
    given, answer = (helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes)
    graph = helper.make_graph([helper.make_node("Flatten", ["x"], ["y"])], "g", [given], [answer])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def _torch(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def _npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _zip(
    files: dict[str, bytes], compression: int = zipfile.ZIP_STORED, special: tuple[str, int] | None = None
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if special is not None:
            entry = zipfile.ZipInfo(special[0])
            entry.external_attr = special[1] << 16
            archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def everything_below(folder: Path) -> dict[Path, int]:
    """Every file below a folder with its size."""
    return {path: path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()}
