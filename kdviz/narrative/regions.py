"""Whether the small model looks at the regions that people drew, in words no stronger than the intervals."""

from __future__ import annotations

from kdviz.core.language import _, percent, plural, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.saliency import methods
from kdviz.studies.regions.report import Mean, RegionsReport, RoleRegions


def region_sentences(report: RegionsReport) -> list[str]:
    """The answer for each method, the comparison with the other models, and what the intervals leave out."""
    sentences = [sentence for method in report.methods for sentence in _of_method(report, method)]
    sentences.append(_("Intervals are over pictures, of one training of each model: another training may differ."))
    return sentences


def answer(role_regions: RoleRegions) -> str:
    """Whether the KD student looks at the regions more than a map that knows nothing of them."""
    values = {
        "method": _(methods[role_regions.method].title),
        "inside": percent(role_regions.energy.value),
        "area": percent(role_regions.area),
        "gain": _points(role_regions.energy_gain),
        "pictures": plural("{count} picture", "{count} pictures", role_regions.energy.pictures),
    }
    if role_regions.energy_gain.low > 0:
        return _(
            "The KD student looks at the regions: {inside} of its positive saliency ({method}) lies inside, where by "
            "chance it would be {area}, the regions' share of the area; that is {gain}, over {pictures}.",
            **values,
        )
    if role_regions.energy_gain.high < 0:
        return _(
            "The KD student looks away from the regions: {inside} of its positive saliency ({method}) lies inside, "
            "where by chance it would be {area}, the regions' share of the area; that is {gain}, over {pictures}.",
            **values,
        )
    return _(
        "One cannot tell whether the KD student looks at the regions: {inside} of its positive saliency ({method}) "
        "lies inside, where by chance it would be {area}, the regions' share of the area; that is {gain}, over "
        "{pictures}.",
        **values,
    )


def _of_method(report: RegionsReport, method: str) -> list[str]:
    role_regions = report.role(Role.KD_STUDENT, method)
    if role_regions is None:
        return []
    sentences = [answer(role_regions), *_beside_place(role_regions)]
    for less in (Role.STUDENT, Role.TEACHER):
        difference = report.difference(less, method)
        if difference is not None:
            sentences.append(_comparison(difference.energy, less))
    return sentences


def _beside_place(role_regions: RoleRegions) -> list[str]:
    """Whether the place alone explains it: what lies inside when maps and regions are of different pictures."""
    gain = role_regions.place_gain
    if not gain.pictures:
        return []
    values = {"others": percent(role_regions.by_place), "gain": _points(gain)}
    if gain.low > 0:
        return [
            _(
                "It is not the place alone: of its maps of other pictures {others} lies inside; its map of the picture "
                "itself has {gain} more.",
                **values,
            )
        ]
    if gain.high < 0:
        return [
            _(
                "Its maps of other pictures lie inside even more, {others}; beside them its map of the picture itself "
                "has {gain}.",
                **values,
            )
        ]
    return [
        _(
            "One cannot tell whether it is more than the place: of its maps of other pictures {others} lies inside; "
            "beside them its map of the picture itself has {gain}.",
            **values,
        )
    ]


def _comparison(difference: Mean, less: str) -> str:
    change = _points(difference)
    if less == Role.STUDENT:
        return _beside_student(difference, change)
    if difference.low > 0:
        return _("More of its saliency lies inside than of its teacher's: {change}.", change=change)
    if difference.high < 0:
        return _("Less of its saliency lies inside than of its teacher's: {change}.", change=change)
    return _("One cannot tell whether it looks at them more or less than its teacher: {change}.", change=change)


def _beside_student(difference: Mean, change: str) -> str:
    if difference.low > 0:
        return _("More of its saliency lies inside than of the student's trained alone: {change}.", change=change)
    if difference.high < 0:
        return _("Less of its saliency lies inside than of the student's trained alone: {change}.", change=change)
    return _(
        "One cannot tell whether it looks at them more or less than the same student trained alone: {change}.",
        change=change,
    )


def _points(mean: Mean) -> str:
    value, low, high = signed_interval(100 * mean.value, 100 * mean.low, 100 * mean.high, 1)
    return _("{value} points (95 % interval {low} to {high})", value=value, low=low, high=high)
