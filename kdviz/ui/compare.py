"""Compare: one picture, a map a model, side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st
from PIL import Image

from kdviz import figures
from kdviz.errors import ImageError, KdvizError
from kdviz.execution import Job
from kdviz.images import content_hash, open_image
from kdviz.metrics import AgreementReport, agreement
from kdviz.saliency import ExplainState, SaliencyMap, Setting, maps_npz, methods
from kdviz.ui import address, components, service
from kdviz.ui.shell import heading, plain, say_error

MASKS = (250, 500, 1000, 2000, 4000, 8000, 16000)
TEACHER, PREDICTED, TRUE = "teacher", "predicted", "true"
_REFRESH_SECONDS = 0.3
_SETTING_TITLES = {
    "grid": "Mask grid, cells a side",
    "probability": "Chance that a cell is kept",
    "sampler": "How masks are drawn",
    "estimator": "Estimator",
    "seed": "Seed",
}
_BASELINE_TITLES = {"black": "Black", "white": "White", "mean": "Mean of the data", "grey": "Grey"}


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
        self.key: tuple | None = None
        self.job: Job[ExplainState] | None = None

    def cancel(self) -> None:
        if self.job is not None:
            self.job.cancel()

    def request(self, opened: service.OpenExperiment, chosen: Chosen, settings: Mapping[str, Any]) -> None:
        """Compute this unless it is what is being computed; a job for anything else is stopped."""
        key = service.result_key(opened, chosen.picture, settings)
        if key == self.key:
            return
        self.cancel()
        known = service.results().get(key)
        self.job = _finished(known) if known is not None else service.start(opened, chosen.picture, settings)
        self.key = key

    def again(self) -> None:
        self.key = None


def _finished(state: ExplainState) -> Job[ExplainState]:
    job: Job[ExplainState] = Job(lambda: iter(()))
    job.latest = state
    job.finish("done")
    return job


@st.cache_resource(scope="session", on_release=Current.cancel, show_spinner=False)
def _current() -> Current:
    return Current()


def page() -> None:
    heading(
        "Does the student look where the teacher looks?",
        "Pick a digit or upload a picture. Each map shows what keeping a pixel does to the model's probability: "
        ":orange[**orange raises it**], :blue[**blue lowers it**].",
    )
    address.only("sample", "target", "masks", "baseline")
    opened = service.open_experiment("mnist")
    left, right = st.columns([3, 1], gap="large")
    with right:
        uploaded = _upload(opened)
    with left:
        chosen = _choose_picture(opened, uploaded)
        target, settings = _controls(opened, chosen)
    if chosen is None:
        return
    current = _current()
    try:
        current.request(opened, chosen, settings)
    except KdvizError as error:
        say_error(error)
        return
    if current.job is None:
        return
    if not current.job.ended:
        current.job.wait(0.25)  # often enough for everything, or at least for a first picture
    refresh = None if current.job.ended else _REFRESH_SECONDS
    st.fragment(_result, run_every=refresh)(opened, chosen, target, current, refresh is not None)


# the picture ----------------------------------------------------------------------------------------------------------


def _choose_picture(opened: service.OpenExperiment, uploaded: Chosen | None) -> Chosen | None:
    sample = None if uploaded else _sample_number(opened)
    st.markdown("**Digits that no model was trained on**", help="The first ones are those on which the models differ.")
    picked = _strip(opened, sample)
    if picked is not None and picked != sample:
        _leave_upload()
        address.keep("sample", str(picked), "")
        st.rerun()
    return _chosen_sample(opened, sample) if sample is not None else uploaded


def _sample_number(opened: service.OpenExperiment) -> int:
    text = address.read("sample", "")
    address.keep("sample", text, "")
    if not text:
        return opened.showcase[0]
    if not (text.isascii() and text.isdecimal()) or int(text) >= len(opened.samples):
        last = len(opened.samples) - 1
        say_error(f"There is no sample '{text[:40]}'; samples go from 0 to {last}. The first one is shown instead.")
        return opened.showcase[0]
    return int(text)


def _strip(opened: service.OpenExperiment, sample: int | None) -> int | None:
    index = list(opened.showcase)
    if sample is not None and sample not in index:
        index.insert(0, sample)
    items = [_strip_item(opened, one) for one in index]
    return components.gallery(
        opened.samples, index, items, key="strip", label="Sample digits", thumb=58, strip=True, selected=sample
    )


def _strip_item(opened: service.OpenExperiment, sample: int) -> dict[str, Any]:
    label = opened.experiment.classes[int(opened.samples.labels[sample])]
    wrong = [
        figures.role_title(role) for role in opened.predictions.predicted if not opened.predictions.right(role)[sample]
    ]
    verdict = f"wrong: {', '.join(wrong)}" if wrong else "all models right"
    return {"id": sample, "alt": f"Sample {sample}, a {label}; {verdict}", "label": ""}


def _chosen_sample(opened: service.OpenExperiment, sample: int) -> Chosen:
    picture = opened.samples.picture(sample)
    label = int(opened.samples.labels[sample])
    return Chosen(f"sample {sample}", picture, picture, label, sample)


def _upload(opened: service.OpenExperiment) -> Chosen | None:
    version = st.session_state.setdefault("upload_version", 0)
    file = st.file_uploader(
        "Your own picture of a digit",
        key=f"upload-{version}",
        on_change=_mark_upload,
        args=(f"upload-{version}",),
        help="A photo, scan or drawing of one digit, any size, dark on light or light on dark. "
        "It stays in this session and is never stored.",
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


def _mark_upload(key: str) -> None:
    st.session_state["upload_active"] = st.session_state.get(key) is not None


def _leave_upload() -> None:
    if st.session_state.get("upload_active"):
        st.session_state["upload_active"] = False
        st.session_state["upload_version"] += 1  # a new key empties the uploader


# the settings ---------------------------------------------------------------------------------------------------------


def _controls(opened: service.OpenExperiment, chosen: Chosen | None) -> tuple[str, dict[str, Any]]:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        target = _target(opened, chosen)
        masks = _from_address("masks", "Masks", MASKS, 2000, str, "More masks, less noise; time grows with them.")
        baseline = _from_address(
            "baseline",
            "A removed pixel becomes",
            tuple(_BASELINE_TITLES),
            "black",
            lambda name: _BASELINE_TITLES[name],
            "On MNIST black is also the background: removing background then changes nothing. Grey shows it.",
        )
        more = _more_settings()
    return target, {**methods["rise"].complete({}), "n_masks": masks, "baseline": baseline, **more}


def _target(opened: service.OpenExperiment, chosen: Chosen | None) -> str:
    classes = opened.experiment.classes
    true_class = chosen.true_class if chosen else None
    options = [TEACHER, PREDICTED, *([TRUE] if true_class is not None else []), *classes]
    titles = {TEACHER: "The teacher's prediction", PREDICTED: "Each model's prediction"}
    if true_class is not None:
        titles[TRUE] = f"The true class ({classes[true_class]})"
    return _from_address(
        "target",
        "Class explained",
        tuple(options),
        TEACHER,
        lambda option: titles.get(option, option),
        "All classes come from one computation: changing this costs nothing.",
    )


def _from_address(name: str, label: str, options: tuple, default: Any, show: Any, help: str) -> Any:
    """A select box whose value is in the page's address."""
    texts = [str(option) for option in options]
    asked = address.read(name, str(default))
    if name == "target" and asked == TRUE and TRUE not in texts:
        asked = str(default)  # an upload has no true class; the choice comes back with the next sample
    elif asked not in texts:
        asked = address.read_choice(name, texts, str(default))
    value = st.selectbox(label, options, index=texts.index(asked), format_func=show, help=help, width=198)
    address.keep(name, str(value), str(default))
    return value


def _more_settings() -> dict[str, Any]:
    with st.popover("More settings", icon=":material/tune:"):
        return {
            setting.name: _form_field(setting)
            for setting in methods["rise"].settings
            if setting.name in _SETTING_TITLES
        }


def _form_field(setting: Setting) -> Any:
    title = _SETTING_TITLES[setting.name]
    if setting.choices:
        start = setting.choices.index(str(setting.default))
        return st.selectbox(title, setting.choices, index=start, help=setting.help, key=f"rise-{setting.name}")
    if isinstance(setting.default, int):
        high = min(int(setting.high or 0), 28) if setting.name == "grid" else int(setting.high or 0)
        return st.number_input(
            title, int(setting.low or 0), high, int(setting.default), 1, help=setting.help, key=f"rise-{setting.name}"
        )
    return st.slider(title, 0.05, 0.95, float(setting.default), 0.05, help=setting.help, key=f"rise-{setting.name}")


# the result -----------------------------------------------------------------------------------------------------------


def _result(opened: service.OpenExperiment, chosen: Chosen, target: str, current: Current, refreshing: bool) -> None:
    job = current.job
    if job is None:
        return
    state = job.latest
    _progress(job, current)
    if state is not None:
        maps = state.maps(_targets(opened, chosen, target, state))
        report = agreement(maps)
        st.markdown(_sentence(maps, report, job))
        components.viewer(components.comparison_payload(maps, report, chosen.true_class, chosen.name), key="viewer")
        if job.ended:
            _downloads(maps, report, chosen)
    if refreshing and job.ended:
        st.rerun()  # ends the timer of this fragment


def _progress(job: Job[ExplainState], current: Current) -> None:
    if job.status == "done":
        return
    done = job.latest.n_masks if job.latest else 0
    total = job.latest.total if job.latest else 0
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        if job.status == "failed":
            say_error(job.error or "The computation failed.")
        elif not job.ended:
            waiting = service.queue().place(job)
            text = f"{done:,} of {total:,} masks" if total else "Starting"
            if waiting and not done:
                text = f"Waiting; {waiting} other computation{'s' if waiting > 1 else ''} under way"
            st.progress(done / total if total else 0.0, text=text)
            if st.button("Stop", icon=":material/stop_circle:", key="stop"):
                job.cancel()
                job.wait(2)
                st.rerun()
        elif job.status == "stopped":
            st.markdown(
                f":material/stop_circle: Stopped at **{done:,}** of {total:,} masks; the maps are as they were then."
            )
            if st.button("Compute again", icon=":material/refresh:", key="again"):
                current.again()
                st.rerun()


def _targets(opened: service.OpenExperiment, chosen: Chosen, target: str, state: ExplainState) -> dict[str, int] | None:
    if target == PREDICTED:
        return None
    if target == TEACHER:
        index = state.targets.get("teacher")
    else:
        index = chosen.true_class if target == TRUE else opened.experiment.class_index(target)
    return None if index is None else dict.fromkeys(state.states, index)


def _sentence(maps: Mapping[str, SaliencyMap], report: AgreementReport, job: Job[ExplainState]) -> str:
    """What the maps say, in words."""
    answers: dict[str, list[str]] = {}
    for role, one in maps.items():
        answers.setdefault(one.classes[one.predicted], []).append(figures.role_title(role))
    if len(answers) == 1:
        text = f"All models say **{plain(next(iter(answers)))}**. "
    else:
        text = "; ".join(f"{' and '.join(roles)}: **{plain(name)}**" for name, roles in answers.items()) + ". "
    pairs = [pair for pair in report.pairs if pair.first == "teacher" and math.isfinite(pair.agreement)]
    if job.ended and pairs and all(pair.same_target for pair in pairs):
        found = ", ".join(f"{figures.role_title(pair.second)} **{pair.agreement:.2f}**" for pair in pairs)
        ceiling = max(pair.ceiling for pair in pairs)
        text += f"Agreement with the teacher's map: {found}, where the noise allows {ceiling:.2f}. "
    count = f"{next(iter(maps.values())).n_masks:,} masks, the same for every model"
    count += f"; reliability {min(one.reliability for one in maps.values()):.3f}. "
    count = count if job.ended else ""
    return f"{text}:gray[{count}One picture shows a case, not a rule.]"


def _downloads(maps: Mapping[str, SaliencyMap], report: AgreementReport, chosen: Chosen) -> None:
    name = f"kdviz-{chosen.name.replace(' ', '-')}"
    kept = dict(maps)
    with st.expander("Numbers and downloads", icon=":material/download:"):
        st.dataframe(
            report.table().select(["first", "second", "agreement", "ceiling", "corrected"]).to_pandas(),
            hide_index=True,
            column_config={
                "first": "Model",
                "second": "and",
                "agreement": st.column_config.NumberColumn("Agreement (Spearman)", format="%.3f"),
                "ceiling": st.column_config.NumberColumn("Noise ceiling", format="%.3f"),
                "corrected": st.column_config.NumberColumn("Without the masks' noise", format="%.3f"),
            },
        )
        st.caption(
            "Agreement is taken across independent halves of the masks, since two maps from the same masks look alike "
            "by their noise alone. The ceiling is what two models with the same true map would reach."
        )
        with st.container(horizontal=True):
            _download("PNG", f"{name}.png", "image/png", lambda: figures.comparison_file(kept, "png"))
            _download("SVG", f"{name}.svg", "image/svg+xml", lambda: figures.comparison_file(kept, "svg"))
            _download("HTML", f"{name}.html", "text/html", lambda: figures.comparison(kept).to_html().encode())
            _download("Maps (NPZ)", f"{name}.npz", "application/octet-stream", lambda: maps_npz(kept))
            _download(
                "Agreement (CSV)", f"{name}.csv", "text/csv", lambda: report.table().to_pandas().to_csv(index=False)
            )
            _download("Settings (JSON)", f"{name}.json", "application/json", lambda: _settings_json(kept, chosen))


def _download(label: str, name: str, kind: str, make: Any) -> None:
    st.download_button(label, make, name, kind, on_click="ignore", key=f"download-{label}")


def _settings_json(maps: Mapping[str, SaliencyMap], chosen: Chosen) -> str:
    first = next(iter(maps.values()))
    return json.dumps(
        {"picture": chosen.name, "method": first.method, "masks": first.n_masks, "settings": dict(first.settings)}
    )
