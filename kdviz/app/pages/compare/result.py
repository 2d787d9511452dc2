"""Progress, what the maps say in words, the maps, and what can be made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import service
from kdviz.app.pages.compare import files
from kdviz.app.pages.compare.curves import curves
from kdviz.app.pages.compare.picture import SelectedImage
from kdviz.app.pages.compare.settings import BASELINE_TITLES, METHOD_TITLES, MapRequest
from kdviz.app.pages.compare.state import MapSession
from kdviz.app.texts import plain, say_error, together
from kdviz.app.widgets import viewer
from kdviz.core.errors import KdvizError
from kdviz.core.jobs import Job
from kdviz.core.language import N_, _, error_text, language, listed, number, plural
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
"""Whether a row is settled -> what is said of its masks."""


@dataclass(frozen=True)
class _Drawn:
    """What people see of some rows of maps."""

    sentence: str
    doubts: Sequence[str]
    payload: Mapping[str, Any]
    tables: Sequence[pd.DataFrame]

    @classmethod
    def of(cls, rows: Sequence[viewer.ViewerRow], chosen: SelectedImage) -> _Drawn:
        payload = viewer.comparison_payload(rows, chosen.true_class, chosen.name)
        return cls(_sentence(rows), _doubts(rows), payload, [files.agreement_frame(row.measures) for row in rows])


def show(chosen: SelectedImage, wanted: MapRequest, current: MapSession, refreshing: bool) -> None:
    """What the session's job has found so far. Run again and again while it is under way."""
    job, request = current.job, current.wanted
    if job is None or request is None:
        return
    ended = job.ended
    _progress(job, current, wanted)  # first: who pressed Stop need not wait for the maps' last estimate
    try:
        rows = _rows(current, job, wanted)
    except KdvizError as error:
        say_error(error)
        return
    if rows:
        titles = tuple(map(figures.role_title, rows[0].maps))
        about = ("drawn", language(), titles, chosen.true_class, chosen.name, tuple(row.complete for row in rows))
        drawn = current.drawn([row.maps for row in rows], about, ended, lambda: _Drawn.of(rows, chosen))
        st.markdown(drawn.sentence)
        for doubt in drawn.doubts:
            st.warning(plain(doubt), icon=":material/warning:")
        viewer.show_viewer(drawn.payload, key="viewer")
        if ended:
            for place, row in enumerate(rows):
                curves(current, place, row)
            files.downloads(request.opened, rows, drawn.tables, chosen, wanted, current)
    if refreshing and ended:
        st.rerun()  # ends the timer of this fragment


def _rows(current: MapSession, job: Job[service.States], wanted: MapRequest) -> list[viewer.ViewerRow]:
    ended, states = job.ended, job.latest or ()  # in this order: nothing comes after the end
    rows = []
    for place, (state, settings) in enumerate(zip(states, wanted.rows, strict=False)):
        complete = ended or place < len(states) - 1
        maps, measures = current.maps(place, state, wanted.target, complete)
        baseline = settings.get("baseline", "")
        rows.append(
            viewer.ViewerRow(
                baseline=baseline,
                heading=_heading(baseline) if len(wanted.rows) > 1 else "",
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


def _progress(job: Job[service.States], current: MapSession, wanted: MapRequest) -> None:
    if job.status == "done":
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="progress"):
        if job.status == "failed":
            say_error(job.error or "The computation failed.")
            _again(current)
        elif not job.ended:
            st.progress(_share_done(job, wanted), text=_under_way(job, wanted))
            # A callback runs before the page is drawn again, which then shows at once that it has stopped.
            st.button(_("Stop"), icon=":material/stop_circle:", key="stop", on_click=_stop, args=(job,))
        else:
            counts = _counts(job, wanted)
            text = _("Stopped at {counts}; the maps are as they were then.", counts=counts)
            st.markdown(f":material/stop_circle: {text}")
            _again(current)


def _stop(job: Job[service.States]) -> None:
    job.cancel()
    job.wait(2)


def _again(current: MapSession) -> None:
    if st.button(_("Compute again"), icon=":material/refresh:", key="again"):
        current.again()
        st.rerun()


def _under_way(job: Job[service.States], wanted: MapRequest) -> str:
    others = service.pool().place(job)
    if job.latest:
        counts = _counts(job, wanted)
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


def _counts(job: Job[service.States], wanted: MapRequest) -> str:
    """``300 of 2,000 masks``; with several rows, of each."""
    states = job.latest or ()
    counts = []
    for place, row in enumerate(wanted.rows):
        total = row.get("n_masks", len(wanted.roles))
        done = states[place].n_masks if place < len(states) else 0
        values = {"done": number(done), "total": number(total)}
        count = _("{done} of {total} masks", **values) if "n_masks" in row else _("{done} of {total} models", **values)
        if len(wanted.rows) > 1:
            count = _("{count} ({baseline})", count=count, baseline=_(BASELINE_TITLES[row["baseline"]]))
        counts.append(count)
    return listed(counts, _SEMICOLON)


def _share_done(job: Job[service.States], wanted: MapRequest) -> float:
    """0 to 1. All rows but the latest are complete, however many masks that took."""
    states = job.latest or ()
    return (len(states) - 1 + states[-1].n_masks / states[-1].total) / len(wanted.rows) if states else 0.0


# in words -------------------------------------------------------------------------------------------------------------


def _sentence(rows: Sequence[viewer.ViewerRow]) -> str:
    answers: dict[str, list[str]] = {}
    for role, one in rows[0].maps.items():
        answers.setdefault(one.classes[one.predicted], []).append(figures.role_title(role))
    if len(answers) == 1 and len(rows[0].maps) > 1:
        text = _("All models say **{answer}**.", answer=plain(next(iter(answers))))
    else:
        said = [
            _("{models}: **{answer}**", models=plain(listed(roles)), answer=plain(name))
            for name, roles in answers.items()
        ]
        text = _("{answers}.", answers=listed(said, _SEMICOLON))
    caution = _("One picture shows a case, not a rule.")
    if len(rows) == 1:
        small = together([_mask_words(rows[0]), caution])
        return together([text, _agreement_words(rows[0]), f":gray[{small}]"])
    items = [
        f"- **{_(BASELINE_TITLES[row.baseline])}** {together([_agreement_words(row), f':gray[{_mask_words(row)}]'])}"
        for row in rows
        if row.complete
    ]
    return "\n".join([together([text, f":gray[{caution}]\n"]), *items])


def _doubts(rows: Sequence[viewer.ViewerRow]) -> list[str]:
    """Why maps say little, each once, of rows that no more masks will change."""
    found = (doubt.text for row in rows if row.complete for one in row.maps.values() for doubt in one.doubts)
    return list(dict.fromkeys(found))


def _agreement_words(row: viewer.ViewerRow) -> str:
    pairs = [pair for pair in row.report.pairs if pair.first == "teacher" and math.isfinite(pair.agreement)]
    if not row.complete or not pairs or not all(pair.same_target for pair in pairs):
        return ""
    found = [
        f"{plain(figures.role_title(pair.second))} **{number(pair.agreement, 2)}**{viewer.interval(pair)}"
        for pair in pairs
    ]
    return _(
        "Agreement with the teacher's map: {found}, where the noise allows {ceiling}.",
        found=listed(found),
        ceiling=number(max(pair.ceiling for pair in pairs), 2),
    )


def _mask_words(row: viewer.ViewerRow) -> str:
    if not row.complete:
        return ""
    first = next(iter(row.maps.values()))
    if not first.n_masks:
        return _("{method}.", method=_(METHOD_TITLES.get(first.method, first.method)))
    varied = {role: one for role, one in row.maps.items() if not one.is_flat}
    values = {
        "count": number(first.n_masks),
        "reliability": number(min((one.reliability for one in varied.values()), default=math.nan), 3),
    }
    others = [one for role, one in varied.items() if role != "teacher" and "teacher" in varied]
    if others:
        least = min(difference(one, varied["teacher"]).reliability for one in others)
        return _(_OF_BOTH[row.settled], **values, of_differences=number(least, 3))
    return _(_OF_MAPS[row.settled], **values)
