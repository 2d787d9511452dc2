"""The time of an evaluation of photographs in files over the bare forward passes that it needs, and its memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from kdviz.bench.rise.forward import SIDE, best_batches, run_bare, seconds_in_turn
from kdviz.bench.rise.memory import status
from kdviz.bench.rows import Measurement
from kdviz.data.photographs import photographs
from kdviz.data.picture_files import read_picture_files
from kdviz.experiment import Experiment, InputSpec
from kdviz.models.networks import build_network
from kdviz.rise.engine import prepare
from kdviz.studies.predictions.file_evaluation import evaluate_files

_CLASSES = tuple(f"class {number}" for number in range(1000))
_PHOTOGRAPH = InputSpec(
    (SIDE, SIDE), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), resize=256, interpolation="bilinear"
)
_SIDES = (500, 375)  # pixels, of most of ImageNet's photographs
_SMALL = {"teacher": "mobilenet_v2", "kd_student": "mobilenet_v2", "student": "mobilenet_v2"}
_LARGE = {**_SMALL, "teacher": "resnet50"}
_KEPT = 100  # one of so many pictures is kept for the pages: 500 of 50,000

_MEMORY_PROGRAM = """
import sys
from pathlib import Path
from kdviz.bench.studies.evaluation import memory_of
print(memory_of(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
"""


def bench_evaluate(device: torch.device, quick: bool = False, seed: int = 0) -> Iterator[Measurement]:
    """An evaluation of three models of 1,000 classes, from JPEG files to the tables, over as many bare forward passes.

    The networks have random weights and see 224 px; each picture is 500 x 375 pixels large.

    Args:
        device: Device of the models.
        quick: Three MobileNetV2 instead of a ResNet50 and two of them, fewer pictures and one try.
        seed: Seed of the pictures' parts of the bundled photographs, and of the weights.
    """
    networks, count, tries = (_SMALL, 96, 1) if quick else (_LARGE, 512, 3)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        write_photographs(data, count, seed)
        experiment = experiment_of(networks, Path(folder, "trio"), seed)
        ours, bare = _seconds(experiment, data, device, count, tries, seed)
        yield Measurement(
            "evaluate_overhead",
            f"evaluation of {count} JPEG files by {', '.join(networks.values())}, 1,000 classes: "
            "time / bare forward passes",
            ours / bare,
            "x",
            {"evaluate_seconds": ours, "bare_seconds": bare, "pictures": count},
        )
        yield from _memory(Path(folder, "memory"), count, seed, device)


def write_photographs(folder: Path, count: int, seed: int) -> None:
    """Write ``count`` JPEG files of 500 x 375 pixels, random parts of the bundled photographs."""
    folder.mkdir(parents=True)
    sources = [photograph.picture() for photograph in photographs().values()]
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        source = sources[number % len(sources)]
        across, down, share = torch.rand(3, generator=generator).tolist()
        width, height = (round(side * (0.5 + share / 2)) for side in source.size)
        left, top = round(across * (source.width - width)), round(down * (source.height - height))
        part = source.resize(_SIDES, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        part.save(folder / f"{number:05d}.jpg", quality=90)


def experiment_of(networks: dict[str, str], folder: Path, seed: int) -> Experiment:
    """An experiment of torchvision's networks with random weights, for photographs of 1,000 classes."""
    experiment = Experiment(folder, "folder", _CLASSES, _PHOTOGRAPH, {}, "Photographs")
    for role, name in networks.items():
        torch.manual_seed(seed)
        network = build_network(f"torchvision/{name}", classes=len(_CLASSES), channels=3, size=(SIDE, SIDE))
        experiment.add_run(role, f"torchvision/{name}", network.eval().requires_grad_(False), {}, {})
    experiment.save()
    return experiment


def _seconds(
    experiment: Experiment, data: Path, device: torch.device, count: int, tries: int, seed: int
) -> tuple[float, float]:
    """Seconds of the evaluation, and of the bare passes at the best batch size of each model."""
    probes = torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).to(device)
    forms = {role: prepare(run.on(device), probes, "float32") for role, run in experiment.runs.items()}
    sizes = [(role, size) for role, form in forms.items() for size in best_batches(form, probes)]
    bare = [partial(run_bare, forms[role], probes, size, count) for role, size in sizes]
    ours, *seconds = seconds_in_turn([partial(evaluate_all, experiment, data, device), *bare], tries, device)
    best = [min(least for least, (role, _) in zip(seconds, sizes, strict=True) if role == name) for name in forms]
    return ours, sum(best)


def evaluate_all(experiment: Experiment, data: Path, device: torch.device) -> None:
    """Evaluate pictures from the files to the tables."""
    shutil.rmtree(experiment.folder / "runs" / "evaluation", ignore_errors=True)
    pictures = read_picture_files(data)
    deque(evaluate_files(experiment, pictures, str(device), keep=max(1, len(pictures) // _KEPT)), maxlen=0)


def _memory(folder: Path, count: int, seed: int, device: torch.device) -> Iterator[Measurement]:
    """Peak memory of a process that evaluates a quarter of the pictures and then all: it must not grow with them."""
    if device.type != "cpu" or not Path("/proc/self/status").exists():
        return
    peaks = []
    for pictures in (count // 4, count):
        command = [sys.executable, "-c", _MEMORY_PROGRAM, str(folder / str(pictures)), str(pictures), str(seed)]
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    yield Measurement(
        "evaluate_memory_ratio",
        f"peak memory of that with {count} pictures / with {count // 4}",
        peaks[1] / peaks[0],
        "x",
        {"few_mb": peaks[0], "many_mb": peaks[1]},
    )
    yield Measurement("evaluate_memory", "peak memory of the process", peaks[1] / 1024, "GB")


def memory_of(folder: Path, count: int, seed: int) -> float:
    """Peak memory in MB of this process, once it has evaluated ``count`` pictures; on Linux."""
    write_photographs(folder / "data", count, seed)
    evaluate_all(experiment_of(_SMALL, folder / "trio", seed), folder / "data", torch.device("cpu"))
    return status("VmHWM")
