"""A report as one JSON document, and its effects as a table, attention.parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from typing import Any

import pyarrow as pa

from kdviz.experiment import Experiment
from kdviz.metrics.similarity import measures
from kdviz.narrative.attention.narrative import narrate
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
        *((name, pa.float64()) for name in ("together_low", "together_high", "inner_low", "inner_high", "margin")),
        ("outcome", pa.string()),
        ("rule", pa.string()),
    ]
)
"""Of attention.parquet: one row an effect, with every interval."""


def effects_table(experiment: Experiment) -> pa.Table:
    """Every effect of every study of an experiment by every measure, as JSON takes it."""
    rows = [
        {"study": study, "measure": measure, **row}
        for study in studies_of(experiment)
        for measure in measures
        for row in _rows(read_attention(experiment, study, measure))
    ]
    return pa.Table.from_pylist(rows, _SCHEMA)


def _rows(report: AttentionReport) -> Iterator[dict[str, Any]]:
    for what, part, value, effect, more in _effects(report):
        yield {"what": what, "part": part, "value": value, **_row(effect), **more}


_Row = tuple[str, str, float | None, Effect, dict[str, Any]]
"""What an effect is, of which part, for which value of the study, the effect, and what else is known of it."""


def _effects(report: AttentionReport) -> Iterator[_Row]:
    chosen = report.chosen.value
    yield from _claims(report)
    yield from (
        ("control", one.name, one.value, one.difference, _judged(verdict_of(one))) for one in report.all_controls
    )
    if report.image_specific_effect is not None:
        yield "less other images", "", chosen, report.image_specific_effect, {}
    if report.shuffle is not None:
        yield "own shuffle", "", None, report.shuffle, {}
    yield from (("change", "", one.second, one.effect, _changed(one)) for one in report.changes)
    yield from (("class", one.name, chosen, one.effect, {"p_holm": one.p_holm}) for one in report.class_effects)
    yield from (("images", one.name, chosen, one.effect, {}) for one in report.mistakes)
    yield from (("auroc less 1/2", one.role, chosen, one.auroc, {}) for one in report.inheritance)


def _claims(report: AttentionReport) -> Iterator[_Row]:
    """The effect for each value; corrected only by a measure whose noise can be taken out."""
    for one in report.values:
        judged = _judged(claim_of(one.difference, report.margin, one.value))
        named = {"difference": one.difference, "kd_student": one.kd, "student": one.alone}
        raw = {"difference": one.raw, "kd_student": one.raw_kd, "student": one.raw_alone}
        for part, effects in (("corrected", named if report.corrected else {}), ("raw", raw)):
            says = judged if part == "corrected" or not report.corrected else {}
            for name, effect in effects.items():
                yield name, part, one.value, effect, says if name == "difference" else {}


def _judged(verdict: AttentionVerdict) -> dict[str, Any]:
    margin = verdict.margin if isfinite(verdict.margin) else None
    return {"outcome": verdict.outcome, "rule": verdict.rule, "margin": margin}


def _changed(one: Change) -> dict[str, Any]:
    ends = {} if one.together is None else {"together_low": one.together.low, "together_high": one.together.high}
    return {"from": one.first, "p_holm": one.p_holm, **ends}


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
    words = narrate(report)
    return {
        "study": report.study,
        "measure": report.measure,
        "about": dict(report.about),
        "outcome": words.outcome,
        "margin": report.margin,
        "images": report.images,
        "seeds": report.seeds,
        "teachers": report.teachers,
        "sentences": [*words.sentences, *words.controls, *words.dependence],
        "limits": list(words.limits),
        "value": report.chosen.value,
        "difference": _effect_json(report.chosen.difference),
        "values": [
            {
                "value": one.value,
                "kd_student": one.kd.value,
                "student": one.alone.value,
                "ceiling_kd_student": one.ceiling_kd,
                "ceiling_student": one.ceiling_alone,
                "difference": _effect_json(one.difference),
                "raw": _effect_json(one.raw),
                "d_z": _number(one.size.d_z),
                "superiority": one.size.superiority,
                "d_z_by_training": [_number(each) for each in one.size.by_training_d_z],
                "superiority_by_training": list(one.size.by_training_superiority),
            }
            for one in report.values
        ],
        "controls": [_control_json(one) for one in report.all_controls],
        "verdicts": [
            {key: _number(value) if isinstance(value, float) else value for key, value in asdict(one).items()}
            for one in words.verdicts
        ],
        "rules": RULES,
        "less_other_images": None
        if report.image_specific_effect is None
        else _effect_json(report.image_specific_effect),
        "changes": [_change_json(one) for one in report.changes],
        "classes": [
            {"class": one.name, "p_holm": one.p_holm, **_effect_json(one.effect)} for one in report.class_effects
        ],
        "parts": [{"part": one.name, "images": one.images, **_effect_json(one.effect)} for one in report.mistakes],
        "inheritance": [
            {"role": one.role, "auroc": 0.5 + one.auroc.value, "repeated": one.inherited, "others": one.others}
            for one in report.inheritance
        ],
    }


def _control_json(one: Control) -> dict[str, Any]:
    said = {"control": one.name, "value": one.value, "passed": one.passed, "outcome": one.outcome, "small": one.small}
    bound = {"bound": _number(one.bound), "share": _number(one.share)}
    return {**said, **bound, "inner": [one.interval.low, one.interval.high], **_effect_json(one.difference)}


def _change_json(one: Change) -> dict[str, Any]:
    together = None if one.together is None else [one.together.low, one.together.high]
    known = {"from": one.first, "to": one.second, "together": together, "p_holm": one.p_holm, "differs": one.differs}
    return {**known, **_effect_json(one.effect)}


def _effect_json(effect: Effect) -> dict[str, Any]:
    intervals: dict[str, Interval] = {"interval": effect.interval}
    intervals |= {over: getattr(effect, over) for over in _OVER}
    found = {name: [_number(one.low), _number(one.high)] for name, one in intervals.items()}
    by = {name: list(getattr(effect, name)) for name in ("by_seed", "by_teacher", "by_training")}
    return {"effect": effect.value, **found, "p_value": effect.p_value, **by}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if isfinite(value) else None
