"""Transfer sets: the losses of the generator, what each makes, and that none has seen the data set."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SMALL
from PIL import Image

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.core.files import Store
from kdviz.data import LabelledImages
from kdviz.distill import TrainingConfig
from kdviz.distill.storage.run_files import new_network
from kdviz.distill.transfer_sets import inversion
from kdviz.distill.transfer_sets.generator import NOISE, PictureGenerator
from kdviz.distill.transfer_sets.making import TransferSource, transfer_data
from kdviz.distill.transfer_sets.one_picture import crops_of
from kdviz.distill.transfer_sets.registry import TransferTask, check_transfer_set, path_fingerprint, transfer_sets
from kdviz.distill.transfer_sets.sets import generated, strokes
from kdviz.experiment import InputSpec

COUNT = 60


def returned(steps):
    """What a generator returns, once all that it yields is read."""
    progress = []
    while True:
        try:
            progress.append(next(steps))
        except StopIteration as end:
            return end.value, progress


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(generated, "FEWEST_STEPS", 3)
    monkeypatch.setattr(generated, "BATCH", 16)


@pytest.fixture
def teacher():
    return new_network("paper_fc", SMALL, 10, 1).eval().requires_grad_(False)


def task(teacher, seed=0, spec=SMALL):
    return TransferTask(teacher, spec, 10, COUNT, seed, "cpu", lambda: new_network("paper_fc", spec, 10, seed))


def source(teacher, like, name="noise", **settings):
    config = TrainingConfig(transfer_set=name, device="cpu", bf16="off", **settings)
    return TransferSource(lambda: teacher, "abc/logits-train.npy", SMALL, "paper_fc", config, like)


# losses ---------------------------------------------------------------------------------------------------------------


def test_losses_of_the_generator_by_hand():
    rng = np.random.default_rng(0)
    logits, other, features = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 7))
    shares = np.array([[math.exp(value) / sum(map(math.exp, row)) for value in row] for row in logits])
    mean = [sum(column) / 5 for column in zip(*shares, strict=True)]
    expected = {
        "one_hot_loss": -sum(math.log(max(row)) for row in shares) / 5,
        "information_entropy_loss": sum(share * math.log(share) for share in mean),
        "activation_loss": -sum(abs(value) for row in features for value in row) / 35,
        "disagreement": sum(abs(a - b) for a, b in zip(logits.flat, other.flat, strict=True)) / 20,
    }
    inputs = {name: (torch.tensor(logits),) for name in expected}
    inputs["activation_loss"], inputs["disagreement"] = (
        (torch.tensor(features),),
        (*map(torch.tensor, (other, logits)),),
    )
    for name, value in expected.items():
        assert float(getattr(inversion, name)(*inputs[name])) == pytest.approx(value, abs=1e-6)


def test_the_entropy_loss_is_lowest_where_all_classes_come_equally_often():
    sure = 50 * torch.eye(4, dtype=torch.float64)
    assert float(inversion.information_entropy_loss(sure)) == pytest.approx(-math.log(4))
    assert float(inversion.information_entropy_loss(sure[:1].repeat(4, 1))) == pytest.approx(0, abs=1e-6)


# pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(28, 28), (14, 14), (9, 13)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_generator_draws_pictures_of_any_size(size, channels):
    pictures = PictureGenerator(channels, size, width=8)(torch.randn(3, NOISE)).detach()
    assert pictures.shape == (3, channels, *size)
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1


@pytest.mark.parametrize("name", list(transfer_sets))
def test_every_transfer_set_makes_as_many_pictures_as_asked_the_same_for_a_seed(name, teacher):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, progress = returned(transfer_sets[name].make(task(teacher)))
    torch.manual_seed(6)
    again, _ = returned(transfer_sets[name].make(task(teacher)))
    other, _ = returned(transfer_sets[name].make(task(teacher, seed=1)))
    torch.manual_seed(5)
    assert torch.equal(before, torch.get_rng_state())
    assert first.shape == (COUNT, 1, 14, 14)
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.flatten(1).unique(dim=0)) > COUNT / 2  # they differ among themselves
    assert progress
    assert len(transfer_sets[name].description) > 20


@pytest.mark.slow
def test_a_generator_is_trained_until_the_teacher_is_sure_of_its_pictures(teacher, monkeypatch):
    monkeypatch.setattr(generated, "FEWEST_STEPS", 60)
    pictures, _ = returned(transfer_sets["generated"].make(task(teacher)))
    noise, _ = returned(transfer_sets["noise"].make(task(teacher)))
    sure = [float(teacher(SMALL.normalise(each)).softmax(1).amax(1).mean()) for each in (pictures, noise)]
    assert sure[0] > 1.1 * sure[1]
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_longer_training_keeps_no_more_pictures(teacher, monkeypatch):
    monkeypatch.setattr(generated, "FEWEST_STEPS", 1)
    longer = replace(task(teacher), steps=9)
    pictures, progress = returned(transfer_sets["generated"].make(longer))
    assert len(pictures) == COUNT
    assert [each.step for each in progress] == list(range(1, 10))
    shorter, _ = returned(transfer_sets["generated"].make(task(teacher)))
    assert not torch.equal(pictures, shorter)


def test_noise_is_even_noise(teacher):
    pictures, _ = returned(transfer_sets["noise"].make(task(teacher)))
    n = pictures.numel()
    # Of even numbers from 0 to 255: five standard errors of the mean.
    assert abs(float(pictures.float().mean()) - 127.5) < 5 * math.sqrt((256**2 - 1) / 12 / n)


def test_a_line_is_a_bezier_curve():
    """Against de Casteljau's algorithm, which only halves distances between points."""
    controls = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    curve = strokes._curve(controls.float())
    for number, share in enumerate(torch.linspace(0, 1, curve.shape[1], dtype=torch.float64)):
        points = controls
        while points.shape[1] > 1:
            points = (1 - share) * points[:, :-1] + share * points[:, 1:]
        assert torch.allclose(curve[:, number], points[:, 0].float(), atol=1e-6)


def test_strokes_are_lines_on_a_plain_ground_half_of_them_in_black_and_white(teacher):
    spec = InputSpec(size=(24, 32), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    pictures, _ = returned(transfer_sets["strokes"].make(replace(task(teacher, spec=spec), count=400)))
    assert pictures.shape == (400, 3, 24, 32)
    corners = pictures[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert bool((corners == corners[:, :, :1]).all())  # control points keep away from the edge
    is_ground = (pictures == corners[:, :, :1, None]).all(1).flatten(1)
    covered = 1 - is_ground.double().mean(1)
    assert 0 < covered.min() < covered.mean() < 0.6
    grounds = corners[:, :, 0]
    black, white = (bool_share(grounds == level) for level in (0, 255))
    for share, expected in ((black, 0.375), (white, 0.125)):  # half are plain, three of four of these white on black
        assert abs(share - expected) < 4 * (expected * (1 - expected) / 400) ** 0.5


def bool_share(is_level):
    return float(is_level.all(1).double().mean())


def test_crops_are_parts_of_the_picture():
    """Of a picture whose left half is black and right half is white, crops of one half have one value."""
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    crops = crops_of(Image.fromarray(half), SMALL, 400, 0).flatten(1).float()
    uniform = (crops.std(1) < 1e-3).float().mean()
    assert 0.01 < float(uniform) < 0.9
    assert (crops.std(1) > 20).any()


def test_crops_of_a_colour_picture_have_its_channels():
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    spec = InputSpec((16, 12), 3, (0.5,) * 3, (0.5,) * 3)
    assert crops_of(picture, spec, 5, 0).shape == (5, 3, 16, 12)
    with pytest.raises(SettingError, match="60 x 40"):
        crops_of(picture, InputSpec((50, 50), 3, (0.5,) * 3, (0.5,) * 3), 5, 0)


# data -----------------------------------------------------------------------------------------------------------------


def test_labels_are_the_teachers_and_nothing_is_seen_of_the_data_set(teacher, small_digits, tmp_path):
    like = small_digits.take(torch.arange(200))
    hidden = LabelledImages(torch.zeros_like(like.images), torch.zeros_like(like.labels), like.classes, "train")
    made = [
        returned(transfer_data(source(teacher, each), Store(tmp_path / str(n))))[0]
        for n, each in enumerate((like, hidden))
    ]
    for data in made:
        assert len(data.training) == 200
        assert len(data.validation) == 20
        logits = teacher(SMALL.normalise(data.training.images))
        assert torch.allclose(logits, data.logits, atol=1e-4)
        assert torch.equal(logits.argmax(1), data.training.labels)
        held_out = teacher(SMALL.normalise(data.validation.images))
        assert torch.equal(held_out.argmax(1), data.validation.labels)
    assert made[0].training.fingerprint == made[1].training.fingerprint


def test_a_transfer_set_is_made_once(teacher, small_digits, tmp_path):
    like, store = small_digits.take(torch.arange(100)), Store(tmp_path)
    data, progress = returned(transfer_data(source(teacher, like), store))

    def no_teacher():
        raise AssertionError("it was made before")

    again, later = returned(
        transfer_data(TransferSource(no_teacher, *list(vars(source(teacher, like)).values())[1:]), store)
    )
    assert progress
    assert not later
    assert torch.equal(data.training.images, again.training.images)
    assert torch.equal(data.logits, again.logits)
    other, _ = returned(transfer_data(source(teacher, like, seed=1), store))
    assert not torch.equal(data.training.images, other.training.images)


def test_a_folder_or_a_picture_of_ones_own(teacher, digits, small_digits, tmp_path):
    folder, like = tmp_path / "own", small_digits.take(torch.arange(100))
    folder.mkdir()
    for number in range(25):
        digits.picture(number).save(folder / f"{number}.png")
    before = path_fingerprint(str(folder))
    data, _ = returned(transfer_data(source(teacher, like, str(folder)), Store(tmp_path / "a")))
    assert (len(data.training), len(data.validation)) == (23, 2)
    data, _ = returned(transfer_data(source(teacher, like, str(folder / "0.png")), Store(tmp_path / "b")))
    assert len(data.training) == 100
    (folder / "0.png").unlink()
    assert path_fingerprint(str(folder)) != before
    assert path_fingerprint("noise") == ""


def test_what_is_no_transfer_set_is_refused(teacher, small_digits, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'generated'"):
        TrainingConfig(transfer_set="generate")
    with pytest.raises(SettingError, match="heads alone"):
        TrainingConfig(transfer_set="noise", trainable="head")
    with pytest.raises(SettingError, match="at least 20"):
        returned(transfer_data(source(teacher, small_digits.take(torch.arange(5))), Store(tmp_path)))


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("one_pictur", UnknownNameError, "Did you mean 'one_picture'"),
        ("pictures/mine", SettingError, "'pictures/mine' is not there: no folder"),
        ("street.jpg", SettingError, "'street.jpg' is not there"),
    ],
)
def test_a_name_that_is_not_known_and_a_path_where_nothing_is(name, error, said):
    with pytest.raises(error, match=said):
        check_transfer_set(name)
