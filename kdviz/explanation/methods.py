"""Saliency methods by name, each with its own settings: the one description that forms, options and tests use."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.core.language import N_
from kdviz.core.registry import Registry
from kdviz.experiment import BASELINES, MORE_BASELINES
from kdviz.rise.engine import PRECISIONS
from kdviz.rise.estimators import MINIMUM_MASKS, estimators
from kdviz.rise.masks import samplers

MAXIMUM_MASKS = 200_000
MAXIMUM_STEPS = 1000
MAXIMUM_SAMPLES = 200_000
REPEATS = 8  # independent parts of a random method's samples, for its standard error
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Attributes:
        name: As in :func:`kdviz.explain` and, with dashes, on the command line.
        default: Its value when nothing is said.
        help: One sentence for people, to be translated.
        low, high: Range of a number, both allowed.
        choices: The allowed values of a text.
    """

    name: str
    default: int | float | str
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> int | float | str:
        """``value`` in the type of the default.

        Raises:
            SettingError: It is of another kind or outside the range.
            UnknownNameError: It is none of the choices.
        """
        if self.choices:
            if value not in self.choices:
                raise UnknownNameError(self.name, str(value), self.choices)
            return value
        kind = type(self.default)
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        fine = number and isfinite(value) and kind(value) == value
        if not fine or not (self.low is None or value >= self.low) or not (self.high is None or value <= self.high):
            raise SettingError(f"{self.name} must be {self._range()}, got {value}.")
        return kind(value)

    def _range(self) -> str:
        whole = isinstance(self.default, int)
        if self.low is None or self.high is None:
            return "a whole number" if whole else "a number"
        if whole:
            return f"a whole number from {self.low:g} to {self.high:g}"
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Method:
    """A saliency method.

    Attributes:
        name: For ``method=`` and ``--method``.
        title: For people, to be translated.
        signed: Whether below zero means something.
        settings: What can be set.
        explains: ``probability`` or ``logit`` of the class: what the map's values are about.
        needs: What the model must have, in one sentence, to be translated.
    """

    name: str
    title: str
    signed: bool
    settings: tuple[Setting, ...]
    explains: str = "probability"
    needs: str = N_("Nothing but the model's scores.")

    def complete(self, given: dict[str, Any]) -> dict[str, Any]:
        """All settings: those given, checked, and the defaults of the others.

        Raises:
            UnknownNameError: The method has no such setting, or no such choice.
            SettingError: A value is outside its range.
        """
        known = {setting.name: setting for setting in self.settings}
        for name in given:
            if name not in known:
                raise UnknownNameError(f"setting of {self.title}", name, known)
        return {name: setting.check(given.get(name, setting.default)) for name, setting in known.items()}


@dataclass(frozen=True)
class BaselineSetting(Setting):
    """What a removed pixel becomes: a name, a grey level, or another picture."""

    def check(self, value: Any) -> Any:
        """A name or the path of a picture as text, a grey level as a number, a picture as it is.

        Raises:
            SettingError: The grey level is not from 0 to 1, or it is nothing of these.
            UnknownNameError: It is no name, and there is no such picture.
        """
        if isinstance(value, str) and value in self.choices:
            return value
        if isinstance(value, Image.Image) or (isinstance(value, (str, Path)) and Path(value).is_file()):
            return value if isinstance(value, Image.Image) else str(value)
        try:
            level = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise UnknownNameError(self.name, str(value), self.choices) from error
        if isinstance(value, bool) or not 0 <= level <= 1:
            raise SettingError(f"{self.name} must be a name, a grey level from 0 to 1, or a picture, got {value}.")
        return level


BASELINE = BaselineSetting(
    "baseline",
    "black",
    N_("What a removed pixel becomes: a name, a grey level from 0 to 1, or another picture."),
    choices=(*BASELINES, *MORE_BASELINES),
)
_SEED = Setting("seed", 0, N_("The same seed gives the same map."), 0, LARGEST_SEED)
_GRADIENTS = N_("A model that torch can differentiate.")

methods: Registry[Method] = Registry("method")

methods.add(
    "rise",
    Method(
        "rise",
        N_("RISE"),
        True,
        (
            Setting("n_masks", 4000, N_("Random masks: more of them, less noise."), MINIMUM_MASKS, MAXIMUM_MASKS),
            Setting(
                "grid", 7, N_("Cells of the mask grid from side to side: more of them, finer maps, more noise."), 1, 64
            ),
            Setting("probability", 0.5, N_("Chance that a cell keeps its pixels."), 0.01, 0.99),
            BASELINE,
            Setting(
                "sampler",
                "auto",
                N_(
                    "How the masks are drawn: iid as published; hadamard and sobol need far fewer; auto takes the best."
                ),
                choices=("auto", *samplers),
            ),
            Setting(
                "estimator",
                "logistic",
                N_(
                    "logistic, ridge and centred: change of the probability when a pixel is kept, the first with the "
                    "least noise; rise: as published; normalised: the mean probability when a pixel is kept."
                ),
                choices=tuple(estimators),
            ),
            Setting(
                "precision",
                "auto",
                N_("auto: bfloat16 or float16 where that is faster and changes nothing that matters, else float32."),
                choices=PRECISIONS,
            ),
            Setting(
                "reliability",
                0.0,
                N_(
                    "Stop when all maps and their differences have this predicted correlation with those of infinitely "
                    "many masks; 0: never."
                ),
                0,
                0.9999,
            ),
            Setting("seconds", 0.0, N_("Stop after so much time; 0: never."), 0, 86_400),
            Setting("seed", 0, N_("The same seed gives the same masks."), 0, LARGEST_SEED),
        ),
    ),
)

methods.add(
    "occlusion",
    Method(
        "occlusion",
        N_("Occlusion"),
        True,
        (
            Setting("window", 0.15, N_("Side of the square that is removed, as a share of the picture's."), 0.01, 1),
            Setting("stride", 0.25, N_("Step from one square to the next, as a share of the square's side."), 0.01, 1),
            BASELINE,
        ),
    ),
)

methods.add(
    "integrated_gradients",
    Method(
        "integrated_gradients",
        N_("Integrated gradients"),
        True,
        (
            Setting("n_steps", 64, N_("Steps from the baseline to the picture."), 2, MAXIMUM_STEPS),
            BASELINE,
        ),
        "logit",
        _GRADIENTS,
    ),
)

methods.add(
    "gradient_shap",
    Method(
        "gradient_shap",
        N_("GradientSHAP"),
        True,
        (
            Setting(
                "n_samples",
                400,
                N_("Random points between baseline and picture: more, less noise."),
                8,
                MAXIMUM_SAMPLES,
            ),
            Setting(
                "noise",
                0.1,
                N_("Standard deviation of the noise on the picture, as a share of its range of values."),
                0,
                1,
            ),
            BASELINE,
            _SEED,
        ),
        "logit",
        _GRADIENTS,
    ),
)

methods.add("saliency", Method("saliency", N_("Gradient (saliency)"), False, (), "logit", _GRADIENTS))

methods.add(
    "deeplift",
    Method(
        "deeplift",
        N_("DeepLIFT"),
        True,
        (BASELINE,),
        "logit",
        N_(
            "Layers that DeepLIFT has rules for, as modules: linear ones, ReLU and its like, sigmoid, tanh, max "
            "pooling."
        ),
    ),
)

methods.add(
    "layer_gradcam",
    Method(
        "layer_gradcam",
        N_("Grad-CAM"),
        True,
        (
            Setting(
                "relu",
                "on",
                N_("on: only evidence for the class, as published; off: also evidence against it, below zero."),
                choices=("on", "off"),
            ),
        ),
        "logit",
        N_("Near its end a convolution, or tokens that lie on a grid over the picture."),
    ),
)

methods.add(
    "guided_gradcam",
    Method(
        "guided_gradcam",
        N_("Guided Grad-CAM"),
        True,
        (),
        "logit",
        N_("A convolution near its end, and no activation but nn.ReLU."),
    ),
)

methods.add(
    "kernel_shap",
    Method(
        "kernel_shap",
        N_("KernelSHAP"),
        True,
        (
            Setting(
                "n_samples", 4000, N_("Random sets of cells: more of them, less noise."), 2 * REPEATS, MAXIMUM_SAMPLES
            ),
            Setting("grid", 7, N_("Cells from side to side; all pixels of a cell get its value."), 2, 64),
            BASELINE,
            _SEED,
        ),
    ),
)
