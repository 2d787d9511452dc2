"""Reading of files of tensors: safetensors, and files of ``torch.save``.

No code in a file is run, and nothing is unpacked to much more than its size.
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

EXPANSION = 20  # a file that unpacks to more than this many times its size is refused
SMALL = 64 * 2**20  # unless it unpacks to no more than so many bytes
_HEAD = 512
_MOST_PICKLE = 256 * 2**20  # bytes of an archive's pickle, which is read as a whole
_one_at_a_time = threading.Lock()  # all threads share torch's list of allowed objects


def head_of(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, and its size.

    Raises:
        ModelError: The file cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return file.read(_HEAD), size
    except (OSError, ValueError) as error:
        raise refusals.unreadable(path, error) from error


def is_safetensors(path: Path, head: bytes, size: int) -> bool:
    """Whether a file is safetensors, by its name or its header."""
    return path.suffix == ".safetensors" or (head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors by name, and the texts in its metadata.

    Raises:
        ModelError: The file is damaged, or no safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  the file is no mapping
            return tensors, dict(file.metadata() or {})
    except Exception as error:  # the library raises SafetensorError, and torch's and Python's errors for odd contents
        raise FOREIGN["safetensors"](path) from error


def is_script(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return kind_of_archive(archive.namelist()) == "torchscript"
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def read_torch(path: Path, head: bytes, size: int) -> Any:
    """Read a file of ``torch.save``: tensors, plain values, and stand-ins for harmless objects (see ``inert``).

    Tensors may be mapped from the file.

    Raises:
        ModelError: The file is damaged, holds other objects, or unpacks to far more than its size.
    """
    can_map = head.startswith(b"PK\3\4") and _is_stored(path, size)
    try:
        with _only_allowed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own old formats
            return torch.load(path, map_location="cpu", weights_only=True, mmap=can_map)
    except Exception as error:  # a damaged pickle can raise anything
        raise _explain_failure(path, str(error)) from error


@contextmanager
def _only_allowed() -> Iterator[None]:
    """Restrict ``torch.load`` to :data:`ALLOWED` and its own list, without what other code in the process has added."""
    with _one_at_a_time:
        previous = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals([(stand_in, name) for name, stand_in in ALLOWED.items()])
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(previous)


def _explain_failure(path: Path, message: str) -> ModelError:
    match = re.search(r"GLOBAL ([\w.]+)", message)
    if match:
        class_name = outermost_class(path)
        return refusals.whole_model(path, class_name) if class_name else refusals.unknown_object(path, match[1])
    if "Unsupported operand" in message and _start_of_pickle(path)[1:2] in (b"\3", b"\4", b"\5"):
        return FOREIGN["protocol"](path)
    if ".tar format" in message:
        return FOREIGN["old_torch"](path)
    return FOREIGN["torch"](path)


def outermost_class(path: Path) -> str:
    """The class of the outermost object in an archive of ``torch.save``; empty for dictionaries and the like.

    The pickle is not run, only disassembled: its first instruction names the class.
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
    """The first bytes of the pickle in an archive of ``torch.save``; empty if the file is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.partition("/")[2] == "data.pkl")
            with archive.open(name) as file:
                return file.read(4096)
    except (zipfile.BadZipFile, OSError, StopIteration, ValueError, NotImplementedError):
        return b""


def _is_stored(path: Path, size: int) -> bool:
    """Whether the files in an archive of ``torch.save`` are not compressed, as usual.

    Raises:
        ModelError: The file is no such archive, or unpacks to far more than its size.
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
    """``checkpoint`` for an archive of ``torch.save``, else a key of ``refusals.FOREIGN``, by the files inside."""
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
    """The tensors of a state dict, without gradients; ``size`` is the size of their files in bytes.

    Raises:
        ModelError: An entry is quantised, sparse, not on the CPU or no tensor, or all together would be far larger than
            their files, since a view can claim any shape.
    """
    for name, value in tensors.items():
        if (isinstance(value, Tensor) and value.is_quantized) or "_packed_params" in str(name):
            raise refusals.quantised(path, str(name))
        if not isinstance(name, str) or not _is_plain(value):
            kind = f"{value.layout} on {value.device}" if isinstance(value, Tensor) else type(value).__name__
            raise refusals.odd_entry(path, name, kind)
    memory = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if memory > max(SMALL, EXPANSION * size):
        raise refusals.unpacks_too_far(path, size, memory)
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _is_plain(value: object) -> bool:
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not (value.is_quantized or value.is_nested)
