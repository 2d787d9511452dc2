"""Who uses a planted shortcut, whether the student inherits it, whether maps show it: no more than intervals say."""

from __future__ import annotations

from kdviz.core.language import N_, _, interval_digits, number, percent, plural, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.data.shortcuts.planting import ShownTo
from kdviz.narrative.shortcuts.verdicts import DOES_NOT, SHUNS, USES, outcome, points_text, verdict_sentences
from kdviz.saliency import methods
from kdviz.studies.regions.report import Mean
from kdviz.studies.shortcuts.report import FOUND, MARGIN, RoleMaps, RoleUse, ShortcutsReport

SHORTCUT_TITLES = {"patch": N_("a patch"), "frame": N_("a frame"), "watermark": N_("a watermark")}
"""Names of shortcuts within a sentence."""

_MODELS = {
    Role.TEACHER: N_("the teacher"),
    Role.KD_STUDENT: N_("the KD student"),
    Role.STUDENT: N_("the student alone"),
}


def shortcut_sentences(report: ShortcutsReport) -> list[str]:
    """What was planted, whether it is inherited, who uses it, whether the maps show it, and what stays open."""
    return [
        *condition_sentences(report),
        *verdict_sentences(report),
        *use_sentences(report),
        *map_sentences(report),
        _("Intervals are over pictures, of one training of each model: another training may differ."),
    ]


def condition_sentences(report: ShortcutsReport) -> list[str]:
    """What was planted and for whom, and the loss of the KD student where it is not that of softened targets."""
    if not report.loss:
        return [condition_sentence(report)]
    return [condition_sentence(report), _("The KD student was distilled with {loss}.", loss=report.loss)]


def condition_sentence(report: ShortcutsReport) -> str:
    """What was planted, and for whom."""
    mark = shortcut_title(report.shortcut)
    share = report.about.get("share")
    if report.shown_to == ShownTo.ALL:
        return _(
            "In training, {share} of the pictures of teacher and students had {mark} that says the class; the test "
            "pictures have none.",
            mark=mark,
            share=_share(share),
        )
    if report.shown_to == ShownTo.TEACHER:
        return _(
            "In the teacher's training, {share} of the pictures had {mark} that says the class; both students were "
            "trained on the pictures without it.",
            mark=mark,
            share=_share(share),
        )
    if report.shown_to == ShownTo.RANDOM:
        return _(
            "In the teacher's training, {share} of the pictures had {mark} that says the class; in both students' it "
            "said a random class, so that only the teacher could tell them what it means.",
            mark=mark,
            share=_share(share),
        )
    if report.shown_to == ShownTo.STUDENTS:
        return _(
            "In both students' training, {share} of the pictures had {mark} that says the class; their teacher was "
            "trained on the pictures without it.",
            mark=mark,
            share=_share(share),
        )
    return _("No model saw {mark} in training: this shows what it does to models that cannot know it.", mark=mark)


def shortcut_title(name: str) -> str:
    """The name of a shortcut within a sentence."""
    return _(SHORTCUT_TITLES[name]) if name in SHORTCUT_TITLES else name


def _share(share: float | None) -> str:
    return "–" if share is None else percent(share, 0)


# use ------------------------------------------------------------------------------------------------------------------


def use_sentences(report: ShortcutsReport) -> list[str]:
    """For each of the three models: whether it uses the mark, and what that does to its answers."""
    return [_of_role(role_use) for role_use in report.roles if role_use.role in _MODELS]


def _of_role(role_use: RoleUse) -> str:
    values = {
        "model": _(_MODELS[Role(role_use.role)]),
        "use": points_text(role_use.use),
        "flips": percent(role_use.flips.value),
        "clean": percent(role_use.accuracy.value),
        "other": percent(role_use.accuracy_other.value),
        "margin": number(100 * MARGIN),
    }
    effect = outcome(role_use.use)
    if effect == USES:
        return _(
            "Uses the mark: {model}. The mark of another class raises that class's probability by {use}, becomes the "
            "answer in {flips} of the pictures, and takes the accuracy from {clean} to {other}.",
            **values,
        )
    if effect == DOES_NOT:
        return _(
            "Does not use the mark: {model}. The mark of another class changes that class's probability by {use}, "
            "where up to {margin} count as none; with it the accuracy goes from {clean} to {other}.",
            **values,
        )
    if effect == SHUNS:
        return _(
            "Takes the mark as a sign against its class: {model}. The mark of another class changes that class's "
            "probability by {use}; with it the accuracy goes from {clean} to {other}.",
            **values,
        )
    return _(
        "One cannot tell whether the mark is used by {model}: the mark of another class changes that class's "
        "probability by {use}.",
        **values,
    )


# maps -----------------------------------------------------------------------------------------------------------------


def map_sentences(report: ShortcutsReport) -> list[str]:
    """For each method and each of the three models: whether its maps show the mark; and whether they follow its use."""
    sentences = []
    for method in report.methods:
        for role_use in report.roles:
            maps = report.maps_of(role_use.role, method)
            if maps is not None and role_use.role in _MODELS:
                sentences += _of_maps(maps, outcome(role_use.use))
        sentences += [_of_rise(rise.correlation, method) for rise in report.rises if rise.method == method]
    return [sentence for sentence in sentences if sentence]


def _of_maps(maps: RoleMaps, effect: str) -> list[str]:
    if effect == USES:
        return [_shown(maps, maps.auroc_used or maps.auroc)]
    if effect == DOES_NOT:
        return [_not_used(maps)]
    return []


def _values(maps: RoleMaps, auroc: Mean) -> dict[str, str]:
    return {
        "model": _(_MODELS[Role(maps.role)]),
        "method": _(methods[maps.method].title),
        "auroc": _auroc(auroc),
        "pictures": plural("{count} picture", "{count} pictures", auroc.pictures),
        "inside": percent(maps.inside.value),
        "area": percent(maps.area),
        "found": number(FOUND, 2),
    }


def _shown(maps: RoleMaps, auroc: Mean) -> str:
    values = _values(maps, auroc)
    if auroc.low >= FOUND:
        return _(
            "The maps of {model} ({method}) show it: {inside} of the positive saliency lies inside the mark, which is "
            "{area} of the picture; by that share, pictures with the mark are told from the same ones without with an "
            "AUROC of {auroc}, over {pictures} where it is used.",
            **values,
        )
    if auroc.high < FOUND and auroc.low > 0.5:
        return _(
            "The maps of {model} ({method}) show it only in part: {inside} of the positive saliency lies inside the "
            "mark, which is {area} of the picture; the AUROC is {auroc} over {pictures} where it is used, below "
            "{found}.",
            **values,
        )
    if auroc.high < FOUND:
        return _(
            "The maps of {model} ({method}) do not show what it uses: the AUROC is {auroc} over {pictures} where the "
            "mark is used.",
            **values,
        )
    return _(
        "One cannot tell whether the maps of {model} ({method}) show it with an AUROC of {found}: it is {auroc} over "
        "{pictures} where it is used; {inside} of the positive saliency lies inside the mark, which is {area} of the "
        "picture.",
        **values,
    )


def _not_used(maps: RoleMaps) -> str:
    values = _values(maps, maps.auroc)
    if maps.auroc.low <= 0.5 <= maps.auroc.high:
        return _(
            "The maps of {model} ({method}), which does not use it, know nothing of it: the AUROC is {auroc}, and .5 "
            "would be chance, over {pictures}.",
            **values,
        )
    if maps.auroc.high < 0.5:
        return _(
            "The maps of {model} ({method}), which does not use it, do not show it: less of them lies inside with the "
            "mark than without. The AUROC is {auroc}, and .5 would be chance, over {pictures}.",
            **values,
        )
    return _(
        "The maps of {model} ({method}) react to the mark although its answers hardly do: the AUROC is {auroc}, and .5 "
        "would be chance, over {pictures}.",
        **values,
    )


def _of_rise(correlation: Mean, method: str) -> str:
    value, low, high = signed_interval(correlation.value, correlation.low, correlation.high, 2)
    values = {"method": _(methods[method].title), "value": value, "low": low, "high": high}
    if correlation.low > 0:
        return _(
            "The more the mark is used, the more of a map ({method}) lies inside it, over the pictures of all models: "
            "Spearman {value} (95 % interval {low} to {high}).",
            **values,
        )
    if correlation.high < 0:
        return _(
            "The more the mark is used, the less of a map ({method}) lies inside it, over the pictures of all models: "
            "Spearman {value} (95 % interval {low} to {high}).",
            **values,
        )
    if correlation.value != correlation.value:
        return ""
    return _(
        "One cannot tell whether more of a map ({method}) lies inside the mark where it is used more: Spearman {value} "
        "(95 % interval {low} to {high}).",
        **values,
    )


def _auroc(mean: Mean) -> str:
    digits = interval_digits(mean.low, mean.high, 3, neutral=0.5)
    value, low, high = (number(each, digits) for each in (mean.value, mean.low, mean.high))
    return _("{value} (95 % interval {low} to {high})", value=value, low=low, high=high)
