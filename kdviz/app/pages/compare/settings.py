"""What is explained and how: models, class, method and its settings, all of them kept in the page's address."""

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
from kdviz.core.vocabulary import Role
from kdviz.saliency import Method, Setting, methods

MASKS = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)
TEACHER, PREDICTED, TRUE, EACH = "teacher", "predicted", "true", "each"
RISE = "rise"
_NO_BASELINE = "none"
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
        roles: Roles of the models.
        method: Name of the method.
        rows: The settings of each row of maps.
        target: The class explained: an index, ``teacher`` for the teacher's prediction, None for each model's own, or
            (role, index) for each.
    """

    roles: tuple[str, ...]
    method: str
    rows: tuple[dict[str, Any], ...]
    target: int | str | tuple[tuple[str, int], ...] | None


def show_settings(opened: OpenExperiment, selected: SelectedImage | None) -> MapRequest:
    """Show the widgets of the settings, and return what they request."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="settings"):
        roles = _choose_models(opened)
        method = _select_box(
            "method",
            _("Method"),
            tuple(methods),
            RISE,
            _method_title,
            _("RISE treats a model as a black box and fits every one; others need to look inside."),
            width=165,
        )
        target = _choose_target(opened, selected, method)
        setting_names = {setting.name for setting in methods[method].settings}
        settings: dict[str, Any] = {}
        if "n_masks" in setting_names:
            settings["n_masks"] = _select_box(
                "masks",
                _("Masks"),
                MASKS,
                service.default_masks(opened),
                number,
                _("More masks, less noise; time grows with them."),
                width=110,
            )
        baselines = [_choose_baseline(opened)] if "baseline" in setting_names else [None]
        more = st.popover(_("More settings"), icon=":material/tune:", key="more-settings", on_change="rerun")
        with more:
            if "baseline" in setting_names:
                baselines += _choose_second_baseline(str(baselines[0]), bool(more.open))
            settings |= _choose_more_settings(methods[method], min(opened.experiment.input.size), bool(more.open))
    classes = _explained_class(opened, selected, target, roles)
    complete = methods[method].complete(settings)
    rows = [{"method": method, **complete, **({"baseline": baseline} if baseline else {})} for baseline in baselines]
    return MapRequest(roles, method, tuple(rows), classes)


def _method_title(name: str) -> str:
    return _(METHOD_TITLES[name]) if name in METHOD_TITLES else methods[name].title


def _choose_models(opened: OpenExperiment) -> tuple[str, ...]:
    """Roles of the models, at least one; pills to select them if there are several."""
    roles = list(opened.experiment.models)
    if len(roles) < 2:
        return tuple(roles)
    requested = [role for role in roles if role in address.read("models", ",".join(roles)).split(",")] or roles
    chosen = st.pills(
        _("Models"),
        roles,
        selection_mode="multi",
        format_func=lambda role: plain(figures.role_title(role)),
        key=address.widget_key(f"compare-models-{opened.fingerprint[:8]}", requested),
        width="content",
    )
    selected = [role for role in roles if role in chosen] or roles
    address.keep("models", ",".join(selected), ",".join(roles))
    return tuple(selected)


# the class explained --------------------------------------------------------------------------------------------------


def _choose_target(opened: OpenExperiment, selected: SelectedImage | None, method: str) -> str:
    classes = opened.experiment.classes
    true_class = selected.true_class if selected else None
    defaults = [TEACHER, PREDICTED] if Role.TEACHER in opened.experiment.models else [PREDICTED]
    options = [*defaults, *([TRUE] if true_class is not None else []), EACH, *classes]
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
    return _select_box(
        "target",
        _("Class explained"),
        tuple(options),
        defaults[0],
        lambda option: titles.get(option, option),
        about,
        missing=TRUE,  # an upload has no true class
    )


def _explained_class(
    opened: OpenExperiment, selected: SelectedImage | None, option: str, roles: Sequence[str]
) -> int | str | tuple[tuple[str, int], ...] | None:
    """The class of :class:`MapRequest` for an option of the select box."""
    if option == EACH:
        return _choose_class_of_each(opened, selected, roles)
    address.keep("targets", "", "")
    if option == TEACHER:
        return service.TEACHER
    if option == PREDICTED:
        return None
    if option == TRUE:
        return selected.true_class if selected else None
    return opened.experiment.class_index(option)


def _choose_class_of_each(
    opened: OpenExperiment, selected: SelectedImage | None, roles: Sequence[str]
) -> tuple[tuple[str, int], ...]:
    classes = opened.experiment.classes
    start = (selected.true_class if selected else None) or 0
    requested = dict(part.split(":", 1) for part in address.read("targets", "").split(",") if ":" in part)
    targets = []
    with st.container(horizontal=True, gap="small", key="targets"):
        for role in roles:
            text = requested.get(role, "")
            index = int(text) if text.isascii() and text.isdecimal() and int(text) < len(classes) else start
            name = st.selectbox(
                _("Class for {model}", model=figures.role_title(role)),
                classes,
                key=address.widget_key(f"target-{role}-{len(classes)}", classes[index]),
                width=180,
            )
            targets.append((role, classes.index(name)))
    address.keep("targets", ",".join(f"{role}:{index}" for role, index in targets), "")
    return tuple(targets)


# baselines and other settings -----------------------------------------------------------------------------------------


def _choose_baseline(opened: OpenExperiment) -> str | None:
    about = _("Blur is the picture without its details; noise is random grey.")
    if opened.is_mnist:
        black = _("On MNIST black is the background too: removing background then changes nothing. Grey shows it.")
        about = together([black, about])
    return _select_box(
        "baseline", _("A removed pixel becomes"), tuple(BASELINE_TITLES), "black", _baseline_title, about, width=170
    )


def _choose_second_baseline(first: str, visible: bool) -> list[str]:
    """No baseline, or a single one other than the first."""
    options = (_NO_BASELINE, *(name for name in BASELINE_TITLES if name != first))
    if not visible:
        second = _option_from_address("baseline2", options, _NO_BASELINE, missing=first)
        address.keep("baseline2", second, _NO_BASELINE)
        return [] if second == _NO_BASELINE else [second]
    second = _select_box(
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


def _choose_more_settings(method: Method, side: int, visible: bool) -> dict[str, Any]:
    """The values of the other settings.

    Args:
        method: The method that has the settings.
        side: Shorter side of the picture in pixels.
        visible: Whether the fields are seen; otherwise none are made, and the values come from the address.
    """
    settings = [setting for setting in method.settings if setting.name in SETTING_TITLES]
    values = {
        setting.name: _setting_field(method, setting, side) if visible else _requested_value(setting, side)
        for setting in settings
    }
    for setting in settings:
        address.keep(setting.name, str(values[setting.name]), str(setting.default))
    return values


def _setting_field(method: Method, setting: Setting, side: int) -> Any:
    """Show a field for a setting, and return its value."""
    title, key = _(SETTING_TITLES[setting.name]), f"{method.name}-{setting.name}"
    help = _(setting.help)
    address.widget_key(key, _requested_value(setting, side))
    if setting.choices:
        return st.selectbox(title, list(setting.choices), help=help, key=key)
    if isinstance(setting.default, int):
        high = _upper_limit(setting, side)
        st.session_state[key] = min(st.session_state[key], high)
        return st.number_input(title, int(setting.low or 0), high, step=1, help=help, key=key)
    step, form = (0.01, "%.3f") if setting.name == "reliability" else (0.05, "%.2f")
    return st.number_input(
        title, float(setting.low or 0), float(setting.high or 1), step=step, format=form, help=help, key=key
    )


def _upper_limit(setting: Setting, side: int) -> int:
    """Largest value of a setting; the cells of a grid are not smaller than pixels."""
    return min(int(setting.high or 0), side) if setting.name == "grid" else int(setting.high or 0)


def _requested_value(setting: Setting, side: int) -> Any:
    """A setting's value in the address, or its default."""
    text = address.read(setting.name, str(setting.default))
    kind: Callable[[str], Any] = type(setting.default)
    try:
        value = setting.check(kind(text))
        return min(value, _upper_limit(setting, side)) if isinstance(value, int) and not setting.choices else value
    except (KdvizError, ValueError):  # of another type, out of range, or no such choice
        say_error(
            _(
                "'{value}' in the page's address does not fit the setting '{name}'; its usual value is used instead.",
                value=text[:40],
                name=setting.name,
            )
        )
        return setting.default


def _select_box(
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
    """A select box with its value in the page's address; ``missing`` is a value that may not be on offer just now."""
    texts = [str(option) for option in options]
    requested = _option_from_address(name, texts, str(default), missing)
    value = st.selectbox(label, options, index=texts.index(requested), format_func=show, help=help, width=width)
    address.keep(name, str(value), str(default))
    return value


def _option_from_address(name: str, texts: Sequence[str], default: str, missing: str | None = None) -> str:
    """The address's value, one of ``texts``; others are reported on the page, except ``missing``."""
    requested = address.read(name, default)
    if requested == missing and missing not in texts:
        return default
    return requested if requested in texts else address.read_choice(name, texts, default)
