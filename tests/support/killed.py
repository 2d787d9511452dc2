"""Commands that are killed, or told to end, at random moments, again and again: what is lost each time?

A process that has imported kdviz forks the command. A moment is a number of steps of work, as the command counts them,
and a part of the time of a step: by time alone, most signals would fall into the start on a machine that has other
things to do. By hand, a line a command::

    PYTHONPATH=.:tests:tests/support python tests/support/killed.py KILL|TERM 50 [COMMAND...]
"""

from __future__ import annotations

import importlib
import math
import mmap
import os
import pkgutil
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from faulty import half_written, pictures_of_two_classes, training
from safetensors import safe_open
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

import kdviz
from kdviz.cli import main
from kdviz.core.files import parquet_of
from kdviz.core.processes.folder_lock import writing
from kdviz.core.processes.stopping import STATUS
from kdviz.experiment import load_experiment

_TRAININGS, _STEPS = ("train", "sweep", "tune"), 6  # steps of an epoch
_TIMES = ("seconds",)  # columns of a search that no two have alike


@dataclass
class Killed:
    """What came out of it.

    Attributes:
        kills: How often it was killed before its end.
        met: How many of these came after the first step of its work: of a training, or of a model.
        ends: How often it came to its end, after which it began anew.
        faults: What was damaged, or not the same as without a kill.
        lost: What was done again after a kill, on average: epochs of a training, or the share of another command.
        seconds: The longest time from the signal to the end.
        left: Kills after which a temporary file was left, which the next command removed.
    """

    kills: int = 0
    met: int = 0
    ends: int = 0
    faults: list[str] = field(default_factory=list)
    lost: float = 0.0
    left: int = 0
    seconds: float = 0.0


def import_all() -> None:
    """Import what commands import when they are run, which would take most of their time here."""
    for module in pkgutil.walk_packages(kdviz.__path__, "kdviz."):
        if not module.name.startswith(("kdviz.app", "kdviz.__main__", "kdviz.serving.worker")):
            importlib.import_module(module.name)
    for name in (
        "torchvision.transforms.v2",
        "onnxruntime",
        "scipy.stats",
        "tqdm",
        "PIL.TiffImagePlugin",
        "optuna",
        "sqlalchemy",
    ):
        importlib.import_module(name)


class Killing:
    """One command in a folder.

    Args:
        room: A folder of its own.
        verb: A key of :meth:`arguments`.
        epochs: Of each training.
    """

    def __init__(self, room: Path, verb: str, epochs: int = 12):
        import_all()
        self.seconds = 0.0
        self._counter = mmap.mmap(-1, 8)  # shared with the processes that are forked
        if verb in _TRAININGS:
            self._hook = register_optimizer_step_post_hook(lambda *_: self._count())
        else:
            self._hook = register_module_forward_hook(lambda *_: self._count())
        self.room, self.verb, self.epochs = room, verb, epochs
        self.out, self.log = room / "e", room / "log.txt"
        self.data = pictures_of_two_classes(room / "data", 48)
        self.base = room / "base" / "e"
        if verb != "train":
            self.fork_and_wait(training(self.data, self.base, "--epochs", "2"))

    @property
    def work(self) -> int:
        """What all processes have done: steps of optimisers, or passes of layers."""
        return int.from_bytes(self._counter[:], "little")

    @work.setter
    def work(self, count: int) -> None:
        self._counter[:] = count.to_bytes(8, "little")

    def _count(self) -> None:
        self.work += 1

    def close(self) -> None:
        self._hook.remove()

    def arguments(self) -> list[str]:
        of, data = ["-e", str(self.out)], ["--data", str(self.data)]
        weights = next(self.base.glob("teacher-*.safetensors"), None)
        one = ["--device", "cpu", "--threads", "1"]
        names = ["--classes", "dark,light", "--data", str(self.data / "test")]
        return {
            "train": training(self.data, self.out, "--epochs", str(self.epochs)),
            "sweep": [
                "sweep",
                "temperature",
                *of,
                *data,
                "--values",
                "1,4",
                "--seeds",
                "0,1",
                "--epochs",
                "6",
                "--batch-size",
                "8",
                *one,
            ],
            "evaluate": ["evaluate", *of, *data, *one],
            "study": [
                "study",
                *of,
                *data,
                "--study",
                "models",
                "--images",
                "12",
                "--masks",
                "200",
                "--faithfulness",
                "4",
                *one,
            ],
            "tune": [
                *("tune", *of, *data, "--trials", "4", "--epochs", "2:6", "--batch-size", "8"),
                *("--test-seeds", "7,8", *one),
            ],
            "import": ["import", "--out", str(self.out), "--teacher", f"{weights},network=paper_fc", *names],
            "compress": ["compress", *of, *data, "--of", "teacher", "--int8", *one],
        }[self.verb]

    def begin(self) -> None:
        """The folder as it is before the command."""
        shutil.rmtree(self.out, ignore_errors=True)
        if self.verb != "train":
            shutil.copytree(self.base, self.out)
        if self.verb == "import":  # an earlier import is replaced
            shutil.rmtree(self.out)
            work = self.work
            self.fork_and_wait(self.arguments())
            self.work = work

    def fork(self, arguments: list[str]) -> int:
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            status = main(arguments)
        finally:
            os._exit(status)

    def fork_and_wait(self, arguments: list[str]) -> float:
        start = time.monotonic()
        _, status = os.waitpid(self.fork(arguments), 0)
        assert status == 0, self.log.read_text()[-2000:]
        return time.monotonic() - start

    def kill_after(self, steps: int, seconds: float, number: int = signal.SIGKILL) -> bool:
        """Run the command for some steps and some time; whether it was ended by the signal, and not by itself."""
        steps, end, child = self.work + steps, math.inf, self.fork(self.arguments())
        while time.monotonic() < end:
            if os.waitpid(child, os.WNOHANG)[0]:
                return False
            if end == math.inf and self.work >= steps:
                end = time.monotonic() + seconds
            time.sleep(0.001)
        start = time.monotonic()
        os.kill(child, number)
        _, status = os.waitpid(child, 0)
        self.seconds = max(self.seconds, time.monotonic() - start)
        was_ended = os.waitstatus_to_exitcode(status) in (-signal.SIGKILL, STATUS)
        return was_ended and not self.is_complete()

    def is_complete(self) -> bool:
        """Whether a training has just come to its end, so that the next one begins anew."""
        is_made = (self.out / "predictions.parquet").exists() and (self.out / "experiment.json").exists()
        return self.verb == "train" and is_made and not (self.out / "runs" / "unfinished").exists()


def run(room: Path, verb: str, kills: int, number: int = signal.SIGKILL, seed: int = 0) -> Killed:
    """Send a command a signal so many times, and compare its end with that of one that nobody has ended."""
    killing, result, chance = Killing(room, verb), Killed(), random.Random(seed)
    killing.begin()
    killing.work = 0
    whole = killing.fork_and_wait(killing.arguments())
    expected, work = outcome_of(killing.out), killing.work
    killing.begin()
    killing.work = 0
    while result.kills < kills:
        before, steps = killing.work, chance.randrange(work)
        was_killed = killing.kill_after(steps, chance.uniform(0, whole / work), number)
        result.faults += damaged(killing.out)
        if number == signal.SIGTERM and was_killed:
            result.faults += not_said(killing)
        if was_killed:
            result.kills += 1
            result.met += killing.work > before
            result.left += any(path.suffix != ".lock" for path in half_written(killing.out))
            continue
        result.ends += 1
        if "Traceback" in killing.log.read_text(errors="replace"):
            result.faults.append(killing.log.read_text(errors="replace")[-500:])
        result.faults += [] if outcome_of(killing.out) == expected else ["another outcome"]
        killing.begin()
    killing.fork_and_wait(killing.arguments())
    result.faults += damaged(killing.out)
    result.faults += [] if outcome_of(killing.out) == expected else ["another outcome"]
    again = killing.work - (result.ends + 1) * work
    result.lost = again / kills / (_STEPS if verb in _TRAININGS else work)
    with writing(killing.out, "test"):  # tidies up what the last kill left
        pass
    result.faults += [str(path) for path in half_written(killing.out)]
    killing.close()
    result.seconds = killing.seconds
    return result


def not_said(killing: Killing) -> list[str]:
    """What a command that was told to end did not do."""
    log = killing.log.read_text(errors="replace")
    faults = [f"left {path.name}" for path in half_written(killing.out)]
    if "Traceback" in log or (log and not log.rstrip().endswith("kdviz: stopped.")):
        faults.append(f"said {log[-500:]}")
    return faults


def outcome_of(folder: Path) -> dict[str, object]:
    """What must be the same however often a command was killed: the weights, and the trials of a search."""
    experiment = load_experiment(folder)
    outcome: dict[str, object] = {role: run.sha256 for role, run in experiment.runs.items()}
    for name in ("search", "search_final"):
        if experiment.has_table(name):
            rows = experiment.table(name).to_pylist()
            outcome[name] = [{key: value for key, value in row.items() if key not in _TIMES} for row in rows]
    return outcome


def damaged(folder: Path) -> list[str]:
    """What in an experiment's folder cannot be read, by whatever name it has but a temporary one."""
    faults = []
    for path in folder.rglob("*"):
        try:
            if path.name.startswith("."):
                continue
            if path.suffix == ".parquet":
                parquet_of(path.read_bytes())
            elif path.suffix == ".safetensors":
                with safe_open(path, "np") as file:
                    file.keys()
            elif path.name == "experiment.json":
                load_experiment(folder)
            elif path.suffix == ".db":
                faults += damaged_database(path)
        except Exception as error:
            faults.append(f"{path.name}: {type(error).__name__}: {error}")
    return faults


def damaged_database(path: Path) -> list[str]:
    """What SQLite finds in the file of a search, which may have been killed between two of its writes."""
    with closing(sqlite3.connect(path)) as database:
        found = [str(row[0]) for row in database.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else [f"{path.name}: {each}" for each in found]


def report(which: str, count: int, *verbs: str) -> None:
    """Print what came out of it, a line a command."""
    for verb in verbs:
        with tempfile.TemporaryDirectory() as room:
            outcome = run(Path(room), verb, count, signal.Signals[f"SIG{which}"])
        print(
            f"{verb}: {outcome.kills} times ended, {outcome.met} of them at work, {outcome.ends} times complete, "
            f"{len(outcome.faults)} faults; "
            f"{outcome.lost:.2f} {'epochs' if verb in _TRAININGS else 'of it'} done again each time, "
            f"{outcome.left} left a temporary file, {outcome.seconds:.1f} s to the end at most",
            *sorted(set(outcome.faults)),
            sep="\n  ",
            flush=True,
        )


if __name__ == "__main__":
    every = ["train", "sweep", "evaluate", "study", "import", "compress", "tune"]
    report(sys.argv[1], int(sys.argv[2]), *(sys.argv[3:] or every))
