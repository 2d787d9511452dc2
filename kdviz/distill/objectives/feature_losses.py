"""Losses between a layer of the student and one of the teacher, as pure functions of the layers' outputs.

Features are ``maps``, (N, C, H, W), or ``vectors``, (N, D). Each loss is 0 for equal features, lower is better, and the
teacher's features get no gradient. Where maps have different sizes, both are averaged down to the smaller height and
width (adaptive average pooling). Which layers, and the projection between widths, are in
:mod:`kdviz.distill.objectives.layers`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import ModelError, SettingError
from kdviz.core.registry import Registry
from kdviz.distill.objectives.losses import check_known_options
from kdviz.distill.objectives.registry import losses

MAPS, VECTORS = "maps", "vectors"


@dataclass(frozen=True)
class FeatureLoss:
    """A loss between a student's and a teacher's features, as a training uses it.

    Attributes:
        function: The pure function: student_features, teacher_features, then its options.
        takes: The kinds of features that it compares, ``maps`` or ``vectors``, the preferred first.
        equal_widths: The kinds that need the same number of channels, or length of vectors, on both sides: a student of
            another width needs a projection, see :func:`kdviz.distill.objectives.features.build_projection`.
        options: Its settings and their defaults.
    """

    function: Callable[..., Tensor]
    takes: tuple[str, ...]
    equal_widths: tuple[str, ...]
    options: Mapping[str, float]

    @property
    def needs_maps(self) -> bool:
        """Whether a network without feature maps cannot take part."""
        return self.takes == (MAPS,)

    def needs_projection(self, student_features: Tensor, teacher_features: Tensor) -> bool:
        """Whether the student's features must be projected to the teacher's width before they are compared."""
        kind = MAPS if teacher_features.ndim == 4 else VECTORS
        return kind in self.equal_widths and student_features.shape[1] != teacher_features.shape[1]

    def __call__(self, student_features: Tensor, teacher_features: Tensor, options: Mapping[str, float]) -> Tensor:
        """The loss, (), in at least float32 whatever the features are."""
        return self.function(_at_least_float32(student_features), _at_least_float32(teacher_features), **options)


feature_losses: Registry[FeatureLoss] = Registry("feature loss")


def _between_layers(
    name: str, *, takes: tuple[str, ...], equal_widths: tuple[str, ...] = ()
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss between features; its keyword-only parameters are its options."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        parameters = inspect.signature(function).parameters.values()
        options = {
            parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
        }
        feature_losses.add(name, FeatureLoss(function, takes, equal_widths, options))
        return losses.add(name, function)

    return register


def check_feature_options(loss: str, options: Mapping[str, float]) -> None:
    """Raise when the loss between features or one of its options is unknown, or a value is outside its range."""
    check_known_options(loss, options, feature_losses[loss].options)
    if "degree" in options:
        _check_degree(options["degree"])


# sample by sample -----------------------------------------------------------------------------------------------------


@_between_layers("hints", takes=(MAPS, VECTORS), equal_widths=(MAPS, VECTORS))
def hints_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """(student - teacher)^2, mean over all numbers. Lower is better; >= 0.

    FitNets (Romero et al., 2015, eq. 3, which has half the sum of a sample). Their regressor, that makes the student's
    features as wide as the teacher's, is trained along with the student and thrown away afterwards.

    Args:
        student_features, teacher_features: (N, C, H, W), or (N, D), of equal C or D.

    Raises:
        ModelError: The widths differ, or one has maps and the other vectors.
    """
    student, teacher = _comparable(student_features, teacher_features.detach())
    _check_widths("hints", student, teacher)
    return F.mse_loss(student, teacher)


@_between_layers("attention_transfer", takes=(MAPS,))
def attention_transfer_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """||Q_s / ||Q_s|| - Q_t / ||Q_t||||^2, mean over samples, with Q = sum over channels of the squared features.

    Zagoruyko & Komodakis (2017), eq. 2 with p = 2 and their best map, the sum of squares. Q, flattened to (N, H * W),
    says where a layer is active; its size does not matter. It is 2 - 2 cosine(Q_s, Q_t): from 0 to 2, lower is better.

    The paper writes the distance, not squared, with a factor beta / 2; the authors' code has its square, averaged over
    the H * W positions too, with beta = 1000. Ours is the square summed over positions, so that the size of the maps
    does not weaken it: their beta is a weight of 1000 / (H * W) here, 16 at 8 x 8.

    Args:
        student_features, teacher_features: (N, C, H, W); C may differ.

    Raises:
        ModelError: These are no maps, or not of the same samples.
    """
    student, teacher = _comparable(student_features, teacher_features.detach())
    if student.ndim != 4:
        raise ModelError("attention_transfer compares maps (N, C, H, W), and vectors have no positions.")
    return (_attention(student) - _attention(teacher)).square().sum(1).mean()


def _attention(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H * W) of length 1; a sample without activity stays 0."""
    return F.normalize(maps.square().sum(1).flatten(1), dim=1)


# sets and relations ---------------------------------------------------------------------------------------------------


@_between_layers("mmd", takes=(MAPS, VECTORS), equal_widths=(VECTORS,))
def mmd_loss(student_features: Tensor, teacher_features: Tensor, *, degree: float = 2.0, offset: float = 0.0) -> Tensor:
    """Mean k(s, s') + mean k(t, t') - 2 mean k(s, t), with k(x, y) = (x . y + offset)^degree. Lower is better; >= 0.

    The squared maximum mean discrepancy between two sets of vectors of length 1, over all pairs (Huang & Wang, 2017,
    neuron selectivity transfer, whose polynomial kernel has degree 2 and offset 0).
    With maps a set has the channels of one sample, each flattened, and the result is the mean over samples. With
    vectors it has the samples of the batch: which of them is which does not matter then. At most 2 at the defaults,
    up to rounding. Degree 1 compares no more than the means of the sets.

    Args:
        student_features, teacher_features: (N, C, H, W), where C may differ, or (N, D) of equal D.
        degree: 1 or 2.
        offset: >= 0; of no effect at degree 1.

    Raises:
        ModelError: The vectors' widths differ, or one has maps and the other vectors.
        SettingError: Another degree.
    """
    _check_degree(degree)
    student, teacher = (_as_sets(features) for features in _comparable(student_features, teacher_features.detach()))
    _check_widths("mmd", student.mT, teacher.mT)
    within = _mean_kernel(student, student, degree, offset) + _mean_kernel(teacher, teacher, degree, offset)
    return (within - 2 * _mean_kernel(student, teacher, degree, offset)).mean()


def _check_degree(degree: float) -> None:
    if degree not in (1, 2):
        raise SettingError("The option degree of the loss 'mmd' must be 1 or 2, got {degree:g}.", degree=degree)


def _as_sets(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H * W), or (N, D) -> (1, N, D): sets, their members, numbers of a member; of length 1."""
    return F.normalize(features.flatten(2) if features.ndim == 4 else features[None], dim=2)


def _mean_kernel(first: Tensor, second: Tensor, degree: float, offset: float) -> Tensor:
    """The mean of (x . y + offset)^degree over all pairs: (sets, members, numbers) twice -> (sets,)."""
    linear = (first.mean(1) * second.mean(1)).sum(1)
    if degree == 1:
        return linear + offset
    return _mean_squared_product(first, second) + 2 * offset * linear + offset**2


def _mean_squared_product(first: Tensor, second: Tensor) -> Tensor:
    """The mean of (x . y)^2 over all pairs, the cheaper way.

    It is also the inner product of the second moments, numbers by numbers, which are smaller than the table of pairs
    where maps are small and channels many: 49 x 49 against 1280 x 1280.
    """
    if first.shape[2] > min(first.shape[1], second.shape[1]):
        return (first @ second.mT).square().mean((1, 2))
    moments = [vectors.mT @ vectors / vectors.shape[1] for vectors in (first, second)]
    return (moments[0] * moments[1]).sum((1, 2))


@_between_layers("relational", takes=(VECTORS,))
def relational_loss(
    student_features: Tensor, teacher_features: Tensor, *, distance_weight: float = 25.0, angle_weight: float = 50.0
) -> Tensor:
    """distance_weight * mean_ij h(d_ij) + angle_weight * mean_ijk h(a_ijk): how samples lie to each other.

    Relational distillation (Park et al., 2019, section 3.2). d_ij is the distance of samples i and j, over the mean
    distance in the batch; a_ijk the cosine of the angle at i between j and k; h Huber's loss (delta 1) of the
    student's from the teacher's. Means run over all N^2 pairs and N^3 triples, as in the authors' code, where a sample
    with itself counts as 0. Lower is better; >= 0. Turning, shifting or scaling all features changes nothing; in a
    batch of one there is nothing to compare, and in one of two no angle. Memory and time grow with N^3.

    Args:
        student_features, teacher_features: (N, D); D may differ.
        distance_weight, angle_weight: >= 0; the authors' code has 25 and 50 for classification, 1 and 2 for embeddings.

    Raises:
        ModelError: These are no vectors, or not of the same samples.
    """
    student, teacher = _comparable(student_features, teacher_features.detach())
    if student.ndim != 2:
        raise ModelError("relational compares vectors (N, D); average maps over their positions first.")
    relations = zip(_relations(student), _relations(teacher), strict=True)
    distance, angle = (
        F.smooth_l1_loss(student_relation, teacher_relation) for student_relation, teacher_relation in relations
    )
    return distance_weight * distance + angle_weight * angle


def _relations(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) -> distances over their mean, (N, N), and cosines of the angles at i between j and k, (N, N, N).

    Cosines come from inner products, which need no (N, N, D) of differences. Samples closer than 1e-4 of the mean
    distance have no direction that float32 could tell: their angles count as 0.
    """
    centred = vectors - vectors.mean(0)  # the inner products of far away vectors would lose digits
    distance = torch.cdist(centred, centred, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distance.sum() / max(distance.numel() - len(distance), 1)  # of the pairs of two
    mean = mean.clamp(min=1e-12)  # equal samples have no distance at all
    distance, centred = distance / mean, centred / mean
    products = centred @ centred.T
    squares = products.diagonal()[:, None, None]
    along = products[None] - products[:, :, None] - products[:, None, :] + squares  # (j - i) . (k - i) at [i, j, k]
    apart = distance > 1e-4
    inverse = torch.where(apart, 1 / distance.where(apart, 1), 0)
    return distance, along * inverse[:, :, None] * inverse[:, None, :]


# shapes ---------------------------------------------------------------------------------------------------------------


def _at_least_float32(features: Tensor) -> Tensor:
    return features if features.dtype == torch.float64 else features.float()


def _comparable(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors unchanged, maps averaged down to the smaller height and width."""
    if student.ndim != teacher.ndim or student.ndim not in (2, 4) or len(student) != len(teacher):
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise ModelError(
            "Features must both be maps (N, C, H, W) or both vectors (N, D) of one N, got {shapes}.", shapes=shapes
        )
    if student.ndim == 2:
        return student, teacher
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    return _pooled(student, size), _pooled(teacher, size)


def _pooled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps if maps.shape[2:] == size else F.adaptive_avg_pool2d(maps, size)


def _check_widths(loss: str, student: Tensor, teacher: Tensor) -> None:
    if student.shape[1] != teacher.shape[1]:
        raise ModelError(
            "{loss} compares features of equal width, got the student's {student_width} and the teacher's "
            "{teacher_width}; project the student's with build_projection first.",
            loss=loss,
            student_width=student.shape[1],
            teacher_width=teacher.shape[1],
        )
