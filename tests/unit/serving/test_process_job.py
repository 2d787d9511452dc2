"""A process that a page starts: its lines are read as they come, and it never outlives its stop."""

from __future__ import annotations

import sys
import threading

import pytest

from kdviz.serving.process_job import ProcessJob

BAR = r"""
import sys, time
print("kdviz: a note", file=sys.stderr)
sys.stderr.write("\r 10%|#  "); sys.stderr.flush(); time.sleep(0.2)
sys.stderr.write("\r 20%|## "); sys.stderr.flush(); time.sleep(0.2)
sys.stderr.write("\r 30%|###\nwhole \xe4 line\nand the last"); sys.stderr.flush()
raise SystemExit(3)
"""


SPEAKS = "import sys; print('out'); print('err', file=sys.stderr)"


class Heard(ProcessJob):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.progress: list[str] = []

    def read_line(self, line: str) -> None:
        self.lines.append(line)

    def read_progress(self, text: str) -> None:
        self.progress.append(text)


def test_lines_and_bars_are_heard_as_they_come() -> None:
    job = Heard()
    assert job.follow([sys.executable, "-c", BAR]) == 3
    assert [line for line in job.lines if line] == ["kdviz: a note", "10%|#", "20%|##", "30%|###", "whole ä line",
                                                    "and the last"]  # fmt: skip
    assert "20%|##" in job.progress  # before its line was ended


def test_with_a_log_the_output_is_heard_and_errors_are_kept(tmp_path) -> None:
    job = Heard()
    with (tmp_path / "log").open("w+") as log:
        assert (
            job.follow([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"], log=log) == 0
        )
    assert job.lines == ["out", ""]
    assert (tmp_path / "log").read_text() == "err\n"


@pytest.mark.parametrize("when", ["before", "while", "too long"])
def test_a_stopped_process_is_killed(when, monkeypatch) -> None:
    job = Heard()
    if when == "before":
        job.stop()
    elif when == "while":
        threading.Timer(0.5, job.stop).start()
    else:
        monkeypatch.setattr(Heard, "longest", 0.5)
    assert job.follow([sys.executable, "-c", "import time; time.sleep(3600)"]) < 0  # the number of a signal
    assert job.stopped == (when != "too long")


def test_the_process_finds_this_kdviz_wherever_it_starts(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = Heard()
    code = "import os, kdviz, sys; sys.stderr.write(kdviz.__file__ + os.environ['EXTRA'])"
    assert job.follow([sys.executable, "-c", code], variables={"EXTRA": "!"}) == 0
    import kdviz

    assert job.lines == [f"{kdviz.__file__}!"]
