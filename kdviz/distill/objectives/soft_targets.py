"""Arithmetic of softened distributions that keeps its digits at any temperature.

At a high temperature T all softened probabilities are close to 1 / classes, and a divergence, which is then some
1 / T^2, remains after subtracting logarithms of nearly equal size: in float32 nothing remains from T = 1,000
on. These functions subtract logits instead, which differ as much at any temperature, and only then divides by T. As T
grows without limit, T^2 * KL becomes the mean squared error of centred logits over 2 (Hinton et al., 2015, eq. 4).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_NEAR = 0.25  # distributions whose log ratios stay below this are compared by the series
LARGEST = 1e18  # whose square float32 still holds; at such temperatures all rows are near
_COEFFICIENTS = tuple(1 / math.factorial(n + 2) for n in range(11))  # (.25)^11 / 13! is 4e-17: enough for float64
_ENOUGH_IN_FLOAT32 = 6  # (.25)^6 / 8! is 6e-9


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) of each row, and the mean difference under the teacher.

    Args:
        student, teacher: Logits, (N, classes).
        temperature: T > 0.

    Returns:
        (N,) each: the divergence, >= 0; and E_q[teacher - student] with the teacher's softened probabilities q.
    """
    log_q = F.log_softmax(teacher / temperature, dim=1)
    ordinary = F.kl_div(F.log_softmax(student / temperature, dim=1), log_q, reduction="none", log_target=True).sum(1)
    return _precise(teacher - student, log_q.exp(), ordinary, temperature)


def label_divergence(
    log_student: tuple[Tensor, Tensor], log_teacher: tuple[Tensor, Tensor], difference: Tensor, temperature: float
) -> Tensor:
    """T^2 * KL between two distributions over two outcomes, given by their log probabilities, of each row, (N,).

    Args:
        log_student, log_teacher: Log probabilities of the two outcomes, (N,) each.
        difference: T * log (q / p) of both outcomes up to a common constant, (N, 2), which keeps its digits.
        temperature: T > 0.
    """
    log_p, log_q = torch.stack(log_student, 1), torch.stack(log_teacher, 1)
    ordinary = F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(1)
    return _precise(difference, log_q.exp(), ordinary, temperature)[0]


def _precise(difference: Tensor, q: Tensor, ordinary: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """T^2 * KL of each row and the mean difference, (N,) each.

    With u = T log(q / p) less its mean under q, KL = log E_q[exp(-u / T)] exactly, and since E_q[u] = 0 it is
    log(1 + E_q[g(-u / T)]) with g(x) = exp(x) - 1 - x >= 0: a sum of which no term is lost. For rows that are far
    apart, where the exponential could overflow and nothing cancels, it is the ordinary sum.

    Args:
        difference: T * log(q / p) up to a constant per row, (N, k).
        q: Probabilities, (N, k).
        ordinary: KL by the ordinary sum, (N,).
        temperature: T.
    """
    mean = (q * difference).sum(1)
    centred = difference - mean[:, None]
    near = (centred.detach().abs() <= _NEAR * temperature).all(1)
    ordinary = min(temperature, LARGEST) ** 2 * ordinary
    if near.device.type == "cpu" and not near.any():  # on a GPU the question would have to wait for the result
        return ordinary, mean
    centred = torch.where(near[:, None], centred, 0.0)
    scaled = (q * centred.square() * _second_order(-centred / temperature)).sum(1)  # T^2 E_q[g]
    series = scaled * _logarithm_ratio(scaled / temperature / temperature)
    return torch.where(near, series, ordinary), mean


def _second_order(x: Tensor) -> Tensor:
    """(exp(x) - 1 - x) / x^2 for abs(x) <= .25, by its power series: 1 / 2 at 0."""
    last, *lower = reversed(_COEFFICIENTS if x.dtype == torch.float64 else _COEFFICIENTS[:_ENOUGH_IN_FLOAT32])
    total = x * last
    for coefficient in lower[:-1]:
        total = (total + coefficient) * x
    return total + lower[-1]


def _logarithm_ratio(x: Tensor) -> Tensor:
    """log(1 + x) / x for 0 <= x <= .04, also where x is 0, as 2 artanh(x / (2 + x)) / x."""
    square = (x / (2 + x)).square()  # below 4e-4: four terms are enough for float64
    return 2 / (2 + x) * (1 + square * (1 / 3 + square * (1 / 5 + square / 7)))


def deviations(logits: Tensor, temperature: float) -> Tensor:
    """T * (classes * softmax(logits / T) - 1), (..., classes): how far each probability is from 1 / classes.

    As T grows without limit, the centred logits.

    Args:
        logits: (..., classes).
        temperature: T > 0.
    """
    largest = logits.detach().amax(-1, keepdim=True)
    lacking = torch.expm1((logits - largest) / temperature)  # from -1 to 0: exp() less 1 without rounding
    mean = lacking.mean(-1, keepdim=True)
    return temperature * (lacking - mean) / (1 + mean)


def relative_differences(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """T * (q / p - 1) with p = softmax(student / T) and q = softmax(teacher / T), and whether all rows are near enough.

    With u = (teacher - student) / T less its mean in each row, it is T (exp(v) - 1) where v = u - log sum_k p_k
    exp(u_k): at a high T no digit is lost. Where some abs(u) is above 1 / 4 nothing cancels; the result is then zeros.

    Args:
        student, teacher: Logits, (N, classes).
        temperature: T > 0.

    Returns:
        (N, classes), and a bool, ().
    """
    difference = teacher - student
    centred = (difference - difference.mean(1, keepdim=True)) / temperature
    near = (centred.detach().abs() <= _NEAR).all()
    centred = torch.where(near, centred, 0.0)
    p = F.softmax(student / temperature, dim=1)
    log_ratio = centred - torch.log1p((p * torch.expm1(centred)).sum(1, keepdim=True))
    return temperature * torch.expm1(log_ratio), near


def mean_logits(logits: Tensor, temperature: float, log_weights: Tensor) -> Tensor:
    """T * log(classes * sum_k w_k softmax(logits_k / T)), (N, classes): 0 where the mean says 1 / classes.

    Args:
        logits: (teachers, N, classes).
        temperature: T > 0.
        log_weights: Logarithms of w, which sum to 1; (teachers, 1, 1).
    """
    above = (log_weights.exp() * deviations(logits, temperature)).sum(0) / temperature
    classes = math.log(logits.shape[-1])
    ordinary = (F.log_softmax(logits / temperature, dim=-1) + log_weights).logsumexp(0) + classes
    near = above.detach().abs() <= _NEAR
    return temperature * torch.where(near, torch.log1p(torch.where(near, above, 0.0)), ordinary)
