"""Commands in processes of their own, to which something happens."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def pictures_of_two_classes(folder: Path, count: int = 24) -> Path:
    """A folder of pictures, 14 x 14 and grey, half of them dark: train/, val/ and test/."""
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label, low in (("dark", 0), ("light", 120)):
            (folder / split / label).mkdir(parents=True)
            for number in range(count // 2):
                pixels = random.integers(low, low + 120, (14, 14), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
    return folder


def training(data: Path, out: Path, *more: str) -> list[str]:
    """The arguments of a small ``kdviz train``."""
    networks = ["--teacher", "paper_fc", "--student", "paper_fc", "--no-pretrained", "--size", "14"]
    recipe = ["--batch-size", "8", "--device", "cpu", "--threads", "1"]
    return ["train", "folder", "--data", str(data), "--out", str(out), *networks, *recipe, *more]


HOLDER = """
import sys, time
from kdviz.core.processes.folder_lock import writing
with writing(sys.argv[1], "kdviz sweep"):
    print("held", flush=True)
    time.sleep(600)
"""


def holding(folder: Path) -> subprocess.Popen[str]:
    """Another process that writes a folder; the caller ends it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@contextmanager
def command(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """``kdviz`` in a process of its own, which is killed at the end if it still runs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "kdviz", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(path: Path, seconds: float = 600.0) -> None:
    """Wait until something is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def half_written(folder: Path) -> list[Path]:
    """What a finished or cleanly stopped command does not leave, in a folder and beside it."""
    inside = [path for path in folder.rglob(".*") if path.name.endswith((".part", ".lock"))]
    return inside + [path for path in folder.parent.iterdir() if path.name.startswith(f".{folder.name}")]
