"""A report as one JSON document, and its effects as a table, attention.parquet."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

import pyarrow as pa

from kdviz.analysis.attention.report import AttentionReport, read_attention, studies_of
from kdviz.analysis.attention.statistics import Effect, Interval
from kdviz.analysis.attention.words import in_words
from kdviz.experiment import Experiment
from kdviz.metrics.similarity import measures

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
    ]
)
"""Of attention.parquet: one row an effect, with every interval."""


def effects_table(experiment: Experiment) -> pa.Table:
    """Every effect of every study of an experiment by every measure; README says what the columns mean."""
    rows = [
        {"study": study, "measure": measure, **row}
        for study in studies_of(experiment)
        for measure in measures
        for row in _rows(read_attention(experiment, study, measure))
    ]
    return pa.Table.from_pylist(rows, _SCHEMA)


def _rows(report: AttentionReport) -> Iterator[dict[str, Any]]:
    for what, part, value, effect, p_holm in _effects(report):
        yield {"what": what, "part": part, "value": value, "p_holm": p_holm, **_row(effect)}


def _effects(report: AttentionReport) -> Iterator[tuple[str, str, float | None, Effect, float | None]]:
    """(what, of which part, for which value, the effect, its adjusted p-value)."""
    chosen = report.chosen.value
    for one in report.values:
        named = {"difference": one.difference, "kd_student": one.kd, "student": one.alone}
        raw = {"difference": one.raw, "kd_student": one.raw_kd, "student": one.raw_alone}
        yield from ((name, "corrected", one.value, effect, None) for name, effect in named.items())
        yield from ((name, "raw", one.value, effect, None) for name, effect in raw.items())
    for one in report.all_controls:
        yield "control", one.name, one.value, one.difference, None
    if report.specific is not None:
        yield "less other images", "", chosen, report.specific, None
    if report.shuffle is not None:
        yield "own shuffle", "", None, report.shuffle, None
    if report.trend is not None:
        yield "trend", "", None, report.trend, None
    yield from (("class", one.name, chosen, one.effect, one.p_holm) for one in report.class_effects)
    yield from (("images", one.name, chosen, one.effect, None) for one in report.mistakes)
    yield from (("auroc less 1/2", one.role, chosen, one.auroc, None) for one in report.inheritance)


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
    }


def as_json(report: AttentionReport) -> dict[str, Any]:
    """The report as plain data."""
    words = in_words(report)
    return {
        "study": report.study,
        "measure": report.measure,
        "about": dict(report.about),
        "outcome": words.outcome,
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
            }
            for one in report.values
        ],
        "controls": [
            {"control": one.name, "value": one.value, "passed": one.passed, **_effect_json(one.difference)}
            for one in report.all_controls
        ],
        "less_other_images": None if report.specific is None else _effect_json(report.specific),
        "trend": None if report.trend is None else _effect_json(report.trend),
        "classes": [
            {"class": one.name, "p_holm": one.p_holm, **_effect_json(one.effect)} for one in report.class_effects
        ],
        "parts": [{"part": one.name, "images": one.images, **_effect_json(one.effect)} for one in report.mistakes],
        "inheritance": [
            {"role": one.role, "auroc": 0.5 + one.auroc.value, "repeated": one.inherited, "others": one.others}
            for one in report.inheritance
        ],
    }


def _effect_json(effect: Effect) -> dict[str, Any]:
    intervals: dict[str, Interval] = {"interval": effect.interval}
    intervals |= {over: getattr(effect, over) for over in _OVER}
    found = {name: [_number(one.low), _number(one.high)] for name, one in intervals.items()}
    return {"effect": effect.value, **found, "p_value": effect.p_value, "by_seed": list(effect.by_seed)}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if isfinite(value) else None
