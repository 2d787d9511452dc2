"""Shifts of pictures: what each does, that chance depends on seed and picture alone, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.data.shifts.drawing import border_colour, shifted
from kdviz.data.shifts.registry import SEVERITIES, shifts

NAMES = [
    "brightness",
    "contrast",
    "gaussian_blur",
    "gaussian_noise",
    "gradient",
    "impulse_noise",
    "inversion",
    "jpeg",
    "rotation",
    "scale",
    "stripe",
    "translation",
]
RANDOM = ["gaussian_noise", "gradient", "impulse_noise", "rotation", "stripe", "translation"]
SHAPES = [(1, 28, 28), (3, 32, 32), (3, 40, 61)]


def pictures(shape, count=6):
    """A bright block somewhere on a dark, uneven ground."""
    source = np.random.default_rng(0)
    images = source.integers(10, 60, (count, *shape), dtype=np.uint8)
    for image in images:
        row, column = (int(source.integers(4, size - 14)) for size in shape[1:])
        image[:, row : row + 8, column : column + 10] += 150
    return torch.from_numpy(images)


def dot(size=41, row=20, column=32):
    image = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    image[..., row - 1 : row + 2, column - 1 : column + 2] = 255
    return image


def centre(image):
    """Mean row and column of what is bright."""
    weights = image[0].double()
    rows, columns = (torch.arange(size, dtype=torch.float64) for size in weights.shape)
    moments = [float((weights.sum(1) * rows).sum()), float((weights.sum(0) * columns).sum())]
    return np.array(moments) / float(weights.sum())


def test_names_are_known_without_torch():
    assert sorted(shifts) == NAMES
    assert all(shifts[name].description.endswith(".") for name in NAMES)
    code = "import sys; from kdviz.data.shifts.registry import shifts as s; print(len(s), 'torchvision' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(len(NAMES)), "False"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_shift_keeps_shape_and_type_changes_every_picture_and_leaves_the_given_ones(name, shape):
    images = pictures(shape)
    before = images.clone()
    for severity in SEVERITIES:
        changed = shifted(images, name, severity)
        assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)
        if name == "inversion" and severity == 1:  # nothing here is as bright as its threshold
            continue
        assert all(bool((one != other).any()) for one, other in zip(changed, images, strict=True))
    assert torch.equal(images, before)


def test_the_least_blur_is_seen_in_the_smallest_pictures(small_digits):
    digits = small_digits.images[:20]
    changed = [shifted(digits, "gaussian_blur", severity) for severity in SEVERITIES]
    assert all(bool((one != other).any()) for blurred in changed for one, other in zip(blurred, digits, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_changes_more(name):
    images = pictures((3, 32, 32), 40)
    distances = [
        float((shifted(images, name, severity).float() - images.float()).square().mean()) for severity in SEVERITIES
    ]
    assert distances[-1] > distances[0]
    assert name in ("inversion", "rotation", "translation") or distances == sorted(distances)


@pytest.mark.parametrize("name", NAMES)
def test_chance_depends_on_seed_and_picture_alone(name):
    images = pictures((1, 28, 28))
    torch.manual_seed(5)
    whole = shifted(images, name, 3)
    torch.manual_seed(6)
    assert torch.equal(shifted(images.flip(0), name, 3), whole.flip(0))
    assert torch.equal(shifted(images[2:3], name, 3), whole[2:3])
    if name in RANDOM:
        assert not torch.equal(shifted(images, name, 3, seed=1), whole)
    else:
        assert torch.equal(shifted(images, name, 3, seed=1), whole)


def test_levels_are_what_they_are_said_to_be():
    images = pictures((3, 32, 32))
    assert torch.equal(shifted(images, "inversion", 5), 255 - images)
    assert torch.equal(shifted(images, "brightness", 2).int(), (images.int() + 51).clamp(max=255))
    flat = shifted(images, "contrast", 5).float()
    assert float(flat.std()) == pytest.approx(0.05 * float(images.float().std()), rel=0.3)


def test_noise_is_of_its_size():
    grey = torch.full((30, 1, 28, 28), 128, dtype=torch.uint8)
    noise = (shifted(grey, "gaussian_noise", 3).float() - 128) / 255
    assert len(shifted(grey[:2], "gaussian_noise", 3).unique(dim=0)) == 1  # equal pictures have equal noise
    assert float(noise[0].std()) == pytest.approx(0.12, rel=0.1)
    impulses = shifted(pictures((1, 28, 28), 200), "impulse_noise", 5)
    for level in (0, 255):  # 200 * 784 pixels: the share's standard error is .0009
        assert float((impulses == level).float().mean()) == pytest.approx(0.135, abs=0.004)


def test_a_dot_moves_as_far_as_it_is_said_to():
    middle = np.array([20.0, 20.0])
    for severity, (share, degrees, factor) in enumerate(
        zip((0.05, 0.1, 0.15, 0.2, 0.25), (10, 20, 30, 40, 50), (0.9, 0.8, 0.7, 0.6, 0.5), strict=True), 1
    ):
        moved = centre(shifted(dot(column=20), "translation", severity)[0]) - middle
        assert np.linalg.norm(moved) == pytest.approx(share * 41, abs=0.8)
        turned = centre(shifted(dot(), "rotation", severity)[0]) - middle
        assert np.linalg.norm(turned) == pytest.approx(12, abs=0.3)
        assert abs(np.degrees(np.arctan2(*turned))) == pytest.approx(degrees, abs=1)
        shrunk = centre(shifted(dot(), "scale", severity)[0]) - middle
        assert shrunk == pytest.approx([0, 12 * factor], abs=0.3)


def test_a_picture_is_turned_to_one_side_at_each_severity():
    turned = [centre(shifted(dot(), "rotation", severity)[0])[0] > 20 for severity in SEVERITIES]
    assert len(set(turned)) == 1


def test_what_lies_beyond_the_picture_has_the_colour_of_its_border():
    images = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    images[:, 0], images[:, 1] = 200, 40
    assert border_colour(images[0]) == [200, 40, 0]
    for name in ("rotation", "scale", "translation"):
        assert torch.equal(shifted(images, name, 5), images)


def test_a_stripe_is_seen_before_its_ground():
    dark = torch.full((1, 1, 28, 28), 10, dtype=torch.uint8)
    assert set(shifted(dark, "stripe", 2).unique().tolist()) == {10, 255}
    assert set(shifted(245 + 0 * dark, "stripe", 2).unique().tolist()) == {0, 245}


def test_what_is_not_there_is_refused_in_a_sentence():
    images = pictures((1, 28, 28), 1)
    with pytest.raises(UnknownNameError, match=r"Unknown shift 'rotatoin'\. Did you mean 'rotation'\?"):
        shifted(images, "rotatoin", 1)
    for severity in (0, 6, 2.5):
        with pytest.raises(SettingError, match="a whole number from 1 to 5, got"):
            shifted(images, "rotation", severity)
    assert shifted(images[:0], "rotation", 1).shape == (0, 1, 28, 28)
