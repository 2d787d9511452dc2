"""Sections on models: their figures, the sweeps that trained them, what they cost, and where they look."""

from __future__ import annotations

import re
from collections.abc import Callable

from kdviz.compress.cost import read_cost
from kdviz.core.errors import ExperimentError
from kdviz.core.language import number, percent, plural
from kdviz.core.vocabulary import Role
from kdviz.data.samples import SPLITS
from kdviz.experiment import Experiment
from kdviz.narrative.attention.markdown import attention_markdown
from kdviz.narrative.markdown import table
from kdviz.narrative.other_data.transfer_sets import transfer_set_sentences
from kdviz.narrative.results.sections import NAMES, sections
from kdviz.narrative.sweeps import sentences
from kdviz.studies.sweep.kinds import TRANSFER_SET
from kdviz.studies.sweep.runner import STUDIES, summary
from kdviz.studies.sweep.transfer_values import transfer_values
from kdviz.studies.sweep.verdict import SweepVerdict, verdict


@sections.register("models")
def models(experiment: Experiment) -> str:
    """Each model's figures on the first split that all were measured on."""
    runs, split = list(experiment.runs.values()), common_split(experiment)
    if split is None:
        raise ExperimentError(
            "'{folder}' has no figures of its models; kdviz evaluate measures them.", folder=experiment.folder
        )
    samples = runs[0].metrics[split].get("samples")
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
    on = f"On {number(int(samples))} {split} images" if samples is not None else f"On the {split} images"
    return f"{on}:\n\n" + table(titles, rows) + "\n"


def common_split(experiment: Experiment) -> str | None:
    runs = experiment.runs.values()
    return next((split for split in SPLITS if all("accuracy" in run.metrics.get(split, {}) for run in runs)), None)


def _title(experiment: Experiment, role: str) -> str:
    run = experiment.runs[role]
    parts = [_cell(run.title) or NAMES.get(role, role), *([f"`{run.network}`"] if run.has_model else [])]
    training = run.training
    if training.get("epochs"):
        parts.append(f"{training['epochs']} epochs")
    if "temperature" in training and "alpha" in training:
        parts.append(f"T = {_schedule(training['temperature'])}, alpha = {_schedule(training['alpha'])}")
    return ", ".join(parts)


def _schedule(value: float | str) -> str:
    """A number, or the text of one that changes from epoch to epoch."""
    return _cell(value) if isinstance(value, str) else f"{value:g}"


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
    lines = "".join(f"- {sentence}\n" for sentence in transfer_set_sentences(transfer_values(runs, predictions)))
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
        rows.append([NAMES.get(entry.role, entry.role), entry.form, *cells, percent(entry.accuracy, 2)])
    titles = ["model", "form", "MFLOP", "MB", "ms for one picture", "ms a picture in a batch", "accuracy"]
    machine = report.machine["machine"]
    threads = plural("{count} thread", "{count} threads", report.thread_counts[0])
    return f"Measured on {machine}, {threads}:\n\n" + table(titles, rows) + "\n"
