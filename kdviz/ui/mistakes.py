"""Mistakes: held-out samples by who gets them wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.analysis.mistakes import GROUPS, ORDERS, Predictions, distillation_effect, members, ordered
from kdviz.ui import address, components, service
from kdviz.ui.shell import heading

_PER_PAGE = 48
_DEFAULT = "lost"


def page() -> None:
    address.only("group", "class", "order")
    opened = service.open_experiment("mnist")
    predictions = opened.predictions
    heading(
        "Who gets it wrong?",
        f"{len(predictions.labels):,} real digits that were held out of all training. "
        "Choose a group, then open a digit to see the models' maps.",
    )
    st.markdown(_effect(predictions))
    group, order, label = _filters(opened)
    index = np.flatnonzero(members(predictions, group))
    if label is not None:
        index = index[predictions.labels[index] == label]
    index = ordered(predictions, index, order)
    st.caption(
        f"{GROUPS[group][1]} Under each digit: :blue[■] teacher, :green[●] KD student, :orange[◆] student alone."
    )
    if not len(index):
        st.info("No sample is in this group.", icon=":material/search_off:")
        return
    shown = _page_of(index)
    items = [_item(opened, int(sample)) for sample in shown]
    picked = components.gallery(
        opened.samples, shown.tolist(), items, key="mistakes", label=GROUPS[group][0], thumb=112
    )
    if picked is not None:
        st.session_state["upload_active"] = False
        st.switch_page(st.session_state["pages"]["compare"], query_params={"sample": str(picked)})
    st.download_button(
        "This list (CSV)",
        lambda: _table(opened, index).to_csv(index=False),
        f"kdviz-{group}.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
    )


def _effect(predictions: Predictions) -> str:
    effect = distillation_effect(predictions)
    if effect is None:
        return ""
    chance = "p < 0.001" if effect.p_value < 0.001 else f"p = {effect.p_value:.3f}"
    return (
        f"Distillation **fixed {effect.fixed}** mistakes of the student alone and **broke {effect.broke}** digits "
        f"that it had right (McNemar's exact test, {chance})."
    )


def _filters(opened: service.OpenExperiment) -> tuple[str, str, int | None]:
    predictions = opened.predictions
    counts = {group: int(members(predictions, group).sum()) for group in GROUPS}
    group = address.read_choice("group", tuple(GROUPS), _DEFAULT)
    group = st.pills(
        "Group",
        list(GROUPS),
        default=group,
        required=True,
        format_func=lambda name: f"{GROUPS[name][0]} ({counts[name]:,})",
        label_visibility="collapsed",
    )
    group = group or _DEFAULT
    classes = opened.experiment.classes
    with st.container(horizontal=True):
        names = ("any", *classes)
        wanted = address.read_choice("class", names, "any")
        name = st.selectbox(
            "True class",
            names,
            index=names.index(wanted),
            format_func=lambda one: "Any" if one == "any" else one,
            width=140,
        )
        orders = tuple(ORDERS)
        order = st.selectbox(
            "Order",
            orders,
            index=orders.index(address.read_choice("order", orders, "gap")),
            format_func=lambda one: ORDERS[one],
            width=340,
        )
    address.keep("group", group, _DEFAULT)
    address.keep("class", name, "any")
    address.keep("order", order, "gap")
    return group, order, None if name == "any" else classes.index(name)


def _page_of(index: np.ndarray) -> np.ndarray:
    pages = -(-len(index) // _PER_PAGE)
    if pages == 1:
        return index
    number = st.number_input(f"Page, of {pages}", 1, pages, 1, width=160)
    return index[(number - 1) * _PER_PAGE : number * _PER_PAGE]


def _item(opened: service.OpenExperiment, sample: int) -> dict[str, Any]:
    predictions, classes = opened.predictions, opened.experiment.classes
    label = int(predictions.labels[sample])
    lines = [
        {
            "colour": figures.role_colour(role),
            "symbol": figures.ROLE_SYMBOLS.get(role, "square"),
            "predicted": classes[int(predicted[sample])],
            "confidence": f"{predictions.confidence[role][sample]:.0%}",
            "wrong": bool(predicted[sample] != label),
        }
        for role, predicted in predictions.predicted.items()
    ]
    said = ", ".join(
        f"{figures.role_title(role)} says {classes[int(predicted[sample])]}"
        for role, predicted in predictions.predicted.items()
    )
    return {
        "id": sample,
        "alt": f"Sample {sample}, a {classes[label]}: {said}. Open in Compare.",
        "label": f"True {classes[label]}",
        "lines": lines,
    }


def _table(opened: service.OpenExperiment, index: np.ndarray) -> pd.DataFrame:
    predictions = opened.predictions
    classes = np.array(opened.experiment.classes)
    columns: dict[str, Any] = {"sample": index, "true": classes[predictions.labels[index]]}
    for role, predicted in predictions.predicted.items():
        columns[f"{role}_predicted"] = classes[predicted[index]]
        columns[f"{role}_confidence"] = predictions.confidence[role][index]
    return pd.DataFrame(columns)
