"""What a model's answers to labelled samples say about its classes and its input.

Nothing is said of fewer than :data:`LEAST` samples. What "far better" means is decided on differences between answers
to the same samples, and an order of the classes is judged on samples that it was not found on.
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
"""Samples, below which nothing is said of accuracies."""

TRIED = 500
"""Samples that are answered under each other normalisation, at most."""

_OUTSIDE = 10  # samples that are not of the largest class: without them every accuracy is near chance
_OF_A_CLASS = 10  # samples of a label, below which it says little that no model answers it
_LUCK = 1.645  # standard deviations that 5 % exceed
_SURE = 4.0  # standard errors: one in 30,000, since several orders and normalisations are looked at
_FAR_ORDER, _FEWEST = 0.25, 20  # more right answers, as a share of those that another order changes, and how many
_FAR_INPUT = 0.1  # more right answers, as a share of all
_GOOD = 0.9  # from this accuracy on no normalisation can be far better
_SHOWN = 20  # classes that are kept
_LOOK, _LOOK_SHARE = 24, 0.4  # samples of a first look, and the share of what "far better" needs of them
_NUMBERS = 1_500_000  # in a batch: a large one costs a processor more for memory than for arithmetic

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MNIST = ((0.1307,), (0.3081,))


def answer_doubts(
    role: str, split: str, labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> list[Doubt]:
    """Whether a model's answers are no better than chance, or another order of its classes is far better.

    Chance is what answers given as often, but at random, would reach (Cohen, 1960, An agreement coefficient for
    nominal scales): also a model that always gives the most frequent class is no better than that.

    Args:
        role: The model.
        split: Of the samples.
        labels: int (N,), ground truth.
        predicted: int (N,), the class with the highest score.
        classes: Names of the data's classes.
    """
    if len(labels) < LEAST or len(labels) - np.bincount(labels).max() < _OUTSIDE:
        return []
    order = _order(role, split, labels, predicted, classes)
    if order is not None:
        return [order]
    accuracy, (chance, deviation) = float((labels == predicted).mean()), _chance(labels, predicted, len(classes))
    most = chance + _LUCK * deviation
    if accuracy > most + 1e-12:
        return []
    figures = {"accuracy": accuracy, "samples": len(labels), "chance": chance, "most": most}
    return [Doubt("chance", split, role, _rounded(figures))]


def _chance(labels: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[float, float]:
    """Mean and standard deviation of the accuracy when the same answers are given to the samples in random order.

    The number of right answers of class k is then hypergeometric, with mean a b / N and variance
    a b (N - a)(N - b) / (N^2 (N - 1)) for a samples and b answers of it; two classes have the covariance
    a b a' b' / (N^2 (N - 1)).
    """
    count = len(labels)
    there, said = (np.bincount(values, minlength=classes).astype(float) for values in (labels, predicted))
    both = there * said
    alone = (both * (count - there) * (count - said)).sum()
    together = both.sum() ** 2 - (both**2).sum()
    variance = (alone + together) / (count**2 * (count - 1))
    return float(both.sum()) / count**2, math.sqrt(variance) / count


def _order(role: str, split: str, labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Doubt | None:
    """Another order of the classes, found on one half of the samples and judged on the other, and the reverse."""
    half = _halves(labels, len(classes))
    meaning = np.empty_like(predicted)
    for one in (0, 1):
        found = _best_order(labels[half == one], predicted[half == one], len(classes))
        meaning[half != one] = found[predicted[half != one]]
    changed = meaning != predicted
    gain = (meaning == labels).astype(int) - (predicted == labels)
    whole = _best_order(labels, predicted, len(classes)).tolist()
    moved = [said for said, meant in enumerate(whole) if said != meant]
    if not moved or not _is_far_better(gain[changed], _FAR_ORDER, _FEWEST):
        return None
    figures = {
        "accuracy": float((predicted == labels).mean()),
        "other": float((meaning == labels).mean()),
        "samples": len(labels),
        "classes": len(moved),
        "moved": [[classes[said], classes[whole[said]]] for said in moved[:_SHOWN]],
    }
    return Doubt("order", split, role, _rounded(figures))


def _halves(labels: np.ndarray, classes: int) -> np.ndarray:
    """0 or 1 for each sample, in turn within its class."""
    half = np.zeros(len(labels), int)
    for label in range(classes):
        own = np.flatnonzero(labels == label)
        half[own] = np.arange(len(own)) % 2
    return half


def _best_order(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """The class that each answer should mean for the most right answers; of equal ones the present."""
    counts = np.zeros((classes, classes))  # (answer, label)
    np.add.at(counts, (predicted, labels), 1)
    return np.asarray(linear_sum_assignment(counts + np.eye(classes) / (classes + 1), maximize=True)[1])


def _is_far_better(gain: np.ndarray, far: float, fewest: int) -> bool:
    """Whether the mean of -1, 0 and 1 is at least ``far``, and more than noise."""
    if len(gain) < fewest or gain.mean() < far:
        return False
    return bool(gain.mean() > _SURE * gain.std() / math.sqrt(len(gain)))


def unpredicted(
    split: str, labels: np.ndarray, predicted: Iterable[np.ndarray], classes: Sequence[str], role: str = ""
) -> list[Doubt]:
    """The labels, of which there are enough samples, that no model answers.

    Args:
        split: Of the samples.
        labels: int (N,), ground truth.
        predicted: int (N,) of each model.
        classes: Names of the classes.
        role: Of the model if it is one of several; empty: these are all.
    """
    counts = np.bincount(labels, minlength=len(classes))
    said = np.zeros(len(classes), bool)
    for answers in predicted:
        said[np.unique(answers)] = True
    never = np.flatnonzero((counts >= _OF_A_CLASS) & ~said).tolist()
    if not never:
        return []
    figures = {
        "classes": [classes[label] for label in never],
        "samples": int(counts[never].sum()),
        "total": len(labels),
    }
    return [Doubt("unpredicted", split, role, figures)]


def weighed(answers: Sequence[Doubt], inputs: Sequence[Doubt]) -> list[Doubt]:
    """Both, without what another normalisation explains: that a model is no better than chance.

    Args:
        answers: Doubts about models' answers.
        inputs: Doubts about their normalisation.
    """
    explained = {(doubt.split, doubt.role) for doubt in inputs}
    kept = [one for one in answers if one.kind != "chance" or (one.split, one.role) not in explained]
    return [*inputs, *kept]


# the input ------------------------------------------------------------------------------------------------------------


def _usual(channels: int) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Name -> mean and standard deviation of values in [0, 1]."""
    mean, std = IMAGENET
    grey = ((sum(mean) / 3,), (sum(std) / 3,))
    found = {
        "unit": ((0.0,) * channels, (1.0,) * channels),
        "half": ((0.5,) * channels, (0.5,) * channels),
        "bytes": ((0.0,) * channels, (1 / 255,) * channels),
        "imagenet": IMAGENET if channels == 3 else grey,
    }
    return found if channels == 3 else {**found, "mnist": MNIST}


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
    """Whether a model answers far better under another usual normalisation.

    At most :data:`TRIED` samples, spread over the split, are answered under each; none when it is good as it is, and
    only some that are answered wrong now where another puts too few of these right to be far better.

    Args:
        role: The model.
        split: Of the samples.
        predict: Normalised float32 (N, C, H, W) -> logits (N, classes).
        images: ``uint8`` (N, C, H, W).
        labels: int64 (N,).
        present: Mean and standard deviation of values in [0, 1], one number a channel each.
        answered: int64 (N,), what the model answers now, where that is known already.
    """
    if len(labels) < LEAST:
        return []
    chosen = torch.linspace(0, len(labels) - 1, min(TRIED, len(labels))).round().long()
    images, labels = images[chosen], labels[chosen]
    if answered is None:
        now = _right(predict, images, labels, *present)
    else:
        now = (answered[chosen] == labels).numpy().astype(int)
    if now.mean() >= _GOOD:
        return []
    wrong = torch.from_numpy(np.flatnonzero(now == 0)[:_LOOK])
    least = _LOOK_SHARE * _FAR_INPUT / (1 - now.mean())  # of the wrong ones, if it is far better
    others = {
        name: _right(predict, images, labels, *other)
        for name, other in _usual(images.shape[1]).items()
        if not _is_alike(other, present) and _right(predict, images[wrong], labels[wrong], *other).mean() >= least
    }
    if not others:
        return []
    best = max(others, key=lambda name: others[name].mean())
    if not _is_far_better(others[best] - now, _FAR_INPUT, LEAST):
        return []
    figures = {
        "accuracy": float(now.mean()),
        "other": float(others[best].mean()),
        "samples": len(labels),
        "normalisation": best,
    }
    return [Doubt("normalisation", split, role, _rounded(figures))]


def _right(
    predict: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float]
) -> np.ndarray:
    """0 or 1 for each sample."""
    shift, scale = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (mean, std))
    size = max(4, min(TRIED, _NUMBERS // max(1, images[:1].numel())))
    answers = [predict((part.float() / 255 - shift) / scale).argmax(1).cpu() for part in images.split(size)]
    return (torch.cat(answers) == labels).numpy().astype(int)


def _is_alike(one: tuple[Sequence[float], Sequence[float]], other: tuple[Sequence[float], Sequence[float]]) -> bool:
    return all(np.allclose(mine, theirs, atol=5e-3, rtol=0.02) for mine, theirs in zip(one, other, strict=True))


def _rounded(figures: Mapping[str, object]) -> dict[str, object]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}
