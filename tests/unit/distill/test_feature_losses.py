"""Losses between layers: against the papers' formulae written as loops, and what must not matter to each."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from second_implementation import assert_same_value_and_gradient

from kdviz.core.errors import KdvizError, ModelError, SettingError
from kdviz.distill.objectives import feature_losses as module
from kdviz.distill.objectives.feature_losses import FeatureLoss, check_feature_options, feature_losses, mmd_loss
from kdviz.distill.objectives.losses import losses

MAPS_OR_VECTORS = [(name, kind) for name in feature_losses for kind in feature_losses[name].takes]


def maps(seed: int, samples: int = 4, channels: int = 3, height: int = 4, width: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, channels, height, width, generator=generator, dtype=torch.float64)


def vectors(seed: int, samples: int = 6, width: int = 5) -> torch.Tensor:
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(kind: str, seed: int) -> torch.Tensor:
    return maps(seed) if kind == "maps" else vectors(seed)


def between(name: str, student: torch.Tensor, teacher: torch.Tensor, **options: float) -> float:
    return float(losses[name](student.detach(), teacher.detach(), **options))


# every one ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), MAPS_OR_VECTORS)
def test_every_feature_loss(name, kind):
    teacher = features(kind, 1).requires_grad_()
    student = features(kind, 0).requires_grad_()
    loss = feature_losses[name](student, teacher, {})
    assert loss.shape == ()
    loss.backward()
    assert teacher.grad is None  # a teacher is not trained
    assert student.grad.abs().sum() > 0
    # Lower is better: equal features have none, and a step downhill has less.
    assert between(name, teacher, teacher) == pytest.approx(0, abs=1e-12)
    assert between(name, student - 1e-3 * student.grad, teacher) < float(loss.detach())


@pytest.mark.parametrize(("name", "kind"), MAPS_OR_VECTORS)
def test_gradients_are_those_of_the_loss(name, kind):
    torch.autograd.gradcheck(
        lambda student: losses[name](student, features(kind, 1)), features(kind, 0).requires_grad_()
    )


@pytest.mark.parametrize(("name", "kind"), MAPS_OR_VECTORS)
def test_low_precision_is_raised(name, kind):
    student, teacher = features(kind, 0).bfloat16(), features(kind, 1).bfloat16()
    loss = feature_losses[name](student, teacher, {})
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(between(name, student.double(), teacher.double()), rel=1e-4)


@pytest.mark.parametrize(("name", "kind"), MAPS_OR_VECTORS)
@pytest.mark.parametrize("samples", [1, 2, 4])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_features_and_batches_of_one_have_gradients(name, kind, samples, value):
    # The last batch of an epoch can hold one sample, and ReLU can leave nothing.
    student = torch.full_like(features(kind, 0)[:1], value).float().expand(samples, *features(kind, 0).shape[1:])
    student = student.clone().requires_grad_()
    for teacher in (student.detach(), features(kind, 1).float()[:samples]):
        loss = feature_losses[name](student, teacher, {})
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
    assert {name for name in feature_losses if feature_losses[name].needs_maps} == {"attention_transfer"}
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
    ],
)
def test_features_that_do_not_fit(name, student, teacher, reason):
    with pytest.raises(ModelError, match=reason):
        losses[name](student, teacher)


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
