"""What the KD student has of its teacher, layer by layer and class by class: no more than the intervals say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdviz.core.language import N_, _, interval_digits, listed, number, percent, plural
from kdviz.core.vocabulary import Role
from kdviz.narrative.transfer_scores import change_text, score_sentences
from kdviz.studies.comparison.judgement import margin_points, points_interval
from kdviz.studies.transfer.report import (
    ALL,
    CLOSER,
    FURTHER,
    INHERITED_MARGIN,
    MARGIN,
    NOT_CLOSER,
    UNKNOWN,
    ConfusionLikeness,
    InheritedErrors,
    LayerLikeness,
    TransferReport,
)
from kdviz.studies.transfer.table import UNTRAINED

_PAIR = (Role.KD_STUDENT, Role.STUDENT)
_LAYERS: Mapping[str, str] = {
    CLOSER: N_("closer at {layers}"),
    NOT_CLOSER: N_("not closer at {layers}"),
    FURTHER: N_("further away at {layers}"),
    UNKNOWN: N_("cannot be told at {layers}"),
}
_CLASSES: Mapping[str, str] = {
    CLOSER: N_("more in {classes}"),
    NOT_CLOSER: N_("no more in {classes}"),
    FURTHER: N_("fewer in {classes}"),
    UNKNOWN: N_("cannot be told in {classes}"),
}


def transfer_sentences(report: TransferReport, classes: Sequence[str]) -> list[str]:
    """What can be said of layers, their scores, confusions and errors, and what stays open."""
    return [
        *layer_sentences(report),
        *score_sentences(report),
        *confusion_sentences(report),
        *inherited_sentences(report, classes),
        *left_out_sentences(report),
        _("Intervals are over pictures, of one training of each model: another training may differ."),
    ]


def layer_title(entry: LayerLikeness, depths: int) -> str:
    """The name of a model's layer within a sentence; ``depths`` is the number of its layers, with the logits."""
    return _("the logits") if entry.depth == depths else _("layer {number}", number=number(entry.depth))


# layers ---------------------------------------------------------------------------------------------------------------


def layer_sentences(report: TransferReport) -> list[str]:
    """The last layer, which decides; the others; and what the classes alone and random weights give."""
    return [*verdict_sentences(report), *_other_layers(report), *_beside_controls(report)]


def verdict_sentences(report: TransferReport) -> list[str]:
    """Whether the KD student's last layer is closer to the teacher's; empty where it was not compared."""
    difference = report.last(*_PAIR)
    own, alone = (report.last(role) for role in _PAIR)
    if difference is None or own is None or alone is None:
        return []
    digits = interval_digits(*difference.cka.shown()[1:], 3)
    values = {
        "own": number(own.cka.value, digits),
        "alone": number(alone.cka.value, digits),
        "change": change_text(difference.cka),
        "pictures": _pictures(difference.cka.count),
        "margin": number(MARGIN, 2),
    }
    return [_of_last_layer(difference.cka.verdict(), values)]


def _of_last_layer(verdict: str, values: Mapping[str, str]) -> str:
    if verdict == CLOSER:
        return _(
            "The KD student's features are closer to its teacher's than those of the same student trained alone: at "
            "the last layer before the logits its CKA with the teacher is {own} against {alone}, a difference of "
            "{change} over {pictures}.",
            **values,
        )
    if verdict == NOT_CLOSER:
        return _(
            "The KD student's features are not closer to its teacher's than those of the same student trained alone: "
            "at the last layer before the logits its CKA with the teacher is {own} against {alone}, a difference of "
            "{change} over {pictures}, where up to {margin} count as equal.",
            **values,
        )
    if verdict == FURTHER:
        return _(
            "The KD student's features are further from its teacher's than those of the same student trained alone: at "
            "the last layer before the logits its CKA with the teacher is {own} against {alone}, a difference of "
            "{change} over {pictures}.",
            **values,
        )
    return _(
        "One cannot tell whether the KD student's features are closer to its teacher's than those of the same student "
        "trained alone: at the last layer before the logits its CKA with the teacher is {own} against {alone}, a "
        "difference of {change} over {pictures}.",
        **values,
    )


def _other_layers(report: TransferReport) -> list[str]:
    last = report.last(*_PAIR)
    others = [entry for entry in report.counterparts(*_PAIR) if entry is not last]
    if last is None or not others:
        return []
    depths = report.depths(Role.KD_STUDENT)
    titles = {
        verdict: [layer_title(entry, depths) for entry in others if entry.cka.verdict() == verdict]
        for verdict in _LAYERS
    }
    parts = [_(_LAYERS[verdict], layers=listed(names)) for verdict, names in titles.items() if names]
    return [
        _(
            "Of its other layers, each beside the teacher's at the same share of the depth, with intervals that hold "
            "together: {parts}.",
            parts=listed(parts, N_("; ")),
        )
    ]


def _beside_controls(report: TransferReport) -> list[str]:
    """What the last layer's CKA owes to the classes, and to the network."""
    own, untrained = report.last(Role.KD_STUDENT), report.last(UNTRAINED)
    sentences = []
    if own is not None and own.within == own.within:
        sentences.append(
            _(
                "With every picture paired with a random one of its class, the KD student's {own} becomes {within}, "
                "which the classes alone give; with a random one of all it is {shuffled}.",
                own=number(own.cka.value, 3),
                within=number(own.within, 3),
                shuffled=number(own.shuffled, 3),
            )
        )
    if untrained is not None:
        sentences.append(
            _(
                "The same network with random weights has {value} (95 % interval {low} to {high}).",
                value=number(untrained.cka.value, 3),
                low=number(untrained.cka.low, 3),
                high=number(untrained.cka.high, 3),
            )
        )
    return sentences


# confusions -----------------------------------------------------------------------------------------------------------


def confusion_sentences(report: TransferReport) -> list[str]:
    """Whether the KD student confuses classes as its teacher does, at each temperature."""
    sentences = []
    for temperature in report.temperatures:
        difference = report.confusion(temperature, *_PAIR)
        own, alone = (report.confusion(temperature, role) for role in _PAIR)
        if difference is not None and own is not None and alone is not None:
            sentences.append(_of_confusions(difference, own, alone))
    return sentences


def _of_confusions(difference: ConfusionLikeness, own: ConfusionLikeness, alone: ConfusionLikeness) -> str:
    verdict, digits = difference.correlation.verdict(), interval_digits(*difference.correlation.shown()[1:], 3)
    values = {
        "temperature": number(difference.temperature) if difference.temperature % 1 == 0 else f"{own.temperature:g}",
        "own": number(own.correlation.value, digits),
        "alone": number(alone.correlation.value, digits),
        "change": change_text(difference.correlation),
        "pictures": _pictures(difference.correlation.count),
        "margin": number(MARGIN, 2),
    }
    if verdict == CLOSER:
        return _(
            "Its confusions are more like the teacher's (T = {temperature}): the rank correlation of all pairs of a "
            "true and another class is {own} against {alone} alone, a difference of {change} over {pictures}.",
            **values,
        )
    if verdict == NOT_CLOSER:
        return _(
            "Its confusions are not more like the teacher's (T = {temperature}): the rank correlation of all pairs of "
            "a true and another class is {own} against {alone} alone, a difference of {change} over {pictures}, where "
            "up to {margin} count as equal.",
            **values,
        )
    if verdict == FURTHER:
        return _(
            "Its confusions are less like the teacher's (T = {temperature}): the rank correlation of all pairs of a "
            "true and another class is {own} against {alone} alone, a difference of {change} over {pictures}.",
            **values,
        )
    return _(
        "One cannot tell whether its confusions are more like the teacher's (T = {temperature}): the rank correlation "
        "of all pairs of a true and another class is {own} against {alone} alone, a difference of {change} over "
        "{pictures}.",
        **values,
    )


# errors ---------------------------------------------------------------------------------------------------------------


def inherited_sentences(report: TransferReport, classes: Sequence[str]) -> list[str]:
    """How many of its teacher's errors the KD student repeats, and in which classes more than the student alone."""
    return [*_over_all_classes(report), *_by_class(report, classes)]


def _over_all_classes(report: TransferReport) -> list[str]:
    difference = next((entry.share for entry in report.inheritance(*_PAIR) if entry.label == ALL), None)
    own, alone = (next((entry.share for entry in report.inheritance(role)), None) for role in _PAIR)
    if difference is None or own is None or alone is None:
        return []
    change, low, high = points_interval(difference.value, difference.low, difference.high)
    return [
        _(
            "Over all classes it repeats {own} of the teacher's {errors} with the same wrong class, the student alone "
            "{alone}: {change} points (95 % interval {low} to {high}).",
            own=percent(own.value),
            errors=plural("{count} error", "{count} errors", difference.count),
            alone=percent(alone.value),
            change=change,
            low=low,
            high=high,
        )
    ]


def _by_class(report: TransferReport, classes: Sequence[str]) -> list[str]:
    entries = [entry for entry in report.inheritance(*_PAIR) if entry.label != ALL]
    if not entries:
        return []
    names = {
        verdict: [classes[entry.label] for entry in entries if inherited_verdict(entry) == verdict]
        for verdict in _CLASSES
    }
    if len(names[UNKNOWN]) == len(entries):
        return [
            _(
                "One cannot tell in any class whether it repeats more of its teacher's errors there than the student "
                "alone, with intervals that hold together for {classes}.",
                classes=plural("{count} class", "{count} classes", len(entries)),
            )
        ]
    parts = [_(_CLASSES[verdict], classes=listed(known)) for verdict, known in names.items() if known]
    return [
        _(
            "Its teacher's errors that it repeats, beside the student alone, by true class, where up to {margin} "
            "points count as equal and intervals hold together: {parts}.",
            margin=margin_points(INHERITED_MARGIN),
            parts=listed(parts, N_("; ")),
        )
    ]


def inherited_verdict(entry: InheritedErrors) -> str:
    """What the difference of a class allows to say."""
    return entry.share.verdict(INHERITED_MARGIN)


# notes ----------------------------------------------------------------------------------------------------------------


def left_out_sentences(report: TransferReport) -> list[str]:
    """Models whose layers are not compared, with the reason."""
    return [
        _("Layers of '{role}' are not compared: {reason}", role=role, reason=reason)
        for role, reason in dict(report.about.get("left_out", {})).items()
    ]


def _pictures(count: int) -> str:
    return plural("{count} picture", "{count} pictures", count)
