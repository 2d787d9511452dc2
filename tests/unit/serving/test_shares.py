"""Who computes leaves a part of the machine to who reads."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from kdviz.app import service
from kdviz.core.environment import THREADS
from kdviz.serving import Pool
from kdviz.serving.client import RemoteJob
from kdviz.serving.worker import set_threads


def unused() -> Any:
    raise AssertionError("no worker is needed")


@pytest.mark.parametrize(("others", "expected"), [(0, 1), (1, 1), (2, 1.5), (4, 2.5), (19, 10), (40, 10)])
def test_with_many_jobs_each_is_drawn_less_often(others: int, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool([unused])
    jobs = [RemoteJob() for _ in range(1 + others)]
    pool._workers[0].jobs.update(enumerate(jobs))
    monkeypatch.setattr(service, "_pools", [pool])
    assert service.patience(jobs[0]) == expected
    assert service.patience(RemoteJob()) == 1  # one that has ended


def test_without_a_job_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_pools", [])
    assert service.patience(None) == 1
    assert service.patience(RemoteJob()) == 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes are bound to cores on Linux")
@pytest.mark.parametrize(("allowed", "expected"), [(1, 1), (2, 1), (4, 3), (16, 8)])
def test_a_worker_leaves_a_core_of_those_that_it_may_use(
    allowed: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.delenv(THREADS, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(allowed)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    set_threads()
    assert chosen == [expected]
