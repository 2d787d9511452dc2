"""Scores that a map cannot explain: what is refused, and what is doubted beside the map. Data first, then a sentence.

Refused, as no map could mean anything: softmax of a single score, probabilities where logits are due, NaN, and a
picture that is its own baseline, of which every masked copy is the same. Doubted, as the map is right but says
nothing, or perhaps not what is meant: a score that no mask changes, a flat map, scores that look like a sigmoid's.
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

_ROUNDING = 2.0**-20  # of a score: what float32 and other batch sizes change, a few units in the last place
_STEP = 1 / 255  # of a pixel: less than that is no difference in a picture of 8 bits


@dataclass(frozen=True)
class MapDoubt:
    """Why a map says little.

    Attributes:
        kind: ``constant`` (no mask changes the score), ``flat`` (the map is the same at every pixel), ``bounded`` (all
            scores lie between 0 and 1) or ``sigmoid`` (the ONNX file ends with one, which is undone).
        role: Of the model.
        figures: By name, as JSON holds them: ``class``, ``probability`` and ``masks`` of a constant score.
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
    """Refuse scores whose softmax explains nothing.

    Args:
        role: Of the model.
        logits: (N, classes), of a few pictures.

    Raises:
        ModelError: They are not finite, not of two classes or more, or probabilities already.
    """
    if not torch.isfinite(logits).all():
        raise ModelError(f"The model '{role}' returned NaN or infinite scores; it cannot be explained.")
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ModelError(
            f"The model '{role}' returns one score a picture, whose softmax is 1 whatever it sees; return two, such as "
            "0 and z for a sigmoid of z."
        )
    if are_probabilities(logits):
        raise ModelError(f"The model '{role}' returns probabilities; leave its softmax away: logits are expected.")


def check_baseline(inputs: Tensor, baseline: Tensor, std: tuple[float, ...], name: Any) -> None:
    """Refuse a picture that is its own baseline.

    Args:
        inputs, baseline: (1, C, H, W), normalised.
        std: Of the normalisation, one number a channel.
        name: Of the baseline, for the message.

    Raises:
        SettingError: No pixel differs by a step of 8 bits.
    """
    change = (inputs - baseline).abs() * torch.tensor(std, device=inputs.device).view(1, -1, 1, 1)
    if float(change.max()) < 0.99 * _STEP:
        raise SettingError(
            f"The picture is the same as the baseline '{name}' that removed pixels become, so that nothing can be "
            "removed from it; choose another baseline."
        )


# doubted --------------------------------------------------------------------------------------------------------------


def probes(inputs: Tensor, baseline: Tensor) -> Tensor:
    """The picture, and five copies with a half or the whole of it replaced, (6, C, H, W): a model's range of scores."""
    height, width = inputs.shape[2:]
    kept = torch.ones(6, 1, height, width, device=inputs.device)
    kept[1, :, : height // 2] = kept[2, :, height // 2 :] = 0
    kept[3, :, :, : width // 2] = kept[4, :, :, width // 2 :] = 0
    kept[5] = 0
    return baseline + kept * (inputs - baseline)


def doubts_of_logits(role: str, logits: Tensor, undone_sigmoid: bool) -> tuple[MapDoubt, ...]:
    """What is to be said of a model's scores (N, classes) of some pictures, before there is a map."""
    if undone_sigmoid:
        return (MapDoubt("sigmoid", role),)
    return (MapDoubt("bounded", role),) if are_bounded(logits) else ()


def is_constant(scores: Tensor) -> Tensor:
    """Whether scores (..., masks) are the same under all masks, but for rounding: bool (...)."""
    return scores.amax(-1) - scores.amin(-1) <= _ROUNDING * scores.abs().amax(-1)


def is_flat(values: Any) -> bool:
    """Whether a map (H, W) has one value."""
    return float(np.ptp(np.asarray(values))) == 0
