"""Decoding of picture files into one tensor, as the models will see them."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from kdviz.core.decoding.guarded import open_image_guarded
from kdviz.core.environment import cores
from kdviz.core.errors import DatasetError, ImageError, KdvizError, SettingError, TooCostlyError
from kdviz.core.images import ENDINGS, depth_of, fit_to
from kdviz.data.doubts import Doubt
from kdviz.data.samples import as_pixels

IN_MEMORY = 2**30
"""Bytes of a tensor of images; a larger one is put into a temporary file."""

_DARK = 0.25
"""Share of the declared white: if no pixel of a data set is brighter, its files hold fewer bits than they declare."""

_THREADS = 4

Read = TypeVar("Read")


def read_or_error(
    read: Callable[[], Read], failures: tuple[type[KdvizError], ...] = (ImageError,)
) -> Read | KdvizError:
    """What ``read`` returns, or why its picture cannot be used, for those who count such pictures or leave them out.

    Args:
        read: Reads one picture.
        failures: Kinds of errors that are returned.

    Raises:
        TooCostlyError: The picture takes too much time or memory. Others of its kind are not tried only to count them.
    """
    try:
        return read()
    except TooCostlyError:
        raise
    except failures as error:
        return error


def require_input(size: tuple[int, int], channels: int) -> None:
    """Refuse an image size or number of channels that no model accepts.

    Raises:
        SettingError: The size is not two whole numbers from 1 to 4096, or there are not 1 or 3 channels.
    """
    if len(size) != 2 or not all(isinstance(side, int) and 1 <= side <= 4096 for side in size):
        raise SettingError("The size of the images must be two whole numbers from 1 to 4096, got {size}.", size=size)
    if channels not in (1, 3):
        raise SettingError("Images have 1 channel (grey) or 3 (RGB), not {channels}.", channels=channels)


class Reading:
    """A record of what reading the files of one data set showed."""

    def __init__(self) -> None:
        self.read = 0
        self.deep: list[tuple[str, float]] = []
        """What :func:`kdviz.core.images.depth_of` returns for each picture of more than 8 bits."""

    def doubts(self) -> list[Doubt]:
        """Doubts about how pictures of more than 8 bits were scaled, and whether they are all dark."""
        if not self.deep:
            return []
        depths = dict(sorted(Counter(depth for depth, _ in self.deep).items()))
        doubts = [Doubt("depth", figures={"depths": depths, "samples": self.read})]
        peak = max(peak for _, peak in self.deep)
        if peak < _DARK:
            doubts.append(Doubt("dark", figures={"samples": len(self.deep), "peak": round(peak, 6)}))
        return doubts


def read_pictures(
    folder: Path, names: Sequence[str], size: tuple[int, int], channels: int, reading: Reading | None = None
) -> Tensor:
    """Decode files and fit them to a model's input as ``Experiment.prepare`` does: ``uint8`` (N, C, H, W).

    Args:
        folder: Folder of the files.
        names: Paths of the files within it.
        size: Height and width.
        channels: 1 (grey) or 3 (RGB).
        reading: Record to which bit depths are added.

    Raises:
        DatasetError: Some files cannot be read (the first is named), or there is no room for the images.
        TooCostlyError: One takes too much time or memory.
    """
    pixels, record = room_for((len(names), channels, *size)), reading or Reading()

    def read(number: int) -> None:
        picture = open_image_guarded(folder / names[number], names[number])
        pixels[number] = as_pixels(fit_to(picture, size, channels))
        record.deep += [depth_of(picture)] if depth_of(picture)[0] else []

    with ThreadPoolExecutor(min(_THREADS, cores())) as pool:
        results = pool.map(lambda number: read_or_error(partial(read, number)), range(len(names)))
        failures = [result.sentence for result in results if result is not None]
    record.read += len(names)
    if failures:
        raise DatasetError(
            "{n_failures} of {n_names} images in '{folder}' cannot be used: {failures}",
            n_failures=len(failures),
            n_names=len(names),
            folder=folder,
            failures=failures[0],
        )
    return torch.from_numpy(pixels)


def room_for(shape: tuple[int, ...]) -> np.ndarray:
    """An empty ``uint8`` array: in memory, or in a temporary file that is deleted with it."""
    size = math.prod(shape)
    if size <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a full disk must raise an error now, not crash later
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise DatasetError(
            "The images need {size:.1f} GiB in '{folder}' ({reason}); make room there, name "
            "another folder in the variable TMPDIR, or choose a smaller size.",
            size=size / 2**30,
            folder=tempfile.gettempdir(),
            reason=error.strerror or error,
        ) from error


def content_keys(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Path -> a text that two files share if and only if they are equal byte for byte.

    Raises:
        DatasetError: A file cannot be read.
    """
    try:
        sizes = {name: (folder / name).stat().st_size for name in names}
        shared = {size for size, count in Counter(sizes.values()).items() if count > 1}
        return {name: _digest(folder / name) if size in shared else f"alone: {name}" for name, size in sizes.items()}
    except OSError as error:
        raise DatasetError(
            "Cannot read the image '{filename}': {strerror}.", filename=error.filename, strerror=error.strerror or error
        ) from error


def files_below(path: Path, folder: Path) -> list[str]:
    """Paths, relative to ``folder``, of all files in ``path`` and its subfolders, sorted; hidden ones are left out."""
    paths = []
    for parent, subfolders, files in os.walk(path):
        subfolders[:] = [name for name in subfolders if is_visible(name)]
        within = Path(parent).relative_to(folder).as_posix()
        start = "" if within == "." else f"{within}/"  # texts, since a Path for each of 50,000 files takes seconds
        paths += [f"{start}{name}" for name in files if is_visible(name)]
    return sorted(paths)


def is_visible(name: str) -> bool:
    """Whether a file or folder is neither hidden nor one that operating systems leave behind."""
    return not name.startswith((".", "__MACOSX")) and name not in ("Thumbs.db", "desktop.ini")


def is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in ENDINGS


def left_out(files: Iterable[str], used: Iterable[str]) -> list[Doubt]:
    """A doubt that counts the unused files of a data folder by their endings.

    Args:
        files: All files of the folder.
        used: The files that are pictures of the data set, or describe it.
    """
    unused = set(files) - set(used)
    if not unused:
        return []
    unread = Counter(Path(name).suffix.lower() for name in unused if not is_picture(name))
    elsewhere = Counter(Path(name).suffix.lower() for name in unused if is_picture(name))
    return [Doubt("left_out", figures={"endings": _by_count(unread), "elsewhere": _by_count(elsewhere)})]


def _by_count(counts: Counter[str]) -> dict[str, int]:
    """The counts, the most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
