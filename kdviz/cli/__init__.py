"""The command line.

Results go to stdout, progress and errors to stderr. The exit status is 0 for success, 1 for an error of kdviz, 2 for
wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from kdviz import __version__
from kdviz.cli import app, bench, evaluate, explain, get, import_, list_, recipe, report, study, sweep, train
from kdviz.cli.common.recipe_files import VerbParser
from kdviz.cli.products import compress, export, profile
from kdviz.cli.studies import federated, incremental, tune
from kdviz.core.errors import ERRORS_VARIABLE, KdvizError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit status."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
    except KdvizError as error:
        as_json = os.environ.get(ERRORS_VARIABLE) == "json"
        text = json.dumps(error.sentence.to_json()) if as_json else " ".join(str(error).split())
        print(f"kdviz: {text}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("kdviz: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output has gone (kdviz ... | head): nothing is wrong, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
