"""Loading of an experiment from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdviz.core.errors import ExperimentError, UnknownNameError
from kdviz.core.files import MODELS
from kdviz.experiment.checking import Checker, input_spec, read_json, run_of
from kdviz.experiment.folder import FORMATS, Experiment
from kdviz.experiment.picture_source import opening_pictures, picture_source
from kdviz.experiment.run import read_weights
from kdviz.experiment.values import LONG, MOST_RUNS, is_name, is_number


def list_experiments(folder: Path = MODELS) -> list[str]:
    """Names of the experiments in ``folder``."""
    return sorted(
        path.parent.name
        for path in folder.glob("*/experiment.json")
        if not path.parent.name.startswith(".")  # one that is being made, or was interrupted
    )


def load_experiment(path: str | Path) -> Experiment:
    """Load and validate an experiment's folder; a bare name is looked up in models/.

    Every field is checked and every weights file is compared with its SHA-256; models are built when they are first
    used.

    Raises:
        ExperimentError: The folder is not valid; the text names the field.
        UnknownNameError: There is no such experiment.
    """
    folder = _find(Path(path))
    experiment = read_document(folder, read_json(folder / "experiment.json"))
    for run in experiment.models.values():
        read_weights(run)
    return experiment


def read_document(folder: Path, document: Mapping[str, Any], *, may_be_empty: bool = False) -> Experiment:
    """The experiment that experiment.json describes; no weights file is read. All that opens comes this way.

    Args:
        folder: The experiment's folder.
        document: The content of its experiment.json.
        may_be_empty: Whether it may have no run, as before a training.

    Raises:
        ExperimentError: A field is wrong; the text names it.
    """
    check = Checker(folder)
    version = document.get("format")
    check.that(
        is_number(version) and version in FORMATS, "format", "must be 1 or 2, got {version}", version=_brief(version)
    )
    title = check.optional_text(document, "title")
    classes = check.strings(document, "classes")
    input_field = "input" if version == 1 else "picture"
    spec = input_spec(check, document.get(input_field), input_field)
    experiment = Experiment(
        folder=folder,
        dataset=check.text(document, "dataset"),
        classes=tuple(classes),
        input=spec,
        runs={},
        title=title,
        picture_source=picture_source(check, document),
        opening_pictures=opening_pictures(check, document),
    )
    entries = document.get("runs")
    is_valid = isinstance(entries, list) and (may_be_empty or bool(entries))
    check.that(is_valid, "runs", "must be a list of at least one run")
    check.that(len(entries) <= MOST_RUNS, "runs", "must have at most {most} runs", most=MOST_RUNS)  # type: ignore[arg-type]
    for number, entry in enumerate(entries):  # type: ignore[arg-type]
        run = run_of(check, entry, f"runs[{number}]", folder, spec, len(classes), int(version))  # type: ignore[arg-type]
        check.that(run.role not in experiment.runs, f"runs[{number}].role", "'{role}' is listed twice", role=run.role)
        experiment.runs[run.role] = run
    return experiment


def stored_title(folder: Path) -> str:
    """The title in an experiment.json, of which nothing else is checked; empty if there is none that can be shown."""
    try:
        title = read_json(folder / "experiment.json").get("title", "")
    except ExperimentError:
        return ""
    return title if is_name(title, LONG) else ""


def _brief(value: object) -> str:
    """A value from JSON in a sentence: its beginning, in ASCII."""
    return ascii(value)[:40]


def _find(path: Path) -> Path:
    try:
        if (path / "experiment.json").is_file():
            return path
        bundled = MODELS / path
        if len(path.parts) == 1 and (bundled / "experiment.json").is_file():
            return bundled
        is_folder = path.is_dir()
    except OSError:  # not a possible name of a file
        is_folder = False
    if is_folder:
        raise ExperimentError("'{path}' is not an experiment: it has no experiment.json.", path=path)
    raise UnknownNameError("experiment", str(path), list_experiments(), "experiments")
