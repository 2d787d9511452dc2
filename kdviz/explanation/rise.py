"""RISE as a method of the registry: its settings are those of :class:`kdviz.rise.settings.RISESettings`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from kdviz.core.language import N_
from kdviz.explanation.method import BASELINE, LARGEST_SEED, MAXIMUM_MASKS, Choices, Method, Setting
from kdviz.rise.settings import MINIMUM_MASKS, PRECISIONS, RISESettings

_DEFAULTS: dict[str, Any] = {setting.name: setting.default for setting in fields(RISESettings)}

METHOD = Method(
    "rise",
    N_("RISE"),
    True,
    (
        Setting(
            "n_masks", _DEFAULTS["n_masks"], N_("Random masks: more of them, less noise."), MINIMUM_MASKS, MAXIMUM_MASKS
        ),
        Setting(
            "grid",
            _DEFAULTS["grid"],
            N_("Cells of the mask grid from side to side: more of them, finer maps, more noise."),
            1,
            64,
            title=N_("Grid, cells a side"),
        ),
        Setting(
            "probability",
            _DEFAULTS["probability"],
            N_("Chance that a cell keeps its pixels."),
            0.01,
            0.99,
            title=N_("Chance that a cell is kept"),
        ),
        BASELINE,
        Setting(
            "sampler",
            _DEFAULTS["sampler"],
            N_("How the masks are drawn: iid as published; hadamard and sobol need far fewer; auto takes the best."),
            choices=Choices("kdviz.rise.masks", "samplers", first=("auto",)),
            title=N_("How masks are drawn"),
        ),
        Setting(
            "estimator",
            _DEFAULTS["estimator"],
            N_(
                "logistic, ridge and centred: change of the probability when a pixel is kept, the first with the "
                "least noise; rise: as published; normalised: the mean probability when a pixel is kept."
            ),
            choices=Choices("kdviz.rise.estimators", "estimators"),
            title=N_("Estimator"),
        ),
        Setting(
            "precision",
            _DEFAULTS["precision"],
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
            title=N_("Stop when maps are this reliable; 0: never"),
        ),
        Setting("seconds", 0.0, N_("Stop after so much time; 0: never."), 0, 86_400),
        Setting(
            "seed", _DEFAULTS["seed"], N_("The same seed gives the same masks."), 0, LARGEST_SEED, title=N_("Seed")
        ),
    ),
    advice=N_(
        "Any model, and the only one here that explains an ONNX file fairly beside others. Smooth: no fine lines."
    ),
)
