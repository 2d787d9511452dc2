"""Computing in worker processes and Ray actors: the same figures, fair turns, and no harm when one dies."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from map_jobs import LONG, RISE, WAIT, first_state

from kdviz.core.errors import SettingError
from kdviz.core.jobs import QueueFullError
from kdviz.metrics import faithfulness, trivial_map
from kdviz.rise.states import softmax
from kdviz.saliency import explain, methods
from kdviz.serving import FaithfulnessTask, Pool, can_fork, fingerprint, start_pool
from kdviz.serving.transport import ProcessTransport


def worker_of(pool):
    return pool._workers[0]._transport.pid


def test_a_worker_gives_the_same_maps_as_a_call(pool, task, tiny):
    job = pool.submit(task(target=None))
    assert job.wait(WAIT)
    assert (job.status, job.error) == ("done", None)
    found = job.latest[0].maps()
    expected = explain(tiny, task().picture, method="rise", n_masks=300, precision="float32")
    assert list(found) == list(expected)
    for role, one in expected.items():
        assert np.allclose(found[role].values, one.values, atol=1e-5)
        assert found[role].n_masks == 300


def test_rows_come_one_after_the_other_and_each_to_its_end(pool, task):
    job = pool.submit(task(RISE, {**RISE, "baseline": "grey"}))
    assert job.wait(WAIT)
    assert [state.n_masks for state in job.latest] == [300, 300]
    assert [state.settings["baseline"] for state in job.latest] == ["black", "grey"]


def test_known_states_stand_before_the_new_ones(pool, task):
    first = pool.submit(task())
    assert first.wait(WAIT)
    job = pool.submit(task({**RISE, "seed": 4}), known=first.latest)
    assert job.wait(WAIT)
    assert job.latest[0] is first.latest[0]
    assert [state.settings["seed"] for state in job.latest] == [0, 4]


def test_only_the_chosen_models_with_a_class_for_each(pool, task):
    job = pool.submit(task(roles=("student", "teacher"), target=(("teacher", 3), ("student", 5))))
    assert job.wait(WAIT)
    assert list(job.latest[0].states) == ["student", "teacher"]
    assert job.latest[0].targets == {"teacher": 3, "student": 5}


def test_another_method_says_which_models_it_does_not_fit(pool, task):
    """Gradients, too: the models must not have been made where torch keeps none."""
    gradcam = {"method": "layer_gradcam", **methods["layer_gradcam"].complete({})}
    job = pool.submit(task(gradcam))
    assert job.wait(WAIT)
    assert job.status == "done", job.error
    assert list(job.latest[0].ready) == ["teacher"]
    assert set(job.latest[0].incompatible) == {"kd_student", "student"}
    assert "convolution" in job.latest[0].incompatible["student"]


@pytest.mark.slow
def test_curves_are_those_of_a_call(pool, tiny, digits):
    picture = tiny.prepare(digits.picture(3))
    ramp = np.linspace(0, 1, 14 * 14, dtype=np.float32).reshape(14, 14)
    task = FaithfulnessTask(str(tiny.folder), fingerprint(tiny), picture, {"student": ramp}, {"student": 2}, "grey")
    job = pool.submit(task)
    assert job.wait(WAIT)
    assert job.status == "done", job.error
    ((role, found),) = job.latest
    inputs, model = tiny.preprocess(picture), tiny.runs["student"].model
    for name, values in (("map", ramp), ("trivial", trivial_map(inputs))):
        expected = faithfulness(lambda batch: softmax(model(batch)), inputs, values, 2, tiny.baseline("grey", picture))
        assert role == "student"
        assert found[name].deletion.auc == pytest.approx(expected.deletion.auc, abs=1e-5)
        assert found[name].insertion.auc == pytest.approx(expected.insertion.auc, abs=1e-5)


def test_a_long_job_does_not_hold_up_a_short_one(pool, task):
    long = pool.submit(task(LONG))
    assert first_state(long)
    short = pool.submit(task({**RISE, "seed": 9}))
    assert pool.jobs_ahead(short) == 1
    assert short.wait(WAIT)
    assert short.status == "done"
    assert not long.ended
    long.cancel()
    assert long.wait(WAIT)
    assert long.status == "stopped"
    assert 0 < long.latest[0].n_masks < 200_000
    assert pool.busy == 0


def test_a_failed_job_says_why_and_the_next_one_works(pool, task):
    failed = pool.submit(task({**RISE, "baseline": 7.0}))
    assert failed.wait(WAIT)
    assert failed.status == "failed"
    assert "baseline" in failed.error
    assert pool.submit(task()).wait(WAIT)


def test_an_experiment_that_has_changed_is_refused(pool, task, tiny):
    old = task()
    tiny.add_run("further", "paper_fc", tiny.runs["student"].model, {}, {})
    tiny.save()
    job = pool.submit(old)
    assert job.wait(WAIT)
    assert "have changed" in job.error


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_jobs_and_is_started_again(task):
    pool = start_pool()
    try:
        job = pool.submit(task(LONG))
        assert first_state(job)
        os.kill(worker_of(pool), signal.SIGKILL)
        assert job.wait(WAIT)
        assert job.status == "failed"
        assert "try again" in job.error
        again = pool.submit(task())
        assert again.wait(WAIT)
        assert again.status == "done"
    finally:
        pool.close()


def test_a_worker_that_cannot_start_fails_its_jobs(task, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit(3)")  # found before the real one
    pool = Pool([lambda: ProcessTransport({"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"})])
    job = pool.submit(task())
    assert job.wait(WAIT)
    assert (job.status, pool.busy) == ("failed", 0)
    assert "could not start" in job.error


def test_a_full_queue_refuses(task):
    pool = Pool([ProcessTransport], limit=2)
    try:
        jobs = [pool.submit(task(LONG)) for _ in range(2)]
        with pytest.raises(QueueFullError, match="try again in a moment"):
            pool.submit(task())
        for job in jobs:
            job.cancel()
        assert all(job.wait(WAIT) for job in jobs)
        assert pool.submit(task()).wait(WAIT)
    finally:
        pool.close()


can_copy = pytest.mark.skipif(not can_fork(), reason="needs Linux without a GPU")
HOW = [False, pytest.param(True, marks=can_copy)]


@pytest.mark.slow
@pytest.mark.parametrize("fork", HOW)
def test_the_worker_leaves_with_its_server(fork):
    """Also when the server is killed, so that no process stays behind, and none keeps the server's port."""
    code = (
        "import socket, sys, time\n"
        "from kdviz.serving import start_pool\n"
        "port = socket.create_server(('127.0.0.1', 0))\n"
        f"pool = start_pool(fork={fork}); pool.start()\n"
        "print(pool._workers[0]._transport.pid, port.getsockname()[1], flush=True)\n"
        "time.sleep(60)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker, port = map(int, server.stdout.readline().split())
    time.sleep(0.5)
    server.kill()
    server.wait()
    with socket.socket() as visitor:
        assert visitor.connect_ex(("127.0.0.1", port)) != 0
    end = time.monotonic() + WAIT
    while is_alive(worker) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_alive(worker)


@pytest.mark.slow
@can_copy
def test_a_worker_that_is_a_copy_gives_the_same_maps(task, pool, tmp_path):
    """Also beside a server's event loop and threads; when it dies, a process of its own takes its place."""
    (tmp_path / "task.pickle").write_bytes(pickle.dumps(task(target=None)))
    code = (
        "import asyncio, os, pickle, signal, sys\n"
        "from kdviz.serving import start_pool\n"
        "async def serve(task):\n"
        "    await asyncio.to_thread(len, '')\n"  # a thread that waits for work
        "    pool = start_pool(fork=True); pool.start()\n"
        "    worker = pool._workers[0]._transport\n"
        "    jobs = [pool.submit(task)]\n"
        "    jobs[0].wait(60)\n"
        "    os.kill(worker.pid, signal.SIGKILL)\n"
        "    while pool._workers[0]._transport is worker: await asyncio.sleep(.01)\n"
        "    jobs.append(pool.submit(task)); jobs[1].wait(60)\n"
        "    kinds = [type(worker).__name__, type(pool._workers[0]._transport).__name__]\n"
        "    pickle.dump((kinds, [(job.status, job.latest) for job in jobs]), sys.stdout.buffer)\n"
        "    pool.close()\n"
        "asyncio.run(serve(pickle.load(open(sys.argv[1], 'rb'))))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "task.pickle")]
    told = subprocess.run(command, capture_output=True, timeout=2 * WAIT)
    assert told.returncode == 0, told.stderr.decode()
    kinds, jobs = pickle.loads(told.stdout)
    assert kinds == ["ForkTransport", "ProcessTransport"]
    here = pool.submit(task(target=None))
    assert here.wait(WAIT)
    for status, latest in jobs:
        assert status == "done"
        scores = latest[0].states["teacher"].scores, here.latest[0].states["teacher"].scores
        assert torch.allclose(*scores, atol=1e-5)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_wrong_number_of_actors_is_named(monkeypatch):
    monkeypatch.setenv("KDVIZ_RAY", "auto")
    monkeypatch.setenv("KDVIZ_RAY_ACTORS", "none")
    with pytest.raises(SettingError, match="KDVIZ_RAY_ACTORS is 'none'"):
        start_pool()
