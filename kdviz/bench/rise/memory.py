"""Peak memory of RISE over that of the bare forward pass."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from kdviz.bench.rise.forward import SIDE, explain_all, fast_form, mobilenet, run_bare
from kdviz.bench.rows import Measurement
from kdviz.saliency import RandomMasks

_MEMORY_PROGRAM = """
import sys, torch
from kdviz.bench.rise.memory import memory_of
torch.set_num_threads(int(sys.argv[2]))
print(memory_of(sys.argv[1], int(sys.argv[3])))
"""


def memory_of(kind: str, count: int) -> float:
    """Peak memory in MB of MobileNetV2 at 224 px above the prepared model: ``bare`` or by ``rise``; on Linux."""
    model = mobilenet(None)
    image = torch.rand(1, 3, SIDE, SIDE)
    probes = image * RandomMasks((SIDE, SIDE)).render(0, 8)
    form = fast_form(model, probes)
    run_bare(form, probes, 4, 4)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = status("VmRSS")
    if kind == "bare":
        run_bare(form, probes, count, 4 * count)
    else:
        explain_all({"model": model}, image, count, form.precision)
    return status("VmHWM") - before


def status(name: str) -> float:
    """A value of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def memory(device: torch.device) -> Iterator[Measurement]:
    """Peak memory of RISE over that of the bare forward pass, each in a separate process."""
    if device.type != "cpu" or not Path("/proc/self/clear_refs").exists():
        return
    bare = _memory_in_process("bare", 16)
    for count in (512, 4096):
        ours = _memory_in_process("rise", count)
        yield Measurement(
            f"memory_ratio_{count}",
            f"MobileNetV2, 224 px, {count} masks: peak memory of RISE / bare forward pass, batches of 16",
            ours / bare,
            "x",
            {"rise_mb": ours, "bare_mb": bare},
        )


def _memory_in_process(kind: str, count: int) -> float:
    command = [sys.executable, "-c", _MEMORY_PROGRAM, kind, str(torch.get_num_threads()), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
