"""Compare: one picture, a map a model, side by side."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st
from PIL import Image

from kdviz import figures
from kdviz.errors import ImageError, KdvizError
from kdviz.execution import Job
from kdviz.images import content_hash, open_image
from kdviz.metrics import AgreementReport, agreement
from kdviz.saliency import ExplainState, SaliencyMap, Setting, difference, maps_npz, methods
from kdviz.ui import address, components, service
from kdviz.ui.library import OpenExperiment, Shown
from kdviz.ui.texts import download, plain, say_error, say_missing
from kdviz.ui.top import heading

MASKS = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)
TEACHER, PREDICTED, TRUE = "teacher", "predicted", "true"
_REFRESH_SECONDS, _REFRESH_SECONDS_LARGE = 0.3, 1.5  # a large map takes longer to estimate and to send
_SETTING_TITLES = {
    "grid": "Mask grid, cells a side",
    "probability": "Chance that a cell is kept",
    "sampler": "How masks are drawn",
    "estimator": "Estimator",
    "reliability": "Stop when maps are this reliable; 0: never",
    "seed": "Seed",
}
_BASELINE_TITLES = {
    "black": "Black",
    "white": "White",
    "mean": "Mean of the data",
    "grey": "Grey",
    "blur": "Blur",
    "noise": "Noise",
}
_NO_BASELINE = "none"


@dataclass(frozen=True)
class Chosen:
    """The picture to explain: as given, as the models see it, and its true class if known."""

    name: str
    original: Image.Image
    picture: Image.Image
    true_class: int | None
    sample: int | None = None


class Current:
    """What this session computes. At most one job; it is cancelled when the tab closes."""

    def __init__(self) -> None:
        self.wanted: service.Request | None = None
        self.job: Job[service.States] | None = None
        self._maps: dict[int, tuple[ExplainState, int | str | None, dict[str, SaliencyMap], AgreementReport]] = {}

    def cancel(self) -> None:
        if self.job is not None:
            self.job.cancel()

    def request(self, wanted: service.Request) -> None:
        """Compute this unless it is what is being computed; a job for anything else is stopped."""
        if self.wanted is not None and wanted.keys == self.wanted.keys:
            return
        self.cancel()
        self.wanted, self.job, self._maps = None, service.start(wanted), {}
        self.wanted = wanted

    def maps(
        self, row: int, state: ExplainState, target: int | str | None
    ) -> tuple[dict[str, SaliencyMap], AgreementReport]:
        """A row's maps and their agreement; computed again only for another state or class."""
        kept = self._maps.get(row)
        if kept is None or kept[0] is not state or kept[1] != target:
            maps = state.maps(_targets(target, state))
            kept = self._maps[row] = state, target, maps, agreement(maps)
        return kept[2], kept[3]

    def again(self) -> None:
        self.wanted = None


@st.cache_resource(scope="session", on_release=Current.cancel, show_spinner=False)
def _current() -> Current:
    return Current()


def page() -> None:
    address.only("sample", "target", "masks", "baseline", "baseline2")
    opened = heading("Does the student look where the teacher looks?")
    _lead(opened)
    left, right = st.columns([3, 1], gap="large")
    with right:
        uploaded = _upload(opened)
    with left:
        chosen = _choose_picture(opened, uploaded)
        option, rows = _controls(opened, chosen)
    if chosen is None:
        return
    current = _current()
    target = _class_explained(opened, chosen, option)
    try:
        current.request(service.Request(opened, chosen.picture, rows, target))
    except KdvizError as error:
        say_error(error)
        return
    if current.job is None:
        return
    _wait_a_moment(current.job)
    refresh = None if current.job.ended else _REFRESH_SECONDS_LARGE if opened.is_large else _REFRESH_SECONDS
    st.fragment(_result, run_every=refresh)(chosen, target, current, refresh is not None)


def _lead(opened: OpenExperiment) -> None:
    what = "a digit" if opened.is_mnist else "an image"
    st.markdown(
        f"Pick {what} or upload a picture. Each map shows what keeping a pixel does to the model's probability: "
        ":orange[**orange raises it**], :blue[**blue lowers it**]."
    )
    if TEACHER not in opened.experiment.runs:
        say_missing("This experiment has no teacher model, only students: there is no teacher's map to compare with.")


def _wait_a_moment(job: Job[service.States]) -> None:
    """A quarter of a second, often enough for everything; then for first maps, so that the old ones do not vanish."""
    job.wait(0.25)
    end = time.monotonic() + 0.75
    while not job.latest and not job.wait(0.02) and time.monotonic() < end:
        pass


# the picture ----------------------------------------------------------------------------------------------------------


def _choose_picture(opened: OpenExperiment, uploaded: Chosen | None) -> Chosen | None:
    shown = opened.shown
    if shown is None:
        say_missing(
            "This experiment keeps no pictures of its data; upload one, or train it again with the data's folder."
        )
        return uploaded
    place = None if uploaded else _place(opened, shown)
    st.markdown(f"**{_strip_title(opened, shown)}**", help=_strip_help(shown))
    picked = _strip(opened, shown, place)
    number = None if place is None else int(shown.numbers[place])
    if picked is not None and picked != number:
        _leave_upload()
        address.keep("sample", str(picked), "")
        st.rerun()
    return _chosen_sample(shown, place) if place is not None else uploaded


def _strip_title(opened: OpenExperiment, shown: Shown) -> str:
    if shown.split == "validation":
        return f"{plain(opened.pictures)}, on which each model's best epoch was chosen"
    return "Digits that no model was trained on" if opened.is_mnist else f"{plain(opened.pictures)}, never trained on"


def _strip_help(shown: Shown) -> str:
    return plain(shown.missing) or "The first ones are those on which the models differ."


def _place(opened: OpenExperiment, shown: Shown) -> int:
    """Where the sample of the address is, else the first of the showcase."""
    text = address.read("sample", "")
    address.keep("sample", text, "")
    if not text:
        return opened.showcase[0]
    fine = text.isascii() and text.isdecimal() and len(text) < 10
    place = shown.place(int(text)) if fine else None
    if place is None:
        last = int(shown.numbers.max())
        say_error(f"There is no sample '{text[:40]}' here; they go from 0 to {last}. The first one is shown instead.")
        return opened.showcase[0]
    return place


def _strip(opened: OpenExperiment, shown: Shown, place: int | None) -> int | None:
    """Thumbnails; the number of the sample that was just clicked."""
    places = list(opened.showcase)
    if place is not None and place not in places:
        places.insert(0, place)
    items = [_strip_item(opened, shown, one) for one in places]
    selected = None if place is None else int(shown.numbers[place])
    label = f"Sample {opened.noun}s"
    return components.gallery(shown, places, items, key="strip", label=label, thumb=58, strip=True, selected=selected)


def _strip_item(opened: OpenExperiment, shown: Shown, place: int) -> dict[str, Any]:
    number, label = int(shown.numbers[place]), opened.experiment.classes[int(shown.labels[place])]
    said = ""
    if shown.predictions is not None:
        roles = shown.predictions.predicted
        wrong = [figures.role_title(role) for role in roles if not shown.predictions.right(role)[place]]
        said = f"; wrong: {', '.join(wrong)}" if wrong else "; all models right"
    return {"id": number, "alt": f"Sample {number}, {components.with_article(label)}{said}", "label": ""}


def _chosen_sample(shown: Shown, place: int) -> Chosen:
    picture, number = shown.picture(place), int(shown.numbers[place])
    return Chosen(f"sample {number}", picture, picture, int(shown.labels[place]), number)


def _upload(opened: OpenExperiment) -> Chosen | None:
    version = st.session_state.setdefault("upload_version", 0)
    file = st.file_uploader(
        "Your own picture of a digit" if opened.is_mnist else "Your own image",
        key=f"upload-{version}",
        on_change=_mark_upload,
        args=(f"upload-{version}",),
        help=_upload_help(opened),
    )
    if file is None or not st.session_state.get("upload_active"):
        return None
    try:
        original = open_image(file.getvalue(), file.name)
        picture = opened.experiment.prepare(original)
    except ImageError as error:
        say_error(error)
        return None
    shown = original.copy()
    shown.thumbnail((160, 160))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.image(shown, width=72, alt="Your picture as uploaded")
        st.caption("Your picture as uploaded. What the models see of it is in the first panel below.")
    return Chosen(f"upload {content_hash(file.getvalue())[:8]}", original, picture, None)


def _upload_help(opened: OpenExperiment) -> str:
    if opened.is_mnist:
        text = "A photo, scan or drawing of one digit, any size, dark on light or light on dark."
    else:
        height, width = opened.experiment.input.size
        text = f"Of any size: its middle is cut out and brought to {width} × {height} pixels, as the models take it."
    return f"{text} It stays in this session and is never stored."


def _mark_upload(key: str) -> None:
    st.session_state["upload_active"] = st.session_state.get(key) is not None


def _leave_upload() -> None:
    if st.session_state.get("upload_active"):
        st.session_state["upload_active"] = False
        st.session_state["upload_version"] += 1  # a new key empties the uploader


# the settings ---------------------------------------------------------------------------------------------------------


def _controls(opened: OpenExperiment, chosen: Chosen | None) -> tuple[str, tuple[dict[str, Any], ...]]:
    """The class to explain, and the settings of each row of maps."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        target = _target(opened, chosen)
        usual, about = service.default_masks(opened), "More masks, less noise; time grows with them."
        masks = _from_address("masks", "Masks", MASKS, usual, str, about, width=110)
        baselines = _baselines(opened)
        more = _more_settings(min(opened.experiment.input.size))
    settings = {**methods["rise"].complete({}), "n_masks": masks, **more}
    return target, tuple({**settings, "baseline": baseline} for baseline in baselines)


def _baselines(opened: OpenExperiment) -> list[str]:
    """One, or two that differ."""
    about = "Blur is the picture without its details; noise is random grey."
    if opened.is_mnist:
        about = (
            f"On MNIST black is the background too: removing background then changes nothing. Grey shows it. {about}"
        )
    first = _from_address(
        "baseline",
        "A removed pixel becomes",
        tuple(_BASELINE_TITLES),
        "black",
        _BASELINE_TITLES.__getitem__,
        about,
    )
    second = _from_address(
        "baseline2",
        "Second baseline",
        (_NO_BASELINE, *(name for name in _BASELINE_TITLES if name != first)),
        _NO_BASELINE,
        lambda name: _BASELINE_TITLES.get(name, "None"),
        "The same maps once more, in a second row, with removed pixels becoming something else.",
        width=165,
        missing=first,
    )
    return [first] if second == _NO_BASELINE else [first, second]


def _target(opened: OpenExperiment, chosen: Chosen | None) -> str:
    classes = opened.experiment.classes
    true_class = chosen.true_class if chosen else None
    usual = [TEACHER, PREDICTED] if TEACHER in opened.experiment.runs else [PREDICTED]
    options = [*usual, *([TRUE] if true_class is not None else []), *classes]
    titles = {TEACHER: "Teacher's prediction", PREDICTED: "Each model's prediction"}
    if true_class is not None:
        titles[TRUE] = f"The true class ({classes[true_class]})"
    return _from_address(
        "target",
        "Class explained",
        tuple(options),
        usual[0],
        lambda option: titles.get(option, option),
        "All classes come from one computation: changing this costs nothing.",
        missing=TRUE,  # an upload has none
    )


def _from_address(
    name: str,
    label: str,
    options: tuple,
    default: Any,
    show: Any,
    help: str,
    *,
    width: int = 198,
    missing: str | None = None,
) -> Any:
    """A select box whose value is in the page's address; ``missing`` is a value that may not be offered just now."""
    texts = [str(option) for option in options]
    asked = address.read(name, str(default))
    if asked == missing and missing not in texts:
        asked = str(default)
    elif asked not in texts:
        asked = address.read_choice(name, texts, str(default))
    value = st.selectbox(label, options, index=texts.index(asked), format_func=show, help=help, width=width)
    address.keep(name, str(value), str(default))
    return value


def _more_settings(side: int) -> dict[str, Any]:
    with st.popover("More settings", icon=":material/tune:"):
        return {
            setting.name: _form_field(setting, side)
            for setting in methods["rise"].settings
            if setting.name in _SETTING_TITLES
        }


def _form_field(setting: Setting, side: int) -> Any:
    """A field for a setting; ``side`` is the shorter one of the picture."""
    title, key = _SETTING_TITLES[setting.name], f"rise-{setting.name}"
    if setting.choices:
        start = setting.choices.index(str(setting.default))
        return st.selectbox(title, setting.choices, index=start, help=setting.help, key=key)
    if isinstance(setting.default, int):
        high = min(int(setting.high or 0), side) if setting.name == "grid" else int(setting.high or 0)
        return st.number_input(title, int(setting.low or 0), high, int(setting.default), 1, help=setting.help, key=key)
    if setting.name == "reliability":
        return st.number_input(title, 0.0, 0.999, float(setting.default), 0.01, "%.3f", help=setting.help, key=key)
    return st.slider(title, 0.05, 0.95, float(setting.default), 0.05, help=setting.help, key=key)


# the result -----------------------------------------------------------------------------------------------------------


def _result(chosen: Chosen, target: int | str | None, current: Current, refreshing: bool) -> None:
    job = current.job
    if job is None or current.wanted is None:
        return
    ended = job.ended
    rows = _rows(current, job, current.wanted, target)
    _progress(job, current)
    if rows:
        st.markdown(_sentence(rows))
        components.viewer(components.comparison_payload(rows, chosen.true_class, chosen.name), key="viewer")
    if ended:
        for row in rows:
            _downloads(row, chosen)
    if refreshing and ended:
        st.rerun()  # ends the timer of this fragment


def _rows(
    current: Current, job: Job[service.States], wanted: service.Request, target: int | str | None
) -> list[components.Row]:
    ended, states = job.ended, job.latest or ()  # in this order: nothing comes after the end
    rows = []
    for number, (state, settings) in enumerate(zip(states, wanted.rows, strict=False)):
        maps, report = current.maps(number, state, target)
        rows.append(
            components.Row(
                baseline=settings["baseline"],
                heading=_heading(settings["baseline"]) if len(wanted.rows) > 1 else "",
                maps=maps,
                report=report,
                complete=ended or number < len(states) - 1,
                settled=state.stopped == "settled",
            )
        )
    return rows


def _heading(baseline: str) -> str:
    return f"A removed pixel becomes: {_BASELINE_TITLES[baseline].lower()}"


def _progress(job: Job[service.States], current: Current) -> None:
    if job.status == "done" or current.wanted is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        if job.status == "failed":
            say_error(job.error or "The computation failed.")
        elif not job.ended:
            waiting = service.pool().place(job)
            text = _counts(job, current.wanted) if job.latest else "Starting; the first maps take a moment"
            if waiting and not job.latest:
                text = f"Waiting; {waiting} other computation{'s' if waiting > 1 else ''} under way"
            st.progress(_share_done(job, current.wanted), text=text)
            if st.button("Stop", icon=":material/stop_circle:", key="stop"):
                job.cancel()
                job.wait(2)
                st.rerun()
        elif job.status == "stopped":
            counts = _counts(job, current.wanted)
            st.markdown(f":material/stop_circle: Stopped at {counts}; the maps are as they were then.")
            if st.button("Compute again", icon=":material/refresh:", key="again"):
                current.again()
                st.rerun()


def _counts(job: Job[service.States], wanted: service.Request) -> str:
    """``300 of 2,000 masks``; with several rows, of each."""
    states = job.latest or ()
    done = [state.n_masks for state in states] + [0] * (len(wanted.rows) - len(states))
    counts = [f"{one:,} of {row['n_masks']:,} masks" for one, row in zip(done, wanted.rows, strict=True)]
    if len(counts) == 1:
        return counts[0]
    names = [_BASELINE_TITLES[row["baseline"]].lower() for row in wanted.rows]
    return " and ".join(f"{count} ({name})" for count, name in zip(counts, names, strict=True))


def _share_done(job: Job[service.States], wanted: service.Request) -> float:
    """0 to 1. All rows but the latest are complete, however many masks that took."""
    states = job.latest or ()
    return (len(states) - 1 + states[-1].n_masks / states[-1].total) / len(wanted.rows) if states else 0.0


def _class_explained(opened: OpenExperiment, chosen: Chosen, target: str) -> int | str | None:
    """The index of a class, ``teacher`` for the teacher's prediction, or None for each model's own."""
    if target == TEACHER:
        return service.TEACHER
    if target == PREDICTED:
        return None
    return chosen.true_class if target == TRUE else opened.experiment.class_index(target)


def _targets(target: int | str | None, state: ExplainState) -> dict[str, int] | None:
    index = state.targets.get(service.TEACHER) if target == service.TEACHER else target
    return dict.fromkeys(state.states, index) if isinstance(index, int) else None


def _sentence(rows: Sequence[components.Row]) -> str:
    """What the maps say, in words."""
    answers: dict[str, list[str]] = {}
    for role, one in rows[0].maps.items():
        answers.setdefault(one.classes[one.predicted], []).append(figures.role_title(role))
    if len(answers) == 1:
        text = f"All models say **{plain(next(iter(answers)))}**. "
    else:
        text = "; ".join(f"{' and '.join(roles)}: **{plain(name)}**" for name, roles in answers.items()) + ". "
    caution = "One picture shows a case, not a rule."
    if len(rows) == 1 and not rows[0].heading:
        return f"{text}{_agreement_words(rows[0])}:gray[{_mask_words(rows[0])}{caution}]"
    items = [
        f"- **{_BASELINE_TITLES[row.baseline]}.** {_agreement_words(row)}:gray[{_mask_words(row)}]"
        for row in rows
        if row.complete
    ]
    return "\n".join([f"{text}:gray[{caution}]\n", *items])


def _agreement_words(row: components.Row) -> str:
    pairs = [pair for pair in row.report.pairs if pair.first == "teacher" and math.isfinite(pair.agreement)]
    if not row.complete or not pairs or not all(pair.same_target for pair in pairs):
        return ""
    found = ", ".join(
        f"{figures.role_title(pair.second)} **{pair.agreement:.2f}**{components.interval(pair)}" for pair in pairs
    )
    ceiling = max(pair.ceiling for pair in pairs)
    return f"Agreement with the teacher's map: {found}, where the noise allows {ceiling:.2f}. "


def _mask_words(row: components.Row) -> str:
    if not row.complete:
        return ""
    maps = row.maps
    count = f"{next(iter(maps.values())).n_masks:,} masks, the same for every model"
    text = f"{'Settled after ' if row.settled else ''}{count}; reliability of the maps"
    text += f" {min(one.reliability for one in maps.values()):.3f}"
    others = [one for role, one in maps.items() if role != "teacher" and "teacher" in maps]
    if others:
        text += f", of their differences {min(difference(one, maps['teacher']).reliability for one in others):.3f}"
    return f"{text}. "


def _downloads(row: components.Row, chosen: Chosen) -> None:
    name = f"kdviz-{chosen.name.replace(' ', '-')}-{row.baseline}"
    kept, report = dict(row.maps), row.report
    title = "Numbers and downloads" + (f", {_BASELINE_TITLES[row.baseline].lower()}" if row.heading else "")
    with st.expander(title, icon=":material/download:"):
        st.dataframe(
            report.table().select(["first", "second", "agreement", "low", "high", "ceiling", "corrected"]).to_pandas(),
            hide_index=True,
            column_config={
                "first": "Model",
                "second": "and",
                "agreement": st.column_config.NumberColumn("Agreement (Spearman)", format="%.3f"),
                "low": st.column_config.NumberColumn("from (95 %)", format="%.3f"),
                "high": st.column_config.NumberColumn("to (95 %)", format="%.3f"),
                "ceiling": st.column_config.NumberColumn("Noise ceiling", format="%.3f"),
                "corrected": st.column_config.NumberColumn("Without the masks' noise", format="%.3f"),
            },
        )
        st.caption(
            "Agreement is taken across independent halves of the masks, since two maps from the same masks look alike "
            "by their noise alone. The ceiling is what two models with the same true map would reach."
        )
        with st.container(horizontal=True):
            download("PNG", f"{name}.png", "image/png", lambda: figures.comparison_file(kept, "png"))
            download("SVG", f"{name}.svg", "image/svg+xml", lambda: figures.comparison_file(kept, "svg"))
            download("HTML", f"{name}.html", "text/html", lambda: figures.comparison(kept).to_html().encode())
            download("Maps (NPZ)", f"{name}.npz", "application/octet-stream", lambda: maps_npz(kept))
            download(
                "Agreement (CSV)", f"{name}.csv", "text/csv", lambda: report.table().to_pandas().to_csv(index=False)
            )
            download("Settings (JSON)", f"{name}.json", "application/json", lambda: _settings_json(kept, chosen))


def _settings_json(maps: Mapping[str, SaliencyMap], chosen: Chosen) -> str:
    first = next(iter(maps.values()))
    return json.dumps(
        {"picture": chosen.name, "method": first.method, "masks": first.n_masks, "settings": dict(first.settings)}
    )
