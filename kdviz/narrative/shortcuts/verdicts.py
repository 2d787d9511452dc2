"""Whether a KD student has a planted shortcut from its teacher or is kept from it, and what its loss changes."""

from __future__ import annotations

from kdviz.core.language import N_, _, number, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.data.shortcuts.planting import ShownTo
from kdviz.saliency import methods
from kdviz.studies.regions.report import Mean
from kdviz.studies.shortcuts.report import MARGIN, ShortcutsReport

USES, DOES_NOT, SHUNS, UNKNOWN = "uses", "does not", "shuns", "cannot tell"


def outcome(use: Mean) -> str:
    """What an interval of a use, or of a difference of uses, allows to say: one of ``USES``, ``DOES_NOT``, ..."""
    if use.low >= -MARGIN and use.high <= MARGIN:
        return DOES_NOT
    if use.low > 0:
        return USES
    return SHUNS if use.high < 0 else UNKNOWN


def verdict_sentences(report: ShortcutsReport) -> list[str]:
    """Whether the KD student has the shortcut from its teacher, or is kept from it; and what another loss changes.

    Empty where nothing was planted or compared.
    """
    difference = report.difference(Role.STUDENT)
    if difference is None or report.shown_to not in list(ShownTo):
        return []
    return [*_beside_alone(report, difference.use), *_beside_soft_targets(report)]


def _beside_alone(report: ShortcutsReport, use: Mean) -> list[str]:
    change, effect = points_text(use), outcome(use)
    teacher = report.role(Role.TEACHER)
    is_ignorant = teacher is not None and outcome(teacher.use) == DOES_NOT
    if report.shown_to == ShownTo.STUDENTS:
        return [_kept_from(effect, change)] if is_ignorant else [_beside_own_pictures(effect, change)]
    if is_ignorant:
        return [_("There is nothing to inherit: the teacher does not use the mark.")]
    if report.shown_to == ShownTo.ALL:
        return [_beside_own_pictures(effect, change)]
    return [_inherits(effect, change)]


def _inherits(effect: str, change: str) -> str:
    if effect == USES:
        return _(
            "The KD student inherits its teacher's shortcut: its use of the mark, less that of the same student "
            "trained alone, is {change}.",
            change=change,
        )
    if effect == DOES_NOT:
        return _(
            "The KD student does not inherit its teacher's shortcut: its use of the mark, less that of the same "
            "student trained alone, is {change}, where up to {margin} count as none.",
            change=change,
            margin=number(100 * MARGIN),
        )
    if effect == SHUNS:
        return _(
            "The KD student uses its teacher's shortcut less than the same student trained alone: {change}.",
            change=change,
        )
    return _(
        "One cannot tell whether the KD student inherits its teacher's shortcut: its use of the mark, less that of the "
        "same student trained alone, is {change}.",
        change=change,
    )


def _kept_from(effect: str, change: str) -> str:
    """Of a teacher that does not use the mark."""
    if effect == SHUNS:
        return _(
            "With its teacher, which does not use the mark, the KD student uses it less than the same student trained "
            "alone: {change}.",
            change=change,
        )
    if effect == DOES_NOT:
        return _(
            "Its teacher does not use the mark, and yet the KD student uses it as much as the same student trained "
            "alone: {change}, where up to {margin} count as none.",
            change=change,
            margin=number(100 * MARGIN),
        )
    if effect == USES:
        return _(
            "Although its teacher does not use the mark, the KD student uses it more than the same student trained "
            "alone: {change}.",
            change=change,
        )
    return _(
        "One cannot tell whether with its teacher, which does not use the mark, the KD student uses it less than the "
        "same student trained alone: {change}.",
        change=change,
    )


_BESIDE_SOFT_TARGETS = {
    USES: N_("With {loss} the KD student uses the mark more than with softened targets alone: {change}."),
    SHUNS: N_("With {loss} the KD student uses the mark less than with softened targets alone: {change}."),
    DOES_NOT: N_(
        "With {loss} the KD student uses the mark as much as with softened targets alone: {change}, where up to "
        "{margin} count as none."
    ),
    UNKNOWN: N_(
        "One cannot tell whether with {loss} the KD student uses the mark more or less than with softened targets "
        "alone: {change}."
    ),
}


_HIDDEN = {
    USES: N_(
        "Its maps ({method}) hide that: the share of their positive saliency inside the mark, less that with softened "
        "targets alone, is {change}."
    ),
    DOES_NOT: N_(
        "Its maps ({method}) say otherwise: the share of their positive saliency inside the mark, less that with "
        "softened targets alone, is {change}."
    ),
    UNKNOWN: N_(
        "That its maps ({method}) show the mark less does not show that it uses it less: the share of their positive "
        "saliency inside the mark, less that with softened targets alone, is {change}."
    ),
}
"""Of maps that show the mark less, where its use is not less."""


def _beside_soft_targets(report: ShortcutsReport) -> list[str]:
    """What the loss of the KD student changes, where there is the same study with softened targets."""
    difference = report.beside_soft_targets
    if difference is None:
        return []
    effect, values = outcome(difference.use), {"loss": report.loss, "margin": number(100 * MARGIN)}
    sentences = [_(_BESIDE_SOFT_TARGETS[effect], change=points_text(difference.use), **values)]
    for method, inside in difference.inside.items():
        if effect != SHUNS and inside.high < 0:
            title = _(methods[method].title)
            sentences.append(_(_HIDDEN[effect], method=title, change=points_text(inside), **values))
    return sentences


def _beside_own_pictures(effect: str, change: str) -> str:
    if effect == USES:
        return _(
            "Its teacher makes the KD student use the shortcut more than its own pictures do: its use of the mark, "
            "less that of the same student trained alone, is {change}.",
            change=change,
        )
    if effect == DOES_NOT:
        return _(
            "Its teacher changes nothing: the KD student's use of the mark, less that of the same student trained "
            "alone on the same pictures, is {change}, where up to {margin} count as none.",
            change=change,
            margin=number(100 * MARGIN),
        )
    if effect == SHUNS:
        return _(
            "Its teacher makes the KD student use the shortcut less than its own pictures do: its use of the mark, "
            "less that of the same student trained alone, is {change}.",
            change=change,
        )
    return _(
        "One cannot tell whether its teacher changes how much the KD student uses the shortcut: its use of the mark, "
        "less that of the same student trained alone, is {change}.",
        change=change,
    )


def points_text(mean: Mean) -> str:
    """A mean use, or difference of uses, in points with its interval."""
    value, low, high = signed_interval(100 * mean.value, 100 * mean.low, 100 * mean.high, 1)
    return _("{value} points (95 % interval {low} to {high})", value=value, low=low, high=high)
