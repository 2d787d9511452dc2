"""Recognition of files of other kinds by their first bytes, or by their names if the bytes tell nothing."""

from __future__ import annotations

import re
from pathlib import Path

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF", "hdf5"),
    (4, b"TFL3", "tflite"),
    (4, b"ORTM", "ort"),
    (0, b"GGUF", "gguf"),
    (0, b"lmgg", "gguf"),
    (0, b"tjgg", "gguf"),
    (0, b"version https://git-lfs", "lfs"),
    (0, b"\x93NUMPY", "numpy"),
    (0, b"ftrt", "tensorrt"),
    (0, b"\x12\x01\0\0\0\0\0\0", "mxnet"),
    (0, b"\x1f\x8b", "archive"),  # gzip
    (0, b"BZh", "archive"),
    (0, b"\xfd7zXZ", "archive"),
    (0, b"\x28\xb5\x2f\xfd", "archive"),  # Zstandard
    (0, b"7z\xbc\xaf\x27\x1c", "archive"),
    (0, b"Rar!", "archive"),
    (0, b"\x89PNG", "picture"),
    (0, b"\xff\xd8\xff", "picture"),
    (0, b"GIF8", "picture"),
    (0, b"%PDF", "picture"),
)
_ENDINGS = {
    ".mlmodel": "coreml",
    ".pb": "tensorflow",
    ".meta": "tensorflow",
    ".index": "tensorflow",
    ".msgpack": "flax",
    ".engine": "tensorrt",
    ".plan": "tensorrt",
    ".trt": "tensorrt",
    ".pdparams": "paddle",
    ".pdmodel": "paddle",
    ".pdiparams": "paddle",
    ".caffemodel": "caffe",
    ".params": "mxnet",
}
_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # magic number of torch's format before zip archives
_TORCH_TAR = (b"pickle", b"storages", b"sys_info", b"tensors")


def foreign_kind(path: Path, head: bytes) -> str:
    """A key of ``refusals.FOREIGN`` for a file that holds no weights for torch or ONNX; empty when it may.

    Args:
        path: Path of the file; its ending may count.
        head: Its first 512 bytes, or all.
    """
    if not head:
        return "empty"
    for start, signature, kind in _SIGNATURES:
        if head.startswith(signature, start):
            return kind
    if head[257:262] == b"ustar":
        return "old_torch" if head[:100].rstrip(b"\0/") in _TORCH_TAR else "archive"
    return _text_kind(head) or _pickle_kind(path, head) or _flax_kind(head) or _by_ending(path, head)


def _text_kind(head: bytes) -> str:
    try:
        text = head.decode("utf-8").lstrip("\ufeff \r\n\t").lower()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # otherwise the last character is cut off
            return ""
        text = head[: error.start].decode("utf-8").lstrip().lower()
    if re.search(r"[\x00-\x08\x0e-\x1f]", text) or not text:
        return ""
    if text.startswith(("<!doctype html", "<html", "<head")):
        return "html"
    return "openvino" if text.startswith("<") and "<net " in text else "text"


def _pickle_kind(path: Path, head: bytes) -> str:
    if head[:1] != b"\x80" or head[1:2] not in (b"\2", b"\3", b"\4", b"\5") or head.startswith(_TORCH):
        return ""
    return _ENDINGS.get(path.suffix, "pickle")  # PaddlePaddle's weights are also pickles


def _flax_kind(head: bytes) -> str:
    """``flax`` for MessagePack: a map whose first key is a text."""
    is_map = 0x81 <= head[0] <= 0x8F and head[1:2] and (0xA1 <= head[1] <= 0xBF or head[1] == 0xD9)
    return "flax" if is_map else ""


def _by_ending(path: Path, head: bytes) -> str:
    if path.name.partition(".data-")[2][:5].isdigit():
        return "tensorflow"
    return "" if head.startswith((b"PK\3\4", _TORCH)) else _ENDINGS.get(path.suffix.lower(), "")
