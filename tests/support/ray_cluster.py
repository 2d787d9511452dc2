"""Studies on a real Ray cluster of two machines, both here; tests/integration/test_ray.py gives it its own process."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_studies import a_study, same, table_of
from map_jobs import LONG, RISE, WAIT, first_state
from sweeps import CONFIG, comparable, finish, small_splits

from kdviz.core.errors import KdvizError, ModelError, UnknownNameError
from kdviz.core.jobs import run_on_ray
from kdviz.distill.runs import run_in_worker
from kdviz.experiment import load_experiment
from kdviz.saliency import explain
from kdviz.serving import start_pool
from kdviz.studies.attention import study as attention_study
from kdviz.studies.sweep.runner import Sweep

ROOT = Path(__file__).resolve().parents[2]


SLOW = 600
"""Seconds after which something will not come, on any machine."""

CONFIGURATION = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_failure_threshold": 20,
    # Processes start when they are needed, and those that have loaded torch stay for the next test.
    "prestart_worker_first_driver": False,
    "idle_worker_killing_time_threshold_ms": 600_000,
    # A process that loads Ray and torch has a minute otherwise, and is then started anew, again and again.
    "worker_register_timeout_seconds": SLOW,
    "worker_niceness": 0,  # Ray's 15 leaves them nothing where other tests run
}


@pytest.fixture(scope="module")
def cluster():
    """Two machines with one CPU each: the head, where this process is, and another one."""
    pytest.importorskip("ray", reason="needs Ray")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # Ray's, about its own insides
        patch.setenv("PYTHONPATH", str(ROOT))  # the machines' kdviz
        patch.setenv("RAY_raylet_start_wait_time_s", str(SLOW))
        patch.setenv("RAY_gcs_server_port_wait_time_s", str(SLOW))
        import ray
        from ray.cluster_utils import Cluster

        without_agents(patch)
        # Neither a dashboard, nor what copies logs or asks for more machines: each is one more process.
        small = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_log_monitor": False, "wait": False}
        head = {**small, "include_dashboard": False, "no_monitor": True, "_system_config": CONFIGURATION}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.other = made.add_node(**small)
        made.wait_for_nodes(SLOW)
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made
        ray.shutdown()
        made.shutdown()


def without_agents(patch: pytest.MonkeyPatch) -> None:
    """Start neither the dashboard's server, which Ray starts also without a dashboard, nor the machines' agents."""
    from ray._private import services

    build = services._build_python_executable_command_memory_profileable

    def command(component, session_dir, unbuffered=True):
        if component.endswith("agent"):
            return [sys.executable, "-S", "-E", str(Path(__file__).with_name("ray_agent.py"))]
        return build(component, session_dir, unbuffered)

    patch.setattr(services, "_build_python_executable_command_memory_profileable", command)
    patch.setattr(services, "start_api_server", lambda *_, **__: (None, None))


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:ray.*", "ignore::UserWarning:ray.*")


@pytest.fixture(scope="module")
def splits(small_digits):
    return small_splits(small_digits)


@pytest.fixture(scope="module")
def local(_untrained, splits, tmp_path_factory):
    """The tables of the temperature study as this process makes them."""
    experiment = load_experiment(shutil.copytree(_untrained, tmp_path_factory.mktemp("local") / "tiny"))
    finish(study(experiment, splits))
    return {name: comparable(experiment.table(name)) for name in TABLES}


TABLES = ("temperature", "curves", "study_predictions")


def study(experiment, splits) -> Sweep:
    return Sweep(experiment, "temperature", splits, [1.0, 8.0], [0, 1], CONFIG)


# on it ----------------------------------------------------------------------------------------------------------------


def test_jobs_run_elsewhere_and_each_is_said_to_be_done(cluster, tmp_path):
    def where(job, folder):
        yield "a state that stays there"
        Path(folder, f"{job}-{os.getpid()}").touch()

    done = list(run_on_ray(where, range(5), (str(tmp_path),)))
    assert sorted(done) == [(number, None) for number in range(5)]
    jobs, _, processes = zip(*sorted(path.name.partition("-") for path in tmp_path.iterdir()), strict=True)
    assert jobs == tuple("01234")
    assert str(os.getpid()) not in processes
    assert list(run_on_ray(where, [], ())) == []


@pytest.mark.parametrize(
    "error",
    [
        ModelError("The loss became nan in epoch 2; try a lower learning rate."),
        UnknownNameError("network", "fc", ["paper_fc"]),
    ],
    ids=["text", "fields"],
)
def test_an_error_of_kdviz_arrives_as_it_was_raised(cluster, error):
    def fails(job):
        yield 1
        raise error

    with pytest.raises(KdvizError) as caught:
        list(run_on_ray(fails, [1, 2, 3]))
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


def test_an_error_of_the_program_is_not_hidden(cluster):
    def fails(job):
        yield 1 / 0

    with pytest.raises(ZeroDivisionError):
        list(run_on_ray(fails, [1]))


def test_what_waits_is_cancelled_with_the_first_error(cluster, tmp_path):
    import ray

    def fails(job, folder):
        Path(folder, str(job)).touch()
        yield 1
        if job == 0:
            raise ModelError("no")
        time.sleep(2 * SLOW)

    with pytest.raises(ModelError, match=r"^no$"):
        list(run_on_ray(fails, range(6), (str(tmp_path),)))
    assert len(list(tmp_path.iterdir())) <= 3  # two at once, and perhaps one that took the place of the first
    end = time.monotonic() + SLOW
    while ray.available_resources().get("CPU", 0) < 2:  # both machines are free again
        assert time.monotonic() < end, "a cancelled job still runs"
        time.sleep(0.1)


# what needs torch, in the same two processes --------------------------------------------------------------------------


def test_the_tables_are_those_of_one_machine(cluster, local, tiny, splits):
    events = finish(study(tiny, splits), engine=run_on_ray)
    assert [(event.number, event.count, event.progress) for event in events] == [(n, 6, None) for n in range(1, 7)]
    assert {name: comparable(tiny.table(name)) for name in TABLES} == local
    assert finish(study(tiny, splits), engine=run_on_ray) == []


def test_an_attention_study_has_the_same_figures(cluster, tiny, small_digits, monkeypatch):
    monkeypatch.setattr(attention_study, "GROUP", 8)
    few = small_digits.take(torch.arange(0, 1500, 10), "test")
    local = a_study(tiny, few, results=tiny.folder / "local")
    list(local.run())
    expected = table_of(local)
    spread = a_study(tiny, few, results=tiny.folder / "spread", threads=1)
    states = list(spread.run(run_on_ray))
    assert states[-1].done == 20
    same(expected, table_of(spread))


def test_ray_gives_the_same_maps(cluster, task, tiny, monkeypatch):
    import ray

    monkeypatch.setenv("KDVIZ_RAY", "auto")
    monkeypatch.setenv("KDVIZ_RAY_ACTORS", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        remote = start_pool()
        jobs = [remote.submit(task({**RISE, "seed": seed}, target=None)) for seed in range(3)]
        assert all(job.wait(WAIT) for job in jobs)
        for seed, job in enumerate(jobs):
            assert job.status == "done", job.error
            maps = job.latest[0].maps()
            expected = explain(tiny, task().picture, method="rise", n_masks=300, precision="float32", seed=seed)
            assert list(maps) == list(expected)
            for role, saliency_map in expected.items():
                np.testing.assert_allclose(maps[role].values, saliency_map.values, atol=1e-5)
        lost = remote.submit(task(LONG))
        assert first_state(lost)
        for computer in remote._workers:
            ray.kill(computer._transport._actor)
        assert lost.wait(WAIT)
        assert lost.status == "failed"
        remote.close()


# last, as one machine is gone then ------------------------------------------------------------------------------------


LOST = "Ray lost a machine before it was taken away"  # as it does where nothing gets any time


def noted(run, splits, results, device, threads, folder):
    """The work, with a file for each epoch that a process trains; it waits in the second one until it is let go."""
    for progress in run_in_worker(run, splits, results, device, threads):
        if not progress.ends_epoch:
            Path(folder, f"{run.identity}-{os.getpid()}-{progress.epoch}").touch()
            while progress.epoch == 2 and not Path(folder, "go").exists():
                time.sleep(0.02)
        yield progress


def is_alive(process: str) -> bool:
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_machine_that_fails_costs_no_run(cluster, local, tiny, splits, tmp_path):
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the machines do not have this file
    folder = tmp_path / "notes"
    folder.mkdir()
    removed = []

    def fail():
        end = time.monotonic() + WAIT
        while len(under_way := list(folder.glob("*-2"))) < 2:  # both machines are in the middle of a run
            if time.monotonic() > end:
                (folder / "go").touch()  # without a second machine the run would wait for ever
                return
            time.sleep(0.02)
        cluster.remove_node(cluster.other, allow_graceful=False)
        processes = [path.name.split("-")[1] for path in under_way]
        while all(is_alive(process) for process in processes):  # until then it might still end its run
            time.sleep(0.02)
        removed.append(True)
        (folder / "go").touch()

    thread = threading.Thread(target=fail, daemon=True)
    thread.start()
    events = finish(study(tiny, splits), engine=lambda _, jobs, shared: run_on_ray(noted, jobs, (*shared, str(folder))))
    thread.join()
    assert removed, LOST
    assert len([event for event in events if event.progress is None]) == 6
    assert {name: comparable(tiny.table(name)) for name in TABLES} == local
    trained = {}
    for path in folder.glob("*-*-*"):
        run, process, epoch = path.name.split("-")
        trained.setdefault(run, {}).setdefault(process, set()).add(epoch)
    attempts = sorted(len(processes) for processes in trained.values())
    assert attempts == [1, 1, 1, 1, 1, 2]
    (again,) = (processes for processes in trained.values() if len(processes) == 2)
    assert sorted(again.values(), key=len) == [{"2"}, {"1", "2"}]  # it went on from the checkpoint of the first epoch
