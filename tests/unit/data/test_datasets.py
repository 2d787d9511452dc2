"""The bundled digits and the official MNIST: complete, split honestly, and refused when damaged."""

from __future__ import annotations

import gzip
import hashlib
import struct

import numpy as np
import pytest
import torch

from kdviz.core.errors import DatasetError, SettingError
from kdviz.data import BUNDLED, bundled_digits, datasets, mnist

BUNDLED_SHA256 = "5837617f6320b5bf46bb0cbecba8522260f30039243b9ee03d46620e2459b943"


def contents(samples) -> set[bytes]:
    return {row.tobytes() for row in samples.images.flatten(1).numpy()}


def test_the_bundled_digits_are_the_recorded_ones(digits):
    assert digits.images.shape == (5000, 1, 28, 28)
    assert digits.images.dtype == torch.uint8
    assert digits.labels.bincount().tolist() == [500] * 10
    assert len(contents(digits)) == 5000
    content = digits.images.numpy().tobytes() + digits.labels.numpy().astype(np.uint8).tobytes()
    assert hashlib.sha256(content).hexdigest() == BUNDLED_SHA256


def test_take_and_picture(digits):
    some = digits.take(digits.labels == 3, "threes")
    assert len(some) == 500
    assert (some.split, digits.split) == ("threes", "bundled")
    picture = digits.picture(7)
    assert (picture.mode, picture.size) == ("L", (28, 28))
    assert np.array_equal(np.asarray(picture), digits.images[7, 0].numpy())


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "npy", "no labels"])
def test_damaged_bundled_digits(tmp_path, damage):
    path = tmp_path / "digits.npz"
    if damage == "truncated":
        path.write_bytes(BUNDLED.read_bytes()[:100_000])
    elif damage == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros((2, 28, 28), np.uint8))
    elif damage == "no labels":
        np.savez(path, images=np.zeros((2, 28, 28), np.uint8))
    elif damage != "missing":
        path.write_bytes(b"" if damage == "empty" else b"not an archive")
    with pytest.raises(DatasetError, match="bundled digits"):
        bundled_digits(path)


@pytest.mark.data
def test_the_official_mnist_is_split_without_the_bundled_digits(mnist_splits, digits):
    sizes = {name: len(samples) for name, samples in mnist_splits.items()}
    assert sizes == {"train": 50_000, "validation": 5_000, "test": 10_000}
    assert all(samples.split == name for name, samples in mnist_splits.items())
    held_out = contents(digits)
    assert not held_out & contents(mnist_splits["train"])
    assert not held_out & contents(mnist_splits["validation"])
    assert not contents(mnist_splits["train"]) & contents(mnist_splits["validation"])


@pytest.mark.data
@pytest.mark.slow
def test_the_split_depends_on_the_seed_alone(mnist_splits, mnist_folder):
    torch.manual_seed(123)
    again = mnist(mnist_folder, seed=0)["validation"]
    assert torch.equal(again.images, mnist_splits["validation"].images)
    assert torch.equal(again.labels, mnist_splits["validation"].labels)
    other = mnist(mnist_folder, seed=1, validation=100)
    assert (len(other["validation"]), len(other["train"])) == (100, 54_900)
    assert not contents(other["validation"]) <= contents(mnist_splits["validation"])


@pytest.mark.data
@pytest.mark.parametrize("validation", [0, -1, 55_000])
def test_validation_outside_its_range(mnist_folder, validation):
    with pytest.raises(SettingError, match="validation"):
        mnist(mnist_folder, validation=validation)


NAMES = {
    "train-images-idx3-ubyte": (2051, 60_000, 784),
    "train-labels-idx1-ubyte": (2049, 60_000, 1),
    "t10k-images-idx3-ubyte": (2051, 10_000, 784),
    "t10k-labels-idx1-ubyte": (2049, 10_000, 1),
}


def fake(name: str) -> bytes:
    """A file of the right length whose digits are noise."""
    magic, samples, size = NAMES[name]
    header = struct.pack(">ii", magic, samples) + (struct.pack(">ii", 28, 28) if size > 1 else b"")
    pixels = np.random.default_rng(samples + size).integers(0, 10 if size == 1 else 256, samples * size, dtype=np.uint8)
    return header + pixels.tobytes()


@pytest.fixture(scope="module")
def fake_files():
    return {name: fake(name) for name in NAMES}


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("layout", ["MNIST/raw", "raw", "."])
def test_unpacked_files_in_any_of_the_usual_folders(tmp_path, fake_files, layout):
    write(tmp_path / layout, fake_files)
    splits = mnist(tmp_path)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [55_000, 5_000, 10_000]
    raw = np.frombuffer(fake_files["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(-1, 1, 28, 28)
    assert np.array_equal(splits["test"].images.numpy(), raw)


@pytest.mark.parametrize("name", list(NAMES))
def test_a_missing_file_is_named(tmp_path, fake_files, name):
    write(tmp_path, {other: content for other, content in fake_files.items() if other != name})
    with pytest.raises(DatasetError, match="No MNIST files" if name.startswith("train-images") else name):
        mnist(tmp_path)


DAMAGES = {
    "truncated": lambda content: content[:-1],
    "too long": lambda content: content + b"\0",
    "empty": lambda content: b"",
    "of another kind": lambda content: b"\x89PNG" + content[4:],
}


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("name", list(NAMES))
def test_a_damaged_file_is_named(tmp_path, fake_files, name, damage):
    write(tmp_path, {**fake_files, name: DAMAGES[damage](fake_files[name])})
    with pytest.raises(DatasetError, match=f"{name}.*damaged"):
        mnist(tmp_path)


@pytest.mark.slow
def test_a_packed_file_must_have_the_official_checksum(tmp_path, fake_files):
    name = "train-images-idx3-ubyte"
    for packed in (gzip.compress(fake_files[name], 1), b"no gzip"):
        write(tmp_path, {**fake_files, f"{name}.gz": packed})
        with pytest.raises(DatasetError, match=f"{name}.*damaged"):
            mnist(tmp_path)


def test_a_folder_in_place_of_a_file(tmp_path, fake_files):
    write(tmp_path, fake_files)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "train-labels-idx1-ubyte").mkdir()
    with pytest.raises(DatasetError, match="train-labels"):
        mnist(tmp_path)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(DatasetError, match="No MNIST files"):
        mnist(tmp_path / "nowhere")


def test_data_sets_are_found_by_name():
    assert {"mnist", "mnist-bundled"} <= set(datasets)
