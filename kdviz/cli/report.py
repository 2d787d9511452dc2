"""kdviz report: the results in an experiment's tables, as Markdown."""

from __future__ import annotations

import argparse
import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from kdviz.cli.common.arguments import add_experiment, comma_list, verb
from kdviz.core.errors import KdvizError


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "report",
        _report,
        "Print what an experiment's tables say as Markdown, or put it into a document; nothing is computed anew.",
    )
    add_experiment(parser)
    parser.add_argument(
        "--sections", type=comma_list(str), default=[], help="with commas between (default: all there are)"
    )
    parser.add_argument(
        "--update",
        metavar="FILE",
        help="make what stands between '<!-- kdviz results: SECTION -->' and '<!-- kdviz end -->' in this file again",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def _report(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment
    from kdviz.narrative.results.document import results, updated

    experiment = load_experiment(options.experiment)
    if options.update:
        if options.sections:
            options.wrong_usage("argument --sections: not allowed with --update, whose document names its sections")
        _update(Path(options.update), lambda document: updated(document, experiment))
        if options.json:
            print(json.dumps({"experiment": str(experiment.folder), "updated": options.update}))
        return
    text = results(experiment, options.sections)
    print(json.dumps({"experiment": str(experiment.folder), "markdown": text}) if options.json else text, end="")


def _update(path: Path, change: Any) -> None:
    from kdviz.core.files import atomic_write

    try:
        document, mode = path.read_bytes().decode(), path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise KdvizError("'{path}' cannot be read as text; name a Markdown file.", path=path) from error
    new = change(document).encode()
    if not os.access(path, os.W_OK):  # a read-only file could still be replaced in its folder
        raise KdvizError("Cannot write '{path}': {strerror}.", path=path, strerror=os.strerror(errno.EACCES))
    target = path.resolve()  # the file itself, not a link to it
    atomic_write(target, new)
    target.chmod(stat.S_IMODE(mode))
