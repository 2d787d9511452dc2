"""kdviz study --study transfer: which layers, confusions and errors of its teacher each model has."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from kdviz.cli.common.arguments import set_threads
from kdviz.cli.common.picture_source import random_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdviz.experiment import Experiment
    from kdviz.studies.transfer import TransferReport
    from kdviz.studies.transfer.report import Estimate


def study_transfer(options: argparse.Namespace) -> None:
    """Run the study, and print what came out."""
    from tqdm import tqdm

    from kdviz.experiment import load_experiment
    from kdviz.studies.transfer import TransferStudy, read_transfer_report
    from kdviz.studies.transfer.study import MOST_PICTURES

    set_threads(options)
    experiment = load_experiment(options.experiment)
    samples = random_pictures(experiment, options, min(options.images, MOST_PICTURES))
    study = TransferStudy(experiment, samples, options.seed, options.device)
    with tqdm(total=100, desc="layers", unit="%", file=sys.stderr) as bar:
        for share in study.run():
            bar.update(round(100 * share) - bar.n)
    for role, reason in study.left_out.items():
        print(f"kdviz: {role}: {reason}", file=sys.stderr)
    report = read_transfer_report(experiment)
    assert report is not None  # it was written just now
    _print(experiment, report, options.json)


# results --------------------------------------------------------------------------------------------------------------


def _print(experiment: Experiment, report: TransferReport, as_json: bool) -> None:
    from kdviz.narrative.transfer import transfer_sentences

    sentences = transfer_sentences(report, experiment.classes)
    if as_json:
        document = {"experiment": str(experiment.folder), **report.to_json(), "sentences": sentences}
        print(json.dumps(document, allow_nan=False))
        return
    _print_layers(report)
    _print_scores(report)
    _print_confusions(report)
    print("\n".join(sentences))


def _print_layers(report: TransferReport) -> None:
    rows = [entry for entry in report.layers if entry.counterpart]
    if rows:
        print(f"{'CKA with the teacher':26} {'layer':22} {'of the teacher':22} {'':24} {'within class':>12}")
    for entry in rows:
        within = f"{entry.within:.3f}" if entry.within == entry.within else ""
        names = f"{_name(entry.role, entry.less):26} {entry.layer:22} {entry.teacher_layer:22}"
        print(f"{names} {_interval(entry.cka, bool(entry.less)):24} {within:>12}")


def _print_scores(report: TransferReport) -> None:
    if report.scores:
        print(f"{'distance correlation':26} {'score':22} {'layer':22} {'':24} {'at random':>12}")
    for entry in report.scores:
        random = f"{entry.shuffled_high:.3f}" if entry.shuffled_high == entry.shuffled_high else ""
        names = f"{_name(entry.role, entry.less):26} {entry.measure:22} {entry.layer:22}"
        print(f"{names} {_interval(entry.score, bool(entry.less)):24} {random:>12}")


def _print_confusions(report: TransferReport) -> None:
    for entry in report.confusions:
        title = f"{_name(entry.role, entry.less):26} confusions at T = {entry.temperature:<4g}"
        print(f"{title} {_interval(entry.correlation, bool(entry.less))}")


def _name(role: str, less: str) -> str:
    return f"{role} less {less}" if less else role


def _interval(estimate: Estimate, is_difference: bool) -> str:
    sign = "+" if is_difference else ""
    ends: Sequence[str] = [f"{value:{sign}.3f}" for value in (estimate.value, estimate.low, estimate.high)]
    return f"{ends[0]} [{ends[1]}, {ends[2]}]"
