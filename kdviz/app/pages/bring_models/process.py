"""The process of an import, ``python -m kdviz.app.pages.bring_models.process PLAN.json``; job.py starts it.

It writes one JSON object a line: how far it is (stage, done, total), or an error in one sentence, after which it exits
with status 3.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from kdviz.core.errors import KdvizError, SettingError
from kdviz.core.processes.with_parent import end_with_parent

_STEPS = 4  # first maps
_SECONDS = 3.0  # that the first maps may take: somebody waits


def main(plan: str) -> int:
    """Run the plan in a file, and return the exit status."""
    document = json.loads(Path(plan).read_text(encoding="utf-8"))
    _limit_files(document["largest"])
    from kdviz.importing import small_footprint

    try:
        with small_footprint():
            for step in _steps(document):
                _say(step)
    except KdvizError as error:
        in_their_words = partial(with_names_of_person, renamed=document["renamed"])
        _say({"error": error.sentence.replaced(in_their_words).to_json()})
        return 3
    except (MemoryError, RecursionError):
        error = SettingError("The models need more memory than this server has; try kdviz import in a terminal.")
        _say({"error": error.sentence.to_json()})
        return 3
    return 0


def _steps(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    from kdviz.data.labels.class_names import read_classes
    from kdviz.data.picture_files import read_picture_files
    from kdviz.experiment import load_experiment
    from kdviz.importing import ImportPlan, ModelSpec, first_maps, import_experiment
    from kdviz.importing.spec import checked_input

    out = Path(document["work"]) / "experiment"
    names = read_classes(Path(document["classes"])) if document["classes"] else None
    # "inside": a table of a stranger must not name pictures elsewhere on the server
    pictures = read_picture_files(document["data"], classes=names, inside=True) if document["data"] else None
    models = [
        ModelSpec(
            model["role"],
            Path(model["path"]),
            model["title"],
            model["network"],
            checked_input(model["given"]),
            model["classes"],
        )
        for model in document["models"]
    ]
    classes = names.names if names is not None and not names.aliases else ()
    plan = ImportPlan(out, models, pictures, classes, title=document["title"], trust=False)
    for step in import_experiment(plan):
        yield {"stage": step.stage, "done": step.done, "total": step.total}
    if pictures is None:
        return
    yield {"stage": "maps", "done": 0, "total": _STEPS}
    for number, _story in enumerate(first_maps(load_experiment(out), seconds=_SECONDS), 1):
        yield {"stage": "maps", "done": number, "total": _STEPS}


def with_names_of_person(message: str, renamed: list[tuple[str, str]]) -> str:
    """A message with the names that the person gave to the files, instead of the server's paths."""
    for path, name in sorted(renamed, key=lambda pair: -len(pair[0])):
        message = message.replace(f"{path}{os.sep}", "").replace(path, name or "the pictures")
    return message


def _say(step: Mapping[str, Any]) -> None:
    print(json.dumps(step), flush=True)


def _limit_files(largest: int) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest if hard < 0 else min(largest, hard), hard))


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1]))
