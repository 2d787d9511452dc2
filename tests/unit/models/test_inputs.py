"""Each model's own input, made of one common picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from kdviz.core.errors import ExperimentError, ModelError
from kdviz.experiment import Experiment, load_experiment
from kdviz.models.inputs import AdaptedNetwork, InputSpec, adapted, as_tensor, common_picture
from kdviz.models.outputs import TensorOutput, logits_of
from kdviz.saliency import RISE

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)


def spec(size, resize=None, normalisation=IMAGENET, channels=3, **more) -> InputSpec:
    mean, std = (values[:channels] for values in normalisation)
    size = size if isinstance(size, tuple) else (size, size)
    return InputSpec(size, channels, mean, std, resize=resize, **more)


def photograph(width=150, height=110, seed=0) -> Image.Image:
    """Smooth colours with some texture, so that a resize that is slightly wrong shows."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (7, 9, 3), np.uint8)).resize((width, height), 2)
    noise = generator.normal(0, 12, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8))


class Recorder(nn.Module):
    """Gives what it got, as logits."""

    def forward(self, images):
        self.got = images
        return images.flatten(1)


# the common picture ---------------------------------------------------------------------------------------------------


def test_models_with_one_input_share_it():
    shared = spec(64, 72)
    assert common_picture([shared, shared]) is shared
    assert adapted(network := Recorder(), shared, shared) is network


def test_the_common_picture_holds_what_any_model_sees_at_the_highest_resolution():
    large, small, whole = spec(56, 64), spec(48, 48), spec((40, 40), (40, 40))
    picture = common_picture([large, small, whole])
    # the small one sees all of the short side, which is 64 pixels of the large one's
    assert (picture.size, picture.short_side, picture.mean, picture.std) == ((64, 64), 64, (0, 0, 0), (1, 1, 1))
    assert common_picture([large, spec(28, 40)]).size == (56, 56)
    wide = common_picture([spec((40, 60), 48), spec(20, 24)])
    assert (wide.size, wide.short_side) == ((40, 60), 48)


def test_models_that_take_the_whole_picture_share_the_whole_picture():
    picture = common_picture([spec((32, 32), (32, 32)), spec((48, 40), (48, 40), HALF)])
    assert (picture.size, picture.resize) == ((48, 40), (48, 40))


def test_one_colour_model_makes_the_picture_a_colour_picture():
    grey = InputSpec((28, 28), 1, (0.1,), (0.3,))
    assert common_picture([grey, spec(28)]).channels == 3
    assert common_picture([grey, InputSpec((28, 28), 1, (0.0,), (1.0,))]).channels == 1


# the adapter ----------------------------------------------------------------------------------------------------------


def own_input(picture: InputSpec, own: InputSpec, image: Image.Image, gradients: bool) -> torch.Tensor:
    values = picture.normalise(as_tensor(picture.transform(image)))
    with torch.set_grad_enabled(gradients):
        return AdaptedNetwork(Recorder(), picture, own).own_input(values)


@pytest.mark.parametrize("gradients", [True, False])
def test_a_crop_of_the_common_picture_is_the_models_own_input_exactly(gradients):
    large, small = spec(64, 64, HALF), spec(56, 64)
    picture, image = common_picture([large, small]), photograph()
    for own in (large, small):
        expected = own.normalise(as_tensor(own.transform(image)))
        torch.testing.assert_close(own_input(picture, own, image, gradients), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_a_smaller_input_is_that_of_a_picture_of_the_common_pictures_resolution(gradients, interpolation):
    """Pillow resizes the common picture; torch must do the same, to half a grey level (lanczos: nearly)."""
    picture, own = spec(80, 80, ((0.0,) * 3, (1.0,) * 3)), spec(50, 50, HALF, interpolation=interpolation)
    image = picture.transform(photograph())
    pillow = own.normalise(as_tensor(own.transform(image)))
    got = own_input(picture, own, image, gradients)
    assert got.shape == (1, 3, 50, 50)
    levels = ((got - pillow) * 0.5 * 255).abs()
    assert levels.mean() < (1.5 if interpolation == "lanczos" else 0.6)


def test_grey_and_colour_models_share_a_picture():
    colour, grey = spec(40, 40, HALF), InputSpec((40, 40), 1, (0.2,), (0.5,), resize=40)
    picture, image = common_picture([colour, grey]), photograph()
    expected = grey.normalise(as_tensor(grey.transform(image)))
    got = own_input(picture, grey, image, False)
    assert ((got - expected) * 0.5 * 255).abs().max() < 1.5  # Pillow rounds its colours and its luma
    grey_input = InputSpec((40, 40), 1, (0.0,), (1.0,), resize=40)
    assert own_input(grey_input, colour, image, True).shape == (1, 3, 40, 40)
    with pytest.raises(ModelError, match="grey and a colour model"):
        AdaptedNetwork(Recorder(), spec(40), InputSpec((40, 40), 1, (0.2,), (0.5,)))


def test_an_input_that_is_larger_than_the_resized_picture_is_padded_as_torchvision_does_it():
    from torchvision.transforms.v2.functional import center_crop

    picture, own = spec(30, 30, ((0.0,) * 3, (1.0,) * 3)), spec(45, 30, HALF)
    image = photograph(30, 30)
    expected = own.normalise(center_crop(as_tensor(image), [45, 45]))
    torch.testing.assert_close(own_input(picture, own, image, True), expected, atol=2e-6, rtol=0)
    assert np.array_equal(np.asarray(own.transform(image)), center_crop(as_tensor(image), [45, 45])[0].permute(1, 2, 0))


def test_gradients_pass_through_the_adapter():
    picture, own = common_picture([spec(64, 64), spec(40, 40, HALF)]), spec(40, 40, HALF)
    network = adapted(nn.Sequential(nn.Flatten(), nn.Linear(3 * 40 * 40, 3)), picture, own)
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    network(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).float().mean() > 0.9


def test_eight_bits_are_used_for_levels_only_and_change_little():
    picture, own = spec(64, 64, ((0.0,) * 3, (1.0,) * 3)), spec(40, 40, HALF)
    model = AdaptedNetwork(Recorder(), picture, own)
    images = torch.rand(3, 3, 64, 64)
    exact = model.own_input(images.requires_grad_()).detach()
    with torch.no_grad():
        difference = (model.own_input(images) - exact).abs()
        assert 0 < difference.mean() < 1.2 / 255  # of noise; std .5 doubles a level, and Pillow too cuts off overshoots
        assert difference.max() < 0.1
        beyond = images * 3 - 1
        torch.testing.assert_close(
            model.own_input(beyond), (F.interpolate(beyond, (40, 40), mode="bicubic", antialias=True) - 0.5) / 0.5
        )


def test_classes_come_in_the_experiments_order():
    picture = spec(4, 4)
    network = adapted(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)), picture, picture, (3, 0, 4)
    )
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(network(images), network.network(images)[:, [3, 0, 4]])


def test_masks_are_those_of_the_common_picture():
    """RISE on an adapted model is RISE on any function of the masked common picture."""
    picture, own = common_picture([spec(32, 32), spec(24, 24, HALF)]), spec(24, 24, HALF)
    torch.manual_seed(0)
    core = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 3)).eval()
    image = torch.rand(1, 3, 32, 32)
    saliency_map = RISE(adapted(core, picture, own)).attribute(image, target=1, n_masks=256, seed=3)

    def by_hand(images):
        return core((F.interpolate(images, (24, 24), mode="bicubic", antialias=True) - 0.5) / 0.5)

    expected = RISE(by_hand).attribute(image, target=1, n_masks=256, seed=3)
    assert np.corrcoef(saliency_map.flatten(), expected.flatten())[0, 1] > 0.999


@pytest.mark.parametrize("wrapped", [lambda x: {"logits": x}, lambda x: (x, x + 1), lambda x: {"out": x, "aux": 2 * x}])
def test_logits_are_found_in_what_a_network_returns(wrapped):
    logits = torch.rand(2, 3)
    assert logits_of(wrapped(logits)) is logits

    class Odd(nn.Module):
        def forward(self, images):
            return wrapped(images)

    assert TensorOutput(Odd())(logits) is logits


# in a folder ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_inputs(tmp_path) -> Experiment:
    """A colour teacher of 28 x 28 with its classes in another order, and a grey student of 20 x 20."""
    from kdviz.distill.storage.run_files import new_network

    teacher = spec(28, 32, HALF)
    student = InputSpec((20, 20), 1, (0.3,), (0.4,), resize=(20, 20), interpolation="bilinear")
    picture = common_picture([teacher, student])
    experiment = Experiment(tmp_path / "two", "imported", ("a", "b", "c"), picture, {}, "Two")
    for role, own, logits in (("teacher", teacher, 5), ("my_student", student, 3)):
        run = experiment.add_run(role, "paper_fc", new_network("paper_fc", own, logits, 1), {}, {})
        run.spec, run.n_classes, run.picture = own, logits, picture
    experiment.runs["teacher"].class_order = (4, 0, 2)
    experiment.runs["my_student"].title = "Mine, T = 4"
    experiment.save()
    return experiment


def test_format_2_says_each_runs_input_and_comes_back(two_inputs):
    document = json.loads((two_inputs.folder / "experiment.json").read_text())
    assert document["format"] == 2
    assert document["runs"][0]["input"] == {
        "size": [28, 28],
        "channels": 3,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "fit": "crop",
        "resize": 32,
        "crop": "center",
        "interpolation": "bicubic",
        "class_order": [4, 0, 2],
    }
    again = load_experiment(two_inputs.folder)
    assert again.input == two_inputs.input
    for role, run in two_inputs.runs.items():
        other = again.runs[role]
        assert (other.spec, other.class_order, other.title) == (run.spec, run.class_order, run.title)
    image = photograph()
    logits = again.runs["teacher"].model(again.preprocess(image))
    own = again.runs["teacher"].spec
    expected = again.runs["teacher"].unadapted(own.normalise(as_tensor(own.transform(image))))[:, [4, 0, 2]]
    assert logits.shape == (1, 3)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


WRONG = [
    ("runs[0].input.size", lambda d: d["runs"][0]["input"].update(size=[0, 4])),
    ("runs[0].input.resize", lambda d: d["runs"][0]["input"].update(resize="big")),
    ("runs[0].input.interpolation", lambda d: d["runs"][0]["input"].update(interpolation="best")),
    ("runs[0].input.class_order", lambda d: d["runs"][0]["input"].update(class_order=[0, 0, 1])),
    ("runs[0].input.class_order", lambda d: d["runs"][0]["input"].update(class_order=[0, 1, 5])),
    ("runs[0].logits", lambda d: d["runs"][0]["input"].pop("class_order")),
    ("runs[0].logits", lambda d: d["runs"][0].update(logits=2.5)),
    ("runs[1].title", lambda d: d["runs"][1].update(title=5)),
    ("runs[1].settings", lambda d: d["runs"][1].update(settings=[1])),
    ("runs[1].network", lambda d: d["runs"][1].update(network="os/system")),
    ("picture", lambda d: d.pop("picture")),
    ("picture.size", lambda d: d["picture"].update(size=[9999, 9999])),
]


@pytest.mark.parametrize(("name", "change"), WRONG, ids=[f"{n}-{name}" for n, (name, _) in enumerate(WRONG)])
def test_every_wrong_field_of_format_2_is_named(two_inputs, name, change):
    path = two_inputs.folder / "experiment.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ExperimentError) as caught:
        load_experiment(two_inputs.folder)
    assert f"field '{name}'" in str(caught.value)


def test_a_run_of_predictions_alone_has_no_model(two_inputs):
    path = two_inputs.folder / "experiment.json"
    document = json.loads(path.read_text())
    document["runs"].append({"role": "said", "network": "predictions", "training": {}, "metrics": {}})
    path.write_text(json.dumps(document))
    experiment = load_experiment(two_inputs.folder)
    assert list(experiment.models) == ["teacher", "my_student"]
    with pytest.raises(ModelError, match="only the predictions are known"):
        experiment.runs["said"].model  # noqa: B018
    experiment.save()
    assert list(load_experiment(two_inputs.folder).runs) == ["teacher", "my_student", "said"]


def test_what_format_1_can_say_stays_format_1(tiny_folder):
    before = json.loads((tiny_folder / "experiment.json").read_text())
    load_experiment(tiny_folder).save()
    assert json.loads((tiny_folder / "experiment.json").read_text()) == before
    assert before["format"] == 1
