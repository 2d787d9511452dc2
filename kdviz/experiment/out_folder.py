"""The folder that an experiment is written to: what may be replaced there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from kdviz.core.errors import ExperimentError
from kdviz.core.files import PART

_OF_A_TRAINING = re.compile(rf"runs|[\w-]+-[0-9a-f]{{8,64}}\.(safetensors|onnx)|.*{re.escape(PART)}")
_NAMED = 3  # entries that a refusal names


def require_experiment_or_nothing(out: str | Path) -> None:
    """Check that an experiment may be written to a folder: that nothing is lost there but an earlier experiment.

    Args:
        out: The folder. It may be missing or empty, or hold an experiment or the beginning of a training.

    Raises:
        ExperimentError: Something else is there.
    """
    path = Path(out)
    try:
        if path.is_file():
            raise ExperimentError("'{out}' is a file; name a folder for the experiment with --out.", out=out)
        entries = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    except OSError as error:
        raise ExperimentError(
            "'{out}' cannot be looked into: {reason}; name another folder with --out.",
            out=out,
            reason=error.strerror or error,
        ) from error
    if "experiment.json" in entries:
        _require_experiment(path)
        return
    # Hidden files are a system's own, or locks; a training that was interrupted has no experiment.json yet.
    foreign = [name for name in entries if not name.startswith(".") and not _OF_A_TRAINING.fullmatch(name)]
    if foreign:
        raise ExperimentError(
            "'{out}' is no experiment and holds other things ({names}); name a new folder with --out, such as "
            "models/mine.",
            out=out,
            names=", ".join(foreign[:_NAMED]) + (", ..." if len(foreign) > _NAMED else ""),
        )


def _require_experiment(path: Path) -> None:
    try:
        document = json.loads((path / "experiment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "runs" not in document:
        raise ExperimentError(
            "'{out}' has an experiment.json that is not one of kdviz; name a new folder with --out.", out=path
        )
