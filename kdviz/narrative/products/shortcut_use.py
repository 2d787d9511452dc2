"""Whether pruning or quantising changed the use of a planted mark, in words."""

from __future__ import annotations

from collections.abc import Mapping

from kdviz.core.language import N_, _, number, plural
from kdviz.narrative.products.compression import step_title
from kdviz.narrative.shortcuts.verdicts import DOES_NOT, SHUNS, UNKNOWN, USES, outcome, points_text
from kdviz.studies.compression.shortcut_use import ShortcutUse, ShortcutUses
from kdviz.studies.regions.report import Mean
from kdviz.studies.shortcuts.report import MARGIN

_CHANGE: Mapping[str, str] = {
    USES: N_("'{child}' ({step}) uses the mark more than '{parent}' does: {change}."),
    SHUNS: N_("'{child}' ({step}) uses the mark less than '{parent}' does: {change}."),
    DOES_NOT: N_("'{child}' ({step}) uses the mark as '{parent}' does, within {margin} points: {change}."),
    UNKNOWN: N_("One cannot tell whether '{child}' ({step}) uses the mark as '{parent}' does: {change}."),
}
_BEYOND: Mapping[str, str] = {
    USES: N_("Another seed of the model changes it otherwise: less that, the step's change is {change}."),
    SHUNS: N_("Another seed of the model changes it otherwise: less that, the step's change is {change}."),
    DOES_NOT: N_("Another seed of the model changes it as much, within {margin} points: less that, it is {change}."),
    UNKNOWN: N_("One cannot tell whether another seed of the model changes it otherwise: less that, it is {change}."),
}


def shortcut_use_sentences(condition: ShortcutUses) -> list[str]:
    """What can be said of every step of one condition; of other seeds only as what others are held against."""
    sentences = [sentence for use in condition.uses if not use.is_null for sentence in use_sentences(use)]
    pictures = max((use.change.pictures for use in condition.uses), default=0)
    if not sentences:
        return []
    return [
        *sentences,
        _(
            "Use is the rise of the probability of another class by its mark, over {pictures}, which are the same for "
            "all models; intervals are over pictures.",
            pictures=plural("{count} picture", "{count} pictures", pictures),
        ),
    ]


def use_sentences(use: ShortcutUse) -> list[str]:
    """One step: its change, and that beyond another seed's."""
    change = _(
        "{own} against {parents}, {difference}",
        own=_points(use.own),
        parents=_points(use.parents),
        difference=points_text(use.change),
    )
    values = {"child": use.child, "parent": use.parent, "step": step_title(use.step), "margin": number(100 * MARGIN)}
    sentences = [_(_CHANGE[outcome(use.change)], change=change, **values)]
    if use.beyond is not None:
        beyond = {"change": points_text(use.beyond), "margin": values["margin"]}
        sentences.append(_(_BEYOND[outcome(use.beyond)], **beyond))
    return sentences


def _points(use: Mean) -> str:
    return _("{value} points", value=number(100 * use.value, 1))
