"""The attention studies of an experiment as Markdown, so that a README states only what its tables hold."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from kdviz.core.language import ENGLISH, interval_digits, number, speaking
from kdviz.experiment import Experiment
from kdviz.metrics.similarity import MAIN
from kdviz.narrative.attention.controls import remarks
from kdviz.narrative.attention.narrative import narrate
from kdviz.narrative.attention.phrases import counts_of
from kdviz.narrative.markdown import table
from kdviz.studies.attention.faithfulness import TRIVIAL, faithfulness_summary
from kdviz.studies.attention.statistics.controls import CANNOT_TELL, Control
from kdviz.studies.attention.statistics.report import AttentionReport, read_attention, studies_of
from kdviz.studies.attention.statistics.uncertainty import Effect
from kdviz.studies.attention.statistics.verdicts import RULES, claim_of
from kdviz.studies.sweep.kinds import STUDIES

_SHOWN = ("rise", "integrated_gradients", "saliency", "grad_cam", TRIVIAL)


def attention_markdown(experiment: Experiment, measure: str = MAIN) -> str:
    """Tables and sentences of every attention study of an experiment, in English; empty without a study.

    Args:
        experiment: An experiment with agreement.parquet.
        measure: The measure by which maps are compared.

    Raises:
        ExperimentError: The table is damaged.
    """
    with speaking(ENGLISH):
        names = sorted(studies_of(experiment), key=lambda name: (name != "temperature", name))
        parts = [
            _study_markdown(read_attention(experiment, name, measure), full=position == 0)
            for position, name in enumerate(names)
        ]
        return "\n\n".join([*parts, *_faithfulness_parts(experiment)]) + "\n" if parts else ""


def _study_markdown(report: AttentionReport, full: bool) -> str:
    narrative = narrate(report)
    parts = [_setup(report), _values(report), " ".join(narrative.sentences)]
    if report.all_controls:
        parts.append(_controls(report))
    parts.append(" ".join([*remarks(report), *narrative.dependence]))
    if full:
        parts.append(" ".join(narrative.limits))
    return "\n\n".join(part for part in parts if part)


def _setup(report: AttentionReport) -> str:
    """How the study was made, and what its figures are."""
    about, kind = report.about, STUDIES.get(report.study)
    varied = f"Study of the {kind.title.lower()}" if kind else "Study of the experiment's own models"
    masks = about.get("settings", {}).get("n_masks")
    parts = [counts_of(report.chosen.difference)]
    if about.get("of"):
        parts.append(f"of {number(about['of'])} {about.get('split', '')} images".replace("  ", " "))
    if masks:
        parts.append(f"{number(masks)} masks an image")
    corrected = "divided by what equal maps would reach" if report.corrected else "not corrected for the masks' noise"
    figure = f"Agreement is {report.measure.capitalize()} across independent halves of the masks, {corrected}"
    return f"**{varied}**: {', '.join(parts)}. {figure}; intervals are 95 %, over images, seeds and teachers."


def _values(report: AttentionReport) -> str:
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    rows = []
    for value_effect in report.values:
        name = "" if value_effect.value is None else kind.amount(value_effect.value)
        verdict = claim_of(value_effect.difference, report.margin, value_effect.value)
        rows.append(
            [
                name,
                _unsigned(value_effect.kd.value),
                _unsigned(value_effect.alone.value),
                _effect(value_effect.difference),
                verdict.outcome,
            ]
        )
    heads = [
        "distillation",
        "KD student's agreement with the teacher",
        "student alone's",
        "difference",
        f"verdict (margin {_unsigned(report.margin)})",
    ]
    return table(heads, rows)


def _controls(report: AttentionReport) -> str:
    """A table of every control for every value, with its bound."""
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    rows = [
        [
            "" if control.value is None else kind.amount(control.value),
            control.name,
            _effect(control.difference),
            _inner_interval(control),
            _outcome(control),
        ]
        for control in report.all_controls
    ]
    return table(["at", "control", "difference", "90 % interval, and bound", "outcome"], rows)


def _inner_interval(control: Control) -> str:
    inner = control.interval
    digits = interval_digits(inner.low, inner.high, 3)
    bound = f" in ±{_unsigned(control.bound)}" if control.bound > 0 else ""
    return f"[{_signed(inner.low, digits)}, {_signed(inner.high, digits)}]{bound}"


def _outcome(control: Control) -> str:
    if control.small:
        return f"small but not zero ({abs(control.share):.0%} of the effect)"
    if control.outcome == CANNOT_TELL and not control.bound > 0:
        return "no effect to hold it against"
    return control.outcome


def _faithfulness_parts(experiment: Experiment) -> Iterable[str]:
    rows = [row for row in faithfulness_summary(experiment) if row["method"] in _SHOWN]
    if not rows:
        return
    cells = [[row["role"], row["method"], _unsigned(row["deletion"]), _unsigned(row["insertion"])] for row in rows]
    count = max(row["images"] for row in rows)
    yield f"**Are the maps true to their models?** Mean over {count} images."
    yield table(["model", "method", "deletion (lower is better)", "insertion (higher is better)"], cells)


def rules_markdown() -> str:
    """The rules of the verdicts, as a list."""
    return "\n".join(f"- {name}: {text}" for name, text in RULES.items())


def _effect(effect: Effect) -> str:
    low, high = effect.interval.low, effect.interval.high
    digits = interval_digits(low, high, 3)
    return f"{_signed(effect.value, digits)} [{_signed(low, digits)}, {_signed(high, digits)}]"


def _unsigned(value: float, digits: int = 3) -> str:
    """Decimals without the zero before the point, as the literature writes correlations."""
    return _without_zero(f"{value:z.{digits}f}") if isfinite(value) else "–"


def _signed(value: float, digits: int = 3) -> str:
    """The same with a sign; what rounds to zero has none."""
    plain = _unsigned(value, digits)
    return plain if not plain.strip(".0") or plain == "–" else _without_zero(f"{value:+z.{digits}f}").replace("-", "−")


def _without_zero(text: str) -> str:
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text
