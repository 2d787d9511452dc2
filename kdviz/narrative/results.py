"""An experiment's results as Markdown, so that figures in a README are never typed.

A document marks each section by two comments, and :func:`updated` writes the section between them::

    <!-- kdviz results: models -->
    <!-- kdviz end -->
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

from kdviz.compress.cost import read_cost
from kdviz.core.errors import ExperimentError, SettingError
from kdviz.core.language import ENGLISH, interval_digits, number, percent, plural, signed_interval, speaking
from kdviz.core.registry import Registry
from kdviz.core.vocabulary import Role
from kdviz.data.samples import SPLITS
from kdviz.experiment import Experiment
from kdviz.narrative.attention.markdown import attention_markdown
from kdviz.narrative.markdown import table
from kdviz.narrative.shortcuts import condition_sentences, shortcut_title, verdict_sentences
from kdviz.narrative.sweeps import sentences
from kdviz.narrative.transfer import transfer_sentences
from kdviz.narrative.transfer_sets import transfer_set_sentences
from kdviz.narrative.tree import tree_sentences
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.regions.report import Mean
from kdviz.studies.shortcuts import ShortcutsReport, read_shortcut_reports
from kdviz.studies.sweep.kinds import TRANSFER_SET
from kdviz.studies.sweep.runner import STUDIES, summary
from kdviz.studies.sweep.verdict import SweepVerdict, verdict
from kdviz.studies.transfer import TransferReport, read_transfer_report
from kdviz.studies.transfer.table import UNTRAINED
from kdviz.studies.tree import read_tree_report
from kdviz.studies.tree.report import Comparison, ModelFigures

sections: Registry[Callable[[Experiment], str]] = Registry("section")
"""Name -> Markdown of an experiment; raises ExperimentError where its tables are missing."""

_BLOCK = re.compile(r"(<!-- kdviz results: ([\w-]+) -->\r?\n)(.*?)(<!-- kdviz end -->)", re.DOTALL)
_BEGIN = "<!-- kdviz results:"
_TABLES = (
    {name: name for name in ("cost", "shortcuts", "transfer", "tree")}
    | {"attention": "agreement"}
    | {name: study.table for name, study in STUDIES.items()}
)
_NAMES: Mapping[str, str] = {Role.TEACHER: Role.TEACHER, Role.KD_STUDENT: "KD student", Role.STUDENT: "student alone"}


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
    is_available = _common_split(experiment) is not None if name == "models" else experiment.has_table(_TABLES[name])
    return sections[name](experiment) if is_available else ""


# sections -------------------------------------------------------------------------------------------------------------


@sections.register("models")
def models(experiment: Experiment) -> str:
    """Each model's figures on the first split that all were measured on."""
    runs, split = list(experiment.runs.values()), _common_split(experiment)
    if split is None:
        raise ExperimentError(
            "'{folder}' has no figures of its models; kdviz evaluate measures them.", folder=experiment.folder
        )
    samples = int(next(iter(runs)).metrics[split]["samples"])
    titles = ["model", "accuracy", "F1", "AUC", "loss", "ECE", "says the same as the teacher", "repeats its errors"]
    rows = []
    for run in runs:
        metrics = run.metrics[split]
        figures = [metrics.get(name) for name in ("accuracy", "f1", "auc", "loss", "ece")]
        shares = [metrics.get("same_as_teacher"), metrics.get("inherited_errors")]
        cells = [
            _percent(figures[0]),
            *(_decimals(figure, 4) for figure in figures[1:3]),
            *(_decimals(figure, 3) for figure in figures[3:]),
        ]
        rows.append([_title(experiment, run.role), *cells, _percent(shares[0]), _percent(shares[1], 1)])
    return f"On {number(samples)} {split} images:\n\n" + table(titles, rows) + "\n"


def _common_split(experiment: Experiment) -> str | None:
    runs = experiment.runs.values()
    return next((split for split in SPLITS if all("accuracy" in run.metrics.get(split, {}) for run in runs)), None)


def _title(experiment: Experiment, role: str) -> str:
    run = experiment.runs[role]
    parts = [_cell(run.title) or _NAMES.get(role, role), *([f"`{run.network}`"] if run.has_model else [])]
    training = run.training
    if training.get("epochs"):
        parts.append(f"{training['epochs']} epochs")
    if "temperature" in training and "alpha" in training:
        parts.append(f"T = {training['temperature']:g}, alpha = {training['alpha']:g}")
    return ", ".join(parts)


def _cell(text: str) -> str:
    """A user's text in a Markdown table."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def _percent(value: float | None, digits: int = 2) -> str:
    return "" if value is None else percent(value, digits)


def _decimals(value: float | None, digits: int) -> str:
    return "" if value is None else number(value, digits)


def _study(name: str) -> Callable[[Experiment], str]:
    def section(experiment: Experiment) -> str:
        """A sweep's figures on the test split and its verdict."""
        study = STUDIES[name]
        runs = experiment.table(study.table)
        rows = summary(runs, name)
        figures = [[_value(name, row), *_figures(row)] for row in rows if row["role"] != Role.TEACHER]
        teachers = {row["value"]: row for row in rows if row["role"] == Role.TEACHER}
        titles = [study.unit, "seeds", "accuracy", "F1", "ECE", "repeats the teacher's errors"]
        if len(teachers) > 1:
            titles.append("its teacher's accuracy")
            students = [row for row in rows if row["role"] != Role.TEACHER]
            for cells, row in zip(figures, students, strict=True):
                cells.append(_spread(teachers[row["value"]]) if row["value"] in teachers else "")
        sweep_verdict = verdict(runs, experiment.table("study_predictions"), name)
        return table(titles, figures) + "\n" + "".join(f"\n{line}\n" for line in _paragraph(sweep_verdict))

    return section


def _paragraph(sweep_verdict: SweepVerdict | None) -> list[str]:
    return [] if sweep_verdict is None else [" ".join(sentences(sweep_verdict))]


def _value(name: str, row: dict) -> str:
    value = row["value"]
    return "student alone" if value is None else value if isinstance(value, str) else f"{value:g}"


def _figures(row: dict) -> list[str]:
    inherited = _percent(row["inherited_errors"], 1)
    return [number(row["seeds"]), _spread(row), number(row["f1"], 4), number(row["ece"], 4), inherited]


def _spread(row: dict) -> str:
    """Mean and standard deviation over seeds."""
    spread = row["accuracy_sd"]
    return percent(row["accuracy"], 2) + ("" if spread is None else f" ± {number(100 * spread, 2)}")


for _name in ("temperature", "teacher-epochs", "alpha", "loss"):
    sections.add(_name, _study(_name))


@sections.register(TRANSFER_SET)
def transfer_sets(experiment: Experiment) -> str:
    """Students by what they were distilled on: figures, and what each transfer set gives."""
    runs, predictions = experiment.table(STUDIES[TRANSFER_SET].table), experiment.table("study_predictions")
    rows = [row for row in summary(runs, TRANSFER_SET) if row["role"] != Role.TEACHER]
    titles = [STUDIES[TRANSFER_SET].unit, "seeds", "accuracy", "F1", "ECE", "repeats the teacher's errors"]
    cells = [
        [
            _value(TRANSFER_SET, row),
            *_figures(row),
            _percent(row["same_as_teacher"]),
            _decimals(row["kl_to_teacher"], 3),
        ]
        for row in rows
    ]
    lines = "".join(f"- {sentence}\n" for sentence in transfer_set_sentences(runs, predictions))
    return table([*titles, "says the same as the teacher", "KL to the teacher"], cells) + f"\n\n{lines}"


@sections.register("attention")
def attention(experiment: Experiment) -> str:
    """Every study of attention, with its controls and limits."""
    text = attention_markdown(experiment) if experiment.has_table("agreement") else ""
    if not text:
        raise ExperimentError("'{folder}' has no study of attention; kdviz study makes one.", folder=experiment.folder)
    return text


@sections.register("cost")
def cost(experiment: Experiment) -> str:
    """What each model costs in each form, on one thread or the fewest measured."""
    report = read_cost(experiment)
    rows = []
    for entry in report.at(report.thread_counts[0]).entries:
        cells = [number(entry.costs["flops"], 2) if "flops" in entry.costs else "", number(entry.costs["size"], 2)]
        cells += [number(entry.costs[name], 3) if name in entry.costs else "" for name in ("latency", "batched")]
        rows.append([_NAMES.get(entry.role, entry.role), entry.form, *cells, percent(entry.accuracy, 2)])
    titles = ["model", "form", "MFLOP", "MB", "ms for one picture", "ms a picture in a batch", "accuracy"]
    machine = report.machine["machine"]
    threads = plural("{count} thread", "{count} threads", report.thread_counts[0])
    return f"Measured on {machine}, {threads}:\n\n" + table(titles, rows) + "\n"


@sections.register("shortcuts")
def shortcuts(experiment: Experiment) -> str:
    """Every condition of a study of shortcuts: what was planted, who inherits it, and the figures of each model."""
    reports = read_shortcut_reports(experiment)
    if not reports:
        raise ExperimentError(
            "'{folder}' has no study of shortcuts; kdviz study --study shortcuts makes one.", folder=experiment.folder
        )
    lines = [f"- {' '.join([*condition_sentences(report), *verdict_sentences(report)])}" for report in reports]
    titles = ["mark", "in the pictures of", "model", "accuracy", "with another's mark", "use, in points"]
    titles += ["map inside", "AUROC", "AUROC where used"]
    return (
        "\n".join(lines) + "\n\n" + table(titles, [row for report in reports for row in _shortcut_rows(report)]) + "\n"
    )


def _shortcut_rows(report: ShortcutsReport) -> list[list[str]]:
    """A row for each model and method."""
    rows = []
    for maps in report.maps:
        role_use = report.role(maps.role)
        assert role_use is not None  # each model has answers
        mark = shortcut_title(report.shortcut).removeprefix("a ")
        cells = [mark, report.shown_to, _model_name(report, role_use.role), percent(role_use.accuracy.value)]
        cells += [
            percent(role_use.accuracy_other.value),
            _use(role_use.use),
            percent(maps.inside.value),
        ]
        cells += [_auroc(each) if each is not None else "" for each in (maps.auroc, maps.auroc_used)]
        rows.append(cells)
    return rows


def _model_name(report: ShortcutsReport, role: str) -> str:
    name = _NAMES.get(role, role)
    return f"{name}, {report.loss}" if report.loss and role == Role.KD_STUDENT else name


def _use(mean: Mean) -> str:
    value, low, high = signed_interval(100 * mean.value, 100 * mean.low, 100 * mean.high, 1)
    return f"{value} ({low} to {high})"


def _auroc(mean: Mean) -> str:
    digits = interval_digits(mean.low, mean.high, 3, neutral=0.5)
    return f"{number(mean.value, digits)} ({number(mean.low, digits)} to {number(mean.high, digits)})"


@sections.register("transfer")
def transfer(experiment: Experiment) -> str:
    """What the KD student has of its teacher: the sentences, and CKA by layer with the teacher's counterpart."""
    report = read_transfer_report(experiment)
    if report is None:
        raise ExperimentError(
            "'{folder}' has no study of what was learned; kdviz study --study transfer makes one.",
            folder=experiment.folder,
        )
    lines = [f"- {sentence}" for sentence in transfer_sentences(report, experiment.classes)]
    rows = _transfer_rows(report)
    roles = [_TRANSFER_NAMES.get(role, role) for role in report.roles]
    titles = ["layer", "the teacher's", *roles, "KD student less alone", "verdict"]
    return "\n".join(lines) + "\n" + (f"\n{table(titles, rows)}" if rows else "")


_TRANSFER_NAMES = {**_NAMES, UNTRAINED: "random weights"}


def _transfer_rows(report: TransferReport) -> list[list[str]]:
    """A row for each layer of the KD student."""
    by_role = {role: {entry.depth: entry for entry in report.counterparts(role)} for role in report.roles}
    rows = []
    for entry in report.counterparts(Role.KD_STUDENT, Role.STUDENT):
        value, low, high = signed_interval(entry.cka.value, entry.cka.low, entry.cka.high, 3)
        values = [number(layers[entry.depth].cka.value, 3) for layers in by_role.values()]
        names = [f"`{entry.layer}`", f"`{entry.teacher_layer}`"]
        rows.append([*names, *values, f"{value} ({low} to {high})", entry.cka.verdict()])
    return rows


@sections.register("tree")
def tree(experiment: Experiment) -> str:
    """Soft decision trees with and without the teacher: the sentences, and the figures by depth."""
    report = read_tree_report(experiment)
    if report is None:
        raise ExperimentError(
            "'{folder}' has no study of trees; kdviz study --study tree makes one.", folder=experiment.folder
        )
    titles = ["depth", "with the teacher", "without", "with less without, in points", "log-loss", "without"]
    titles += ["says the same as the teacher", "without", "its path says the answer", "without"]
    rows = [_tree_row(comparison) for comparison in (*report.trees, *filter(None, [report.linear]))]
    return "\n".join(f"- {sentence}" for sentence in tree_sentences(report)) + f"\n\n{table(titles, rows)}"


def _tree_row(comparison: Comparison) -> list[str]:
    kd, alone = comparison.kd, comparison.alone
    value, low, high = points_interval(comparison.accuracy.value, comparison.low, comparison.high)
    depth = "sparse linear" if comparison.depth is None else number(comparison.depth)
    cells = [depth, _with_spread(kd), _with_spread(alone), f"{value} ({low} to {high})"]
    cells += [number(figures.means["loss"], 3) for figures in (kd, alone)]
    for name in ("same_as_teacher", "path_is_answer"):
        cells += ["" if math.isnan(each) else percent(each, 2) for each in (kd.means[name], alone.means[name])]
    return cells


def _with_spread(figures: ModelFigures) -> str:
    spread = "" if math.isnan(figures.spread) else f" ± {number(100 * figures.spread, 2)}"
    return percent(figures.accuracy, 2) + spread
