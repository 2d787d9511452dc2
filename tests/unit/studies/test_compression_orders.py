"""Steps of compression in every order: each works or is refused in one sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from kdviz.compress.sparse_weights import zero_share
from kdviz.core.errors import KdvizError, ModelError, SettingError
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import load_experiment
from kdviz.models.networks import ONNX
from kdviz.studies.compression import making
from kdviz.studies.compression.making import Making, make_run
from kdviz.studies.compression.names import DYNAMIC, INT4, INT8, PRUNE, QAT, SEED, TWO_OF_FOUR, WEIGHTS
from kdviz.studies.compression.steps import Step, plan_steps

RECORD = {"epochs": 1, "batch_size": 32, "learning_rate": 0.002, "seed": 3, "unfreeze": "all", "optimizer": "sgd"}
STEPS = {
    "channels": Step(PRUNE, 0.5),
    "weights": Step(PRUNE, 0.8, WEIGHTS),
    "fours": Step(PRUNE, 0.5, TWO_OF_FOUR),
    "qat": Step(QAT),
    "static": Step(INT8),
    "dynamic": Step(INT8, ranges=DYNAMIC),
    "int4": Step(INT4),
    "seed": Step(SEED),
}
FLOAT = ("channels", "weights", "fours", "seed")
REFUSED = {
    ("weights", "weights"): "are 0 already",
    ("fours", "channels"): "Prune channels first",
    **{(first, "seed"): "was itself made from" for first in FLOAT},
}
NEXT = ("channels", "weights", "fours", "qat", "seed")  # the others export as qat does
ORDERS = [*((first, second) for first in FLOAT for second in NEXT), ("channels", "int4"), ("weights", "static")]


@pytest.fixture(scope="module")
def splits(small_digits):
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    parts = zip(("train", "validation", "test"), torch.arange(260).split([128, 100, 32]), strict=True)
    return {name: replace(small_digits.take(order[part]), split=name) for name, part in parts}


def make(experiment, splits, of, step, role, **given):
    making = Making(experiment, splits, given, "cpu", with_teacher=False)
    planned = plan_steps(experiment, of, [step], role)
    making.check(planned)
    for _stage in make_run(making, planned[0]):
        pass


@pytest.fixture(scope="module")
def folder(_untrained, splits, tmp_path_factory):
    """Each step once, of the student."""
    folder = shutil.copytree(_untrained, tmp_path_factory.mktemp("orders") / "tiny")
    experiment = load_experiment(folder)
    for run in experiment.runs.values():
        run.training = RECORD
    for name, step in STEPS.items():
        make(experiment, splits, "student", step, name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_a_step_after_another_works_or_is_refused(folder, splits, tmp_path, first, second):
    experiment = load_experiment(shutil.copytree(folder, tmp_path / "copy"))
    if (first, second) in REFUSED:
        with pytest.raises(SettingError, match=REFUSED[first, second]):
            make(experiment, splits, first, STEPS[second], "both")
        return
    make(experiment, splits, first, STEPS[second], "both")
    both = load_experiment(experiment.folder).runs["both"]
    assert both.parent == first
    answers = both.model(experiment.input.normalise(splits["test"].images))
    assert answers.shape == (32, 10)
    assert answers.isfinite().all()
    if first != "channels" and both.network != ONNX:
        before = zero_share(experiment.runs[first].model)
        assert zero_share(both.model) >= before - 0.03  # no weight came back; channels that went had zeros, too


@pytest.mark.slow
@pytest.mark.parametrize("first", [name for name in STEPS if name not in FLOAT])
@pytest.mark.parametrize("second", STEPS)
def test_nothing_is_made_of_a_quantised_file(folder, splits, first, second):
    with pytest.raises(ModelError, match=f"'{first}' is an ONNX file, .* such as --of student"):
        make(load_experiment(folder), splits, first, STEPS[second], "both")


@pytest.mark.slow
def test_zeros_stay_zeros_in_the_int8_file_of_a_sparse_model(folder, splits, tmp_path):
    import onnx
    from onnx import numpy_helper

    experiment = load_experiment(shutil.copytree(folder, tmp_path / "copy"))
    make(experiment, splits, "weights", STEPS["qat"], "both", epochs=2, learning_rate=0.01)
    model = onnx.load(experiment.folder / experiment.runs["both"].weights)
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.data_type == 3]
    matrices = [weight for weight in weights if weight.ndim == 2]
    assert len(matrices) == 3
    assert sum((weight == 0).sum() for weight in matrices) / sum(weight.size for weight in matrices) > 0.79


@pytest.mark.slow
def test_int4_is_smaller_than_int8_and_answers_nearly_the_same(folder, splits):
    experiment = load_experiment(folder)
    inputs = experiment.input.normalise(splits["test"].images)
    answers = {name: experiment.runs[name].model(inputs) for name in ("student", "int4", "static")}
    sizes = {name: (folder / experiment.runs[name].weights).stat().st_size for name in answers}
    assert sizes["int4"] < 0.75 * sizes["static"] < 0.75 * 0.4 * sizes["student"]
    spread = answers["student"].std()
    assert 0 < (answers["int4"] - answers["student"]).abs().mean() < 0.2 * spread


def test_int4_without_a_fully_connected_layer_is_refused():
    from kdviz.compress.int4 import int4_file
    from kdviz.compress.onnx_export import float_file

    network = torch.nn.Sequential(torch.nn.Conv2d(1, 10, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(ModelError, match="no fully connected layer"):
        int4_file(float_file(network.eval(), torch.zeros(2, 1, 8, 8)))


@pytest.mark.slow
def test_a_training_that_goes_astray_leaves_earlier_results_whole(tiny, splits, monkeypatch):
    def astray(role, network):
        """A variance that is not finite: no loss of a training tells, and some processors give it for one value."""
        next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)).running_var[0] = nan
        require_finite(role, network)

    nan, require_finite = float("nan"), making._require_finite
    monkeypatch.setattr(making, "_require_finite", astray)
    tiny.add_run("it", "airbench_small", new_network("airbench_small", tiny.input, 10, 0).eval(), RECORD, {})
    tiny.save()
    before = (tiny.folder / "experiment.json").read_bytes()
    with pytest.raises(ModelError, match="'small' went astray: its weights are not finite"):
        make(tiny, splits, "it", STEPS["fours"], "small")
    assert (tiny.folder / "experiment.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("network", ["soft_tree", "sparse_linear", "paper_cnn"])
@pytest.mark.parametrize("step", ["channels", "weights", "fours", "qat", "int4"])
def test_every_network_works_or_is_refused_in_one_sentence(tiny, splits, network, step):
    refused = {
        ("soft_tree", "channels"): "no channels that could be left out",
        ("sparse_linear", "channels"): "no channels that could be left out",
    }
    tiny.add_run("it", network, new_network(network, tiny.input, 10, 0).eval(), RECORD, {})
    tiny.save()
    if (network, step) in refused:
        with pytest.raises(KdvizError, match=refused[network, step]):
            make(tiny, splits, "it", STEPS[step], "small")
        return
    make(tiny, splits, "it", STEPS[step], "small")
    assert load_experiment(tiny.folder).runs["small"].model(torch.zeros(2, 1, 14, 14)).shape == (2, 10)
