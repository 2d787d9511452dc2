"""Doubts about a model's classes and input that follow from its predictions of labelled samples.

None is raised on fewer than :data:`LEAST` samples. Whether something is "far better" is decided on paired differences
over the same samples, and an order of the classes is judged on samples that were not used to find it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from kdviz.data.doubts.doubt import Doubt

LEAST = 30
"""Fewest samples on which accuracies are judged."""

TRIED = 500
"""Most samples that are predicted under each other normalisation."""

_OUTSIDE = 10  # samples that are not of the largest class: without them every accuracy is near chance
_LEAST_OF_CLASS = 10  # samples of a label, below which it means little that no model predicts it
_LUCK = 1.645  # standard deviations that are exceeded with a probability of 5 %
_SURE = 4.0  # standard errors: one in 30,000, since several orders and normalisations are tried
_FAR_ORDER, _FEWEST = 0.25, 20  # gain in accuracy on the predictions that another order changes, and their number
_FAR_INPUT = 0.1  # gain in accuracy on all samples
_GOOD = 0.9  # from this accuracy on, no other normalisation can be far better
_SHOWN = 20  # classes that are recorded
_LOOK, _LOOK_SHARE = 24, 0.4  # samples of a first trial, and the share of the gain needed there to go on
_NUMBERS = 1_500_000  # values in a batch: on a CPU, memory traffic makes larger batches slower

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MNIST = ((0.1307,), (0.3081,))


def answer_doubts(
    role: str, split: str, labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> list[Doubt]:
    """Doubt a model whose predictions are no better than chance, or far better in another order of its classes.

    Chance is the expected accuracy of the same predictions in random order (Cohen, 1960, An agreement coefficient for
    nominal scales): a model that always predicts the most frequent class is no better than that.

    Args:
        role: Role of the model.
        split: Split of the samples.
        labels: int (N,), ground truth.
        predicted: int (N,), the class with the highest score.
        classes: Names of the data's classes.
    """
    if len(labels) < LEAST or len(labels) - np.bincount(labels).max() < _OUTSIDE:
        return []
    order = _order_doubt(role, split, labels, predicted, classes)
    if order is not None:
        return [order]
    accuracy, (chance, deviation) = float((labels == predicted).mean()), _chance(labels, predicted, len(classes))
    upper_bound = chance + _LUCK * deviation
    if accuracy > upper_bound + 1e-12:
        return []
    figures = {"accuracy": accuracy, "samples": len(labels), "chance": chance, "most": upper_bound}
    return [Doubt("chance", split, role, _rounded(figures))]


def _chance(labels: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[float, float]:
    """Mean and standard deviation of the accuracy when the same predictions are assigned to the samples at random.

    The number of correct predictions of class k is then hypergeometric, with mean a b / N and variance
    a b (N - a)(N - b) / (N^2 (N - 1)) for a samples and b predictions of it; two classes have the covariance
    a b a' b' / (N^2 (N - 1)).
    """
    count = len(labels)
    label_counts, answer_counts = (
        np.bincount(values, minlength=classes).astype(float) for values in (labels, predicted)
    )
    products = label_counts * answer_counts
    variances = (products * (count - label_counts) * (count - answer_counts)).sum()
    covariances = products.sum() ** 2 - (products**2).sum()
    variance = (variances + covariances) / (count**2 * (count - 1))
    return float(products.sum()) / count**2, math.sqrt(variance) / count


def _order_doubt(
    role: str, split: str, labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> Doubt | None:
    """Doubt the order of the classes if another is far better: each half of the samples judges the other's order."""
    half = _halves(labels, len(classes))
    meaning = np.empty_like(predicted)
    for part in (0, 1):
        order = _best_order(labels[half == part], predicted[half == part], len(classes))
        meaning[half != part] = order[predicted[half != part]]
    changed = meaning != predicted
    gain = (meaning == labels).astype(int) - (predicted == labels)
    best_order = _best_order(labels, predicted, len(classes)).tolist()
    moved = [answer for answer, label in enumerate(best_order) if answer != label]
    if not moved or not _is_far_better(gain[changed], _FAR_ORDER, _FEWEST):
        return None
    figures = {
        "accuracy": float((predicted == labels).mean()),
        "other": float((meaning == labels).mean()),
        "samples": len(labels),
        "classes": len(moved),
        "moved": [[classes[answer], classes[best_order[answer]]] for answer in moved[:_SHOWN]],
    }
    return Doubt("order", split, role, _rounded(figures))


def _halves(labels: np.ndarray, classes: int) -> np.ndarray:
    """0 or 1 for each sample, alternating within its class."""
    half = np.zeros(len(labels), int)
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        half[members] = np.arange(len(members)) % 2
    return half


def _best_order(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """The class that each prediction should stand for to be right most often; among equals the present one."""
    counts = np.zeros((classes, classes))  # (answer, label)
    np.add.at(counts, (predicted, labels), 1)
    return np.asarray(linear_sum_assignment(counts + np.eye(classes) / (classes + 1), maximize=True)[1])


def _is_far_better(gain: np.ndarray, far: float, fewest: int) -> bool:
    """Whether the mean of per-sample gains (-1, 0 or 1) is at least ``far``, and significant."""
    if len(gain) < fewest or gain.mean() < far:
        return False
    return bool(gain.mean() > _SURE * gain.std() / math.sqrt(len(gain)))


def unpredicted(
    split: str, labels: np.ndarray, predicted: Iterable[np.ndarray], classes: Sequence[str], role: str = ""
) -> list[Doubt]:
    """Doubt labels with enough samples that no model predicts.

    Args:
        split: Split of the samples.
        labels: int (N,), ground truth.
        predicted: Predicted classes, int (N,), of each model.
        classes: Names of the classes.
        role: Role of the model if it is one of several; empty: ``predicted`` has all models.
    """
    counts = np.bincount(labels, minlength=len(classes))
    is_predicted = np.zeros(len(classes), bool)
    for model_predictions in predicted:
        is_predicted[np.unique(model_predictions)] = True
    never = np.flatnonzero((counts >= _LEAST_OF_CLASS) & ~is_predicted).tolist()
    if not never:
        return []
    figures = {
        "classes": [classes[label] for label in never],
        "samples": int(counts[never].sum()),
        "total": len(labels),
    }
    return [Doubt("unpredicted", split, role, figures)]


def weighed(answers: Sequence[Doubt], inputs: Sequence[Doubt]) -> list[Doubt]:
    """Merge both, without the doubts that another normalisation explains: that a model is no better than chance.

    Args:
        answers: Doubts about models' predictions.
        inputs: Doubts about their normalisation.
    """
    explained = {(doubt.split, doubt.role) for doubt in inputs}
    remaining = [doubt for doubt in answers if doubt.kind != "chance" or (doubt.split, doubt.role) not in explained]
    return [*inputs, *remaining]


# the input ------------------------------------------------------------------------------------------------------------


def _usual_normalisations(channels: int) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Name -> mean and standard deviation of values in [0, 1]."""
    mean, std = IMAGENET
    grey = ((sum(mean) / 3,), (sum(std) / 3,))
    normalisations = {
        "unit": ((0.0,) * channels, (1.0,) * channels),
        "half": ((0.5,) * channels, (0.5,) * channels),
        "bytes": ((0.0,) * channels, (1 / 255,) * channels),
        "imagenet": IMAGENET if channels == 3 else grey,
    }
    return normalisations if channels == 3 else {**normalisations, "mnist": MNIST}


@torch.no_grad()
def normalisation_doubt(
    role: str,
    split: str,
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    present: tuple[Sequence[float], Sequence[float]],
    answered: Tensor | None = None,
) -> list[Doubt]:
    """Doubt a model's normalisation if another usual one is far better.

    At most :data:`TRIED` samples, spread over the split, are predicted under each normalisation. None are if the
    accuracy is high as it is, and only a few that are wrong now if too few of these become right for a large gain.

    Args:
        role: Role of the model.
        split: Split of the samples.
        predict: Normalised float32 (N, C, H, W) -> logits (N, classes).
        images: ``uint8`` (N, C, H, W).
        labels: int64 (N,).
        present: Mean and standard deviation of values in [0, 1], one number a channel each.
        answered: int64 (N,), the present predictions if they are known already.
    """
    if len(labels) < LEAST:
        return []
    sampled = torch.linspace(0, len(labels) - 1, min(TRIED, len(labels))).round().long()
    images, labels = images[sampled], labels[sampled]
    if answered is None:
        correct_now = _correct(predict, images, labels, *present)
    else:
        correct_now = (answered[sampled] == labels).numpy().astype(int)
    if correct_now.mean() >= _GOOD:
        return []
    wrong_now = torch.from_numpy(np.flatnonzero(correct_now == 0)[:_LOOK])
    # The share of the wrong ones that becomes right under a far better normalisation.
    least = _LOOK_SHARE * _FAR_INPUT / (1 - correct_now.mean())
    candidates = {
        name: _correct(predict, images, labels, *normalisation)
        for name, normalisation in _usual_normalisations(images.shape[1]).items()
        if not _is_alike(normalisation, present)
        and _correct(predict, images[wrong_now], labels[wrong_now], *normalisation).mean() >= least
    }
    if not candidates:
        return []
    best = max(candidates, key=lambda name: candidates[name].mean())
    if not _is_far_better(candidates[best] - correct_now, _FAR_INPUT, LEAST):
        return []
    figures = {
        "accuracy": float(correct_now.mean()),
        "other": float(candidates[best].mean()),
        "samples": len(labels),
        "normalisation": best,
    }
    return [Doubt("normalisation", split, role, _rounded(figures))]


def _correct(
    predict: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float]
) -> np.ndarray:
    """Whether each sample is predicted correctly under a normalisation: int (N,), 0 or 1."""
    shift, scale = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (mean, std))
    size = max(4, min(TRIED, _NUMBERS // max(1, images[:1].numel())))
    predicted = [predict((part.float() / 255 - shift) / scale).argmax(1).cpu() for part in images.split(size)]
    return (torch.cat(predicted) == labels).numpy().astype(int)


def _is_alike(first: tuple[Sequence[float], Sequence[float]], second: tuple[Sequence[float], Sequence[float]]) -> bool:
    return all(
        np.allclose(first_values, second_values, atol=5e-3, rtol=0.02)
        for first_values, second_values in zip(first, second, strict=True)
    )


def _rounded(figures: Mapping[str, object]) -> dict[str, object]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}
