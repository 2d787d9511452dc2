"""What a page starts in a process of its own ends with the page server, even where that is killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty import ROOT

from kdviz.core.processes.with_parent import VARIABLE

DOCUMENTS = {"import": "plan.json", "get": "experiment.json"}
"""Job -> the document that it waits for; a measurement lasts long enough by itself."""
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose documents are opened, and then never come."""
    for name in DOCUMENTS.values():
        os.mkfifo(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("kind", ["import", "get", "profile"])
def test_a_job_ends_with_a_server_that_is_killed(kind: str, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SERVER, kind, str(folder if kind in DOCUMENTS else ROOT / "models" / "mnist")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            job = int(server.stdout.readline())
            assert server.stdout.readline() == "at work\n"
            writer = opened_by_reader(folder / DOCUMENTS[kind]) if kind in DOCUMENTS else None
            assert is_alive(job)
        finally:
            server.kill()
    end = time.monotonic() + LONGEST
    while is_alive(job) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_alive(job)
    if writer is not None:
        os.close(writer)


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
