"""Mistakes: held-out samples by who gets them wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.analysis.mistakes import GROUPS, ORDERS, Predictions, distillation_effect, members, ordered
from kdviz.ui import address, components
from kdviz.ui.library import OpenExperiment, Shown
from kdviz.ui.texts import download, plain, say_missing
from kdviz.ui.top import heading

_PER_PAGE = 48
_NEEDS = {"lost": "teacher", "inherited": "teacher", "fixed": "student", "broken": "student"}
_MARKS = {"teacher": ":blue[■]", "kd_student": ":green[●]", "student": ":orange[◆]"}


def page() -> None:
    address.only("group", "class", "order")
    opened = heading("Who gets it wrong?")
    shown = opened.shown
    if shown is None:
        say_missing("This experiment keeps no pictures of its data, so that there is nothing to show here.")
        return
    if shown.predictions is None:
        say_missing(shown.missing)
        return
    _browse(opened, shown, shown.predictions)


def _browse(opened: OpenExperiment, shown: Shown, predictions: Predictions) -> None:
    st.markdown(f"{_about(opened, shown)} Choose a group, then open one to see the models' maps.")
    st.markdown(_effect(predictions, opened.noun))
    group, order, label = _filters(opened, predictions)
    places = np.flatnonzero(members(predictions, group))
    if label is not None:
        places = places[predictions.labels[places] == label]
    places = ordered(predictions, places, order)
    marks = ", ".join(f"{_MARKS.get(role, '■')} {plain(figures.role_title(role))}" for role in predictions.predicted)
    st.caption(f"{GROUPS[group][1]} Under each {opened.noun}: {marks}.")
    if not len(places):
        st.info("No sample is in this group.", icon=":material/search_off:")
        return
    visible = _page_of(places)
    items = [_item(opened, shown, predictions, int(place)) for place in visible]
    long = max(map(len, opened.experiment.classes)) > 4
    picked = components.gallery(
        shown, visible.tolist(), items, key="mistakes", label=GROUPS[group][0], thumb=168 if long else 112
    )
    if picked is not None:
        st.session_state["upload_active"] = False
        st.switch_page(st.session_state["pages"]["compare"], query_params={"sample": str(picked)})
    download(
        "This list (CSV)",
        f"kdviz-{opened.experiment.name}-{group}.csv",
        "text/csv",
        lambda: _table(opened, shown, predictions, places).to_csv(index=False),
    )


def _about(opened: OpenExperiment, shown: Shown) -> str:
    """Which samples these are, and what was done with them."""
    if opened.is_mnist:
        return f"{len(shown):,} real digits that were held out of all training."
    text = f"{plain(opened.title)}: {len(shown):,} {shown.split} {opened.noun}s"
    if shown.split == "validation":
        return f"{text}; no weights were trained on them, but each model's best epoch was chosen on them."
    return f"{text} that were held out of all training."


def _effect(predictions: Predictions, noun: str) -> str:
    effect = distillation_effect(predictions)
    if effect is None:
        return ""
    chance = "p < 0.001" if effect.p_value < 0.001 else f"p = {effect.p_value:.3f}"
    return (
        f"Distillation **fixed {effect.fixed}** mistakes of the student alone and **broke {effect.broke}** {noun}s "
        f"that it had right (McNemar's exact test, {chance})."
    )


def _groups(predictions: Predictions) -> list[str]:
    """Those whose models there are."""
    roles = set(predictions.predicted)
    return [group for group in GROUPS if group not in _NEEDS or {_NEEDS[group], "kd_student"} <= roles]


def _filters(opened: OpenExperiment, predictions: Predictions) -> tuple[str, str, int | None]:
    groups = _groups(predictions)
    counts = {group: int(members(predictions, group).sum()) for group in groups}
    usual = groups[0]
    group = address.read_choice("group", groups, usual)
    group = st.pills(
        "Group",
        groups,
        default=group,
        required=True,
        format_func=lambda name: f"{GROUPS[name][0]} ({counts[name]:,})",
        label_visibility="collapsed",
    )
    group = group or usual
    classes = opened.experiment.classes
    with st.container(horizontal=True):
        names = ("any", *classes)
        wanted = address.read_choice("class", names, "any")
        name = st.selectbox(
            "True class",
            names,
            index=names.index(wanted),
            format_func=lambda one: "Any" if one == "any" else one,
            width=140 if opened.is_mnist else 220,
        )
        orders = tuple(ORDERS)
        order = st.selectbox(
            "Order",
            orders,
            index=orders.index(address.read_choice("order", orders, "gap")),
            format_func=lambda one: ORDERS[one],
            width=340,
        )
    address.keep("group", group, usual)
    address.keep("class", name, "any")
    address.keep("order", order, "gap")
    return group, order, None if name == "any" else classes.index(name)


def _page_of(index: np.ndarray) -> np.ndarray:
    pages = -(-len(index) // _PER_PAGE)
    if pages == 1:
        return index
    number = st.number_input(f"Page, of {pages}", 1, pages, 1, width=160)
    return index[(number - 1) * _PER_PAGE : number * _PER_PAGE]


def _item(opened: OpenExperiment, shown: Shown, predictions: Predictions, place: int) -> dict[str, Any]:
    classes, number = opened.experiment.classes, int(shown.numbers[place])
    label = int(predictions.labels[place])
    lines = [
        {
            "colour": figures.role_colour(role),
            "symbol": figures.role_symbol(role),
            "predicted": classes[int(predicted[place])],
            "confidence": f"{predictions.confidence[role][place]:.0%}",
            "wrong": bool(predicted[place] != label),
        }
        for role, predicted in predictions.predicted.items()
    ]
    said = ", ".join(
        f"{figures.role_title(role)} says {classes[int(predicted[place])]}"
        for role, predicted in predictions.predicted.items()
    )
    return {
        "id": number,
        "alt": f"Sample {number}, {components.with_article(classes[label])}: {said}. Open in Compare.",
        "label": f"True {classes[label]}",
        "lines": lines,
    }


def _table(opened: OpenExperiment, shown: Shown, predictions: Predictions, places: np.ndarray) -> pd.DataFrame:
    classes = np.array(opened.experiment.classes)
    columns: dict[str, Any] = {"sample": shown.numbers[places], "true": classes[predictions.labels[places]]}
    for role, predicted in predictions.predicted.items():
        columns[f"{role}_predicted"] = classes[predicted[places]]
        columns[f"{role}_confidence"] = predictions.confidence[role][places]
    return pd.DataFrame(columns)
