"""The input of a network is that of its own library, pixel for pixel, unless something surer says another."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.data.samples import as_pixels
from kdviz.models.inputs import InputSpec
from kdviz.models.library_inputs import input_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = ((431, 317), (317, 431), (300, 300), (233, 801), (90, 61))  # width, height

TORCHVISION = (
    "mobilenet_v2",  # two weights
    "resnet18",  # one
    "alexnet",
    "efficientnet_b1",
    "efficientnet_v2_s",
    "inception_v3",
    "swin_t",
    "convnext_tiny",
    "regnet_y_400mf",
    "vit_b_16",
)
TIMM = (
    "tf_efficientnet_lite2",
    "resnetv2_50",
    "mobilenetv3_small_050",
    "vit_base_patch16_224",
    "deit3_small_patch16_224",
    "convnext_tiny",
    "inception_v3",
    "eva_large_patch14_336",  # the whole picture is squeezed
    "coat_lite_medium_384",
    "tf_efficientnet_b1",
    "efficientnet_b5",
    "resnet18.a1_in1k",  # a tag
)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with detail at every scale, so that another resize gives other pixels."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize((width, height))
    fine = random.integers(-60, 61, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [noise(*size, seed) for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def real_photos(tiles_folder) -> list[Image.Image]:
    files = sorted((tiles_folder / "imagenet-sample").glob("*.jpg"))[:20]
    if not files:
        pytest.skip("needs photos: a folder imagenet-sample beside colon")
    photos = [Image.open(file).convert("RGB") for file in files]
    assert any(photo.width != photo.height for photo in photos)
    return photos


def inputs_of(spec: InputSpec, picture: Image.Image) -> Tensor:
    pixels = torch.from_numpy(as_pixels(spec.transform(picture)).copy())
    return spec.normalise(pixels[None])[0]


def of_torchvision(name):
    from torchvision.models import get_model_weights

    return get_model_weights(name).DEFAULT.transforms()


def of_timm(name):
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    return create_transform(**resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict()))


def require_equal(spec: InputSpec, transform, pictures) -> None:
    for picture in pictures:
        assert torch.equal(inputs_of(spec, picture), transform(picture)), picture.size


# libraries ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_networks_get_their_librarys_pixels(name, pictures):
    spec, source = input_of(f"torchvision/{name}")
    assert source == "library"
    require_equal(spec, of_torchvision(name), pictures)


@pytest.mark.parametrize("name", TIMM)
def test_timm_networks_get_their_librarys_pixels(name, pictures):
    pytest.importorskip("timm")
    spec, source = input_of(f"timm/{name}")
    assert source == "library"
    require_equal(spec, of_timm(name), pictures)


@pytest.mark.tiles
def test_real_photos_are_the_librarys_too(real_photos):
    for name in ("mobilenet_v2", "efficientnet_b1"):
        require_equal(input_of(f"torchvision/{name}")[0], of_torchvision(name), real_photos)
    for name in ("tf_efficientnet_lite2", "vit_base_patch16_224", "eva_large_patch14_336"):
        require_equal(input_of(f"timm/{name}")[0], of_timm(name), real_photos)


def test_a_grey_network_of_timm_gets_the_mean_of_the_colours_normalisation():
    pytest.importorskip("timm")
    spec, source = input_of("timm/resnet18", channels=1)
    assert (spec.channels, source) == (1, "library")
    assert spec.mean == pytest.approx((sum(MEAN) / 3,))
    assert spec.std == pytest.approx((sum(STD) / 3,))
    assert spec.transform(noise(300, 250)).mode == "L"


PROCESSORS = (
    ("ViTImageProcessor", {}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    ("MobileNetV2ImageProcessor", {}),
    ("DeiTImageProcessor", {}),
    ("BitImageProcessor", {"size": {"shortest_edge": 224}}),
    ("EfficientNetImageProcessor", {}),
)


@pytest.mark.parametrize(("kind", "settings"), PROCESSORS)
def test_preprocessor_config_gives_transformers_pixels(kind, settings, pictures):
    transformers = pytest.importorskip("transformers", "5.0")
    from kdviz.models.checkpoints import recorded_input

    on_pillow, on_tensors = (getattr(transformers, kind + suffix)(**settings) for suffix in ("Pil", ""))
    fields = recorded_input({"preprocessor_config": on_pillow.to_dict()})
    spec, source = input_of("transformers/some", recorded_input={**fields, "source": "config"})
    assert source == "config"
    for picture in pictures:
        assert grey_levels(spec, on_pillow, picture).max() < 0.01
        differences = grey_levels(spec, on_tensors, picture)  # torch clips less between the two directions
        assert differences.mean() < 0.5
        assert differences.quantile(0.99) < 4.01


def grey_levels(spec: InputSpec, processor, picture: Image.Image) -> Tensor:
    """How far our pixels are from a processor's, of 255."""
    theirs = torch.as_tensor(np.asarray(processor(picture)["pixel_values"][0]))
    ours = inputs_of(spec, picture)
    assert theirs.shape == ours.shape
    return ((ours - theirs).abs() * torch.tensor(spec.std).view(-1, 1, 1) * 255).flatten()


def test_a_transformers_model_without_preprocessor_gets_its_types_defaults():
    pytest.importorskip("transformers")
    spec, source = input_of("transformers/vit", settings={"config": {"image_size": 384}})
    assert source == "library"
    assert (spec.size, spec.resize, spec.interpolation) == ((384, 384), (384, 384), "bilinear")
    assert (spec.mean, spec.std) == ((0.5,) * 3, (0.5,) * 3)


def test_a_strip_is_not_enlarged_whole(monkeypatch):
    spec = InputSpec((224, 224), 3, MEAN, STD, resize=256, interpolation="bilinear")
    strip = noise(12, 2001)
    whole = spec.transform(strip)
    sizes, resize = [], Image.Image.resize
    monkeypatch.setattr("kdviz.core.images.MAX_PIXELS", 256 * 1000)
    monkeypatch.setattr(Image.Image, "resize", lambda *args, **rest: sizes.append(args[1]) or resize(*args, **rest))
    assert np.abs(np.asarray(spec.transform(strip)).astype(int) - np.asarray(whole)).max() <= 1
    assert sizes[0][0] * sizes[0][1] < 256 * 1000


# what wins ------------------------------------------------------------------------------------------------------------


def test_the_weights_own_size_scales_the_librarys_resize():
    spec, source = input_of("torchvision/vit_b_16", size=(384, 384))
    assert (spec.size, spec.resize, source) == ((384, 384), round(256 * 384 / 224), "library")
    pytest.importorskip("timm")
    spec, _ = input_of("timm/vit_base_patch16_224", size=(384, 384))
    assert (spec.size, spec.resize) == ((384, 384), 426)  # floor(384 / 0.9)
    spec, _ = input_of("timm/eva_large_patch14_336", size=(224, 224))
    assert spec.resize == (224, 224)


def test_what_is_recorded_wins_over_the_library_field_by_field():
    recorded = {"size": (256, 256), "resize": 292, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    spec, source = input_of("torchvision/resnet18", recorded_input=recorded)
    assert source == "file"
    assert spec == InputSpec((256, 256), 3, (0.5,) * 3, (0.25,) * 3, resize=292, interpolation="bilinear")
    spec, source = input_of("torchvision/resnet18", recorded_input={"size": (256, 256)})
    assert (spec.resize, spec.mean, source) == (round(256 * 256 / 224), MEAN, "library")
    _, source = input_of("torchvision/resnet18", recorded_input={**recorded, "source": "config"})
    assert source == "config"
    spec, _ = input_of("torchvision/resnet18", recorded_input=recorded, size=(512, 512))
    assert (spec.size, spec.resize) == ((512, 512), 584)


def test_what_is_given_wins_over_all():
    given = {"size": (260, 260), "crop": 0.89, "mean": (0.5,), "std": (0.5,), "interpolation": "bicubic"}
    spec, source = input_of("torchvision/resnet18", recorded_input={"size": (96, 96), "resize": 100}, given=given)
    assert source == "given"
    assert spec == InputSpec((260, 260), 3, (0.5,) * 3, (0.5,) * 3, resize=292, interpolation="bicubic")
    spec, source = input_of("torchvision/resnet18", given={"size": (448, 448)})
    assert (spec.resize, source) == (512, "library")  # the normalisation is the library's


@pytest.mark.parametrize(
    ("given", "resize"),
    [
        ({"resize": 292}, 292),
        ({"resize": (292, 300)}, (292, 300)),
        ({"resize": "squash"}, (224, 224)),
        ({"resize": "squash", "crop": 0.875}, (256, 256)),
        ({"resize": "none"}, None),
        ({"resize": "none", "size": (100, 120)}, None),
        ({"resize": 100, "size": (448, 448)}, 100),
        ({"crop": 0.5}, 448),
        ({"crop": 1.0, "size": (100, 120)}, None),
        ({"crop": 0.5, "size": (100, 120)}, 240),
    ],
)
def test_resize_in_every_form(given, resize):
    assert input_of("torchvision/resnet18", given=given)[0].resize == resize


def test_a_network_nobody_knows_is_guessed():
    expected = InputSpec((224, 224), 3, MEAN, STD, resize=256, interpolation="bilinear")
    assert input_of("onnx") == (expected, "guessed")
    spec, source = input_of("onnx", size=(160, 160), channels=1)
    assert (spec.size, spec.channels, spec.resize, source) == ((160, 160), 1, round(256 * 160 / 224), "guessed")
    assert len(spec.mean) == len(spec.std) == 1


@pytest.mark.parametrize("network", ["paper_cnn", "paper_fc"])
def test_the_papers_networks_take_digits(network):
    assert input_of(network) == (InputSpec((28, 28), 1, (0.0,), (1.0,), interpolation="bicubic"), "guessed")


def test_a_renormalised_network_is_that_of_its_library():
    assert input_of("torchvision/resnet18@renormalised") == input_of("torchvision/resnet18")


@pytest.mark.parametrize(
    "given",
    [
        {"resize": 292, "crop": 0.9},
        {"crop": 1.2},
        {"crop": 0},
        {"interpolation": "area"},
        {"mean": (0.1, 0.2, 0.3), "channels": 1},
    ],
)
def test_contradictions_are_refused(given):
    with pytest.raises(SettingError, match=r"\.$"):
        input_of("torchvision/resnet18", given=given)


@pytest.mark.parametrize(("key", "value"), list(product(("size", "mean"), (None,))))
def test_nothing_recorded_is_no_value(key, value):
    assert input_of("torchvision/resnet18", recorded_input={key: value}) == input_of("torchvision/resnet18")


# small pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["onnx", "airbench", "airbench_small"])
def test_small_pictures_are_taken_as_they_are_where_the_input_is_guessed(network):
    spec, source = input_of(network, pictures=(32, 40))
    assert (spec.size, spec.resize, source) == ((32, 40), None, "guessed")


def test_networks_for_small_photographs_take_32_pixels_without_any_pictures():
    assert input_of("airbench") == (replace(input_of("onnx")[0], size=(32, 32), resize=None), "guessed")


def test_a_library_keeps_its_input_for_small_pictures():
    assert input_of("torchvision/resnet18", pictures=(32, 32)) == input_of("torchvision/resnet18")


@pytest.mark.parametrize("network", ["onnx", "airbench", "torchvision/resnet18"])
def test_a_given_size_that_the_pictures_have_crops_nothing(network):
    assert input_of(network, given={"size": (32, 32)}, pictures=(32, 32))[0].resize is None
    assert input_of(network, given={"size": (32, 32), "crop": 0.5}, pictures=(32, 32))[0].resize == 64
    assert input_of(network, given={"size": (32, 32), "resize": 36}, pictures=(32, 32))[0].resize == 36
    recorded = {"size": (32, 32), "crop_pct": 0.5}
    assert input_of(network, recorded_input=recorded, given={"size": (32, 32)}, pictures=(32, 32))[0].resize == 64
