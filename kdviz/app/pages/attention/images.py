"""The attention study image by image: the distribution, and the images at both ends."""

from __future__ import annotations

import streamlit as st

from kdviz import figures
from kdviz.app import address, links
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.attention.files import chart_files
from kdviz.app.samples import SampleView
from kdviz.app.widgets.chart import show_chart
from kdviz.app.widgets.gallery import gallery
from kdviz.core.language import _, number, signed
from kdviz.studies.attention import AttentionReport
from kdviz.studies.attention.statistics.report import Extreme
from kdviz.studies.sweep.kinds import STUDIES


def distribution(report: AttentionReport) -> None:
    st.subheader(_("Image by image"), anchor=False)
    value = _value(report)
    show_chart(figures.agreement_distribution(report, value), "attention-images")
    chart_files("images", figures.agreement_distribution, report, value)


def _value(report: AttentionReport) -> float | None:
    known = [one.value for one in report.values if one.value is not None]
    if len(known) < 2 or report.chosen.value is None:
        return report.chosen.value
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    texts = {f"{value:g}": value for value in known}
    usual = f"{report.chosen.value:g}"
    asked = address.read("value", usual)
    asked = asked if asked in texts else usual
    chosen = st.segmented_control(
        _(kind.title),
        list(texts),
        required=True,
        format_func=lambda text: kind.amount(texts[text]),
        key=address.begin(f"attention-value-{','.join(texts)}", asked),
    )
    address.keep("value", chosen or asked, usual)
    return texts[chosen or asked]


def ends(opened: OpenExperiment, report: AttentionReport) -> None:
    """The images at both ends; a click opens them in Compare."""
    shown = opened.studied
    if shown is None:
        return
    closer, further = report.extremes(8)
    st.markdown(f"**{_('The images at both ends')}** {_('Click one to see its maps.')}")
    left, right = st.columns(2, gap="large")
    with left:
        _end(shown, report, closer, "closer", _("The KD student is closer to the teacher"))
    with right:
        _end(shown, report, further, "further", _("The student alone is closer to the teacher"))


def _end(shown: SampleView, report: AttentionReport, images: list[Extreme], key: str, title: str) -> None:
    places = [(shown.index_of(one.sample), one) for one in images]
    found = [(place, one) for place, one in places if place is not None]
    if not found:
        return
    st.caption(title)
    items = [
        {
            "id": one.sample,
            "label": signed(one.difference, 2),
            "alt": _(
                "Sample {number}, true class {label}: agreement with the teacher {kd} (KD student), {alone} (alone)",
                number=one.sample,
                label=report.classes[one.label],
                kd=number(one.kd, 2),
                alone=number(one.alone, 2),
            ),
        }
        for _place, one in found
    ]
    picked = gallery(shown, [place for place, _one in found], items, key=f"end-{key}", label=title, thumb=72)
    if picked is not None:
        links.open_page("compare", {"from": "attention", "sample": str(picked)})
