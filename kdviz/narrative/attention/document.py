"""An attention report as one JSON document, and its effects as a table, attention.parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from typing import Any

import pyarrow as pa

from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.metrics.similarity import measures
from kdviz.narrative.attention.narrative import narrate
from kdviz.studies.attention.statistics.agreements import Value
from kdviz.studies.attention.statistics.controls import TWO_TESTS, Control
from kdviz.studies.attention.statistics.dependence import Change
from kdviz.studies.attention.statistics.report import AttentionReport, read_attention, studies_of
from kdviz.studies.attention.statistics.uncertainty import Effect, Interval
from kdviz.studies.attention.statistics.verdicts import RULES, AttentionVerdict, claim_of, verdict_of

EFFECTS = "attention"
"""Name of the table of effects."""

_OVER = ("images", "seeds", "both", "seeds_t")
_NAME = pa.dictionary(pa.int16(), pa.string())
_SCHEMA = pa.schema(
    [
        ("study", _NAME),
        ("measure", _NAME),
        ("what", _NAME),
        ("part", _NAME),
        ("value", pa.float64()),
        ("value_name", _NAME),
        *((name, pa.float64()) for name in ("effect", "low", "high", "p_value", "p_holm")),
        *(
            (f"{over}_{end}", pa.float64())
            for over in ("images", "seeds", "both", "seeds_t")
            for end in ("low", "high")
        ),
        ("image_error", pa.float64()),
        ("seed_error", pa.float64()),
        ("by_seed", pa.list_(pa.float64())),
        ("images", pa.int32()),
        ("seeds", pa.int32()),
        ("teachers", pa.int32()),
        ("teacher_error", pa.float64()),
        ("by_teacher", pa.list_(pa.float64())),
        ("by_training", pa.list_(pa.float64())),
        ("from", pa.float64()),
        ("from_name", _NAME),
        *((name, pa.float64()) for name in ("together_low", "together_high", "inner_low", "inner_high", "margin")),
        ("outcome", pa.string()),
        ("rule", pa.string()),
    ]
)
"""Schema of attention.parquet: one row an effect, with every interval."""


def effects_table(experiment: Experiment) -> pa.Table:
    """Every effect of every attention study of an experiment, by every measure."""
    rows = [
        {"study": study, "measure": measure, **row}
        for study in studies_of(experiment)
        for measure in measures
        for row in _rows(read_attention(experiment, study, measure))
    ]
    return pa.Table.from_pylist(rows, _SCHEMA)


def _rows(report: AttentionReport) -> Iterator[dict[str, Any]]:
    for what, part, value, effect, extra in _effects(report):
        yield {"what": what, "part": part, **_value_columns("value", value), **_row(effect), **extra}


def _value_columns(name: str, value: Value | None) -> dict[str, Any]:
    """A study's value in the column for numbers, or in that for names."""
    return {f"{name}_name" if isinstance(value, str) else name: value}


_Row = tuple[str, str, Value | None, Effect, dict[str, Any]]
"""The kind of an effect, its part, the value of the study, the effect, and further columns of its row."""


def _effects(report: AttentionReport) -> Iterator[_Row]:
    chosen = report.chosen.value
    yield from _claims(report)
    yield from (
        ("control", control.name, control.value, control.difference, _verdict_columns(verdict_of(control)))
        for control in report.all_controls
    )
    if report.image_specific_effect is not None:
        yield "less other images", "", chosen, report.image_specific_effect, {}
    if report.shuffle is not None:
        yield "own shuffle", "", None, report.shuffle, {}
    yield from (("change", "", change.second, change.effect, _change_columns(change)) for change in report.changes)
    yield from (
        ("class", class_effect.name, chosen, class_effect.effect, {"p_holm": class_effect.p_holm})
        for class_effect in report.class_effects
    )
    yield from (("images", part.name, chosen, part.effect, {}) for part in report.mistakes)
    yield from (("auroc less 1/2", prediction.role, chosen, prediction.auroc, {}) for prediction in report.inheritance)


def _claims(report: AttentionReport) -> Iterator[_Row]:
    """The effect for each value; corrected only where the measure's noise can be taken out."""
    for value_effect in report.values:
        columns = _verdict_columns(claim_of(value_effect.difference, report.margin, value_effect.value))
        corrected = {
            "difference": value_effect.difference,
            Role.KD_STUDENT: value_effect.kd,
            Role.STUDENT: value_effect.alone,
        }
        raw = {
            "difference": value_effect.raw,
            Role.KD_STUDENT: value_effect.raw_kd,
            Role.STUDENT: value_effect.raw_alone,
        }
        for part, effects in (("corrected", corrected if report.corrected else {}), ("raw", raw)):
            extra = columns if part == "corrected" or not report.corrected else {}
            for name, effect in effects.items():
                yield name, part, value_effect.value, effect, extra if name == "difference" else {}


def _verdict_columns(verdict: AttentionVerdict) -> dict[str, Any]:
    margin = verdict.margin if isfinite(verdict.margin) else None
    return {"outcome": verdict.outcome, "rule": verdict.rule, "margin": margin}


def _change_columns(change: Change) -> dict[str, Any]:
    ends = (
        {} if change.together is None else {"together_low": change.together.low, "together_high": change.together.high}
    )
    return {**_value_columns("from", change.first), "p_holm": change.p_holm, **ends}


def _row(effect: Effect) -> dict[str, Any]:
    ends = {f"{over}_{end}": getattr(getattr(effect, over), end) for over in _OVER for end in ("low", "high")}
    return {
        "effect": effect.value,
        "low": effect.interval.low,
        "high": effect.interval.high,
        "p_value": effect.p_value,
        **ends,
        "image_error": effect.image_error,
        "seed_error": effect.seed_error,
        "by_seed": list(effect.by_seed),
        "images": effect.n_images,
        "seeds": effect.n_seeds,
        "teachers": effect.n_teachers,
        "teacher_error": effect.teacher_error,
        "by_teacher": list(effect.by_teacher),
        "by_training": list(effect.by_training),
        "inner_low": effect.at(TWO_TESTS).low,
        "inner_high": effect.at(TWO_TESTS).high,
    }


def as_json(report: AttentionReport) -> dict[str, Any]:
    """The report as plain data."""
    narrative = narrate(report)
    return {
        "study": report.study,
        "measure": report.measure,
        "about": dict(report.about),
        "outcome": narrative.outcome,
        "margin": report.margin,
        "images": report.images,
        "seeds": report.seeds,
        "teachers": report.teachers,
        "sentences": [*narrative.sentences, *narrative.controls, *narrative.dependence],
        "limits": list(narrative.limits),
        "value": report.chosen.value,
        "difference": _effect_json(report.chosen.difference),
        "values": [
            {
                "value": value_effect.value,
                "kd_student": value_effect.kd.value,
                "student": value_effect.alone.value,
                "ceiling_kd_student": value_effect.ceiling_kd,
                "ceiling_student": value_effect.ceiling_alone,
                "difference": _effect_json(value_effect.difference),
                "raw": _effect_json(value_effect.raw),
                "d_z": _number(value_effect.size.d_z),
                "superiority": value_effect.size.superiority,
                "d_z_by_training": [_number(d_z) for d_z in value_effect.size.by_training_d_z],
                "superiority_by_training": list(value_effect.size.by_training_superiority),
            }
            for value_effect in report.values
        ],
        "controls": [_control_json(control) for control in report.all_controls],
        "verdicts": [
            {key: _number(value) if isinstance(value, float) else value for key, value in asdict(verdict).items()}
            for verdict in narrative.verdicts
        ],
        "rules": RULES,
        "less_other_images": None
        if report.image_specific_effect is None
        else _effect_json(report.image_specific_effect),
        "changes": [_change_json(change) for change in report.changes],
        "classes": [
            {"class": class_effect.name, "p_holm": class_effect.p_holm, **_effect_json(class_effect.effect)}
            for class_effect in report.class_effects
        ],
        "parts": [{"part": part.name, "images": part.images, **_effect_json(part.effect)} for part in report.mistakes],
        "inheritance": [
            {
                "role": prediction.role,
                "auroc": 0.5 + prediction.auroc.value,
                "repeated": prediction.inherited,
                "others": prediction.others,
            }
            for prediction in report.inheritance
        ],
    }


def _control_json(control: Control) -> dict[str, Any]:
    outcome = {
        "control": control.name,
        "value": control.value,
        "passed": control.passed,
        "outcome": control.outcome,
        "small": control.small,
    }
    bound = {"bound": _number(control.bound), "share": _number(control.share)}
    return {
        **outcome,
        **bound,
        "inner": [control.interval.low, control.interval.high],
        **_effect_json(control.difference),
    }


def _change_json(change: Change) -> dict[str, Any]:
    together = None if change.together is None else [change.together.low, change.together.high]
    values = {
        "from": change.first,
        "to": change.second,
        "together": together,
        "p_holm": change.p_holm,
        "differs": change.differs,
    }
    return {**values, **_effect_json(change.effect)}


def _effect_json(effect: Effect) -> dict[str, Any]:
    intervals: dict[str, Interval] = {"interval": effect.interval}
    intervals |= {over: getattr(effect, over) for over in _OVER}
    ends = {name: [_number(interval.low), _number(interval.high)] for name, interval in intervals.items()}
    by = {name: list(getattr(effect, name)) for name in ("by_seed", "by_teacher", "by_training")}
    return {"effect": effect.value, **ends, "p_value": effect.p_value, **by}


def _number(value: float) -> float | None:
    """The value, or None where it is not finite, since JSON has no NaN."""
    return value if isfinite(value) else None
