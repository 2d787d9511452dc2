"""A model's file or folder, and pictures, that somebody sent: out of the browser onto the disk, and no further.

Nothing here reads what a file holds beyond its first bytes: that is done by another process, see bring_job.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from kdviz.app import limits
from kdviz.app.uploads import unpacking
from kdviz.app.uploads.unpacking import Sent
from kdviz.core.errors import ExperimentError, ModelError
from kdviz.data.labels.label_files import LABEL_FILES
from kdviz.data.pictures import is_picture
from kdviz.models.checkpoints.onnx_files import is_onnx

MOST_PICTURES = 20_000
_TABLES = (".csv", ".tsv")
_GROUPS = "groups.csv"
_LARGEST_DIRECTORY = 8_000_000  # bytes of a zip's list of so many pictures
_OF_A_FOLDER = (".json", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".txt")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_MOST_IN_A_FOLDER = 256
_HEAD = 4096
_CONFIG = "config.json"


@contextmanager
def sent_pictures(files: Sequence[tuple[str, bytes]]) -> Iterator[list[Sent]]:
    """The pictures and tables of labels in what was sent: files, those of a folder with their paths, or a zip.

    Raises:
        ExperimentError: A name leads out of its folder, a zip is refused, or there is no picture.
    """
    name, content = files[0]
    if len(files) == 1 and name.lower().endswith(".zip"):
        with unpacking.zip_files(content, MOST_PICTURES, _LARGEST_DIRECTORY) as entries:
            yield _wanted(entries)
    else:
        yield _wanted([unpacking.from_memory(path, data) for path, data in files])


def _wanted(sent: Sequence[Sent]) -> list[Sent]:
    wanted = [one for one in unpacking.meant(sent) if is_picture(one.name) or one.name.lower().endswith(_TABLES)]
    if not any(is_picture(one.name) for one in wanted):
        raise ExperimentError("There are no pictures in what was sent; send PNG or JPEG files, or a zip of them.")
    return wanted


def data_in(folder: Path) -> Path:
    """Where the data are: in the only folder of a folder, or a table of another name than kdviz gives it."""
    inside = list(folder.iterdir())
    while len(inside) == 1 and inside[0].is_dir():
        folder = inside[0]
        inside = list(folder.iterdir())
    tables = [path for path in inside if path.suffix.lower() in _TABLES and path.name != _GROUPS]
    return tables[0] if len(tables) == 1 and tables[0].name not in LABEL_FILES else folder


def _plain(source: str) -> str:
    """A file's name without anything that leads elsewhere."""
    name = re.sub(r"[^\w.() +-]", "_", PurePosixPath(source.replace("\\", "/")).name).lstrip(".")
    return name[-120:] or "model"


def written_model(place: Path, source: str, content: bytes) -> Path:
    """Keep a model's file, or what is in a zip of a folder.

    Args:
        place: A folder to be made; it is gone if the file is refused.
        source: What the person calls it.
        content: Its bytes.

    Returns:
        Its file, or its folder.

    Raises:
        KdvizError: It is refused.
    """
    try:
        if _is_folder(source, content):
            return _unpacked_model(place, source, content)
        place.mkdir(parents=True)
        path = place / _plain(source)
        if is_onnx(path, content[:_HEAD]):
            _require_onnx(source)
        path.write_bytes(content)
        return path
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise ExperimentError(f"'{source}' cannot be written on the server: {error.strerror or error}.") from error
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def written_size(source: str, content: bytes) -> int:
    """Bytes that :func:`written_model` takes on the disk.

    Raises:
        ExperimentError: It is a zip that is refused.
    """
    if not _is_folder(source, content):
        return len(content)
    with unpacking.zip_files(content, _MOST_IN_A_FOLDER) as entries:
        return sum(one.size for one in entries)


def _require_onnx(source: str) -> None:
    if not limits.onnx_allowed():
        command = shlex.join(["kdviz", "import", "--out", "models/mine", "--teacher", source])
        raise ModelError(
            f"'{source}' is an ONNX file, which this server does not take from others; import it in a terminal with: "
            f"{command}"
        )


def _is_folder(source: str, content: bytes) -> bool:
    """Whether it is a zip of a folder, and not one that torch.save wrote."""
    return source.lower().endswith(".zip") and b"/data.pkl" not in content[:_HEAD]


def _unpacked_model(place: Path, source: str, content: bytes) -> Path:
    with unpacking.zip_files(content, _MOST_IN_A_FOLDER) as entries:
        sent = [one for one in unpacking.meant(entries) if one.name.lower().endswith(_OF_A_FOLDER)]
        weights = [one for one in sent if one.name.lower().endswith(_WEIGHTS)]
        settings = sorted(
            (one.folder for one in sent if one.name == _CONFIG), key=lambda one: one.count("/") + bool(one)
        )
        if not weights:
            raise ModelError(f"'{source}' holds no weights; send a file of them, or a zip of save_pretrained's folder.")
        if not settings and len(weights) > 1:
            raise ModelError(
                f"'{source}' holds several files of weights and no config.json; send the one that is meant."
            )
        here = settings[0] if settings else weights[0].folder
        chosen = [one for one in sent if one.folder == here]
        folder = place / _plain(source.removesuffix(".zip"))
        flat = [Sent(one.name, one.size, one.open) for one in chosen]
        unpacking.write_files(flat, folder, _MOST_IN_A_FOLDER)
    return folder if settings else folder / weights[0].name


def bytes_in(place: Path) -> int:
    """Of all files in a folder."""
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
