"""The settings of RISE: declared once, seen in every signature."""

from __future__ import annotations

import gc
import inspect
from dataclasses import fields

import pytest
import torch
from torch import nn

from kdviz.explanation.methods import methods
from kdviz.rise import model_runner
from kdviz.saliency import RISE, RandomMasks, RISESettings, estimate

DECLARED = {setting.name: setting.default for setting in fields(RISESettings)}
IMAGES = torch.ones(1, 1, 8, 8)


class Sum(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.sum((1, 2, 3))


@pytest.mark.parametrize("method", [RISE.attribute, RISE.stream])
def test_signatures_have_every_setting_with_its_default(method):
    parameters = inspect.signature(method).parameters
    for name, default in DECLARED.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default == default
    assert not [parameter for parameter in parameters.values() if parameter.kind is inspect.Parameter.VAR_KEYWORD]
    assert list(parameters)[:5] == ["self", "inputs", "baselines", "target", "additional_forward_args"]


def test_the_registry_has_the_same_defaults():
    for setting in methods["rise"].settings:
        if setting.name != "baseline":  # which Captum's convention gives as an argument of its own
            assert setting.default == (DECLARED[setting.name] or 0)  # 0 is no limit, as None is


def test_an_unknown_setting_is_refused_at_once():
    with pytest.raises(TypeError, match="n_mask"):
        RISE(Sum()).attribute(IMAGES, n_mask=8)
    with pytest.raises(TypeError, match="n_mask"):
        RISE(Sum()).stream(IMAGES, n_mask=8)


def test_settings_reach_the_masks():
    map_ = RISE(Sum()).attribute(
        IMAGES, n_masks=64, grid=(2, 4), probability=0.3, seed=5, sampler="iid", precision="float32"
    )
    masks = RandomMasks((8, 8), (2, 4), 0.3, 5, "iid")
    scores = masks.render(0, 64).sum((1, 2, 3)).unsqueeze(0)
    torch.testing.assert_close(map_[:, 0], estimate(masks, scores).map)


# the batch size that was found ----------------------------------------------------------------------------------------


def test_the_batch_size_of_a_model_is_remembered_while_it_lives():
    model, other = Sum(), Sum()
    known = len(model_runner._sizes)
    size = model_runner._batch_size(IMAGES, model, None)
    assert model_runner._batch_size(IMAGES, model, None) is size
    assert model_runner._batch_size(IMAGES, other, None) is not size
    assert model_runner._batch_size(IMAGES[:, :, :4], model, None) is not size  # another kind of image
    del model, other
    gc.collect()
    assert len(model_runner._sizes) == known  # nothing is left for a model that gets the same id


def test_bound_methods_are_remembered_with_their_object():
    model = Sum()
    size = model_runner._batch_size(IMAGES, model.forward, None)
    assert model_runner._batch_size(IMAGES, model.forward, None) is size
    assert model_runner._batch_size(IMAGES, model, None) is not size


def test_callables_without_weak_references_are_not_remembered():
    class Slotted:
        __slots__ = ()

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return images.sum((1, 2, 3))

    model = Slotted()
    first = model_runner._batch_size(IMAGES, model, None)
    assert model_runner._batch_size(IMAGES, model, None) is not first
    assert RISE(model).attribute(IMAGES, n_masks=16, grid=2).shape == (1, 1, 8, 8)
