"""The open sample of *Mistakes*: each model's answer and, computed on request, its map."""

from __future__ import annotations

import base64
from collections.abc import Sequence
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
from kdviz.core.language import N_, _, error_text, number, percent
from kdviz.figures.overlay import overlay
from kdviz.saliency import ExplainState, SaliencyMap, methods
from kdviz.studies.predictions.soft_targets import soft_targets
from kdviz.studies.regions import RegionShares

_MASKS = 400  # for small pictures: enough for a look; Compare takes more
_FIRST_WAIT = 0.3  # seconds; often enough for all masks
_PAUSE, _PAUSE_LARGE = 250, 1200  # milliseconds until the browser asks for newer maps
_BARS, _BARS_OF_MANY = 3, 5  # classes
_MANY = 20  # classes, of more than which the ranks are shown
_LEAST = 0.001  # smallest probability that is written out
_SHARP = 64  # pixels up to which a picture is drawn with its pixels as squares
_PREDICTED, _TRUE = "own", "true"
_COMPARE = "Enter"  # the key that opens a sample there
_KEYS = (
    ("← → ↑ ↓", N_("move and open")),
    (_COMPARE, N_("open in Compare")),
    ("Space", N_("select")),
    ("Page ↑ ↓", N_("turn pages")),
    ("Esc", N_("close")),
)


class Preview:
    """The computation of a session's panel, at most one; it is cancelled when the tab closes."""

    def __init__(self) -> None:
        self.current_request: service.Request | None = None
        self.job: Job[service.States] | None = None
        self._maps: tuple[ExplainState, str, dict[str, SaliencyMap]] | None = None

    def cancel(self) -> None:
        if self.job is not None:
            self.job.cancel()

    def close(self) -> None:
        """Cancel and forget the computation: no sample is open any more."""
        self.cancel()
        self.current_request = self.job = self._maps = None

    def request(self, request: service.Request) -> None:
        """Compute the maps of a request, unless they are under way or done.

        Raises:
            QueueFullError: Too many computations are under way.
        """
        if self.current_request is not None and self.current_request.keys == request.keys:
            return
        self.close()
        self.job = service.start(request)
        self.current_request = request

    def maps(self, mode: str, label: int) -> dict[str, SaliencyMap]:
        """Role -> the map so far."""
        latest = self.job.latest if self.job is not None else None
        if not latest:
            return {}
        state = latest[0]
        if self._maps is None or self._maps[0] is not state or self._maps[1] != mode:
            answers = {role: int(probabilities.argmax()) for role, probabilities in state.probabilities.items()}
            targets = dict.fromkeys(answers, label) if mode == _TRUE else answers
            self._maps = state, mode, state.maps(targets)
        return self._maps[2]


@st.cache_resource(scope="session", on_release=Preview.cancel, show_spinner=False)
def _preview() -> Preview:
    return Preview()


@st.fragment
def show_panel(
    opened: OpenExperiment,
    samples: SampleView,
    index: int | None,
    selected: bool = False,
    shares: Sequence[RegionShares] = (),
) -> None:
    """Show a sample, or how to open one. While maps are computed, only this fragment is run again."""
    preview = _preview()
    if index is None:
        preview.close()
        component("sample")(
            data=_empty_payload(samples),
            key="mistakes-sample",
            on_asked_change=_refresh,
            on_explained_change=_explained,
        )
        return
    problem = _compute(preview, opened, samples, index)
    mode = st.session_state.get("address-explain")
    mode = mode if mode in (_PREDICTED, _TRUE) and samples.labels[index] >= 0 else _PREDICTED
    data = _payload(preview, opened, samples, index, mode, shares)
    component("sample")(
        data={**data, "problem": problem, "marked": selected},
        key="mistakes-sample",
        on_asked_change=_refresh,
        on_explained_change=_explained,
    )


def _refresh() -> None:
    """Do nothing: the rerun that the event causes shows the newest state."""


def _explained() -> None:
    address.keep("explain", str(st.session_state["mistakes-sample"]["explained"]), _PREDICTED)


def _no_picture(opened: OpenExperiment, samples: SampleView, index: int) -> str:
    """Why there is no picture to make maps of; empty if there is one."""
    if not samples.has_pictures:
        return _(
            "Its picture is not here, so that no maps can be made of it; this gets the pictures: {command}",
            command=opened.get_command,
        )
    if not samples.is_kept(index):
        return _("Only a thumbnail of this picture is kept, so that no maps can be made of it.")
    return ""


def _compute(preview: Preview, opened: OpenExperiment, samples: SampleView, index: int) -> str:
    """Start the computation or let it go on; return what went wrong, or an empty text."""
    settings = service.default_settings(opened)
    if not opened.is_large:
        settings["n_masks"] = _MASKS
    if not opened.experiment.models:
        return _("Only predictions are known here: there is no model to make maps of.")
    if why := _no_picture(opened, samples, index):
        preview.close()
        return why
    try:
        picture = opened.experiment.prepare(samples.picture(index))
        results = results_for(private=opened.is_private)
        preview.request(service.Request(opened, picture, (settings,), results=results))
    except KdvizError as error:
        return error_text(error)
    job = preview.job
    if job is None:
        return ""
    if not job.latest:
        job.wait(_FIRST_WAIT)
    if job.status == "failed":
        return error_text(job.error or "") or _("The maps could not be computed.")
    return ""


# what is sent ---------------------------------------------------------------------------------------------------------


def _empty_payload(samples: SampleView) -> dict[str, Any]:
    keys = [[key, _(action)] for key, action in _KEYS if samples.has_pictures or key != _COMPARE]
    if not samples.has_pictures:
        texts = {"empty": _("What do they say?"), "emptyMore": _("Choose a sample: the models' answers appear here.")}
        return {"sample": None, "texts": texts, "keys": keys, "busy": False}
    texts = {"empty": _("Where do they look?"), "emptyMore": _("Choose a picture: the models' maps appear here.")}
    return {"sample": None, "texts": texts, "keys": keys, "busy": False}


def _payload(
    preview: Preview,
    opened: OpenExperiment,
    samples: SampleView,
    index: int,
    mode: str,
    shares: Sequence[RegionShares],
) -> dict[str, Any]:
    classes, sample, label = opened.experiment.classes, int(samples.numbers[index]), int(samples.labels[index])
    job = preview.job
    ended = job is None or job.ended  # read before the maps, as nothing comes after the end
    maps = preview.maps(mode, label)
    picture = samples.picture(index) if samples.has_pictures else None
    limit = figures.colour_limit(maps) if maps else 1.0
    about = _("True class {name}", name=classes[label]) if label >= 0 else _("no label")
    return {
        "sample": {
            "id": sample,
            "title": _("Sample {number}", number=sample),
            "about": about,
            "picture": "" if picture is None else _png(picture),
            "alt": about_sample(sample, label, classes),
            "sharp": picture is not None and max(picture.size) <= _SHARP,
            "kept": samples.is_kept(index),
        },
        "cards": [
            {**_card(samples, classes, index, role, maps.get(role), limit), "inside": _inside(shares, role, index)}
            for role in _roles(samples)
        ],
        "mode": mode,
        "modes": [[_PREDICTED, _("Each one's answer")], *([[_TRUE, _("The true class")]] if label >= 0 else [])],
        "texts": _texts(),
        "busy": not ended,
        "pause": round((_PAUSE_LARGE if opened.is_large else _PAUSE) * service.patience(preview.job)),
    }


def _roles(samples: SampleView) -> list[str]:
    return list(samples.predictions.predicted) if samples.predictions is not None else []


def _card(
    samples: SampleView, classes: tuple[str, ...], index: int, role: str, saliency_map: SaliencyMap | None, limit: float
) -> dict[str, Any]:
    assert samples.predictions is not None
    title, label = figures.role_title(role), int(samples.labels[index])
    answer = int(samples.predictions.predicted[role][index])
    wrong = answer != label and label >= 0
    return {
        "title": title,
        "colour": figures.role_colour(role),
        "symbol": figures.role_symbol(role),
        "verdict": _verdict(answer, label),
        "wrong": wrong,
        "map": None if saliency_map is None else _png(_map_image(saliency_map, limit)),
        "alt": _map_alt(title, saliency_map, classes),
        "bars": _bars(samples, classes, index, role),
    }


def _inside(shares: Sequence[RegionShares], role: str, index: int) -> list[str]:
    """Of each method, how much of the model's saliency lies inside the picture's region, and the chance of it."""
    share_by_method = [(of_method, of_method.inside[role][index]) for of_method in shares if role in of_method.inside]
    return [
        _(
            "{share} inside the region, by chance {area} ({method})",
            share=percent(float(share), 0),
            area=percent(float(of_method.area[index]), 0),
            method=_(methods[of_method.method].title),
        )
        for of_method, share in share_by_method
        if not np.isnan(share)
    ]


def _verdict(answer: int, label: int) -> str:
    if label < 0:
        return ""
    return _("✓ right") if answer == label else _("✗ wrong")


def _map_image(saliency_map: SaliencyMap, limit: float) -> Image.Image:
    return overlay(
        Image.fromarray(saliency_map.picture), saliency_map.values - figures.colour_centre(saliency_map), limit
    )


def _map_alt(title: str, saliency_map: SaliencyMap | None, classes: tuple[str, ...]) -> str:
    if saliency_map is None:
        return _("{model}: no map yet", model=title)
    row, column = np.unravel_index(int(saliency_map.values.argmax()), saliency_map.values.shape)
    return _(
        "{model}: what speaks for {name}, most at row {row}, column {column}",
        model=title,
        name=classes[saliency_map.target],
        row=int(row),
        column=int(column),
    )


def _bars(samples: SampleView, classes: tuple[str, ...], index: int, role: str) -> list[dict[str, Any]]:
    """The classes that a model finds most likely, always with the true one; of many classes with their ranks."""
    label, ranked = int(samples.labels[index]), len(classes) > _MANY
    probabilities = soft_targets(samples.logits[role][index], 1.0)
    order = np.argsort(-probabilities, kind="stable")
    best = order[: _BARS_OF_MANY if ranked else _BARS].tolist()
    if label not in best and label >= 0:
        best = [*best, label] if ranked else [*best[:-1], label]
    ranks = {int(class_index): rank for rank, class_index in enumerate(order, 1)} if ranked else {}
    return [
        {
            "name": classes[class_index],
            "share": float(probabilities[class_index]),
            "text": _share(float(probabilities[class_index])),
            "right": class_index == label,
            "rank": number(ranks[class_index]) if ranked else "",
        }
        for class_index in best
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
        "rank": _("Rank {rank}"),
    }


def _png(picture: Image.Image) -> str:
    """A picture as a data URL of a PNG file."""
    return f"data:image/png;base64,{base64.b64encode(picture_bytes(picture)).decode()}"
