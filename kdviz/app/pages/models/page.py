"""Models: exactly which ones are loaded, the other experiments, and uploads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from kdviz.app import address, library, links
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.models import PAGE
from kdviz.app.pages.models.inputs import NOTHING, fitted, input_facts, network_of, normalisation, pixels, resized
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import download, plain
from kdviz.app.uploads import session_store, upload
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.devices import choose_device
from kdviz.core.language import N_, _, listed, number, percent, plural
from kdviz.core.vocabulary import Split
from kdviz.data.doubts import KEY as DOUBTS
from kdviz.figures import role_colour, role_title
from kdviz.studies.comparison import inventory
from kdviz.studies.comparison.inventory import ModelCard

_SPLITS: dict[str, str] = {
    Split.TEST: N_("test"),
    Split.BUNDLED: N_("bundled digits"),
    Split.VALIDATION: N_("validation"),
}
_ACCURACY_ON: dict[str, str] = {
    Split.TEST: N_("accuracy on the test split"),
    Split.BUNDLED: N_("accuracy on the bundled digits"),
    Split.VALIDATION: N_("accuracy on the validation split"),
}
"""In order of preference: the first that was measured is shown large."""

_METRICS: dict[str, tuple[str, int]] = {  # name -> title and digits; digits below zero: a percentage
    "samples": (N_("Images"), 0),
    "accuracy": (N_("Accuracy"), -2),
    "loss": (N_("Loss"), 4),
    "ece": (N_("ECE"), 4),
    "f1": (N_("F1"), 4),
    "auc": (N_("AUC"), 4),
    "same_as_teacher": (N_("Same as teacher"), -1),
    "inherited_errors": (N_("Inherited errors"), -1),
    "kl_to_teacher": (N_("KL to teacher"), 4),
}
_BY_ACCURACY = N_("validation accuracy")
_SETTINGS = {
    "temperature": N_("Temperature T"),
    "alpha": N_("Alpha"),
    "loss": N_("Distillation loss"),
    "loss_options": N_("Options of the loss"),
    "kd_epochs": N_("Epochs with the teacher"),
    "teacher_mix": N_("Weights of the teachers"),
    "feature_loss": N_("Loss between layers or explanations"),
    "feature_weight": N_("Its weight"),
    "feature_options": N_("Its options"),
    "transfer_set": N_("Transfer set"),
    "transfer_steps": N_("Steps of its generator"),
    "transfer_data": N_("Fingerprint of its pictures"),
    "student_layer": N_("Layer of the student"),
    "teacher_layer": N_("Layer of the teacher"),
    "label_smoothing": N_("Label smoothing"),
    "class_weights": N_("Class weights"),
    "epochs": N_("Epochs"),
    "best_epoch": N_("Best epoch"),
    "batch_size": N_("Batch size"),
    "learning_rate": N_("Learning rate"),
    "learning_rate_schedule": N_("Learning rate schedule"),
    "optimizer": N_("Optimiser"),
    "weight_decay": N_("Weight decay"),
    "train_samples": N_("Training images"),
    "labelled": N_("Of them labelled"),
    "validation_samples": N_("Validation images"),
    "selected_by": N_("Best epoch by"),
    "augment": N_("Augmentation"),
    "views": N_("Fixed views of each image"),
    "unfreeze": N_("Layers trained"),
    "pseudo_labels": N_("Pseudo-labels from"),
    "weights_from": N_("First weights"),
    "start": N_("Their copy"),
    "seed": N_("Seed"),
    "data": N_("Data fingerprint"),
    "device": N_("Device"),
    "bf16": N_("bfloat16"),
    "torch": N_("PyTorch"),
    "python": N_("Python"),
}
_USUAL = (("label_smoothing", 0), ("transfer_set", "training"), ("transfer_steps", 0), ("views", 0))
_WITHOUT = ("", None, [], {}, "none")  # values that say nothing
_MOST_CLASSES = 12
_MOST_DOUBTS = 12


def page() -> None:
    address.keep_only("bring")
    opened = heading(PAGE)
    html.style()
    _show_data(opened)
    _show_doubts(opened)
    _show_cards(opened)
    _show_metrics(opened)
    _show_files(opened)
    upload.show_uploads(opened)
    _show_others(opened)


# the data -------------------------------------------------------------------------------------------------------------


def _show_data(opened: OpenExperiment) -> None:
    experiment = opened.experiment
    values = [
        (_("Data set"), text(opened.title)),
        (plural("{count} class", "{count} classes", len(experiment.classes)), text(_class_names(experiment.classes))),
        *_common_input(opened),
        (_("Computed on"), text(_device())),
    ]
    html.show(html.facts(values), "ab-facts")


def _common_input(opened: OpenExperiment) -> list[tuple[str, str]]:
    """The input of all models, or the picture from which each model makes its own input."""
    spec = opened.experiment.input
    if any(run.is_adapted for run in opened.experiment.models.values()):
        about = _("{pixels}: what is masked and shown; each model makes its own input of it", pixels=pixels(spec))
        return [(_("Common picture"), text(about))]
    return [
        (_("Input"), text(pixels(spec))),
        (_("Normalisation"), text(normalisation(spec.mean, spec.std))),
        (_("Other pictures"), text(fitted(spec.fit) if spec.resize is None else resized(spec))),
    ]


def _show_doubts(opened: OpenExperiment) -> None:
    """Show what looks wrong, a sentence each."""
    texts = [plain(doubt.text) for doubt in opened.doubts]
    more = len(texts) - _MOST_DOUBTS
    if more > 0:
        texts = [*texts[:_MOST_DOUBTS], plural("{count} more doubt", "{count} more doubts", more)]
    if texts:
        st.warning("\n".join(f"- {sentence}" for sentence in texts), icon=":material/warning:")


def _class_names(classes: tuple[str, ...]) -> str:
    names = ", ".join(classes[:_MOST_CLASSES])
    more = len(classes) - _MOST_CLASSES
    return names if more <= 0 else _("{names} and {count} more", names=names, count=number(more))


def _device() -> str:
    import torch

    device = choose_device("auto")
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return _("Apple's graphics processor")
    return plural("processor, {count} thread", "processor, {count} threads", torch.get_num_threads())


# one card a model -----------------------------------------------------------------------------------------------------


def _show_cards(opened: OpenExperiment) -> None:
    cards = inventory.cards(opened.experiment)
    names = _setting_names(cards)
    shared = [name for name in names if len(cards) > 1 and len({repr(card.training.get(name)) for card in cards}) == 1]
    names = [name for name in names if name not in shared]
    added = (
        session_store.experiments()[opened.experiment.name].added
        if opened.experiment.name in session_store.experiments()
        else {}
    )
    shows_input = any(card.is_adapted or card.origin for card in cards)
    inputs = {card.role: dict(input_facts(card)) if shows_input else {} for card in cards}
    empty = [title for title in inputs[cards[0].role] if all(facts[title] == NOTHING for facts in inputs.values())]
    inputs = {role: {title: facts[title] for title in facts if title not in empty} for role, facts in inputs.items()}
    html_cards = "".join(_card_html(card, names, inputs[card.role], card.role in added) for card in cards)
    html.show(f'<div class="ab-cards">{html_cards}</div>')
    if shared:
        title = f"<h3>{text(_('The same for all of them'))}</h3>"
        html.show(title + html.facts([_setting(cards[0], name) for name in shared]), "ab-facts shared")


def _setting_names(cards: list[ModelCard]) -> list[str]:
    """Names of the settings that say something about any model: the known ones in their order, then the others."""
    present = {name for card in cards for name, value in card.training.items() if _says_something(card, name, value)}
    names = present | ({"data"} if not any(card.origin for card in cards) else set())
    return [name for name in _SETTINGS if name in names] + sorted(present - _SETTINGS.keys())


def _says_something(card: ModelCard, name: str, value: Any) -> bool:
    if name == DOUBTS:  # no setting; they are shown above the cards
        return False
    if name == "feature_weight":
        return card.training.get("feature_loss") not in _WITHOUT
    return value not in _WITHOUT and (name, value) not in _USUAL


def _card_html(card: ModelCard, names: list[str], about: Mapping[str, str], added: bool) -> str:
    new = f'<span class="ab-new">{text(_("this session"))}</span>' if added else ""
    facts = [
        (_("Network"), network_of(card), ""),
        (_("Parameters"), text("–" if card.parameters is None else number(card.parameters)), ""),
        (_("Weights"), f"<code>{text(card.weights)}</code>{_size_html(card)}" if card.weights else NOTHING, ""),
        (_("SHA-256"), f"<code>{text(card.sha256[:12])}…</code>" if card.sha256 else NOTHING, ""),
        *((title, value, "") for title, value in about.items()),
        *((*_setting(card, name), "part" if name == names[0] else "") for name in names),
    ]
    rows = len(facts) + 2
    lines = "".join(f'<div class="{kind}"><dt>{text(title)}</dt><dd>{value}</dd></div>' for title, value, kind in facts)
    return (
        f'<section class="ab-card" style="--role:{role_colour(card.role)};grid-row:span {rows}">'
        f"<h3>{html.role(card.role)}{text(role_title(card.role))}{new}</h3>"
        f'<p class="big">{_headline_html(card.metrics)}</p><dl style="grid-row:span {rows - 2}">{lines}</dl></section>'
    )


def _size_html(card: ModelCard) -> str:
    if card.size is None:
        return ""
    return f' <span class="soft">{text(_("{size} MB", size=number(card.size / 1e6, 1)))}</span>'


def _headline_html(metrics: Mapping[str, Mapping[str, float]]) -> str:
    split = next((name for name in (*_SPLITS, *metrics) if "accuracy" in metrics.get(name, {})), None)
    if split is None:
        return f'<span class="soft">{text(_("not evaluated"))}</span>'
    share = metrics[split]["accuracy"]
    about = _(_ACCURACY_ON[split]) if split in _ACCURACY_ON else _("accuracy on {split}", split=split)
    return f'<b>{text(percent(share, 2))}</b><span class="soft">{text(about)}</span>'


def _setting(card: ModelCard, name: str) -> tuple[str, str]:
    """A setting's title as text and its value as HTML."""
    value = card.training.get(name)
    value_html = text(_setting_text(name, value)) if value not in _WITHOUT else '<span class="none">–</span>'
    if name in ("data", "weights_from") and value not in _WITHOUT:
        value_html = f"<code>{value_html}</code>"
    if name == "data" and value in _WITHOUT:
        value_html = f'<span class="none">{text(_("not recorded"))}</span>'
    return (_(_SETTINGS[name]) if name in _SETTINGS else name), value_html


def _setting_text(name: str, value: Any) -> str:
    if name == "selected_by" and value == _BY_ACCURACY:
        return _(_BY_ACCURACY)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) or name == "seed" else number(value)


# what was measured ----------------------------------------------------------------------------------------------------


def _show_metrics(opened: OpenExperiment) -> None:
    rows = inventory.metrics_rows(opened.experiment)
    if not rows:
        return
    st.subheader(_("What was measured"), anchor=False)
    names = [name for name in _METRICS if any(row.get(name) is not None for row in rows)]
    splits = list(dict.fromkeys([*_SPLITS, *(row["split"] for row in rows)]))
    rows.sort(key=lambda row: splits.index(row["split"]))
    section_starts = [index for index in range(1, len(rows)) if rows[index]["split"] != rows[index - 1]["split"]]
    cells = [
        [
            html.role(row["role"]) + text(role_title(row["role"])),
            text(_(_SPLITS[row["split"]]) if row["split"] in _SPLITS else row["split"]),
            *(text(_figure(row.get(name), _METRICS[name][1])) for name in names),
        ]
        for row in rows
    ]
    columns = [_("Model"), _("Split"), *(_(_METRICS[name][0]) for name in names)]
    html.show(html.table(_("Metrics of every model and split"), columns, cells, section_starts, {1: "left"}))
    st.caption(
        _(
            "ECE: expected calibration error, 0 is best. Inherited errors: the share of the teacher's errors that a "
            "student repeats with the same wrong class."
        )
    )


def _figure(value: float | None, digits: int) -> str:
    if value is None:
        return "–"
    return percent(value, -digits) if digits < 0 else number(value, digits)


# files ----------------------------------------------------------------------------------------------------------------


def _show_files(opened: OpenExperiment) -> None:
    experiment, name = opened.experiment, f"kdviz-models-{opened.experiment.name}"
    hashes = "\n".join(f"{run.sha256}  {run.weights}" for run in experiment.runs.values() if run.weights)
    with st.expander(_("Full hashes, versions and downloads"), icon=":material/fingerprint:"):
        st.markdown(_("To check the weights files, run `sha256sum --check` on these lines in the experiment's folder:"))
        st.code(hashes, language=None, wrap_lines=True)
        versions = inventory.versions()
        st.markdown(_("Versions here: {versions}.", versions=plain(", ".join(map(" ".join, versions.items())))))
        with st.container(horizontal=True):
            download(
                _("Models (CSV)"),
                f"{name}.csv",
                "text/csv",
                lambda: csv_text(inventory.table(experiment)),
            )
            device = str(choose_device("auto"))
            download(
                _("Everything (JSON)"),
                f"{name}.json",
                "application/json",
                lambda: json.dumps(inventory.document(experiment, device), indent=2, ensure_ascii=False),
            )


# other experiments ----------------------------------------------------------------------------------------------------


def _show_others(opened: OpenExperiment) -> None:
    folders = {name: folder for name, folder in library.folders().items() if name != opened.experiment.name}
    folders = {name: folder for name, folder in folders.items() if name not in session_store.experiments()}
    if not folders:
        return
    st.subheader(_("Other experiments here"), anchor=False)
    for name, folder in folders.items():
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            title = plain(library.title(name, folder))
            links.page_link("models", title, "folder_open", {address.EXPERIMENT: name})
            st.caption(plain(_short_description(inventory.glance(folder))))


def _short_description(glance: inventory.Glance | None) -> str:
    if glance is None:
        return _("cannot be read")
    models = [
        _("{model} {accuracy}", model=role_title(role), accuracy=percent(accuracy))
        if accuracy is not None
        else role_title(role)
        for role, accuracy in glance.accuracies.items()
    ]
    classes = plural("{count} class", "{count} classes", glance.classes)
    return _("{classes}: {models}", classes=classes, models=listed(models))
