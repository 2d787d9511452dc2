"""The network is found from names and shapes: real networks of the libraries, wrapped and changed as people do."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
import torch
from torch import nn
from torchvision import models

from kdviz.core.errors import ModelError
from kdviz.models.identify import identify, tensors_for
from kdviz.models.identify.outlines import shapes_of
from kdviz.models.networks import Renormalised, build_network

# Each family once, and those of which something is special: sizes in shapes, heads of two layers, shared shapes.
TORCHVISION = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_large", "regnet_x_400mf", "regnet_y_400mf", "resnet18",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11",
    "vgg16_bn", "vit_b_16", "wide_resnet50_2",
]  # fmt: skip
TIMM = [
    "beit_base_patch16_224", "cait_xxs24_224", "coat_tiny", "convmixer_768_32", "convnext_atto", "crossvit_9_240",
    "cspresnet50", "deit_tiny_distilled_patch16_224", "densenet121", "dla34", "edgenext_small",
    "efficientformer_l1", "efficientnet_b0", "eva02_tiny_patch14_224", "fastvit_t8", "ghostnet_100",
    "hrnet_w18_small", "inception_v4", "levit_128", "mixer_b16_224", "mobilenetv3_small_100", "mobilevit_s",
    "nasnetalarge", "nfnet_f0", "pit_ti_224", "poolformer_s12", "pvt_v2_b0", "regnety_002", "repvgg_a0",
    "resnet50", "resnetv2_50", "rexnet_100", "seresnet18", "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256", "tf_efficientnet_lite2", "tnt_s_legacy_patch16_224", "tresnet_m",
    "vit_tiny_patch16_224", "volo_d1_224", "xception41", "xcit_nano_12_p16_224",
]  # fmt: skip
SAMPLE = [*(f"torchvision/{name}" for name in TORCHVISION), *(f"timm/{name}" for name in TIMM), "resnet50v2_mxnet"]


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@cache
def outline(name: str, classes: int = 2) -> dict[str, tuple[int, ...]]:
    return shapes_of(lambda: build_network(name, classes=classes, channels=3, size=(224, 224)))


@pytest.fixture(scope="module")
def mobilenet() -> dict[str, tuple[int, ...]]:
    return outline("torchvision/mobilenet_v2")


@pytest.mark.parametrize("classes", [2, 1000])
@pytest.mark.parametrize("name", SAMPLE)
def test_a_network_with_a_fresh_head_is_found(name, classes):
    match = identify(outline(name, classes))
    assert name in (match.network, *match.rivals)
    assert (match.classes, match.channels, match.prefix) == (classes, 3, "")
    auxiliary = [key for key in match.foreign if key.lower().startswith("aux")]
    assert list(match.foreign) == auxiliary
    assert match.missing == ()


@pytest.mark.parametrize("name", SAMPLE)
def test_a_network_with_one_tensor_changed_is_not(name):
    whole = outline(name)
    body = next(key for key, shape in whole.items() if len(shape) == 4)
    with pytest.raises(ModelError):
        identify({**whole, body: (*whole[body][:3], whole[body][3] + 1)})
    with pytest.raises(ModelError):
        identify({key: shape for key, shape in whole.items() if key != body})


# rebuilt: what was found computes what the file's model computes ------------------------------------------------------


def rebuilt(state: dict[str, torch.Tensor], size: tuple[int, int], **given) -> nn.Module:
    match = identify({name: tuple(tensor.shape) for name, tensor in state.items()}, **given)
    network = build_network(
        match.network,
        classes=match.classes,
        channels=match.channels,
        size=match.size or size,
        settings=match.settings,
    )
    tensors = tensors_for(match, state)
    lacking, unexpected = network.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert set(lacking) <= set(match.missing)
    return network.eval()


def settled(network: nn.Module) -> nn.Module:
    """In evaluation, with statistics and biases that matter."""
    torch.manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.1)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def of_timm(name: str, **options) -> nn.Module:
    import timm  # seconds, for each process that collects these tests

    return timm.create_model(name, **options)


MODELS = {
    "torchvision, other classes": (lambda: models.resnet18(num_classes=5), 3, 64),
    "torchvision, RegNet": (lambda: models.regnet_x_400mf(num_classes=4), 3, 64),
    "timm": (lambda: of_timm("mobilenetv3_small_050", num_classes=2), 3, 64),
    "timm, grey": (lambda: of_timm("resnet10t", num_classes=2, in_chans=1), 1, 64),
    "timm, vision transformer for another size": (
        lambda: of_timm("vit_tiny_patch16_224", num_classes=2, img_size=384), 3, 384,
    ),
    "timm, a grid of positions for another size": (
        lambda: of_timm("pit_ti_224", num_classes=2, img_size=160), 3, 160,
    ),
    "timm, distilled": (lambda: of_timm("deit_tiny_distilled_patch16_224", num_classes=2), 3, 224),
    "the paper's teacher": (lambda: build_network("paper_cnn", classes=10, channels=1, size=(28, 28)), 1, 28),
    "the paper's student": (lambda: build_network("paper_fc", classes=10, channels=3, size=(12, 12)), 3, 12),
    "as MXNet has it": (lambda: build_network("resnet50v2_mxnet", classes=2, channels=3, size=(64, 64)), 3, 64),
}  # fmt: skip


@pytest.mark.parametrize("form", MODELS)
def test_what_is_found_computes_the_same(form):
    make, channels, side = MODELS[form]
    network = settled(make())
    pictures = torch.rand(2, channels, side, side)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(network.state_dict(), (side, side))(pictures), network(pictures))


@pytest.mark.parametrize(
    ("name", "setting", "side"),
    [
        ("torchvision/vit_b_16", "image_size", 384),
        ("timm/beit_base_patch16_224", "img_size", 384),
        ("timm/cait_xxs24_224", "img_size", 384),
        ("timm/deit_tiny_distilled_patch16_224", "img_size", 160),
        ("timm/maxvit_nano_rw_256", "img_size", 384),
        ("timm/vit_small_patch14_dinov2", "img_size", 224),
        ("timm/volo_d1_224", "img_size", 384),
    ],
)
def test_another_size_is_found_from_the_shapes(name, setting, side):
    def built(settings):
        return shapes_of(lambda: build_network(name, classes=2, channels=3, size=(side, side), settings=settings))

    given = built({setting: side})
    match = identify(given)
    assert name in (match.network, *match.rivals)
    assert (match.size, dict(match.settings)) == ((side, side), {setting: side})
    assert built(match.settings) == given


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_heads_for_training_only_are_left_out(name, auxiliary):
    network = models.get_model(
        name, weights=None, num_classes=3, aux_logits=auxiliary, transform_input=True, init_weights=False
    )
    network = settled(network)
    match = identify(shapes(network), network=f"torchvision/{name}")
    assert match.settings == {"aux_logits": False, "init_weights": False, "transform_input": True}
    assert any(key.lower().startswith("aux") for key in match.foreign) == auxiliary
    assert "transform_input" in match.notes[0]
    pictures = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        built = rebuilt(network.state_dict(), (96, 96), network=f"torchvision/{name}")
        torch.testing.assert_close(built(pictures), network(pictures))


def test_an_auxiliary_head_tells_torchvisions_inception_from_timms():
    with_head = outline("torchvision/inception_v3")
    without = {name: shape for name, shape in with_head.items() if not name.startswith("AuxLogits")}
    assert identify(with_head).network == "torchvision/inception_v3"
    match = identify(without)
    assert match.network == "timm/inception_v3"
    assert match.settings == {}
    assert "torchvision/inception_v3" in match.rivals


def test_an_auxiliary_head_may_have_other_classes():
    network = outline("torchvision/inception_v3", 1000)
    assert identify({**network, "fc.weight": (4, 2048), "fc.bias": (4,)}).classes == 4


def test_a_grey_first_convolution_of_torchvision_is_rebuilt():
    network = models.mobilenet_v3_small(num_classes=2)
    network.get_submodule("features.0").add_module("0", nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False))
    match = identify(shapes(settled(network)))
    assert (match.channels, match.settings) == (1, {"in_chans": 1})
    pictures = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(network.state_dict(), (64, 64))(pictures), network(pictures))


# wrapped --------------------------------------------------------------------------------------------------------------


class Lightning(nn.Module):
    """As a LightningModule keeps a model, a teacher and a loss with weights."""

    def __init__(self, **parts: nn.Module):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def small() -> nn.Module:
    return of_timm("mobilenetv3_small_050", num_classes=2)


def compiled() -> nn.Module:
    module = torch.compile(small(), backend="eager")
    assert isinstance(module, nn.Module)
    return module


WRAPPED = {
    "DataParallel": (lambda: nn.DataParallel(small()), "module."),
    "torch.compile": (compiled, "_orig_mod."),
    "both": (lambda: nn.DataParallel(compiled()), "module._orig_mod."),
    "Lightning": (lambda: Lightning(model=small(), criterion=nn.CrossEntropyLoss(torch.ones(2))), "model."),
    "deep": (lambda: Lightning(net=Lightning(encoder=Lightning(backbone=small()))), "net.encoder.backbone."),
    "with its teacher": (lambda: Lightning(teacher=models.resnet18(num_classes=2), student=small()), "student."),
    "with its equal": (lambda: Lightning(teacher=small(), student=small()), "student."),
    "with its average": (lambda: Lightning(model=small(), ema=Lightning(module=small())), "ema.module."),
    "averaged": (lambda: torch.optim.swa_utils.AveragedModel(small()), "module."),
}


@pytest.mark.parametrize("form", WRAPPED)
def test_a_wrapped_network_is_found_below_its_prefix(form):
    make, prefix = WRAPPED[form]
    state = make().state_dict()
    match = identify({name: tuple(tensor.shape) for name, tensor in state.items()})
    assert (match.network, match.prefix) == ("timm/mobilenetv3_small_050", prefix)
    assert set(match.foreign) == {name for name in state if not name.startswith(prefix)}
    small().load_state_dict(tensors_for(match, state))


def test_of_two_networks_the_prefix_chooses():
    both = Lightning(first=small(), second=models.resnet18(num_classes=2))
    with pytest.raises(ModelError, match=r"'first\.' .*'second\.' .*prefix="):
        identify(shapes(both))
    for prefix in ("second.", "second"):
        match = identify(shapes(both), prefix=prefix)
        assert (match.network, match.prefix) == ("torchvision/resnet18", "second.")
    with pytest.raises(ModelError, match="'first', 'second'"):
        identify(shapes(both), prefix="third.")


def test_a_renormalised_network_is_found_with_its_numbers():
    name = "timm/mobilenetv3_small_050"
    network = build_network(f"{name}@renormalised", classes=2, channels=3, size=(64, 64))
    assert isinstance(network, Renormalised)
    match = identify({f"module.{key}": shape for key, shape in shapes(network).items()})
    assert (match.network, match.prefix, match.foreign) == (f"{name}@renormalised", "module.", ())


def test_what_profilers_and_old_versions_leave_is_tolerated(mobilenet):
    counted = {**mobilenet, "total_ops": (1,), "features.0.0.total_params": (1,), "loss_fn.weight": (2,)}
    assert identify(counted).foreign == ("total_ops", "features.0.0.total_params", "loss_fn.weight")
    old = {name: shape for name, shape in mobilenet.items() if not name.endswith("num_batches_tracked")}
    assert len(identify(old).missing) == len(mobilenet) - len(old) > 0


# other heads and layers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["classifier", "classifier.3", "fc", "head.1"])
def test_one_linear_layer_under_another_name_is_the_head(layer, mobilenet):
    given = {name: shape for name, shape in mobilenet.items() if not name.startswith("classifier")}
    match = identify({**given, f"{layer}.weight": (7, 1280), f"{layer}.bias": (7,)})
    assert (match.network, match.classes, match.foreign) == ("torchvision/mobilenet_v2", 7, ())
    assert f"'{layer}'" in match.notes[0]
    state = {name: torch.zeros(shape) for name, shape in {**given, f"{layer}.weight": (7, 1280)}.items()}
    assert "classifier.1.weight" in tensors_for(match, state)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ({}, "without its classifier"),
        ({"fc.0.weight": (64, 1280), "fc.0.bias": (64,), "fc.2.weight": (2, 64)}, "head of their own"),
        ({"fc.weight": (2, 640), "fc.bias": (2,)}, "head of their own"),
        ({"classifier.1.weight": (9, 1280), "classifier.1.bias": (9,), "classifier.3.weight": (2, 9)}, "more layers"),
    ],
)
def test_a_head_that_cannot_be_known_is_refused(head, reason, mobilenet):
    body = {name: shape for name, shape in mobilenet.items() if not name.startswith("classifier")}
    for network in (None, "mobilenet_v2"):
        with pytest.raises(ModelError, match=reason) as caught:
            identify({**body, **head}, network=network)
        assert "mobilenet_v2" in str(caught.value)


def test_further_layers_are_refused_unless_the_prefix_is_given(mobilenet):
    for name in ("attention.weight", "features.3.se.weight", "cls_token"):
        for network in (None, "mobilenet_v2"):
            with pytest.raises(ModelError, match=f"more layers .*{name}"):
                identify({**mobilenet, name: (8, 8)}, network=network)
    assert identify({**mobilenet, "attention.weight": (8, 8)}, prefix="").foreign == ("attention.weight",)
    for name in ("features.3.se.weight", "cls_token"):
        with pytest.raises(ModelError, match="more layers"):
            identify({**mobilenet, name: (8, 8)}, prefix="")


def test_a_network_inside_of_a_larger_one_is_refused_unless_the_prefix_is_given(mobilenet):
    inner = {f"backbone.{name}": shape for name, shape in mobilenet.items()}
    larger = {**inner, "head.weight": (2, 1000), "loss.weight": (2,)}
    with pytest.raises(
        ModelError, match=r"below 'backbone\.' are those of .*mobilenet_v2.*around it \('head\.weight'\)"
    ):
        identify(larger)
    assert identify(larger, prefix="backbone").foreign == ("head.weight", "loss.weight")
    student = {f"student.{name}": shape for name, shape in mobilenet.items()}
    assert identify({**student, "connector.0.weight": (8, 8)}).foreign == ("connector.0.weight",)


# named ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "ResNet18", "timm/resnet18", "timm/resnet18.a1_in1k"])
def test_a_name_is_checked_with_and_without_its_library(name):
    match = identify(outline("torchvision/resnet18"), network=name)
    assert match.network == ("timm/resnet18" if "timm" in name else "torchvision/resnet18")


def test_an_earlier_name_of_timms_is_known():
    match = identify(outline("timm/tf_efficientnet_b0"), network="tf_efficientnet_b0_ns")
    assert (match.network, match.rivals) == ("timm/tf_efficientnet_b0", ())


def test_a_wrong_name_says_what_differs_and_what_fits():
    with pytest.raises(
        ModelError, match=r"not those of resnet34, where 'layer1\.2\.conv1.*absent; they fit torchvision/resnet18"
    ):
        identify(outline("torchvision/resnet18"), network="resnet34")
    with pytest.raises(ModelError, match="Did you mean 'torchvision/resnet34'"):
        identify(outline("torchvision/resnet18"), network="torchvision/resnt34")


def test_networks_that_share_all_shapes_are_said():
    match = identify(outline("timm/tf_efficientnet_lite2"))
    assert match.network == "timm/tf_efficientnet_lite2"  # of which there are weights
    assert "timm/efficientnet_lite2" in match.rivals
    assert identify(outline("timm/resnet50")).network == "torchvision/resnet50"
    assert "timm/resnet50" in identify(outline("torchvision/resnet50")).rivals


def test_the_nearest_network_is_named(mobilenet):
    with pytest.raises(ModelError, match=r"nearest is torchvision/mobilenet_v2, where 'features\.0\.0\.weight' is"):
        identify({**mobilenet, "features.0.0.weight": (32, 3, 5, 5)})
    for nothing in ({"w": (3, 3)}, {"": ()}):
        with pytest.raises(ModelError, match="has such tensors"):
            identify(nothing)
    with pytest.raises(ModelError, match="no tensors"):
        identify({})


def test_quantised_weights_are_refused(mobilenet):
    dtypes = dict.fromkeys(mobilenet, torch.float16)
    assert identify(mobilenet, dtypes=dtypes).classes == 2
    with pytest.raises(ModelError, match="int8"):
        identify(mobilenet, dtypes={**dtypes, "features.0.0.weight": torch.int8})


@pytest.mark.slow
def test_a_look_up_needs_no_library_of_networks():
    code = (
        "import sys; from kdviz.models.identify import identify\n"
        "try: identify({'fc.weight': (2, 512)})\n"
        "except Exception as error: print(type(error).__name__, {'timm', 'torchvision'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "ModelError set()"
