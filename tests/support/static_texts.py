"""Texts in the code that a person may read and nobody marked for translation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MARKS = {"_", "N_", "plural"}
WIDGETS = {
    "title",
    "header",
    "subheader",
    "caption",
    "markdown",
    "write",
    "text",
    "info",
    "warning",
    "error",
    "success",
    "button",
    "download_button",
    "selectbox",
    "multiselect",
    "radio",
    "checkbox",
    "toggle",
    "slider",
    "select_slider",
    "number_input",
    "text_input",
    "text_area",
    "file_uploader",
    "camera_input",
    "pills",
    "segmented_control",
    "tabs",
    "expander",
    "popover",
    "link_button",
    "page_link",
    "spinner",
    "metric",
    "toast",
    "form_submit_button",
    "status",
    "heading",
    "plain_heading",
    "download",
    "say_error",
    "say_missing",
    "set_title",
    "set_xlabel",
    "set_ylabel",
}
"""Functions whose first argument people read."""

KEYWORDS = {
    "help",
    "label",
    "placeholder",
    "caption",
    "alt",
    "title",
    "text",
    "xlabel",
    "ylabel",
    "hovertemplate",
    "subplot_titles",
    "page_title",
}
NAMES = {"PNG", "SVG", "CSV", "HTML", "NPZ", "JSON", "kdviz", "F1", "AUC", "ECE", "KL", "SSIM", "IoU", "RISE", "MNIST"}
"""Words that are the same in every language."""

_NOISE = re.compile(r"%?\{[^{}]*\}|<[^<>]*>|:\w+\[|:material/[\w ]*:|&\w+;|https?://\S+|`[^`]*`")
_SENTENCE = re.compile(r"(?:[A-Za-z][A-Za-z'’-]*[ ,;:]+){2}[A-Za-z][A-Za-z'’-]+")


def unmarked(path: Path) -> Iterator[str]:
    """Labels of one word or more, and any text of three words, that no mark is around."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set(_skipped(tree))
    texts: dict[tuple[int, str], None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            texts |= {(label.lineno, _plain(label)): None for label in _labels(node)}
        elif isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in skipped and sentences(_plain(node)):
            texts[node.lineno, _plain(node)] = None
    yield from (text for _line, text in texts)


def sentences(text: str) -> list[str]:
    """Runs of three words or more."""
    return _SENTENCE.findall(bare(text))


def bare(text: str) -> str:
    """A text without its places, tags and code."""
    before = ""
    while text != before:
        before, text = text, _NOISE.sub(" ", text)
    return " ".join(text.split())


def _labels(call: ast.Call) -> Iterator[ast.expr]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    shown = [call.args[0]] if name in WIDGETS and call.args else []
    shown += [keyword.value for keyword in call.keywords if keyword.arg in KEYWORDS]
    for node in shown:
        yield from (text for text in _texts(node) if _has_words(_plain(text)))


def _texts(node: ast.expr) -> Iterator[ast.expr]:
    """The texts that a value is made of; not those that are given to functions."""
    if isinstance(node, (ast.Constant, ast.JoinedStr)):
        yield node
    elif isinstance(node, (ast.List, ast.Tuple, ast.BoolOp, ast.Dict, ast.BinOp, ast.IfExp)):
        for part in ("elts", "values"):
            for child in getattr(node, part, ()):
                yield from _texts(child)
        for part in ("left", "right", "body", "orelse"):
            if hasattr(node, part):
                yield from _texts(getattr(node, part))


def _plain(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return bare("".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values))
    return bare(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _has_words(text: str) -> bool:
    return any(word not in NAMES for word in re.findall(r"[A-Za-z]{2,}", text))


def _skipped(tree: ast.Module) -> Iterator[int]:
    """Marked texts, docstrings, names that are compared, and what is raised, logged or written to a terminal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
        elif isinstance(node, (ast.Raise, ast.Assert, ast.Compare)) or (isinstance(node, ast.Call) and _is_quiet(node)):
            yield from (id(inner) for inner in ast.walk(node) if isinstance(inner, (ast.Constant, ast.JoinedStr)))
        elif isinstance(node, ast.JoinedStr):
            yield from (id(part) for part in node.values)
        elif isinstance(node, ast.Dict):
            yield from (id(key) for key in node.keys)


def _is_quiet(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(getattr(call.func, "value", None), "id", "")
    return name in MARKS or name == "print" or name.endswith("Error") or owner in ("_log", "re")
