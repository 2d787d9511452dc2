"""The official MNIST and the bundled digits."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import DatasetError, SettingError
from kdviz.core.files import ASSETS
from kdviz.core.vocabulary import Split
from kdviz.data.samples import LabelledImages, with_doubts

BUNDLED = ASSETS / "mnist" / "digits_5k.npz"

MNIST_CLASSES = tuple("0123456789")


# (file, samples, header bytes, bytes a sample, MD5 of the .gz as torchvision lists it)
_MNIST_FILES: dict[str, tuple[tuple[str, int, int, int, str], ...]] = {
    Split.TRAIN: (
        ("train-images-idx3-ubyte", 60_000, 16, 784, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte", 60_000, 8, 1, "d53e105ee54ea40749a09fcbcd1e9432"),
    ),
    Split.TEST: (
        ("t10k-images-idx3-ubyte", 10_000, 16, 784, "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte", 10_000, 8, 1, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
}


def mnist(data: str | Path | None = None, *, validation: int = 5_000, seed: int = 0) -> dict[str, LabelledImages]:
    """Read the official MNIST without the bundled digits, split for training.

    Digits that are also bundled (matched by content) are removed from the 60,000 training digits, and ``validation``
    more are set aside; the official 10,000 are the test split, used for figures only.

    Args:
        data: A folder with the four files, compressed or not, as torchvision lays them out (``MNIST/raw``). None:
            torchvision downloads them into the user's cache.
        validation: Number of digits set aside for every choice made during training.
        seed: Seed of that choice.

    Returns:
        The splits ``train``, ``validation`` and ``test``.

    Raises:
        DatasetError: A file is missing or damaged.
        SettingError: ``validation`` leaves nothing to train on.
    """
    folder = _mnist_folder(Path(data)) if data is not None else _download_mnist()
    images, labels = _read_mnist(folder, Split.TRAIN)
    not_bundled = ~_is_bundled(images)
    order = torch.randperm(int(not_bundled.sum()), generator=torch.Generator().manual_seed(seed))
    index = not_bundled.nonzero()[:, 0][order]
    if not 0 < validation < len(index):
        raise SettingError(
            "validation must be between 1 and {most} digits, got {validation}.",
            most=len(index) - 1,
            validation=validation,
        )
    full = LabelledImages(images, labels, MNIST_CLASSES, Split.TRAIN, _names(Split.TRAIN, len(labels)))
    test_images, test_labels = _read_mnist(folder, Split.TEST)
    test = LabelledImages(test_images, test_labels, MNIST_CLASSES, Split.TEST, _names(Split.TEST, len(test_labels)))
    splits: dict[str, LabelledImages] = {
        Split.TRAIN: full.take(index[validation:].sort().values),
        Split.VALIDATION: full.take(index[:validation].sort().values, Split.VALIDATION),
        Split.TEST: test,
    }
    return with_doubts(splits, ())


def bundled_digits(path: str | Path = BUNDLED) -> dict[str, LabelledImages]:
    """Read the 5,000 MNIST training digits, 500 a class, that ship with kdviz and are never trained on.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DatasetError(
            "The bundled digits cannot be read ({name}); restore assets/mnist from the repository.",
            name=Path(path).name,
        ) from error
    pixels, targets = torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long()
    names = _names(Split.BUNDLED, len(targets))
    return {Split.BUNDLED: LabelledImages(pixels, targets, MNIST_CLASSES, Split.BUNDLED, names)}


def _names(file: str, count: int) -> tuple[str, ...]:
    return tuple(f"{file}/{number}" for number in range(count))


def _is_bundled(images: Tensor) -> Tensor:
    """Which of the images (N, 1, 28, 28) are bundled, pixel for pixel: bool (N,)."""
    bundled = {row.tobytes() for row in bundled_digits()[Split.BUNDLED].images.flatten(1).numpy()}
    return torch.tensor([row.tobytes() in bundled for row in images.flatten(1).numpy()])


def _mnist_folder(data: Path) -> Path:
    for folder in (data / "MNIST" / "raw", data / "raw", data):
        if any((folder / (_MNIST_FILES[Split.TRAIN][0][0] + end)).exists() for end in ("", ".gz")):
            return folder
    raise DatasetError(
        "No MNIST files in '{data}'; it should hold MNIST/raw/train-images-idx3-ubyte.gz and the other "
        "three (leave --data away to download them).",
        data=data,
    )


def _download_mnist() -> Path:
    from torchvision.datasets import MNIST

    root = Path.home() / ".cache" / "kdviz"
    try:
        return Path(MNIST(str(root), download=True).raw_folder)
    except (RuntimeError, OSError) as error:
        raise DatasetError(
            "MNIST could not be downloaded; check the network, or get the four files and name their folder with --data."
        ) from error


def _read_mnist(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    images, labels = (_read_idx(folder, *entry) for entry in _MNIST_FILES[split])
    return images.view(-1, 1, 28, 28), labels.long()


def _read_idx(folder: Path, name: str, samples: int, header: int, size: int, md5: str) -> Tensor:
    packed, plain = folder / f"{name}.gz", folder / name
    damaged = DatasetError(
        "The MNIST file '{name}' in '{folder}' is damaged; please download it again.", name=name, folder=folder
    )
    try:
        if packed.exists():
            raw = packed.read_bytes()
            if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
                raise damaged
            content = gzip.decompress(raw)
        else:
            content = plain.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(
            "The MNIST file '{name}' (or {name}.gz) is missing from '{folder}'.", name=name, folder=folder
        ) from error
    except OSError as error:
        raise DatasetError(
            "Cannot read the MNIST file '{name}' in '{folder}': {strerror}.",
            name=name,
            folder=folder,
            strerror=error.strerror or error,
        ) from error
    # An IDX file begins with 0, 0, 8 (uint8) and its dimensions, each of which takes four bytes of the header.
    if len(content) != header + samples * size or content[:4] != bytes((0, 0, 8, header // 4 - 1)):
        raise damaged
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header)
