"""The view of *Mistakes*: its filters and choices in the page's address, and the controls that change them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.texts import plain, say_error
from kdviz.app.widgets.component import component
from kdviz.core.language import _, number, percent
from kdviz.core.vocabulary import Role
from kdviz.data.labels.matching import second_names
from kdviz.studies.predictions.mistake_index import ORDERS, Filters, MistakeIndex, order_role, without

ADDRESS = (
    *("group", "class", "said", "model", "matrix", "confidence", "inside"),
    *("order", "page", "open", "selected", "explain"),
)
MOST_SELECTED = 100
COUNTS, CHANGE = "counts", "change"
_PERCENT = re.compile(r"([0-9]{1,3})-([0-9]{1,3})")
_EVERY = (0, 100)
_FIXED_DEFAULTS = {"matrix": COUNTS, "confidence": "0-100", "inside": "0-100", "page": "1", "explain": "own"}
_DEFAULTS = "mistakes-defaults"


@dataclass(frozen=True)
class View:
    """What the address says, after anything in it that is unknown has been replaced.

    Attributes:
        filters: Which samples are shown.
        order: One of :attr:`MistakeIndex.orders`.
        change: Whether the class pairs show what distillation changed.
        page: Number of the page, from 1; it may lie beyond the last one.
        open: Number of the open sample; None if none is open.
        selected: Numbers of the selected samples.
    """

    filters: Filters
    order: str
    change: bool
    page: int
    open: int | None
    selected: tuple[int, ...]


def adopt(index: MistakeIndex) -> None:
    """Take the view from the address, or write the view of this session there.

    This is done only when the page itself runs: while somebody clicks quickly, a fragment can run with an address that
    is already outdated.
    """
    st.session_state[_DEFAULTS] = _FIXED_DEFAULTS | {"group": index.groups[0], "order": index.orders[0]}
    for name in ADDRESS:
        address.keep(name, address.read(name, _default(name)), _default(name))


def _default(name: str) -> str:
    return st.session_state[_DEFAULTS].get(name, "")


def _value(name: str) -> str:
    return st.session_state.get(f"address-{name}", _default(name))


def _choice(name: str, options: Sequence[str]) -> str:
    value = _value(name)
    if value in options:
        return value
    keep(name, _default(name))
    say_error(
        _(
            "'{value}' in the page's address is not a known {name}; it is left out.",
            value=value[:40],
            name=name,
        )
    )
    return _default(name)


def keep(name: str, value: str) -> None:
    """Change a part of the view; a list begins again at its first page."""
    address.keep(name, value, _default(name))
    if name not in ("page", "open", "selected", "explain"):
        address.keep("page", "1", "1")


def read(index: MistakeIndex, classes: Sequence[str]) -> View:
    """The view that the address requests."""
    group = _choice("group", index.groups)
    model = _choice("model", ("", *index.roles)) or _default_model(index, group)
    change = _choice("matrix", (COUNTS, CHANGE)) == CHANGE and index.has_change
    low, high = _range("confidence")
    inside = _range("inside") if index.inside else _EVERY
    filters = Filters(
        group=group,
        model=model,
        true=_class("class", classes) if index.labelled else None,
        said=_class("said", classes),
        either=change,
        low=low / 100,
        high=high / 100,
        inside=None if inside == _EVERY else (inside[0] / 100, inside[1] / 100),
    )
    selected = [int(text) for text in _value("selected").split(",") if _is_number(text)]
    opened, page = _value("open"), _value("page")
    return View(
        filters=filters,
        order=_choice("order", index.orders),
        change=change,
        page=int(page) if _is_number(page) else 1,
        open=int(opened) if _is_number(opened) else None,
        selected=tuple(dict.fromkeys(selected))[:MOST_SELECTED],
    )


def _default_model(index: MistakeIndex, group: str) -> str:
    """Role of the model whose mistakes the group is about."""
    if group in index.made:
        return index.made[group].role
    preferred = (Role.STUDENT, Role.KD_STUDENT) if group == "fixed" else (Role.KD_STUDENT, Role.STUDENT)
    # Of ``index.roles``: Streamlit refuses an enum member as the value of a widget whose options are texts.
    return next((role for name in preferred for role in index.roles if role == name), index.roles[0])


def _class(name: str, classes: Sequence[str]) -> int | None:
    chosen = _choice(name, ("", *classes))
    return classes.index(chosen) if chosen else None


def _range(name: str) -> tuple[int, int]:
    """Two percentages."""
    text = _value(name)
    match = _PERCENT.fullmatch(text)
    low, high = (int(group) for group in match.groups()) if match else (1, 0)
    if low <= high <= 100:
        return low, high
    keep(name, _default(name))
    problem = _(
        "'{value}' in the page's address is not a range of confidence such as 50-90; it is left out.", value=text[:40]
    )
    if name == "inside":
        problem = _(
            "'{value}' in the page's address is not a range of shares such as 0-20; it is left out.", value=text[:40]
        )
    say_error(problem)
    return _EVERY


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


# controls -------------------------------------------------------------------------------------------------------------


def show_groups(index: MistakeIndex, view: View) -> None:
    """Show the groups to choose from, each with its count under the other filters."""
    counts = index.counts(view.filters)
    options = []
    for group in index.groups:
        title, about = words_of(index, group)
        count = {"count": number(counts[group]), "none": not counts[group]}
        options.append({"name": group, "title": title, "about": about, **count})
    label = _("Who is wrong") if index.labelled else _("Who disagrees")
    data = {"label": label, "options": options, "chosen": view.filters.group}
    component("chips")(data=data, key="mistakes-chips", on_chosen_change=_group_chosen)


def words_of(index: MistakeIndex, group: str) -> tuple[str, str]:
    """The title and the meaning of a group."""
    words = index.words(group)
    return _(words.title, **words.values), _(words.about, **words.values)


def _group_chosen() -> None:
    keep("group", str(st.session_state["mistakes-chips"]["chosen"]))


def show_filters(index: MistakeIndex, view: View, classes: Sequence[str]) -> None:
    """Show the filters that are chosen from lists, and the order."""
    titles = {role: figures.role_title(role) for role in index.roles}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="mistakes-bar"):
        help = _("Whose answers the class pairs count, and whose answer and confidence the filters mean.")
        _show_select(_("Model"), "model", list(index.roles), view.filters.model, titles.__getitem__, 165, help)
        names, other_names = ["", *classes], second_names(tuple(classes))

        def class_name(name: str) -> str:
            return f"{name} · {other_names[name]}" if name in other_names else name or _("Any")

        width = 120 if max(map(len, classes)) <= 4 else 190 if not other_names else 230
        true, answer = view.filters.true, view.filters.said
        if index.labelled:
            _show_select(_("True class"), "class", names, "" if true is None else classes[true], class_name, width)
        answer_label = _("A student's answer") if view.change else _("Its answer")
        _show_select(answer_label, "said", names, "" if answer is None else classes[answer], class_name, width)

        def order_title(order: str) -> str:
            return _order_title(order, view.filters.model)

        _show_select(_("Order"), "order", list(index.orders), view.order, order_title, 320)
        confidence = (view.filters.low, view.filters.high)
        _show_slider("confidence", _("Its confidence"), confidence)
        if index.inside:
            help = _("Share of the model's positive saliency that lies inside the picture's region.")
            _show_slider("inside", _("Inside the region"), view.filters.inside or (0.0, 1.0), help)


def _show_select(
    label: str, name: str, options: list[str], value: str, show: Callable[[str], str], width: int, help: str = ""
) -> None:
    key = f"mistakes-{name}"
    if st.session_state.get(key) != value:
        st.session_state[key] = value

    def on_change() -> None:
        keep(name, str(st.session_state[key]))

    st.selectbox(label, options, key=key, format_func=show, width=width, help=help or None, on_change=on_change)


def _show_slider(name: str, label: str, ends: tuple[float, float], help: str = "") -> None:
    key, value = f"mistakes-{name}", (round(100 * ends[0]), round(100 * ends[1]))
    if st.session_state.get(key) != value:
        st.session_state[key] = value

    def on_change() -> None:
        low, high = st.session_state[key]
        keep(name, f"{low}-{high}")

    st.slider(label, *_EVERY, key=key, format="%d%%", width=230, help=help or None, on_change=on_change)


def _order_title(order: str, model: str) -> str:
    role = order_role(order)
    title = ORDERS["kl" if role else order]
    return _(title, model=figures.role_title(role or model)) if "{model}" in title else _(title)


def show_active_filters(view: View, classes: Sequence[str]) -> None:
    """Show the filters other than the group, each with a button that removes it."""
    descriptions = descriptions_of(view, classes)
    # The container is always there: if what is below moved up, it would be built anew and lose the focus.
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="mistakes-tokens"):
        for name, text in descriptions.items():
            icon, help = ":material/close:", _("Leave this filter out")
            st.button(plain(text), key=f"drop-{name}", icon=icon, help=help, on_click=drop, args=(name,))
        if len(descriptions) > 1:
            st.button(_("Clear all"), key="drop-all", type="tertiary", on_click=drop, args=tuple(descriptions))


def descriptions_of(view: View, classes: Sequence[str]) -> dict[str, str]:
    """Name of each filter that is set, except the group -> its description; the names are those of ``without``."""
    filters, model = view.filters, figures.role_title(view.filters.model)
    descriptions = {}
    if filters.true is not None:
        descriptions["true"] = _("True class {name}", name=classes[filters.true])
    if filters.said is not None:
        name = classes[filters.said]
        description = (
            _("A student says {name}", name=name) if view.change else _("{model} says {name}", model=model, name=name)
        )
        descriptions["said"] = description
    if (filters.low, filters.high) != (0, 1):
        low, high = percent(filters.low, 0), percent(filters.high, 0)
        descriptions["confidence"] = _("{model} is {low} to {high} sure", model=model, low=low, high=high)
    if filters.inside is not None:
        low, high = (percent(end, 0) for end in filters.inside)
        descriptions["inside"] = _("{model} looks {low} to {high} inside the region", model=model, low=low, high=high)
    return descriptions


def drop(*names: str) -> None:
    """Remove filters."""
    for name in names:
        name = "class" if name == "true" else name
        keep(name, _default(name))


def show_empty(index: MistakeIndex, view: View, classes: Sequence[str]) -> None:
    """Show that no sample passes, and which single filter stands in the way."""
    st.info(_("No sample passes all of these filters."), icon=":material/search_off:")
    with st.container(horizontal=True, gap="small"):
        for name, text in descriptions_of(view, classes).items():
            count = int(index.passing(without(view.filters, name)).sum())
            if count:
                label = _("Without “{filter}”: {count}", filter=text, count=number(count))
                st.button(plain(label), key=f"without-{name}", on_click=drop, args=(name,))
        count = int(index.passing(without(view.filters, "group")).sum())
        if count and view.filters.group != "all":
            label = _("Whoever is wrong or right: {count}", count=number(count))
            if not index.labelled:
                label = _("Whether they agree or not: {count}", count=number(count))
            st.button(label, key="without-group", on_click=keep, args=("group", "all"))
