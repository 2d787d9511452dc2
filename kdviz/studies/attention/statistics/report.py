"""All results of an attention study: what the page shows, the command prints and a notebook reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdviz.core.errors import ExperimentError, SettingError
from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.metrics.similarity import MAIN, measures
from kdviz.metrics.uncertainty import holm
from kdviz.studies.attention.statistics.agreements import Agreements, Value, read_agreements
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
    known_images,
    match_trainings,
    mean_contrast,
    mean_effect,
    pair_contrast,
    sample_contrast,
    size_of,
)
from kdviz.studies.attention.statistics.pairs import SANITY
from kdviz.studies.attention.statistics.table import NAME, about_studies
from kdviz.studies.attention.statistics.uncertainty import Effect
from kdviz.studies.sweep.loss_values import loss_text

MARGIN = 0.02
"""The default margin of agreement: a difference that is shown to be smaller counts as none."""


@dataclass(frozen=True)
class ValueEffect:
    """What distillation with one value of the study does to the maps.

    Attributes:
        value: The value of the study; None where nothing was varied.
        kd, alone: Mean agreement with the teacher, corrected for the masks' noise where the measure allows it.
        raw_kd, raw_alone: The same, uncorrected.
        ceiling_kd, ceiling_alone: Mean noise ceilings of the uncorrected agreements.
        difference: ``kd`` less ``alone``: the effect.
        raw: The effect, uncorrected.
        size: The effect relative to the spread over single images.
    """

    value: Value | None
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
        sample, label, target: Its number in the split, its class, and the class that is explained.
        kd, alone: Uncorrected agreement with the teacher, means over trainings.
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
        study, measure: Names of the study and of the measure.
        about: How the study was made: ``images``, ``of``, ``split``, ``seconds``, ``memory_mb``, ``settings`` ...
        classes: Names of the classes.
        agreements: The data behind the report.
        values: The effect for each value.
        chosen: The value that is judged: that of the experiment's own KD student, where the study has it.
        controls: The controls for the chosen value.
        all_controls: The controls for every value.
        image_specific_effect: The effect less that with maps of other images, which is specific to each image; None
            without that control.
        shuffle: Mean agreement of the teacher's maps with those after its weights were shuffled; None: not in this
            study.
        changes: How the effect differs between each two values.
        class_effects, mistakes, inheritance: What the effect depends on, for the chosen value.
        margin: Margin of agreement, below which a difference counts as none.
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
    def p_of_values(self) -> list[float]:
        """p-values of the effects of all values, which hold for all of them together (Holm, 1979)."""
        return holm([value_effect.difference.p_value for value_effect in self.values])

    @property
    def seeds(self) -> int:
        return self.chosen.difference.n_seeds

    @property
    def teachers(self) -> int:
        return self.chosen.difference.n_teachers

    @property
    def trainings(self) -> int:
        """Number of pairs of a teacher and a student's seed."""
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
        return [change for change in self.changes if change.together is not None]

    def distribution(self, value: Value | None = None) -> dict[str, np.ndarray]:
        """Uncorrected agreement with the teacher of each image, mean over trainings, by role.

        The key ``ceiling`` has the noise ceiling of the KD student.
        """
        kd, alone = claim_pairs(self.agreements, self.chosen.value if value is None else value)
        groups = {Role.KD_STUDENT: kd, Role.STUDENT: alone, "second": self.agreements.of("second", "second", value)}
        agreements = {
            role: np.mean([series.agreement for series in group], 0) for role, group in groups.items() if group
        }
        agreements = {role: means[np.isfinite(means)] for role, means in agreements.items()}
        agreements["ceiling"] = np.mean([series.ceiling for series in kd], 0)
        return agreements

    def extremes(self, count: int = 6) -> tuple[list[Extreme], list[Extreme]]:
        """The images on which the KD student is closer to the teacher by most, and those on which the student alone is.

        The extreme ones come first; of few images there may be fewer than ``count`` of a kind.
        """
        kd, alone = claim_pairs(self.agreements, self.chosen.value)
        difference = image_differences(kd, alone)
        order = np.argsort(difference, kind="stable")
        closer, further = order[difference[order] > 0][::-1], order[difference[order] < 0]
        return self._extremes(closer[:count], kd, alone), self._extremes(further[:count], kd, alone)

    def _extremes(self, positions: np.ndarray, kd: list, alone: list) -> list[Extreme]:
        agreements = self.agreements
        means = [np.mean([series.agreement for series in group], 0) for group in (kd, alone)]
        return [
            Extreme(
                int(agreements.samples[position]),
                int(agreements.labels[position]),
                int(agreements.targets[position]),
                float(means[0][position]),
                float(means[1][position]),
                float(means[0][position] - means[1][position]),
            )
            for position in positions
        ]


def studies_of(experiment: Experiment) -> list[str]:
    """The attention studies of an experiment that compare a KD student with a student alone."""
    return [name for name, about in about_studies(experiment).items() if about.get("alone", True)]


def read_attention(
    experiment: Experiment, study: str | None = None, measure: str = MAIN, margin: float = MARGIN
) -> AttentionReport:
    """Read a study from agreement.parquet and compute its report, which takes about a second.

    Args:
        experiment: The experiment with the table.
        study: Name of the study; None: the first.
        measure: ``pearson``, ``spearman``, ``ssim`` or ``iou``. Only the first is corrected for noise.
        margin: Margin of agreement, below which a difference counts as none.

    Raises:
        ExperimentError: There is no such study.
        SettingError: The margin is not above zero.
        UnknownNameError: No such measure.
    """
    about = about_studies(experiment)
    if not about:
        raise ExperimentError(
            "'{folder}' has no study of attention; make one with: kdviz study", folder=experiment.folder
        )
    study = study or next(iter(about))
    agreements = read_agreements(experiment.table(NAME), study, measure)
    value = own_value(experiment, study)
    return report_of(agreements, study, about.get(study, {}), experiment.classes, value, margin)


def own_value(experiment: Experiment, study: str) -> Any:
    """The value, in the experiment's own models, of the setting that a study varies; None: not known.

    Args:
        experiment: Its KD student's recipe is read, or its teacher's where the teacher's epochs are varied.
        study: The name of the study.
    """
    role, setting = (Role.TEACHER, "epochs") if study == "teacher-epochs" else (Role.KD_STUDENT, study)
    if role not in experiment.runs:
        return None
    training = experiment.runs[role].training
    return loss_text(training) if study == "loss" and "loss" in training else training.get(setting)


def report_of(
    agreements: Agreements,
    study: str,
    about: Mapping[str, Any],
    classes: tuple[str, ...],
    preferred: Any = None,
    margin: float = MARGIN,
) -> AttentionReport:
    """The report of a study's data; ``preferred`` is the value to judge, where the study has it."""
    if not 0 < margin < 1:
        raise SettingError("The margin of agreement is {margin}; it must be between 0 and 1.", margin=margin)
    corrected = measures[agreements.measure].disattenuates
    values = agreements.values or [None]
    effects = tuple(_effect_of_value(agreements, value, corrected) for value in values)
    chosen = next(
        (effect for effect in effects if preferred is not None and effect.value == preferred),
        effects[len(effects) // 2],
    )
    controls = [
        control for effect in effects for control in controls_of(agreements, effect.value, effect.difference, corrected)
    ]
    shuffle = agreements.of(SANITY, "shuffled", chosen.value)
    return AttentionReport(
        study,
        agreements.measure,
        about,
        classes,
        agreements,
        effects,
        chosen,
        tuple(control for control in controls if control.value == chosen.value),
        tuple(controls),
        _image_specific_effect(agreements, chosen.value, corrected),
        mean_effect(agreements, shuffle, corrected),
        tuple(changes(agreements, corrected)),
        tuple(by_class(agreements, chosen.value, classes, corrected)),
        tuple(by_mistakes(agreements, chosen.value, corrected)),
        tuple(predicts_inheritance(agreements, chosen.value)),
        margin,
    )


def _effect_of_value(agreements: Agreements, value: Value | None, corrected: bool) -> ValueEffect:
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
        float(np.mean([weights @ series.ceiling for series in kd])),
        float(np.mean([weights @ series.ceiling for series in alone])),
        effect_of(agreements, pair_contrast(kd, alone), corrected),
        effect_of(agreements, pair_contrast(kd, alone), False),
        size_of(agreements, kd, alone),
    )


def _image_specific_effect(agreements: Agreements, value: Value | None, corrected: bool) -> Effect | None:
    """The effect with maps of the same images less that with maps of other ones, training by training."""
    kd, alone = claim_pairs(agreements, value)
    other_images = pair_contrast(
        agreements.of("other", Role.KD_STUDENT, value), agreements.of("other", Role.STUDENT, value)
    )
    if not other_images or not known_images(other_images).any():
        return None
    same_images = pair_contrast(kd, alone, [known_images(other_images)] * len(match_trainings(kd, alone)))
    return (
        sample_contrast(agreements, same_images, corrected)
        .less(sample_contrast(agreements, other_images, corrected))
        .effect()
    )
