"""A study's curves for other tools."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from kdviz.core.errors import SettingError
from kdviz.core.files import require_writable
from kdviz.experiment import Experiment


def write_events(experiment: Experiment, table: str, folder: str | Path) -> int:
    """Write the curves of a study's runs as TensorBoard event files, one folder a run; return how many runs.

    A run's folder has the name of its role, its setting and its seed; what was there is replaced.

    Args:
        experiment: Has the table and curves.parquet.
        table: A study's table.
        folder: Where to write; ``tensorboard --logdir`` reads it.

    Raises:
        SettingError: TensorBoard is not installed.
        ExperimentError: A table is missing.
        KdvizError: Nothing can be written there.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingError(
            '--tensorboard needs TensorBoard; install it with: pip install "kdviz[tensorboard]"'
        ) from error
    require_writable(folder)
    curves = _curves(experiment, table)
    for name, rows in curves.items():
        place = Path(folder) / name
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(str(place)) as writer:
            for row, figure, split in product(rows, ("loss", "accuracy"), ("train", "validation")):
                writer.add_scalar(f"{figure}/{split}", row[f"{split}_{figure}"], row["epoch"])
    return len(curves)


def _curves(experiment: Experiment, table: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of curves.parquet by the names of a table's runs."""
    names = {row["run"]: _name(row) for row in experiment.table(table).to_pylist()}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in experiment.table("curves").to_pylist():
        if row["run"] in names:
            found.setdefault(names[row["run"]], []).append(row)
    return found


def _name(row: dict[str, Any]) -> str:
    parts = [row["role"]]
    parts += [f"T{row['temperature']:g}"] if row["temperature"] is not None else []
    parts += [f"alpha{row['alpha']:g}"] if row["alpha"] is not None else []
    parts += [row["kd_loss"]] if row["kd_loss"] not in (None, "soft_targets") else []
    parts += [f"teacher{row['teacher_epochs']}"] if row["role"] == "kd_student" and row["teacher_epochs"] else []
    return "-".join([*parts, f"seed{row['seed']}", row["run"][:6]])
