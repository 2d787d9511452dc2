"""A study's curves as files for other tools."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from kdviz.core.errors import SettingError
from kdviz.core.files import require_writable
from kdviz.core.vocabulary import Role, Split
from kdviz.distill.transfer_sets.registry import TRAINING
from kdviz.experiment import Experiment


def write_events(experiment: Experiment, table: str, folder: str | Path) -> int:
    """Write the curves of a study's runs as TensorBoard event files, one folder a run; return how many runs.

    A run's folder is named by its role, its setting and its seed; event files in it are replaced.

    Args:
        experiment: The experiment with the table and curves.parquet.
        table: Name of a study's table.
        folder: Folder to write to, which ``tensorboard --logdir`` reads.

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
        run_folder = Path(folder) / name
        for event_file in run_folder.glob("events.out.tfevents.*"):
            event_file.unlink()
        with SummaryWriter(str(run_folder)) as writer:
            for row, figure, split in product(rows, ("loss", "accuracy"), (Split.TRAIN, Split.VALIDATION)):
                writer.add_scalar(f"{figure}/{split}", row[f"{split}_{figure}"], row["epoch"])
    return len(curves)


def _curves(experiment: Experiment, table: str) -> dict[str, list[dict[str, Any]]]:
    """Folder name of each of the table's runs -> its rows of curves.parquet."""
    names = {row["run"]: _name(row) for row in experiment.table(table).to_pylist()}
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in experiment.table("curves").to_pylist():
        if row["run"] in names:
            curves.setdefault(names[row["run"]], []).append(row)
    return curves


def _name(row: dict[str, Any]) -> str:
    parts = [row["role"]]
    parts += [f"T{row['temperature']:g}"] if row["temperature"] is not None else []
    parts += [f"alpha{row['alpha']:g}"] if row["alpha"] is not None else []
    parts += [row["kd_loss"]] if row["kd_loss"] not in (None, "soft_targets") else []
    parts += [row["transfer_set"].replace("/", "-")] if row.get("transfer_set") not in (None, TRAINING) else []
    parts += [f"teacher{row['teacher_epochs']}"] if row["role"] == Role.KD_STUDENT and row["teacher_epochs"] else []
    return "-".join([*parts, f"seed{row['seed']}", row["run"][:6]])
