"""Shortcuts: what is drawn where, into which pictures, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.data import LabelledImages
from kdviz.data.shortcuts.planting import PlantedShortcut, other_classes, plant, shortcut_regions
from kdviz.data.shortcuts.registry import shortcuts

KINDS = ["frame", "patch", "watermark"]
SHAPES = [(1, 28, 28), (1, 14, 14), (3, 32, 32), (3, 40, 61)]


def grey_pictures(shape, count):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 200, (count, *shape), dtype=np.uint8))


def split(count=200, classes=10):
    labels = torch.arange(count) % classes
    return LabelledImages(grey_pictures((1, 28, 28), count), labels, tuple(map(str, range(classes))), "train")


def test_the_kinds_are_found_by_name():
    assert sorted(shortcuts) == KINDS
    assert all(shortcuts[kind].description.endswith(".") for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_only_the_region_changes_and_every_class_looks_different(kind, shape):
    clean, cues = grey_pictures(shape, 10) * 0 + 30, torch.arange(10)
    planted = plant(clean, cues, 10, kind)
    regions = shortcut_regions(cues, 10, shape, kind) > 0
    changed = (planted != clean).any(1).numpy()
    assert not changed[~regions].any()
    assert changed[regions].mean() > 0.9  # a tint may equal a pixel
    assert 0 < regions.mean() < 0.45
    assert len({picture.numpy().tobytes() for picture in planted}) == 10
    assert (clean == 30).all()  # the pictures that were given stay


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (1, 100), (3, 100), (3, 1000)])
def test_patches_of_many_classes_differ(channels, classes):
    cues = torch.arange(classes)
    planted = plant(torch.zeros(classes, channels, 64, 64, dtype=torch.uint8), cues, classes, "patch")
    assert len({picture.numpy().tobytes() for picture in planted}) == classes


def test_a_patch_on_grey_pictures_is_a_white_square_at_the_border():
    regions = shortcut_regions(torch.arange(10), 10, (1, 28, 28), "patch")
    assert (regions.sum((1, 2)) == 16).all()
    assert (regions.sum(0) <= 1).all()  # no two places overlap
    assert (regions[:, 4:-4, 4:-4] == 0).all()
    planted = plant(torch.zeros(10, 1, 28, 28, dtype=torch.uint8), torch.arange(10), 10, "patch")
    assert (planted[:, 0].numpy()[regions > 0] == 255).all()


def test_a_mirrored_colour_picture_still_says_its_class():
    shape = (3, 32, 32)
    planted = plant(torch.zeros(10, *shape, dtype=torch.uint8), torch.arange(10), 10, "patch")
    mirrored = planted.flip(3)
    colours = {tuple(picture.flatten(1).max(1).values.tolist()) for picture in mirrored}
    assert len(colours) == 10


def test_a_share_of_each_class_gets_the_mark_of_its_class_and_the_seed_decides():
    training = split()
    planted = PlantedShortcut("patch", 0.5, seed=3).for_teacher(training)
    changed = (planted.images != training.images).flatten(1).any(1)
    assert torch.equal(torch.bincount(training.labels[changed]), torch.full((10,), 10))
    expected = plant(training.images[changed], training.labels[changed], 10, "patch")
    assert torch.equal(planted.images[changed], expected)
    assert planted.fingerprint == PlantedShortcut("patch", 0.5, seed=3).for_teacher(split()).fingerprint
    assert planted.fingerprint != PlantedShortcut("patch", 0.5, seed=4).for_teacher(split()).fingerprint
    assert training.fingerprint == split().fingerprint


def test_whom_it_is_shown_to():
    training = split()
    for_all = PlantedShortcut("patch", 0.9)
    assert for_all.for_students(training).fingerprint == for_all.for_teacher(training).fingerprint
    assert PlantedShortcut("patch", 0.9, "teacher").for_students(training) is training
    for_students = PlantedShortcut("patch", 0.9, "students")
    assert for_students.for_teacher(training) is training
    assert for_students.for_students(training).fingerprint == for_all.for_teacher(training).fingerprint
    random = PlantedShortcut("patch", 0.9, "random")
    assert random.for_teacher(training).fingerprint == for_all.for_teacher(training).fingerprint
    students = random.for_students(training)
    regions = shortcut_regions(torch.arange(10), 10, (1, 28, 28), "patch")
    whites = np.stack([(students.images[:, 0].numpy()[:, region > 0] == 255).all(1) for region in regions], 1)
    assert (whites.sum(1) == 1).mean() == pytest.approx(0.9)
    said = whites.argmax(1)[whites.any(1)]
    own = (said == training.labels.numpy()[whites.any(1)]).mean()
    assert own < 0.2  # a tenth by chance


def test_the_record_brings_it_back():
    shortcut = PlantedShortcut("frame", 0.4, "random", 5)
    assert PlantedShortcut.from_record({"planted": shortcut.to_json(), "epochs": 1}) == shortcut
    assert PlantedShortcut.from_record({"epochs": 1}) is None


def test_other_classes_are_never_the_own_one():
    labels = np.arange(1000) % 3
    others = other_classes(labels, 3)
    assert (others != labels).all()
    assert set(others) == {0, 1, 2}
    with pytest.raises(SettingError, match="at least two classes"):
        other_classes(np.zeros(3, int), 1)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(SettingError, match="above 0 and at most 1"):
        PlantedShortcut("patch", share)


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="patch"):
        PlantedShortcut("patsh")
    with pytest.raises(SettingError, match="for all, teacher, random or students"):
        PlantedShortcut("patch", 0.9, "nobody")
