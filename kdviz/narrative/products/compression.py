"""What the steps of a compression cost, saved and broke, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kdviz.core.language import N_, _, number, percent, plural, signed_interval
from kdviz.metrics import Difference
from kdviz.studies.comparison.judgement import (
    EQUAL,
    HIGHER,
    LOWER,
    MUCH_HIGHER,
    MUCH_LOWER,
    NO_HIGHER,
    NO_LOWER,
    UNDECIDED,
    Judgement,
    interval,
    judge_difference,
    margin_points,
    points_interval,
)
from kdviz.studies.compression.report import LESS, MORE, UNKNOWN, CompressedRun, CompressionReport
from kdviz.studies.compression.rows import known

MARGIN = 0.005
"""Share of the samples within which two models count as equally accurate, unless the reader says otherwise."""

_STEPS: Mapping[str, str] = {
    "prune": N_("pruned by {rest}"),
    "qat": N_("trained with int8 in mind"),
    "int8": N_("quantised to int8 without training"),
    "int4": N_("its weights quantised to int4"),
    "seed": N_("trained anew with another seed"),
}
_ACCURACY: Mapping[str, str] = {
    EQUAL: N_("It is as accurate as '{parent}' within {margin} points: {change}."),
    MUCH_HIGHER: N_("It is more accurate than '{parent}', by more than {margin} points: {change}."),
    HIGHER: N_("It is more accurate than '{parent}'; whether by more than {margin} points cannot be told: {change}."),
    NO_LOWER: N_("It is not worse than '{parent}' by {margin} points or more: {change}."),
    NO_HIGHER: N_("One cannot tell whether it is as accurate as '{parent}' within {margin} points: {change}."),
    UNDECIDED: N_("One cannot tell whether it is as accurate as '{parent}' within {margin} points: {change}."),
    LOWER: N_("It is less accurate than '{parent}'; whether by more than {margin} points cannot be told: {change}."),
    MUCH_LOWER: N_("It is less accurate than '{parent}', by more than {margin} points: {change}."),
}
_ANSWERS: Mapping[str, str] = {
    MORE: N_("That is more than another seed changes, {null}: {difference}."),
    LESS: N_("That is less than another seed changes, {null}: {difference}."),
    UNKNOWN: N_("One cannot tell whether that is more than another seed changes, {null}: {difference}."),
}
_LOOKS: Mapping[str, str] = {
    MORE: N_("It looks elsewhere: the maps of another seed agree more with the same model's: {difference}."),
    LESS: N_("It looks where its parent looks, more than another seed does: {difference}."),
    UNKNOWN: N_("One cannot tell whether it looks elsewhere more than another seed does: {difference}."),
}
_TEACHER: Mapping[str, str] = {
    MORE: N_("They agree with the teacher's more than its parent's do: {difference}."),
    LESS: N_("They agree with the teacher's less than its parent's do: {difference}."),
    UNKNOWN: N_("One cannot tell whether they agree with the teacher's more than its parent's do: {difference}."),
}


def compression_sentences(report: CompressionReport, margin: float = MARGIN) -> list[str]:
    """What can be said of every step, and what limits it.

    Args:
        report: The report.
        margin: Share of the samples within which two models count as equally accurate.
    """
    sentences = [sentence for run in report.runs.values() for sentence in run_sentences(run, margin)]
    return [*sentences, *stale_sentences(report), *limit_sentences(report)]


def run_sentences(run: CompressedRun, margin: float = MARGIN) -> list[str]:
    """One run against the one that it was made from: what it saved, its accuracy, its answers, where it looks."""
    return [
        saving_sentence(run),
        accuracy_sentence(run, margin),
        *root_sentences(run, margin),
        *untrained_sentences(run, margin),
        *hidden_sentences(run, margin),
        *answers_sentences(run),
        *map_sentences(run),
        *quality_sentences(run),
    ]


def step_title(step: str) -> str:
    """A step in words, from its name in experiment.json: ``prune 0.5`` is ``pruned by 0.5``."""
    kind, _space, rest = step.partition(" ")
    return _(_STEPS[kind], rest=rest) if kind in _STEPS else step


def accuracy_judgement(run: CompressedRun, margin: float = MARGIN) -> Judgement:
    """A run's accuracy less its parent's, judged by a margin."""
    return judge_difference(run.accuracy, margin)


def saving_sentence(run: CompressedRun) -> str:
    values = {
        "child": run.child,
        "step": step_title(run.step),
        "parent": run.parent,
        "size": _bytes(run.row["bytes"]),
        "share": percent(run.size),
    }
    if math.isnan(run.operations):
        return _("'{child}' was made from '{parent}', {step}: its file has {size}, {share} of its parent's.", **values)
    return _(
        "'{child}' was made from '{parent}', {step}: its file has {size}, {share} of its parent's, and it computes "
        "{operations} of its operations.",
        operations=percent(run.operations),
        **values,
    )


def _bytes(count: int) -> str:
    if count >= 1e5:
        return _("{count} MB", count=number(count / 1e6, 2))
    return _("{count} kB", count=number(count / 1e3, 1))


def accuracy_sentence(run: CompressedRun, margin: float = MARGIN) -> str:
    judged = accuracy_judgement(run, margin)
    return _judged(judged, run.parent, run.row["accuracy"], run.row["parent_accuracy"])


def root_sentences(run: CompressedRun, margin: float = MARGIN) -> list[str]:
    """All steps of a chain together, against the run where it began; empty after the first step."""
    if run.since_root is None:
        return []
    row = run.row
    judged = judge_difference(run.since_root, margin)
    verdict = _judged(judged, row["root"], row["accuracy"], row["root_accuracy"])
    size = _(
        "All steps since '{root}' together: its file has {share} of that one's.",
        root=row["root"],
        share=percent(row["bytes"] / row["root_bytes"]),
    )
    return [size, verdict]


def untrained_sentences(run: CompressedRun, margin: float = MARGIN) -> list[str]:
    """What the training of an int8 file is worth: against the one made from the same parent without it."""
    if run.beside_untrained is None:
        return []
    judged = judge_difference(run.beside_untrained, margin)
    own = run.row["accuracy"]
    beside = _("Beside '{role}', which was quantised from the same model without training:", role=run.untrained)
    return [f"{beside} {_judged(judged, run.untrained, own, own - run.beside_untrained.value)}"]


def _judged(judged: Judgement, other: str, own_accuracy: float, other_accuracy: float) -> str:
    """An accuracy against another one, in words with the margin."""
    value, low, high = points_interval(judged.value, judged.low, judged.high)
    change = _(
        "{own} against {other}, {value} points ({interval})",
        own=percent(own_accuracy, 2),
        other=percent(other_accuracy, 2),
        value=value,
        interval=interval(judged, low, high),
    )
    return _(_ACCURACY[judged.outcome], parent=other, margin=margin_points(judged.margin), change=change)


def hidden_sentences(run: CompressedRun, margin: float = MARGIN) -> list[str]:
    """Whether an accuracy that stayed equal hides a change of behaviour; empty where it did not stay, or for a seed."""
    if run.is_null or accuracy_judgement(run, margin).outcome != EQUAL:
        return []
    if MORE in (run.answers, run.looks):
        return [_("Its accuracy hides that it behaves otherwise, more than another seed would.")]
    if (run.answers, run.looks) == (LESS, LESS):
        return [_("Its accuracy hides no change of behaviour larger than another seed's, in answers and in maps.")]
    return []


def answers_sentences(run: CompressedRun) -> list[str]:
    """The answers that changed, and whether another seed changes more."""
    sentences = [
        _(
            "Of {samples} it answers {changed} otherwise than its parent: {fixed} mended, {broken} broken.",
            samples=plural("{count} test sample", "{count} test samples", run.row["samples"]),
            changed=percent(float(run.changed.mean()), 2),
            fixed=plural("{count} error is", "{count} errors are", run.row["fixed"]),
            broken=plural("{count} right answer is", "{count} right answers are", run.row["broken"]),
        )
    ]
    if run.beyond_changed is None:
        return sentences
    before = float(run.changed.mean()) - run.beyond_changed.value
    return [
        *sentences,
        _(_ANSWERS[run.answers], null=percent(before, 2), difference=_points(run.beyond_changed)),
    ]


def map_sentences(run: CompressedRun) -> list[str]:
    """Where it looks: against its parent, beside another seed, and against the teacher. Empty without maps."""
    maps = run.maps_parent
    if maps is None:
        return []
    value, low, high = (number(each, 3) for each in (maps.value, maps.low, maps.high))
    sentences = [
        _(
            "Its maps agree with its parent's by {value} over {images} (Pearson's correlation, the masks' noise taken "
            "out; 95 % interval {low} to {high}).",
            value=value,
            low=low,
            high=high,
            images=plural("{count} image", "{count} images", maps.samples),
        )
    ]
    if run.beyond_maps is not None:
        sentences.append(_(_LOOKS[run.looks], difference=_correlations(run.beyond_maps)))
    if run.maps_teacher is not None:
        sentences.append(_(_TEACHER[run.teacher_side], difference=_correlations(run.maps_teacher)))
    return sentences


def quality_sentences(run: CompressedRun) -> list[str]:
    """Calibration and the class that it knows least, without an interval: one model's figures."""
    row = run.row
    sentences = []
    if not math.isnan(known(row["ece"]) + known(row["parent_ece"])):
        sentences.append(
            _(
                "Its calibration error is {own}, its parent's {other}.",
                own=percent(row["ece"], 2),
                other=percent(row["parent_ece"], 2),
            )
        )
    return [
        *sentences,
        _(
            "It is weakest in the class {worst}: {own} of it are right, {other} with its parent.",
            worst=row["worst_class"],
            own=percent(row["worst_accuracy"]),
            other=percent(row["worst_in_parent"]),
        ),
    ]


def stale_sentences(report: CompressionReport) -> list[str]:
    """A sentence on rows that were measured with other weights than those of now."""
    return [
        _("The models have changed since '{role}' was measured; compress again to measure it anew.", role=role)
        for role in report.stale
    ]


def limit_sentences(report: CompressionReport) -> list[str]:
    """What the intervals leave out, and what a comparison with another seed lacks."""
    sentences = [_("Intervals are over test samples and images, of one training each: another training may differ.")]
    if report.absent:
        sentences.append(
            _(
                "Of {models} only the figures are kept in this folder, without weights; kdviz compress makes them "
                "again.",
                models=plural("{count} model", "{count} models", len(report.absent)),
            )
        )
    roots = {report.root_of(role) for role, run in report.runs.items() if not run.is_null and not run.nulls}
    sentences += [
        _(
            "Nothing says how much chance alone changes: how '{role}' was trained is not known, so that it cannot be "
            "trained with another seed.",
            role=role,
        )
        for role in sorted(roots & set(report.unrepeatable))
    ]
    sentences += [
        _(
            "Nothing says how much chance alone changes, since '{role}' was not trained with another seed: kdviz "
            "compress --of {role} --other-seed.",
            role=role,
        )
        for role in sorted(roots - set(report.unrepeatable))
    ]
    return sentences


def _points(difference: Difference) -> str:
    value, low, high = points_interval(difference.value, difference.low, difference.high)
    return _("{value} points (95 % interval {low} to {high})", value=value, low=low, high=high)


def _correlations(difference: Difference) -> str:
    value, low, high = signed_interval(difference.value, difference.low, difference.high, 3)
    return _("{value} (95 % interval {low} to {high})", value=value, low=low, high=high)
