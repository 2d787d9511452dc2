"""Bring your models: ``kdviz import`` in the browser for one session. Files, what is known about them, a check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from kdviz.app import address, limits
from kdviz.app.page_header import plain_heading
from kdviz.app.pages.bring_models import PAGE, check
from kdviz.app.pages.bring_models.draft import INPUT_FIELDS, ModelsDraft, Slot, draft_of
from kdviz.app.pages.bring_models.job import ImportJob
from kdviz.app.texts import plain, say_error
from kdviz.app.uploads import session_store
from kdviz.app.uploads.upload import release
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.errors import KdvizError
from kdviz.core.files import ASSETS
from kdviz.core.language import N_, _, number, percent, plural
from kdviz.figures import role_title
from kdviz.models.inputs import INTERPOLATIONS

_REFRESH_SECONDS = 0.5

_WAYS = {"files": N_("Files or a zip"), "folder": N_("A folder")}
_PICTURES = ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "gif", "tif", "tiff", "webp", "avif", "csv", "tsv"]
_FIELDS: dict[str, tuple[str, str]] = {  # title and description
    "network": (N_("Network"), N_("With its library, such as timm/resnet18; empty: found from the file.")),
    "size": (N_("Size"), N_("Pixels that the network gets: 224, or 240x320 (height x width).")),
    "resize": (
        N_("Resized to"),
        N_("The short side before the middle is cut out, such as 256; or 256x256, or squash."),
    ),
    "crop": (N_("Crop"), N_("Instead of resizing to pixels: the share of the short side that is kept, such as .875.")),
    "interpolation": (N_("Interpolation"), ""),
    "channels": (N_("Channels"), N_("1: grey, 3: RGB.")),
    "mean": (N_("Mean"), N_("Of values from 0 to 1: one number or one a channel, such as .485/.456/.406.")),
    "std": (N_("Standard deviation"), N_("As the mean.")),
    "classes": (N_("Classes"), N_("Names of the outputs in their order, with / between them; empty: found.")),
}
_CHOICES = {"interpolation": ("", *INTERPOLATIONS), "channels": ("", "1", "3")}
_STAGES = {"read": N_("reading {file}"), "evaluate": N_("predicting the pictures"), "maps": N_("first maps")}


def page() -> None:
    address.keep_only()
    plain_heading(PAGE)
    html.style()
    st.html(ASSETS / "app" / "bring.css")
    if not limits.session_bytes():
        st.info(_("The operator of this server has turned this off; run kdviz on your own machine for it."))
        st.code("kdviz import --teacher FILE --kd-student FILE --data DIR --out models/mine", language=None)
        return
    st.markdown(
        _(
            "Trained models become an experiment: give their files, and pictures to measure them on. For this session "
            "only: nobody else sees it, nothing in it is executed, and it is removed from the server when you close "
            "this tab. Up to {file} MB a file, {size} MB together.",
            file=number(limits.file_megabytes(_most_bytes())),
            size=number(_most_bytes() / limits.MEGABYTE),
        )
    )
    draft = draft_of(session_store.current_store())
    _show_problem()
    imported = check.opened(draft)  # first, as it fills what was found into the fields below
    with st.container(key="bm-models"):
        _show_models(draft)
    _show_pictures(draft)
    _show_check(draft)
    if imported is not None:
        check.show_import(draft, imported)


# what is sent ---------------------------------------------------------------------------------------------------------


def _show_models(draft: ModelsDraft) -> None:
    st.subheader(_("Models"), anchor=False)
    keys = list(draft.slots)
    for start in range(0, len(keys), 3):
        for column, key in zip(st.columns(3, gap="small"), keys[start : start + 3], strict=False):
            with column, st.container(border=True, key=f"bm-slot-{key}"):
                _show_slot(draft, key, draft.slots[key])
    if st.button(_("Another model"), icon=":material/add:", key="bm-more", disabled=draft.is_running):
        _try(draft.add_slot)


def _show_slot(draft: ModelsDraft, key: str, slot: Slot) -> None:
    if slot.role:
        html.show(f'<h3 class="bm-role">{html.role(slot.role)}{text(role_title(slot.role))}</h3>')
    else:
        title = st.text_input(_("Name of the model"), slot.title, max_chars=40, key=f"bm-title-{key}")
        slot.title = title.strip()
    if slot.path is None:
        _show_empty_slot(draft, key, slot)
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        size = _("{size} MB", size=number(slot.size / 1e6, 1))
        html.show(f'<p class="bm-file"><b>{text(slot.source)}</b> <span class="soft">{text(size)}</span></p>')
        if st.button(_("Remove"), icon=":material/close:", key=f"bm-drop-{key}", disabled=draft.is_running):
            _forget_fields(key)
            _try(lambda: draft.drop_model(key))
    with st.expander(_("Network, input, classes")):
        _show_fields(key, slot)


def _show_empty_slot(draft: ModelsDraft, key: str, slot: Slot) -> None:
    about = _("safetensors, a checkpoint (.pt, .pth, .ckpt, .bin), or a zip of a folder of timm or transformers")
    if limits.onnx_allowed():
        about = _("safetensors, a checkpoint (.pt, .pth, ...), ONNX, or a zip of a folder of timm or transformers")
    name = slot.title if not slot.role else role_title(slot.role)
    label = _("File of {model}", model=name or _("the model"))
    file = _uploader(label, f"model-{key}", help=about, label_visibility="collapsed")
    st.caption(about)
    if file is not None:
        _receive([file], lambda: draft.take_model(key, file.name, file.getvalue()))
    if not slot.role and st.button(_("Remove"), icon=":material/close:", key=f"bm-drop-{key}"):
        _try(lambda: draft.drop_slot(key))


def _show_fields(key: str, slot: Slot) -> None:
    """Show the fields in which the person corrects what was found about a model."""
    _show_field(key, slot, "network")
    for start in range(0, len(INPUT_FIELDS), 2):  # row by row, which is their order on a phone
        for column, name in zip(st.columns(2, gap="small"), INPUT_FIELDS[start : start + 2], strict=False):
            with column:
                _show_field(key, slot, name)
    _show_field(key, slot, "classes")


def _show_field(key: str, slot: Slot, name: str) -> None:
    title, about = _FIELDS[name]
    value = _field(f"bm-{name}-{key}", name, _(title), about and _(about), slot)
    if value == slot.detected.get(name, "") and value != slot.entered.get(name):
        value = ""
    slot.entered[name] = value


def _field(key: str, name: str, title: str, about: str, slot: Slot) -> str:
    value = slot.entered.get(name) or slot.detected.get(name, "")
    key = f"{key}-{len(slot.detected)}-{st.session_state.get('bm-round', 0)}"  # a new field after each check
    about = about or title
    if name in _CHOICES:
        options = _CHOICES[name]
        position = options.index(value) if value in options else 0
        option_title: Callable[[str], str] = lambda option: option or _("as found")  # noqa: E731
        return str(st.selectbox(title, options, position, format_func=option_title, key=key, help=about) or "")
    text_value = st.text_input(title, value, max_chars=4000, key=key, help=about, placeholder=_("as found"))
    return str(text_value or "").strip()


def _forget_fields(key: str) -> None:
    for state_key in [
        state_key for state_key in st.session_state if str(state_key).startswith("bm-") and f"-{key}-" in str(state_key)
    ]:
        del st.session_state[state_key]


def _show_pictures(draft: ModelsDraft) -> None:
    st.subheader(_("Pictures"), anchor=False)
    st.markdown(
        _(
            "Optional: without them there are no accuracies. One folder a class, pictures with a CSV file (file, "
            "label), or pictures alone, which have no labels."
        )
    )
    if draft.pictures is None:
        _show_pictures_uploader(draft)
    else:
        with st.container(horizontal=True, vertical_alignment="center", border=True, key="bm-pictures"):
            count = plural("{count} picture", "{count} pictures", draft.pictures.count)
            size = _("{size} MB", size=number(draft.pictures.size / 1e6, 1))
            source = draft.pictures.source or _("files")
            about = f"<b>{text(source)}</b> <span class='soft'>{text(count)}, {text(size)}</span>"
            html.show(f'<p class="bm-file">{about}</p>')
            if st.button(_("Remove"), icon=":material/close:", key="bm-drop-pictures", disabled=draft.is_running):
                _try(draft.drop_pictures)
    draft.classes = (
        st.text_area(
            _("Names of the classes (optional)"),
            draft.classes,
            height=68,
            max_chars=200_000,
            key=address.widget_key("bm-classes", draft.classes),
            help=_("Commas between them, or one a line; or lines folder=name, which say what folders are called."),
        )
        or ""
    )


def _show_pictures_uploader(draft: ModelsDraft) -> None:
    way = st.segmented_control(
        _("What do you send?"),
        list(_WAYS),
        default="files",
        required=True,
        format_func=lambda kind: _(_WAYS[kind]),
        label_visibility="collapsed",
        key="bm-way",
    )
    if way == "folder":
        files = _uploader(_("Folder of pictures"), "folder", _PICTURES, "directory")
    else:
        files = _uploader(_("Pictures, or a zip of them"), "pictures", [*_PICTURES, "zip"], True)
    if files:
        _receive(files, lambda: draft.take_pictures([(file.name, file.getvalue()) for file in files]))


def _uploader(label: str, name: str, types: list[str] | None = None, multiple: Any = False, **options: Any) -> Any:
    round_number = st.session_state.setdefault("bm-number", 0)  # a new key empties the uploader
    key, most = f"bm-{round_number}-{name}", limits.file_megabytes(_most_bytes())
    return st.file_uploader(label, types, accept_multiple_files=multiple, key=key, max_upload_size=most, **options)


def _most_bytes() -> int:
    """Bytes of all files: half of a session's room, as the experiment that is made takes as much again."""
    return limits.session_bytes() // 2


def _receive(files: Sequence[Any], keep: Callable[[], None]) -> None:
    """Write what was sent to the disk, and free the memory that the upload took."""
    try:
        keep()
    except KdvizError as error:
        st.session_state["bm-said"] = error.sentence
    finally:
        release(files)
    st.session_state["bm-number"] += 1
    st.rerun()


def _try(change: Callable[[], None]) -> None:
    try:
        change()
    except KdvizError as error:
        st.session_state["bm-said"] = error.sentence
    st.rerun()


def _show_problem() -> None:
    message = st.session_state.pop("bm-said", None)
    if message is not None:
        say_error(message)


# the check ------------------------------------------------------------------------------------------------------------


def _show_check(draft: ModelsDraft) -> None:
    running = draft.is_running
    with st.container(key="bm-check"):
        st.fragment(_show_controls, run_every=_REFRESH_SECONDS if running else None)(draft, running)


def _show_controls(draft: ModelsDraft, running: bool) -> None:
    """Show the button, or how far the import is; while it is under way, only this is run again."""
    job = draft.job
    if job is not None and not job.ended:
        _show_progress(job)
        return
    if running:  # it has just ended: run the page again to show the outcome
        st.session_state["bm-round"] = st.session_state.get("bm-round", 0) + 1
        st.rerun()
    if job is not None:
        _show_outcome(job)
    label = _("Check again") if draft.name else _("Check")
    if st.button(label, icon=":material/fact_check:", type="primary", key="bm-start", disabled=not draft.sent):
        _try(draft.start)
    if not draft.sent:
        st.caption(_("Send the file of one model at least."))


def _show_progress(job: ImportJob) -> None:
    activity = _(_STAGES[job.stage], file=job.about) if job.stage in _STAGES else _("starting")
    if job.stage == "evaluate" and job.total:
        activity = _("predicting the pictures: {done} of {total}", done=number(job.done), total=number(job.total))
    st.progress(job.share, text=plain(f"{percent(job.share, 0)} · {activity}"))
    if st.button(_("Stop"), icon=":material/stop:", key="bm-stop"):
        job.stop()
        job.wait(5)
        st.rerun()


def _show_outcome(job: ImportJob) -> None:
    if job.status == "failed":
        say_error(job.error)
    elif job.status == "stopped":
        st.caption(_("Stopped; nothing of it is kept."))
