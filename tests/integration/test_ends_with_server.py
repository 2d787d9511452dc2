"""What a page starts in a process of its own ends with the page server, even where that is killed."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faulty import ROOT

from kdviz.core.processes.with_parent import VARIABLE

LONGEST = 240.0  # seconds, on a machine that has other things to do
SERVER = """
import sys, threading, time
from pathlib import Path
from kdviz.app.pages.cost.profiler_process import Measurement
from kdviz.app.pictures.picture_job import PictureJob
from kdviz.serving.process_job import ProcessJob, this_python

class ImportJob(ProcessJob):
    def __init__(self, folder):
        super().__init__()
        self.run = lambda: self.follow(this_python("kdviz.app.pages.bring_models.process", str(folder / "plan.json")))

kind, folder = sys.argv[1], Path(sys.argv[2])
job = {"import": ImportJob, "get": PictureJob, "profile": Measurement}[kind](folder)
threading.Thread(target=job.run, daemon=True).start()
while job._process is None:
    time.sleep(0.01)
print(job._process.pid, flush=True)
while not getattr(job, "activity", "unknown"):
    time.sleep(0.01)
print("at work", flush=True)
time.sleep(600)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked up in /proc")


@contextmanager
def at_work(kind: str, room: Path, environment: dict[str, str]) -> Iterator[Callable[[], object]]:
    """What the job is about, in place; gives a function that waits until it is at work, on what never comes."""
    if kind == "profile":
        (room / "folder").symlink_to(ROOT / "models" / "mnist")
        yield lambda: None  # it says so itself, and lasts long enough
    elif kind == "import":
        (room / "folder").mkdir()
        os.mkfifo(room / "folder" / "plan.json")
        yield lambda: opened_by_reader(room / "folder" / "plan.json")
    else:
        shutil.copytree(ROOT / "models" / "cifar10", room / "folder")
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            proxy.settimeout(LONGEST)
            environment |= {"https_proxy": f"http://127.0.0.1:{proxy.getsockname()[1]}", "HOME": str(room)}
            yield proxy.accept  # it asks for the download


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["import", "get", "profile"])
def test_a_job_ends_with_a_server_that_is_killed(kind: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SERVER, kind, str(tmp_path / "folder")]
    with (
        at_work(kind, tmp_path, environment) as wait,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server,
    ):
        try:
            assert server.stdout is not None
            job = int(server.stdout.readline())
            assert server.stdout.readline() == "at work\n"
            waiting = wait()  # what it has opened stays open
            assert is_alive(job)
        finally:
            server.kill()
        end = time.monotonic() + LONGEST
        while is_alive(job) and time.monotonic() < end:
            time.sleep(0.05)
        assert not is_alive(job), waiting


def test_a_command_of_a_person_may_have_no_input() -> None:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment |= {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "kdviz", "list", "experiments", "--json"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mnist" in done.stdout


def opened_by_reader(path: Path) -> int:
    """The other end of a pipe that another process reads, once it does."""
    end = time.monotonic() + LONGEST
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > end:
                raise
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
