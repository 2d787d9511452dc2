"""What a library's builder is told beside classes, channels and size: only what is known, and in plain values."""

from __future__ import annotations

import pytest
import torch

from kdviz.core.errors import SettingError
from kdviz.experiment import InputSpec
from kdviz.models.networks import build_network
from kdviz.studies.comparison.inventory import outline

SIZE = (64, 64)


@pytest.mark.parametrize(
    ("name", "channels", "settings"),
    [
        ("torchvision/vit_b_16", 3, {"image_size": 64}),
        ("torchvision/googlenet", 3, {"aux_logits": False, "init_weights": False, "transform_input": True}),
        ("torchvision/squeezenet1_1", 1, {"in_chans": 1}),
        ("timm/vit_tiny_patch16_224", 3, {"img_size": 64, "global_pool": "avg"}),
        ("timm/vit_tiny_patch16_224", 1, {"img_size": 64}),
    ],
)
def test_settings_reach_the_builder(name, channels, settings):
    network = build_network(name, classes=2, channels=channels, size=SIZE, settings=settings).eval()
    with torch.no_grad():
        assert network(torch.rand(1, channels, *SIZE)).shape == (1, 2)


def test_a_renormalised_network_passes_them_on():
    name = "timm/vit_tiny_patch16_224@renormalised"
    network = build_network(name, classes=2, channels=3, size=SIZE, settings={"img_size": 64}).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, *SIZE)).shape == (1, 2)


def test_an_outline_takes_them_too():
    spec = InputSpec(size=SIZE, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    network = outline("timm/vit_tiny_patch16_224", spec, 2, {"img_size": 64})
    assert network.state_dict()["pos_embed"].shape == (1, 17, 192)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("timm/resnet18", {"pretrained": True}, "no setting 'pretrained'"),
        ("timm/resnet18", {"checkpoint_path": "/weights"}, "no setting 'checkpoint_path'"),
        ("torchvision/resnet18", {"weights": "DEFAULT"}, "no setting 'weights'"),
        ("paper_cnn", {"image_size": 28}, "no setting 'image_size'; its settings are: widths"),
        ("timm/vit_tiny_patch16_224", {"img_size": "64"}, "must be of the type int"),
        ("timm/vit_tiny_patch16_224", {"img_size": True}, "must be of the type int"),
        ("timm/vit_tiny_patch16_224", {"img_size": 10**6}, "from 1 to 4096"),
        ("timm/vit_tiny_patch16_224", {"img_size": 65.0}, "must be of the type int"),
        ("torchvision/googlenet", {"aux_logits": 1}, "must be of the type bool"),
        ("timm/resnet18", {"img_size": 64}, "cannot be built with img_size=64"),
        ("timm/vit_tiny_patch16_224", {"global_pool": "nonsense"}, "cannot be built with global_pool=nonsense"),
        ("torchvision/resnet18", {"image_size": 64}, "cannot be built with image_size=64"),
        ("torchvision/resnet18", {"in_chans": 1}, "'in_chans' of 'resnet18' is 1, but"),
    ],
)
def test_a_setting_that_is_not_known_is_refused(name, settings, reason):
    with pytest.raises(SettingError, match=reason):
        build_network(name, classes=2, channels=3, size=SIZE, settings=settings)
