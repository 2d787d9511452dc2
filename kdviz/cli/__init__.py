"""The command line.

Results go to stdout, progress and errors to stderr. The exit status is 0 for success, 1 for an error of kdviz, 2 for
wrong usage.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from kdviz import __version__
from kdviz.cli import app, bench, evaluate, explain, get, import_, list_, recipe, report, study, sweep, train
from kdviz.cli.common.arguments import require_machine
from kdviz.cli.common.parser import Parser
from kdviz.cli.common.recipe_files import VerbParser
from kdviz.cli.products import compress, export, profile
from kdviz.cli.studies import federated, incremental, tune
from kdviz.core.errors import ERRORS_VARIABLE, KdvizError
from kdviz.core.processes.folder_lock import writing_within
from kdviz.core.processes.stopping import STATUS, Stopped, ending_when_asked

_OF_THE_MACHINE = {
    getattr(errno, name)
    for name in ("EACCES", "EDQUOT", "EFBIG", "EIO", "EMFILE", "ENFILE", "ENOSPC", "EPERM", "EROFS", "ESTALE")
    if hasattr(errno, name)
}
"""Errors that are the disk's or the system's, not a fault of kdviz, which is reported with its traceback."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit status."""
    try:
        with ending_when_asked():
            options = _parser().parse_args(arguments)
            _run(options)
    except KdvizError as error:
        return _refuse(error)
    except (KeyboardInterrupt, Stopped) as error:
        print("kdviz: stopped.", file=sys.stderr)
        return STATUS if isinstance(error, Stopped) else 130
    except BrokenPipeError:
        # The reader of the output has gone (kdviz ... | head): nothing is wrong, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        return _refuse(_of_the_machine(error))
    return 0


def _run(options: argparse.Namespace) -> None:
    require_machine(options)
    folders = options.writes(options) if options.writes else None
    with ExitStack() as stack:
        for folder in [folders] if isinstance(folders, str) else folders or []:
            stack.enter_context(writing_within(folder, f"kdviz {options.verb}"))
        options.let_go = stack.close  # for a command that goes on with another one in the same folder
        options.run(options)


def _refuse(error: KdvizError) -> int:
    as_json = os.environ.get(ERRORS_VARIABLE) == "json"
    text = json.dumps(error.sentence.to_json()) if as_json else _one_line(str(error))
    print(f"kdviz: {text}", file=sys.stderr)
    return 1


def _one_line(text: str) -> str:
    """A text that a terminal shows and does not obey: names in files may hold what moves its cursor."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _of_the_machine(error: OSError) -> KdvizError:
    """What the disk or the system refused, where no sentence of its own says it."""
    what = error.strerror or str(error)
    if error.filename is None:
        return KdvizError("A file cannot be read or written: {strerror}.", strerror=what)
    return KdvizError("'{path}' cannot be read or written: {strerror}.", path=error.filename, strerror=what)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="kdviz", description="See and measure what knowledge distillation changes in an image classifier."
    )
    parser.add_argument("--version", action="version", version=f"kdviz {__version__}")
    verbs = parser.add_subparsers(
        title="commands", dest="verb", required=True, metavar="COMMAND", parser_class=VerbParser
    )
    training = (train, recipe, sweep, tune, study, incremental, federated)
    products = (compress, profile, export)
    modules = (app, get, import_, *training, evaluate, explain, *products, report, bench, list_)
    for add in [module.add for module in modules]:
        add(verbs)
    return parser
