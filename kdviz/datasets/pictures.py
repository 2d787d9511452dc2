"""Picture files to one tensor, as the models will see them."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdviz.datasets.samples import as_pixels
from kdviz.errors import DatasetError, ImageError, SettingError
from kdviz.images import fit_to, open_image

IN_MEMORY = 2**30
"""Bytes of a tensor of images; a larger one is put into a temporary file."""

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

_THREADS = 4


def require_input(size: tuple[int, int], channels: int) -> None:
    """Refuse what no model takes.

    Raises:
        SettingError: The size is not two whole numbers from 1 to 4096, or there are not 1 or 3 channels.
    """
    if len(size) != 2 or not all(isinstance(side, int) and 1 <= side <= 4096 for side in size):
        raise SettingError(f"The size of the images must be two whole numbers from 1 to 4096, got {size}.")
    if channels not in (1, 3):
        raise SettingError(f"Images have 1 channel (grey) or 3 (RGB), not {channels}.")


def read_pictures(folder: Path, names: Sequence[str], size: tuple[int, int], channels: int) -> Tensor:
    """Decode files, fitted to a model's input as ``Experiment.prepare`` does it: ``uint8`` (N, C, H, W).

    Args:
        folder: Where the files are.
        names: Their paths in it.
        size: Height and width.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DatasetError: Some cannot be read (the first is named), or there is no room for the images.
    """
    pixels = _room_for((len(names), channels, *size))

    def read(number: int) -> str:
        try:
            pixels[number] = as_pixels(fit_to(open_image(folder / names[number], names[number]), size, channels))
        except ImageError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        failures = [failure for failure in pool.map(read, range(len(names))) if failure]
    if failures:
        raise DatasetError(f"{len(failures)} of {len(names)} images in '{folder}' cannot be used: {failures[0]}")
    return torch.from_numpy(pixels)


def _room_for(shape: tuple[int, ...]) -> np.ndarray:
    """An array of ``uint8``: in memory, or in a temporary file that vanishes with it."""
    size = math.prod(shape)
    if size <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a disk that is full must be an error now, not a crash later
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise DatasetError(
            f"The images need {size / 2**30:.1f} GiB in '{tempfile.gettempdir()}' ({error.strerror or error}); "
            "make room there, name another folder in the variable TMPDIR, or choose a smaller size."
        ) from error


def contents(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Path -> a text that files share if they are equal byte for byte, and no others do.

    Raises:
        DatasetError: A file cannot be read.
    """
    try:
        sizes = {name: (folder / name).stat().st_size for name in names}
        shared = {size for size, count in Counter(sizes.values()).items() if count > 1}
        return {name: _digest(folder / name) if size in shared else f"alone: {name}" for name, size in sizes.items()}
    except OSError as error:
        raise DatasetError(f"Cannot read the image '{error.filename}': {error.strerror or error}.") from error


def duplicates(splits: Mapping[str, Sequence[str]], content: Mapping[str, str]) -> list[str]:
    """One sentence for each two splits that share files, byte for byte.

    Args:
        splits: Name -> paths.
        content: What :func:`contents` gave for them.
    """
    sentences = []
    for (first, names), (second, others) in combinations(splits.items(), 2):
        seen = {content[name] for name in names}
        twice = [name for name in others if content[name] in seen]
        if twice:
            sentences.append(
                f"{len(twice)} of {len(others)} files of {second} are also in {first}, byte for byte "
                f"(the first is '{twice[0]}'), so that figures of {second} are too good."
            )
    return sentences


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
