"""Progress, a summary of the maps in words, the maps, and what can be made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import service
from kdviz.app.pages.compare import files
from kdviz.app.pages.compare.curves import show_curves
from kdviz.app.pages.compare.picture import SelectedImage
from kdviz.app.pages.compare.settings import BASELINE_TITLES, METHOD_TITLES, MapRequest
from kdviz.app.pages.compare.state import MapSession
from kdviz.app.pages.compare.study_region import region_of, with_region
from kdviz.app.texts import plain, say_error, together
from kdviz.app.widgets import viewer
from kdviz.core.errors import KdvizError
from kdviz.core.jobs import Job
from kdviz.core.language import N_, _, error_text, language, listed, number, plural
from kdviz.core.vocabulary import Role
from kdviz.saliency import difference

_SEMICOLON = N_("; ")
_OF_MAPS = {
    True: N_("Settled after {count} masks, the same for every model; reliability of the maps {reliability}."),
    False: N_("{count} masks, the same for every model; reliability of the maps {reliability}."),
}
_OF_BOTH = {
    True: N_(
        "Settled after {count} masks, the same for every model; reliability of the maps {reliability}, of their "
        "differences {of_differences}."
    ),
    False: N_(
        "{count} masks, the same for every model; reliability of the maps {reliability}, of their differences "
        "{of_differences}."
    ),
}
"""Whether a row is settled -> the sentence about its masks."""


@dataclass(frozen=True)
class _Drawn:
    """What the page shows of some rows of maps."""

    sentence: str
    doubts: Sequence[str]
    payload: dict[str, Any]
    tables: Sequence[pd.DataFrame]

    @classmethod
    def of(cls, rows: Sequence[viewer.ViewerRow], selected: SelectedImage) -> _Drawn:
        payload = viewer.comparison_payload(rows, selected.true_class, selected.name)
        return cls(_sentence(rows), _doubts(rows), payload, [files.agreement_frame(row.measures) for row in rows])


def show(selected: SelectedImage, map_request: MapRequest, session: MapSession, refreshing: bool) -> None:
    """Show what the session's job has computed so far; called repeatedly while it is under way."""
    job, served = session.job, session.current_request
    if job is None or served is None:
        return
    ended = job.ended
    _show_progress(job, session, map_request)  # first: whoever pressed Stop need not wait for the last estimate
    try:
        rows = _rows(session, job, map_request)
    except KdvizError as error:
        say_error(error)
        return
    if rows:
        titles = tuple(map(figures.role_title, rows[0].maps))
        key = ("drawn", language(), titles, selected.true_class, selected.name, tuple(row.complete for row in rows))
        drawn = session.drawn([row.maps for row in rows], key, ended, lambda: _Drawn.of(rows, selected))
        st.markdown(drawn.sentence)
        for doubt in drawn.doubts:
            st.warning(plain(doubt), icon=":material/warning:")
        region = region_of(served.opened, selected)
        viewer.show_viewer(with_region(drawn.payload, region), key="viewer")
        if ended:
            for index, row in enumerate(rows):
                show_curves(session, index, row)
            files.show_downloads(served.opened, rows, drawn.tables, selected, map_request, session)
    if refreshing and ended:
        st.rerun()  # ends the timer of this fragment


def _rows(session: MapSession, job: Job[service.States], map_request: MapRequest) -> list[viewer.ViewerRow]:
    ended, states = job.ended, job.latest or ()  # in this order, as nothing comes after the end
    rows = []
    for index, (state, settings) in enumerate(zip(states, map_request.rows, strict=False)):
        complete = ended or index < len(states) - 1
        maps, measures = session.maps(index, state, map_request.target, complete)
        baseline = settings.get("baseline", "")
        rows.append(
            viewer.ViewerRow(
                baseline=baseline,
                heading=_heading(baseline) if len(map_request.rows) > 1 else "",
                maps=maps,
                report=measures["spearman"],
                complete=complete,
                settled=state.stopped == "settled",
                measures=measures,
                misfits={role: error_text(why) for role, why in state.incompatible.items()},
            )
        )
    return rows


def _heading(baseline: str) -> str:
    return _("A removed pixel becomes: {what}", what=_(BASELINE_TITLES[baseline]))


# progress -------------------------------------------------------------------------------------------------------------


def _show_progress(job: Job[service.States], session: MapSession, map_request: MapRequest) -> None:
    if job.status == "done":
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="progress"):
        if job.status == "failed":
            say_error(job.error or "The computation failed.")
            _show_again_button(session)
        elif not job.ended:
            st.progress(_share_done(job, map_request), text=_progress_text(job, map_request))
            # A callback runs before the page is drawn again, which then shows at once that it has stopped.
            st.button(_("Stop"), icon=":material/stop_circle:", key="stop", on_click=_stop, args=(job,))
        else:
            counts = _counts_text(job, map_request)
            text = _("Stopped at {counts}; the maps are as they were then.", counts=counts)
            st.markdown(f":material/stop_circle: {text}")
            _show_again_button(session)


def _stop(job: Job[service.States]) -> None:
    job.cancel()
    job.wait(2)


def _show_again_button(session: MapSession) -> None:
    if st.button(_("Compute again"), icon=":material/refresh:", key="again"):
        session.again()
        st.rerun()


def _progress_text(job: Job[service.States], map_request: MapRequest) -> str:
    others = service.pool().jobs_ahead(job)
    if job.latest:
        counts = _counts_text(job, map_request)
        if not others:
            return counts
        return plural(
            "{counts}; taking turns with {count} other computation",
            "{counts}; taking turns with {count} other computations",
            others,
            counts=counts,
        )
    if others:
        return plural(
            "Waiting; {count} other computation under way", "Waiting; {count} other computations under way", others
        )
    return _("Starting; the first maps take a moment")


def _counts_text(job: Job[service.States], map_request: MapRequest) -> str:
    """``300 of 2,000 masks``, for each row if there are several."""
    states = job.latest or ()
    counts = []
    for index, row in enumerate(map_request.rows):
        total = row.get("n_masks", len(map_request.roles))
        done = states[index].n_masks if index < len(states) else 0
        values = {"done": number(done), "total": number(total)}
        count = _("{done} of {total} masks", **values) if "n_masks" in row else _("{done} of {total} models", **values)
        if len(map_request.rows) > 1:
            count = _("{count} ({baseline})", count=count, baseline=_(BASELINE_TITLES[row["baseline"]]))
        counts.append(count)
    return listed(counts, _SEMICOLON)


def _share_done(job: Job[service.States], map_request: MapRequest) -> float:
    """The share that is done, from 0 to 1; all rows but the latest are complete, however many masks that took."""
    states = job.latest or ()
    return (len(states) - 1 + states[-1].n_masks / states[-1].total) / len(map_request.rows) if states else 0.0


# in words -------------------------------------------------------------------------------------------------------------


def _sentence(rows: Sequence[viewer.ViewerRow]) -> str:
    answers: dict[str, list[str]] = {}
    for role, saliency_map in rows[0].maps.items():
        answers.setdefault(saliency_map.classes[saliency_map.predicted], []).append(figures.role_title(role))
    if len(answers) == 1 and len(rows[0].maps) > 1:
        text = _("All models say **{answer}**.", answer=plain(next(iter(answers))))
    else:
        predictions = [
            _("{models}: **{answer}**", models=plain(listed(roles)), answer=plain(name))
            for name, roles in answers.items()
        ]
        text = _("{answers}.", answers=listed(predictions, _SEMICOLON))
    caution = _("One picture shows a case, not a rule.")
    if len(rows) == 1:
        small = together([_mask_sentence(rows[0]), caution])
        return together([text, _agreement_sentence(rows[0]), f":gray[{small}]"])
    items = []
    for row in rows:
        if row.complete:
            sentences = together([_agreement_sentence(row), f":gray[{_mask_sentence(row)}]"])
            items.append(f"- **{_(BASELINE_TITLES[row.baseline])}** {sentences}")
    return "\n".join([together([text, f":gray[{caution}]\n"]), *items])


def _doubts(rows: Sequence[viewer.ViewerRow]) -> list[str]:
    """Reasons to doubt the maps, each once, of rows that no more masks will change."""
    texts = (
        doubt.text
        for row in rows
        if row.complete
        for saliency_map in row.maps.values()
        for doubt in saliency_map.doubts
    )
    return list(dict.fromkeys(texts))


def _agreement_sentence(row: viewer.ViewerRow) -> str:
    pairs = [pair for pair in row.report.pairs if pair.first == Role.TEACHER and math.isfinite(pair.agreement)]
    if not row.complete or not pairs or not all(pair.same_target for pair in pairs):
        return ""
    agreements = [
        f"{plain(figures.role_title(pair.second))} **{number(pair.agreement, 2)}**{viewer.interval(pair)}"
        for pair in pairs
    ]
    return _(
        "Agreement with the teacher's map: {found}, where the noise allows {ceiling}.",
        found=listed(agreements),
        ceiling=number(max(pair.ceiling for pair in pairs), 2),
    )


def _mask_sentence(row: viewer.ViewerRow) -> str:
    if not row.complete:
        return ""
    first = next(iter(row.maps.values()))
    if not first.n_masks:
        return _("{method}.", method=_(METHOD_TITLES.get(first.method, first.method)))
    varied = {role: saliency_map for role, saliency_map in row.maps.items() if not saliency_map.is_flat}
    values = {
        "count": number(first.n_masks),
        "reliability": number(min((saliency_map.reliability for saliency_map in varied.values()), default=math.nan), 3),
    }
    others = [saliency_map for role, saliency_map in varied.items() if role != Role.TEACHER and Role.TEACHER in varied]
    if others:
        least = min(difference(saliency_map, varied[Role.TEACHER]).reliability for saliency_map in others)
        return _(_OF_BOTH[row.settled], **values, of_differences=number(least, 3))
    return _(_OF_MAPS[row.settled], **values)
