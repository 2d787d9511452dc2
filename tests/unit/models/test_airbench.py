"""Airbench: its whitening against a differently written one, its beginning, its operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kdviz.models.networks import Airbench, WhiteningConv, build_network


def pictures(count: int = 64, channels: int = 3, side: int = 16) -> torch.Tensor:
    """Smooth noise, whose patches are correlated as those of photographs are."""
    noise = torch.randn(count, channels, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(noise, size=(side, side), mode="bilinear") + 0.3 * noise.mean(
        (1, 2, 3), keepdim=True
    )


def built(name: str = "airbench_small", **options) -> Airbench:
    return build_network(name, **{"classes": 10, "channels": 3, "size": (32, 32), **options})


@pytest.mark.parametrize("channels", [1, 3])
def test_the_whitened_patches_are_uncorrelated(channels):
    images = pictures(channels=channels)
    conv = WhiteningConv(channels, 4)
    conv.fit_to(images)
    outputs = conv(images).transpose(0, 1).flatten(1).numpy()
    assert np.allclose(outputs[4:], -outputs[:4], atol=1e-6)
    # NumPy's singular values of the centred patches give the variances; .0005 is added to each.
    patches = np.lib.stride_tricks.sliding_window_view(images.numpy(), (2, 2), axis=(2, 3))
    patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 4 * channels)
    variances = np.linalg.svd(patches - patches.mean(0), compute_uv=False) ** 2 / (len(patches) - 1)
    covariance = np.cov(outputs[:4])
    assert np.allclose(np.diag(covariance), variances[:4] / (variances[:4] + 5e-4), rtol=1e-3)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-3


def test_the_whitening_is_set_once_and_kept_with_the_weights():
    network = built()
    network.fit_to(pictures())
    before = network[0].weight.clone()
    network.fit_to(pictures() + torch.arange(3.0)[:, None, None] * pictures(side=16))
    assert torch.equal(network[0].weight, before)
    copy = built()
    copy.load_state_dict(network.state_dict())
    copy.fit_to(torch.rand(8, 3, 16, 16))
    assert torch.equal(copy[0].weight, before)
    assert not network[0].weight.requires_grad


def test_convolutions_begin_as_the_identity_on_their_first_channels():
    network = built()
    features = torch.randn(2, 8, 9, 9)
    assert torch.allclose(network[2][0](features)[:, :8], features, atol=1e-6)


def test_the_student_has_less_than_a_twentieth_of_the_operations():
    counted = {}
    for name in ("airbench", "airbench_small"):
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            built(name).eval()(torch.zeros(1, 3, 32, 32))
        counted[name] = counter.get_total_flops() / 2e6
    assert counted["airbench"] == pytest.approx(118.1, abs=0.1)
    assert counted["airbench_small"] < counted["airbench"] / 20
