"""Benchmarks of the app as people use it: waiting times and the cost of many sessions, against their targets."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdviz.bench import app_load, app_pages
from kdviz.bench.app_browser import chromium_path
from kdviz.bench.app_rows import TargetRow, single_row
from kdviz.bench.app_server import Server, end_on_sigterm
from kdviz.bench.strain import strain
from kdviz.bench.strain.crowd import crowd
from kdviz.core.errors import SettingError

_HOUR = 3600.0


@dataclass(frozen=True)
class Effort:
    """Amounts of measurement.

    Attributes:
        repeats: Repeats of everything that a person waits for.
        starts: Starts of the server.
        rounds: Rounds of five people at once.
        seconds: Duration for which 25 sessions rerun.
        samples: Number of samples of the large experiment.
        computations: Number of computations over which memory is watched.
        masks: Number of masks of each of these.
        hour: Watch memory, and let a crowd use the server, for an hour.
        crowd: Seconds for which a crowd uses the server.
        pause: Mean seconds for which one of them looks at a view.
        deaths: How often the worker is killed.
        between_deaths: Seconds from one to the next.
    """

    repeats: int = 9
    starts: int = 3
    rounds: int = 5
    seconds: float = 30.0
    samples: int = 50_000
    computations: int = 200
    masks: int = 2000
    hour: bool = False
    crowd: float = 300.0
    pause: float = 15.0
    deaths: int = 5
    between_deaths: float = 60.0


QUICK = Effort(
    repeats=3,
    starts=1,
    rounds=1,
    seconds=8,
    samples=5_000,
    computations=100,
    masks=100,
    crowd=40.0,
    pause=5.0,
    deaths=3,
    between_deaths=3.0,
)


def bench_app(
    quick: bool = False, parts: Sequence[str] = (), data: str | None = None, hour: bool = False
) -> Iterator[TargetRow]:
    """Start the app, use it, and measure; all started processes end with the last row, or with an error.

    Args:
        quick: Fewer repeats, and a smaller gallery.
        parts: Names in ``PARTS``; empty: all.
        data: Folder of the official MNIST, for the large gallery; None: shifted copies of the bundled digits.
        hour: Watch memory, and let a crowd use the server, for an hour.

    Raises:
        SettingError: There is no such part, or no browser.
        KdvizError: The app does not start, or shows nothing within four minutes.
    """
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise SettingError(
            "'{unknown}' is no part of the bench of the app; there are: {parts}.",
            unknown=unknown[0],
            parts=", ".join(PARTS),
        )
    chromium_path()  # fail now, not after minutes
    end_on_sigterm()
    effort = Effort(**{**vars(QUICK if quick else Effort()), "hour": hour})
    for name in parts or PARTS:
        yield from PARTS[name](effort, None if data is None else Path(data))


def _opening(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    yield from app_pages.opening(effort.repeats, effort.starts)


def _compare(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    with Server() as server:
        yield from app_pages.compare(server, effort.repeats)
        yield _errors(server, "compare")


def _stop(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    with Server() as server:
        yield from app_pages.stopping(server, effort.repeats)
        yield _errors(server, "stop")


def _people(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    with Server() as server:
        yield from app_pages.people(server, effort.rounds)
        yield _errors(server, "people")


def _gallery(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    from kdviz.bench.app_data import large_experiment

    with tempfile.TemporaryDirectory() as folder:
        name = f"digits-{effort.samples}"
        large_experiment(Path(folder) / name, data, effort.samples)
        yield from app_pages.gallery(Path(folder), name, effort.samples, effort.repeats)


def _classes(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    from kdviz.bench.app_data import many_classes

    with tempfile.TemporaryDirectory() as folder:
        many_classes(Path(folder) / "many", effort.samples)
        yield from app_pages.classes(Path(folder), "many", effort.samples, effort.repeats)


def _sessions(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    with Server() as server:
        yield from app_load.many_sessions(server, effort.seconds)
        yield _errors(server, "sessions")


def _memory(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    with Server() as server:
        yield from app_load.growth(server, effort.computations, effort.masks, effort.hour)
        yield _errors(server, "memory")


def _strain(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    with Server() as server:
        yield from strain(server, effort.seconds, effort.deaths, effort.between_deaths)
        yield _errors(server, "strain")


def _crowd(effort: Effort, data: Path | None) -> Iterator[TargetRow]:
    with Server() as server:
        yield from crowd(server, _HOUR if effort.hour else effort.crowd, effort.pause)
        yield _errors(server, "crowd")


def _errors(server: Server, part: str) -> TargetRow:
    """The number of errors: times of failed pages would be meaningless."""
    return single_row(f"errors_{part}", f"errors in the server's log, {part}", server.problems, 0, "")


PARTS: dict[str, Callable[[Effort, Path | None], Iterator[TargetRow]]] = {
    "opening": _opening,
    "compare": _compare,
    "stop": _stop,
    "people": _people,
    "gallery": _gallery,
    "classes": _classes,
    "sessions": _sessions,
    "memory": _memory,
    "strain": _strain,
    "crowd": _crowd,
}
