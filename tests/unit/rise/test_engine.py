"""Fast copies of models against the models themselves, and the search for a batch size."""

from __future__ import annotations

import copy
import gc
import operator
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from kdviz.core.devices import fast_bf16
from kdviz.core.errors import ModelError, SettingError
from kdviz.models.networks import FunctionNetwork, PaperCNN, PaperFC
from kdviz.rise.engine import PRECISIONS, BatchSize, Prepared, cuda_graphs, onednn, preparation, prepare
from kdviz.saliency import RandomMasks

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own, and meant here

CPU = torch.device("cpu")
needs_bf16 = pytest.mark.skipif(not fast_bf16(CPU), reason="this processor does not compute bfloat16 faster (no AMX)")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def masked(shape: tuple[int, int, int], count: int = 12) -> torch.Tensor:
    """A picture under different masks, as RISE shows it to a model."""
    masks = RandomMasks(shape[1:], (4, 4), seed=1).render(0, count)
    return 4 * (2 * noise(1, *shape, seed=7) - 1) * masks


def run(prepared: Prepared, images: torch.Tensor) -> torch.Tensor:
    memory = torch.channels_last if prepared.channels_last else torch.contiguous_format
    with torch.inference_mode():
        return prepared.forward(images.to(prepared.dtype).contiguous(memory_format=memory)).float()


def scores_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(images)


def spread(scores: torch.Tensor) -> float:
    """Root mean square of what the masks change."""
    return float((scores - scores.mean(0)).square().mean().sqrt())


# networks -------------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A stem, whatever a subclass does with it, and ten scores."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(9 * width, 10))

    def body(self, images: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, images):
        return self.head(self.body(self.stem(images)))


class Chain(Net):
    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def body(self, images):
        return self.layers(images)


class Residual(Net):
    """Conv, addition and ReLU, where what is added is read again afterwards."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()

    def body(self, images):
        before = torch.sin(images)
        after = self.relu(self.norm(self.conv(before)) + before)
        return after * before.exp()


class ResidualInPlace(Residual):
    def body(self, images):
        after = self.norm(self.conv(images))
        after += images
        return F.relu(after, inplace=True) - images


class ResidualOfTwo(Residual):
    """Two convolutions added, one of which is read again; and an addition to itself."""

    def body(self, images):
        linear, squashed = self.conv(images), self.conv(images.tanh())
        return torch.add(linear, squashed) + linear.mul(2) + self.doubled(squashed)

    def doubled(self, images):
        twice = self.conv(images)
        return twice + twice


class Broadcast(Residual):
    """What is added is smaller than the convolution's answer."""

    def body(self, images):
        return self.relu(self.conv(images) + images.mean((2, 3), keepdim=True))


class TwoUsers(Net):
    """The convolution's answer is activated, and read as it is too."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()

    def body(self, images):
        hidden = self.conv(images)
        return self.relu(hidden) - hidden.square()


class Overwritten(TwoUsers):
    """The convolution's input is overwritten before its answer is added."""

    def body(self, images):
        images = images - 0.3
        hidden = self.conv(images)
        return hidden + images.relu_()


class Functional(TwoUsers):
    def body(self, images):
        return torch.relu(self.conv(F.relu(self.conv(images)))) - F.hardtanh(self.conv(images), -0.1, 0.2)


class Branching(TwoUsers):
    """Which way it goes depends on the values: it cannot be traced."""

    def body(self, images):
        return self.relu(self.conv(images)) if images.abs().sum() > 0 else images


class LinearActivations(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Flatten(), nn.Linear(1083, 30, bias=False), nn.Tanh(), nn.Linear(30, 20), nn.SiLU(), nn.Linear(20, 10)
        )


HAND_MADE = {
    "relu6": lambda: Chain(nn.Conv2d(6, 6, 3), nn.ReLU6()),
    "silu": lambda: Chain(nn.Conv2d(6, 6, 3), nn.SiLU()),
    "other activations": lambda: Chain(
        *(nn.Conv2d(6, 6, 1), nn.Hardswish(), nn.Conv2d(6, 6, 1), nn.Sigmoid()),
        *(nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1), nn.Tanh(), nn.Conv2d(6, 6, 1), nn.Hardtanh(-0.4, 0.3)),
        *(nn.Conv2d(6, 6, 1), nn.LeakyReLU(0.3), nn.Conv2d(6, 6, 1), nn.GELU()),
    ),
    "batch norm first": lambda: Chain(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, bias=False), nn.BatchNorm2d(6)),
    "residual": Residual,
    "residual in place": ResidualInPlace,
    "residual of two": ResidualOfTwo,
    "broadcast": Broadcast,
    "two users": TwoUsers,
    "overwritten": Overwritten,
    "functional": Functional,
    "pool stride 1": lambda: Chain(nn.MaxPool2d(2, stride=1), nn.Conv2d(6, 6, 3), nn.ReLU()),
    "pool stride 2": lambda: Chain(nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.MaxPool2d((2, 2), (2, 2))),
    "other pools": lambda: Chain(
        nn.MaxPool2d(2, 1, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2, 1, dilation=2), nn.MaxPool2d(3)
    ),
    "same, even": lambda: Chain(nn.Conv2d(6, 6, 4, padding="same"), nn.ReLU(), nn.Conv2d(6, 6, (2, 3), padding="same")),
    "same, odd, dilated": lambda: Chain(nn.Conv2d(6, 6, (3, 5), padding="same", dilation=(3, 2)), nn.ReLU()),
    "valid": lambda: Chain(nn.Conv2d(6, 6, 3, padding="valid"), nn.ReLU()),
    "reflected": lambda: Chain(nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"), nn.ReLU()),
    "grouped, strided": lambda: Chain(nn.Conv2d(6, 6, 3, groups=6, stride=2), nn.ReLU(), nn.Conv2d(6, 6, 1, groups=3)),
    "dilated": lambda: Chain(nn.Conv2d(6, 6, 3, dilation=2, padding=(1, 2)), nn.SiLU()),
    "no bias": lambda: Chain(nn.Conv2d(6, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 6, 1, bias=False)),
    "linear": LinearActivations,
    "branching": Branching,
}
NETWORKS = {
    "paper_cnn": (lambda: PaperCNN(size=(14, 13)), (1, 14, 13)),
    "paper_fc": (lambda: PaperFC(size=(14, 13)), (1, 14, 13)),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(num_classes=10), (3, 64, 64)),
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=10), (3, 64, 64)),
    "efficientnet_b0": (lambda: torchvision.models.efficientnet_b0(num_classes=10), (3, 64, 64)),
    **{name: (build, (3, 19, 19)) for name, build in HAND_MADE.items()},
}


def trained(build, images: torch.Tensor) -> nn.Module:
    """Random weights, batch statistics of what it will see and affine parts, scores of mean 0 and deviation 1."""
    torch.manual_seed(0)
    model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
            module.momentum = None  # plain means over all batches
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.train()
    with torch.no_grad():
        model(images + 0.3 * noise(*images.shape, seed=3))
        model.eval()
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        last.weight /= spread(model(images))
        last.bias -= model(images).mean(0)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def network():
    """Name -> network and its input's shape, made once. Tests must not change it."""
    made = {}

    def get(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
        build, shape = NETWORKS[name]
        if name not in made:
            made[name] = trained(build, masked(shape))
        return made[name], shape

    return get


# the same scores ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_scores_are_the_models_in_float32(network, name):
    model, shape = network(name)
    prepared = prepare(model, masked(shape), "float32")
    assert (prepared.precision, prepared.dtype) == ("float32", torch.float32)
    # Also for other numbers of images than the copy was laid out for, and for other images.
    for images in (masked(shape), masked(shape, 5), noise(1, *shape, seed=2)):
        expected = scores_of(model, images)
        torch.testing.assert_close(run(prepared, images), expected, rtol=1e-4, atol=1e-4)
    assert spread(scores_of(model, masked(shape))) == pytest.approx(1, rel=1e-3)  # 1e-4 is little


def rounding(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square error, as a share of what the masks change."""
    return float((got - expected).square().mean().sqrt()) / spread(expected)


@needs_bf16
@pytest.mark.parametrize("name", NETWORKS)
def test_the_scores_are_the_models_in_bfloat16_to_rounding(network, name):
    model, shape = network(name)
    prepared = prepare(model, masked(shape), "bfloat16")
    assert prepared.precision == "bfloat16"
    images = masked(shape, 40)
    expected = scores_of(model, images)
    got = run(prepared, images)
    plain = scores_of(copy.deepcopy(model).bfloat16(), images.bfloat16()).float()
    # torch's own bfloat16 says what rounding does to this network. The copy rounds at most as often, at other places:
    # its error is another draw of at most the same size, and 400 scores say its root mean square to 4 % if they are
    # independent, to 14 % if only those of one class are.
    assert 0 < rounding(got, expected) < 1.4 * rounding(plain, expected)
    if name in HAND_MADE and name not in ("other activations", "grouped, strided"):
        assert rounding(plain, expected) < 0.03  # so that a wrong layer, whose error is near 1, would be seen
        assert rounding(got, expected) < 0.03
        assert prepared.channels_last == (name != "overwritten")  # it is the copy that is tested


FUSED = ["relu6", "silu", "residual", "residual in place", "functional", "no bias", "linear"]


@pytest.mark.parametrize("name", FUSED)
def test_what_can_be_fused_is(network, name):
    # So that the tests of scores are tests of the fused layers, not of a fall-back to the original.
    model, shape = network(name)
    graph = onednn.fuse_for_onednn(preparation._traced(model).bfloat16())
    nodes = [node for node in graph.graph.nodes if node.op in ("call_module", "call_function")]
    called = " ".join(str(node.target) for node in nodes)
    assert "fused" in called
    left = [type(module) for key, module in graph.named_modules() if key in [str(node.target) for node in nodes]]
    assert not {nn.Conv2d, nn.Linear, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Tanh, nn.BatchNorm2d} & set(left)
    assert not [node for node in nodes if node.target in (F.relu, torch.relu, operator.iadd, operator.add)]
    assert prepare(model, masked(shape), "float32").channels_last  # the copy, not the original


def test_what_two_read_is_not_fused(network):
    model, _ = network("two users")
    graph = onednn.fuse_for_onednn(preparation._traced(model))
    assert "relu" in [str(node.target) for node in graph.graph.nodes]


@pytest.mark.parametrize("size", [(9, 9), (8, 5), (2, 2), (2, 7)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_maxima_of_slices_are_max_pooling(size, stride):
    images = noise(2, 3, *size) - 2  # below zero, so that padding with zero would win
    assert torch.equal(onednn._PairwiseMaxPool(stride)(images), F.max_pool2d(images, 2, stride))


def test_what_overwrites_its_input_is_run_as_given(network):
    model, shape = network("overwritten")
    assert prepare(model, masked(shape), "float32").forward is model


def test_a_model_whose_way_depends_on_values_is_run_as_it_decides(network):
    model, shape = network("branching")
    prepared = prepare(model, masked(shape), "float32")
    for images in (masked(shape), torch.zeros(3, *shape)):
        torch.testing.assert_close(run(prepared, images), scores_of(model, images), rtol=1e-4, atol=1e-4)


@needs_bf16
def test_auto_takes_bfloat16_where_it_changes_nothing_that_matters(network):
    model, shape = network("paper_cnn")
    assert prepare(model, masked(shape)).precision == "bfloat16"

    class Fine(nn.Module):
        """Only the digits after the fourth matter."""

        def forward(self, images):
            return (1000 + images.mean((2, 3))).sub(1000)

    assert prepare(Fine(), masked(shape)).precision == "float32"


def test_a_precision_that_is_asked_for_is_taken(network):
    model, shape = network("relu6")
    # Without AVX-512, oneDNN has no bfloat16 convolution to prepare: the model runs under autocast, from float32.
    low = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
    dtypes = {"float32": torch.float32, "bfloat16": low}
    for precision, dtype in dtypes.items():
        prepared = prepare(model, masked(shape), precision)
        assert (prepared.precision, prepared.dtype) == (precision, dtype)
        assert run(prepared, masked(shape)).dtype == torch.float32


# what is left alone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v2", "residual in place", "linear", "branching"])
def test_the_model_stays_as_it_was(network, name):
    model, shape = network(name)
    seen = []
    handle = model.register_forward_hook(lambda *_: seen.append(1))
    model.requires_grad_(True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    places = [tensor.data_ptr() for tensor in model.state_dict().values()]
    strides = [tensor.stride() for tensor in model.state_dict().values()]
    modules = [(key, type(module)) for key, module in model.named_modules()]
    for precision in ("float32", "bfloat16"):
        run(prepare(model, masked(shape), precision), masked(shape))
    after = model.state_dict()
    assert all(torch.equal(after[key], value) and after[key].dtype == value.dtype for key, value in before.items())
    assert [tensor.data_ptr() for tensor in after.values()] == places
    assert [tensor.stride() for tensor in after.values()] == strides
    assert [(key, type(module)) for key, module in model.named_modules()] == modules
    assert list(model._forward_hooks) == [handle.id]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    seen.clear()
    model(masked(shape)).sum().backward()
    assert seen == [1]
    handle.remove()
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("name", ["relu6", "branching", "overwritten"])
def test_a_model_that_nobody_needs_any_more_is_forgotten(network, name, precision):
    model = copy.deepcopy(network(name)[0])
    prepared = prepare(model, masked((3, 19, 19)), precision)
    run(prepared, masked((3, 19, 19)))
    gone, parameter = weakref.ref(model), weakref.ref(next(model.parameters()))
    del model, prepared
    gc.collect()
    assert gone() is None
    assert parameter() is None


@pytest.mark.parametrize("given", [lambda images: images.mean((2, 3)), FunctionNetwork(torch.sum).forward])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_callable_is_taken_as_given(given, precision):
    prepared = prepare(given, masked((3, 8, 8)), precision)
    assert prepared.forward is given
    assert (prepared.precision, prepared.dtype, prepared.channels_last) == ("float32", torch.float32, False)


def test_a_model_that_another_program_runs_is_taken_as_given():
    class Outside(nn.Module):
        differentiable = False
        calls = 0

        def forward(self, images):
            self.calls += 1
            return torch.from_numpy(images.numpy().mean((2, 3)))

    model = Outside()
    assert prepare(model, masked((3, 8, 8))).forward is model
    assert model.calls == 0


def test_a_model_that_fails_is_taken_as_given():
    class Broken(nn.Module):
        def forward(self, images):
            raise RuntimeError("no")

    class Two(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)), images

    for model in (Broken(), Two()):
        assert prepare(model, masked((3, 8, 8))).forward is model


# a wrong copy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("broken", ["value", "shape", "nan", "raises"])
def test_a_wrong_copy_is_not_used(network, monkeypatch, precision, broken):
    model = copy.deepcopy(network("relu6")[0])
    made = preparation.fuse_for_onednn

    class Wrong(nn.Module):
        def __init__(self, right: nn.Module):
            super().__init__()
            self.right = right

        def forward(self, images):
            scores = self.right(images)
            if broken == "raises":
                raise RuntimeError("no kernel")
            if broken == "shape":
                return scores[:, :9]
            return scores * float("nan") if broken == "nan" else scores + 0.5 * scores.flip(1)

    monkeypatch.setattr(preparation, "fuse_for_onednn", lambda graph: Wrong(made(graph)))
    images = masked((3, 19, 19))
    prepared = prepare(model, images, precision)
    expected = scores_of(model, images)
    # The spread of the scores is 1: far below the wrong copy's error of .5, and above autocast's rounding.
    torch.testing.assert_close(run(prepared, images), expected, rtol=0, atol=0.1)
    assert prepared.precision == ("float32" if precision == "auto" else precision)
    if prepared.precision == "float32":
        assert prepared.forward is model


# memory of what was prepared ------------------------------------------------------------------------------------------

CHANGES = {
    "in place": lambda model: model.stem.weight.add_(0.1),
    "sign": lambda model: model.stem.weight.neg_(),
    "an optimiser": lambda model: model.head[2].bias.mul_(2),
    "batch statistics": lambda model: model.norm.running_mean.add_(1),
    "load_state_dict": lambda model: model.load_state_dict(
        {key: 2 * value if value.is_floating_point() else value for key, value in model.state_dict().items()}
    ),
    "assigned": lambda model: model.load_state_dict(
        {key: value.clone() for key, value in Residual().state_dict().items()}, assign=True
    ),
    "data": lambda model: model.stem.weight.data.add_(0.1),
    "data, one weight": lambda model: model.conv.weight.data[0, 0, 0].add_(1),
}


@pytest.mark.parametrize("precision", ["auto", "float32"])
@pytest.mark.parametrize("change", CHANGES)
def test_it_is_remembered_until_the_weights_change(network, change, precision):
    model, images = copy.deepcopy(network("residual")[0]), masked((3, 19, 19))
    first = prepare(model, images, precision)
    assert prepare(model, images, precision) is first
    assert prepare(model, images[:3], precision) is first  # of any number of images
    before = scores_of(model, images)
    with torch.no_grad():
        CHANGES[change](model)
    expected = scores_of(model, images)
    assert not torch.allclose(before, expected, atol=1e-2)
    second = prepare(model, images, precision)
    assert second is not first
    assert rounding(run(second, images), expected) < (1e-4 if second.precision == "float32" else 0.03)
    assert prepare(model, images, precision) is second


def test_another_size_gets_another_copy(network):
    model = copy.deepcopy(network("residual")[0])
    small, large = masked((3, 19, 19)), masked((3, 23, 31))
    first, second = prepare(model, small, "float32"), prepare(model, large, "float32")
    assert second is not first
    for prepared, images in ((first, small), (second, large)):
        torch.testing.assert_close(run(prepared, images), scores_of(model, images), rtol=1e-4, atol=1e-4)


class Cleared(dict):
    """What another thread, which uses the model in another way, empties at once."""

    def __setitem__(self, key, value):
        pass


def test_a_copy_that_another_thread_clears_is_used_all_the_same(network):
    model = copy.deepcopy(network("residual")[0])
    preparation._prepared[model] = Cleared()
    assert prepare(model, masked((3, 19, 19)), "float32").channels_last  # it is the copy


# errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Dropout2d(0.1), nn.BatchNorm2d(6)], ids=str)
def test_training_mode_names_the_layer(layer):
    model = Chain(nn.ReLU(), layer).eval()
    layer.train()
    with pytest.raises(ModelError, match=rf"training mode \({type(layer).__name__} 'layers\.1'.*model\.eval\(\)"):
        prepare(model, masked((3, 19, 19)))
    layer.eval()
    prepare(model.train(False), masked((3, 19, 19)))


def test_training_mode_that_changes_nothing_is_fine():
    model = Chain(nn.ReLU(), nn.Dropout(0.0)).train()
    prepared = prepare(model, masked((3, 19, 19)), "float32")
    torch.testing.assert_close(run(prepared, masked((3, 19, 19))), scores_of(model, masked((3, 19, 19))))


@pytest.mark.parametrize("given", [PaperFC(), lambda images: images], ids=["module", "callable"])
def test_an_unknown_precision_names_the_known_ones(given):
    with pytest.raises(SettingError, match="one of auto, float32, bfloat16, float16, got 'int8'"):
        prepare(given, masked((1, 28, 28)), "int8")


# graphs ---------------------------------------------------------------------------------------------------------------


class Captures:
    """In place of CUDA's: what was captured, and a graph that computes when it is launched."""

    def __init__(self, wrong: float = 0.0, error: Exception | None = None):
        self.shapes: list[int] = []
        self.launched = 0
        self.wrong, self.error = wrong, error

    def __call__(self, model: nn.Module, images: torch.Tensor) -> cuda_graphs._Graph:
        self.shapes.append(len(images))
        if self.error is not None:
            raise self.error
        given = images.neg()
        result = torch.zeros_like(model(images))

        def launch() -> None:
            self.launched += 1
            result.copy_(model(given) + self.wrong * torch.arange(len(given))[:, None])

        return cuda_graphs._Graph(launch, given, result)


def graphed(monkeypatch: pytest.MonkeyPatch, captures: Captures) -> tuple[nn.Module, cuda_graphs.GraphedModel]:
    monkeypatch.setattr(cuda_graphs, "_capture", captures)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).requires_grad_(False)
    return model, cuda_graphs.GraphedModel(model)


def test_a_graph_is_made_for_a_shape_that_comes_again(monkeypatch):
    captures = Captures()
    model, fast = graphed(monkeypatch, captures)
    answers = []
    for seed, size in enumerate((7, 4, 8, 8, 8, 3, 8)):  # probes, sizes on the way, and a last chunk that is shorter
        images = noise(size, 3, 2, 2, seed=seed)
        answers.append(fast(images))
        torch.testing.assert_close(answers[-1], model(images))
    assert captures.shapes == [8]
    assert captures.launched == 4  # once to compare it with the model
    assert not torch.equal(answers[3], answers[4])  # an answer is not overwritten by the next one


def test_the_graph_not_used_for_longest_makes_room(monkeypatch):
    captures = Captures()
    _, fast = graphed(monkeypatch, captures)
    for size in (1, 1, 2, 2, 3, 3, 1, 4, 4):  # 2 is the oldest then
        fast(noise(size, 3, 2, 2))
    assert list(fast._graphs) == [(size, 3, 2, 2) for size in (3, 1, 4)]
    for size in (2, 1, 2):
        fast(noise(size, 3, 2, 2))
    assert captures.shapes == [1, 2, 3, 4, 2]


@pytest.mark.parametrize(
    "captures",
    [Captures(wrong=0.5), Captures(error=RuntimeError("capturing")), Captures(error=torch.OutOfMemoryError())],
)
def test_without_a_graph_that_is_right_the_model_itself_is_run(monkeypatch, captures):
    model, fast = graphed(monkeypatch, captures)
    for _ in range(4):
        images = noise(6, 3, 2, 2)
        torch.testing.assert_close(fast(images), model(images))
    assert captures.shapes == [6]


def test_threads_do_not_get_each_others_answers(monkeypatch):
    model, fast = graphed(monkeypatch, Captures())
    pictures = [noise(16, 3, 2, 2, seed=seed) for seed in range(8)]
    fast(pictures[0])
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(fast, pictures * 40))
    for images, answer in zip(pictures * 40, answers, strict=True):
        torch.testing.assert_close(answer, model(images))


# batch size -----------------------------------------------------------------------------------------------------------


def search(size: BatchSize, seconds_each, batches: int = 100) -> list[int]:
    """Sizes that were used, where an image of a batch of n takes seconds_each(n)."""
    used = []
    for _ in range(batches):
        used.append(size.current)
        size.record(size.current, size.current * seconds_each(size.current))
    return used


@pytest.mark.parametrize(
    ("seconds_each", "best"),
    [
        (lambda n: 1 + 64 / n, 512),  # ever faster: the largest
        (lambda n: 1 + abs(n - 64) / 64, 64),  # slower beyond 64
        (lambda n: float(n), 8),  # slower from the start
        (lambda n: 1.0, 8),  # no gain: the smaller needs less memory
        (lambda n: 1 - 0.0001 * n, 8),  # gains that are not worth it
    ],
)
def test_the_fastest_batch_size_is_found(seconds_each, best):
    size = BatchSize(8, 512)
    used = search(size, seconds_each)
    assert size.current == best
    assert max(used) <= 2 * best
    assert used[-50:] == [best] * 50  # it stays there


def test_a_first_slow_batch_of_a_size_does_not_count():
    size = BatchSize(8, 64)
    seen = set()

    def seconds_each(n: int) -> float:
        slow = n not in seen
        seen.add(n)
        return 100.0 if slow else 1 + 8 / n

    search(size, seconds_each)
    assert size.current == 64


def test_a_size_that_other_work_made_slow_once_is_tried_again():
    size, tried = BatchSize(8, 64), []

    def seconds_each(n: int) -> float:
        tried.append(n)
        return 100.0 if n == 16 and tried.count(16) <= 3 else 1 + 8 / n

    search(size, seconds_each)
    assert size.current == 64


@pytest.mark.parametrize(("start", "most"), [(8, 50), (8, 8), (1, 3), (50, 50)])
def test_it_is_never_more_than_the_most(start, most):
    size = BatchSize(start, most)
    used = search(size, lambda n: 1 / n)
    assert max(used) <= most
    assert size.current > most / 2


def test_a_last_partial_batch_says_nothing():
    size = BatchSize(8, 64)
    for _ in range(20):
        size.record(3, 1e-9)  # it would look a thousand times faster than any other
    assert (size.current, size.settled, size._seconds) == (8, False, [])
    used = search(size, lambda n: float(n))
    assert set(used) == {8, 16}
    assert size.current == 8


def test_out_of_memory_halves_down_to_one_image():
    size = BatchSize(12, 64)
    seen = []
    for _ in range(3):
        size.halve()
        seen.append(size.current)
    assert seen == [6, 3, 1]
    assert set(search(size, lambda n: 1 / n, 20)) == {1}  # it does not grow again
    with pytest.raises(ModelError, match="memory is too small for one masked image"):
        size.halve()


def test_halved_while_it_grows_it_stays_below():
    size = BatchSize(8, 512)
    search(size, lambda n: 1 / n, 7)
    assert size.current == 32
    size.halve()
    assert set(search(size, lambda n: 1 / n)) == {16}
