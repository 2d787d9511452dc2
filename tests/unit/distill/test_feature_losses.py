"""Losses between layers: against the papers' formulae written as loops, and what must not matter to each."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from second_implementation import assert_same_value_and_gradient
from torch import nn

from kdviz.core.errors import KdvizError, ModelError, SettingError
from kdviz.distill.objectives import feature_losses as module
from kdviz.distill.objectives.feature_losses import FeatureLoss, check_feature_options, feature_losses, mmd_loss
from kdviz.distill.objectives.features import FeatureSamples, build_auxiliary
from kdviz.distill.objectives.losses import losses

MAPS_OR_VECTORS = [(name, kind) for name in feature_losses for kind in feature_losses[name].takes]


def maps(seed: int, samples: int = 4, channels: int = 3, height: int = 4, width: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, channels, height, width, generator=generator, dtype=torch.float64)


def vectors(seed: int, samples: int = 6, width: int = 5) -> torch.Tensor:
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(kind: str, seed: int) -> torch.Tensor:
    return vectors(seed) if kind == "vectors" else maps(seed)


def compared(entry: FeatureLoss, features: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Features as a loss takes them; of stages, the maps and what a pooling makes of them."""
    return (features, F.avg_pool2d(features, 2)) if "stages" in entry.takes else features


def with_auxiliary(name: str, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The loss with its auxiliary module, where it has one, always of the same weights."""
    entry = feature_losses[name]
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, teacher.shape[1], generator=generator, dtype=torch.float64).bfloat16().to(teacher.dtype)
    network = nn.Sequential(nn.Identity(), nn.Linear(*weight.T.shape, dtype=teacher.dtype))
    network[1].weight.data = weight
    both = compared(entry, student), compared(entry, teacher)
    stages = tuple(zip(*both, strict=True)) if "stages" in entry.takes else ()
    samples = FeatureSamples(student.detach(), teacher.detach(), network.eval(), teacher.detach(), stages)
    module = build_auxiliary(entry, samples, 0)
    if module is not None and teacher.dtype == torch.float64:
        module.double()
    return entry(*both, {}, module)


def between(name: str, *features: torch.Tensor, **options: float) -> float:
    return float(losses[name](*(each.detach() for each in features), **options))


# every one ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), MAPS_OR_VECTORS)
def test_every_feature_loss(name, kind):
    teacher = features(kind, 1).requires_grad_()
    student = features(kind, 0).requires_grad_()
    loss = with_auxiliary(name, student, teacher)
    assert loss.shape == ()
    loss.backward()
    assert teacher.grad is None  # a teacher is not trained
    assert student.grad.abs().sum() > 0
    # Lower is better: equal features have none, and a step downhill has less.
    if feature_losses[name].auxiliary is None:  # through an untrained module they are not equal
        assert between(name, teacher, teacher) == pytest.approx(0, abs=1e-12)
    assert float(with_auxiliary(name, student - 1e-3 * student.grad, teacher).detach()) < float(loss.detach())


@pytest.mark.parametrize(("name", "kind"), MAPS_OR_VECTORS)
def test_gradients_are_those_of_the_loss(name, kind):
    torch.autograd.gradcheck(
        lambda student: with_auxiliary(name, student, features(kind, 1)), features(kind, 0).requires_grad_()
    )


@pytest.mark.parametrize(("name", "kind"), MAPS_OR_VECTORS)
def test_low_precision_is_raised(name, kind):
    student, teacher = features(kind, 0).bfloat16(), features(kind, 1).bfloat16()
    loss = with_auxiliary(name, student, teacher)
    assert loss.dtype == torch.float32
    exact = with_auxiliary(name, student.double(), teacher.double())
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=1e-4)


@pytest.mark.parametrize(("name", "kind"), MAPS_OR_VECTORS)
@pytest.mark.parametrize("samples", [1, 2, 4])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_features_and_batches_of_one_have_gradients(name, kind, samples, value):
    # The last batch of an epoch can hold one sample, and ReLU can leave nothing.
    student = torch.full_like(features(kind, 0)[:1], value).float().expand(samples, *features(kind, 0).shape[1:])
    student = student.clone().requires_grad_()
    for teacher in (student.detach(), features(kind, 1).float()[:samples]):
        loss = with_auxiliary(name, student, teacher)
        student.grad = None
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(student.grad).all()


def test_feature_losses_are_found_by_name():
    built_in = {"hints", "attention_transfer", "mmd", "relational"}
    assert built_in <= set(feature_losses)
    for name in feature_losses:
        assert isinstance(feature_losses[name], FeatureLoss)
        assert losses[name] is feature_losses[name].function
    for name in built_in:
        assert getattr(module, f"{name}_loss") is losses[name]
    assert {name for name in feature_losses if feature_losses[name].needs_maps} == {
        "attention_transfer",
        "overhaul",
        "review",
    }
    assert feature_losses["mmd"].options == {"degree": 2, "offset": 0}
    assert feature_losses["relational"].options == {"distance_weight": 25, "angle_weight": 50}


@pytest.mark.parametrize(
    ("name", "student", "needed"),
    [
        ("hints", maps(0, channels=2), True),
        ("hints", maps(0, height=2), False),
        ("mmd", maps(0, channels=2), False),
        ("attention_transfer", maps(0, channels=2), False),
    ],
)
def test_who_needs_a_projection_of_maps(name, student, needed):
    assert feature_losses[name].needs_projection(student, maps(1)) is needed


def test_who_needs_a_projection_of_vectors():
    for name, needed in {"hints": True, "attention_transfer": False, "mmd": True, "relational": False}.items():
        assert feature_losses[name].needs_projection(vectors(0), vectors(1, width=9)) is needed, name


@pytest.mark.parametrize(
    ("name", "student", "teacher", "reason"),
    [
        ("hints", vectors(0, width=4), vectors(1), "student's 4 and the teacher's 5"),
        ("hints", maps(0, channels=2), maps(1), "build_projection"),
        ("hints", vectors(0, 1), vectors(1), "of one N"),  # it would be broadcast
        ("hints", vectors(0, 4), maps(1), "both be maps"),
        ("mmd", vectors(0, width=4), vectors(1), "student's 4 and the teacher's 5"),
        ("attention_transfer", vectors(0), vectors(1), "no positions"),
        ("relational", maps(0), maps(1), "average maps"),
        ("probabilistic_transfer", maps(0), maps(1), "average maps"),
        ("probabilistic_transfer", vectors(0, 4), vectors(1), "of one N"),
        ("similarity_preserving", vectors(0, 4), vectors(1), "of one N"),
        ("similarity_preserving", vectors(0, 4), maps(1), "both be maps"),
        ("contrastive", vectors(0, width=4), vectors(1), "student's 4 and the teacher's 5"),
        ("contrastive", vectors(0, 4), vectors(1), "of one N"),
        ("contrastive", maps(0), maps(1), "average maps"),
        ("overhaul", vectors(0), vectors(1), "no positions"),
    ],
)
def test_features_that_do_not_fit(name, student, teacher, reason):
    of_the_module = [torch.zeros(5)] if name == "overhaul" else []
    with pytest.raises(ModelError, match=reason):
        losses[name](student, teacher, *of_the_module)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("hint", {}, "Did you mean 'hints'"),
        ("hints", {"degree": 2.0}, "it has none"),
        ("relational", {"degree": 2.0}, "no option 'degree'; it has distance_weight, angle_weight"),
        ("relational", {"angle_weight": -1.0}, "angle_weight"),
        ("relational", {"angle_weight": float("nan")}, "angle_weight"),
        ("mmd", {"degree": 3.0}, "1 or 2, got 3"),
        ("mmd", {"degree": 0.0}, "1 or 2"),
        ("contrastive", {"temperature": 0.0}, "above 0"),
    ],
    ids=str,
)
def test_options_that_do_not_exist(name, options, reason):
    with pytest.raises(KdvizError, match=reason):
        check_feature_options(name, options)


def test_options_that_exist():
    for name in feature_losses:
        check_feature_options(name, feature_losses[name].options)
    with pytest.raises(SettingError, match="1 or 2"):
        mmd_loss(vectors(0), vectors(1), degree=3)


def test_a_loss_checks_its_options_with_defaults_where_none_are_given(monkeypatch):
    checked = []

    def check(**options: float) -> None:
        checked.append(options)

    entry = FeatureLoss(mmd_loss, ("vectors",), (), {"low": 1.0, "high": 2.0}, check)
    monkeypatch.setitem(feature_losses._entries, "mine", entry)
    check_feature_options("mine", {"low": 0.0})
    assert checked == [{"low": 0.0, "high": 2.0}]
    with pytest.raises(SettingError, match="high"):
        check_feature_options("mine", {"high": -1.0})
    assert len(checked) == 1  # it need not expect values that no loss can take


# hints ----------------------------------------------------------------------------------------------------------------


def averaged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(C, H, W) in blocks: H and W are multiples of the new ones."""
    tall, wide = image.shape[1] // height, image.shape[2] // width
    result = np.zeros((len(image), height, width))
    for y, x in itertools.product(range(height), range(width)):
        result[:, y, x] = image[:, y * tall : (y + 1) * tall, x * wide : (x + 1) * wide].mean((1, 2))
    return result


def test_hints_equal_the_formula():
    student, teacher = vectors(0), vectors(1)
    total = 0.0
    for row, teacher_row in zip(student.tolist(), teacher.tolist(), strict=True):
        total += sum((a - b) ** 2 for a, b in zip(row, teacher_row, strict=True))
    assert between("hints", student, teacher) == pytest.approx(total / 30)


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_the_larger_maps_are_averaged(who):
    large, small = maps(0, height=8, width=8), maps(1, height=4, width=2)
    pooled = np.array([averaged(image, 4, 2) for image in large.numpy()])
    expected = ((pooled - small.numpy()) ** 2).mean()
    pair = (large, small) if who == "student" else (small, large)
    assert between("hints", *pair) == pytest.approx(expected)


def test_the_smaller_height_and_the_smaller_width_can_be_of_different_maps():
    tall, wide = maps(0, height=8, width=2), maps(1, height=4, width=4)
    pooled = [np.array([averaged(image, 4, 2) for image in batch.numpy()]) for batch in (tall, wide)]
    assert between("hints", tall, wide) == pytest.approx(((pooled[0] - pooled[1]) ** 2).mean())


# attention transfer ---------------------------------------------------------------------------------------------------


def attention(image: np.ndarray) -> list[float]:
    channels, height, width = image.shape
    sums = [
        sum(image[c, y, x] ** 2 for c in range(channels)) for y, x in itertools.product(range(height), range(width))
    ]
    length = math.sqrt(sum(value**2 for value in sums))
    return [value / length for value in sums]


def test_attention_transfer_equals_the_formula():
    student, teacher = maps(0), maps(1, channels=7)  # another number of channels
    total = 0.0
    for image, teacher_image in zip(student.numpy(), teacher.numpy(), strict=True):
        total += sum((a - b) ** 2 for a, b in zip(attention(image), attention(teacher_image), strict=True))
    assert between("attention_transfer", student, teacher) == pytest.approx(total / 4)


def test_attention_ignores_size_sign_and_order_of_channels_and_not_place():
    student, teacher = maps(0), maps(1)
    scale = torch.tensor([0.1, 1.0, 5.0, 100.0], dtype=torch.float64)[:, None, None, None]  # a sample its own
    expected = between("attention_transfer", student, teacher)
    assert between("attention_transfer", -scale * student, 9 * teacher) == pytest.approx(expected)
    assert between("attention_transfer", student.flip(1), teacher) == pytest.approx(expected)
    assert between("attention_transfer", teacher.flip(3), teacher) > 0.1


def test_attention_is_worst_where_the_teacher_does_not_look():
    student, teacher = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    student[..., 0, 0], teacher[..., 3, 3] = 2.0, 5.0
    assert between("attention_transfer", student, teacher) == pytest.approx(2)
    large = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    large[0][..., 0, 0], large[1][..., 3, 3] = 2.0, 5.0
    assert between("attention_transfer", *large) == pytest.approx(2)  # the size of the maps does not weaken it


# mmd ------------------------------------------------------------------------------------------------------------------


def discrepancy(first: np.ndarray, second: np.ndarray, degree: int, offset: float) -> float:
    """Huang & Wang (2017): the three means over all pairs of members, one pair at a time."""

    def mean_kernel(xs: np.ndarray, ys: np.ndarray) -> float:
        pairs = itertools.product(xs, ys)
        return float(np.mean([(float(x @ y) + offset) ** degree for x, y in pairs]))

    first, second = (members / np.linalg.norm(members, axis=1, keepdims=True) for members in (first, second))
    return mean_kernel(first, first) + mean_kernel(second, second) - 2 * mean_kernel(first, second)


@pytest.mark.parametrize(("degree", "offset"), [(2, 0.0), (2, 0.5), (1, 0.0), (1, 3.0)])
@pytest.mark.parametrize("side", [2, 5])  # fewer numbers than channels, and more: two ways to compute it
def test_mmd_of_maps_equals_the_double_sum(side, degree, offset):
    student, teacher = maps(0, 4, 6, side, side), maps(1, 4, 9, side, side)
    expected = np.mean(
        [
            discrepancy(student_maps.reshape(6, -1), teacher_maps.reshape(9, -1), degree, offset)
            for student_maps, teacher_maps in zip(student.numpy(), teacher.numpy(), strict=True)
        ]
    )
    assert between("mmd", student, teacher, degree=degree, offset=offset) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("samples", [3, 40])
def test_mmd_of_vectors_equals_the_double_sum(samples, degree):
    student, teacher = vectors(0, samples), vectors(1, samples)
    expected = discrepancy(student.numpy(), teacher.numpy(), degree, 0.0)
    assert between("mmd", student, teacher, degree=degree) == pytest.approx(expected, rel=1e-9)


def test_mmd_compares_sets():
    student, teacher = maps(0), maps(1)
    assert between("mmd", teacher[:, [2, 0, 1]], teacher) == pytest.approx(0, abs=1e-12)  # channels have no order
    assert between("mmd", teacher.roll(1, 0), teacher) > 0.01  # samples have one
    assert between("mmd", 7 * student, teacher) == pytest.approx(between("mmd", student, teacher))
    assert between("mmd", vectors(1).flip(0), vectors(1)) == pytest.approx(0, abs=1e-12)
    # x and -x have the same squares: degree 2 cannot tell, degree 1 can.
    assert between("mmd", -teacher, teacher) == pytest.approx(0, abs=1e-12)
    assert between("mmd", -teacher, teacher, degree=1) > 0.1


# relational -----------------------------------------------------------------------------------------------------------


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) <= 1 else abs(difference) - 0.5


def distances(rows: np.ndarray) -> list[list[float]]:
    lengths = [[math.dist(first, second) for second in rows] for first in rows]
    positive = [value for row in lengths for value in row if value > 0]
    return [[value / (sum(positive) / len(positive)) for value in row] for row in lengths]


def cosine(rows: np.ndarray, i: int, j: int, k: int) -> float:
    first, second = rows[j] - rows[i], rows[k] - rows[i]
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second))) if i not in (j, k) else 0.0


def test_relational_equals_the_formula():
    student, teacher = 3 * vectors(0) + 50, vectors(1, width=8)  # another width, and far from the origin
    rows, teacher_rows = student.numpy(), teacher.numpy()
    own, other = distances(rows), distances(teacher_rows)
    distance = np.mean([huber(own[i][j] - other[i][j]) for i, j in itertools.product(range(6), repeat=2)])
    angle = np.mean(
        [
            huber(cosine(rows, i, j, k) - cosine(teacher_rows, i, j, k))
            for i, j, k in itertools.product(range(6), repeat=3)
        ]
    )
    for weights in ((25, 50), (1, 0), (0, 1)):
        loss = between("relational", student, teacher, distance_weight=weights[0], angle_weight=weights[1])
        assert loss == pytest.approx(weights[0] * distance + weights[1] * angle, rel=1e-9)
    assert between("relational", student, teacher) == pytest.approx(25 * distance + 50 * angle, rel=1e-9)


def test_relational_ignores_turning_shifting_and_scaling():
    student, teacher = vectors(0), vectors(1)
    turn = torch.linalg.qr(vectors(2, 5))[0]
    moved = 30 * student @ turn + 100
    assert between("relational", moved, teacher) == pytest.approx(between("relational", student, teacher))
    assert between("relational", 30 * teacher @ turn + 100, teacher) == pytest.approx(0, abs=1e-9)
    stretched = teacher * torch.tensor([5.0, 1, 1, 1, 1])
    assert between("relational", stretched, teacher) > 0.1


def test_samples_that_are_the_same_twice_have_finite_gradients():
    student = vectors(0).float()
    student[1] = student[0]
    student[2] = student[0] + 1e-6
    student.requires_grad_()
    loss = feature_losses["relational"](student, vectors(1).float(), {})
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().max() < 1e3


def test_float32_agrees_with_float64():
    # Inner products of centred vectors: where they lose digits, angles go wrong first.
    student, teacher = vectors(0, 64, 128).relu() + 100, vectors(1, 64, 256).relu()
    exact = between("relational", student, teacher)
    assert between("relational", student.float(), teacher.float()) == pytest.approx(exact, rel=1e-4)


# similarity preserving ------------------------------------------------------------------------------------------------


def similarity_distance(student: np.ndarray, teacher: np.ndarray) -> float:
    """Tung & Mori (2019): products of all pairs of samples, one at a time, each over the length of its row."""
    samples, total = len(student), 0.0
    for i in range(samples):
        rows = [[float((some[i] * some[j]).sum()) for j in range(samples)] for some in (student, teacher)]
        lengths = [math.sqrt(sum(value**2 for value in row)) for row in rows]
        total += sum((rows[0][j] / lengths[0] - rows[1][j] / lengths[1]) ** 2 for j in range(samples))
    return total / samples**2


@pytest.mark.parametrize("kind", ["maps", "vectors"])
def test_similarity_preserving_equals_the_formula(kind):
    student = features(kind, 0)
    teacher = maps(1, channels=2, height=3, width=5) if kind == "maps" else vectors(1, width=9)  # of any size
    assert_same_value_and_gradient(
        lambda student: losses["similarity_preserving"](student, teacher),
        lambda student: similarity_distance(student, teacher.numpy()),
        student,
    )


def test_similarity_preserving_ignores_turning_and_scaling():
    student, teacher = vectors(0), vectors(1)
    turn = torch.linalg.qr(vectors(2, 5))[0]
    expected = between("similarity_preserving", student, teacher)
    assert between("similarity_preserving", 30 * student @ turn, 0.1 * teacher) == pytest.approx(expected)
    assert between("similarity_preserving", student + 3, teacher) != pytest.approx(expected, rel=0.1)


def test_similarity_preserving_is_at_most_two_over_the_samples_after_a_relu():
    # The student tells all samples apart, the teacher none: rows are (1, 0, ...) and (1, 1, ...) / sqrt(N).
    student, teacher = torch.eye(4, dtype=torch.float64), torch.ones(4, 7, dtype=torch.float64)
    assert between("similarity_preserving", student, teacher) == pytest.approx((2 - 2 / math.sqrt(4)) / 4)


# probabilistic transfer -----------------------------------------------------------------------------------------------


def neighbours(rows: np.ndarray) -> list[dict[int, float]]:
    """Passalis & Tefas (2018), cosine kernel: of each sample, the probabilities of the others."""
    result = []
    for i in range(len(rows)):
        kernel = {
            j: (1 + float(rows[i] @ rows[j]) / (math.hypot(*rows[i]) * math.hypot(*rows[j]))) / 2
            for j in range(len(rows))
            if j != i
        }
        result.append({j: value / sum(kernel.values()) for j, value in kernel.items()})
    return result


def neighbour_divergence(student: np.ndarray, teacher: np.ndarray) -> float:
    pairs = zip(neighbours(student), neighbours(teacher), strict=True)
    return sum(p[j] * math.log(p[j] / q[j]) for q, p in pairs for j in p) / len(student)


def test_probabilistic_transfer_equals_the_formula():
    teacher = vectors(1, width=9)  # another width
    assert_same_value_and_gradient(
        lambda student: losses["probabilistic_transfer"](student, teacher),
        lambda student: neighbour_divergence(student, teacher.numpy()),
        vectors(0),
    )


def test_probabilistic_transfer_ignores_turning_and_the_lengths_of_vectors():
    student, teacher = vectors(0), vectors(1)
    turn = torch.linalg.qr(vectors(2, 5))[0]
    scale = torch.tensor([0.01, 0.1, 1, 5, 100, 1000], dtype=torch.float64)[:, None]
    expected = between("probabilistic_transfer", student, teacher)
    assert between("probabilistic_transfer", scale * student @ turn, 7 * teacher) == pytest.approx(expected)
    assert between("probabilistic_transfer", student + 3, teacher) != pytest.approx(expected, rel=0.1)
    assert between("probabilistic_transfer", scale * teacher @ turn, teacher) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("samples", [1, 2])
def test_one_neighbour_is_the_neighbour_for_certain(samples):
    assert between("probabilistic_transfer", vectors(0, samples), vectors(1, samples)) == 0


def test_opposite_and_missing_vectors_have_moderate_gradients():
    student = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [0, 0]], requires_grad=True)
    loss = feature_losses["probabilistic_transfer"](student, torch.eye(4), {})
    loss.backward()
    assert torch.isfinite(loss)
    assert student.grad.abs().max() < 1e3


# with a module of their own: variational ------------------------------------------------------------------------------


def gaussian(mean: np.ndarray, teacher: np.ndarray, variance: np.ndarray) -> float:
    """Ahn et al. (2019), eq. 5, number by number: minus the log density, without its constant."""
    total = 0.0
    for index in np.ndindex(*teacher.shape):
        deviation = math.sqrt(variance[index[1]])
        total += math.log(deviation) + (teacher[index] - mean[index]) ** 2 / (2 * deviation**2)
    return total / teacher.size


@pytest.mark.parametrize("kind", ["maps", "vectors"])
@pytest.mark.parametrize("trained", ["mean", "variance"])
def test_variational_equals_the_formula(kind, trained):
    mean, teacher = features(kind, 0), features(kind, 1)
    variance = torch.linspace(0.1, 3, teacher.shape[1], dtype=torch.float64)
    if trained == "mean":
        assert_same_value_and_gradient(
            lambda mean: losses["variational"](mean, teacher, variance),
            lambda mean: gaussian(mean, teacher.numpy(), variance.numpy()),
            mean,
        )
        return
    assert_same_value_and_gradient(
        lambda variance: losses["variational"](mean, teacher, variance),
        lambda variance: gaussian(mean.numpy(), teacher.numpy(), variance),
        variance,
    )


def test_variational_is_least_at_the_teachers_features_and_the_variance_that_there_is():
    mean, teacher = maps(0), maps(1)
    spread = (teacher - mean).square().mean((0, 2, 3))
    least = between("variational", mean, teacher, spread)
    assert least == pytest.approx(float(spread.log().mean() + 1) / 2)
    for factor in (0.8, 1.2):
        assert between("variational", mean, teacher, factor * spread) > least
    assert between("variational", teacher, teacher, spread) == pytest.approx(float(spread.log().mean()) / 2)
    assert between("variational", (teacher + mean) / 2, teacher, spread) < least
    floor = torch.full((3,), 1e-5, dtype=torch.float64)
    assert between("variational", teacher, teacher, floor) == pytest.approx(-5.76, abs=0.01)


@pytest.mark.parametrize("kind", ["maps", "vectors"])
def test_the_module_of_variational_gives_a_mean_and_a_variance(kind):
    student = maps(0, channels=2, height=8, width=8) if kind == "maps" else vectors(0, width=7)
    teacher = features(kind, 1)
    samples = FeatureSamples(student, teacher, nn.Identity(), student)
    module = build_auxiliary(feature_losses["variational"], samples, 0).double()
    mean, same, variance = module(student, teacher)
    assert mean.shape == teacher.shape  # the larger maps were averaged
    assert torch.equal(same, teacher)
    torch.testing.assert_close(variance, torch.full((teacher.shape[1],), 5.0, dtype=torch.float64), rtol=1e-6, atol=0)
    with torch.no_grad():
        module.raw_variance.fill_(-1e3)
    assert float(module(student, teacher)[2].detach().min()) == pytest.approx(1e-5)  # softplus of it is 0
    assert between("variational", *module(student, teacher)) > 1e3  # a variance that is far too small


# softmax regression ---------------------------------------------------------------------------------------------------


def test_softmax_regression_equals_the_formula():
    teacher, head, bias = vectors(1).numpy(), vectors(2, 3).numpy(), np.array([1.0, -2.0, 0.5])

    def formula(student: np.ndarray) -> float:
        features = [
            (s - t) ** 2 for row, other in zip(student, teacher, strict=True) for s, t in zip(row, other, strict=True)
        ]
        logits = []
        for row, other in zip(student, teacher, strict=True):
            logits += [((head[k] @ row + bias[k]) - (head[k] @ other + bias[k])) ** 2 for k in range(3)]
        return float(2 * np.mean(features) + 0.5 * np.mean(logits))

    teacher_features, weight = torch.from_numpy(teacher), torch.from_numpy(head)
    options = {"feature_weight": 2.0, "regression_weight": 0.5}
    assert_same_value_and_gradient(
        lambda student: losses["softmax_regression"](student, teacher_features, weight, **options), formula, vectors(0)
    )
    # What the head does not see is left to the first term.
    blind = torch.linalg.svd(weight).Vh[3:].sum(0)
    moved = teacher_features + blind
    assert between("softmax_regression", moved, teacher_features, weight, feature_weight=0.0) == pytest.approx(
        0, abs=1e-12
    )
    assert between("softmax_regression", moved, teacher_features, weight) == pytest.approx(float(blind.square().mean()))


class Net(nn.Module):
    """Features, and a head whose logits can be changed afterwards."""

    def __init__(self, after: nn.Module):
        super().__init__()
        self.body, self.head, self.after = nn.Linear(4, 5), nn.Linear(5, 3), after

    def forward(self, inputs):
        return self.after(self.head(self.body(inputs)))


def test_the_module_of_softmax_regression_has_the_teachers_head_and_does_not_train_it():
    network, inputs = Net(nn.Identity()).eval().requires_grad_(False), torch.randn(2, 4)
    student, teacher = torch.randn(2, 7), network.body(inputs)
    module = build_auxiliary(feature_losses["softmax_regression"], FeatureSamples(student, teacher, network, inputs), 0)
    connected, same, head = module(student, teacher)
    assert connected.shape == same.shape == (2, 5)
    assert torch.equal(head, network.head.weight)
    torch.testing.assert_close(F.linear(same, head, network.head.bias), network(inputs))
    assert {name for name, _ in module.named_parameters()} == set(module.state_dict())
    assert set(module.state_dict()) == {"connector.weight", "connector.bias"}


@pytest.mark.parametrize("other", ["layer", "activation", "width"])
def test_softmax_regression_refuses_features_that_the_head_does_not_take(other):
    network, inputs = Net(nn.ReLU() if other == "activation" else nn.Identity()).eval(), torch.randn(2, 4)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([-9.0, 9, 9]))  # an activation shows
        teacher = {"layer": torch.randn(2, 5), "activation": network.body(inputs), "width": inputs}[other]
    samples = FeatureSamples(torch.randn(2, 7), teacher, network, inputs)
    with pytest.raises(ModelError, match=r"the teacher's head|last one, 'head', does not give its logits"):
        build_auxiliary(feature_losses["softmax_regression"], samples, 0)


# contrastive ----------------------------------------------------------------------------------------------------------


def critic(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    """Tian et al. (2020) by probabilities, pair by pair; h is the posterior of a pair of one sample."""
    count = len(student)
    likely = [[math.exp(float(s @ t) / temperature) for t in teacher] for s in student]
    constant = np.mean([likely[i][j] for i, j in itertools.product(range(count), repeat=2) if i != j])
    total = 0.0
    for i, j in itertools.product(range(count), repeat=2):
        ratio = likely[i][j] / constant
        h = ratio / (ratio + (count - 1))
        total -= math.log(h) if i == j else math.log(1 - h)
    return total / count


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("trained", [0, 1], ids=["student", "teacher"])
def test_contrastive_equals_the_formula(temperature, trained):
    embeddings = [F.normalize(vectors(seed), dim=1) for seed in (0, 1)]

    def both(values, convert=torch.Tensor.numpy):
        return [values if number == trained else convert(embeddings[number]) for number in range(2)]

    assert_same_value_and_gradient(
        lambda values: losses["contrastive"](*both(values, lambda same: same), temperature=temperature),
        lambda values: critic(*both(values), temperature),
        embeddings[trained],
    )


def test_contrastive_is_least_where_each_sample_finds_its_own():
    embeddings = F.normalize(vectors(0, 6, 128), dim=1)
    equal = between("contrastive", embeddings, embeddings)
    assert 0 < equal < 1
    for order in ([1, 0, 2, 3, 4, 5], [5, 0, 1, 2, 3, 4]):
        assert between("contrastive", embeddings[order], embeddings) > equal + 1
    nothing = embeddings[:1].expand(6, -1)
    assert between("contrastive", nothing, embeddings[:1].expand(6, -1)) == pytest.approx(
        6 * math.log(6) - 5 * math.log(5)
    )
    assert between("contrastive", embeddings[:1], embeddings[:1]) == 0


def test_the_bound_of_contrastive_is_one():
    # 8 kinds of samples that embeddings tell: the information is log 8 nats, whatever the number of samples.
    kinds = torch.eye(8, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for count in (16, 64, 256):
        drawn = torch.randint(8, (count,), generator=generator)
        bounds = [
            math.log(count - 1) - between("contrastive", kinds[drawn], kinds[drawn], temperature=temperature)
            for temperature in (0.07, 0.2, 0.5, 2.0)
        ]
        assert max(bounds) < math.log(8)
    assert bounds[0] > bounds[-1]


def test_the_module_of_contrastive_gives_embeddings_of_length_one():
    student, teacher = vectors(0, width=7).float(), vectors(1).float()
    samples = FeatureSamples(student, teacher, nn.Identity(), student)
    module = build_auxiliary(feature_losses["contrastive"], samples, 0)
    embeddings = module(100 * student, teacher)
    for embedded in embeddings:
        assert embedded.shape == (6, 128)
        torch.testing.assert_close(embedded.norm(dim=1), torch.ones(6))
    losses["contrastive"](*embeddings).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())  # the teacher's embedding, too


# overhaul -------------------------------------------------------------------------------------------------------------


def partial_distance(student: np.ndarray, teacher: np.ndarray, margins: np.ndarray) -> float:
    """Heo et al. (2019), number by number: the margin ReLU of the teacher, and the distance from it that counts."""
    total = 0.0
    for index in np.ndindex(*teacher.shape):
        target = teacher[index] if teacher[index] > margins[index[1]] else margins[index[1]]
        if not student[index] <= target <= 0:
            total += (target - student[index]) ** 2
    return total / teacher.size


def test_overhaul_equals_the_formula():
    teacher, margins = maps(1), torch.tensor([-0.5, -1.2, 0.0], dtype=torch.float64)
    assert_same_value_and_gradient(
        lambda student: losses["overhaul"](student, teacher, margins),
        lambda student: partial_distance(student, teacher.numpy(), margins.numpy()),
        maps(0),
    )


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [(2.0, 3.0, 1.0), (-2.0, 3.0, 25.0), (-0.5, -9.0, 0.25), (-7.0, -9.0, 0.0), (-7.0, -0.5, 0.0), (0.0, -0.5, 0.25)],
)
def test_a_student_that_is_more_negative_than_the_margin_is_right(student, teacher, expected):
    maps = (torch.full((2, 1, 2, 2), value, dtype=torch.float64) for value in (student, teacher))
    assert between("overhaul", *maps, torch.tensor([-1.0])) == pytest.approx(expected)


def test_the_margins_are_the_means_of_all_negative_responses_so_far():
    batches = [maps(seed) - torch.tensor([0.0, 1, -99])[:, None, None] for seed in range(3)]
    samples = FeatureSamples(maps(0, channels=2), batches[0], nn.Identity(), batches[0])
    module = build_auxiliary(feature_losses["overhaul"], samples, 0).double()
    earlier = [module(maps(0, channels=2, height=8, width=8), batch)[2] for batch in batches]
    for count, margins in enumerate(earlier, 1):
        seen = torch.cat(batches[:count])
        expected = [float(seen[:, c][seen[:, c] < 0].mean()) for c in range(2)]
        assert margins.tolist() == pytest.approx([*expected, 0])  # the last channel was never negative
    student, teacher, _ = module(maps(0, channels=2, height=8, width=8), batches[0])
    assert student.shape == teacher.shape == (4, 3, 4, 4)


# review ---------------------------------------------------------------------------------------------------------------


def hierarchical_context(students: list[np.ndarray], teachers: list[np.ndarray]) -> float:
    """Chen et al. (2021): squared differences of averages over ever larger blocks, with halved weights."""
    total = 0.0
    for student, teacher in zip(students, teachers, strict=True):
        height = teacher.shape[2]
        terms = [float(((student - teacher) ** 2).mean())]
        for side in (4, 2, 1):
            if side < height:
                pooled = [np.array([averaged(image, side, side) for image in batch]) for batch in (student, teacher)]
                terms.append(float(((pooled[0] - pooled[1]) ** 2).mean()))
        weights = [1 / 2**number for number in range(len(terms))]
        total += sum(weight * term for weight, term in zip(weights, terms, strict=True)) / sum(weights)
    return total


def test_review_equals_the_formula():
    teachers = maps(1, 2, 2, 8, 8), maps(2, 2, 3, 4, 4)
    last = maps(3, 2, 3, 4, 4)
    for first in (maps(0, 2, 2, 8, 8), teachers[0]):
        assert_same_value_and_gradient(
            lambda student, first=first: losses["review"]((student, last), teachers),
            lambda student, first=first: hierarchical_context(
                [student, last.numpy()], [each.numpy() for each in teachers]
            ),
            first + 0.1,
        )
    assert float(losses["review"](teachers, teachers)) == 0


@pytest.mark.parametrize(
    ("students", "reason"),
    [((maps(0),), "as many stages of both networks, got 1 and 2"), ((maps(0, channels=2), maps(1)), "student's 2 and")],
)
def test_stages_that_do_not_fit(students, reason):
    with pytest.raises(ModelError, match=reason):
        losses["review"](students, (maps(1), maps(2)))


def test_the_module_of_review_fuses_each_stage_with_those_behind_it():
    students, teachers = (maps(0, 2, 2, 8, 8), maps(1, 2, 4, 4, 4)), (maps(2, 2, 5, 8, 8), maps(3, 2, 6, 2, 2))
    samples = FeatureSamples(
        students[1], teachers[1], nn.Identity(), maps(4), tuple(zip(students, teachers, strict=True))
    )
    module = build_auxiliary(feature_losses["review"], samples, 0).double()
    (first, last), same = module(students, teachers)
    assert same == teachers
    assert [each.shape for each in (first, last)] == [each.shape for each in teachers]

    def normed(maps: torch.Tensor) -> torch.Tensor:  # batch norm as it begins
        centred = maps - maps.mean((0, 2, 3), keepdim=True)
        return centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()

    def pointwise(layer: nn.Conv2d, maps: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nchw,oc->nohw", maps, layer.weight[:, :, 0, 0])

    front, back = module.stages
    behind = normed(pointwise(back.entry[0], students[1]))
    torch.testing.assert_close(last, normed(F.conv2d(behind[:, :, ::2, ::2], back.exit[0].weight, padding=1)))
    mine, wide = normed(pointwise(front.entry[0], students[0])), behind.repeat_interleave(2, 2).repeat_interleave(2, 3)
    attention = front.attention[0]
    bias = attention.bias[:, None, None]
    weights = 1 / (1 + torch.exp(-pointwise(attention, torch.cat([mine, wide], 1)) - bias))
    fused = weights[:, :1] * mine + weights[:, 1:] * wide
    torch.testing.assert_close(first, normed(F.conv2d(fused, front.exit[0].weight, padding=1)))
