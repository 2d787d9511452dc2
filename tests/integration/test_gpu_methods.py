"""On a GPU: Captum's methods, deletion and insertion, evaluation, and workers that share it, against the CPU."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from gpu_device import CPU, DEVICE, DRY, SmallNet, correlation, on_gpu, pictures, tf32

from kdviz import data
from kdviz.cli import main
from kdviz.experiment import load_experiment
from kdviz.explanation.captum.attribution import attribute
from kdviz.metrics import faithfulness
from kdviz.rise.states import softmax
from kdviz.saliency import explain, methods
from kdviz.serving import MapsTask, Pool, fingerprint
from kdviz.serving.transport import ProcessTransport

pytestmark = on_gpu

WAIT = 120.0
RANDOM = ("gradient_shap", "kernel_shap")
EXACT = [name for name in methods if name not in ("rise", *RANDOM)]
QUICK = {"n_samples": 400, "grid": 3, "n_steps": 16, "window": 0.25}


def attributed(name, device, seed=0):
    """A map of a small model that every method fits."""
    known = {setting.name for setting in methods[name].settings}
    settings = {key: value for key, value in {**QUICK, "seed": seed}.items() if key in known}
    image = pictures(1).to(device)
    with tf32(False):
        return attribute(
            name, SmallNet().to(device), image, torch.zeros_like(image), 2, methods[name].complete(settings)
        )


@pytest.mark.parametrize("name", EXACT)
def test_methods_without_randomness_give_the_cpus_maps(name):
    gpu_map, expected = (attributed(name, device).map.cpu() for device in (DEVICE, CPU))
    assert float((gpu_map - expected).abs().max()) <= 1e-3 * float(expected.abs().max())


@pytest.mark.parametrize("name", RANDOM)
def test_random_methods_differ_by_their_error(name):
    # Another device draws other numbers. The difference of two independent maps has the variance of both: the mean of
    # its square over that is 1, or a little less, since the standard errors are widened for few repeats.
    gpu_result, expected = attributed(name, DEVICE), attributed(name, CPU, seed=1)
    gap = (gpu_result.map.cpu() - expected.map).square()
    variance = gpu_result.standard_error.cpu().square() + expected.standard_error.square()
    assert 0.05 < float((gap / variance.clamp_min(1e-12)).mean()) < 2
    assert correlation(gpu_result.map, expected.map) > 0.8
    assert torch.equal(gpu_result.map, attributed(name, DEVICE).map)  # the seed decides


def test_deletion_and_insertion_are_the_cpus(digits):
    experiment = load_experiment("mnist")
    inputs = experiment.preprocess(digits.picture(10))
    saliency = inputs[0, 0].numpy()
    curves = []
    for device in (DEVICE, CPU):
        model = experiment.runs["teacher"].on(device)
        with tf32(False):
            curves.append(
                faithfulness(
                    lambda batch, model=model: softmax(model(batch)), inputs.to(device), saliency, 3, -0.4, steps=40
                )
            )
    for gpu_curve, expected in ((curves[0].deletion, curves[1].deletion), (curves[0].insertion, curves[1].insertion)):
        assert np.allclose(gpu_curve.probability, expected.probability, atol=1e-4)


def test_evaluate_gives_the_same_metrics(digits, tmp_path, capsys, monkeypatch):
    some = digits.take(torch.arange(0, 5000, 50 if DRY else 5))
    monkeypatch.setattr(data, "bundled_digits", lambda: {"bundled": some})
    source = load_experiment("mnist").folder
    answers = []
    for folder, device in ((tmp_path / "there", str(DEVICE)), (tmp_path / "here", "cpu")):
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.parquet", "runs", "study"))
        with tf32(False):
            assert main(["evaluate", "-e", str(folder), "--device", device, "--json"]) == 0
        answers.append({**json.loads(capsys.readouterr().out), "experiment": ""})
    _same_figures(*answers)


def _same_figures(figures, expected):
    assert type(figures) is type(expected)
    if isinstance(figures, dict):
        assert list(figures) == list(expected)
        for name in figures:
            _same_figures(figures[name], expected[name])
    elif isinstance(figures, float):
        assert figures == pytest.approx(expected, abs=1e-3)  # one digit of 1,000 may be at the edge of two classes
    else:
        assert figures == expected


def test_explain_writes_the_same_maps(tmp_path, digit_file):
    files = []
    for name, device in (("there", str(DEVICE)), ("here", "cpu")):
        files.append(tmp_path / f"{name}.npz")
        command = ["explain", str(digit_file), "-e", "mnist", "--masks", "200", "--precision", "float32"]
        with tf32(False):
            assert main([*command, "--device", device, "--out", str(files[-1])]) == 0
    gpu_maps, expected = (np.load(file) for file in files)
    assert set(gpu_maps) == set(expected)
    for name in expected:
        assert np.allclose(gpu_maps[name], expected[name], atol=1e-3 * np.abs(expected[name]).max()), name


def test_two_workers_share_a_gpu(digits):
    experiment = load_experiment("mnist")
    row = {"method": "rise", **methods["rise"].complete({"n_masks": 200 if DRY else 2000})}
    roles = ("teacher", "student")
    tasks = [
        MapsTask(str(experiment.folder), fingerprint(experiment), digits.picture(number), (row,), roles)
        for number in (3, 30, 300, 3000)
    ]
    pool = Pool([ProcessTransport, ProcessTransport])
    try:
        jobs = [pool.submit(task) for task in tasks]
        assert [len(worker.jobs) for worker in pool._workers] == [2, 2]
        assert all(job.wait(WAIT) for job in jobs)
    finally:
        pool.close()
    assert [(job.status, job.error) for job in jobs] == [("done", None)] * 4
    for task, job in zip(tasks, jobs, strict=True):
        maps = job.latest[0].maps()
        settings = {name: value for name, value in row.items() if name != "method"}
        targets = {role: saliency_map.target for role, saliency_map in maps.items()}
        expected = explain(
            experiment, task.picture, targets, roles=list(maps), device="cpu", **{**settings, "precision": "float32"}
        )
        for role, saliency_map in expected.items():
            assert correlation(torch.from_numpy(maps[role].values), torch.from_numpy(saliency_map.values)) > 0.999
