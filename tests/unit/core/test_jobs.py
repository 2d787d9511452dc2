"""The queue that gives each job a chunk in turn."""

from __future__ import annotations

import threading
import time

import pytest

from kdviz.core.errors import KdvizError
from kdviz.core.jobs import JobQueue, QueueFullError

WAIT = 10.0


def slow(count: int, log: list, name: str, gate: threading.Event | None = None):
    """Yield 1 to count; each step takes longer than a turn, so that turns alternate."""

    def work():
        for step in range(1, count + 1):
            if gate is not None:
                gate.wait(WAIT)
            time.sleep(0.1)
            log.append(name)
            yield step

    return work


def test_a_job_ends_with_its_last_state():
    job = JobQueue().submit(lambda: iter([1, 2, 3]))
    assert job.wait(WAIT)
    assert (job.status, job.latest, job.error) == ("done", 3, None)


def test_jobs_take_turns():
    queue, log, gate = JobQueue(), [], threading.Event()
    jobs = [queue.submit(slow(3, log, name, gate)) for name in "ab"]
    gate.set()
    assert all(job.wait(WAIT) for job in jobs)
    assert log == list("ababab")


def test_cancel_keeps_the_latest_state_and_frees_the_queue():
    queue, log = JobQueue(), []
    job = queue.submit(slow(1000, log, "a"))
    while job.latest is None:
        time.sleep(0.01)
    job.cancel()
    assert job.wait(WAIT)
    assert job.status == "stopped"
    assert 1 <= job.latest < 1000
    steps = len(log)
    after = queue.submit(lambda: iter(["next"]))
    assert after.wait(WAIT)
    assert len(log) == steps


def test_a_job_cancelled_while_it_waits_never_starts():
    queue, log, gate = JobQueue(), [], threading.Event()
    first = queue.submit(slow(1, log, "a", gate))
    second = queue.submit(slow(1, log, "b"))
    second.cancel()
    gate.set()
    assert first.wait(WAIT)
    assert second.wait(WAIT)
    assert second.status == "stopped"
    assert log == ["a"]


def fails_with(error: Exception):
    def work():
        yield 1
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "words"), [(KdvizError("what and why"), "what and why"), (ZeroDivisionError("x"), "server's log")]
)
def test_a_failing_job_says_why_and_the_next_one_runs(error: Exception, words: str):
    queue = JobQueue()
    job = queue.submit(fails_with(error))
    assert job.wait(WAIT)
    assert job.status == "failed"
    assert words in job.error
    assert job.latest == 1
    assert queue.submit(lambda: iter([2])).wait(WAIT)


def test_a_full_queue_refuses():
    queue, gate = JobQueue(limit=2), threading.Event()
    jobs = [queue.submit(slow(1, [], "a", gate)) for _ in range(2)]
    assert queue.jobs_ahead(jobs[1]) == 1
    with pytest.raises(QueueFullError, match="try again"):
        queue.submit(lambda: iter([1]))
    gate.set()
    assert all(job.wait(WAIT) for job in jobs)
