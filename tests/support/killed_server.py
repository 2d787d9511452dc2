"""A page server that is killed while it takes in what sessions send, and a worker that is killed while it computes.

A moment is drawn within a step of the work, which says when it is reached: a machine that has other things to do is
slower than when its time was taken, and signals would fall into the start. By hand, a line for each::

    PYTHONPATH=.:tests:tests/support python tests/support/killed_server.py 50 [server|worker]
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from killed import import_all
from PIL import Image
from uploaded_models import pictures, saved, state_of

import kdviz
from kdviz.app.pages.bring_models.check import zipped
from kdviz.app.pages.bring_models.draft import draft_of
from kdviz.app.uploads import server_folder, session_store, unpacking
from kdviz.core.decoding.apart import open_image_apart
from kdviz.experiment import load_experiment
from kdviz.saliency import methods
from kdviz.serving import MapsTask, fingerprint, start_pool

WAIT = 600.0  # seconds for what is computed, on a machine that has other things to do
_GONE = 30.0  # seconds after which no process of a killed server may be left
_CLASSES = ["a", "b", "c"]
_MASKS = 800
STEPS = ("an experiment", "a model", "files of an import", "the import", "a download", "the end")


@dataclass
class KilledServer:
    """What came out of it.

    Attributes:
        kills: How often it was killed.
        busy: How often it met the step of its work that was drawn, or the computation.
        left: How often its folder of uploads was left, which the next server removes.
        seconds: The longest time until its processes were gone, or until the next maps were there.
        faults: What was damaged, or not as without a kill.
    """

    kills: int = 0
    busy: int = 0
    left: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


# the page server ------------------------------------------------------------------------------------------------------


class ServerKilling:
    """A server with one experiment of its own, to which a session sends all that can be sent.

    Args:
        room: A folder of its own.
    """

    def __init__(self, room: Path):
        import_all()
        self.temporary, self.models = room / "tmp", room / "models"
        self._shared = mmap.mmap(-1, 8 * (2 + len(STEPS)))  # with the servers that are forked: rounds, step, seconds
        kdviz.import_models(
            {"teacher": state_of_file(room / "teacher.pth", "timm/mobilenetv3_small_050")},
            classes=_CLASSES,
            inputs={"size": 64},
            out=self.models / "own",
        )
        self._sent = {"zip": zipped(self.models / "own", "own"), "pictures": pictures()}
        self._sent |= {"model": saved(state_of("torchvision/squeezenet1_1"))}

    @property
    def rounds(self) -> int:
        """How often everything was sent, by all servers together."""
        return int(self._values[0])

    @property
    def step(self) -> int:
        """The number of the step that is under way."""
        return int(self._values[1])

    @property
    def seconds(self) -> list[float]:
        """How long each step has taken the last time."""
        return list(self._values[2:])

    @property
    def _values(self) -> memoryview:
        return memoryview(self._shared).cast("d")

    @contextmanager
    def _in_step(self, name: str) -> Iterator[None]:
        number, start = STEPS.index(name), time.monotonic()
        self._values[1] = number
        yield
        self._values[2 + number] = time.monotonic() - start

    def begin(self) -> None:
        """Forget the step of the last server."""
        self._values[1] = -1

    def start(self) -> int:
        """Fork a server, which takes in everything again and again."""
        self.temporary.mkdir(exist_ok=True)
        child = os.fork()
        if child:
            return child
        try:
            tempfile.tempdir = str(self.temporary)
            session_store.GRACE = WAIT
            while True:
                self._take_in_everything()
                self._values[0] += 1
        finally:
            os._exit(1)

    def _take_in_everything(self) -> None:
        store = session_store.SessionStore("session-killed")
        session_store._stores[store.session] = store
        try:
            with self._in_step("an experiment"), unpacking.from_zip(self._sent["zip"]) as package:
                sent = store.add_experiment(package, "sent.zip")
            with self._in_step("a model"):
                store.add_model(load_experiment(self.models / "own"), self._sent["model"], "", "further", "f.pth")
            with self._in_step("files of an import"):
                draft = draft_of(store)
                draft.take_model("teacher", "t.pth", self._sent["model"])
                draft.take_pictures([("data.zip", self._sent["pictures"])])
                open_image_apart(tiff(), "a.tif")
            with self._in_step("the import"):
                draft.start()
                assert draft.job is not None
                assert draft.job.wait(WAIT)
                assert draft.job.status == "done", draft.job.error
            with self._in_step("a download"):
                zipped(store.experiments[draft.name].folder, "mine")
        finally:
            with self._in_step("the end"):
                if store.experiments:
                    store.remove(sent.name)
                store.end()

    def wait_for(self, child: int, rounds: int, step: int) -> bool:
        """Wait until a server has come to a step of its first round; False if it ends before."""
        while self.step < step:
            if self.rounds > rounds or os.waitpid(child, os.WNOHANG)[0]:
                return False
            time.sleep(0.001)
        return True

    def kill(self, child: int, result: KilledServer, step: int) -> None:
        """Kill a server, and look at what is left of it."""
        result.busy += self.step == step
        workers = [pid for pid in descendants(child) if pid != child]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        start = time.monotonic()
        while any(map(is_alive, workers)) and time.monotonic() < start + _GONE:
            time.sleep(0.05)
        result.seconds = max(result.seconds, time.monotonic() - start)
        result.faults += [f"process {pid} is left" for pid in workers if is_alive(pid)]
        result.kills += 1
        left = list(self.temporary.iterdir())
        result.left += bool(left)
        tempfile.tempdir = str(self.temporary)
        server_folder._sweep()  # as the next server does
        tempfile.tempdir = None
        result.faults += [f"{path.name} is left" for path in self.temporary.iterdir()]
        shutil.rmtree(self.temporary)


def kill_servers(room: Path, kills: int, result: KilledServer, seed: int = 0) -> None:
    """Kill a server so many times, at random moments of a round."""
    killing, chance = ServerKilling(room), random.Random(seed)
    before = contents(killing.models)
    start, first = time.monotonic(), killing.start()
    while not killing.rounds and time.monotonic() < start + 2 * WAIT:
        time.sleep(0.05)
    if not killing.rounds:
        result.faults.append("nothing could be sent")
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    steps = [number for number in range(len(STEPS)) for _ in range(2 if STEPS[number] == "the import" else 1)]
    while result.kills < kills:
        step, rounds, seconds = chance.choice(steps), killing.rounds, killing.seconds
        killing.begin()
        child = killing.start()
        if not killing.wait_for(child, rounds, step):
            result.faults.append("a server ended by itself")
            continue
        time.sleep(chance.uniform(0, seconds[step]))
        killing.kill(child, result, step)
        if contents(killing.models) != before:
            result.faults.append("the server's own experiment has changed")


def state_of_file(path: Path, network: str) -> Path:
    torch.save(state_of(network), path)
    return path


def tiff() -> bytes:
    """A picture of a kind that is decoded apart."""
    with tempfile.TemporaryFile() as file:
        Image.new("L", (600, 400)).save(file, "TIFF")
        file.seek(0)
        return file.read()


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, whatever its name, with the SHA-256 of its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have, as Linux lists them."""
    yield pid
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has just ended
            continue
        if parent == pid:
            yield from descendants(int(path.parent.name))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# the worker -----------------------------------------------------------------------------------------------------------


def kill_workers(room: Path, kills: int, result: KilledServer, seed: int = 0) -> None:
    """Kill the worker so many times while it computes maps; each time the next maps must be those of an unhurt one."""
    chance = random.Random(seed)
    weights = state_of_file(room / "teacher.pth", "timm/mobilenetv3_small_050")
    out = room / "models" / "own"
    kdviz.import_models({"teacher": weights}, classes=_CLASSES, inputs={"size": 64}, out=out)
    experiment = load_experiment(out)
    rise = {"method": "rise", **methods["rise"].complete({"n_masks": _MASKS, "precision": "float32"})}
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    task = MapsTask(str(out), fingerprint(experiment), picture, (rise,), tuple(experiment.runs), 0)
    os.nice = lambda more: 0  # on a machine that has other things to do, the worker would wait most of the time
    pool = start_pool(fork=True)
    try:
        expected = maps_of(pool.submit(task))
        while result.kills < kills:
            job, masks = pool.submit(task), chance.randrange(_MASKS)
            while not job.ended and masks_of(job) < masks:
                time.sleep(0.001)
            result.busy += not job.ended
            os.kill(pool._workers[0]._transport.pid, signal.SIGKILL)  # pyright: ignore
            result.kills += 1
            if not job.wait(WAIT) or not (job.status == "done" or "try again" in str(job.error)):
                result.faults.append(f"the job is {job.status}: {job.error}")
            start = time.monotonic()
            again = maps_of(submitted(lambda: pool.submit(task)))
            result.seconds = max(result.seconds, time.monotonic() - start)
            if again is None or not np.array_equal(again, expected):
                result.faults.append("other maps")
    finally:
        pool.close()


def submitted(submit: Callable):
    """A job that is asked for again as long as it is lost with the worker that was just killed."""
    for _ in range(5):
        job = submit()
        if job.wait(WAIT) and job.status == "done":
            break
    return job


def masks_of(job) -> int:
    """How many masks a job has done."""
    return job.latest[0].n_masks if job.latest else 0


def maps_of(job) -> np.ndarray | None:
    """The teacher's map; None where there is none."""
    job.wait(WAIT)
    return job.latest[0].maps()["teacher"].values if job.status == "done" else None


def report(count: int, *which: str) -> None:
    """Print what came out of it, a line each."""
    for name in which:
        outcome = KilledServer()
        with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):  # what came of it so far is said
            {"server": kill_servers, "worker": kill_workers}[name](Path(folder), count, outcome)
        print(
            f"{name}: {outcome.kills} times killed, {outcome.busy} times at work, {len(outcome.faults)} faults; "
            f"{outcome.left} times a folder was left, {outcome.seconds:.1f} s at most",
            *sorted(set(outcome.faults)),
            sep="\n  ",
            flush=True,
        )


if __name__ == "__main__":
    report(int(sys.argv[1]), *(sys.argv[2:] or ["server", "worker"]))
