"""A sample of the data, what the tree and its teacher say of it, and the path that it takes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image
from torch import Tensor

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.pictures.absent_pictures import show_absent_pictures
from kdviz.app.samples import SampleView
from kdviz.app.texts import picture_bytes, plain, say_error, say_missing
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.files import stamp_of
from kdviz.core.language import N_, _, number, percent, plural
from kdviz.core.vocabulary import Role
from kdviz.figures.overlay import enlarged
from kdviz.studies.tree import ShownTree, TreeReport, path_of, tree_answers, tree_inputs
from kdviz.studies.tree.nodes import Path
from kdviz.studies.tree.table import NAME

_SIDE = 140  # pixels of the sample on the page
_CLASSES = 3  # of a leaf's distribution that are shown


@dataclass(frozen=True)
class ChosenSample:
    """A sample of a view.

    Attributes:
        samples: The view.
        index: Its index there.
        inputs: It as the tree takes it, (1, ...).
        pixels: It as the models take it, (C, H, W).
    """

    samples: SampleView
    index: int
    inputs: Tensor
    pixels: np.ndarray


def show_sample(opened: OpenExperiment, report: TreeReport, tree: ShownTree) -> ChosenSample | None:
    """Show controls that choose a sample, and return it; None where there are no pictures."""
    samples = opened.answered
    if samples is None or not samples.has_pictures:
        say_missing(_("The pictures of this experiment are not here, so that no path through the tree can be shown."))
        show_absent_pictures(opened)
        return None
    answers = _answers(opened, samples)
    own, teacher = answers.get((tree.role, tree.depth)), answers.get((Role.TEACHER, 0))
    picks = _picks(samples, own, teacher)
    index = _requested_index(samples, picks)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        for title, help, order in picks:
            target = int(samples.numbers[_next(order, index)]) if len(order) else int(samples.numbers[index])
            st.button(title, help=help, disabled=not len(order), on_click=_go_to, args=(target,))
    picture = samples.picture(index)
    pixels = opened.experiment.preprocess(picture)
    inputs = tree_inputs(opened.experiment, str(report.about.get("backbone", "")), pixels)
    return ChosenSample(samples, index, inputs, pixels[0].numpy())


def _answers(opened: OpenExperiment, samples: SampleView) -> dict[tuple[str, int], np.ndarray]:
    """What the kept trees and the teacher say of the view's samples; empty where they were not measured on them."""
    stamp = stamp_of(opened.experiment.folder, f"{NAME}.parquet")
    known = opened.cache.get((NAME, samples.split), stamp, lambda: tree_answers(opened.experiment, samples.split))
    count = int(samples.numbers.max()) + 1
    return {key: values[samples.numbers] for key, values in known.items() if len(values) >= count}


def _picks(
    samples: SampleView, own: np.ndarray | None, teacher: np.ndarray | None
) -> list[tuple[str, str, np.ndarray]]:
    """(title, help, indices in the order in which they are shown) of each button."""
    nobody = np.empty(0, np.int64)
    if own is None or teacher is None:
        return [(_("Random"), _("Any sample."), np.random.default_rng().permutation(len(samples)))]
    other = np.flatnonzero(own != teacher)
    both_right = np.flatnonzero((own == teacher) & (own == samples.labels))
    tree_wrong = np.flatnonzero((own != samples.labels) & (teacher == samples.labels)) if samples.labelled else nobody
    tree_right = np.flatnonzero((own == samples.labels) & (teacher != samples.labels)) if samples.labelled else nobody
    return [
        (
            _("Same as the teacher ({count})", count=number(int((own == teacher).sum()))),
            _("A sample on which both give the right answer; again: the next."),
            np.random.default_rng(0).permutation(both_right),
        ),
        (
            _("Disagree ({count})", count=number(len(other))),
            _("A sample on which the tree says something else than the teacher; again: the next."),
            other,
        ),
        (
            _("Only the tree wrong ({count})", count=number(len(tree_wrong))),
            _("A sample that the teacher gets right and the tree does not; again: the next."),
            tree_wrong,
        ),
        (
            _("Only the tree right ({count})", count=number(len(tree_right))),
            _("A sample that the tree gets right and the teacher does not; again: the next."),
            tree_right,
        ),
    ]


def _requested_index(samples: SampleView, picks: Sequence[tuple[str, str, np.ndarray]]) -> int:
    requested = address.read("sample", "")
    address.keep("sample", requested, "")
    start = int(picks[0][2][0]) if len(picks) > 1 and len(picks[0][2]) else 0
    if not requested:
        return start
    valid = requested.isascii() and requested.isdecimal() and len(requested) < 10
    index = samples.index_of(int(requested)) if valid else None
    if index is None:
        say_error(
            _("There is no sample '{number}' with a picture here; another one is shown instead.", number=requested[:40])
        )
        return start
    return index


def _go_to(sample: int) -> None:
    address.keep("sample", str(sample), "")


def _next(order: np.ndarray, index: int) -> int:
    matches = np.flatnonzero(order == index)
    return int(order[(int(matches[0]) + 1) % len(order)]) if len(matches) else int(order[0])


# the path -------------------------------------------------------------------------------------------------------------


def show_path(opened: OpenExperiment, report: TreeReport, tree: ShownTree, sample: ChosenSample) -> Path:
    """Show what is said of a sample, and its decisions one by one."""
    path = path_of(tree.network, sample.inputs)
    st.markdown(plain(_sentence(opened, tree, sample, path)))
    weights = tree.network.decisions.weight.numpy()
    shape = sample.pixels.shape
    cards = [_picture_card(sample)]
    for number_, step in enumerate(path.steps, 1):
        pictures = ""
        if report.on_pixels:
            of_node = weights[step.node].reshape(shape)
            pictures = _image(figures.weight_picture(of_node), _("Weights of decision {number}", number=number_))
            pictures += _image(
                figures.weight_picture(of_node * sample.pixels),
                _("Weights of decision {number} times this picture", number=number_),
            )
        towards = _("to the right") if step.right else _("to the left")
        share = percent(step.probability)
        cards.append(
            f'<figure class="tr-step {"right" if step.right else "left"}">{pictures}<figcaption>'
            f"<b>{number_}</b> {text(_('{side}, {share}', side=towards, share=share))}</figcaption></figure>"
        )
    cards.append(_leaf_card(opened, tree, path))
    html.show(f'<div class="tr-path">{"".join(cards)}</div>', "tr")
    if report.on_pixels:
        st.caption(
            _(
                "Each decision: its weights, and the weights times the picture. Orange pulls to the right, blue to the "
                "left; each picture has a scale of its own."
            )
        )
    return path


def _sentence(opened: OpenExperiment, tree: ShownTree, sample: ChosenSample, path: Path) -> str:
    classes, samples = opened.experiment.classes, sample.samples
    number_, true = int(samples.numbers[sample.index]), int(samples.labels[sample.index])
    about = _("Sample {number}", number=str(number_))
    if true >= 0:
        about = _("Sample {number}, true class {name}", number=str(number_), name=classes[true])
    said = _("the tree says {name} ({share})", name=classes[path.answer], share=percent(path.answer_share))
    if Role.TEACHER in (samples.predictions.predicted if samples.predictions else {}):
        teacher = int(samples.predictions.predicted[Role.TEACHER][sample.index])  # type: ignore[union-attr]
        template = (
            N_("the tree says {name} ({share}), its teacher {teacher}")
            if tree.role == Role.KD_STUDENT
            else N_("the tree says {name} ({share}), the teacher that it did not have {teacher}")
        )
        share = percent(path.answer_share)
        said = _(template, name=classes[path.answer], share=share, teacher=classes[teacher])
    reached = plural(
        "after {count} decision it reaches a leaf that says {name}, with a path probability of {share}",
        "after {count} decisions it reaches a leaf that says {name}, with a path probability of {share}",
        len(path.steps),
        name=classes[path.leaf_class],
        share=percent(path.probability),
    )
    end = "." if path.explains_answer else _(": not the tree's answer, which other leaves outvote.")
    return f"{about}: {said}; {reached}{end}"


def _picture_card(sample: ChosenSample) -> str:
    picture = enlarged(sample.samples.picture(sample.index), _SIDE)
    alt = _("Sample {number}", number=str(int(sample.samples.numbers[sample.index])))
    return f'<figure class="tr-picture">{_image(picture, alt)}<figcaption>{text(alt)}</figcaption></figure>'


def _leaf_card(opened: OpenExperiment, tree: ShownTree, path: Path) -> str:
    leaf = tree.network.leaf_probabilities()[path.leaf - (2**tree.depth - 1)].numpy()
    rows = "".join(
        f'<div><span>{text(opened.experiment.classes[label])}</span><i style="--share:{leaf[label]:.4f}"></i>'
        f"<span>{text(percent(float(leaf[label])))}</span></div>"
        for label in np.argsort(-leaf, kind="stable")[:_CLASSES]
    )
    return (
        f'<figure class="tr-leaf"><div class="tr-bars">{rows}</div><figcaption>{text(_("Leaf"))}</figcaption></figure>'
    )


def _image(picture: Image.Image, alt: str) -> str:
    source = base64.b64encode(picture_bytes(picture)).decode()
    return f'<img src="data:image/png;base64,{source}" alt="{text(alt)}">'
