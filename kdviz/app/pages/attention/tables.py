"""Tables of the attention page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from kdviz import figures
from kdviz.app.pages.compare.settings import METHOD_TITLES
from kdviz.core.language import N_, _, interval_digits, number, percent, signed
from kdviz.narrative.attention.phrases import gain_over_blurred_picture
from kdviz.studies.attention import AttentionReport
from kdviz.studies.attention.faithfulness import TRIVIAL
from kdviz.studies.attention.statistics.controls import Control
from kdviz.studies.attention.statistics.uncertainty import Interval
from kdviz.studies.attention.statistics.verdicts import claim_of
from kdviz.studies.sweep.kinds import STUDIES

_SHORT = {
    "closer": N_("closer"),
    "further": N_("further"),
    "as close": N_("no difference"),
    "cannot be told": N_("cannot be told"),
    "passed": N_("passed"),
    "failed": N_("failed"),
    "cannot tell": N_("cannot tell"),
}


def values_table(report: AttentionReport) -> pd.DataFrame:
    """The effect for each value of the study."""
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    return pd.DataFrame(
        [
            {
                _("Distillation"): "" if effect.value is None else kind.amount(effect.value),
                _("KD student"): number(effect.kd.value, 3),
                _("Student alone"): number(effect.alone.value, 3),
                _("Difference"): signed(effect.difference.value, 3),
                _("95 % interval"): _span(effect.difference.interval),
                _("over images only"): _span(effect.difference.images),
                _("over seeds and teachers only (t)"): _span(effect.difference.seeds_t),
                _("Verdict"): _(_SHORT[claim_of(effect.difference, report.margin, effect.value).outcome]),
                _("Noise ceilings"): f"{number(effect.ceiling_kd, 3)}, {number(effect.ceiling_alone, 3)}",
                _("Cohen's d, single trainings"): _range(effect.size.by_training_d_z, lambda value: number(value, 2)),
                _("KD student closer, single trainings"): _range(
                    effect.size.by_training_superiority, lambda value: percent(value, 0)
                ),
            }
            for effect in report.values
        ]
    )


def controls_table(report: AttentionReport) -> pd.DataFrame:
    """Every control for every value."""
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    return pd.DataFrame(
        [
            {
                _("Distillation"): "" if control.value is None else kind.amount(control.value),
                _("Control"): _(control.name),
                _("Difference"): signed(control.difference.value, 3),
                _("95 % interval"): _span(control.difference.interval),
                _("90 % interval"): _span(control.interval),
                _("Within"): f"±{number(control.bound, 3)}" if control.bound > 0 else "–",
                _("Outcome"): _control_outcome(control),
            }
            for control in report.all_controls
        ]
    )


def _control_outcome(control: Control) -> str:
    if control.small:
        return _("small but not zero: {share} of the effect", share=percent(abs(control.share), 0))
    return _(_SHORT[control.outcome])


def changes_table(report: AttentionReport) -> pd.DataFrame:
    """How much the effect changes between every two values."""
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    return pd.DataFrame(
        [
            {
                _("From"): kind.amount(change.first),
                _("To"): kind.amount(change.second),
                _("Change"): signed(change.effect.value, 3),
                _("95 % interval"): _span(change.effect.interval),
                _("95 % for all neighbours"): "" if change.together is None else _span(change.together),
                _("p (Holm)"): number(change.p_holm, 4),
            }
            for change in report.changes
        ]
    )


def _range(values: Sequence[float], format_value: Callable[[float], str]) -> str:
    """The mean, with the smallest and the largest value in brackets."""
    mean = format_value(sum(values) / len(values))
    return mean if len(values) == 1 else f"{mean} ({format_value(min(values))} … {format_value(max(values))})"


def _span(interval: Interval) -> str:
    digits = interval_digits(interval.low, interval.high, 3)
    return f"{signed(interval.low, digits)} … {signed(interval.high, digits)}"


def faithfulness_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Deletion and insertion by model and method."""
    return pd.DataFrame(
        [
            {
                _("Model"): figures.role_title(row["role"]),
                _("Method"): method_title(row["method"]),
                _("Deletion (lower is better)"): number(row["deletion"], 3),
                _("Insertion (higher is better)"): number(row["insertion"], 3),
                _("Deletion beside the blurred picture"): _gain(row, "deletion"),
                _("Insertion beside the blurred picture"): _gain(row, "insertion"),
            }
            for row in rows
        ]
    )


def _gain(row: dict[str, Any], area: str) -> str:
    """How much better than the blurred picture; nothing of the blurred picture itself."""
    return "" if row["method"] == TRIVIAL else gain_over_blurred_picture(row, area)


def method_title(name: str) -> str:
    """A method's title on the pages."""
    if name == TRIVIAL:
        return _("Blurred picture")
    return _(METHOD_TITLES[name]) if name in METHOD_TITLES else name


def classes_table(report: AttentionReport) -> pd.DataFrame:
    """The effect in each class."""
    return pd.DataFrame(
        [
            {
                _("Class"): class_effect.name,
                _("Images"): number(class_effect.images),
                _("Difference"): signed(class_effect.effect.value, 3),
                _("95 % interval"): _span(class_effect.effect.interval),
                _("p (Holm)"): "" if class_effect.p_holm is None else number(class_effect.p_holm, 4),
            }
            for class_effect in report.class_effects
        ]
    )
