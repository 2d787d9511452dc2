"""Scripts of an exported folder, run in a process that can import nothing of kdviz, torch or any other library."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ALLOWED = ("numpy", "onnxruntime", "flatbuffers", "google", "packaging")  # onnxruntime and what it needs
_START = """
import runpy, sys
allowed = set(sys.argv.pop(1).split(",")) | set(sys.stdlib_module_names)

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed and not name.startswith("_"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_alone(
    script: Path, *arguments: str, also: Sequence[str] = (), folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script with numpy and onnxruntime alone.

    Args:
        script: The script.
        arguments: Of the script.
        also: Further packages that may be imported.
        folder: Where it is run; default: where the tests run.
    """
    allowed = ",".join([*_ALLOWED, *also])
    command = [sys.executable, "-I", "-c", _START, allowed, str(script), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=600, cwd=folder
    )
