"""What the tests of runs and studies have in common: a few small digits, and studies of them that take no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL

from kdviz.core.files import Store
from kdviz.data import LabelledImages
from kdviz.distill import TrainingConfig, training
from kdviz.distill.runs import execute_run
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.studies.sweep.runner import Cost, Sweep

CONFIG = TrainingConfig(epochs=2, batch_size=50, device="cpu", bf16="off")
SIZES = {"train": 200, "validation": 80, "test": 120}


def small_splits(samples: LabelledImages, sizes: dict[str, int] = SIZES) -> dict[str, LabelledImages]:
    """Disjoint random parts of the samples."""
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    parts = order[: sum(sizes.values())].split(list(sizes.values()))
    return {name: samples.take(part, name) for name, part in zip(sizes, parts, strict=True)}


def a_run(
    config: TrainingConfig = CONFIG, network: str = "paper_fc", data: str = "some data", **more: Any
) -> TrainingRun:
    return TrainingRun(more.pop("role", "student"), network, config, data, SMALL, **more)


def done(run: TrainingRun, splits: dict[str, LabelledImages], folder: str | Path) -> list:
    """All progress of a run."""
    return list(execute_run(run, splits, Store(folder), "cpu", 1))


def finish(sweep: Sweep, **options: Any) -> list:
    """All stages of a study; without its estimate, unless it is asked for."""
    return list(sweep.run(**{"estimate": False, "threads": 1, **options}))


def costs(events: list) -> list[Cost]:
    return [event for event in events if isinstance(event, Cost)]


def comparable(table: Any) -> list[dict]:
    """The rows of a table in one order, without what a clock says."""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in table.to_pylist()]
    return sorted(rows, key=str)


class Trainings:
    """Counts what is trained: ``started`` has (seed, temperature or None), ``epochs`` one entry each."""

    def __init__(self) -> None:
        self.started: list[tuple[int, Any]] = []
        self.epochs: list[tuple[int, int]] = []

    def fit(self, network: Any, *args: Any, **options: Any) -> Iterator[Any]:
        config, soft = args[3], args[4] if len(args) > 4 else options.get("teacher_logits")
        number = len(self.started)
        self.started.append((config.seed, None if soft is None else config.temperature))
        for progress in training.fit(network, *args, **options):
            if not progress.ends_epoch and (number, progress.epoch) not in self.epochs:
                self.epochs.append((number, progress.epoch))
            yield progress

    def clear(self) -> None:
        self.started, self.epochs = [], []


def count_trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """From now on, what studies train in this process."""
    counted = Trainings()
    monkeypatch.setattr("kdviz.distill.runs.fit", counted.fit)
    return counted
