"""kdviz study --study loss-shifts: students of several losses on shifted pictures."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from kdviz.cli.common.arguments import set_threads, splits_of

if TYPE_CHECKING:
    from kdviz.data import LabelledImages
    from kdviz.experiment import Experiment
    from kdviz.studies.loss_shifts import LossShiftsReport


def study_loss_shifts(options: argparse.Namespace) -> None:
    """Train the students that are missing, run the study, and print what came out."""
    from tqdm import tqdm

    from kdviz.cli.common.experiment_pictures import require_trainable
    from kdviz.cli.studies.attention import train_missing
    from kdviz.cli.sweep import config_like, given_values
    from kdviz.data.shifts.drawing import require_severities
    from kdviz.data.shifts.registry import SEVERITIES
    from kdviz.experiment import load_experiment
    from kdviz.studies.attention import sweep_for, swept_models
    from kdviz.studies.loss_shifts import LossShiftsStudy, read_loss_shifts
    from kdviz.studies.loss_shifts.study import check_losses
    from kdviz.studies.sweep.runner import STUDIES

    set_threads(options)
    experiment = load_experiment(options.experiment)
    require_trainable(experiment, "study --study loss-shifts")
    severities = options.severities or list(SEVERITIES)
    require_severities(severities)
    values, config = given_values(STUDIES["loss"], options), config_like(experiment, options)
    splits = splits_of(experiment, options)
    sweep = sweep_for(experiment, "loss", splits, values, options.seeds, config, options.runs)
    check_losses(list(map(str, sweep.values)), sweep.seeds)
    train_missing(sweep, [], options)
    samples = _chosen(splits[options.split], options.images, options.seed)
    models = swept_models(sweep)
    study = LossShiftsStudy(experiment, samples, models, (), severities, options.seed, options.device)
    with tqdm(total=100, desc="shifts", unit="%", file=sys.stderr) as bar:
        for share in study.run():
            bar.update(round(100 * share) - bar.n)
    report = read_loss_shifts(experiment)
    assert report is not None  # it was written just now
    _print(experiment, report, options.json)


def _chosen(samples: LabelledImages, count: int, seed: int) -> LabelledImages:
    """A random choice of the pictures, in their order."""
    import torch

    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))[:count]
    return samples.take(order.sort().values, samples.split)


def _print(experiment: Experiment, report: LossShiftsReport, as_json: bool) -> None:
    from kdviz.narrative.loss_shifts import change_text, loss_shift_sentences

    sentences = loss_shift_sentences(report)
    if as_json:
        document = {"experiment": str(experiment.folder), **report.to_json(), "sentences": sentences}
        print(json.dumps(document, allow_nan=False))
        return
    from kdviz.studies.loss_shifts.report import compared
    from kdviz.studies.shifts.table import ALL, MEASURES, UNSHIFTED

    width = max(12, *map(len, report.losses))
    for measure in MEASURES:
        print(f"{measure:{width}} {'unshifted':>10} {'shifted':>10}   less              of shifted, points")
        for loss, less in [(None, None), *compared(report)]:
            shares = " ".join(f"{report.share(measure, loss, shift):>10.2%}" for shift in (UNSHIFTED, ALL))
            gain = "" if loss is None or less is None else report.gain(measure, loss, less)
            told = f"{less:12} {change_text(gain):>24}  {gain.outcome}" if gain else ""
            print(f"{loss or 'student':{width}} {shares}   {told}")
    print("\n".join(sentences))
