"""A tree as a diagram: its decisions as pictures of their weights, its leaves by their classes.

Wide screens show level below level; narrow ones a list whose branches open, with the same content.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import streamlit as st

from kdviz import figures
from kdviz.app.library import OpenExperiment
from kdviz.app.texts import picture_bytes
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.language import _, percent
from kdviz.studies.tree import ShownTree, TreeReport
from kdviz.studies.tree.nodes import Path

_LEVELS = 4  # of decisions that are drawn; below them a subtree is one box
_FEW = 0.0005  # share of the samples below which a node is drawn as unused


def show_diagram(opened: OpenExperiment, report: TreeReport, tree: ShownTree, path: Path | None) -> None:
    """Show the first levels of a tree, with a sample's path if there is one."""
    shape = (opened.experiment.input.channels, *opened.experiment.input.size) if report.on_pixels else None
    diagram = _Diagram(tree, opened.experiment.classes, shape, path)
    html.show(f'<div class="tr-wide" role="img" aria-label="{text(diagram.summary)}">{diagram.levels()}</div>', "tr")
    html.show(f'<div class="tr-narrow">{diagram.branches(0)}</div>', "tr")
    st.caption(_caption(tree, report))


def _caption(tree: ShownTree, report: TreeReport) -> str:
    parts = []
    if report.on_pixels:
        parts.append(_("Weights of each decision: orange pulls to the right, blue to the left."))
    else:
        parts.append(
            _("Each decision is about features, so that its weights are no picture; shown is what lies below.")
        )
    if tree.depth > _LEVELS:
        parts.append(
            _(
                "The first {shown} of {depth} levels; a box below them is a subtree, with the classes of its leaves.",
                shown=str(_LEVELS),
                depth=str(tree.depth),
            )
        )
    parts.append(_("Small numbers: share of the test samples whose path goes there."))
    return " ".join(parts)


@dataclass
class _Diagram:
    tree: ShownTree
    classes: Sequence[str]
    shape: tuple[int, ...] | None
    path: Path | None
    _mixtures: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._mixtures = self.tree.mixtures()
        self._on = set(self.path.nodes) if self.path else set()
        self._chance = {}
        for step in self.path.steps if self.path else ():
            self._chance[2 * step.node + 1 + step.right] = step.probability

    @property
    def shown(self) -> int:
        """Levels of decisions that are drawn."""
        return min(self.tree.depth, _LEVELS)

    @property
    def summary(self) -> str:
        """The diagram for a screen reader."""
        return _("Tree of {depth} levels; its content is in the list of the path above.", depth=str(self.tree.depth))

    def levels(self) -> str:
        """Level below level."""
        rows = []
        for level in range(self.shown + 1):
            nodes = range(2**level - 1, 2 ** (level + 1) - 1)
            cells = "".join(self._cell(node, level) for node in nodes)
            rows.append(f'<div class="tr-level" style="--n:{2**level}">{cells}</div>')
        return "".join(rows)

    def _cell(self, node: int, level: int) -> str:
        names: list[str] = ["tr-cell"]
        names += ["root"] if not node else ["right"] if node % 2 == 0 else ["left"]
        names += ["on"] if node in self._on else []
        names += ["unused"] if self.tree.shares[node] < _FEW else []
        names += ["inner"] if level < self.shown else []
        chance = f'<b class="tr-chance">{text(percent(self._chance[node]))}</b>' if node in self._chance else ""
        return f'<div class="{" ".join(names)}">{chance}{self._node(node, level)}</div>'

    def branches(self, node: int, level: int = 0) -> str:
        """The same as a list whose branches open; those of the path are open."""
        on = " on" if node in self._on else ""
        side = "" if not node else _("to the right") if node % 2 == 0 else _("to the left")
        chance = f" {percent(self._chance[node])}" if node in self._chance else ""
        head = f"<span>{text(side + chance)}</span>{self._node(node, level)}"
        if level == self.shown:
            return f'<div class="tr-row{on}">{head}{text(self._said(node, 3))}</div>'
        below = self.branches(2 * node + 1, level + 1) + self.branches(2 * node + 2, level + 1)
        is_open = " open" if not node or node in self._on else ""
        about = f"<em>{text(self._said(node, 3))}</em>"
        return f'<details class="tr-row{on}"{is_open}><summary>{head}{about}</summary>{below}</details>'

    def _node(self, node: int, level: int) -> str:
        share = f"<small>{text(percent(float(self.tree.shares[node]), 1))}</small>"
        if level < self.shown and self.shape is not None:
            weights = self.tree.network.decisions.weight[node].numpy().reshape(self.shape)
            source = base64.b64encode(picture_bytes(figures.weight_picture(weights))).decode()
            alt = _("Weights; below: {classes}", classes=self._said(node, 3))
            picture = f'<img src="data:image/png;base64,{source}" alt="{text(alt)}" title="{text(alt)}">'
            return f'<div class="tr-node">{picture}{share}</div>'
        kind = "tr-leafbox" if level == self.tree.depth else "tr-box"
        return f'<div class="tr-node {kind}" title="{text(self._said(node, 3))}">{self._box(node)}{share}</div>'

    def _box(self, node: int) -> str:
        """The class of a leaf, or those of a subtree's leaves."""
        mixture = self._mixtures[node]
        order = np.argsort(-mixture, kind="stable")
        names = [str(self.classes[label]) for label in order if mixture[label] >= 0.2][:3] or [
            str(self.classes[order[0]])
        ]
        return f"<strong>{text(' '.join(names))}</strong>"

    def _said(self, node: int, count: int) -> str:
        mixture = self._mixtures[node]
        order = np.argsort(-mixture, kind="stable")[:count]
        parts = [
            f"{self.classes[label]}: {percent(float(mixture[label]), 0)}" for label in order if mixture[label] >= 0.01
        ]
        return ", ".join(parts)
