"""kdviz study --study shifts: who is right, and who answers as the teacher does, on shifted pictures."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from kdviz.cli.common.arguments import comma_list, set_threads
from kdviz.cli.common.picture_source import random_pictures

if TYPE_CHECKING:
    from kdviz.experiment import Experiment
    from kdviz.studies.shifts import ShiftsReport
    from kdviz.studies.shifts.report import Gain


def add_shifts(parser: argparse.ArgumentParser) -> None:
    """The options of the study of shifts."""
    group = parser.add_argument_group("shifts")
    group.add_argument("--severities", metavar="S,S", type=comma_list(int), help="from 1 to 5 (default: all of them)")
    group.add_argument(
        "--null",
        metavar="DIR",
        help="experiment with a second student alone, of another seed: how much the training's chance does",
    )


def study_shifts(options: argparse.Namespace) -> None:
    """Run the study, and print what came out."""
    from tqdm import tqdm

    from kdviz.data.shifts.drawing import require_severities
    from kdviz.data.shifts.registry import SEVERITIES, shifts
    from kdviz.experiment import load_experiment
    from kdviz.studies.shifts import ShiftsStudy, read_shifts_report, second_student

    set_threads(options)
    experiment = load_experiment(options.experiment)
    severities = options.severities or list(SEVERITIES)
    for name in options.values or ():  # before any picture is read
        _ = shifts[name]
    require_severities(severities)
    second = None if options.null is None else second_student(experiment, load_experiment(options.null))
    samples = random_pictures(experiment, options, options.images)
    study = ShiftsStudy(experiment, samples, options.values or (), severities, options.seed, options.device, second)
    with tqdm(total=100, desc="shifts", unit="%", file=sys.stderr) as bar:
        for share in study.run():
            bar.update(round(100 * share) - bar.n)
    for role, reason in study.left_out.items():
        print(f"kdviz: {role}: {reason}", file=sys.stderr)
    report = read_shifts_report(experiment)
    assert report is not None  # it was written just now
    _print(experiment, report, options.json)


# results --------------------------------------------------------------------------------------------------------------


def _print(experiment: Experiment, report: ShiftsReport, as_json: bool) -> None:
    from kdviz.narrative.shifts import shift_sentences

    sentences = shift_sentences(report)
    if as_json:
        document = {"experiment": str(experiment.folder), **report.to_json(), "sentences": sentences}
        print(json.dumps(document, allow_nan=False))
        return
    from kdviz.studies.shifts.table import ALL, MEASURES, UNSHIFTED

    for measure in MEASURES:
        roles = [role for role in report.roles if report.share(measure, role) == report.share(measure, role)]
        print(f"{measure:16} " + " ".join(f"{role:>12}" for role in roles) + f" {'KD less alone':>28}")
        for shift in (UNSHIFTED, *report.shifts, ALL):
            title = {UNSHIFTED: "unshifted", ALL: "mean"}.get(shift, shift)
            shares = " ".join(f"{report.share(measure, role, shift):>12.2%}" for role in roles)
            gain = report.gain(measure, shift)
            print(f"{title:16} {shares} {_points(gain):>28}  {report.verdict(gain)}")
    print("\n".join(sentences))


def _points(gain: Gain) -> str:
    from kdviz.studies.comparison.judgement import points_interval

    value, low, high = points_interval(gain.value, gain.low, gain.high)
    return f"{value} [{low}, {high}]"
