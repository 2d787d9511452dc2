"""Dark knowledge: what the teacher's answer says about the other classes, against temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st
from PIL import Image

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.dark_knowledge import PAGE
from kdviz.app.pictures.absent_pictures import show_absent_pictures
from kdviz.app.samples import SampleView
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import about_sample, download, plain, say_error, say_missing
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.language import _, listed, number, percent
from kdviz.core.vocabulary import Role
from kdviz.studies.predictions.soft_targets import TEMPERATURES, entropy_bits, least_sure, soft_targets, softened_table

_START = 4.0
_SIDE = 224  # pixels of the picture on the page
_NUMBER = "softened-number"


def page() -> None:
    """Show one sample, and a slider for the temperature."""
    address.keep_only("sample", "T", "models", "scale")
    opened = heading(PAGE)
    st.markdown(
        _(
            "A KD student learns from the teacher's probabilities, softened by a temperature: at T = 1 they are nearly "
            "all on one class; a higher T shows how the teacher ranks the others."
        )
    )
    samples = opened.answered
    if samples is None:
        say_missing(_("This experiment keeps no pictures of its data, so that there is nothing to show here."))
    elif samples.predictions is None:
        say_missing(samples.missing)
    else:
        _show_sample_and_targets(opened, samples)
        show_absent_pictures(opened)


def _show_sample_and_targets(opened: OpenExperiment, samples: SampleView) -> None:
    if Role.TEACHER not in samples.logits:
        say_missing(_("No answers of a teacher are stored for these images, only those of the students."))
    left, right = st.columns([1, 3], gap="large")
    with left:
        index = _show_sample(opened, samples)
    with right:
        _show_targets(opened, samples, index)


# the sample -----------------------------------------------------------------------------------------------------------


def _show_sample(opened: OpenExperiment, samples: SampleView) -> int:
    """Show a sample with the controls that choose another one, and return its index."""
    index = _requested_index(samples)
    sample, label = int(samples.numbers[index]), int(samples.labels[index])
    if samples.has_pictures:
        st.image(_enlarged(samples.picture(index)), width=_SIDE, alt=_("Sample {number}", number=sample))
    about = about_sample(sample, label, opened.experiment.classes)
    if label >= 0:
        name = plain(opened.experiment.classes[label])
        about = _("Sample {number}, true class **{name}**", number=sample, name=name)
    st.markdown(f"{about}  \n:gray[{plain(opened.pictures)}]")
    st.session_state[_NUMBER] = sample  # a button may have chosen another one
    last = int(samples.numbers.max())
    st.number_input(_("Sample number"), 0, last, step=1, width=_SIDE, key=_NUMBER, on_change=_go_to_number)
    role = _main_role(samples)
    with st.container(horizontal=True, gap="small"):
        for title, help, order in _picks(samples, role):
            target = int(samples.numbers[_next_index(order, index)]) if len(order) else sample
            st.button(title, help=help, disabled=not len(order), on_click=_go_to, args=(target,))
    return index


def _requested_index(samples: SampleView) -> int:
    text = address.read("sample", "")
    address.keep("sample", text, "")
    start = int(least_sure(samples.logits[_main_role(samples)])[0])
    if not text:
        return start
    valid = text.isascii() and text.isdecimal() and len(text) < 10
    index = samples.index_of(int(text)) if valid else None
    if index is None:
        say_error(
            _("There is no sample '{number}' with a picture here; another one is shown instead.", number=text[:40])
        )
        return start
    return index


def _main_role(samples: SampleView) -> str:
    return Role.TEACHER if Role.TEACHER in samples.logits else next(iter(samples.logits))


def _go_to(number: int) -> None:
    address.keep("sample", str(number), "")


def _go_to_number() -> None:
    _go_to(int(st.session_state[_NUMBER]))


def _picks(samples: SampleView, role: str) -> list[tuple[str, str, np.ndarray]]:
    """(title, help, indices in the order in which they are shown) of each button."""
    assert samples.predictions is not None
    unsure = least_sure(samples.logits[role])
    wrong = unsure[~samples.predictions.right(role)[unsure]] if samples.labelled else unsure[:0]
    title = plain(figures.role_title(role))
    picks = [
        (
            _("{model}'s least sure", model=title),
            _("The sample on which this model's entropy is highest; again: the next."),
            unsure,
        ),
        (_("{model} wrong", model=title), _("A sample that this model gets wrong; again: the next."), wrong),
        (_("Random"), _("Any sample."), np.random.default_rng().permutation(len(samples))),
    ]
    return picks if samples.labelled else [picks[0], picks[2]]


def _next_index(order: np.ndarray, index: int) -> int:
    """The index that follows in an order; the first one after the last, or if ``index`` is not in the order."""
    matches = np.flatnonzero(order == index)
    return int(order[(int(matches[0]) + 1) % len(order)]) if len(matches) else int(order[0])


def _enlarged(picture: Image.Image) -> Image.Image:
    """A small picture enlarged by a whole factor, its pixels as squares."""
    times = max(1, _SIDE // max(picture.size))
    size = picture.width * times, picture.height * times
    return picture.resize(size, Image.Resampling.NEAREST)


# its targets ----------------------------------------------------------------------------------------------------------


@st.fragment
def _show_targets(opened: OpenExperiment, samples: SampleView, index: int) -> None:
    """Show the soft targets. Moving the slider runs only this; everything it needs is in memory."""
    temperature = _choose_temperature()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        roles = _choose_roles(list(samples.logits))
        log = _choose_scale()
    classes, label = opened.experiment.classes, int(samples.labels[index])
    logits = {role: samples.logits[role][index] for role in roles}
    st.markdown(_sentence(logits, classes, temperature))
    bars = figures.soft_target_bars(logits, classes, temperature, label, log)
    show_chart(bars, "softened")
    st.markdown(
        f"**{_('Entropy against temperature')}**",
        help=_("0 bits: all on one class. The most: the same for every class."),
    )
    show_chart(figures.entropy_against_temperature(logits, temperature), "entropy")
    name = f"kdviz-{opened.experiment.name}-sample-{int(samples.numbers[index])}-T{temperature:g}"
    _show_files(logits, classes, temperature, label, log, name)


def _choose_temperature() -> float:
    options = [f"{temperature:g}" for temperature in TEMPERATURES]
    key = address.widget_key("softened-T", address.read_choice("T", options, f"{_START:g}"))
    chosen = st.select_slider(_("Temperature T"), options, key=key, help=_("From 0.5 to 64, four steps to a doubling."))
    address.keep("T", chosen, f"{_START:g}")
    return float(chosen)


def _choose_roles(available: list[str]) -> list[str]:
    default = next((role for role in available if role == Role.TEACHER), available[0])
    requested = [role for role in available if role in address.read("models", default).split(",")] or [default]
    chosen = st.pills(
        _("Models"),
        available,
        selection_mode="multi",
        format_func=lambda role: plain(figures.role_title(role)),
        key=address.widget_key(f"softened-{','.join(available)}", requested),
    )
    chosen = [role for role in available if role in chosen] or [default]
    address.keep("models", ",".join(chosen), default)
    return chosen


def _choose_scale() -> bool:
    key = address.widget_key("softened-log", address.read_choice("scale", ("linear", "log"), "linear") == "log")
    log = st.toggle(_("Logarithmic scale"), key=key, help=_("Shows probabilities far below a percent."))
    address.keep("scale", "log" if log else "linear", "linear")
    return log


def _sentence(logits: Mapping[str, np.ndarray], classes: Sequence[str], temperature: float) -> str:
    most = float(np.log2(len(classes)))
    lines = []
    for role, values in logits.items():
        target = soft_targets(values, temperature)
        order = np.argsort(-target, kind="stable")[:3]
        ranked = [
            _("{share} for {name}", share=_percent(float(target[class_index])), name=plain(classes[int(class_index)]))
            for class_index in order
        ]
        text = _(
            "**{model}** at T = {temperature}: {ranked}; entropy **{bits} of at most {most} bits**",
            model=plain(figures.role_title(role)),
            temperature=f"{temperature:g}",
            ranked=listed(ranked),
            bits=number(float(entropy_bits(target)), 2),
            most=number(most, 2),
        )
        lines.append(text)
    return "  \n".join(lines)


def _percent(share: float) -> str:
    return percent(share) if share >= 0.001 else _("under {share}", share=percent(0.001))


def _show_files(
    logits: Mapping[str, np.ndarray], classes: Sequence[str], temperature: float, label: int, log: bool, name: str
) -> None:
    def table() -> str:
        return csv_text(softened_table(dict(logits), classes))

    with st.container(horizontal=True):
        download(_("All temperatures (CSV)"), f"{name}.csv", "text/csv", table)
        bars = logits, classes, temperature, label, log
        chart_downloads(figures.soft_target_bars, name, *bars, label=_("Bars (HTML)"))
