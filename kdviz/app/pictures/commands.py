"""Commands that pages name, which bring the pictures of an experiment."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from kdviz.core.files import MODELS
from kdviz.experiment import ROLES, Experiment, Run


def import_command(runs: Iterable[Run], folder: str) -> str:
    """The command that imports the same files again, with pictures.

    Args:
        runs: The runs of the experiment.
        folder: Its folder, as a command would name it.
    """
    return " ".join(["kdviz import --out", shlex.quote(folder), "--data DIR", *map(_import_option, runs)])


def _import_option(run: Run) -> str:
    """A run as an option of kdviz import."""
    file = str(run.training.get("import", {}).get("file", "FILE"))
    if not run.has_model:
        return f"--predictions {shlex.quote(f'{run.role}={file}')}"
    if run.role in ROLES:
        return f"--{run.role.replace('_', '-')} {shlex.quote(file)}"
    return f"--model {shlex.quote(f'{run.title or run.role}={file}')}"


def get_command(experiment: Experiment, folder: str) -> str:
    """The command that fetches the pictures of an experiment.

    Args:
        experiment: The experiment.
        folder: Its folder, as a command would name it.
    """
    is_bundled = experiment.folder.resolve().parent == MODELS.resolve()
    return f"kdviz get {shlex.quote(experiment.name if is_bundled else folder)}"
