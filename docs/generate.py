"""Writes the reference pages that registries and the command line's parser describe.

``python docs/generate.py`` writes them into ``docs/reference``; with ``--check`` it writes nothing, and its exit status
is 1 if one is out of date.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).resolve().parent / "reference"
ROLE = re.compile(r":\w+:`~?(?:\w+\.)*(\w+)`")
NOTE = "<!-- Written by docs/generate.py; do not edit. -->"


def pages() -> dict[str, str]:
    """File name in ``docs/reference`` -> Markdown."""
    written = {
        "command-line.md": command_line(),
        "methods.md": saliency_methods(),
        "losses.md": losses_and_augmentations(),
        "recipes.md": recipes(),
        "data-sets.md": data_sets_and_networks(),
        "measures.md": measures_and_samplers(),
    }
    return {name: f"{NOTE}\n\n{text.strip()}\n" for name, text in written.items()}


# Command line ----------------------------------------------------------------


def command_line() -> str:
    """Every command with its arguments, from the parser."""
    from kdviz.cli import _parser

    (verbs,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return "\n\n".join((COMMAND_LINE.strip(), *(_command(name, verbs.choices[name]) for name in verbs.choices)))


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    parts = [f"## kdviz {name}", parser.description or ""]
    required = [action for action in _shown(parser) if action.required or not action.option_strings]
    parts.append("```\n" + " ".join(["kdviz", name, *map(_usage, required), "[OPTION]..."]) + "\n```")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action in _shown(parser)]
        if actions and group.title not in ("positional arguments", "options"):
            parts.append(f"### {name}: {group.title}")
        parts += map(_argument, actions)
    return "\n\n".join(parts)


def _shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = (argparse._HelpAction, argparse._VersionAction)
    return [each for each in parser._actions if not isinstance(each, hidden) and each.help != argparse.SUPPRESS]


def _usage(action: argparse.Action) -> str:
    value = _value(action)
    if not action.option_strings:
        return f"{value}..." if action.nargs in ("+", "*") else value
    return f"{action.option_strings[-1]} {value}".strip()


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices:
        return "|".join(map(str, action.choices))
    return action.dest.upper() if action.option_strings else action.dest


def _argument(action: argparse.Action) -> str:
    names = [f"`{f'{name} {_value(action)}'.strip()}`" for name in action.option_strings] or [f"`{_value(action)}`"]
    text = str(action.help or "").replace("%%", "%")  # str: some texts are made when they are shown
    if action.option_strings and "default" not in text and _is_worth_saying(action.default):
        value = ",".join(map(str, action.default)) if isinstance(action.default, list) else action.default
        text += f" (default: `{value}`)"
    if action.required and action.option_strings:
        text += " (required)"
    if isinstance(action.metavar, str) and any(str(name) not in text for name in action.choices or ()):
        text = f"{_sentence(text)} One of: {', '.join(f'`{name}`' for name in action.choices)}"
    return f"{', '.join(names)}\n:   {_sentence(text)}"


def _is_worth_saying(default: Any) -> bool:
    return default not in (None, "", [], argparse.SUPPRESS) and default is not False


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a list of names, and a full stop; Markdown and HTML are escaped."""
    text = text.strip().replace("<", "\\<").replace("*", "\\*")
    if not text.partition(" ")[0].endswith((",", ":")):
        text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "?", "!")) else f"{text}."


# Registries ------------------------------------------------------------------


def saliency_methods() -> str:
    """Every method with its settings."""
    from kdviz.saliency import methods

    entries = {name: methods[name] for name in methods}
    overview = (
        (f"[`{name}`](#{name})", each.title, each.explains, "yes" if each.signed else "no")
        for name, each in entries.items()
    )
    parts = [METHODS.strip(), _table(("method", "title", "explains the", "values below zero"), overview)]
    parts += (_method(name, each) for name, each in entries.items())
    return "\n\n".join(parts)


def _method(name: str, method: Any) -> str:
    settings = ((f"`{each.name}`", _default(each.default), _allowed(each), each.help) for each in method.settings)
    table = _table(("setting", "default", "allowed", "meaning"), settings) if method.settings else "It has no settings."
    return f'## {method.title} {{ #{name} }}\n\n`method="{name}"`. Needs: {method.needs}\n\n{table}'


def _default(value: Any) -> str:
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _allowed(setting: Any) -> str:
    if setting.choices:
        return ", ".join(f"`{choice}`" for choice in setting.choices)
    if setting.low is None or setting.high is None:
        return "a number"
    whole = "whole numbers, " if isinstance(setting.default, int) else ""
    return f"{whole}{setting.low:,g} to {setting.high:,g}" if setting.high < 2**31 - 1 else f"{whole}0 to 2³¹ − 1"


def losses_and_augmentations() -> str:
    """Losses against logits, between layers and between explanations, augmentations, and transfer sets."""
    from kdviz.distill import augmentations, explanation_losses, feature_losses, losses, teacher_losses
    from kdviz.distill.transfer_sets.registry import transfer_sets

    registries = teacher_losses, feature_losses, explanation_losses
    others = [name for name in losses if not any(name in registry for registry in registries)]
    parts = [LOSSES.strip(), "## Against a teacher's logits", "`--loss NAME`, options `--loss-option NAME=VALUE`."]
    parts += (_loss(name, teacher_losses[name]) for name in sorted(teacher_losses))
    parts += ["## Between intermediate layers", "`--feature-loss NAME`, options `--feature-option NAME=VALUE`."]
    parts += (_loss(name, feature_losses[name]) for name in sorted(feature_losses))
    parts += ["## Between explanations", "`--feature-loss NAME`, options `--feature-option NAME=VALUE`."]
    parts += (_loss(name, explanation_losses[name]) for name in sorted(explanation_losses))
    parts += [
        "## Others",
        "Functions that the trainings are made of.",
        _table(("loss", "value"), _about(losses, others)),
    ]
    parts += ["## Augmentations", AUGMENTATIONS.strip()]
    parts.append(_table(("augmentation", "what it does"), _about(augmentations)))
    parts += ["## Transfer sets", TRANSFER_SETS.strip()]
    parts.append(_table(("transfer set", "what the student is distilled on"), _about(transfer_sets)))
    return "\n\n".join(parts)


def _loss(name: str, loss: Any) -> str:
    options = ", ".join(f"`{key}` (default {value:g})" for key, value in loss.options.items())
    return "\n\n".join(filter(None, (f"### {name}", *_prose(loss.function), f"Options: {options}." if options else "")))


def recipes() -> str:
    """Every recipe that comes with kdviz, with its paper and what differs."""
    from kdviz.cli.common.recipe_files import FOLDER, shipped_recipes

    entries = shipped_recipes()
    parts = [RECIPES.strip(), _table(("recipe", "what it is"), ((f"[`{n}`](#{n})", entries[n].title) for n in entries))]
    for name, recipe in entries.items():
        options = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").partition("\n[about]")[0].strip()
        prose = f"{recipe.title}. {recipe.paper}.\n\n{recipe.differs}".strip()
        parts.append(f"## {name} {{ #{name} }}\n\n{prose}\n\n```toml\n{options}\n```")
    return "\n\n".join(parts)


def data_sets_and_networks() -> str:
    """Data sets, shifts of their pictures, and networks."""
    from kdviz.data import datasets
    from kdviz.data.registry import libraries as dataset_libraries
    from kdviz.data.shifts.registry import shifts
    from kdviz.models.networks import libraries, networks

    named = ((f"`{name}/NAME`", dataset_libraries[name].description) for name in sorted(dataset_libraries))
    parts = [DATA_SETS.strip(), _table(("data set", "what it is"), (*_about(datasets), *named))]
    parts += ["## Shifts", SHIFTS.strip(), _table(("shift", "what it does"), _about(shifts, sorted(shifts)))]
    parts += ["## Networks", NETWORKS.strip()]
    of_libraries = ((f"`{name}/NAME`", libraries[name].description) for name in sorted(libraries))
    parts.append(_table(("network", "what it is"), (*_about(networks), *of_libraries)))
    return "\n\n".join(parts)


def measures_and_samplers() -> str:
    """Measures of agreement, and how RISE draws masks and estimates."""
    from kdviz.metrics import measures
    from kdviz.saliency import estimators, samplers

    measured = ((f"`{name}`", _summary(type(measures[name]))) for name in measures)
    return "\n\n".join(
        (
            MEASURES.strip(),
            _table(("measure", "what it compares"), measured),
            "## Samplers of RISE",
            SAMPLERS.strip(),
            ", ".join(f"`{name}`" for name in samplers) + ".",
            "## Estimators of RISE",
            ESTIMATORS.strip(),
            _table(("estimator", "what it is"), _about(estimators)),
        )
    )


def _about(registry: Any, names: Iterable[str] | None = None) -> Iterator[tuple[str, str]]:
    for name in sorted(registry if names is None else names):
        yield f"`{name}`", getattr(registry[name], "description", "") or _summary(registry[name])


def _summary(entry: Any) -> str:
    return _prose(entry)[0]


def _prose(entry: Any) -> list[str]:
    """The paragraphs of a docstring before its first section, one line each."""
    paragraphs = (inspect.getdoc(entry) or "").split("\n\n")
    sections = ("Args:", "Attributes:", "Returns:", "Raises:", "Yields:", ">>>")
    first = next((i for i, each in enumerate(paragraphs) if each.startswith(sections)), len(paragraphs))
    return [_marked(" ".join(each.split())) for each in paragraphs[:first]] or [""]


def _marked(text: str) -> str:
    """Docstring markup as Markdown: one backtick where there are two, names of code without their role."""
    parts = ROLE.sub(r"``\1``", text).split("``")
    parts[::2] = [part.replace("*", "\\*").replace("<", "\\<").replace("|", "\\|") for part in parts[::2]]
    return "`".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


COMMAND_LINE = """
# Command line

After `python -m pip install -e .` there is the command `kdviz`; `python -m kdviz` is the same. Each command explains
itself with `--help` and shows its progress on stderr; with `--json` it prints one JSON document on stdout.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | an error, in one line with what to do |
| 2 | wrong usage |

A `SPEC` is `FILE[,key=value]...`; [Bring your own models](../how-to/own-models.md) has the keys.
"""
METHODS = """
# Methods

`kdviz.explain(method=NAME)`, `kdviz explain --method NAME` and the page *Compare* know these methods. On the command
line a setting is written with dashes. [What is refused](../how-to/explain.md#what-is-refused) says when a method does
not fit.
"""
LOSSES = """
# Losses and augmentations

A student minimises (1 − alpha) × cross entropy with the labels + alpha × a loss against the teacher's logits +
`--feature-weight` × a loss between intermediate layers. `log` is the natural logarithm, T the temperature.
[Train on your own data](../how-to/own-data.md#losses) has the sources and how to choose.
"""
AUGMENTATIONS = """
`--augment NAME,NAME` applies them in this order to every batch; the teacher sees the same images as the student.
"""
RECIPES = """
# Recipes

`kdviz train DATASET --recipe NAME` trains by one of these. They hold options of `kdviz train`, which the command line
may override; [Train by a recipe](../how-to/recipes.md) says how, and how to write your own.
"""
TRANSFER_SETS = """
`--transfer-set NAME`, or the path of a folder or of one picture, in place of the training pictures (`training`). The
teacher's answers are the labels, and the best epoch is chosen by agreement with the teacher on a tenth that is held
out, so that the student sees no picture and no label of the data set.
[Distil without the training pictures](../how-to/other-data.md) says more.
"""
DATA_SETS = """
# Data sets and networks

`kdviz train NAME` takes the data sets that can be trained on; [Train on your own data](../how-to/own-data.md#data) has
their forms.
"""
SHIFTS = """
`kdviz study --study shifts --values NAME,NAME`: [how](../how-to/studies.md#pictures-that-are-shifted).
"""
NETWORKS = """
`--teacher NAME` and `--student NAME` take one of these, or a classifier of a library, such as `torchvision/resnet18`.
"""
MEASURES = """
# Measures, samplers, estimators

[Agreement and the noise ceiling](../explanation/agreement.md) says how the measures are used.
"""
SAMPLERS = """
`sampler` decides how the masks' grids are drawn; [What makes it fast](../explanation/rise.md#what-makes-it-fast) says
why:
"""
ESTIMATORS = "`estimator` decides how a map is estimated from scores and masks."


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a page is out of date")
    check = parser.parse_args().check
    old = [name for name, text in pages().items() if not _is_current(REFERENCE / name, text)]
    for name in old:
        print(f"docs/reference/{name} {'is out of date: python docs/generate.py' if check else 'is written'}")
        if not check:
            (REFERENCE / name).write_text(pages()[name], encoding="utf-8")
    return int(check and bool(old))


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
