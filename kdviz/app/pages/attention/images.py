"""The attention study image by image: the distribution, and the images at both ends."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kdviz import figures
from kdviz.app import address, links
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.attention.files import show_chart_files
from kdviz.app.pictures.absent_pictures import show_absent_pictures
from kdviz.app.samples import SampleView
from kdviz.app.widgets.chart import show_chart
from kdviz.app.widgets.gallery import gallery
from kdviz.core.language import _, number, signed
from kdviz.studies.attention import AttentionReport
from kdviz.studies.attention.statistics.agreements import Value, value_text
from kdviz.studies.attention.statistics.report import Extreme
from kdviz.studies.sweep.kinds import STUDIES


def show_distribution(report: AttentionReport) -> None:
    st.subheader(_("Image by image"), anchor=False)
    value = _choose_value(report)
    show_chart(figures.agreement_distribution(report, value), "attention-images")
    show_chart_files("images", figures.agreement_distribution, report, value)


def _choose_value(report: AttentionReport) -> Value | None:
    values = [effect.value for effect in report.values if effect.value is not None]
    if len(values) < 2 or report.chosen.value is None:
        return report.chosen.value
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    texts = {value_text(value): value for value in values}
    default = value_text(report.chosen.value)
    requested = address.read("value", default)
    requested = requested if requested in texts else default
    chosen = st.segmented_control(
        _(kind.title),
        list(texts),
        required=True,
        format_func=lambda text: kind.amount(texts[text]),
        key=address.widget_key(f"attention-value-{','.join(texts)}", requested),
    )
    address.keep("value", chosen or requested, default)
    return texts[chosen or requested]


def show_extremes(opened: OpenExperiment, report: AttentionReport) -> None:
    """Show the images at both ends of the distribution; a click on one opens it in Compare."""
    samples = opened.studied_samples
    if samples is None:
        show_absent_pictures(opened)
        return
    closer, further = report.extremes(8)
    if not _are_of(samples, (*closer, *further)):
        return
    st.markdown(f"**{_('The images at both ends')}** {_('Click one to see its maps.')}")
    left, right = st.columns(2, gap="large")
    with left:
        _show_extreme(opened, samples, report, closer, "closer", _("The KD student is closer to the teacher"))
    with right:
        _show_extreme(opened, samples, report, further, "further", _("The student alone is closer to the teacher"))


def _are_of(samples: SampleView, images: Sequence[Extreme]) -> bool:
    """Whether the images of a study are among these samples, as far as their numbers and labels tell."""
    indices = [samples.index_of(image.sample) for image in images]
    return any(index is not None for index in indices) and all(
        index is None or samples.labels[index] == image.label for index, image in zip(indices, images, strict=True)
    )


def _show_extreme(
    opened: OpenExperiment, samples: SampleView, report: AttentionReport, images: list[Extreme], key: str, title: str
) -> None:
    candidates = [(samples.index_of(image.sample), image) for image in images]
    available = [(index, image) for index, image in candidates if index is not None]
    if not available:
        return
    st.caption(title)
    items = [
        {
            "id": image.sample,
            "label": signed(image.difference, 2),
            "alt": _(
                "Sample {number}, true class {label}: agreement with the teacher {kd} (KD student), {alone} (alone)",
                number=image.sample,
                label=report.classes[image.label],
                kd=number(image.kd, 2),
                alone=number(image.alone, 2),
            ),
        }
        for _index, image in available
    ]
    picked = gallery(samples, [index for index, _image in available], items, key=f"end-{key}", label=title, thumb=72)
    if picked is not None:
        source = {"from": "attention"} if samples is opened.attention_samples else {}
        links.open_page("compare", {**source, "sample": str(picked)})
