"""Studies on Ray: what is said without it, and tests/support/ray_cluster.py on a cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sweeps import CONFIG, finish, small_splits

from kdviz.core.errors import SettingError
from kdviz.core.jobs import run_local, run_on_ray
from kdviz.distill.runs import run_in_worker
from kdviz.studies.sweep.runner import Sweep

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:ray.*", "ignore::UserWarning:ray.*")


# without a cluster ----------------------------------------------------------------------------------------------------


def test_without_ray_the_reason_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r'needs Ray; install it with: pip install "kdviz\[ray\]"'):
        next(run_on_ray(run_in_worker, [1]))


@pytest.mark.slow
def test_ray_is_not_loaded_where_it_is_not_asked_for():
    code = (
        "import sys, kdviz.cli, kdviz.serving, kdviz.studies.attention, kdviz.studies.sweep.runner\n"
        "print('ray' in sys.modules)"
    )
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_study_on_this_machine_needs_no_ray(tiny, small_digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # its import would fail
    finish(Sweep(tiny, "temperature", small_splits(small_digits), [4.0], [0], CONFIG))
    assert tiny.table("temperature").num_rows == 6


def test_no_cluster_at_the_address(monkeypatch):
    ray = pytest.importorskip("ray", reason="needs Ray")

    def refused(**_):
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refused)
    with pytest.raises(SettingError, match="No Ray cluster answers at 'somewhere:6379'; start one with"):
        next(run_on_ray(run_in_worker, [1], address="somewhere:6379"))


# on a cluster ---------------------------------------------------------------------------------------------------------


HOUR = 3600
"""Seconds: they need forty seconds of processor time, so that only what hangs lasts so long."""


def run_cluster_tests() -> tuple[int, str]:
    options = ["-q", "-n", "0", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "tests/support/ray_cluster.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HOUR, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_on_a_cluster():
    """In a process of its own, as Ray ends the process that uses it when it loses the daemon of its own machine.

    That happened once on a busy machine, and took all other tests with it. Such an end has no summary, and is tried
    once more, as is the loss of a machine that nobody took away; another test that fails is not.
    """
    pytest.importorskip("ray", reason="needs Ray")
    status, output = run_cluster_tests()
    if "Ray lost a machine" in output or not re.search(r"\d+ (passed|failed|error)", output):
        status, output = run_cluster_tests()
    assert status == 0, output[-5000:]
    assert re.search(r"\d+ passed", output), output[-5000:]


def test_jobs_in_this_process_come_one_after_the_other():
    done = run_local(lambda job, shared: iter([job + shared]), [1, 2], (10,))
    assert list(done) == [(0, 11), (0, None), (1, 12), (1, None)]
