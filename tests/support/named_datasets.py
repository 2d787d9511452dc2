"""Small data sets in the formats of torchvision's and of Hugging Face's ``datasets``, for tests."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torchvision.datasets import CIFAR10, Flowers102

CIFAR_CLASSES = ("airplane", "automobile", "bird")
"""Three classes instead of ten."""


def noise(seed: int, count: int, *shape: int) -> np.ndarray:
    """Different pictures of noise, uint8 (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def cifar10(
    root: Path,
    monkeypatch: Any,
    batch: int = 12,
    test: tuple[np.ndarray, Sequence[int]] | None = None,
    classes: Sequence[str] = CIFAR_CLASSES,
) -> dict[str, np.ndarray]:
    """CIFAR-10's pickles, ``batch`` pictures each; labels are 0, 1, 2 in turn.

    Args:
        root: torchvision's folder.
        monkeypatch: Lets torchvision accept these files.
        batch: Number of pictures in a file.
        test: Pictures, uint8 (N, 3, 32, 32), and labels of the test file, instead of noise.
        classes: Class names.

    Returns:
        Part -> pictures, uint8 (N, 3, 32, 32).
    """
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    pixels = noise(0, batch * len(files), 3, 32, 32)
    for number, name in enumerate(files):
        rows = pixels[number * batch : (number + 1) * batch].reshape(batch, -1)
        labels = [index % len(CIFAR_CLASSES) for index in range(batch)]
        if test is not None and name == "test_batch":
            rows, labels = test[0].reshape(len(test[0]), -1), list(test[1])
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": labels}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(classes)}))
    sums = [[name, md5(folder / name)] for name in files]
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(folder / "batches.meta")})
    return {"train": pixels[: 5 * batch], "test": pixels[5 * batch :]}


def fashion_mnist(root: Path, train: int = 60, test: int = 20) -> None:
    """FashionMNIST's idx files, unpacked; labels are 0 to 9 in turn."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for seed, (name, count) in enumerate((("train", train), ("t10k", test))):
        pixels, labels = noise(seed, count, 28, 28), np.arange(count, dtype=np.uint8) % 10
        header = b"".join(size.to_bytes(4, "big") for size in (count, 28, 28))
        (folder / f"{name}-images-idx3-ubyte").write_bytes(bytes((0, 0, 8, 3)) + header + pixels.tobytes())
        content = bytes((0, 0, 8, 1)) + count.to_bytes(4, "big") + labels.tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(content)


def oxford_pets(root: Path, trainval: int = 24, test: int = 9) -> None:
    """Oxford-IIIT Pet's pictures, of varying size, and its lists; two breeds in turn."""
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    start = 0
    for name, count in (("trainval", trainval), ("test", test)):
        lines = []
        for number in range(start, start + count):
            breed = ("Abyssinian", "american_bulldog")[number % 2]
            Image.fromarray(noise(number, 70 + number, 90, 3)).save(folder / "images" / f"{breed}_{number}.jpg")
            lines.append(f"{breed}_{number} {number % 2 + 1} {number % 2 + 1} 1")
        (folder / "annotations" / f"{name}.txt").write_text("\n".join(lines))
        start += count


def flowers102(root: Path, monkeypatch: Any, each: int = 6) -> None:
    """Flowers102's .mat files and ``each`` pictures for train, val and test; two flowers in turn, numbered from 1."""
    from scipy.io import savemat

    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 3 * each + 1):
        Image.fromarray(noise(number, 80, 70 + number, 3)).save(folder / "jpg" / f"image_{number:05}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.arange(3 * each) % 2 + 1})
    names = ("trnid", "valid", "tstid")
    savemat(folder / "setid.mat", {name: np.arange(each) + 1 + each * part for part, name in enumerate(names)})
    sums = {key: (name, md5(folder / name)) for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))}
    monkeypatch.setattr(Flowers102, "_file_dict", {**Flowers102._file_dict, **sums})


def clevr(root: Path, each: int = 12) -> None:
    """CLEVR's pictures and scenes; labels are 3 and 10 objects in turn, and the test split has none."""
    folder = root / "clevr" / "CLEVR_v1.0"
    (folder / "scenes").mkdir(parents=True)
    for seed, split in enumerate(("train", "val", "test")):
        (folder / "images" / split).mkdir(parents=True)
        scenes = []
        for number in range(each):
            name = f"CLEVR_{split}_{number:06}.png"
            Image.fromarray(noise(100 * seed + number, 32, 48, 3)).save(folder / "images" / split / name)
            scenes.append({"image_filename": name, "objects": [0] * (3, 10)[number % 2]})
        if split != "test":
            (folder / "scenes" / f"CLEVR_{split}_scenes.json").write_text(json.dumps({"scenes": scenes}))


def eurosat(root: Path, each: int = 20) -> None:
    """EuroSAT's folders, without splits: three classes of ``each`` pictures of 64 x 64."""
    for number, name in enumerate(("AnnualCrop", "Forest", "River")):
        folder = root / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for index in range(each):
            Image.fromarray(noise(100 * number + index, 64, 64, 3)).save(folder / f"{name}_{index + 1}.png")


# parquet --------------------------------------------------------------------------------------------------------------

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 (H, W) or (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(seed: int, count: int, *shape: int) -> list[dict[str, Any]]:
    """The structs of an image column, of different pictures of noise."""
    return [{"bytes": png(pixels), "path": f"{seed}.png"} for pixels in noise(seed, count, *shape)]


def class_label(names: Sequence[str]) -> dict[str, Any]:
    """What ``datasets`` notes of a ClassLabel column."""
    return {"names": list(names), "_type": "ClassLabel"}


def parquet_file(path: Path, features: dict[str, Any] | None = None, **columns: Any) -> Path:
    """A parquet file; lists of dictionaries are image columns, and ``features`` are noted as ``datasets`` does."""
    arrays = {
        name: pa.array(values, IMAGE) if isinstance(values, list) and isinstance(values[0], dict) else pa.array(values)
        for name, values in columns.items()
    }
    table = pa.table(arrays)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=10)
    return path
