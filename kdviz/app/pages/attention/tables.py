"""Tables of the attention page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from kdviz import figures
from kdviz.app.pages.compare.settings import METHOD_TITLES
from kdviz.core.language import N_, _, number, percent, signed
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
                _("Distillation"): "" if one.value is None else kind.amount(one.value),
                _("KD student"): number(one.kd.value, 3),
                _("Student alone"): number(one.alone.value, 3),
                _("Difference"): signed(one.difference.value, 3),
                _("95 % interval"): _span(one.difference.interval),
                _("over images only"): _span(one.difference.images),
                _("over seeds and teachers only (t)"): _span(one.difference.seeds_t),
                _("Verdict"): _(_SHORT[claim_of(one.difference, report.margin, one.value).outcome]),
                _("Noise ceilings"): f"{number(one.ceiling_kd, 3)}, {number(one.ceiling_alone, 3)}",
                _("Cohen's d, single trainings"): _range(one.size.by_training_d_z, lambda each: number(each, 2)),
                _("KD student closer, single trainings"): _range(
                    one.size.by_training_superiority, lambda each: percent(each, 0)
                ),
            }
            for one in report.values
        ]
    )


def controls_table(report: AttentionReport) -> pd.DataFrame:
    """Every control for every value."""
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    return pd.DataFrame(
        [
            {
                _("Distillation"): "" if one.value is None else kind.amount(one.value),
                _("Control"): _(one.name),
                _("Difference"): signed(one.difference.value, 3),
                _("95 % interval"): _span(one.difference.interval),
                _("90 % interval"): _span(one.interval),
                _("Within"): f"±{number(one.bound, 3)}" if one.bound > 0 else "–",
                _("Outcome"): _control_outcome(one),
            }
            for one in report.all_controls
        ]
    )


def _control_outcome(one: Control) -> str:
    if one.small:
        return _("small but not zero: {share} of the effect", share=percent(abs(one.share), 0))
    return _(_SHORT[one.outcome])


def changes_table(report: AttentionReport) -> pd.DataFrame:
    """How much the effect changes between each two values."""
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    return pd.DataFrame(
        [
            {
                _("From"): kind.amount(one.first),
                _("To"): kind.amount(one.second),
                _("Change"): signed(one.effect.value, 3),
                _("95 % interval"): _span(one.effect.interval),
                _("95 % for all neighbours"): "" if one.together is None else _span(one.together),
                _("p (Holm)"): number(one.p_holm, 4),
            }
            for one in report.changes
        ]
    )


def _range(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """The mean, and from the least to the largest."""
    mean = shown(sum(values) / len(values))
    return mean if len(values) == 1 else f"{mean} ({shown(min(values))} … {shown(max(values))})"


def _span(interval: Interval) -> str:
    return f"{signed(interval.low, 3)} … {signed(interval.high, 3)}"


def faithful_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Deletion and insertion by model and method."""
    return pd.DataFrame(
        [
            {
                _("Model"): figures.role_title(row["role"]),
                _("Method"): method_title(row["method"]),
                _("Deletion (lower is better)"): number(row["deletion"], 3),
                _("Insertion (higher is better)"): number(row["insertion"], 3),
                _("Deletion beside the blurred picture"): signed(row["deletion_gain"], 3),
                _("Insertion beside the blurred picture"): signed(row["insertion_gain"], 3),
            }
            for row in rows
        ]
    )


def method_title(name: str) -> str:
    """What pages call a method."""
    if name == TRIVIAL:
        return _("Blurred picture")
    return _(METHOD_TITLES[name]) if name in METHOD_TITLES else name


def classes_table(report: AttentionReport) -> pd.DataFrame:
    """The effect in each class."""
    return pd.DataFrame(
        [
            {
                _("Class"): one.name,
                _("Images"): number(one.images),
                _("Difference"): signed(one.effect.value, 3),
                _("95 % interval"): _span(one.effect.interval),
                _("p (Holm)"): "" if one.p_holm is None else number(one.p_holm, 4),
            }
            for one in report.class_effects
        ]
    )
