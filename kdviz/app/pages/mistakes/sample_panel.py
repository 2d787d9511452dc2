"""The open sample of *Mistakes*: what each model says of it, and, computed when it is asked for, where it looks."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from kdviz import figures
from kdviz.app import address, service
from kdviz.app.library import OpenExperiment
from kdviz.app.results import results_for
from kdviz.app.samples import SampleView
from kdviz.app.texts import about_sample, picture_bytes
from kdviz.app.widgets.component import component
from kdviz.core.errors import KdvizError
from kdviz.core.jobs import Job
from kdviz.core.language import N_, _, error_text, percent
from kdviz.figures.overlay import overlay
from kdviz.saliency import ExplainState, SaliencyMap
from kdviz.studies.predictions.soft_targets import soft_targets

_MASKS = 400  # of a small picture: for a look; Compare takes more
_FIRST_WAIT = 0.3  # seconds; often enough for all masks
_PAUSE, _PAUSE_LARGE = 250, 1200  # milliseconds until the browser asks again
_BARS = 3  # classes
_LEAST = 0.001  # of a probability that is written out
_SHARP = 64  # pixels up to which a picture is drawn with its pixels as squares
_OWN, _TRUE = "own", "true"
_KEYS = (
    ("← → ↑ ↓", N_("move and open")),
    ("Enter", N_("open in Compare")),
    ("Space", N_("select")),
    ("Page ↑ ↓", N_("turn pages")),
    ("Esc", N_("close")),
)


class Preview:
    """The one computation of this session's panel. It is cancelled when the tab closes."""

    def __init__(self) -> None:
        self.wanted: service.Request | None = None
        self.job: Job[service.States] | None = None
        self._maps: tuple[ExplainState, str, dict[str, SaliencyMap]] | None = None

    def cancel(self) -> None:
        if self.job is not None:
            self.job.cancel()

    def close(self) -> None:
        """Nothing is open any more."""
        self.cancel()
        self.wanted = self.job = self._maps = None

    def request(self, wanted: service.Request) -> None:
        """Compute this, unless it is under way or done.

        Raises:
            QueueFullError: Too many are under way.
        """
        if self.wanted is not None and self.wanted.keys == wanted.keys:
            return
        self.close()
        self.job = service.start(wanted)
        self.wanted = wanted

    def maps(self, mode: str, label: int) -> dict[str, SaliencyMap]:
        """Role -> map so far."""
        latest = self.job.latest if self.job is not None else None
        if not latest:
            return {}
        state = latest[0]
        if self._maps is None or self._maps[0] is not state or self._maps[1] != mode:
            answers = {role: int(chances.argmax()) for role, chances in state.probabilities.items()}
            targets = dict.fromkeys(answers, label) if mode == _TRUE else answers
            self._maps = state, mode, state.maps(targets)
        return self._maps[2]


@st.cache_resource(scope="session", on_release=Preview.cancel, show_spinner=False)
def _preview() -> Preview:
    return Preview()


@st.fragment
def panel(opened: OpenExperiment, shown: SampleView, place: int | None, marked: bool = False) -> None:
    """The sample at a place, or how to open one. While maps are computed only this runs again and again."""
    preview = _preview()
    if place is None:
        preview.close()
        component("sample")(
            data=_nothing(), key="mistakes-sample", on_asked_change=_again, on_explained_change=_explained
        )
        return
    problem = _compute(preview, opened, shown, place)
    mode = st.session_state.get("address-explain")
    mode = mode if mode in (_OWN, _TRUE) and shown.labels[place] >= 0 else _OWN
    data = _payload(preview, opened, shown, place, mode)
    component("sample")(
        data={**data, "problem": problem, "marked": marked},
        key="mistakes-sample",
        on_asked_change=_again,
        on_explained_change=_explained,
    )


def _again() -> None:
    """The run that this causes shows the newest state."""


def _explained() -> None:
    address.keep("explain", str(st.session_state["mistakes-sample"]["explained"]), _OWN)


def _compute(preview: Preview, opened: OpenExperiment, shown: SampleView, place: int) -> str:
    """Begin, or go on; what went wrong."""
    settings = service.default_settings(opened)
    if not opened.is_large:
        settings["n_masks"] = _MASKS
    if not opened.experiment.models:
        return _("Only predictions are known here: there is no model to make maps of.")
    try:
        picture = opened.experiment.prepare(shown.picture(place))
        results = results_for(private=opened.is_private)
        preview.request(service.Request(opened, picture, (settings,), results=results))
    except KdvizError as error:
        return error_text(str(error))
    job = preview.job
    if job is None:
        return ""
    if not job.latest:
        job.wait(_FIRST_WAIT)
    if job.status == "failed":
        return error_text(job.error or "") or _("The maps could not be computed.")
    return ""


# what is sent ---------------------------------------------------------------------------------------------------------


def _nothing() -> dict[str, Any]:
    texts = {"empty": _("Where do they look?"), "emptyMore": _("Choose a picture: the models' maps appear here.")}
    return {"sample": None, "texts": texts, "keys": [[key, _(what)] for key, what in _KEYS], "busy": False}


def _payload(preview: Preview, opened: OpenExperiment, shown: SampleView, place: int, mode: str) -> dict[str, Any]:
    classes, sample, label = opened.experiment.classes, int(shown.numbers[place]), int(shown.labels[place])
    job = preview.job
    ended = job is None or job.ended  # before the maps: nothing comes after the end
    maps = preview.maps(mode, label)
    picture = shown.picture(place)
    limit = figures.colour_limit(maps) if maps else 1.0
    about = _("True class {name}", name=classes[label]) if label >= 0 else _("no label")
    return {
        "sample": {
            "id": sample,
            "title": _("Sample {number}", number=sample),
            "about": about,
            "picture": _png(picture),
            "alt": about_sample(sample, label, classes),
            "sharp": max(picture.size) <= _SHARP,
        },
        "cards": [_card(shown, classes, place, role, maps.get(role), limit) for role in _roles(shown)],
        "mode": mode,
        "modes": [[_OWN, _("Each one's answer")], *([[_TRUE, _("The true class")]] if label >= 0 else [])],
        "texts": _texts(),
        "busy": not ended,
        "pause": _PAUSE_LARGE if opened.is_large else _PAUSE,
    }


def _roles(shown: SampleView) -> list[str]:
    return list(shown.predictions.predicted) if shown.predictions is not None else []


def _card(
    shown: SampleView, classes: tuple[str, ...], place: int, role: str, found: SaliencyMap | None, limit: float
) -> dict[str, Any]:
    assert shown.predictions is not None
    title, label = figures.role_title(role), int(shown.labels[place])
    said = int(shown.predictions.predicted[role][place])
    wrong = said != label and label >= 0
    return {
        "title": title,
        "colour": figures.role_colour(role),
        "symbol": figures.role_symbol(role),
        "verdict": _verdict(said, label),
        "wrong": wrong,
        "map": None if found is None else _png(_drawn(found, limit)),
        "alt": _map_alt(title, found, classes),
        "bars": _bars(shown, classes, place, role),
    }


def _verdict(said: int, label: int) -> str:
    if label < 0:
        return ""
    return _("✓ right") if said == label else _("✗ wrong")


def _drawn(found: SaliencyMap, limit: float) -> Image.Image:
    return overlay(Image.fromarray(found.picture), found.values - figures.colour_centre(found), limit)


def _map_alt(title: str, found: SaliencyMap | None, classes: tuple[str, ...]) -> str:
    if found is None:
        return _("{model}: no map yet", model=title)
    row, column = np.unravel_index(int(found.values.argmax()), found.values.shape)
    return _(
        "{model}: what speaks for {name}, most at row {row}, column {column}",
        model=title,
        name=classes[found.target],
        row=int(row),
        column=int(column),
    )


def _bars(shown: SampleView, classes: tuple[str, ...], place: int, role: str) -> list[dict[str, Any]]:
    """The classes that a model finds most likely, and the true one in any case."""
    label = int(shown.labels[place])
    chances = soft_targets(shown.logits[role][place], 1.0)
    best = [int(one) for one in np.argsort(-chances, kind="stable")[:_BARS]]
    if label not in best and label >= 0:
        best[-1] = label
    return [
        {
            "name": classes[one],
            "share": float(chances[one]),
            "text": _share(float(chances[one])),
            "right": one == label,
        }
        for one in best
    ]


def _share(share: float) -> str:
    if 0 < share < _LEAST:
        return f"<{percent(_LEAST, 1)}"
    return percent(share, 1 if share < 0.0995 else 0)


def _texts() -> dict[str, str]:
    return {
        "close": _("Close"),
        "compare": _("Open in Compare"),
        "mark": _("Select"),
        "marked": _("✓ Selected"),
        "modes": _("Class that the maps explain"),
        "waiting": _("computing …"),
        "note": _("Keeping an {up} pixel raises the class's probability, a {down} one lowers it."),
        "up": _("orange"),
        "down": _("blue"),
    }


def _png(picture: Image.Image) -> str:
    """As a PNG file in an address."""
    return f"data:image/png;base64,{base64.b64encode(picture_bytes(picture)).decode()}"
