"""Losses between explanations: each against another implementation, and what a training makes of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captum.attr import InputXGradient, LayerGradCam
from conftest import SMALL
from torch import Tensor, nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.core.files import Store
from kdviz.distill import TrainingConfig, explanation_losses, fit, predict_logits
from kdviz.distill.objectives import registry
from kdviz.distill.objectives.between_explanations import rise_maps
from kdviz.distill.objectives.explained import Explained
from kdviz.distill.objectives.explanations import Explainer
from kdviz.distill.objectives.layers import head_of, maps_layer
from kdviz.distill.storage.run_files import new_network
from kdviz.distill.storage.teacher_explanations import teacher_explanations

CONFIG = TrainingConfig(epochs=2, batch_size=40, device="cpu", bf16="off")
BLACK = torch.zeros(1, 1, 1)
SAMPLES = 6


class Small(nn.Module):
    """Two convolutions, an average over positions, and a head: what CAM was made for."""

    def __init__(self, seed: int = 0, classes: int = 4):
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.GELU(), nn.Conv2d(5, 6, 3), nn.GELU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.features(images)).flatten(1))


@pytest.fixture(scope="module")
def split(small_digits):
    return small_digits.take(torch.arange(120)), small_digits.take(torch.arange(120, 160), "validation")


@pytest.fixture
def images() -> Tensor:
    return torch.rand(SAMPLES, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def explained_by(name: str, network: nn.Module, inputs: Tensor, target: Tensor, **options: float) -> Tensor:
    """The explanations of a network that is not trained."""
    loss = explanation_losses[name]
    explainer = Explainer(loss, options, network.eval(), BLACK.to(inputs), "features" if loss.takes else "")
    explanation = explainer.explain_pictures(inputs, target, torch.arange(len(inputs)))
    explainer.close()
    return explanation


def targets(network: nn.Module, inputs: Tensor) -> Tensor:
    return network(inputs).argmax(1)


# the explanations -----------------------------------------------------------------------------------------------------


def test_grad_cam_is_captums(images):
    network = Small().eval()
    target = targets(network, images)
    expected = LayerGradCam(network, network.features).attribute(images, target, relu_attributions=True)
    torch.testing.assert_close(explained_by("grad_cam", network, images, target), expected[:, 0])


def test_input_gradient_is_captums(images):
    network = Small().eval()
    target = targets(network, images)
    expected = InputXGradient(network).attribute(images.clone().requires_grad_(), target).detach()
    torch.testing.assert_close(explained_by("input_gradient", network, images, target), expected.sum(1))


def test_class_attention_of_all_positions_is_the_logits(images):
    network = Small().eval()
    maps = explained_by("class_attention", network, images, targets(network, images), side=99)
    torch.testing.assert_close(maps.mean((2, 3)), network(images).detach() - network.head.bias.detach())


def test_class_attention_needs_a_head_on_the_channels(images):
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)).eval()
    explainer = Explainer(explanation_losses["class_attention"], {}, network, BLACK, "1")
    with pytest.raises(ModelError, match="whose head weighs the 3 channels"):
        explainer.explain_pictures(images, torch.zeros(SAMPLES, dtype=torch.long), torch.arange(SAMPLES))


# RISE -----------------------------------------------------------------------------------------------------------------


def differences(network: nn.Module, image: Tensor, target: int, cells: int) -> tuple[Tensor, Tensor]:
    """The bits of all 2^(cells^2) masks without a shift, as +1 and -1, and the score less that of the complement."""
    grid = rise_maps._grid((image.shape[1], image.shape[2]), cells)
    assert grid.cell == (1, 1), "there must be one shift only"
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=cells**2))).to(image)
    rows, columns = (matrix[0].to(image) for matrix in grid.upsampling)
    masks = rows @ bits.view(-1, cells, cells) @ columns.T
    scores = network(masks[:, None] * image).softmax(1)[:, target]
    return 2 * bits - 1, scores - scores.flip(0)


def nonlinear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 16), nn.Tanh(), nn.Linear(16, 3)).double()


class Additive(nn.Module):
    """A network whose probability of class 1 is a sum over pixels."""

    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.weight = nn.Parameter(0.1 * torch.rand(9, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        share = 0.1 + images.flatten(1) @ self.weight
        return torch.stack([1 - share, share], 1).log()


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def sampled(network: nn.Module, image: Tensor, target: int) -> Tensor:
    """The explanations of one picture with all draws."""
    count = rise_maps._DRAWS
    given = (torch.zeros(count, 3), torch.full((count,), target), BLACK.double(), torch.arange(count))
    return rise_maps.explain(Explained(network, image.expand(count, 1, 3, 3), *given, learns=True), cells=3)


def test_the_mean_over_all_masks_is_the_distance_of_the_maps_and_of_odd_combinations(image):
    signs, first = differences(nonlinear(0), image, 1, 3)
    difference = (first - differences(nonlinear(1), image, 1, 3)[1]).detach()
    subsets = torch.tensor(list(itertools.product([0, 1], repeat=9)))
    walsh = torch.stack([signs[:, subset.bool()].prod(1) for subset in subsets])  # (subsets, masks)
    coefficients = walsh @ difference / len(signs)
    sizes = subsets.sum(1)
    of_cells = 4 * ((signs / 2) * (difference / 2)[:, None]).mean(0)  # Cov(bit, score) / Var(bit)
    torch.testing.assert_close(coefficients[sizes == 1].sort().values, of_cells.sort().values)
    parts = coefficients[sizes % 2 == 1].square().sum()
    torch.testing.assert_close(difference.square().mean(), parts)
    assert float(of_cells.square().sum()) < float(difference.square().mean())


@pytest.mark.parametrize("network", [nonlinear, Additive])
def test_the_sampled_rise_loss_and_its_gradient_are_those_of_all_masks(image, network):
    teacher, student = network(0), network(1)
    signs, first = differences(student, image, 1, 3)
    difference = first - differences(teacher, image, 1, 3)[1].detach()
    exact = difference.square().mean()
    if network is Additive:  # a long map's distance is all there is
        maps = (signs * difference[:, None]).mean(0)
        torch.testing.assert_close(exact, maps.square().sum())
    weight = next(student.parameters())
    (gradient,) = torch.autograd.grad(exact, weight)
    losses = (sampled(student, image, 1) - sampled(teacher, image, 1).detach()).square()
    error = float(losses.detach().std()) / len(losses) ** 0.5
    assert abs(float((losses.mean() - exact).detach())) < 4 * error
    (mean,) = torch.autograd.grad(losses.mean(), weight, retain_graph=True)
    blocks = [torch.autograd.grad(block.mean(), weight, retain_graph=True)[0] for block in losses.chunk(16)]
    error = torch.stack(blocks).std(0) / 16**0.5
    assert ((mean - gradient).abs() < 5 * error).all()
    assert float(F.cosine_similarity(mean.flatten(), gradient.flatten(), dim=0)) > 0.95


def test_a_mask_and_its_complement_share_every_pixel(images):
    explained = Explained(Small(), images, images, images, BLACK, torch.arange(SAMPLES), False)
    masks = rise_maps._masks(explained, 7)
    assert masks.shape == (SAMPLES, 2, 8, 8)
    torch.testing.assert_close(masks.sum(1), torch.ones(SAMPLES, 8, 8))
    assert float((masks[0] - masks[1]).abs().max()) > 0.5  # another sample has another mask
    masked = rise_maps._masked(images, masks, torch.full((1, 1, 1), 0.25)).view(SAMPLES, 2, 8, 8)
    torch.testing.assert_close(masked, masks * images + (1 - masks) * 0.25)


@pytest.mark.parametrize("option", ["cells", "every"])
@pytest.mark.parametrize("value", [0, 2.5])
def test_options_that_are_no_whole_numbers(option, value):
    with pytest.raises(SettingError, match=f"{option} must be a whole number from 1"):
        replace(CONFIG, feature_loss="rise_maps", feature_options={option: value})


# the losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grad_cam", "input_gradient", "class_attention", "rise_maps"])
def test_equal_explanations_cost_nothing_and_others_have_a_gradient(name, images):
    teacher = Small().eval()
    explanation = explained_by(name, teacher, images, targets(teacher, images)).double()
    loss = explanation_losses[name].function
    assert float(loss(explanation, explanation)) == pytest.approx(0, abs=1e-6)
    student, fixed = explanation.clone().requires_grad_(), explanation.flip(0).requires_grad_()
    value = loss(student, fixed.detach())
    value.backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_unlikeness_against_its_formula():
    first, second = torch.rand(2, 5, 3, 4, dtype=torch.float64)
    cosines = [float((a * b).sum() / (a.norm() * b.norm())) for a, b in zip(first, second, strict=True)]
    loss = explanation_losses["input_gradient"].function(first, second)
    assert float(loss) == pytest.approx(1 - sum(cosines) / 5)
    assert float(explanation_losses["input_gradient"].function(first, -first)) == pytest.approx(2)
    assert float(explanation_losses["grad_cam"].function(3 * first, first)) == pytest.approx(0)
    assert float(explanation_losses["grad_cam"].function(0 * first, first)) == 1


def test_class_attention_against_its_formula():
    first, second = torch.randn(2, 4, 3, 2, 2, dtype=torch.float64)
    expected = 0.0
    for sample, label in itertools.product(range(4), range(3)):
        student, teacher = first[sample, label].flatten(), second[sample, label].flatten()
        expected += float((student / student.norm() - teacher / teacher.norm()).square().sum()) / 12
    assert float(explanation_losses["class_attention"].function(first, second)) == pytest.approx(expected)


def test_the_loss_that_contributing_adds_is_one(monkeypatch, images):
    text = (Path(__file__).resolve().parents[3] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("\n## Add a loss between explanations\n")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    given: dict = {}

    def register(_name: str, explain: Any, **settings: Any) -> Any:
        given.update(explain=explain, **settings)
        return lambda function: function

    monkeypatch.setattr(registry, "register_explanation_loss", register)
    names: dict = {}
    exec(code, names)
    entry = registry.ExplanationLoss(names["mine_loss"], given["explain"], (), given["from_inputs"], "", {})
    first, second = (Small(seed).eval() for seed in (0, 1))
    target = targets(first, images)
    explanations = [
        Explainer(entry, {}, network, BLACK).explain_pictures(images, target, target) for network in (first, second)
    ]
    expected = InputXGradient(first).attribute(images.clone().requires_grad_(), target) / images
    torch.testing.assert_close(explanations[0], expected[:, 0].abs().detach())
    assert float(entry.function(*explanations)) > 0


# a training -----------------------------------------------------------------------------------------------------------


def explaining(loss: str, **settings: Any) -> TrainingConfig:
    return replace(CONFIG, **{"feature_loss": loss, "feature_weight": 2.0, **settings})


def taught(
    split, config: TrainingConfig, frozen: bool, folder, teacher: nn.Module | None = None, student_seed: int = 0
) -> nn.Module:
    """A student of a teacher that runs in every step, or whose answers and explanations were computed before."""
    teacher = teacher or new_network("paper_cnn", SMALL, 10, 7).eval().requires_grad_(False)
    student = new_network("paper_cnn", SMALL, 10, student_seed)
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    soft = predict_logits(teacher, split[0], SMALL.normalise, device="cpu")
    explanations = teacher_explanations(lambda: teacher, SMALL.normalise, config, Store(folder), "a", split[0])
    given = {"teacher_logits": soft, "explanations": explanations} if frozen else {"teachers": [teacher]}
    for _ in fit(student, *split, SMALL.normalise, config, **given):
        pass
    return student


@pytest.mark.parametrize("name", ["grad_cam", "input_gradient", "rise_maps"])
@pytest.mark.slow
def test_explanations_that_were_kept_train_as_those_of_every_step(split, tmp_path, name):
    config = explaining(name)
    live, frozen, again = (taught(split, config, kept, tmp_path) for kept in (False, True, True))
    for first, second, third in zip(*(model.state_dict().values() for model in (live, frozen, again)), strict=True):
        assert float((first - second).abs().double().mean()) < 1e-6  # Adam turns the sign of what is almost 0
        assert torch.equal(second, third)  # read, not computed again


@pytest.mark.parametrize("name", ["grad_cam", "input_gradient", "rise_maps"])
def test_students_are_explained_in_the_precision_that_they_are_trained_in(split, tmp_path, name):
    """In bfloat16 the pictures are rounded, and the search for the last layer met weights that were not."""
    student = taught(split, explaining(name, bf16="on", epochs=1), True, tmp_path)
    assert all(torch.isfinite(value).all() for value in student.state_dict().values())


RISE = {"epochs": 8, "batch_size": 20, "feature_weight": 30.0, "feature_options": {"every": 1.0}}


@pytest.mark.parametrize(("name", "settings"), [("grad_cam", {}), ("input_gradient", {}), ("rise_maps", RISE)])
@pytest.mark.slow
def test_a_training_brings_explanations_together(split, tmp_path, name, settings):
    config = explaining(name, **{"epochs": 6, "feature_weight": 5.0, **settings})
    plain_config = replace(config, feature_loss="", feature_options={})
    teacher = taught(split, replace(plain_config, alpha=0.0), True, tmp_path, student_seed=1)
    plain, like = (taught(split, each, True, tmp_path, teacher) for each in (plain_config, config))
    inputs = SMALL.normalise(split[0].images)
    target = targets(teacher, inputs)
    expected = explanations_of(name, teacher, inputs, target)
    unlike = [
        float(explanation_losses[name].function(explanations_of(name, student, inputs, target), expected))
        for student in (plain, like)
    ]
    assert unlike[1] < 0.85 * unlike[0]


def explanations_of(name: str, network: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
    """Explanations of a trained network, of many draws where they are sampled."""
    loss = explanation_losses[name]
    network.requires_grad_(False)
    layer = maps_layer(name, network, inputs[:2]) if loss.takes else ""
    explainer = Explainer(loss, {}, network, BLACK, layer)
    turns = range(10 if loss.every_option else 1)
    draws = torch.arange(len(inputs))
    parts = [explainer.explain_pictures(inputs, target, draws + 1000 * turn) for turn in turns]
    explainer.close()
    return torch.cat(parts)


def test_each_sample_is_explained_once_in_every_epochs(split, tmp_path):
    config = explaining("rise_maps", epochs=12)
    teacher = new_network("paper_cnn", SMALL, 10, 7).eval().requires_grad_(False)
    of = teacher_explanations(lambda: teacher, SMALL.normalise, config, Store(tmp_path), "a", split[0])
    target = torch.zeros(len(split[0]), dtype=torch.long)
    assert sum(len(of(split[0].images, target, epoch)) for epoch in range(1, 13)) == 12 // 6 * len(split[0])


def test_views_have_explanations_of_their_own(split, tmp_path):
    config = explaining("input_gradient", epochs=4, augment="shift", views=2)
    teacher = new_network("paper_cnn", SMALL, 10, 7).eval().requires_grad_(False)
    of = teacher_explanations(lambda: teacher, SMALL.normalise, config, Store(tmp_path), "a", split[0])
    target = torch.zeros(len(split[0]), dtype=torch.long)
    first, second, third = (of(split[0].images.roll(epoch % 2, 3), target, epoch) for epoch in (1, 2, 3))
    assert not torch.equal(first, second)
    assert torch.equal(first, third)
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_logits_alone_have_no_explanations(split):
    soft = torch.zeros(len(split[0]), 10)
    with pytest.raises(SettingError, match="'grad_cam' compares explanations: the teacher must be a network"):
        list(fit(new_network("paper_cnn", SMALL, 10, 0), *split, SMALL.normalise, explaining("grad_cam"), soft))


def test_a_student_without_maps_says_so(split, tmp_path):
    teacher = new_network("paper_cnn", SMALL, 10, 7).eval().requires_grad_(False)
    config = explaining("grad_cam")
    with pytest.raises(ModelError, match=r"no convolution, so grad_cam has nothing to compare; use input_gradient or"):
        list(fit(new_network("paper_fc", SMALL, 10, 0), *split, SMALL.normalise, config, teachers=[teacher]))


def test_masked_pictures_do_not_enter_the_batch_statistics(images):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 4)).train()
    logits = network(images)
    before = {name: values.clone() for name, values in network.state_dict().items()}  # with the number of batches
    explainer = Explainer(explanation_losses["rise_maps"], {}, network, BLACK)
    target, draws = logits.argmax(1), torch.arange(SAMPLES)
    explainer.explain(images, logits, target, draws, draws[:3]).sum().backward()
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())
    assert network.training
    assert network[1].track_running_stats
    assert network[0].weight.grad is not None


def test_an_explanation_loss_does_not_scale_what_a_batch_norm_takes_the_scale_of(images):
    """Its gradient is orthogonal to the weights before a batch norm, as that of any loss of a network in training.

    With the kept statistics it is not: the weights grew without bound, and the trained network knew nothing.
    """
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2, eps=1e-15), nn.Flatten(), nn.Linear(72, 4)
    )
    logits = network.double().train()(images.double())
    explainer = Explainer(explanation_losses["rise_maps"], {}, network, BLACK.double())
    found = explainer.explain(images.double(), logits, logits.argmax(1), torch.arange(SAMPLES), None)
    found.square().sum().backward()
    gradient, weight = network[0].weight.grad, network[0].weight.detach()
    assert float((gradient * weight).sum()) == pytest.approx(0, abs=1e-9 * float(gradient.norm() * weight.norm()))
    assert float(gradient.norm()) > 0


def test_the_head_of_the_small_network_is_its_linear_layer(images):
    assert head_of(Small().eval(), images)[0] == "head"
