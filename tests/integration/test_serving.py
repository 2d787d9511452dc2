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
from map_jobs import LONG, RISE, WAIT, first_state

from kdviz.core.errors import SettingError
from kdviz.core.jobs import QueueFullError
from kdviz.experiment import load_experiment
from kdviz.metrics import faithfulness, trivial_map
from kdviz.rise.states import softmax
from kdviz.saliency import explain, methods
from kdviz.serving import FaithfulnessTask, MapsTask, Pool, can_fork, fingerprint, start_pool
from kdviz.serving.transport import ProcessTransport


def worker_of(pool):
    return pool._workers[0]._transport.pid


@pytest.mark.slow
def test_a_worker_gives_the_same_maps_as_a_call(pool, task, tiny):
    job = pool.submit(task(target=None))
    assert job.wait(WAIT)
    assert (job.status, job.error) == ("done", None)
    maps = job.latest[0].maps()
    expected = explain(tiny, task().picture, method="rise", n_masks=300, precision="float32")
    assert list(maps) == list(expected)
    for role, saliency_map in expected.items():
        assert np.allclose(maps[role].values, saliency_map.values, atol=1e-5)
        assert maps[role].n_masks == 300


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
    ((role, curves),) = job.latest
    inputs, model = tiny.preprocess(picture), tiny.runs["student"].model
    for name, values in (("map", ramp), ("trivial", trivial_map(inputs))):
        expected = faithfulness(lambda batch: softmax(model(batch)), inputs, values, 2, tiny.baseline("grey", picture))
        assert role == "student"
        assert curves[name].deletion.auc == pytest.approx(expected.deletion.auc, abs=1e-5)
        assert curves[name].insertion.auc == pytest.approx(expected.insertion.auc, abs=1e-5)


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
def test_a_worker_that_dies_fails_its_jobs_and_is_started_again(pool, task):
    job = pool.submit(task(LONG))
    assert first_state(job)
    dead = worker_of(pool)
    os.kill(dead, signal.SIGKILL)
    assert job.wait(WAIT)
    assert job.status == "failed"
    assert "try again" in job.error
    again = pool.submit(task())
    assert again.wait(WAIT)
    assert again.status == "done"
    assert worker_of(pool) != dead


def test_a_worker_that_cannot_start_fails_its_jobs(task, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit(3)")  # found before the real one
    pool = Pool([lambda: ProcessTransport({"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"})])
    job = pool.submit(task())
    assert job.wait(WAIT)
    assert (job.status, pool.busy) == ("failed", 0)
    assert "could not start" in job.error


def test_a_full_queue_refuses(pool, task, monkeypatch):
    monkeypatch.setattr(pool, "_limit", 2)
    jobs = [pool.submit(task(LONG)) for _ in range(2)]
    with pytest.raises(QueueFullError, match="try again in a moment"):
        pool.submit(task())
    for job in jobs:
        job.cancel()
    assert all(job.wait(WAIT) for job in jobs)
    assert pool.submit(task()).wait(WAIT)


can_copy = pytest.mark.skipif(not can_fork(), reason="needs Linux without a GPU")


@pytest.fixture(scope="module")
def copied(_untrained, digits, tmp_path_factory):
    """What a server says whose worker was a copy of it and was killed, and whether its next worker and port outlive it.

    The server has an event loop and threads, as pages have.
    """
    folder = tmp_path_factory.mktemp("copied")
    experiment = load_experiment(_untrained)
    picture = experiment.prepare(digits.picture(3))
    task = MapsTask(str(_untrained), fingerprint(experiment), picture, (RISE,), tuple(experiment.runs), None)
    (folder / "task.pickle").write_bytes(pickle.dumps(task))
    code = (
        "import asyncio, os, pickle, signal, socket, sys, time\n"
        "from kdviz.serving import start_pool\n"
        "port = socket.create_server(('127.0.0.1', 0))\n"
        "async def serve(task):\n"
        "    await asyncio.to_thread(len, '')\n"  # a thread that waits for work
        "    pool = start_pool(fork=True); pool.start()\n"
        "    worker = pool._workers[0]._transport\n"
        "    jobs = [pool.submit(task)]\n"
        "    jobs[0].wait(600)\n"
        "    os.kill(worker.pid, signal.SIGKILL)\n"
        "    while pool._workers[0]._transport is worker: await asyncio.sleep(.01)\n"
        "    jobs.append(pool.submit(task)); jobs[1].wait(600)\n"
        "    other = pool._workers[0]._transport\n"
        "    kinds = [type(worker).__name__, type(other).__name__]\n"
        "    states = [(job.status, job.latest) for job in jobs]\n"
        "    pickle.dump((kinds, states, other.pid, port.getsockname()[1]), sys.stdout.buffer)\n"
        "    sys.stdout.buffer.flush()\n"
        "    time.sleep(3600)\n"
        "asyncio.run(serve(pickle.load(open(sys.argv[1], 'rb'))))\n"
    )
    command = [sys.executable, "-c", code, str(folder / "task.pickle")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    kinds, jobs, worker, port = pickle.load(server.stdout)
    return kinds, jobs, left_behind(server, worker, port)


def left_behind(server, worker, port):
    """Whether the worker is alive, and the port open, after the server was killed."""
    server.kill()
    server.wait()
    with socket.socket() as visitor:
        is_open = visitor.connect_ex(("127.0.0.1", port)) == 0
    end = time.monotonic() + WAIT
    while is_alive(worker) and time.monotonic() < end:
        time.sleep(0.1)
    return is_alive(worker), is_open


@pytest.mark.slow
@can_copy
def test_a_worker_that_is_a_copy_gives_the_same_maps(copied, tiny, digits):
    """Also beside a server's event loop and threads; when it dies, a process of its own takes its place."""
    kinds, jobs, _ = copied
    assert kinds == ["ForkTransport", "ProcessTransport"]
    expected = explain(tiny, tiny.prepare(digits.picture(3)), method="rise", n_masks=300, precision="float32")
    for status, latest in jobs:
        assert status == "done"
        for role, saliency_map in latest[0].maps().items():
            assert np.allclose(saliency_map.values, expected[role].values, atol=1e-5)


@pytest.mark.slow
@can_copy
def test_a_worker_of_its_own_leaves_with_its_server(copied):
    """Also when the server is killed, so that no process stays behind, and none keeps the server's port."""
    assert copied[-1] == (False, False)


@pytest.mark.slow
@can_copy
def test_a_worker_that_is_a_copy_leaves_with_its_server():
    code = (
        "import socket, time\n"
        "from kdviz.serving import start_pool\n"
        "port = socket.create_server(('127.0.0.1', 0))\n"
        "pool = start_pool(fork=True); pool.start()\n"
        "print(pool._workers[0]._transport.pid, port.getsockname()[1], flush=True)\n"
        "time.sleep(3600)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker, port = map(int, server.stdout.readline().split())
    assert left_behind(server, worker, port) == (False, False)


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
