"""The option ``kdviz app --models``: a folder of experiments, one experiment, or checkpoints to import first."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from kdviz.core.errors import ExperimentError
from kdviz.core.files import from_home
from kdviz.core.texts.counted import counted

CHECKPOINTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".onnx", ".tar")
"""Endings of files that may hold a model's weights."""

_MOST = 12  # files of a folder that a suggested command names
_OPTIONS = (  # of kdviz import, with patterns of the names of such models' files
    ("--teacher", re.compile(r"teacher|(?<![a-z])t(?![a-z])", re.IGNORECASE)),
    ("--kd-student", re.compile(r"kd|distil", re.IGNORECASE)),
    ("--student", re.compile(r"student|alone|scratch|plain|ce(?![a-z])", re.IGNORECASE)),
)


def environment_for(path: Path) -> dict[str, str]:
    """Environment variables that make the app show the experiments at a path.

    Raises:
        ExperimentError: Nothing can be shown; the message says what is there, and which command to type.
    """
    path = from_home(path)
    if (path / "experiment.json").is_file():
        folder = path.resolve()
        print(f"kdviz: '{path}' is one experiment, which opens first", file=sys.stderr)
        return {"KDVIZ_MODELS": str(folder.parent), "KDVIZ_FIRST": folder.name}
    if not path.exists():
        raise ExperimentError("'{path}' does not exist; name a folder of experiments with --models.", path=path)
    if path.is_dir() and any(path.glob("*/experiment.json")):
        return {"KDVIZ_MODELS": str(path.resolve())}
    if path.is_dir() and not any(path.iterdir()):
        print(
            f"kdviz: '{path}' is empty; the page Models brings experiments, Bring your models makes one",
            file=sys.stderr,
        )
        return {"KDVIZ_MODELS": str(path.resolve())}
    files = checkpoints(path)
    if not files:
        raise ExperimentError(
            "There is no experiment in '{path}', and no checkpoint; name a folder of experiments with --models.",
            path=path,
        )
    verb = "is" if len(files) == 1 else "are"
    what = f"is a checkpoint, '{path}'" if path.is_file() else f"{verb} {counted(len(files), 'checkpoint')} in '{path}'"
    raise ExperimentError(
        "There {what}, but no experiment; make one with: {import_command}",
        what=what,
        import_command=import_command(files),
    )


def checkpoints(path: Path) -> list[Path]:
    """The checkpoint at a path, or those in a folder by name; a folder of timm or transformers is one itself."""
    if path.is_file():
        return [path] if path.suffix.lower() in CHECKPOINTS else []
    if (path / "config.json").is_file():
        return [path]
    files = [entry for entry in sorted(path.iterdir()) if entry.is_file() and entry.suffix.lower() in CHECKPOINTS]
    return files + [entry for entry in sorted(path.iterdir()) if (entry / "config.json").is_file()]


def import_command(files: Sequence[Path]) -> str:
    """The command ``kdviz import`` of files, each in the role that its name suggests."""
    options, parts = list(_OPTIONS), []
    for file in files[:_MOST]:
        # in this order: the name of a KD student's file may well contain 'student', but hardly 'teacher'
        option = next((option for option in options if option[1].search(file.stem)), None)
        if option is None:
            parts.append(f"--model {shlex.quote(f'{file.stem}={file}')}")
        else:
            options.remove(option)
            parts.append(f"{option[0]} {shlex.quote(str(file))}")
    return " ".join(["kdviz import --out models/mine --data DIR", *parts, *(["..."] if len(files) > _MOST else [])])
