"""The time of an evaluation of photographs in files over the bare forward passes that it needs, and its memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter, deque
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
_PART = 4  # a further evaluation of a part of the pictures tells what is fixed from what each picture costs

_MEMORY_PROGRAM = """
import sys
from pathlib import Path
from kdviz.bench.studies.evaluation import memory_of
print(memory_of(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
"""


def bench_evaluate(device: torch.device, quick: bool = False, seed: int = 0) -> Iterator[Measurement]:
    """An evaluation of three models of 1,000 classes, from JPEG files to the tables, over as many bare forward passes.

    The networks have random weights and see 224 px; each picture is 500 x 375 pixels large.

    Once with the networks as they are given, and once with their faster copies (``kdviz evaluate --fast``); the bare
    passes are always those of the copies. Of each the time that is needed whatever the number of pictures is measured,
    too, by evaluating a quarter of them besides: it weighs less the more pictures there are.

    Args:
        device: Device of the models.
        quick: Three MobileNetV2 instead of a ResNet50 and two of them, fewer pictures and one try.
        seed: Seed of the pictures' parts of the bundled photographs, and of the weights.
    """
    networks, count, tries = (_SMALL, 96, 1) if quick else (_LARGE, 512, 3)
    with tempfile.TemporaryDirectory() as folder:
        for number in (count, count // _PART):
            write_photographs(Path(folder, str(number)), number, seed)
        experiment = experiment_of(networks, Path(folder, "trio"), seed)
        as_given, fast, bare = _seconds(experiment, Path(folder), device, count, tries, seed)
        what = f"evaluation of {count} JPEG files by {', '.join(networks.values())}, 1,000 classes"
        yield from _rows("evaluate", what, as_given, bare, count)
        yield from _rows("evaluate_fast", f"{what}, --fast", fast, bare, count)
        yield from _memory(Path(folder, "memory"), count, seed, device)


def _rows(key: str, what: str, ours: tuple[float, float], bare: float, count: int) -> Iterator[Measurement]:
    """Rows of one evaluation.

    Args:
        key: Start of the rows' keys.
        what: What is measured.
        ours: Seconds for a part of the pictures, and for all of them.
        bare: Seconds of the bare passes for all of them.
        count: Number of the pictures.
    """
    few, many = ours
    each = (many - few) / (count - count // _PART)
    details = {"evaluate_seconds": many, "part_seconds": few, "bare_seconds": bare, "pictures": count}
    yield Measurement(f"{key}_overhead", f"{what}: time / bare forward passes", many / bare, "x", details)
    yield Measurement(
        f"{key}_picture_overhead",
        f"of that, each further picture (from {count // _PART} and {count}): time / bare forward passes",
        each / (bare / count),
        "x",
        {"picture_seconds": each},
    )
    yield Measurement(
        f"{key}_fixed", "of that, whatever the number of pictures: time", many - count * each, "s", {"pictures": count}
    )


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
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Seconds of evaluations as given and fast, each of a part and of all, and of the bare passes.

    The bare passes are those of each network's fastest form at its best batch size, measured once for models that share
    their network.
    """
    probes = torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).to(device)
    times = Counter(run.network for run in experiment.runs.values())
    one_of = {run.network: run for run in experiment.runs.values()}
    forms = {network: prepare(one_of[network].on(device), probes, "float32") for network in times}
    sizes = [(network, size) for network, form in forms.items() for size in best_batches(form, probes)]
    bare = [partial(run_bare, forms[network], probes, size, count) for network, size in sizes]
    ours = [
        partial(evaluate_all, experiment, data / str(number), device, fast)
        for fast in (False, True)
        for number in (count // _PART, count)
    ]
    few, many, fast_few, fast_many, *bare_seconds = seconds_in_turn([*ours, *bare], tries, device)
    best = [
        times[name] * min(least for least, (owner, _) in zip(bare_seconds, sizes, strict=True) if owner == name)
        for name in forms
    ]
    return (few, many), (fast_few, fast_many), sum(best)


def evaluate_all(experiment: Experiment, data: Path, device: torch.device, fast: bool = False) -> None:
    """Evaluate pictures from the files to the tables."""
    shutil.rmtree(experiment.folder / "runs" / "evaluation", ignore_errors=True)
    pictures = read_picture_files(data)
    keep = max(1, len(pictures) // _KEPT)
    deque(evaluate_files(experiment, pictures, str(device), keep=keep, fast=fast), maxlen=0)


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
    yield Measurement("evaluate_memory", "peak memory of the process, with the fast copies", peaks[1] / 1024, "GB")


def memory_of(folder: Path, count: int, seed: int) -> float:
    """Peak memory in MB of this process, once it has evaluated ``count`` pictures with fast copies; on Linux."""
    write_photographs(folder / "data", count, seed)
    evaluate_all(experiment_of(_SMALL, folder / "trio", seed), folder / "data", torch.device("cpu"), fast=True)
    return status("VmHWM")
