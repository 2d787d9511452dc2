"""RISE on a GPU: the scores and maps of the CPU, whatever the precision, the chunks, the graphs and the memory."""

from __future__ import annotations

import copy
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from gpu_device import CPU, DEVICE, DRY, SmallNet, correlation, needs_cuda, needs_two, on_gpu, pictures, tf32
from torch import nn

from kdviz.experiment import load_experiment
from kdviz.rise.engine import cuda_graphs
from kdviz.rise.estimators import estimators
from kdviz.rise.states import softmax
from kdviz.saliency import RISE, ModelWithActivation, RandomMasks, estimate, explain, stream_scores

pytestmark = on_gpu

GIGABYTE = 2**30


@pytest.fixture(scope="module")
def experiment():
    return load_experiment("mnist")


@pytest.fixture(scope="module")
def two_digits(experiment, digits):
    """(2, 1, 28, 28)."""
    return torch.cat([experiment.preprocess(digits.picture(number)) for number in (3, 4012)])


def last(states):
    return deque(states, maxlen=1).pop()


def scores(models, images, masks, count, device, **settings):
    """Role -> scores (N, count, classes), on the CPU."""
    there = {role: ModelWithActivation(model.to(device), softmax) for role, model in models.items()}
    states = last(stream_scores(there, images.to(device), None, masks, count, **settings))
    return {role: state.scores.float().cpu() for role, state in states.items()}


def nets(experiment, device=DEVICE):
    return {role: run.on(device) for role, run in experiment.runs.items()}


# precision ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("allowed", "error"), [(False, 1e-5), (True, 2e-3)])
def test_logits_are_the_cpus(experiment, two_digits, allowed, error, record_property):
    # float32 has 24 bits, and sums of up to 12,544 products, whose errors are random: 2^-24 * sqrt(12,544) < 1e-5.
    # TF32's factors have 11 bits: 2^-11 = 5e-4 for each product, some layers one after the other.
    for role, run in experiment.runs.items():
        with torch.inference_mode(), tf32(allowed):
            expected = run.on(CPU)(two_digits)
            got = run.on(DEVICE)(two_digits.to(DEVICE)).cpu()
        difference = float((got - expected).abs().max() / expected.abs().max())
        record_property(f"error of logits, {role}, {'TF32' if allowed else 'float32'}", difference)
        assert difference <= error, role


@pytest.mark.parametrize("estimator", list(estimators))
def test_maps_are_the_cpus(experiment, two_digits, estimator):
    count = 256 if DRY else 512
    masks = RandomMasks((28, 28), seed=4, sampler="auto").resolve_sampler(count)
    with tf32(False):
        gpu_scores, expected = (
            scores(nets(experiment, device), two_digits[:1], masks, count, device, precision="float32")
            for device in (DEVICE, CPU)
        )
    for role in expected:
        assert float((gpu_scores[role] - expected[role]).abs().max()) < 1e-4
        got, wanted = (estimate(masks, logits[role][0].T, estimator) for logits in (gpu_scores, expected))
        size = wanted.map.abs().amax((1, 2))
        assert bool(((got.map - wanted.map).abs().amax((1, 2)) <= 1e-3 * size + 1e-7).all()), role
        errors = wanted.standard_error.abs().amax((1, 2))
        assert bool(((got.standard_error - wanted.standard_error).abs().amax((1, 2)) <= 0.01 * errors + 1e-7).all())


@pytest.mark.parametrize("precision", ["auto", "bfloat16", pytest.param("float16", marks=needs_cuda)])
def test_half_precision_gives_the_same_maps(experiment, two_digits, precision, record_property):
    count = 256 if DRY else 1024
    masks = RandomMasks((28, 28), seed=4, sampler="auto").resolve_sampler(count)
    models = nets(experiment)
    target = int(models["teacher"](two_digits[:1].to(DEVICE)).argmax())
    expected = scores(nets(experiment, CPU), two_digits[:1], masks, count, CPU, precision="float32")
    gpu_scores = scores(models, two_digits[:1], masks, count, DEVICE, precision=precision)
    for role in expected:
        got, wanted = (estimate(masks, logits[role][0, :, [target]].T).map for logits in (gpu_scores, expected))
        record_property(f"r of maps with float32, {role}, {precision}", correlation(got, wanted))
        assert correlation(got, wanted) >= 0.9999, role


@needs_cuda
def test_auto_is_half_precision_where_the_gpu_has_it(experiment, digits):
    maps = explain(experiment, digits.picture(3), n_masks=64)
    assert {saliency_map.settings["precision"] for saliency_map in maps.values()} <= {"bfloat16", "float16"}


def test_the_call_for_all_methods_gives_the_same(experiment, digits):
    options = {"n_masks": 300, "precision": "float32", "grid": 5, "probability": 0.4}
    with tf32(False):
        gpu_maps, expected = (
            explain(experiment, digits.picture(77), device=device, **options) for device in (DEVICE, CPU)
        )
    for role, saliency_map in expected.items():
        assert gpu_maps[role].target == saliency_map.target
        assert np.allclose(gpu_maps[role].values, saliency_map.values, atol=1e-3 * np.abs(saliency_map.values).max())


# several pictures, colours, chunks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "probability"), [("iid", 0.5), ("hadamard", 0.5), ("sobol", 0.3)])
def test_several_pictures_with_a_class_each_are_the_same_one_by_one(sampler, probability):
    images, targets, model = pictures(3), [0, 4, 2], SmallNet()
    settings = {"n_masks": 300, "sampler": sampler, "probability": probability, "precision": "float32", "seed": 2}
    with tf32(False):
        maps = RISE(copy.deepcopy(model).to(DEVICE)).attribute(images.to(DEVICE), 0.1, targets, **settings)
        alone = [
            RISE(model).attribute(image[None], 0.1, target, **settings)
            for image, target in zip(images, targets, strict=True)
        ]
    expected = torch.cat(alone)
    assert maps.device.type == DEVICE.type
    assert float((maps.cpu() - expected).abs().max()) <= 1e-3 * float(expected.abs().max())


@pytest.mark.parametrize("chunk", [None, 100, pytest.param(512, marks=needs_cuda)])
def test_scores_are_the_models_also_in_a_shorter_last_chunk(experiment, two_digits, chunk):
    count = 170 if DRY else 700  # chunks of 64, 128, ... or 100 leave a part; 512 leaves 188
    masks = RandomMasks((28, 28), seed=9, sampler="iid")
    rendered = masks.render(0, count)
    models = nets(experiment)
    for _ in range(2):  # the second time some shapes have come before
        gpu_scores = scores(models, two_digits, masks, count, DEVICE, chunk_size=chunk)
    for role, run in experiment.runs.items():
        for number, picture in enumerate(two_digits):
            with torch.inference_mode():
                expected = run.on(CPU)(rendered * picture).softmax(1)
            spread = (expected - expected.mean(0)).square().mean().sqrt()
            error = (gpu_scores[role][number] - expected).square().mean().sqrt()
            assert error <= 0.03 * spread, role  # what "auto" allows


# graphs ---------------------------------------------------------------------------------------------------------------


@needs_cuda
def test_graphs_are_used_and_give_the_models_scores(experiment, two_digits, monkeypatch):
    captured = []
    capture = cuda_graphs._capture

    def watched(model, images):
        captured.append(len(images))
        return capture(model, images)

    monkeypatch.setattr(cuda_graphs, "_capture", watched)
    models = {role: copy.deepcopy(model) for role, model in nets(experiment).items()}  # nothing is captured yet
    masks = RandomMasks((28, 28), seed=1, sampler="iid")
    first = scores(models, two_digits, masks, 700, DEVICE, chunk_size=128)
    second = scores(models, two_digits, masks, 700, DEVICE, chunk_size=128)
    assert captured.count(128) >= 3  # each of the models that share the GPU
    for role, model in models.items():
        with torch.inference_mode():
            picture = two_digits[1].to(DEVICE)
            expected = model(masks.render(0, 700, DEVICE) * picture).softmax(1).cpu()
        for gpu_scores in (first, second):
            error = (gpu_scores[role][1] - expected).square().mean().sqrt()
            assert error <= 0.03 * (expected - expected.mean(0)).square().mean().sqrt(), role


class Waits(nn.Module):
    """Asks the GPU for a number while it computes, which no capture bears."""

    def __init__(self):
        super().__init__()
        self.net = SmallNet()

    def forward(self, images):
        logits = self.net(images)
        return logits * (1.0 if float(logits.abs().sum()) >= 0 else 2.0)


@needs_cuda
def test_a_model_that_cannot_be_captured_is_run_as_it_is():
    images, settings = pictures(1).to(DEVICE), {"n_masks": 300, "chunk_size": 50, "seed": 3}
    before = torch.cuda.current_stream(DEVICE)
    expected = RISE(SmallNet().to(DEVICE)).attribute(images, target=1, **settings)
    saliency_map = RISE(Waits().to(DEVICE)).attribute(images, target=1, **settings)
    assert correlation(saliency_map, expected) > 0.999
    assert torch.cuda.current_stream(DEVICE) == before
    again = RISE(SmallNet().to(DEVICE)).attribute(images, target=1, **settings)  # captures go on
    assert correlation(again, expected) > 0.999


def test_threads_share_a_gpu(experiment, two_digits):
    masks = RandomMasks((28, 28), seed=6, sampler="iid")
    models = nets(experiment)
    count = 100 if DRY else 400
    expected = scores(models, two_digits[:1], masks, count, DEVICE)

    def work(_: int) -> float:
        gpu_scores = scores(models, two_digits[:1], masks, count, DEVICE, chunk_size=64)
        return max(float((gpu_scores[role] - expected[role]).abs().max()) for role in expected)

    with ThreadPoolExecutor(3) as threads:
        assert max(threads.map(work, range(6))) < 0.05  # bfloat16's rounding; another picture's scores are far off


# memory ---------------------------------------------------------------------------------------------------------------


def test_out_of_memory_halves_the_chunk():
    model, sizes = SmallNet().to(DEVICE), []

    def small(batch):
        sizes.append(len(batch))
        if len(batch) > 20:
            raise torch.OutOfMemoryError("too much")
        return model(batch)

    images, settings = pictures(1).to(DEVICE), {"n_masks": 120, "seed": 3}
    saliency_map = RISE(small).attribute(images, target=1, chunk_size=64, **settings)
    assert max(sizes[3:]) == 16
    with tf32(False):
        expected = RISE(model).attribute(images, target=1, precision="float32", **settings)
    assert correlation(saliency_map, expected) > 0.9999


@needs_cuda
def test_memory_that_is_really_too_small_halves_the_chunk():
    model, images = SmallNet(width=64).to(DEVICE), pictures(1, 224).to(DEVICE)
    settings = {"n_masks": 256, "seed": 3, "precision": "float32"}
    with tf32(False):
        expected = RISE(model).attribute(images, target=1, chunk_size=8, **settings)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    # A batch of 256 needs 256 * 64 * 224 * 224 floats, 3.3 GB, for each layer; there is one gigabyte.
    allowed = torch.cuda.memory_reserved(DEVICE) + GIGABYTE
    torch.cuda.set_per_process_memory_fraction(allowed / total, DEVICE)
    torch.cuda.reset_peak_memory_stats(DEVICE)
    try:
        saliency_map = RISE(model).attribute(images, target=1, chunk_size=256, **settings)
        assert torch.cuda.max_memory_reserved(DEVICE) <= allowed
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
        torch.cuda.empty_cache()
    assert correlation(saliency_map, expected) > 0.9999


# several GPUs ---------------------------------------------------------------------------------------------------------


@needs_cuda
@needs_two
def test_two_gpus_take_turns(experiment, two_digits):
    masks = RandomMasks((28, 28), seed=1, sampler="iid")
    alone, both = (
        scores(nets(experiment), two_digits, masks, 900, DEVICE, chunk_size=100, devices=devices)
        for devices in ((), ("cuda:1",))
    )
    second = scores(nets(experiment, torch.device("cuda:1")), two_digits, masks, 900, torch.device("cuda:1"))
    for role in alone:
        assert float((alone[role] - both[role]).abs().max()) < 0.05
        assert float((alone[role] - second[role]).abs().max()) < 0.05
