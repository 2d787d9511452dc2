"""Scores that a map cannot explain: what is refused, and what is doubted beside the map.

Refused, since no map could be meaningful: softmax of a single score, probabilities in place of logits, NaN, and a
picture that equals its baseline, so that all masked copies are the same. Doubted, since the map is correct but may be
uninformative or misleading: a score that no mask changes, a flat map, scores that look like the outputs of a sigmoid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import ModelError, SettingError
from kdviz.core.language import _, number, percent
from kdviz.models.networks import are_bounded, are_probabilities

_ROUNDING = 2.0**-20  # of a score: changes by float32 and batch sizes, a few units in the last place
_STEP = 1 / 255  # of a pixel: smaller differences do not exist in an 8-bit picture


@dataclass(frozen=True)
class MapDoubt:
    """Why a map is uninformative or may mislead.

    Attributes:
        kind: ``constant`` (no mask changes the score), ``flat`` (the map is the same at every pixel), ``bounded`` (all
            scores lie between 0 and 1) or ``sigmoid`` (the ONNX file ends with one, which is undone).
        role: Role of the model.
        figures: Figures by name, as JSON values: ``class``, ``probability`` and ``masks`` for a constant score.
    """

    kind: str
    role: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One sentence, in the page's language."""
        return _SENTENCES[self.kind](self)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "role": self.role, "figures": dict(self.figures), "text": self.text}


_SENTENCES = {
    "constant": lambda doubt: _(
        "The model '{role}' gives class {name} a probability of {probability} under each of the {count} masks: no "
        "pixel matters to it, and its map is flat.",
        role=doubt.role,
        name=doubt.figures["class"],
        probability=percent(doubt.figures["probability"], 2),
        count=number(doubt.figures["masks"]),
    ),
    "flat": lambda doubt: _(
        "The map of the model '{role}' has the same value at every pixel: by this method no part of the picture counts "
        "more than another for class {name}.",
        role=doubt.role,
        name=doubt.figures["class"],
    ),
    "bounded": lambda doubt: _(
        "All scores of the model '{role}' lie between 0 and 1, as after a sigmoid: if so, leave it away, since the "
        "softmax that is taken of them makes all classes nearly equal.",
        role=doubt.role,
    ),
    "sigmoid": lambda doubt: _(
        "The file of the model '{role}' ends with a sigmoid, which is undone: the probabilities shown are the softmax "
        "over the classes, not the file's own.",
        role=doubt.role,
    ),
}


# refused --------------------------------------------------------------------------------------------------------------


def check_logits(role: str, logits: Tensor) -> None:
    """Refuse scores whose softmax cannot be explained.

    Args:
        role: Role of the model.
        logits: (N, classes), for a few pictures.

    Raises:
        ModelError: They are not finite, fewer than two classes, or already probabilities.
    """
    if not torch.isfinite(logits).all():
        raise ModelError("The model '{role}' returned NaN or infinite scores; it cannot be explained.", role=role)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ModelError(
            "The model '{role}' returns one score a picture, whose softmax is 1 whatever it sees; "
            "return two, such as 0 and z for a sigmoid of z.",
            role=role,
        )
    if are_probabilities(logits):
        raise ModelError(
            "The model '{role}' returns probabilities; leave its softmax away: logits are expected.", role=role
        )


def check_baseline(inputs: Tensor, baseline: Tensor, std: tuple[float, ...], name: Any) -> None:
    """Refuse a picture that equals its baseline.

    Args:
        inputs, baseline: (1, C, H, W), normalised.
        std: Standard deviation of the normalisation, one number per channel.
        name: Name of the baseline, for the message.

    Raises:
        SettingError: No pixel differs by a step of 8 bits.
    """
    change = (inputs - baseline).abs() * torch.tensor(std, device=inputs.device).view(1, -1, 1, 1)
    if float(change.max()) < 0.99 * _STEP:
        raise SettingError(
            "The picture is the same as the baseline '{name}' that removed pixels become, so that "
            "nothing can be removed from it; choose another baseline.",
            name=name,
        )


# doubted --------------------------------------------------------------------------------------------------------------


def probes(inputs: Tensor, baseline: Tensor) -> Tensor:
    """The picture and five copies with a half or all of it replaced, (6, C, H, W), to probe the range of scores."""
    height, width = inputs.shape[2:]
    mask = torch.ones(6, 1, height, width, device=inputs.device)
    mask[1, :, : height // 2] = mask[2, :, height // 2 :] = 0
    mask[3, :, :, : width // 2] = mask[4, :, :, width // 2 :] = 0
    mask[5] = 0
    return baseline + mask * (inputs - baseline)


def doubts_of_logits(role: str, logits: Tensor, undone_sigmoid: bool) -> tuple[MapDoubt, ...]:
    """Doubts about a model's scores (N, classes) for some pictures, before there is a map."""
    if undone_sigmoid:
        return (MapDoubt("sigmoid", role),)
    return (MapDoubt("bounded", role),) if are_bounded(logits) else ()


def is_constant(scores: Tensor) -> Tensor:
    """Whether scores (..., masks) are the same under all masks, except for rounding: bool (...)."""
    return scores.amax(-1) - scores.amin(-1) <= _ROUNDING * scores.abs().amax(-1)


def is_flat(values: Any) -> bool:
    """Whether a map (H, W) has a single value."""
    return float(np.ptp(np.asarray(values))) == 0
