"""Everything that a study of attention says: what the page shows, the command prints and a notebook reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdviz.core.errors import ExperimentError, SettingError
from kdviz.experiment import Experiment
from kdviz.metrics.similarity import MAIN, measures
from kdviz.studies.attention.statistics.agreements import Agreements, read_agreements
from kdviz.studies.attention.statistics.controls import Control, controls_of
from kdviz.studies.attention.statistics.dependence import (
    Change,
    PartEffect,
    Prediction,
    by_class,
    by_mistakes,
    changes,
    claim_pairs,
    predicts_inheritance,
)
from kdviz.studies.attention.statistics.effects import (
    Size,
    effect_of,
    image_differences,
    mean_contrast,
    pair_contrast,
    sampled,
    size_of,
)
from kdviz.studies.attention.statistics.pairs import SANITY
from kdviz.studies.attention.statistics.table import NAME, about_studies
from kdviz.studies.attention.statistics.uncertainty import Effect

MARGIN = 0.02
"""Of agreement: a difference that is shown to be smaller counts as none, unless another margin is given."""


@dataclass(frozen=True)
class ValueEffect:
    """What distillation with one value of the study does to the maps.

    Attributes:
        value: Of the study; None where nothing was varied.
        kd, alone: Mean agreement with the teacher, corrected for the masks' noise where the measure allows it.
        raw_kd, raw_alone: The same uncorrected.
        ceiling_kd, ceiling_alone: Mean noise ceiling of the raw ones.
        difference: ``kd`` less ``alone``: the effect.
        raw: The effect, uncorrected.
        size: Beside the spread of single images.
    """

    value: float | None
    kd: Effect
    alone: Effect
    raw_kd: Effect
    raw_alone: Effect
    ceiling_kd: float
    ceiling_alone: float
    difference: Effect
    raw: Effect
    size: Size


@dataclass(frozen=True)
class Extreme:
    """An image at an end of the distribution of differences.

    Attributes:
        sample, label, target: Its number in the split, its class, the class that is explained.
        kd, alone: Raw agreement with the teacher, means over trainings.
        difference: ``kd`` less ``alone``.
    """

    sample: int
    label: int
    target: int
    kd: float
    alone: float
    difference: float


@dataclass(frozen=True)
class AttentionReport:
    """One study by one measure.

    Attributes:
        study, measure: Which.
        about: How the study was made: ``images``, ``of``, ``split``, ``seconds``, ``memory_mb``, ``settings`` ...
        classes: Names.
        agreements: The data behind it.
        values: The effect for each value.
        chosen: The value that is judged: that of the experiment's own KD student, where the study has it.
        controls: For the chosen value.
        all_controls: For every value.
        image_specific_effect: The effect less that with maps of other images: what is about this very image; None
            without that control.
        shuffle: Mean agreement of the teacher's maps with those of itself with shuffled weights; None: not in this
            study.
        changes: Of the effect, between each two values.
        class_effects, mistakes, inheritance: What the effect depends on, for the chosen value.
        margin: Of agreement, below which a difference counts as none.
    """

    study: str
    measure: str
    about: Mapping[str, Any]
    classes: tuple[str, ...]
    agreements: Agreements = field(repr=False)
    values: tuple[ValueEffect, ...]
    chosen: ValueEffect
    controls: tuple[Control, ...]
    all_controls: tuple[Control, ...]
    image_specific_effect: Effect | None
    shuffle: Effect | None
    changes: tuple[Change, ...]
    class_effects: tuple[PartEffect, ...]
    mistakes: tuple[PartEffect, ...]
    inheritance: tuple[Prediction, ...]
    margin: float = MARGIN

    @property
    def seeds(self) -> int:
        return self.chosen.difference.n_seeds

    @property
    def teachers(self) -> int:
        return self.chosen.difference.n_teachers

    @property
    def trainings(self) -> int:
        """Pairs of a teacher and a student's seed."""
        return self.chosen.difference.trainings

    @property
    def images(self) -> int:
        return self.chosen.difference.n_images

    @property
    def corrected(self) -> bool:
        """Whether the masks' noise is taken out, as it can be of Pearson's correlation."""
        return measures[self.measure].disattenuates

    @property
    def steps(self) -> list[Change]:
        """The changes between neighbouring values."""
        return [one for one in self.changes if one.together is not None]

    def distribution(self, value: float | None = None) -> dict[str, np.ndarray]:
        """Role -> raw agreement with the teacher of each image, mean over trainings; ``ceiling`` of the KD student."""
        kd, alone = claim_pairs(self.agreements, self.chosen.value if value is None else value)
        groups = {"kd_student": kd, "student": alone, "second": self.agreements.of("second", "second", value)}
        found = {role: np.mean([one.agreement for one in group], 0) for role, group in groups.items() if group}
        found["ceiling"] = np.mean([one.ceiling for one in kd], 0)
        return found

    def extremes(self, count: int = 6) -> tuple[list[Extreme], list[Extreme]]:
        """The images where the KD student is closer to the teacher by most, and by least (or further), most first."""
        kd, alone = claim_pairs(self.agreements, self.chosen.value)
        difference = image_differences(kd, alone)
        order = np.argsort(difference, kind="stable")
        return self._extremes(order[::-1][:count], kd, alone), self._extremes(order[:count], kd, alone)

    def _extremes(self, places: np.ndarray, kd: list, alone: list) -> list[Extreme]:
        data = self.agreements
        means = [np.mean([one.agreement for one in group], 0) for group in (kd, alone)]
        return [
            Extreme(
                int(data.samples[one]),
                int(data.labels[one]),
                int(data.targets[one]),
                float(means[0][one]),
                float(means[1][one]),
                float(means[0][one] - means[1][one]),
            )
            for one in places
        ]


def studies_of(experiment: Experiment) -> list[str]:
    """The studies of attention that an experiment has, of a KD student beside a student alone."""
    return [name for name, about in about_studies(experiment).items() if about.get("alone", True)]


def read_attention(
    experiment: Experiment, study: str | None = None, measure: str = MAIN, margin: float = MARGIN
) -> AttentionReport:
    """Read a study from agreement.parquet and compute everything that is said of it; about a second.

    Args:
        experiment: Has the table.
        study: Which; None: the first.
        measure: ``pearson``, ``spearman``, ``ssim`` or ``iou``. Only the first is corrected for noise.
        margin: Of agreement, below which a difference counts as none.

    Raises:
        ExperimentError: There is no such study.
        SettingError: The margin is not above zero.
        UnknownNameError: No such measure.
    """
    about = about_studies(experiment)
    if not about:
        raise ExperimentError(f"'{experiment.folder}' has no study of attention; make one with: kdviz study")
    study = study or next(iter(about))
    agreements = read_agreements(experiment.table(NAME), study, measure)
    own = own_value(experiment, study)
    return report_of(agreements, study, about.get(study, {}), experiment.classes, own, margin)


def own_value(experiment: Experiment, study: str) -> Any:
    """What the experiment's own models have of the setting that a study varies; None: not known.

    Args:
        experiment: Its KD student's recipe is asked, or its teacher's where the teacher's epochs are varied.
        study: The name of the study.
    """
    role, setting = ("teacher", "epochs") if study == "teacher-epochs" else ("kd_student", study)
    return experiment.runs[role].training.get(setting) if role in experiment.runs else None


def report_of(
    agreements: Agreements,
    study: str,
    about: Mapping[str, Any],
    classes: tuple[str, ...],
    own: Any = None,
    margin: float = MARGIN,
) -> AttentionReport:
    """The report of a study's data; ``own`` is the value to judge, where the study has it."""
    if not 0 < margin < 1:
        raise SettingError(f"The margin of agreement is {margin}; it must be between 0 and 1.")
    corrected = measures[agreements.measure].disattenuates
    values = agreements.values or [None]
    effects = tuple(_effect(agreements, value, corrected) for value in values)
    chosen = next((one for one in effects if own is not None and one.value == own), effects[len(effects) // 2])
    controls = [control for one in effects for control in controls_of(agreements, one.value, one.difference, corrected)]
    shuffle = agreements.of(SANITY, "shuffled", chosen.value)
    return AttentionReport(
        study,
        agreements.measure,
        about,
        classes,
        agreements,
        effects,
        chosen,
        tuple(one for one in controls if one.value == chosen.value),
        tuple(controls),
        _specific(agreements, chosen.value, corrected),
        effect_of(agreements, mean_contrast(shuffle), corrected) if shuffle else None,
        tuple(changes(agreements, corrected)),
        tuple(by_class(agreements, chosen.value, classes, corrected)),
        tuple(by_mistakes(agreements, chosen.value, corrected)),
        tuple(predicts_inheritance(agreements, chosen.value)),
        margin,
    )


def _effect(agreements: Agreements, value: float | None, corrected: bool) -> ValueEffect:
    kd, alone = claim_pairs(agreements, value)
    if not kd:
        raise ExperimentError(
            "agreement.parquet has no KD student and student alone with one teacher; make it anew with: kdviz study"
        )
    weights = agreements.weights / agreements.weights.sum()

    def mean(series: list, correct: bool) -> Effect:
        return effect_of(agreements, mean_contrast(series), correct)

    return ValueEffect(
        value,
        mean(kd, corrected),
        mean(alone, corrected),
        mean(kd, False),
        mean(alone, False),
        float(np.mean([weights @ one.ceiling for one in kd])),
        float(np.mean([weights @ one.ceiling for one in alone])),
        effect_of(agreements, pair_contrast(kd, alone), corrected),
        effect_of(agreements, pair_contrast(kd, alone), False),
        size_of(agreements, kd, alone),
    )


def _specific(agreements: Agreements, value: float | None, corrected: bool) -> Effect | None:
    """The effect on the maps of the same images less that on maps of other ones, training by training."""
    own = pair_contrast(*claim_pairs(agreements, value))
    other = pair_contrast(agreements.of("other", "kd_student", value), agreements.of("other", "student", value))
    if not other:
        return None
    return sampled(agreements, own, corrected).less(sampled(agreements, other, corrected)).effect()
