"""Recipes: TOML files whose keys are options of a command, read before those of the command line.

The keys are the long options without their dashes, so that the command's parser is their only description::

    temperature = "20:1:cosine"
    teacher = ["paper_cnn", "paper_cnn"]
    loss-option = { target_weight = 1, other_weight = 8 }
    no-pretrained = true

    [about]
    title = "What it is, in one line"
    paper = "Authors (year), title"
    differs = "What kdviz does in another way"
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdviz.cli.common.parser import Parser
from kdviz.core.errors import SettingError, UnknownNameError, nearest
from kdviz.core.files import ASSETS

FOLDER = ASSETS / "recipes"
_ABOUT = "about"
_NOT_IN_RECIPES = ("help", "recipe", "out", "json")


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as it is written.

    Attributes:
        source: Its path or name, for messages.
        values: Option -> value.
        title, paper, differs: What it is, where it is from, and what kdviz does in another way; or empty.
    """

    source: str
    values: Mapping[str, Any]
    title: str = ""
    paper: str = ""
    differs: str = ""


def shipped_recipes() -> dict[str, RecipeFile]:
    """Name -> recipe, of those that come with kdviz."""
    return {path.stem: _read(path, path.stem) for path in sorted(FOLDER.glob("*.toml"))}


def read_recipe(recipe: str) -> RecipeFile:
    """A recipe by its file, or by its name if it comes with kdviz.

    Raises:
        UnknownNameError: It is no file, and there is no such name.
        SettingError: The file cannot be read as a recipe.
    """
    path = Path(recipe)
    if path.suffix == ".toml" or path.is_file():
        return _read(path, recipe)
    names = [each.stem for each in FOLDER.glob("*.toml")]
    if recipe not in names:
        raise UnknownNameError("recipe", recipe, names, listed="recipes")
    return _read(FOLDER / f"{recipe}.toml", recipe)


def _read(path: Path, source: str) -> RecipeFile:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingError(
            "The recipe '{recipe}' cannot be read: {reason}.", recipe=source, reason=error.strerror or error
        ) from error
    except RecursionError as error:
        raise SettingError("The recipe '{recipe}' is nested too deeply.", recipe=source) from error
    except ValueError as error:  # of TOML or of UTF-8
        raise SettingError("The recipe '{recipe}' is no TOML file: {reason}.", recipe=source, reason=error) from error
    about = values.pop(_ABOUT, {})
    fields = ("title", "paper", "differs")
    if not isinstance(about, dict) or not all(key in fields and isinstance(about[key], str) for key in about):
        raise SettingError(
            "[about] of the recipe '{recipe}' may have the texts {fields}.", recipe=source, fields=", ".join(fields)
        )
    return RecipeFile(source, values, **about)


class VerbParser(Parser):
    """A command's parser; with an option ``--recipe`` its defaults are those of the recipe."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the options.

        Raises:
            KdvizError: The recipe cannot be used.
        """
        if "--recipe" in self._option_string_actions:
            recipe = _given("recipe", args or ())
            if recipe and recipe.strip():  # an empty one is refused below
                self.set_defaults(**defaults(self, _without_replaced(read_recipe(recipe), args or ())))
        return super().parse_known_args(args, namespace)


_OPTIONS_OF = {
    "loss": ("loss-option",),
    "feature-loss": ("feature-option", "feature-weight", "teacher-layer", "student-layer"),
}
"""Option of a loss -> the options that are about it."""


def _without_replaced(recipe: RecipeFile, arguments: Sequence[str]) -> RecipeFile:
    """The recipe without the options of a loss in whose place the command line names another."""
    values = {key.replace("_", "-"): value for key, value in recipe.values.items()}
    if len(values) < len(recipe.values):  # an option is there twice, which is said later
        return recipe
    for name, options in _OPTIONS_OF.items():
        if _given(name, arguments) not in (None, values.get(name)):
            values = {option: value for option, value in values.items() if option not in options}
    return replace(recipe, values=values)


def _given(name: str, arguments: Sequence[str]) -> str | None:
    """The value of an option on a command line, or None."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument(f"--{name}", dest="value")
    try:
        return parser.parse_known_args(list(arguments))[0].value
    except argparse.ArgumentError:  # the command's own parser says it with the command's usage
        return None


def recipe_options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """What a recipe may hold: name -> the argument of the command."""
    options = {}
    for action in parser._actions:
        is_opposite = isinstance(action, argparse._StoreFalseAction)  # in a recipe, mutual = false says it
        if action.dest not in _NOT_IN_RECIPES and not is_opposite:
            names = [name[2:] for name in action.option_strings if name.startswith("--")]
            options |= dict.fromkeys(names or [action.dest], action)
    return options


def defaults(parser: argparse.ArgumentParser, recipe: RecipeFile) -> dict[str, Any]:
    """The values of a recipe as the parser itself would have them.

    Args:
        parser: Parser of the command.
        recipe: The recipe.

    Raises:
        SettingError: A key is no option of the command, is given twice, or has a value that the option does not take.
    """
    options, values = recipe_options(parser), dict[str, Any]()
    for key, value in recipe.values.items():
        name = key.replace("_", "-")
        if name not in options:
            raise SettingError(
                "The recipe '{recipe}' has '{key}', which is no option of {command}{closest}.",
                recipe=recipe.source,
                key=key,
                command=parser.prog,
                closest=_closest(name, options),
            )
        action = options[name]
        if action.dest in values:
            raise SettingError("The recipe '{recipe}' has '{key}' twice.", recipe=recipe.source, key=key)
        try:
            values[action.dest] = _converted(action, value)
        except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
            raise SettingError(
                "The recipe '{recipe}' has {key} = {value}; it must be {expected}.",
                recipe=recipe.source,
                key=key,
                value=_text(value),
                expected=_expected(action),
            ) from error
    return values


def _closest(name: str, known: Mapping[str, Any]) -> str:
    close = " or ".join(map(repr, nearest(name, known)))
    return f" (did you mean {close}?)" if close else ""


def _converted(action: argparse.Action, value: Any) -> Any:
    """A value as the command line's text would be converted.

    Raises:
        ValueError, TypeError, argparse.ArgumentTypeError: It is not of this type, or not among the choices.
    """
    if action.nargs == 0 or isinstance(value, bool):
        return _switch(action, value)
    convert = action.type if callable(action.type) else str
    if _is_table(action):
        return [convert(f"{name}={float(number)!r}") for name, number in dict(value).items()]
    if isinstance(value, list):
        if not _is_list(action):
            raise TypeError
        value = ",".join(_plain(item) for item in value)
    text = _plain(value)
    if not text.strip() and not getattr(action.type, "or_none", False):
        raise ValueError  # as on the command line
    converted = convert(text)
    if action.choices is not None and converted not in action.choices:
        raise ValueError
    return converted


def _switch(action: argparse.Action, value: Any) -> bool:
    if action.nargs != 0 or not isinstance(value, bool):
        raise TypeError
    return value


def _plain(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    return str(value)


def _is_table(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction)


def _is_list(action: argparse.Action) -> bool:
    return getattr(action.type, "__name__", "") == "list"


def _expected(action: argparse.Action) -> str:
    if action.choices is not None:
        return f"one of {', '.join(map(str, action.choices))}"
    if action.nargs == 0:
        return "true or false"
    if _is_table(action):
        return "a table of numbers"
    kinds = {"int": "a whole number", "at_least_one": "a whole number of at least 1", "float": "a number"}
    kind = getattr(action.type, "__name__", "str")
    return "a list, none of whose entries is empty" if kind == "list" else kinds.get(kind, "a text")


def _text(value: Any) -> str:
    return repr(value).lower() if isinstance(value, bool) else repr(value)
