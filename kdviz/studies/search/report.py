"""What the tables of a search say: its trials, its front, and the winner beside the default recipe and a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kdviz.experiment import Experiment
from kdviz.metrics import Difference, paired_difference
from kdviz.studies.json_values import finite
from kdviz.studies.search.objectives import ACCURACY, OBJECTIVES, Objective
from kdviz.studies.search.pareto import winner_of
from kdviz.studies.search.space import PARAMETERS
from kdviz.studies.search.table import (
    COMPLETE,
    DEFAULT,
    FINAL,
    GRID,
    GRID_ALPHAS,
    GRID_RUNS,
    GRID_SEEDS,
    GRID_TEMPERATURES,
    SEARCH,
    WINNER,
)
from kdviz.studies.tables import StudyTable

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TestedCandidate:
    """A candidate after its runs with new seeds.

    Attributes:
        name: ``winner``, ``default`` or ``grid``.
        settings: Its settings.
        chosen_by: The validation accuracy by which it was chosen; None: it was not.
        validation: Mean validation accuracy over the new seeds.
        test: Mean test accuracy over them.
        seconds: Mean time of one training.
        right: Seed -> bool (samples,).
    """

    name: str
    settings: Row
    chosen_by: float | None
    validation: float
    test: float
    seconds: float
    right: Mapping[int, np.ndarray]


@dataclass(frozen=True)
class Found:
    """When the winner was found; that it is the best of all is known only after all trials.

    Attributes:
        trials: Trials until then, the winner among them.
        seconds: Seconds of training of these trials.
        share_of_grid: The same over the seconds of the grid; None: those are not known.
    """

    trials: int
    seconds: float
    share_of_grid: float | None


@dataclass(frozen=True)
class SearchReport:
    """A search as far as it is done.

    Attributes:
        trials: Rows of search.parquet.
        about: Its note: objectives, ranges, importance...
        grid: Rows of search_grid.parquet; empty without a grid.
        candidates: Name -> what was tested with new seeds; empty before the test.
        stale: Whether the teacher has changed since.
    """

    trials: Sequence[Row]
    about: Row
    grid: Sequence[Row] = ()
    candidates: Mapping[str, TestedCandidate] | None = None
    stale: bool = False

    @property
    def objectives(self) -> list[Objective]:
        return [OBJECTIVES[name] for name in self.about.get("objectives", [ACCURACY])]

    @property
    def varied(self) -> list[str]:
        """Columns of the parameters that differ between trials."""
        return [name for name in PARAMETERS if len({row[name] for row in self.trials}) > 1]

    @property
    def complete(self) -> list[Row]:
        return [row for row in self.trials if row["state"] == COMPLETE]

    @property
    def front(self) -> list[Row]:
        return [row for row in self.trials if row["front"]]

    def count(self, state: str) -> int:
        return sum(row["state"] == state for row in self.trials)

    @cached_property
    def winner(self) -> Row | None:
        return winner_of(self.trials) if self.complete else None

    @property
    def seconds(self) -> float:
        """Seconds of training of all trials."""
        return self.seconds_of(len(self.trials))

    def seconds_of(self, count: int) -> float:
        """Seconds of training of the first trials."""
        return sum(row["seconds"] or 0.0 for row in self.trials[:count])

    @property
    def grid_runs(self) -> int:
        return len(self.grid) or len(GRID_TEMPERATURES) * len(GRID_ALPHAS) * len(GRID_SEEDS)

    @property
    def grid_seconds(self) -> float | None:
        """Seconds of training of the grid; where it was not trained, its runs times the default recipe's time."""
        if self.grid:
            return sum(row["seconds"] for row in self.grid)
        tested = (self.candidates or {}).get(DEFAULT)
        return None if tested is None else self.grid_runs * tested.seconds

    @property
    def found(self) -> Found | None:
        """When the winner was found; None: no trial is complete."""
        if self.winner is None:
            return None
        number = 1 + [row["trial"] for row in self.trials].index(self.winner["trial"])
        seconds, grid = self.seconds_of(number), self.grid_seconds
        return Found(number, seconds, seconds / grid if grid else None)

    def within(self, seconds: float) -> SearchReport:
        """The search as it would be if it had ended with the last trial whose training ends within some seconds."""
        ends = np.cumsum([row["seconds"] or 0.0 for row in self.trials])
        return SearchReport(self.trials[: int((ends <= seconds).sum())], self.about, self.grid)

    def against(self, name: str) -> Difference | None:
        """Test accuracy of the winner less that of another candidate, over the seeds that both have; None: untested."""
        tested = self.candidates or {}
        if WINNER not in tested or name not in tested:
            return None
        winner, other = tested[WINNER].right, tested[name].right
        shared = [seed for seed in winner if seed in other]
        return paired_difference(
            np.stack([other[seed] for seed in shared]), np.stack([winner[seed] for seed in shared])
        )

    def to_json(self) -> dict[str, Any]:
        """The numbers; None for what is not known."""
        tested = {
            name: {key: value for key, value in asdict(each).items() if key != "right"}
            for name, each in (self.candidates or {}).items()
        }
        differences = {name: self.against(name) for name in (DEFAULT, GRID)}
        document = {
            "trials": list(self.trials),
            "objectives": [objective.name for objective in self.objectives],
            "importance": self.about.get("importance", {}),
            "winner": self.winner,
            "candidates": tested,
            "differences": {name: None if each is None else asdict(each) for name, each in differences.items()},
            "seconds": self.seconds,
            "found": None if self.found is None else asdict(self.found),
            "grid": {"runs": self.grid_runs, "seconds": self.grid_seconds, "trained": bool(self.grid)},
        }
        return finite(document)


def rows_of(table: StudyTable, experiment: Experiment, search: Row) -> list[dict[str, Any]]:
    """The rows of one of the search's tables; empty without it, and where it is of another search.

    Args:
        table: The grid's runs, or those of the test.
        experiment: The experiment.
        search: The note of the search's own table.

    Raises:
        ExperimentError: The table is damaged.
    """
    found = table.read(experiment)
    if found is None:
        return []
    about = table.about(found)
    is_of_it = all(about.get(name) == search.get(name) for name in ("network", "teacher", "data"))
    return found.to_pylist() if is_of_it else []


def settings_in(row: Row) -> dict[str, Any]:
    """The settings of a row."""
    return {name: row[name] for name in PARAMETERS}


def read_search_report(experiment: Experiment) -> SearchReport | None:
    """The report on the tables of a search; None: nothing was searched.

    Raises:
        ExperimentError: A table is damaged.
    """
    table = SEARCH.read(experiment)
    if table is None:
        return None
    try:
        about = SEARCH.about(table)
        teacher = experiment.runs["teacher"].sha256 if "teacher" in experiment.runs else ""
        stale = bool(about.get("teacher")) and not teacher.startswith(about["teacher"])
        further = (rows_of(GRID_RUNS, experiment, about), rows_of(FINAL, experiment, about))
        return report_of(table.to_pylist(), about, *further, stale)
    except (KeyError, TypeError, ValueError) as error:
        raise SEARCH.damaged(experiment) from error


def report_of(
    trials: Sequence[Row], about: Row, grid: Sequence[Row] = (), final: Sequence[Row] = (), stale: bool = False
) -> SearchReport:
    """The report on rows of the three tables; tests of another winner than that of now are left away."""
    report = SearchReport(trials, about, grid, None, stale)
    tested = {name: _tested(name, [row for row in final if row["candidate"] == name]) for name in _names(final)}
    winner = tested.get(WINNER)
    if winner is None or report.winner is None or winner.settings != settings_in(report.winner):
        return report
    return SearchReport(trials, about, grid, tested, stale)


def _names(final: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["candidate"] for row in final))


def _tested(name: str, rows: Sequence[Row]) -> TestedCandidate:
    right = {
        row["seed"]: np.unpackbits(np.frombuffer(row["right"], np.uint8), count=row["samples"]).astype(bool)
        for row in rows
    }
    means = {column: float(np.mean([row[column] for row in rows])) for column in ("validation", "accuracy", "seconds")}
    return TestedCandidate(
        name,
        settings_in(rows[0]),
        rows[0]["chosen_by"],
        means["validation"],
        means["accuracy"],
        means["seconds"],
        right,
    )
