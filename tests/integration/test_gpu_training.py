"""Training on a GPU: it learns, in bfloat16 too; and goes on from a checkpoint, there or on a machine without one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import SMALL
from gpu_device import CPU, DEVICE, on_gpu
from sweeps import small_splits

from kdviz.core.files import Store
from kdviz.distill import TrainingConfig, fit, predict_logits
from kdviz.distill.runs import execute_run
from kdviz.distill.storage.run_files import StoredCheckpoint, new_network, read_weights
from kdviz.distill.storage.teacher_explanations import teacher_explanations
from kdviz.distill.storage.training_run import TrainingRun

pytestmark = on_gpu

CONFIG = TrainingConfig(epochs=4, batch_size=64, device=str(DEVICE), bf16="off")
# An Adam step moves a weight by up to the learning rate, .001: with moments lost or wrong, hundreds of steps differ.
# What is left is that sums may be rounded in another order.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def splits(small_digits):
    return small_splits(small_digits, {"train": 600, "validation": 200, "test": 200})


def trained(splits, config=CONFIG, network="paper_fc", **more):
    model = new_network(network, SMALL, 10, config.seed)
    steps = list(fit(model, splits["train"], splits["validation"], SMALL.normalise, config, **more))
    return model, [step for step in steps if step.ends_epoch]


def test_it_learns(splits):
    model, ends = trained(splits, network="paper_cnn")
    assert next(model.parameters()).device == DEVICE
    assert ends[-1].loss < 0.5 * ends[0].loss
    assert max(end.validation_accuracy for end in ends) > 0.7  # chance is .1


def test_bfloat16_learns_as_well(splits):
    full, half = (trained(splits, replace(CONFIG, bf16=bf16))[1] for bf16 in ("off", "on"))
    assert half[-1].loss < 0.5 * half[0].loss
    assert half[-1].loss == pytest.approx(full[-1].loss, rel=0.2)
    # Of 200 pictures some lie between two classes; .1 is three standard errors of the difference of two accuracies of
    # .85: sqrt(2 * .85 * .15 / 200) = .036.
    assert abs(half[-1].validation_accuracy - full[-1].validation_accuracy) <= 0.11


def test_the_first_steps_are_the_cpus(splits):
    config = replace(CONFIG, epochs=1, batch_size=300)
    there, here = (trained(splits, replace(config, device=str(device)))[0] for device in (DEVICE, CPU))
    for name, value in here.state_dict().items():
        # Two steps. Adam divides a gradient by its size: where that is rounding alone, the step's sign is chance.
        gap = (there.state_dict()[name].cpu() - value).abs()
        assert float((gap > ROUNDING).float().mean()) < 0.01, name


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"augment": "rotate90,mixup"},
        {"augment": "crop,colour"},
        {"feature_loss": "hints", "feature_weight": 0.1},
        {"bf16": "on", "loss": "dist", "class_weights": "balanced"},
        {"loss": "multi_level"},
        {"feature_loss": "contrastive", "feature_weight": 0.1},
        {"feature_loss": "rise_maps", "feature_weight": 10.0},
        {"feature_loss": "input_gradient", "bf16": "on"},
        {"feature_loss": "input_gradient", "augment": "rotate90"},
    ],
    ids=str,
)
def test_a_student_hears_its_teacher(splits, tmp_path, recipe):
    teacher, _ = trained(splits)
    config = replace(CONFIG, epochs=2, **recipe)
    spoken = {"teachers": [teacher.requires_grad_(False)]}
    if not config.needs_live_teacher:
        training, normalise = splits["train"], SMALL.normalise
        spoken = {"teacher_logits": predict_logits(teacher, training, normalise, device=str(DEVICE))}
        explained = teacher_explanations(lambda: teacher, normalise, config, Store(tmp_path), "teacher", training)
        spoken["explanations"] = explained
    _, ends = trained(splits, config, **spoken)
    assert ends[1].loss < ends[0].loss
    assert ends[1].validation_accuracy > 0.3


# going on -------------------------------------------------------------------------------------------------------------


def run_of(epochs: int = 4) -> TrainingRun:
    return TrainingRun("student", "paper_fc", replace(CONFIG, epochs=epochs), "some data", SMALL)


def interrupted(run, splits, folder, after: int):
    """A run that was stopped in the epoch after ``after``, with its checkpoint."""
    for progress in execute_run(run, splits, Store(folder), str(DEVICE)):
        if progress.epoch > after:
            break


def weights(run, folder):
    return read_weights(Store(folder), run, 10).state_dict()


def largest_gap(first, second) -> float:
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("going_on", [DEVICE, CPU], ids=["there", "on the CPU"])
def test_it_goes_on_from_a_checkpoint(splits, tmp_path, going_on):
    run = run_of()
    list(execute_run(run, splits, Store(tmp_path / "whole"), str(DEVICE)))
    interrupted(run, splits, tmp_path / "parts", after=2)
    state = StoredCheckpoint(Store(tmp_path / "parts"), run).load()
    assert state["epoch"] == 2
    assert {value.device for value in state["network"].values()} == {CPU}  # it can be read where there is no GPU
    ends = [step for step in execute_run(run, splits, Store(tmp_path / "parts"), str(going_on)) if step.ends_epoch]
    assert [step.epoch for step in ends] == [1, 2, 3, 4]
    gap = largest_gap(weights(run, tmp_path / "parts"), weights(run, tmp_path / "whole"))
    assert gap <= (ROUNDING if going_on == DEVICE else 1e-2)


def test_without_its_moments_it_would_end_elsewhere(splits, tmp_path, monkeypatch):
    """The tolerance of the test above tells the difference."""
    run = run_of()
    list(execute_run(run, splits, Store(tmp_path / "whole"), str(DEVICE)))
    interrupted(run, splits, tmp_path / "parts", after=2)
    monkeypatch.setattr(torch.optim.Adam, "load_state_dict", lambda self, state: None)
    list(execute_run(run, splits, Store(tmp_path / "parts"), str(DEVICE)))
    assert largest_gap(weights(run, tmp_path / "parts"), weights(run, tmp_path / "whole")) > 5 * ROUNDING
