"""Public names that were renamed work for one release, with a warning that gives the new one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import kdviz.saliency
from kdviz.distill import TrainingConfig
from kdviz.distill.experiment_trainer import train_experiment
from kdviz.metrics import agreement
from kdviz.saliency import ModelWithActivation, RandomMasks, estimate, explain, explain_stream, incompatibility


@pytest.mark.parametrize(
    ("former", "present"),
    [("Explained", ModelWithActivation), ("misfit", incompatibility)],
    ids=["Explained", "misfit"],
)
def test_names_of_kdviz_saliency(former, present):
    with pytest.warns(DeprecationWarning, match=f"kdviz.saliency.{former} is now {present.__name__}") as caught:
        assert getattr(kdviz.saliency, former) is present
    assert caught[0].filename == __file__
    assert former not in kdviz.saliency.__all__


def test_what_never_was_is_no_name():
    with pytest.raises(AttributeError, match="no attribute 'explained'"):
        kdviz.saliency.explained  # noqa: B018


def test_suited_masks():
    masks = RandomMasks((8, 8), (2, 2), sampler="auto")
    with pytest.warns(DeprecationWarning, match="resolve_sampler"):
        assert masks.suited(1000) == masks.resolve_sampler(1000)


def test_jackknife_of_an_estimate():
    result = estimate(RandomMasks((8, 8), (2, 2)), torch.rand(1, 64))
    with pytest.warns(DeprecationWarning, match="jackknife_maps"):
        assert result.left_out is result.jackknife_maps
    with pytest.warns(DeprecationWarning, match="jackknife_halves"):
        assert result.halves_without is result.jackknife_halves


def test_jackknife_of_a_map(tiny, digit_file):
    maps = explain(tiny, digit_file, 3, n_masks=64, roles=["teacher"])
    with pytest.warns(DeprecationWarning, match="jackknife_maps"):
        assert maps["teacher"].left_out is maps["teacher"].jackknife_maps
    with pytest.warns(DeprecationWarning, match="jackknife_halves"):
        assert maps["teacher"].halves_without is maps["teacher"].jackknife_halves


def test_models_that_a_method_does_not_fit(tiny, digit_file):
    *_, last = explain_stream(tiny, digit_file, 3, "layer_gradcam")
    assert set(last.incompatible) == {"kd_student", "student"}
    with pytest.warns(DeprecationWarning, match="incompatible"):
        assert last.misfits is last.incompatible


class Former:
    """A map of somebody else's, with the former name."""

    def __init__(self, seed: int):
        values = np.random.default_rng(seed).normal(size=(18, 6, 6))
        self.halves, self.halves_without, self.target = values[:2], values[2:] * 0.1 + values[:2].repeat(8, 0), 0


class Present:
    def __init__(self, former: Former):
        self.halves, self.jackknife_halves, self.target = former.halves, former.halves_without, 0


def test_agreement_of_maps_with_the_former_name():
    former = {"one": Former(0), "other": Former(1)}
    with pytest.warns(DeprecationWarning, match="jackknife_halves"):
        report = agreement(former)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert report.to_json() == agreement({name: Present(part) for name, part in former.items()}).to_json()


def test_arguments_of_a_recipe():
    with pytest.warns(DeprecationWarning, match="argument unfreeze is now trainable") as caught:
        config = TrainingConfig(unfreeze="head")
    assert caught[0].filename == __file__
    assert config == TrainingConfig(trainable="head")
    with pytest.warns(DeprecationWarning, match="TrainingConfig.unfreeze is now trainable"):
        assert config.unfreeze == "head"  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="few is now label_budget"):
        train_experiment({}, config, "", "", config, teachers=[], student=config, few=None)
