"""What UniCAM's scores say of the KD student beside the student alone: no more than their intervals."""

from __future__ import annotations

from collections.abc import Mapping

from kdviz.core.language import N_, _, interval_digits, number, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.studies.transfer.report import CLOSER, FURTHER, MARGIN, NOT_CLOSER, UNKNOWN, Estimate, TransferReport
from kdviz.studies.transfer.table import RELEVANCE, SIMILARITY, UNIQUE

_PAIR = (Role.KD_STUDENT, Role.STUDENT)
_VERDICTS: Mapping[str, Mapping[str, str]] = {
    SIMILARITY: {
        CLOSER: N_("closer to the teacher"),
        NOT_CLOSER: N_("not closer to the teacher, as up to {margin} count as equal"),
        FURTHER: N_("further from the teacher"),
        UNKNOWN: N_("whether it is closer to the teacher cannot be told"),
    },
    RELEVANCE: {
        CLOSER: N_("more relevant"),
        NOT_CLOSER: N_("not more relevant, as up to {margin} count as equal"),
        FURTHER: N_("less relevant"),
        UNKNOWN: N_("whether it is more relevant cannot be told"),
    },
}
_OWN: Mapping[str, str] = {
    CLOSER: N_("the KD student has more of its own"),
    NOT_CLOSER: N_("the KD student has no more of its own, as up to {margin} count as equal"),
    FURTHER: N_("the KD student has less of its own"),
    UNKNOWN: N_("whether the KD student has more of its own cannot be told"),
}
_TARGETS: Mapping[str, str] = {SIMILARITY: N_("the teacher's features"), RELEVANCE: N_("the true classes")}


def score_sentences(report: TransferReport) -> list[str]:
    """Similarity and relevance of the last layer, and what each student has of them beyond the other; empty without."""
    sentences = [_of_similarity(report), _of_relevance(report)]
    for measure in (RELEVANCE, SIMILARITY):
        sentences += [_of_own_part(report, measure), _other_way_round(report, measure)]
    return [sentence for sentence in sentences if sentence]


def _of_similarity(report: TransferReport) -> str:
    values = _values(report, SIMILARITY, _VERDICTS[SIMILARITY])
    if values is None:
        return ""
    return _(
        "Feature similarity score: at the last layer before the logits the distance correlation of the KD student's "
        "features with the teacher's is {own} against {alone} alone, a difference of {change}: {verdict}.",
        **values,
    )


def _of_relevance(report: TransferReport) -> str:
    values = _values(report, RELEVANCE, _VERDICTS[RELEVANCE])
    if values is None:
        return ""
    return _(
        "Relevance score: the distance correlation of the same features with the true classes is {own} against {alone} "
        "alone, a difference of {change}: {verdict}.",
        **values,
    )


def _of_own_part(report: TransferReport, measure: str) -> str:
    """Whether what only the KD student has is related to the classes, or to the teacher."""
    entry = report.last_score(UNIQUE[measure], Role.KD_STUDENT)
    if entry is None:
        return ""
    digits = interval_digits(entry.score.low, entry.score.high, 3)
    ends = {name: number(getattr(entry.score, name), digits) for name in ("value", "low", "high")}
    values = {"target": _(_TARGETS[measure]), **ends}
    if entry.score.low > 0:
        return _(
            "What the KD student's features have beyond those of the student alone is related to {target}: a partial "
            "distance correlation of {value} (95 % interval {low} to {high}).",
            **values,
        )
    if entry.score.high < 0:
        return _(
            "What the KD student's features have beyond those of the student alone runs counter to {target}: a partial "
            "distance correlation of {value} (95 % interval {low} to {high}).",
            **values,
        )
    return _(
        "One cannot tell whether what the KD student's features have beyond those of the student alone is related to "
        "{target}: a partial distance correlation of {value} (95 % interval {low} to {high}).",
        **values,
    )


def _other_way_round(report: TransferReport, measure: str) -> str:
    values = _values(report, UNIQUE[measure], _OWN)
    if values is None:
        return ""
    return _(
        "The other way round, what the student alone has beyond the KD student has {alone} with {target}, a difference "
        "of {change}: {verdict}.",
        target=_(_TARGETS[measure]),
        **values,
    )


def _values(report: TransferReport, measure: str, verdicts: Mapping[str, str]) -> dict[str, str] | None:
    """The values of both students at the last layer, and what their difference allows to say."""
    difference = report.last_score(measure, *_PAIR)
    own, alone = (report.last_score(measure, role) for role in _PAIR)
    if difference is None or own is None or alone is None:
        return None
    digits = interval_digits(*difference.score.shown()[1:], 3)
    return {
        "own": number(own.score.value, digits),
        "alone": number(alone.score.value, digits),
        "change": change_text(difference.score),
        "verdict": _(verdicts[difference.score.verdict()], margin=number(MARGIN, 2)),
    }


def change_text(estimate: Estimate) -> str:
    """A difference with the interval that bears its verdict out: ``+0.090 (95 % interval +0.084 to +0.095)``."""
    level, low_end, high_end = estimate.shown()
    value, low, high = signed_interval(estimate.value, low_end, high_end, 3)
    return _("{value} ({level} % interval {low} to {high})", value=value, level=number(100 * level), low=low, high=high)
