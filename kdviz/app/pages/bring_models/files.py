"""A model's file or folder, and pictures, that somebody sent: written from the browser to the disk, not opened.

Nothing here reads a file beyond its first bytes; another process does that, see process.py.
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
from kdviz.app.uploads.unpacking import SentFile
from kdviz.core.errors import ExperimentError, ModelError
from kdviz.data.labels.label_files import LABEL_FILES
from kdviz.data.pictures import is_picture
from kdviz.models.checkpoints.onnx_files import is_onnx

MOST_PICTURES = 20_000
_TABLES = (".csv", ".tsv")
_GROUPS = "groups.csv"
_LARGEST_DIRECTORY = 8_000_000  # bytes of the list of files in a zip of so many pictures
_MODEL_FILES = (".json", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".txt")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_MOST_IN_A_FOLDER = 256
_HEAD = 4096  # bytes at the start of a file that are looked at
_CONFIG = "config.json"


@contextmanager
def sent_pictures(files: Sequence[tuple[str, bytes]]) -> Iterator[list[SentFile]]:
    """The pictures and tables of labels in what was sent: files, those of a folder with their paths, or a zip.

    Raises:
        ExperimentError: A name leads out of its folder, a zip is refused, or there is no picture.
    """
    name, content = files[0]
    if len(files) == 1 and name.lower().endswith(".zip"):
        with unpacking.zip_files(content, MOST_PICTURES, _LARGEST_DIRECTORY) as entries:
            yield _pictures_and_tables(entries)
    else:
        yield _pictures_and_tables([unpacking.from_memory(path, data) for path, data in files])


def _pictures_and_tables(files: Sequence[SentFile]) -> list[SentFile]:
    accepted = [
        file for file in unpacking.relevant_files(files) if is_picture(file.name) or file.name.lower().endswith(_TABLES)
    ]
    if not any(is_picture(file.name) for file in accepted):
        raise ExperimentError("There are no pictures in what was sent; send PNG or JPEG files, or a zip of them.")
    return accepted


def data_in(folder: Path) -> Path:
    """The innermost folder that holds all data in ``folder``, or the table of labels in it if there is just one."""
    contents = list(folder.iterdir())
    while len(contents) == 1 and contents[0].is_dir():
        folder = contents[0]
        contents = list(folder.iterdir())
    tables = [path for path in contents if path.suffix.lower() in _TABLES and path.name != _GROUPS]
    return tables[0] if len(tables) == 1 and tables[0].name not in LABEL_FILES else folder


def _plain(source: str) -> str:
    """A file's name without anything that leads elsewhere."""
    name = re.sub(r"[^\w.() +-]", "_", PurePosixPath(source.replace("\\", "/")).name).lstrip(".")
    return name[-120:] or "model"


def written_model(target: Path, source: str, content: bytes) -> Path:
    """Write a model's file, or the files in a zip of a folder, to the disk.

    Args:
        target: A folder to make; it is removed again if the file is refused.
        source: The name that the person gave to it.
        content: The bytes of the file.

    Returns:
        The path of the file, or of the folder.

    Raises:
        KdvizError: The file is refused.
    """
    try:
        if _is_folder(source, content):
            return _unpacked_model(target, source, content)
        target.mkdir(parents=True)
        path = target / _plain(source)
        if is_onnx(path, content[:_HEAD]):
            _require_onnx(source)
        path.write_bytes(content)
        return path
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise ExperimentError(
            "'{source}' cannot be written on the server: {strerror}.", source=source, strerror=error.strerror or error
        ) from error
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def written_size(source: str, content: bytes) -> int:
    """Bytes that :func:`written_model` takes on the disk.

    Raises:
        ExperimentError: The file is a zip that is refused.
    """
    if not _is_folder(source, content):
        return len(content)
    with unpacking.zip_files(content, _MOST_IN_A_FOLDER) as entries:
        return sum(file.size for file in entries)


def _require_onnx(source: str) -> None:
    if not limits.onnx_allowed():
        command = shlex.join(["kdviz", "import", "--out", "models/mine", "--teacher", source])
        raise ModelError(
            "'{source}' is an ONNX file, which this server does not take from others; import it in a "
            "terminal with: {command}",
            source=source,
            command=command,
        )


def _is_folder(source: str, content: bytes) -> bool:
    """Whether a file is a zip of a folder, and not one that torch.save wrote."""
    return source.lower().endswith(".zip") and b"/data.pkl" not in content[:_HEAD]


def _unpacked_model(target: Path, source: str, content: bytes) -> Path:
    with unpacking.zip_files(content, _MOST_IN_A_FOLDER) as entries:
        files = [file for file in unpacking.relevant_files(entries) if file.name.lower().endswith(_MODEL_FILES)]
        weights = [file for file in files if file.name.lower().endswith(_WEIGHTS)]
        settings = sorted(
            (file.folder for file in files if file.name == _CONFIG), key=lambda path: path.count("/") + bool(path)
        )
        if not weights:
            raise ModelError(
                "'{source}' holds no weights; send a file of them, or a zip of save_pretrained's folder.", source=source
            )
        if not settings and len(weights) > 1:
            raise ModelError(
                "'{source}' holds several files of weights and no config.json; send the one that is meant.",
                source=source,
            )
        weights_folder = settings[0] if settings else weights[0].folder
        chosen = [file for file in files if file.folder == weights_folder]
        folder = target / _plain(source.removesuffix(".zip"))
        flat = [SentFile(file.name, file.size, file.open) for file in chosen]
        unpacking.write_files(flat, folder, _MOST_IN_A_FOLDER)
    return folder if settings else folder / weights[0].name


def bytes_in(folder: Path) -> int:
    """The size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
