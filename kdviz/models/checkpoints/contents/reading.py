"""Files of tensors: safetensors, and what ``torch.save`` wrote.

Nothing is run, and nothing is unpacked to much more than its size.
"""

from __future__ import annotations

import pickletools
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from kdviz.core.errors import ModelError
from kdviz.models.checkpoints import refusals
from kdviz.models.checkpoints.metadata.inert import ALLOWED
from kdviz.models.checkpoints.refusals import FOREIGN

EXPANSION = 20  # a file that unpacks to more than this many times its size
SMALL = 64 * 2**20  # is refused, unless it is small all the same
_HEAD = 512
_MOST_PICKLE = 256 * 2**20  # of an archive's description, which is read as a whole
_one_at_a_time = threading.Lock()  # torch's list of allowed objects is one for all threads


def head_of(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, and its size.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return file.read(_HEAD), size
    except (OSError, ValueError) as error:
        raise refusals.unreadable(path, error) from error


def is_safetensors(path: Path, head: bytes, size: int) -> bool:
    """By its name or its header."""
    return path.suffix == ".safetensors" or (head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the texts beside them.

    Raises:
        ModelError: It is damaged, or no such file.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            return tensors, dict(file.metadata() or {})
    except Exception as error:  # its reader raises SafetensorError, and torch's and Python's own for odd contents
        raise FOREIGN["safetensors"](path) from error


def is_script(path: Path) -> bool:
    """Whether it is an archive of TorchScript."""
    try:
        with zipfile.ZipFile(path) as archive:
            return kind_of_archive(archive.namelist()) == "torchscript"
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def read_torch(path: Path, head: bytes, size: int) -> Any:
    """What ``torch.save`` wrote: tensors, plain values, and stand-ins for harmless objects (see ``inert``).

    Tensors may be mapped from the file.

    Raises:
        ModelError: It is damaged, holds other objects, or unpacks to far more than its size.
    """
    mapped = head.startswith(b"PK\3\4") and _is_stored(path, size)
    try:
        with _only_allowed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own old formats
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise _why_not(path, str(error)) from error


@contextmanager
def _only_allowed() -> Iterator[None]:
    """``torch.load`` takes :data:`ALLOWED` and its own list, and not what others in the process have let in."""
    with _one_at_a_time:
        others = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals([(made, name) for name, made in ALLOWED.items()])
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(others)


def _why_not(path: Path, message: str) -> ModelError:
    named = re.search(r"GLOBAL ([\w.]+)", message)
    if named:
        whole = outermost_class(path)
        return refusals.whole_model(path, whole) if whole else refusals.unknown_object(path, named[1])
    if "Unsupported operand" in message and _start_of_pickle(path)[1:2] in (b"\3", b"\4", b"\5"):
        return FOREIGN["protocol"](path)
    if ".tar format" in message:
        return FOREIGN["old_torch"](path)
    return FOREIGN["torch"](path)


def outermost_class(path: Path) -> str:
    """The class of the object that an archive of ``torch.save`` is as a whole; empty for dictionaries and the like.

    The pickle is only taken apart: the first thing it does is to name the class.
    """
    try:
        steps = pickletools.genops(_start_of_pickle(path))
        first, name = next((code.name, str(value)) for code, value, _ in steps if code.name != "PROTO")
    except (StopIteration, ValueError):
        return ""
    known = ("collections OrderedDict", *(" ".join(name.rsplit(".", 1)) for name in ALLOWED))
    if first != "GLOBAL" or name in known or name.startswith("torch._utils"):
        return ""
    return name.replace(" ", ".")


def _start_of_pickle(path: Path) -> bytes:
    """Of the pickle in an archive of ``torch.save``; empty when it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.partition("/")[2] == "data.pkl")
            with archive.open(name) as file:
                return file.read(4096)
    except (zipfile.BadZipFile, OSError, StopIteration, ValueError, NotImplementedError):
        return b""


def _is_stored(path: Path, size: int) -> bool:
    """Whether the files in an archive of ``torch.save`` are not compressed, as it writes them.

    Raises:
        ModelError: It is no such archive, or unpacks to far more than its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FOREIGN["cut"](path) from error
    kind = kind_of_archive([entry.filename for entry in entries])
    if kind != "checkpoint":
        raise FOREIGN[kind](path)
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max(SMALL, EXPANSION * size):
        raise refusals.unpacks_too_far(path, size, unpacked)
    if any(entry.filename.endswith("data.pkl") and entry.file_size > _MOST_PICKLE for entry in entries):
        raise FOREIGN["torch"](path)
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def kind_of_archive(names: list[str]) -> str:
    """``checkpoint`` for what ``torch.save`` wrote, else a key of ``refusals.FOREIGN``, by the files inside."""
    inner = {name.partition("/")[2] for name in names}
    rules = {
        "exported": any(name.endswith("archive_format") for name in names)
        or "serialized_exported_program.json" in names,
        "torchscript": "constants.pkl" in inner or any(name.startswith("code/") for name in inner),
        "checkpoint": "data.pkl" in inner,
        "keras": any(name.endswith(".weights.h5") for name in names),
        "tensorflow": any(name.endswith("saved_model.pb") for name in names),
        "coreml": any(name.endswith(".mlmodel") for name in names),
        "numpy": bool(names) and all(name.endswith(".npy") for name in names),
        "archive": any(name.endswith(_WEIGHTS) for name in names),
    }
    return next((kind for kind, holds in rules.items() if holds), "zip")


_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".onnx", ".tar", ".h5")


# tensors --------------------------------------------------------------------------------------------------------------


def require_plain(path: Path, tensors: dict[str, Any], size: int) -> dict[str, Tensor]:
    """The tensors of a state dict without gradients; ``size`` is that of their files, in bytes.

    Raises:
        ModelError: One is quantised, sparse, elsewhere than on the CPU or no tensor, or together they would be far
            larger than their files: a view can say that it has any shape.
    """
    for name, value in tensors.items():
        if (isinstance(value, Tensor) and value.is_quantized) or "_packed_params" in str(name):
            raise refusals.quantised(path, str(name))
        if not isinstance(name, str) or not _is_plain(value):
            kind = f"{value.layout} on {value.device}" if isinstance(value, Tensor) else type(value).__name__
            raise refusals.odd_entry(path, name, kind)
    taken = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if taken > max(SMALL, EXPANSION * size):
        raise refusals.unpacks_too_far(path, size, taken)
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _is_plain(value: object) -> bool:
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not (value.is_quantized or value.is_nested)
