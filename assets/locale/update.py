"""Bring the catalogues up to date with the texts in the code; the translations stay.

    python assets/locale/update.py            # add what is new, drop what is gone, and say what has no translation
    python assets/locale/update.py --check    # change nothing; exit status 1 when a catalogue is not up to date

kdviz must be installed (``python -m pip install -e .``). Two kinds of texts are collected from the code, without
running it:

- what ``_``, ``N_`` and ``plural`` mark, in kdviz and in the page templates of assets/app;
- the templates of errors and of sentences, which are made in English by code that knows nothing of pages. Their context
  is ``error``.

A catalogue is edited by hand or with any editor of PO files, then this is run again to lay it out.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

from kdviz.core.language import ENGLISH, ERRORS, LANGUAGES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CODE = ROOT / "kdviz"
PAGES = HERE.parent / "app"
HEADER = """\
msgid ""
msgstr ""
"Project-Id-Version: kdviz\\n"
"Language: {name}\\n"
"Plural-Forms: {plurals}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""
_ERROR = re.compile(r"(Unknown|Uncertain)?\w*Error$")
_PYTHONS_OWN = {"TypeError", "ValueError", "RuntimeError", "AttributeError", "ImportError", "ArgumentTypeError"}

NOT_ON_PAGES = (
    "cli/",
    "bench/",
    "distill/",  # training: no page trains
    "data/labels/csv_files.py",  # data folders are read by commands; pages show what an experiment keeps
    "data/readers/folders.py",
    "data/groups.py",
    "data/readers/mhist.py",
    "data/pictures.py",
    "studies/attention/maps.py",  # making a study
    "studies/attention/models.py",
    "studies/attention/teachers.py",
    "studies/attention/sampling.py",
    "studies/attention/study.py",
    "studies/attention/worker.py",
    "studies/predictions/evaluation.py",
    "studies/sweep/export.py",
    "studies/sweep/runner.py",
    "studies/sweep/plan.py",
    "studies/sweep/tables.py",
    "studies/tree/study.py",
    "narrative/results/document.py",
    "narrative/results/models.py",
    "narrative/results/sections.py",
    "narrative/results/studies.py",
)
"""Where errors are raised that only a terminal shows."""

WRAPPED = {
    ("experiment/checking.py", "that"): "The experiment '{folder}' is refused: field '{field}' {}.",
    ("experiment/loading.py", "that"): "The experiment '{folder}' is refused: field '{field}' {}.",
    ("experiment/picture_source.py", "that"): "The experiment '{folder}' is refused: field '{field}' {}.",
    ("app/uploads/unpacking.py", "_refuse"): "The upload is refused: {}.",
    ("explanation/captum/task.py", "refused"): "{method} {}",
}
"""(File, function) -> the sentence in which it puts the text that it is given."""

RETURNED = {
    ("explanation/captum/requirements.py", "needs_gradients"): "{method} {}",
    ("explanation/captum/requirements.py", "needs_convolution"): "{method} {}",
    ("explanation/captum/requirements.py", "needs_rules"): "{method} {}",
    ("explanation/captum/requirements.py", "needs_relu"): "{method} {}",
    ("explanation/method.py", "_range"): "{name} must be {}, got {value}.",
    ("compress/onnx_export.py", "exporter_problem"): "{}",
    ("models/networks/onnx_network.py", "_why_refused"): "{}",
    ("app/uploads/upload_validation.py", "first_difference"): "{}",
    ("app/uploads/upload_validation.py", "_shape_text"): "{}",
    ("core/errors.py", "__init__"): "{}",
    ("experiment/values.py", "text_problem"): "The experiment '{folder}' is refused: field '{field}' {}.",
    ("experiment/values.py", "record_problem"): "The experiment '{folder}' is refused: field '{field}' {}.",
    ("experiment/values.py", "_value_problem"): "The experiment '{folder}' is refused: field '{field}' {}.",
    ("experiment/training_record.py", "_requirement"): "The experiment '{folder}' is refused: field '{field}' {}.",
}
"""(File, function) -> the sentence in which what it returns, or a text that it makes, becomes a part."""


def missing_files() -> list[str]:
    """Files that are named above and are not there: what is said of them would be passed over in silence."""
    named = [*NOT_ON_PAGES, *(file for file, _function in [*WRAPPED, *RETURNED])]
    return [name for name in named if not (CODE / name).exists()]


# texts ----------------------------------------------------------------------------------------------------------------


def texts() -> Iterator[tuple[str | tuple[str, str], str]]:
    """(Text, file) of all that is marked; a text with a plural is both forms."""
    for path in _sources():
        calls = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)]
        found = [_marked(call.func.id, call) for call in calls if isinstance(call.func, ast.Name)]
        yield from ((text, _name(path)) for text in found if text)
    for path in sorted(PAGES.glob("*.html")):
        with path.open("rb") as file:
            messages = [message for _line, _function, message, _comments in babel_extract(file, ("_",), [], {})]
        yield from ((one if isinstance(one, str) else str(one[0]), _name(path)) for one in messages if one)


def _marked(function: str, call: ast.Call) -> str | tuple[str, str] | None:
    texts = [one.value for one in call.args[:2] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    if function in ("_", "N_") and texts:
        return texts[0]
    if function == "plural" and len(texts) == 2:
        return texts[0], texts[1]
    return None


def _sources() -> list[Path]:
    return sorted(CODE.rglob("*.py"))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# errors ---------------------------------------------------------------------------------------------------------------


def errors() -> Iterator[tuple[str, str]]:
    """(Message, file) of the errors that a page may show."""
    for path in _sources():
        inside = path.relative_to(CODE).as_posix()
        if not inside.startswith(NOT_ON_PAGES):
            yield from ((text, _name(path)) for text in _messages(path, inside) if _says_something(text))


def _says_something(template: str) -> bool:
    """A template that is nearly all places would fit any text; of a sentence with a part, the whole ones are there."""
    if len(re.findall(r"[A-Za-z]", re.sub(r"\{[^}]*\}", "", template))) < 4:
        return False
    return not any(
        re.fullmatch(re.escape(one).replace(r"\{\}", r"\{[^}]+\}"), template)
        for one in {*WRAPPED.values(), *RETURNED.values()}
        if one != "{}"
    )


def _messages(path: Path, inside: str) -> Iterator[str]:
    tree = _tree(path)
    names = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    parts = _parts_of_sentences(tree, inside)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node not in parts:
            yield from _of_call(node, inside, names)
        elif isinstance(node, ast.Assign):
            yield from _of_assignment(node, names)
        elif isinstance(node, ast.FunctionDef) and (inside, node.name) in RETURNED:
            for text in _made_by(node, names):
                whole = RETURNED[inside, node.name]
                # A part of a sentence may itself be of parts; only what ends like the sentence is all of it.
                yield whole.replace("{}", text) if text.endswith(".") or not whole.endswith("{}") else text


def _parts_of_sentences(tree: ast.Module, inside: str) -> set[ast.AST]:
    """Calls in functions that return a part of a sentence: the whole is translated."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    returning = [each for each in functions if RETURNED.get((inside, each.name), "{}") != "{}"]
    return {node for function in returning for node in ast.walk(function) if isinstance(node, ast.Call)}


def _of_assignment(node: ast.Assign, names: dict[str, str]) -> Iterator[str]:
    """A text that is given to an attribute ``error`` or ``problem``, for a page to show."""
    targets = getattr(node.targets[0], "elts", node.targets)
    values = getattr(node.value, "elts", [node.value])
    for target, value in zip(targets, values, strict=False):
        if getattr(target, "attr", "") in ("error", "problem"):
            text = template(_else(value), names)
            yield from [text] if text else []


def _else(node: ast.expr) -> ast.expr:
    """The last of ``a or b``."""
    return node.values[-1] if isinstance(node, ast.BoolOp) else node


def _of_call(call: ast.Call, inside: str, names: dict[str, str]) -> Iterator[str]:
    function = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    whole = WRAPPED.get((inside, function), "{}")
    if not call.args:
        return
    if whole != "{}":
        text = template(next((one for one in reversed(call.args) if template(one, names)), call.args[-1]), names)
    elif function in ("Registry", "UnknownNameError"):
        text = template(call.args[0], names)  # the kind of what is not known
    elif function == "say_error" or (function == "finish" and len(call.args) > 1):
        text = template(_else(call.args[-1]), names)
    elif function == "Sentence" or (_ERROR.match(function) and function not in _PYTHONS_OWN):
        text = template(call.args[0], names)
    else:
        return
    if text:
        yield whole.replace("{}", text)


def _made_by(function: ast.FunctionDef, names: dict[str, str]) -> Iterator[str]:
    """Texts of some length among the values that a function computes with."""
    docstring = function.body[0].value if isinstance(function.body[0], ast.Expr) else None
    for node in ast.walk(function):
        if isinstance(node, ast.Constant) and node is not docstring:
            text = template(node, names)
            if text and (" " in text.strip() or text.endswith(".")):
                yield text


def template(node: ast.expr, names: dict[str, str]) -> str | None:
    """A text of the code, or of a constant of its module; None when it is no text."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


# catalogues -----------------------------------------------------------------------------------------------------------


def wanted() -> Catalog:
    """All texts, without translations, in the order of their files."""
    catalogue = Catalog(fuzzy=False)
    for context, found in ((None, texts()), (ERRORS, errors())):
        for text, place in sorted(found, key=lambda one: one[1]):
            known = catalogue.get(text if isinstance(text, str) else text[0], context)
            if known is not None and isinstance(text, tuple) and not isinstance(known.id, tuple):
                catalogue.delete(known.id, context)
            if known is None or (place, 0) not in known.locations:
                catalogue.add(text, context=context, locations=[(place, 0)])
    return catalogue


def merged(name: str) -> tuple[Catalog, list[Message], list[Message]]:
    """A language's catalogue with all texts; those without a translation, and those that the code has no more."""
    path = HERE / f"{name}.po"
    with path.open("rb") as file:
        known = read_po(file, locale=name)
    new = Catalog(locale=name, fuzzy=False)
    for one in wanted():
        if one.id:
            old = known.get(_key(one), one.context)
            string = old.string if old is not None and isinstance(old.id, str) == isinstance(one.id, str) else None
            new.add(one.id, string, context=one.context, locations=one.locations)
    gone = [one for one in known if one.id and new.get(_key(one), one.context) is None]
    return new, [one for one in new if one.id and not _translated(one)], gone


def _key(one: Message) -> str:
    return one.id if isinstance(one.id, str) else one.id[0]


def _translated(one: Message) -> bool:
    return all(one.string) if isinstance(one.string, (tuple, list)) else bool(one.string)


def laid_out(catalogue: Catalog, name: str) -> str:
    """A catalogue as the text of its file, which depends on nothing but its content."""
    for one in catalogue:
        one.flags.clear()  # "95 % interval" is taken for one of C's formats
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=120, omit_header=True, include_lineno=False, ignore_obsolete=True)
    header = HEADER.format(name=name, plurals=Catalog(locale=name).plural_forms)
    return header + buffer.getvalue().decode("utf-8").strip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit status 1 when something would change"
    )
    check = parser.parse_args().check
    stale = False
    for name in LANGUAGES:
        if name == ENGLISH:
            continue
        catalogue, missing, gone = merged(name)
        path, text = HERE / f"{name}.po", laid_out(catalogue, name)
        stale |= bool(missing) or path.read_text(encoding="utf-8") != text
        if not check:
            path.write_text(text, encoding="utf-8")
        for what, messages in (("no translation", missing), ("no longer in the code", gone)):
            for one in messages:
                print(f"{name}: {what}: {one.id!r}", file=sys.stderr)
        print(f"{name}: {len(catalogue)} texts, {len(missing)} without translation, {len(gone)} dropped")
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
