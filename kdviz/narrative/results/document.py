"""An experiment's results as Markdown, so that figures in a README are never typed.

A document marks each section by two comments, and :func:`updated` writes the section between them::

    <!-- kdviz results: models -->
    <!-- kdviz end -->
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kdviz.core.errors import SettingError
from kdviz.core.language import ENGLISH, speaking
from kdviz.experiment import Experiment
from kdviz.narrative.results import models, studies  # noqa: F401  in the order of the sections that they register
from kdviz.narrative.results.sections import sections
from kdviz.studies.sweep.runner import STUDIES

_BLOCK = re.compile(r"(<!-- kdviz results: ([\w-]+) -->\r?\n)(.*?)(<!-- kdviz end -->)", re.DOTALL)
_BEGIN = "<!-- kdviz results:"
_TABLES = (
    {name: name for name in ("cost", "shortcuts", "transfer", "shifts", "tree")}
    | {"attention": "agreement", "loss-shifts": "loss_shifts"}
    | {name: study.table for name, study in STUDIES.items()}
)


def results(experiment: Experiment, names: Iterable[str] = ()) -> str:
    """Sections of an experiment's results, one after the other.

    Args:
        experiment: The experiment.
        names: Names in ``sections``; none: all whose tables exist.

    Raises:
        UnknownNameError: No such section.
        ExperimentError: A requested section has no table, or a table is damaged.
    """
    with speaking(ENGLISH):
        if names:
            return "\n".join(sections[name](experiment) for name in names)
        return "\n".join(filter(None, (_section_if_available(experiment, name) for name in sections)))


def updated(document: str, experiment: Experiment) -> str:
    """The document with every block between ``<!-- kdviz results: NAME -->`` and ``<!-- kdviz end -->`` renewed.

    Raises:
        SettingError: It has no such block, or a block begins before the previous one has ended.
        UnknownNameError: There is no section with the name of a block.
        ExperimentError: A section's table is missing.
    """
    if not _BLOCK.search(document):
        raise SettingError(
            "The document has no place for results; write the lines '<!-- kdviz results: models -->' and "
            "'<!-- kdviz end -->' where they should stand."
        )
    for block in _BLOCK.finditer(document):
        if _BEGIN in block[3]:
            raise SettingError(
                "The block '{block}' of the document has no line '<!-- kdviz end -->' of its own "
                "before the next one begins; write it where the results should end.",
                block=block[2],
            )
    return _BLOCK.sub(
        lambda block: block[1] + _with_line_endings_of(block[1], results(experiment, [block[2]])) + block[4], document
    )


def _with_line_endings_of(line: str, text: str) -> str:
    """The text with the line endings of ``line``."""
    return text.replace("\n", "\r\n") if line.endswith("\r\n") else text


def _section_if_available(experiment: Experiment, name: str) -> str:
    """A section, or nothing where its table was never made; a damaged table still raises."""
    is_available = (
        models.common_split(experiment) is not None if name == "models" else experiment.has_table(_TABLES[name])
    )
    return sections[name](experiment) if is_available else ""
