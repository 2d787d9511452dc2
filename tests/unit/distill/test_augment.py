"""Augmentation: each sample in its own way, the same again from the same seed, and labels mixed as the images are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.distill import augment as package
from kdviz.distill.augment import Augment, augmentations
from kdviz.distill.augment.drawing import drawing
from kdviz.distill.augment.views import view_of

IMAGES = [name for name in augmentations if not augmentations[name].mixes]
MIXES = [name for name in augmentations if augmentations[name].mixes]


def noise(count: int = 16, channels: int = 3, height: int = 12, width: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def copies(count: int = 32, channels: int = 3, side: int = 12) -> torch.Tensor:
    """The same image again and again."""
    return noise(1, channels, side, side).expand(count, -1, -1, -1).contiguous()


def changed(name: str, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return Augment(name, classes=3).images(images, seed)


def kinds(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


# every one ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", IMAGES)
def test_every_augmentation_of_images(name, channels):
    images = noise(channels=channels, height=10, width=14)
    before = images.clone()
    augmented = changed(name, images)
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    assert torch.equal(images, before)  # the originals are needed again in the next epoch
    assert not torch.equal(augmented, images)
    assert torch.equal(augmented, changed(name, images))
    assert not torch.equal(augmented, changed(name, images, seed=1))


@pytest.mark.parametrize("name", IMAGES)
def test_each_sample_is_changed_in_its_own_way(name):
    # One draw for a whole batch would make equal images equal again.
    augmented = changed(name, copies())
    assert len(kinds(augmented)) > (1 if name == "flip" else 4)


@pytest.mark.parametrize("name", MIXES)
def test_each_sample_has_its_own_share(name):
    inputs = torch.rand(32, 1, 12, 12)
    torch.manual_seed(0)
    _, share, partner = augmentations[name].function(inputs)
    assert len(set(share.tolist())) > 8
    assert sorted(partner.tolist()) == list(range(32))
    assert share.min() >= 0
    assert share.max() <= 1


@pytest.mark.parametrize("names", [",".join(augmentations), "mixup", "erase,cutmix"])
def test_the_global_generator_is_left_alone_and_does_not_matter(names):
    augment, images, labels = Augment(names, classes=3), noise(), torch.arange(16) % 3
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.rand(1)
        torch.manual_seed(seed)
        pixels = augment.images(images, seed=7)
        results.append((pixels, *augment.mix(pixels / 255, labels, seed=7)))
        assert torch.rand(1) == expected
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


def test_images_and_mixes_of_one_seed_are_drawn_apart():
    # The same stream for both would tie who is flipped to who is mixed with whom.
    first, second = [], []
    for stream, drawn in ((0, first), (1, second)):
        with drawing(2 * 5 + stream):
            drawn.extend(torch.rand(4).tolist())
    assert first != second


def test_augmentations_are_found_by_name():
    images, mixes = {"flip", "crop", "rotate90", "colour", "auto", "rand", "erase"}, {"mixup", "cutmix"}
    assert images <= set(IMAGES)
    assert mixes <= set(MIXES)
    for name in images | mixes:
        assert getattr(package, name) is augmentations[name].function
    assert all(len(augmentations[name].description) > 20 for name in augmentations)


def test_names_with_commas():
    assert Augment(" flip, crop ,mixup", 3).names == ("flip", "crop", "mixup")
    assert Augment("", 3).names == ()
    with pytest.raises(UnknownNameError, match=r"augmentation 'flop'\. Did you mean 'flip'"):
        Augment("crop,flop", 3)
    with pytest.raises(SettingError, match="twice"):
        Augment("flip,flip", 3)


def test_several_are_done_one_after_the_other():
    images = copies(64)
    both, turned = kinds(changed("rotate90,erase", images)), kinds(changed("rotate90", images))
    assert turned & both  # those that were not erased
    assert both - turned


def test_nothing_named_changes_nothing():
    augment, images, labels = Augment("", 3), noise(), torch.arange(16) % 3
    assert augment.images(images, 0) is images
    inputs, soft = augment.mix(images / 255, labels, 0)
    assert torch.equal(inputs, images / 255)
    assert torch.equal(soft, F.one_hot(labels, 3).float())
    assert not augment.mixes
    assert not Augment("flip", 3).mixes
    assert Augment("flip,cutmix", 3).mixes


@pytest.mark.parametrize("images", [noise().float(), noise()[0], noise(channels=2)], ids=["float", "one", "channels"])
def test_other_images_are_refused(images):
    with pytest.raises(SettingError, match=r"takes uint8 \(n, 1 or 3, H, W\)"):
        changed("flip", images)


# images ---------------------------------------------------------------------------------------------------------------


def test_flip_mirrors_half_of_them():
    images = noise(400, 1, 4, 6)
    augmented = changed("flip", images)
    mirrored = [
        torch.equal(flipped, torch.tensor([row[::-1] for row in image[0].tolist()], dtype=torch.uint8)[None])
        for flipped, image in zip(augmented, images, strict=True)
    ]
    same = [torch.equal(flipped, image) for flipped, image in zip(augmented, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert abs(sum(mirrored) - 200) < 50  # five standard errors: 5 * sqrt(400 / 4)


def quarter_turned(rows: list[list[int]]) -> list[list[int]]:
    return [list(column) for column in zip(*rows, strict=True)][::-1]


def dihedral(image: torch.Tensor) -> list[list[list[int]]]:
    """The eight quarter turns and mirror images of one channel, with lists."""
    turned, rows = [], image[0].tolist()
    for _ in range(4):
        rows = quarter_turned(rows)
        turned += [rows, [row[::-1] for row in rows]]
    return turned


def test_rotate90_draws_all_eight_alike():
    image = copies(800, 1, 5)
    wanted = dihedral(image[0])
    counts = [0] * 8
    for turned in changed("rotate90", image):
        counts[wanted.index(turned[0].tolist())] += 1
    # Each has 100 of 800 expected; five standard errors are 5 * sqrt(800 * 1/8 * 7/8) = 47.
    assert all(abs(count - 100) < 47 for count in counts)


def test_rotate90_keeps_the_shape_of_what_is_not_square():
    image = noise(1, 1, 3, 5)
    augmented = changed("rotate90", image.expand(200, -1, -1, -1).contiguous())
    wanted = [turned for turned in dihedral(image[0]) if len(turned) == 3]
    assert len(wanted) == 4
    assert {str(turned[0].tolist()) for turned in augmented} == {str(turned) for turned in wanted}


def test_crop_enlarges_a_part():
    # On a ramp from left to right a crop shows a shorter range, and never turns it around.
    ramp = torch.arange(0, 240, 10, dtype=torch.uint8).expand(64, 1, 24, 24).contiguous()
    augmented = changed("crop", ramp).int()
    spans = augmented[..., -1] - augmented[..., 0]
    assert (augmented.diff(dim=3) >= 0).all()
    assert spans.max() <= 230
    # The narrowest side is sqrt(0.7 * 3 / 4) = 0.72 of 24 pixels: 17 pixels, a span of 160.
    assert spans.min() >= 150
    assert spans.float().mean() < 225


def test_shift_moves_by_whole_pixels_and_mirrors_the_border():
    image = noise(1, 3, 32, 48)
    wanted = {}
    for down in range(-2, 3):  # a sixteenth of 32 and of 48 pixels
        for right in range(-3, 4):
            rows, columns = np.abs(np.arange(32) + down), np.abs(np.arange(48) + right)
            rows, columns = np.where(rows > 31, 62 - rows, rows), np.where(columns > 47, 94 - columns, columns)
            wanted[image[0].numpy()[:, rows][:, :, columns].tobytes()] = down, right
    moves = Counter(
        wanted[moved.numpy().tobytes()] for moved in changed("shift", image.expand(700, -1, -1, -1).contiguous())
    )
    assert len(moves) == 35
    # Each has 20 of 700 expected; five standard errors are 5 * sqrt(700 / 35) = 22.
    assert max(moves.values()) < 20 + 22


def test_a_view_depends_on_its_number_alone():
    images, augment = noise(5_000, 1, 8, 8), Augment("flip,shift", classes=3)
    first = view_of(images, augment, 0)
    assert torch.equal(first, view_of(images, augment, 0))
    assert not torch.equal(first, view_of(images, augment, 1))
    assert torch.equal(first[:4_096], view_of(images[:4_096], augment, 0))
    assert not torch.equal(first[4_096:], augment.images(images[4_096:], 0))  # other draws for the second part


def test_erase_blackens_a_rectangle_of_half_of_them():
    white = torch.full((400, 3, 20, 20), 255, dtype=torch.uint8)
    augmented = changed("erase", white)
    assert set(augmented.unique().tolist()) == {0, 255}
    black = augmented[:, 0] == 0
    assert torch.equal(augmented, torch.where(black[:, None], 0, 255).to(torch.uint8).expand(-1, 3, -1, -1))
    erased = [mask for mask in black if mask.any()]
    assert abs(len(erased) - 200) < 50  # five standard errors, and a few that find no place
    for mask in erased:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None])
        assert int(mask.sum()) <= 0.36 * 400  # 33 %, rounded up to pixels


def test_colour_leaves_places_alone():
    flat = torch.tensor([200, 100, 50], dtype=torch.uint8)[None, :, None, None].expand(32, 3, 6, 6).contiguous()
    augmented = changed("colour", flat)
    assert (augmented.flatten(2).amax(2) == augmented.flatten(2).amin(2)).all()  # one colour stays one colour
    assert (augmented[:, 0] > augmented[:, 2]).all()  # 5 % of hue turn no orange blue
    assert len(kinds(augmented)) > 16


def test_auto_takes_the_policy_of_the_channels(monkeypatch):
    policies = []

    class Recorder:
        def __init__(self, policy, fill):
            policies.append((policy.value, fill))

        def __call__(self, image):
            return image

    monkeypatch.setattr("torchvision.transforms.v2.AutoAugment", Recorder)
    changed("auto", noise(channels=1))
    changed("auto", noise(channels=3))
    assert policies == [("svhn", 0), ("imagenet", 0)]


@pytest.mark.parametrize("name", ["auto", "rand"])
def test_what_is_uncovered_is_black(name):
    # On a flat grey image, a turn or a shift can add nothing but black. Shears, shifts and turns are many, so it shows.
    grey = torch.full((200, 1, 16, 16), 100, dtype=torch.uint8)
    augmented = changed(name, grey)
    corners = augmented[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    moved = [image for image, corner in zip(augmented, corners, strict=True) if len(set(corner.tolist())) > 1]
    assert len(moved) > 20
    assert sum(int(image.min()) == 0 for image in moved) > 0.5 * len(moved)  # others were inverted after it


# mixes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIXES)
def test_labels_are_mixed_as_the_images_are(name):
    # Sample i is flat with the value 10^i, so that its share of a mixed image shows as its share of the mean.
    values = torch.tensor([0.0, 1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
    inputs = values[:, None, None, None].expand(-1, 1, 9, 13).contiguous()
    labels = torch.arange(5)
    for seed in range(30):
        mixed, soft = Augment(name, classes=6).mix(inputs, labels, seed)
        assert soft.shape == (5, 6)
        torch.testing.assert_close(soft.sum(1), torch.ones(5))
        assert (soft >= 0).all()
        assert (soft[:, 5] == 0).all()
        assert (soft > 0).sum(1).max() <= 2
        torch.testing.assert_close(soft[:, :5].double() @ values, mixed.mean((1, 2, 3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MIXES)
def test_the_share_is_the_samples_own(name):
    inputs, labels = torch.rand(8, 3, 12, 12), torch.arange(8)
    mixed, soft = Augment(name, classes=8).mix(inputs, labels, seed=3)
    torch.manual_seed(0)
    with drawing(2 * 3 + 1):
        torch.randint(1, ())  # which of the mixes
        again, share, partner = augmentations[name].function(inputs)
    assert torch.equal(mixed, again)
    for i in range(8):
        expected = [0.0] * 8
        expected[i] += float(share[i])
        expected[int(partner[i])] += 1 - float(share[i])
        assert soft[i].tolist() == pytest.approx(expected, abs=1e-6)


def test_mixup_is_a_weighted_mean():
    inputs = torch.rand(16, 3, 5, 5, dtype=torch.float64)
    torch.manual_seed(1)
    mixed, share, partner = augmentations["mixup"].function(inputs)
    for i, (own, other) in enumerate(zip(share.tolist(), partner.tolist(), strict=True)):
        torch.testing.assert_close(mixed[i], own * inputs[i] + (1 - own) * inputs[other])


def test_mixup_is_mostly_one_of_both():
    # Beta(0.2, 0.2): mean 1/2, variance 1 / (4 * 1.4) = 0.179, so that most shares are near 0 or 1.
    torch.manual_seed(0)
    share = augmentations["mixup"].function(torch.zeros(4000, 1, 1, 1))[1]
    assert float(share.mean()) == pytest.approx(0.5, abs=5 * (0.179 / 4000) ** 0.5)
    assert float(share.var()) == pytest.approx(1 / 5.6, abs=0.01)


def test_cutmix_pastes_one_rectangle():
    inputs = torch.arange(1.0, 17)[:, None, None, None].expand(-1, 2, 10, 14).contiguous()
    torch.manual_seed(1)
    mixed, share, partner = augmentations["cutmix"].function(inputs)
    sizes = []
    for i, (own, other) in enumerate(zip(share.tolist(), partner.tolist(), strict=True)):
        pasted = mixed[i, 0] == inputs[other, 0] if other != i else torch.zeros(10, 14, dtype=torch.bool)
        assert torch.equal(mixed[i, 0], mixed[i, 1])
        assert torch.equal(pasted, pasted.any(1)[:, None] & pasted.any(0)[None])
        if other != i:
            assert own == pytest.approx(1 - float(pasted.float().mean()), abs=1e-6)
            sizes.append(int(pasted.sum()))
    assert len(set(sizes)) > 5


def test_cutmix_reaches_every_place():
    inputs = torch.tensor([0.0, 1.0]).repeat(1000)[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    torch.manual_seed(0)
    pasted = (augmentations["cutmix"].function(inputs)[0] != inputs).float().mean((0, 1))
    assert pasted.min() > 0.05
    # Left and right, top and bottom are alike, but for one pixel: a rectangle begins at a whole pixel.
    torch.testing.assert_close(pasted, pasted.flip(0, 1), atol=0.08, rtol=0)


def test_one_of_several_mixes_is_drawn_for_a_batch():
    inputs = torch.tensor([0.0, 1.0]).repeat(8)[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    augment, labels = Augment("mixup,cutmix", 2), torch.tensor([0, 1]).repeat(8)
    between = [
        bool(((mixed > 0) & (mixed < 1)).any()) for mixed in (augment.mix(inputs, labels, s)[0] for s in range(40))
    ]
    assert 8 < sum(between) < 32  # cutmix makes no grey; five standard errors are 16


def test_soft_labels_are_labels_for_cross_entropy():
    augment, labels, logits = Augment("flip", 3), torch.tensor([0, 2, 1]), torch.randn(3, 3)
    _, soft = augment.mix(torch.zeros(3, 1, 4, 4), labels, 0)
    torch.testing.assert_close(F.cross_entropy(logits, soft), F.cross_entropy(logits, labels))
