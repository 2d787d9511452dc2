"""The end of a search: the winner, the default recipe and the best of a grid, trained with new seeds and tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdviz.core.errors import SettingError
from kdviz.core.vocabulary import Split
from kdviz.distill import Stage
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.studies.search.table import (
    FINAL,
    GRID,
    GRID_ALPHAS,
    GRID_RUNS,
    GRID_SEEDS,
    GRID_TEMPERATURES,
)
from kdviz.studies.search.trainings import Engine, Trainings


@dataclass(frozen=True)
class Candidate:
    """Settings to be trained with new seeds.

    Attributes:
        name: ``winner``, ``default`` or ``grid``.
        settings: Its settings.
        chosen_by: The validation accuracy that it was chosen by; None: it was not chosen.
    """

    name: str
    settings: Mapping[str, Any]
    chosen_by: float | None = None


def run_grid(trainings: Trainings, default: Mapping[str, Any], engine: Engine) -> Iterator[Stage]:
    """Train the grid, or what is left of it, and write search_grid.parquet after each run.

    Args:
        trainings: The trainings.
        default: Settings of the default recipe, of which temperature and alpha are varied.
        engine: As for :meth:`kdviz.studies.search.trials.Search.run`.
    """
    grid = [
        ({**default, "temperature": temperature, "alpha": alpha}, seed)
        for temperature in GRID_TEMPERATURES
        for alpha in GRID_ALPHAS
        for seed in GRID_SEEDS
    ]
    runs = [trainings.run(settings, seed) for settings, seed in grid]
    for stage in _stages(trainings, "grid", runs, engine):
        yield stage
        if stage.progress is None:
            _write_grid(trainings, grid, runs)
    _write_grid(trainings, grid, runs)


def _write_grid(
    trainings: Trainings, grid: Sequence[tuple[Mapping[str, Any], int]], runs: Sequence[TrainingRun]
) -> None:
    rows = [
        {
            **settings,
            "run": run.identity,
            "seed": seed,
            "accuracy": trainings.metrics(run)["accuracy"],
            "seconds": trainings.seconds(run),
        }
        for (settings, seed), run in zip(grid, runs, strict=True)
        if trainings.is_done(run)
    ]
    if rows:
        GRID_RUNS.write(trainings.experiment, rows, {"runs": len(runs), **trainings.about})


def best_of_grid(rows: Sequence[Mapping[str, Any]]) -> Candidate:
    """The values of the grid with the highest mean validation accuracy over its seeds, the first of several."""
    groups: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["temperature"], row["alpha"]), []).append(row)
    best = max(groups.values(), key=lambda group: np.mean([row["accuracy"] for row in group]))
    settings = {name: value for name, value in best[0].items() if name not in ("run", "seed", "accuracy", "seconds")}
    return Candidate(GRID, settings, float(np.mean([row["accuracy"] for row in best])))


def run_finals(
    trainings: Trainings, candidates: Sequence[Candidate], seeds: Sequence[int], used: Sequence[int], engine: Engine
) -> Iterator[Stage]:
    """Train each candidate with new seeds, test it, and write search_final.parquet when all are done.

    Args:
        trainings: The trainings.
        candidates: The candidates.
        seeds: The new seeds.
        used: Seeds that trials or the grid had, by which candidates were chosen.
        engine: As above.

    Raises:
        SettingError: A seed is not new, or there are fewer than two.
    """
    check_new(seeds, used)
    pairs = [(candidate, seed, trainings.run(candidate.settings, seed)) for candidate in candidates for seed in seeds]
    yield from _stages(trainings, "test", [run for _, _, run in pairs], engine)
    rows = [_final_row(trainings, *pair) for pair in pairs]
    FINAL.write(trainings.experiment, rows, {"split": str(Split.TEST), **trainings.about})


def check_new(seeds: Sequence[int], used: Sequence[int]) -> None:
    """Refuse seeds by which something was chosen already.

    Raises:
        SettingError: A seed is not new, or there are fewer than two.
    """
    if len(set(seeds)) < 2:
        raise SettingError("The test needs at least two new seeds.")
    for seed in seeds:
        if seed in used:
            raise SettingError("The seed {seed} was searched with; the test needs new ones.", seed=seed)


def _final_row(trainings: Trainings, candidate: Candidate, seed: int, run: TrainingRun) -> dict[str, Any]:
    reason = trainings.failure(run)
    if reason:
        raise SettingError(
            "'{name}' cannot be trained with the seed {seed}: {reason}", name=candidate.name, seed=seed, reason=reason
        )
    right = trainings.right(run).numpy()
    return {
        **candidate.settings,
        "candidate": candidate.name,
        "run": run.identity,
        "seed": seed,
        "chosen_by": candidate.chosen_by,
        "validation": trainings.metrics(run)["accuracy"],
        "samples": len(right),
        "accuracy": float(right.mean()),
        "right": np.packbits(right).tobytes(),
        "seconds": trainings.seconds(run),
    }


def _stages(trainings: Trainings, name: str, runs: Sequence[TrainingRun], engine: Engine) -> Iterator[Stage]:
    """Progress of those of the runs that are not done, each once."""
    left = list({run.identity: run for run in runs if not trainings.is_done(run)}.values())
    for index, progress in trainings.execute(left, engine):
        yield Stage(f"{name}, run {index + 1}", index + 1, len(left), progress)
