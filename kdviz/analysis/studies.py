"""Studies over many trainings, as tidy tables that grow run by run and can be continued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from kdviz.analysis.evaluation import model_metrics
from kdviz.datasets import mnist
from kdviz.distill import Stage, TrainingConfig, check_teacher, predict_logits, train_student
from kdviz.distill.losses import check_distillation
from kdviz.errors import ExperimentError, SettingError
from kdviz.experiment import Experiment
from kdviz.networks import choose_device

TEMPERATURE_SCHEMA = pa.schema(
    [
        ("role", pa.string()),
        ("temperature", pa.float64()),
        ("alpha", pa.float64()),
        ("seed", pa.int32()),
        ("teacher", pa.string()),
        ("student", pa.string()),
        ("epochs", pa.int32()),
        ("batch_size", pa.int32()),
        ("learning_rate", pa.float64()),
        ("split", pa.string()),
        ("samples", pa.int32()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
        ("ece", pa.float64()),
        ("same_as_teacher", pa.float64()),
        ("inherited_errors", pa.float64()),
    ]
)
"""temperature.parquet: one row a model and split. ``temperature`` is null for the teacher and the student alone.

``teacher`` (start of its weights' SHA-256), ``student`` (network), ``epochs``, ``batch_size`` and ``learning_rate`` are
the recipe, the same in all rows.
"""


def temperature_sweep(
    experiment: Experiment,
    data: str | Path | None,
    temperatures: Sequence[float],
    seeds: Sequence[int],
    config: TrainingConfig,
) -> Iterator[Stage]:
    """Distil one student for each temperature and seed, and one alone for each seed; write temperature.parquet.

    The experiment's teacher speaks once for all of them: its logits of the training digits are cached. The
    table is written after each training, and what it holds already is not trained again.

    Raises:
        SettingError: No values, one outside its range, or a setting that temperature.parquet does not record.
        ModelError: The teacher's classes are not those of the data.
        ExperimentError: The experiment is not one of MNIST, has no teacher or no KD student, or its table was
            made with another teacher or recipe.
        DatasetError: See :func:`kdviz.datasets.mnist`.
    """
    _check(experiment, temperatures, seeds, config)
    temperatures, seeds = list(dict.fromkeys(temperatures)), list(dict.fromkeys(seeds))
    recipe = _recipe(experiment, config)
    rows = _earlier_rows(experiment, recipe)
    splits = mnist(data)
    teacher = experiment.runs["teacher"].on(choose_device(config.device))
    check_teacher(teacher, experiment.classes, splits["train"].classes)
    soft = predict_logits(teacher, splits["train"], experiment.input.normalise, device=config.device)
    measured = {name: samples for name, samples in splits.items() if name != "train"}
    spoken = {
        name: predict_logits(teacher, samples, experiment.input.normalise, device=config.device)
        for name, samples in measured.items()
    }
    for name, samples in measured.items():
        metrics = model_metrics(spoken[name], samples.labels, None)
        rows.append(_row("teacher", None, None, None, recipe, name, metrics))
    done = {(row["role"], row["temperature"], row["alpha"], row["seed"]) for row in rows}
    plan = [(None, seed) for seed in seeds] + [(float(value), seed) for value in temperatures for seed in seeds]
    todo = [item for item in plan if _key(*item, config) not in done]
    for number, (temperature, seed) in enumerate(todo, 1):
        own = replace(config, seed=seed, temperature=temperature or config.temperature)
        name = f"{'alone' if temperature is None else f'T={temperature:g}'}, seed {seed}"
        training = train_student(
            splits, _student(experiment), experiment.input, own, None if temperature is None else soft
        )
        network = yield from _staged(training, name, number, len(todo))
        role, _, alpha, _ = _key(temperature, seed, config)
        for split, samples in measured.items():
            logits = predict_logits(network, samples, experiment.input.normalise, device=config.device)
            metrics = model_metrics(logits, samples.labels, spoken[split].argmax(1).numpy())
            rows.append(_row(role, temperature, alpha, seed, recipe, split, metrics))
        experiment.write_table("temperature", pa.Table.from_pylist(rows, TEMPERATURE_SCHEMA))


def _staged(training: Any, name: str, number: int, count: int) -> Any:
    while True:
        try:
            progress = next(training)
        except StopIteration as end:
            return end.value
        yield Stage(name, number, count, progress)


def _key(temperature: float | None, seed: int, config: TrainingConfig) -> tuple[str, float | None, float | None, int]:
    if temperature is None:
        return "student", None, None, seed
    return "kd_student", temperature, float(config.alpha), seed


def _row(
    role: str,
    temperature: float | None,
    alpha: float | None,
    seed: int | None,
    recipe: dict[str, Any],
    split: str,
    metrics: dict[str, float],
) -> dict[str, Any]:
    own = {"role": role, "temperature": temperature, "alpha": alpha, "seed": seed, "split": split}
    return {**own, **recipe, **metrics, "samples": int(metrics["samples"])}


def _recipe(experiment: Experiment, config: TrainingConfig) -> dict[str, Any]:
    return {
        "teacher": experiment.runs["teacher"].sha256[:8],
        "student": _student(experiment),
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
    }


def _earlier_rows(experiment: Experiment, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The students that the table holds already; a table of another recipe must not be continued."""
    if not experiment.has_table("temperature"):
        return []
    rows = experiment.table("temperature").to_pylist()
    for name, value in recipe.items():
        other = next((row.get(name) for row in rows if row.get(name) != value), value)
        if other != value:
            raise ExperimentError(
                f"'{experiment.folder / 'temperature.parquet'}' was made with {name} {other}, not {value}; "
                "sweep with the same settings, or move that file away to begin anew."
            )
    return [row for row in rows if row["role"] != "teacher"]


def _student(experiment: Experiment) -> str:
    return experiment.runs["kd_student"].network


def _check(experiment: Experiment, temperatures: Sequence[float], seeds: Sequence[int], config: TrainingConfig) -> None:
    for role in ("teacher", "kd_student"):
        if role not in experiment.runs:
            raise ExperimentError(f"'{experiment.folder}' has no {role}, which a temperature sweep needs.")
    if "teacher_2" in experiment.runs:
        raise ExperimentError(f"'{experiment.folder}' has several teachers; a temperature sweep distils from one.")
    if experiment.dataset != "mnist":
        raise ExperimentError(f"A sweep on the data set '{experiment.dataset}' is not supported; mnist is.")
    if not temperatures or not seeds:
        raise SettingError("A sweep needs at least one value and one seed.")
    _check_recorded(config)
    for value in temperatures:
        check_distillation(value, float(config.alpha))


def _check_recorded(config: TrainingConfig) -> None:
    """Refuse what temperature.parquet has no column for."""
    if isinstance(config.alpha, str):
        raise SettingError(f"A temperature sweep needs the same alpha in all epochs, got '{config.alpha}'.")
    default = TrainingConfig()
    for name in ("loss", "loss_options", "kd_epochs", "label_smoothing", "class_weights", "teacher_weights"):
        if getattr(config, name) != getattr(default, name):
            raise SettingError(f"A temperature sweep cannot change {name}: its table does not record it.")


def accuracy_by_temperature(table: pa.Table, split: str = "test", alpha: float | None = None) -> list[dict[str, Any]]:
    """Mean and spread over seeds for each temperature, and for the student alone (temperature None).

    Args:
        table: temperature.parquet.
        split: Which samples.
        alpha: KD students of this alpha; None: of the one with most rows.

    Returns:
        Dicts with role, temperature, seeds, accuracy, accuracy_sd (sample standard deviation; None for one
        seed), accuracy_low and accuracy_high, and the means of loss, ece, same_as_teacher, inherited_errors.
    """
    rows = [row for row in table.to_pylist() if row["split"] == split]
    alphas = [row["alpha"] for row in rows if row["alpha"] is not None]
    wanted = alpha if alpha is not None else max(alphas, key=alphas.count, default=None)
    rows = [row for row in rows if row["alpha"] in (None, wanted)]
    groups: dict[tuple[str, float | None], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["role"], row["temperature"]), []).append(row)
    return [_summary(role, temperature, group) for (role, temperature), group in sorted(groups.items(), key=_order)]


def _order(item: tuple[tuple[str, float | None], Any]) -> tuple[str, float]:
    (role, temperature), _ = item
    return role, temperature or 0.0


def _summary(role: str, temperature: float | None, group: list[dict[str, Any]]) -> dict[str, Any]:
    accuracy = torch.tensor([row["accuracy"] for row in group], dtype=torch.float64)
    summary: dict[str, Any] = {
        "role": role,
        "temperature": temperature,
        "seeds": len(group),
        "accuracy": float(accuracy.mean()),
        "accuracy_sd": float(accuracy.std()) if len(group) > 1 else None,
        "accuracy_low": float(accuracy.min()),
        "accuracy_high": float(accuracy.max()),
    }
    for name in ("loss", "ece", "same_as_teacher", "inherited_errors"):
        values = [row[name] for row in group if row[name] is not None]
        summary[name] = sum(values) / len(values) if values else None
    return summary
