"""Captum's methods against closed forms and second computations, and one contract for every method and network."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from scipy import stats
from torch import nn

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.explanation.captum.attribution import attribute, incompatibility
from kdviz.explanation.captum.gradcam_layers import Grid, _grid, find_layer, output_and_gradient
from kdviz.explanation.captum.isolation import _SeparateWindows
from kdviz.explanation.method import REPEATS
from kdviz.explanation.methods import methods
from kdviz.models.networks import PaperCNN, PaperFC, build_network

METHODS = [
    "occlusion",
    "integrated_gradients",
    "gradient_shap",
    "saliency",
    "deeplift",
    "layer_gradcam",
    "guided_gradcam",
    "kernel_shap",
]
SIZE = (6, 4)
QUICK = {"n_samples": 64, "grid": 2, "n_steps": 8, "window": 0.5}


def settings(name: str, **given) -> dict:
    """Defaults, quick ones where there are some, and what is given."""
    known = {setting.name for setting in methods[name].settings}
    return methods[name].complete({key: value for key, value in {**QUICK, **given}.items() if key in known})


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


IMAGE = random(1, 3, *SIZE)
BASE = random(1, 3, 1, 1, seed=1)  # another one for each channel


def map_of(name: str, model: nn.Module, image=IMAGE, base=BASE, target: int = 1, **given) -> np.ndarray:
    return attribute(name, model, image, base, target, settings(name, **given)).map.numpy()


# closed forms of a linear model ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(IMAGE.numel(), 3)).eval().requires_grad_(False)


def linear_weights(model: nn.Module, target: int = 1) -> torch.Tensor:
    return model[1].weight[target].view(IMAGE.shape[1:])


@pytest.mark.parametrize("name", ["integrated_gradients", "deeplift", "gradient_shap"])
def test_a_linear_logit_gives_weight_times_difference(linear, name):
    expected = (linear_weights(linear) * (IMAGE - BASE))[0].sum(0)
    result = attribute(name, linear, IMAGE, BASE, 1, settings(name, noise=0, n_samples=1100))
    torch.testing.assert_close(result.map, expected, rtol=1e-4, atol=1e-6)
    assert result.standard_error.max() < 1e-6


def test_saliency_is_the_largest_weight(linear):
    torch.testing.assert_close(
        attribute("saliency", linear, IMAGE, BASE, 1, {}).map, linear_weights(linear).abs().amax(0)
    )


def test_noise_of_gradient_shap_has_the_error_that_it_says(linear):
    n, noise, image, weights = 64, 0.25, 3 * IMAGE - 1, linear_weights(linear)
    # Each sample is sum_c w_c (x_c + e_c - b_c) with e normal, of standard deviation noise * (max x - min x).
    true_error = noise * (image.max() - image.min()) * weights.square().sum(0).sqrt() / math.sqrt(n)
    truth = (weights * (image - BASE))[0].sum(0)
    results = [
        attribute("gradient_shap", linear, image, BASE, 1, settings("gradient_shap", n_samples=n, noise=noise, seed=k))
        for k in range(6)
    ]
    z = torch.stack([(result.map - truth) / true_error for result in results])
    assert z.abs().max() < 5  # 6 * 24 standard normal variables
    # The variance of 8 repeats is chi-square with 7 degrees of freedom; the mean of 144 such has a relative standard
    # deviation of sqrt(2 / (7 * 144)) = 0.045. Five of them, where Student's factor of 1.2 makes 1.46 of 1:
    student = stats.t.ppf(0.975, REPEATS - 1) / stats.norm.ppf(0.975)
    ratio = torch.stack([(result.standard_error / student / true_error).square() for result in results]).mean()
    assert abs(ratio - 1) < 0.23


# closed forms of a model whose probability is known -------------------------------------------------------------------


class Known(nn.Module):
    """Probability of class 0: s = sum_j w_j x_j + interaction * mean(left) * mean(right), of class 1: 1 - s."""

    def __init__(self, interaction: float = 0.0):
        super().__init__()
        weights = random(*IMAGE.shape[1:], seed=7)
        self.register_buffer("weights", 0.6 * weights / weights.sum())
        self.interaction = interaction

    def probability(self, images: torch.Tensor) -> torch.Tensor:
        left, right = images[..., :2].mean((1, 2, 3)), images[..., 2:].mean((1, 2, 3))
        return (self.weights * images).sum((1, 2, 3)) + self.interaction * left * right + 0.05

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        probability = self.probability(images)
        return torch.stack([probability, 1 - probability], 1).log()


def test_occlusion_of_single_pixels():
    model = Known()
    expected = (model.weights * (IMAGE - BASE))[0].sum(0).numpy()
    for target, sign in ((0, 1), (1, -1)):
        result = map_of("occlusion", model, target=target, window=0.01)
        np.testing.assert_allclose(result, sign * expected, rtol=1e-3, atol=1e-6)


def test_occlusion_of_squares_equals_the_loop():
    model = Known(0.5)
    total, count = np.zeros(SIZE), np.zeros(SIZE)
    for top in range(0, SIZE[0] - 1):
        for left in range(0, SIZE[1] - 1):
            part = (slice(top, top + 2), slice(left, left + 2))
            removed = IMAGE.clone()
            removed[(..., *part)] = BASE
            total[part] += float(model.probability(IMAGE) - model.probability(removed))
            count[part] += 1
    # The shorter side has 4 pixels: squares of 2, in steps of 1.
    result = map_of("occlusion", model, target=0, window=0.5, stride=0.5)
    np.testing.assert_allclose(result, total / count, rtol=1e-3, atol=1e-6)


def cell(row: int, column: int) -> tuple[slice, slice]:
    return slice(3 * row, 3 * row + 3), slice(2 * column, 2 * column + 2)


CELLS = [cell(row, column) for row in range(2) for column in range(2)]


def shapley(model: Known) -> list[float]:
    """Shapley values of four cells, by their definition."""

    def value(kept: tuple[int, ...]) -> float:
        image = BASE.expand_as(IMAGE).clone()
        for number in kept:
            image[(..., *CELLS[number])] = IMAGE[(..., *CELLS[number])]
        return float(model.probability(image))

    values = []
    for number in range(4):
        others = [other for other in range(4) if other != number]
        gains = [
            (value((*kept, number)) - value(kept)) / (4 * math.comb(3, size))
            for size in range(4)
            for kept in combinations(others, size)
        ]
        values.append(sum(gains))
    return values


def test_kernel_shap_of_a_linear_probability_is_exact():
    model = Known()
    contribution = (model.weights * (IMAGE - BASE))[0].sum(0)
    result = attribute("kernel_shap", model, IMAGE, BASE, 0, settings("kernel_shap", n_samples=160))
    for part in CELLS:
        expected = contribution[part].sum().expand(3, 2)
        torch.testing.assert_close(result.map[part], expected, rtol=1e-3, atol=1e-6)
    assert result.standard_error.max() < 1e-5


def test_kernel_shap_estimates_shapley_values():
    model = Known(1.0)
    result = attribute("kernel_shap", model, IMAGE, BASE, 0, settings("kernel_shap", n_samples=2400))
    estimates = [float(result.map[part][0, 0]) for part in CELLS]
    errors = [float(result.standard_error[part][0, 0]) for part in CELLS]
    expected = shapley(model)
    assert 1e-6 < max(errors) < 0.05 * max(np.abs(expected))
    assert sum(estimates) == pytest.approx(sum(expected), rel=1e-3)  # the regression goes through both ends
    # |t| with 7 degrees of freedom is beyond 5 * 1.2 with probability 5e-4.
    assert (np.abs(np.subtract(estimates, expected)) < 5 * np.array(errors)).all()


# networks -------------------------------------------------------------------------------------------------------------


def seeded(build, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def cnn() -> nn.Module:
    return seeded(lambda: PaperCNN(size=(14, 14)))


DIGIT = random(1, 1, 14, 14, seed=5)
GREY = torch.full((1, 1, 1, 1), 0.3)


def sum_and_change(name: str, model: nn.Module, image: torch.Tensor, **given) -> tuple[float, float]:
    base = torch.full_like(image, 0.3)
    change = (model(image) - model(base))[0, 1].item()
    return map_of(name, model, image, base, **given).sum().item(), change


def test_integrated_gradients_are_complete(cnn):
    total, change = sum_and_change("integrated_gradients", cnn, DIGIT, n_steps=400)
    assert total == pytest.approx(change, rel=1e-2)


def reused() -> nn.Module:
    """One ReLU called three times, in place; activations of what another layer reads too; pooling with overlap."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.relu, self.pool, self.head = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), nn.Linear(24, 3)
            self.same_relu = self.relu
            self.six, self.tanh = nn.ReLU6(), nn.Tanh()

        def forward(self, images):
            hidden = self.first(4 * images)
            hidden = self.relu(self.tanh(hidden) + 0.5 * hidden)
            hidden = self.same_relu(hidden + self.second(hidden))
            hidden = self.pool(hidden) + self.pool(self.six(10 * hidden))
            return self.head(self.relu(hidden - 1).flatten(1))

    return Net()


@pytest.mark.parametrize(
    ("build", "image"),
    [
        (lambda: PaperCNN(size=(14, 14)), DIGIT),
        (lambda: PaperFC(size=(14, 14)), DIGIT),
        (reused, IMAGE),
        (lambda: torchvision.models.resnet18(num_classes=5), random(1, 3, 32, 32)),
        (lambda: torchvision.models.squeezenet1_1(num_classes=5), random(1, 3, 40, 40)),
    ],
    ids=["cnn", "fc", "reused", "resnet", "squeezenet"],
)
def test_deeplift_adds_up(build, image):
    total, change = sum_and_change("deeplift", seeded(build), image)
    assert total == pytest.approx(change, rel=1e-3)


def test_deeplift_of_one_hidden_layer_by_hand():
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 9), nn.ReLU(), nn.Linear(9, 3)))
    base = BASE.expand_as(IMAGE)
    here, there = model[1](IMAGE.flatten(1)), model[1](base.flatten(1))
    multiplier = (here.relu() - there.relu()) / (here - there)  # the Rescale rule
    slope = (model[3].weight[1] * multiplier) @ model[1].weight
    expected = (slope * (IMAGE - base).flatten(1)).view(3, *SIZE).sum(0)
    np.testing.assert_allclose(map_of("deeplift", model), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(3, 2, padding=1),
        nn.MaxPool2d((3, 2), (1, 2), padding=(1, 0)),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        nn.MaxPool2d(2, 3, ceil_mode=True),
        nn.MaxPool2d(2, 1, dilation=(2, 3)),
        nn.MaxPool2d(2, 4),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(9, 7), (8, 12)])
def test_separate_windows_are_the_same_pooling(pool, size):
    images = -1 - random(2, 3, *size)  # below zero, so that padding with zero would win
    assert torch.equal(_SeparateWindows(pool)(images), pool(images))


def strided() -> nn.Module:
    """Its maps are smaller than the picture, and its last convolution has maps of one place."""
    return nn.Sequential(
        nn.Conv2d(1, 5, 3, stride=3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(5, 3, 1),
        nn.Flatten(),
    )


# Layers of the network, and how many there are up to the convolution that Grad-CAM explains.
CONVOLUTIONAL = {
    "cnn": (lambda: PaperCNN(size=(14, 14)), lambda net: [*net.features, *net.classifier], 5),
    "strided": (strided, list, 1),
}


def gradcam(layers: tuple[list, list], image: torch.Tensor, relu: bool = True) -> torch.Tensor:
    """By hand, (H, W); ``layers`` are those up to the convolution and those after it."""
    before, after = layers
    maps = nn.Sequential(*before)(image).requires_grad_()
    logit = nn.Sequential(*after)(maps + 0)[0, 1]  # + 0: ReLU overwrites its input
    (gradient,) = torch.autograd.grad(logit, maps)
    cam = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).detach()
    return F.interpolate(cam.relu() if relu else cam, image.shape[2:], mode="bilinear", align_corners=False)[0, 0]


@pytest.mark.parametrize("relu", ["on", "off"])
@pytest.mark.parametrize("network", CONVOLUTIONAL)
def test_gradcam_by_hand(network, relu):
    build, layers_of, last = CONVOLUTIONAL[network]
    net = seeded(build)
    layers = layers_of(net)
    for image in (DIGIT, random(1, 1, 14, 14, seed=9)):
        expected = gradcam((layers[:last], layers[last:]), image, relu == "on")
        assert relu == "on" or expected.abs().max() > 0
        np.testing.assert_allclose(map_of("layer_gradcam", net, image, GREY, relu=relu), expected, rtol=1e-4, atol=1e-8)


class Guided(torch.autograd.Function):
    """ReLU that lets only positive gradients back (Springenberg et al., 2014)."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values.relu()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.relu() * (ctx.saved_tensors[0] > 0)


@pytest.mark.parametrize("network", CONVOLUTIONAL)
def test_guided_gradcam_by_hand(network):
    build, layers_of, last = CONVOLUTIONAL[network]
    net = seeded(build, seed=2)
    layers, image = layers_of(net), DIGIT.clone().requires_grad_()
    values = image
    for layer in layers:
        values = Guided.apply(values) if isinstance(layer, nn.ReLU) else layer(values)
    (gradient,) = torch.autograd.grad(values[0, 1], image)
    expected = gradient[0].sum(0) * gradcam((layers[:last], layers[last:]), DIGIT)
    assert expected.abs().max() > 0
    np.testing.assert_allclose(map_of("guided_gradcam", net, DIGIT, GREY), expected, rtol=1e-3, atol=1e-12)


# one contract for every method and network ----------------------------------------------------------------------------

NETWORKS = {
    "paper_cnn": (lambda: PaperCNN(size=(14, 14)), (1, 14, 14)),
    "paper_fc": (lambda: PaperFC(size=(14, 14)), (1, 14, 14)),
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=10), (3, 33, 32)),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(num_classes=10), (3, 33, 32)),
}
MISFITS = {
    ("layer_gradcam", "paper_fc"): "needs a convolution and 'PaperFC' has none",
    ("guided_gradcam", "paper_fc"): "needs a convolution and 'PaperFC' has none",
    ("guided_gradcam", "mobilenet_v2"): "defined for ReLU and 'MobileNetV2' has ReLU6",
}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@pytest.fixture(scope="module")
def networks() -> dict:
    return {name: seeded(build) for name, (build, _) in NETWORKS.items()}


def state_of(model: nn.Module) -> list:
    """Everything that a method could leave behind."""
    states = []
    for name, module in model.named_modules(remove_duplicate=False):
        hooks = [len(getattr(module, kind)) for kind in HOOKS]
        gradients = [parameter.requires_grad for parameter in module.parameters()]
        switches = module.training, getattr(module, "inplace", None)
        states.append((name, type(module), sorted(vars(module)), hooks, gradients, switches))
    return states


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_on_every_network(networks, name, network):
    model = networks[network]
    channels, *size = NETWORKS[network][1]
    image, base = random(1, channels, *size), torch.zeros(1, 1, 1, 1)
    before, weights = state_of(model), {key: value.clone() for key, value in model.state_dict().items()}
    randomness = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    given = settings(name, **({"n_samples": 16} if name == "gradient_shap" else {}))  # one backward pass a sample
    if (name, network) in MISFITS:
        assert MISFITS[name, network] in incompatibility(name, model)
        with pytest.raises(SettingError) as caught:
            attribute(name, model, image, base, 3, given)
        assert str(caught.value) == incompatibility(name, model)
    else:
        assert incompatibility(name, model) is None
        result, again = (attribute(name, model, image, base, 3, given) for _ in range(2))
        check_attribution(result, tuple(size), random_method="seed" in given)
        assert all(torch.equal(tensor, repeated) for tensor, repeated in zip(result, again, strict=True))
    assert state_of(model) == before
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), randomness[0])
    assert np.random.get_state()[1].tolist() == randomness[1]  # noqa: NPY002
    assert not image.requires_grad


def check_attribution(result, size: tuple[int, int], random_method: bool) -> None:
    for part, shape in zip(result, (size, size, (2, *size)), strict=True):
        assert part.shape == shape
        assert part.dtype == torch.float32
        assert torch.isfinite(part).all()
        assert not part.requires_grad
    torch.testing.assert_close(result.halves.mean(0), result.map, rtol=1e-4, atol=1e-7)
    if random_method:
        assert (result.standard_error >= 0).all()
        assert not torch.equal(result.halves[0], result.halves[1])
    else:
        assert not result.standard_error.any()
        assert torch.equal(result.halves[0], result.map)


@pytest.mark.parametrize("name", ["gradient_shap", "kernel_shap"])
def test_another_seed_gives_another_map_and_more_samples_a_smaller_error(cnn, name):
    def errors(n_samples: int) -> float:
        return attribute(name, cnn, DIGIT, GREY, 1, settings(name, n_samples=n_samples)).standard_error.mean().item()

    assert not np.array_equal(map_of(name, cnn, DIGIT, GREY, seed=0), map_of(name, cnn, DIGIT, GREY, seed=1))
    assert errors(1024) < 0.7 * errors(64)  # 16 times the samples: a quarter of the error


@pytest.mark.parametrize("name", ["gradient_shap", "kernel_shap"])
def test_threads_do_not_share_their_random_numbers(cnn, name):
    expected = map_of(name, cnn, DIGIT, GREY)
    with ThreadPoolExecutor(4) as pool:
        maps = list(pool.map(lambda _: map_of(name, cnn, DIGIT, GREY), range(8)))
    assert all(np.array_equal(saliency_map, expected) for saliency_map in maps)


@pytest.mark.parametrize("name", METHODS)
def test_it_works_where_gradients_are_off(cnn, name):
    expected = map_of(name, cnn, DIGIT, GREY)
    with torch.inference_mode():
        assert np.array_equal(map_of(name, cnn, DIGIT + 0, GREY + 0), expected)
    with torch.no_grad():
        assert np.array_equal(map_of(name, cnn, DIGIT, GREY), expected)


@pytest.mark.parametrize("name", METHODS)
def test_all_that_is_said_about_a_method(name):
    method = methods[name]
    assert method.needs.endswith(".")
    assert method.explains == ("probability" if name in ("occlusion", "kernel_shap") else "logit")


# errors ---------------------------------------------------------------------------------------------------------------


class Functional(nn.Module):
    """An activation that no hook sees."""

    def __init__(self):
        super().__init__()
        self.first, self.relu, self.head = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Linear(8 * 8, 3)

    def forward(self, images):
        return self.head(self.relu(F.relu(self.first(4 * images)) - 0.1).flatten(1))


def faint() -> nn.Module:
    """The same with logits near zero: what is missing is small too."""
    net = Functional()
    for parameter in net.head.parameters():
        parameter.data *= 1e-5
    return net


class Overwriting(nn.Module):
    """It reads what ReLU has overwritten: the sum is twice the ReLU."""

    def __init__(self):
        super().__init__()
        self.first, self.relu, self.head = nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Linear(8 * 8, 3)

    def forward(self, images):
        hidden = self.first(images)
        return self.head((self.relu(hidden) + hidden).flatten(1))


class Outside(nn.Module):
    """A model that another program runs."""

    differentiable = False

    def forward(self, images):
        return torch.from_numpy(images.detach().numpy().sum((2, 3)))


class Detached(Outside):
    differentiable = True


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, images):
        raise RuntimeError("first line\nsecond line")


class NotANumber(nn.Module):
    def forward(self, images):
        return images.mean((2, 3)) * float("nan")


def gelu() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize(
    ("name", "build", "given", "reason"),
    [
        ("deeplift", Functional, {}, "does not add up for 'Functional'"),
        ("deeplift", faint, {}, "does not add up for 'Functional'"),
        ("guided_gradcam", Functional, {}, "'Functional' calls relu"),
        ("deeplift", Overwriting, {}, "set its inplace to False"),
        ("guided_gradcam", Overwriting, {}, "set its inplace to False"),
        ("deeplift", gelu, {}, "no rule for GELU"),
        ("guided_gradcam", gelu, {}, "has GELU"),
        ("saliency", Outside, {}, "needs gradients and 'Outside' gives none"),
        ("integrated_gradients", Detached, {}, "needs gradients and 'Detached' gives none"),
        *[(name, Broken, {}, "failed on 'Broken': first line$") for name in METHODS],
        ("occlusion", NotANumber, {}, "NaN"),
        ("kernel_shap", Known, {"grid": 5, "n_samples": 4000}, "grid 5 does not fit a picture of 6 × 4"),
        ("kernel_shap", Known, {"grid": 3, "n_samples": 143}, "at least 144"),
    ],
)
def test_what_does_not_fit_says_so_in_one_sentence(name, build, given, reason):
    with pytest.raises(SettingError, match=reason) as caught:
        map_of(name, build().eval(), **given)
    assert str(caught.value).startswith(methods[name].title)
    assert "\n" not in str(caught.value)


def test_perturbations_need_no_gradients():
    for name in ("occlusion", "kernel_shap"):
        assert incompatibility(name, Outside()) is None
        assert np.isfinite(map_of(name, Outside())).all()
    assert all(incompatibility(name, Outside()) for name in METHODS if methods[name].explains == "logit")


def test_an_unknown_method_suggests_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'occlusion'"):
        attribute("oclusion", Known(), IMAGE, BASE, 0, {})


# Grad-CAM's layer -----------------------------------------------------------------------------------------------------


class Looks(nn.Module):
    """A transformer in small: patches of 8 x 8 become tokens, and the logit of class 1 reads one place of them.

    With ``extra`` tokens before those of the picture. ``form`` is how the tokens lie while they are normalised.
    """

    def __init__(self, patch: tuple[int, int], size: tuple[int, int], form: str = "NLC", extra: int = 0):
        super().__init__()
        self.cut = nn.Conv2d(3, 6, 8, 8)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6)) for _ in range(4)))
        self.norm = nn.LayerNorm(6)
        self.before = nn.Parameter(torch.randn(1, extra, 6), requires_grad=False)
        self.grid, self.patch, self.form, self.extra = (size[0] // 8, size[1] // 8), patch, form, extra

    def forward(self, images):
        tokens = self.cut(images).permute(0, 2, 3, 1)
        if self.form == "NLC":
            tokens = torch.cat([self.before.expand(len(images), -1, -1), tokens.flatten(1, 2)], 1)
        tokens = self.norm(tokens + self.blocks(tokens))
        places = tokens[:, self.extra :].unflatten(1, self.grid) if self.form == "NLC" else tokens
        # The other places count a little, as in a network: a layer with one place says nothing.
        at = places[:, self.patch[0], self.patch[1]].square().sum(1) + 1e-3 * places.square().sum((1, 2, 3))
        return torch.stack([torch.zeros_like(at), at], 1)


@pytest.mark.parametrize("patch", [(0, 0), (0, 5), (2, 1), (3, 5)])
@pytest.mark.parametrize(("form", "extra"), [("NLC", 0), ("NLC", 1), ("NLC", 5), ("NHWC", 0)])
@pytest.mark.parametrize("size", [(32, 48), (32, 32)])
def test_tokens_are_put_back_where_they_were_cut(patch, form, extra, size):
    patch = (patch[0], min(patch[1], size[1] // 8 - 1))
    model = seeded(lambda: Looks(patch, size, form, extra))
    image = random(1, 3, *size).requires_grad_()
    layer = find_layer(model, image, 1)
    assert (layer.name, layer.grid) == ("norm", Grid(form, model.grid, extra))
    assert layer.late
    # The token that is read has nearly all of the gradient, and only its patch of the picture moves it.
    output, slope = output_and_gradient(model, layer, image, 1)
    assert divmod(int(slope.square().sum(1).argmax()), model.grid[1]) == patch
    changed = image.detach().clone()
    changed[..., 8 * patch[0] : 8 * patch[0] + 8, 8 * patch[1] : 8 * patch[1] + 8] += 1
    moved = (output_and_gradient(model, layer, changed.requires_grad_(), 1)[0] - output).abs().sum(1)[0]
    assert divmod(int(moved.argmax()), model.grid[1]) == patch
    assert int((moved > 1e-4).sum()) == 1
    # By hand: channels weighted by their mean gradient; enlarged as Captum enlarges.
    map_ = map_of("layer_gradcam", model, image.detach(), torch.zeros(1, 3, 1, 1), relu="off")
    by_hand = (output * slope.mean((2, 3), keepdim=True)).sum(1, keepdim=True)
    expected = nn.functional.interpolate(by_hand, size, mode="bilinear")[0, 0]
    np.testing.assert_allclose(map_, expected, rtol=1e-4, atol=1e-6)


SMALL_NETWORKS = {
    # Name -> what the layer's name begins with, its form, its grid for a picture of the size that it takes.
    "torchvision/alexnet": ("features.10", "conv", (7, 7)),
    "torchvision/squeezenet1_1": ("classifier.1", "conv", (7, 7)),
    "torchvision/resnet18": ("layer4.1.conv2", "conv", (4, 4)),
    "torchvision/mobilenet_v2": ("features.18.0", "conv", (4, 4)),
    "torchvision/efficientnet_b0": ("features.8.0", "conv", (4, 4)),
    "torchvision/convnext_tiny": ("features.7.2.block.0", "conv", (4, 4)),
    "torchvision/swin_t": ("permute", "NCHW", (4, 4)),
    "timm/test_vit": ("blocks.5.norm1", "NLC", (10, 10)),
    "timm/deit_tiny_distilled_patch16_224": ("blocks.11.norm1", "NLC", (14, 14)),
    "timm/mixer_s32_224": ("norm", "NLC", (7, 7)),
    "timm/levit_128s": ("stages", "NLC", (4, 4)),
}
SIDES = {"timm/test_vit": 160, "torchvision/alexnet": 128, "torchvision/squeezenet1_1": 128, "timm/levit_128s": 224}
SIDES |= {"timm/deit_tiny_distilled_patch16_224": 224, "timm/mixer_s32_224": 224}


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_the_layer_is_near_the_end(name):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    begins, form, grid = SMALL_NETWORKS[name]
    network = seeded(lambda: build_network(name, classes=5, channels=3, size=(128, 128)))
    side = SIDES.get(name, 128)
    with torch.no_grad():  # heads begin with zeros, which no gradient passes
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
    layer = find_layer(network, random(1, 3, side, side).requires_grad_(), 1)
    assert layer.name.startswith(begins)
    assert layer.position > 0.8
    assert layer.late
    assert ("conv" if layer.convolution else layer.grid.form) == form
    assert layer.grid.size == grid


class Early(nn.Module):
    """Places are lost half-way: what follows the pooling is long, and still in the form of tokens, one a channel."""

    def __init__(self):
        super().__init__()
        self.cut = nn.Conv2d(3, 7, 4, 4)
        self.mixed = nn.Sequential(*(nn.Linear(3, 3) for _ in range(12)))
        self.head = nn.Linear(21, 2)

    def forward(self, images):
        tokens = self.cut(images).mean((2, 3))[..., None].expand(-1, -1, 3)  # (N, 7, 3): no grid has seven places
        return self.head(self.mixed(tokens).flatten(1))


def test_a_convolution_far_from_the_end_does_not_fit():
    with pytest.raises(
        SettingError, match=r"^Grad-CAM needs a layer with places near the end of the network; the last"
    ):
        map_of("layer_gradcam", seeded(Early), random(1, 3, 32, 32), torch.zeros(1, 3, 1, 1))


class Nothing(nn.Module):
    """A convolution whose answer is not asked for."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(3, 2)

    def forward(self, images):
        self.conv(images)
        return self.head(images.mean((2, 3)))


def test_a_layer_that_the_score_does_not_depend_on_does_not_fit():
    with pytest.raises(
        SettingError, match=r"^Grad-CAM needs a layer whose numbers have places in the picture and reach"
    ):
        map_of("layer_gradcam", seeded(Nothing))


def test_guided_gradcam_needs_a_convolution_near_the_end():
    model = seeded(lambda: nn.Sequential(nn.ReLU(), Looks((1, 1), (16, 24))))
    image = random(1, 3, 16, 24)
    with pytest.raises(SettingError, match="needs a convolution near the end, and 'Sequential' has none there"):
        map_of("guided_gradcam", model, image, torch.zeros(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 197, 64), (224, 224), Grid("NLC", (14, 14), 1)),
        ((1, 201, 64), (224, 224), Grid("NLC", (14, 14), 5)),
        ((1, 49, 64), (224, 224), Grid("NLC", (7, 7), 0)),
        ((1, 24, 64), (32, 48), Grid("NLC", (4, 6), 0)),
        ((1, 25, 64), (48, 32), Grid("NLC", (6, 4), 1)),
        ((1, 7, 7, 64), (224, 224), Grid("NHWC", (7, 7), 0)),
        ((1, 64, 7, 7), (224, 224), Grid("NCHW", (7, 7), 0)),
        ((64, 49, 32), (224, 224), None),
        ((1, 64), (224, 224), None),
        ((1, 1, 64), (224, 224), None),
        ((1, 64, 1, 1), (224, 224), None),
    ],
)
def test_how_an_output_lies_over_a_picture(shape, size, expected):
    assert _grid(nn.LayerNorm(1), torch.Size(shape), size) == expected
