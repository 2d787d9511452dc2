"""What is explained and how: models, class, method and its settings; all of it in the page's address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from kdviz import figures
from kdviz.app import address, service
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.compare.picture import SelectedImage
from kdviz.app.texts import plain, say_error, together
from kdviz.core.errors import KdvizError
from kdviz.core.language import N_, _, number
from kdviz.saliency import Method, Setting, methods

MASKS = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)
TEACHER, PREDICTED, TRUE, EACH = "teacher", "predicted", "true", "each"
RISE = "rise"
_NO_BASELINE = "none"
_NEVER = ("precision", "seconds")  # not for people: the app chooses
METHOD_TITLES = {name: methods[name].title for name in methods}
SETTING_TITLES = {
    setting.name: setting.title for name in methods for setting in methods[name].settings if setting.title
}
BASELINE_TITLES = {
    "black": N_("Black"),
    "white": N_("White"),
    "mean": N_("Mean of the data"),
    "grey": N_("Grey"),
    "blur": N_("Blur"),
    "noise": N_("Noise"),
}
ADDRESS = ("view", "models", "target", "targets", "method", "masks", "baseline", "baseline2", *SETTING_TITLES)


@dataclass(frozen=True)
class MapRequest:
    """What to compute.

    Attributes:
        roles: Of the models.
        method: Its name.
        rows: The settings of each row of maps.
        target: The class explained: an index, ``teacher`` for the teacher's prediction, None for each model's own, or
            (role, index) for each.
    """

    roles: tuple[str, ...]
    method: str
    rows: tuple[dict[str, Any], ...]
    target: int | str | tuple[tuple[str, int], ...] | None


def controls(opened: OpenExperiment, chosen: SelectedImage | None) -> MapRequest:
    """The widgets, and what they say."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="settings"):
        roles = _models(opened)
        method = _from_address(
            "method",
            _("Method"),
            tuple(methods),
            RISE,
            _method_title,
            _("RISE treats a model as a black box and fits every one; others need to look inside."),
            width=165,
        )
        target = _target(opened, chosen, method)
        known = {setting.name for setting in methods[method].settings}
        settings: dict[str, Any] = {}
        if "n_masks" in known:
            settings["n_masks"] = _from_address(
                "masks",
                _("Masks"),
                MASKS,
                service.default_masks(opened),
                number,
                _("More masks, less noise; time grows with them."),
                width=110,
            )
        baselines = [_baseline(opened)] if "baseline" in known else [None]
        more = st.popover(_("More settings"), icon=":material/tune:", key="more-settings", on_change="rerun")
        with more:
            if "baseline" in known:
                baselines += _second_baseline(str(baselines[0]), bool(more.open))
            settings |= _more_settings(methods[method], min(opened.experiment.input.size), bool(more.open))
    classes = _classes(opened, chosen, target, roles)
    complete = methods[method].complete(settings)
    rows = [{"method": method, **complete, **({"baseline": one} if one else {})} for one in baselines]
    return MapRequest(roles, method, tuple(rows), classes)


def _method_title(name: str) -> str:
    return _(METHOD_TITLES[name]) if name in METHOD_TITLES else methods[name].title


def _models(opened: OpenExperiment) -> tuple[str, ...]:
    """Pills when there is something to choose; at least one model."""
    known = list(opened.experiment.models)
    if len(known) < 2:
        return tuple(known)
    asked = [role for role in known if role in address.read("models", ",".join(known)).split(",")] or known
    chosen = st.pills(
        _("Models"),
        known,
        selection_mode="multi",
        format_func=lambda role: plain(figures.role_title(role)),
        key=address.begin(f"compare-models-{opened.fingerprint[:8]}", asked),
        width="content",
    )
    roles = [role for role in known if role in chosen] or known
    address.keep("models", ",".join(roles), ",".join(known))
    return tuple(roles)


# the class explained --------------------------------------------------------------------------------------------------


def _target(opened: OpenExperiment, chosen: SelectedImage | None, method: str) -> str:
    classes = opened.experiment.classes
    true_class = chosen.true_class if chosen else None
    usual = [TEACHER, PREDICTED] if TEACHER in opened.experiment.models else [PREDICTED]
    options = [*usual, *([TRUE] if true_class is not None else []), EACH, *classes]
    titles = {
        TEACHER: _("Teacher's prediction"),
        PREDICTED: _("Each model's prediction"),
        EACH: _("Chosen for each model"),
    }
    if true_class is not None:
        titles[TRUE] = _("The true class ({name})", name=classes[true_class])
    about = _("The class whose evidence the maps show.")
    if method == RISE:
        about = _("All classes come from one computation: changing this costs nothing.")
    return _from_address(
        "target",
        _("Class explained"),
        tuple(options),
        usual[0],
        lambda option: titles.get(option, option),
        about,
        missing=TRUE,  # an upload has none
    )


def _classes(
    opened: OpenExperiment, chosen: SelectedImage | None, option: str, roles: Sequence[str]
) -> int | str | tuple[tuple[str, int], ...] | None:
    """The class of :class:`MapRequest` for an option of the select box."""
    if option == EACH:
        return _class_of_each(opened, chosen, roles)
    address.keep("targets", "", "")
    if option == TEACHER:
        return service.TEACHER
    if option == PREDICTED:
        return None
    if option == TRUE:
        return chosen.true_class if chosen else None
    return opened.experiment.class_index(option)


def _class_of_each(
    opened: OpenExperiment, chosen: SelectedImage | None, roles: Sequence[str]
) -> tuple[tuple[str, int], ...]:
    classes = opened.experiment.classes
    start = (chosen.true_class if chosen else None) or 0
    asked = dict(part.split(":", 1) for part in address.read("targets", "").split(",") if ":" in part)
    found = []
    with st.container(horizontal=True, gap="small", key="targets"):
        for role in roles:
            text = asked.get(role, "")
            index = int(text) if text.isascii() and text.isdecimal() and int(text) < len(classes) else start
            name = st.selectbox(
                _("Class for {model}", model=figures.role_title(role)),
                classes,
                key=address.begin(f"target-{role}-{len(classes)}", classes[index]),
                width=180,
            )
            found.append((role, classes.index(name)))
    address.keep("targets", ",".join(f"{role}:{index}" for role, index in found), "")
    return tuple(found)


# baselines and other settings -----------------------------------------------------------------------------------------


def _baseline(opened: OpenExperiment) -> str | None:
    about = _("Blur is the picture without its details; noise is random grey.")
    if opened.is_mnist:
        black = _("On MNIST black is the background too: removing background then changes nothing. Grey shows it.")
        about = together([black, about])
    return _from_address(
        "baseline", _("A removed pixel becomes"), tuple(BASELINE_TITLES), "black", _baseline_title, about, width=170
    )


def _second_baseline(first: str, shown: bool) -> list[str]:
    """None, or one that is not the first."""
    options = (_NO_BASELINE, *(name for name in BASELINE_TITLES if name != first))
    if not shown:
        second = _known_from_address("baseline2", options, _NO_BASELINE, missing=first)
        address.keep("baseline2", second, _NO_BASELINE)
        return [] if second == _NO_BASELINE else [second]
    second = _from_address(
        "baseline2",
        _("Second baseline"),
        options,
        _NO_BASELINE,
        _baseline_title,
        _("The same maps once more, in a second row, with removed pixels becoming something else."),
        width=300,
        missing=first,
    )
    return [] if second == _NO_BASELINE else [second]


def _baseline_title(name: str) -> str:
    return _(BASELINE_TITLES[name]) if name in BASELINE_TITLES else _("None")


def _more_settings(method: Method, side: int, shown: bool) -> dict[str, Any]:
    """The other settings; ``side`` is the shorter one of the picture.

    Fields that nobody sees are not made: the values are in the address.
    """
    chosen = [one for one in method.settings if one.name in SETTING_TITLES]
    values = {one.name: _field(method, one, side) if shown else _asked(one, side) for one in chosen}
    for one in chosen:
        address.keep(one.name, str(values[one.name]), str(one.default))
    return values


def _field(method: Method, setting: Setting, side: int) -> Any:
    """A field for a setting."""
    title, key = _(SETTING_TITLES[setting.name]), f"{method.name}-{setting.name}"
    help = _(setting.help)
    address.begin(key, _asked(setting, side))
    if setting.choices:
        return st.selectbox(title, list(setting.choices), help=help, key=key)
    if isinstance(setting.default, int):
        high = _most(setting, side)
        st.session_state[key] = min(st.session_state[key], high)
        return st.number_input(title, int(setting.low or 0), high, step=1, help=help, key=key)
    step, form = (0.01, "%.3f") if setting.name == "reliability" else (0.05, "%.2f")
    return st.number_input(
        title, float(setting.low or 0), float(setting.high or 1), step=step, format=form, help=help, key=key
    )


def _most(setting: Setting, side: int) -> int:
    """Cells of a grid are not smaller than pixels."""
    return min(int(setting.high or 0), side) if setting.name == "grid" else int(setting.high or 0)


def _asked(setting: Setting, side: int) -> Any:
    """A setting's value in the address, or its default."""
    text = address.read(setting.name, str(setting.default))
    kind: Callable[[str], Any] = type(setting.default)
    try:
        value = setting.check(kind(text))
        return min(value, _most(setting, side)) if isinstance(value, int) and not setting.choices else value
    except (KdvizError, ValueError):  # of another kind, out of range, no such choice
        say_error(
            _(
                "'{value}' in the page's address does not fit the setting '{name}'; its usual value is used instead.",
                value=text[:40],
                name=setting.name,
            )
        )
        return setting.default


def _from_address(
    name: str,
    label: str,
    options: tuple,
    default: Any,
    show: Any,
    help: str,
    *,
    width: int = 198,
    missing: str | None = None,
) -> Any:
    """A select box whose value is in the page's address; ``missing`` is a value that may not be offered just now."""
    texts = [str(option) for option in options]
    asked = _known_from_address(name, texts, str(default), missing)
    value = st.selectbox(label, options, index=texts.index(asked), format_func=show, help=help, width=width)
    address.keep(name, str(value), str(default))
    return value


def _known_from_address(name: str, texts: Sequence[str], default: str, missing: str | None = None) -> str:
    """The address's value, one of ``texts``; others are said, except ``missing``."""
    asked = address.read(name, default)
    if asked == missing and missing not in texts:
        return default
    return asked if asked in texts else address.read_choice(name, texts, default)
