"""Uploads on the page Models: an experiment as a zip or a folder, or the weights of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kdviz.app import address, limits, links
from kdviz.app.library import OpenExperiment
from kdviz.app.texts import plain, say_error
from kdviz.app.uploads import session_store, unpacking, upload_validation
from kdviz.core.errors import KdvizError
from kdviz.core.language import N_, _, number, plural

_WAYS = {
    "zip": N_("An experiment as a zip"),
    "folder": N_("An experiment's folder"),
    "weights": N_("One model's weights"),
}
_IDENTIFIED = ""  # option: the network is identified from the file
_MOST_NAMES = 5  # of files that were left out


def show_uploads(opened: OpenExperiment) -> None:
    st.subheader(_("Bring your own"), anchor=False)
    if not limits.session_bytes():
        st.info(_("The operator of this server has turned this off; run kdviz on your own machine for it."))
        return
    st.markdown(
        _(
            "For this session only: nobody else sees it, nothing in it is executed, and it is removed from the server "
            "when you close this tab. Up to {file} MB a file, {size} MB together.",
            file=number(limits.file_megabytes(limits.session_bytes())),
            size=number(limits.session_bytes() / limits.MEGABYTE),
        )
    )
    label = _("Trained models that are no experiment yet: bring their files and pictures")
    links.page_link("bring", label, "upload_file")
    _show_outcome()
    kind = _choose_kind()
    if kind == "weights":
        _show_weights_uploader(opened)
    else:
        _show_experiment_uploader(kind)
    _show_uploaded(opened)


def _choose_kind() -> str:
    requested = address.read_choice("bring", list(_WAYS), "zip")
    chosen = st.segmented_control(
        _("What do you bring?"),
        list(_WAYS),
        required=True,
        format_func=lambda kind: _(_WAYS[kind]),
        label_visibility="collapsed",
        key=address.widget_key("bring", requested),
    )
    address.keep("bring", chosen or requested, "zip")
    return chosen or requested


# what is sent ---------------------------------------------------------------------------------------------------------


def _show_experiment_uploader(kind: str) -> None:
    if kind == "zip":
        about = _("A folder as `kdviz train` makes it: experiment.json, weights as safetensors, tables as parquet.")
        file = _uploader(_("Zip of an experiment's folder"), ["zip"], False, about)
        if file is not None:
            _receive([file], lambda: _add_zip(file))
        return
    about = _("The browser sends the folder's .json, .safetensors and .parquet files, those of its subfolders too.")
    files = _uploader(_("Folder of an experiment"), ["json", "safetensors", "parquet"], "directory", about)
    if files:
        _receive(files, lambda: _add_folder(files))


def _uploader(label: str, types: list[str] | None, multiple: Any, about: str) -> Any:
    round_number = st.session_state.setdefault("bring-number", 0)  # a new key empties the uploader
    key = f"bring-{round_number}-{types[0] if types else 'weights'}"
    most = limits.file_megabytes(limits.session_bytes())
    return st.file_uploader(label, types, accept_multiple_files=multiple, key=key, help=about, max_upload_size=most)


def _receive(files: Sequence[Any], add: Callable[[], session_store.UploadedExperiment]) -> None:
    """Use what was sent, remember the outcome for the next run, and free the memory that the upload took."""
    outcome: dict[str, Any]
    try:
        with st.spinner(_("Checking what you sent")):
            outcome = {"name": add().name}
    except KdvizError as error:
        outcome = {"error": error.sentence}
    finally:
        release(files)
    st.session_state["bring-said"] = outcome
    st.session_state["bring-number"] += 1
    if "name" in outcome:
        address.forget()
        address.keep(address.EXPERIMENT, outcome["name"], "")
    st.rerun()


def release(files: Sequence[Any]) -> None:
    """Free the memory that uploads take; they cannot be read afterwards."""
    context = get_script_run_ctx()
    remove = getattr(getattr(context, "uploaded_file_mgr", None), "remove_file", None)
    if context is not None and remove is not None:
        for file in files:
            remove(context.session_id, file.file_id)


def _add_zip(file: Any) -> session_store.UploadedExperiment:
    with unpacking.from_zip(file.getvalue()) as package:
        return session_store.current_store().add_experiment(package, file.name)


def _add_folder(files: Sequence[Any]) -> session_store.UploadedExperiment:
    package = unpacking.from_folder([(file.name, file.getvalue()) for file in files])
    return session_store.current_store().add_experiment(package, files[0].name.lstrip("./").partition("/")[0])


def _show_weights_uploader(opened: OpenExperiment) -> None:
    experiment = opened.experiment
    file = _uploader(
        _("Weights: safetensors, or a checkpoint (.pt, .pth, .ckpt, .bin)"),
        None,
        False,
        _("ONNX files, and files that hold code, are for a terminal: kdviz import, for the latter with --trust."),
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        role = st.text_input(_("Name of the model"), "mine", max_chars=40, width=220, key="bring-role")
        network = st.selectbox(
            _("Its network"),
            [_IDENTIFIED, *upload_validation.selectable_networks(experiment)],
            format_func=lambda network: network or _("Found from the file"),
            width=320,
            key=f"bring-network-{experiment.name}",
            help=_("Those that take this experiment's pictures. Type to search."),
        )
        label = _("Add to {title}", title=plain(opened.title))
        if st.button(label, icon=":material/add:", disabled=file is None):
            _receive(
                [file],
                lambda: session_store.current_store().add_model(
                    experiment, file.getvalue(), network, role.strip(), file.name
                ),
            )


# what came of it ------------------------------------------------------------------------------------------------------


def _show_outcome() -> None:
    outcome = st.session_state.pop("bring-said", None)
    if outcome is None:
        return
    if "error" in outcome:
        say_error(outcome["error"])
        return
    uploaded = session_store.experiments().get(outcome["name"])
    if uploaded is None:
        return
    st.success(
        _("{source} is here, and this page now shows it.", source=plain(uploaded.source)), icon=":material/check:"
    )


def _show_uploaded(opened: OpenExperiment) -> None:
    uploaded_experiments = session_store.experiments()
    if not uploaded_experiments:
        return
    st.markdown(f"**{_('Yours in this session')}**")
    for name, uploaded in uploaded_experiments.items():
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            with st.container(gap=None):
                st.markdown(f"**{plain(name)}**")
                st.caption(_description(uploaded))
            if name != opened.experiment.name:
                links.page_link("models", _("Open"), query={address.EXPERIMENT: name})
            else:
                links.page_link("compare", _("Compare its maps"), query={address.EXPERIMENT: name})
            if st.button(_("Remove"), key=f"remove-{name}", icon=":material/delete:"):
                session_store.current_store().remove(name)
                if name == opened.experiment.name:
                    address.forget()
                st.rerun()


def _description(uploaded: session_store.UploadedExperiment) -> str:
    parts = [_("from {source}", source=plain(uploaded.source)), _("{size} MB", size=number(uploaded.size / 1e6, 1))]
    if uploaded.ignored:
        names = ", ".join(uploaded.ignored[:_MOST_NAMES]) + (" …" if len(uploaded.ignored) > _MOST_NAMES else "")
        count = len(uploaded.ignored)
        parts.append(
            plural("{count} file left out: {names}", "{count} files left out: {names}", count, names=plain(names))
        )
    return " · ".join(parts)
