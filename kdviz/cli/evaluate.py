"""kdviz evaluate: the metrics of every model on a test set."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import DatasetError, SettingError
from kdviz.core.vocabulary import Split

if TYPE_CHECKING:
    from kdviz.data import LabelledImages
    from kdviz.data.doubts import Doubt
    from kdviz.data.picture_files import PictureFiles
    from kdviz.experiment import Experiment

from kdviz.cli.common.arguments import (
    add_experiment,
    add_reader_options,
    common,
    set_threads,
    splits_of,
    the_experiment,
    verb,
)


def add(verbs: Any) -> None:
    parser = verb(
        verbs, "evaluate", _evaluate, "Measure every model of an experiment on a test set.", writes=the_experiment
    )
    add_experiment(parser)
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of the data; left away: the digits that are bundled, the test pictures that are kept, or, of "
        "imported models, the figures of their import",
    )
    parser.add_argument(
        "--margin",
        type=margin,
        metavar="POINTS",
        default=0.5,
        help="points of accuracy within which two models count as equal",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="run copies of imported networks with fused layers, which are faster; logits differ by rounding",
    )
    add_reader_options(parser)
    common(parser)


def margin(text: str) -> float:
    """Parse points of accuracy, from 0.01, the least that sentences show, to 20, as in the app's address."""
    points = float(text)
    if not 0.01 <= points <= 20:
        raise argparse.ArgumentTypeError(f"must be from 0.01 to 20 points, got {text}")
    return points


def _evaluate(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment

    set_threads(options)
    experiment = load_experiment(options.experiment)
    if experiment.is_imported:
        split = _evaluate_files(experiment, options) if options.data else _known_split(experiment)
    elif options.fast:
        raise SettingError(
            "--fast is for imported models, whose pictures are read from files; evaluate '{folder}' without it.",
            folder=experiment.folder,
        )
    else:
        samples = _held_out(experiment, options)
        split = samples.split
        evaluate_on(experiment, [samples], options.device)
    print_metrics(experiment, options.json, split, options.margin)


def _evaluate_files(experiment: Experiment, options: argparse.Namespace) -> str:
    """Measure imported models on pictures in files, each through its own transforms; return the name of the split."""
    from kdviz.cli.common.experiment_pictures import picture_files
    from kdviz.data.doubts import recorded_doubts

    files = picture_files(experiment, options)
    evaluate_picture_files(experiment, files, options.device, options.fast)
    for doubt in recorded_doubts(experiment):
        print(f"kdviz: warning: {doubt.text}", file=sys.stderr)
    return files.split


def evaluate_picture_files(experiment: Experiment, files: PictureFiles, device: str, fast: bool = False) -> None:
    """Predict pictures in files with every model, each through its own transforms, with a progress bar.

    ``fast``: see :func:`kdviz.studies.predictions.file_evaluation.evaluate_files`.
    """
    from tqdm import tqdm

    from kdviz.studies.predictions.file_evaluation import evaluate_files

    steps = evaluate_files(experiment, files, device, fast=fast)
    first = next(steps, 0)  # after an interruption, what was done before
    with tqdm(total=len(files), initial=first, desc="evaluate", unit="picture", file=sys.stderr) as bar:
        for done in steps:
            bar.update(done - bar.n)


def _known_split(experiment: Experiment) -> str:
    """The split on which imported models were measured by their import.

    Each was measured through its own transforms, and on all pictures. The stored pictures are fewer, and have the form
    of the common picture.

    Raises:
        DatasetError: The models were not measured.
    """
    splits = [split for run in experiment.runs.values() for split in run.metrics]
    if not splits:
        raise DatasetError("'{folder}' was imported without pictures; name some with --data.", folder=experiment.folder)
    print("kdviz: these are the figures of the import; measure on other pictures with --data", file=sys.stderr)
    return splits[0]


def _held_out(experiment: Experiment, options: argparse.Namespace) -> LabelledImages:
    """The test split; without its folder, the digits that come with kdviz or the stored samples."""
    import torch

    from kdviz.data import LabelledImages
    from kdviz.data.registry import bundled_samples

    if options.data:
        return splits_of(experiment, options)[Split.TEST]
    bundled = bundled_samples(experiment.dataset)
    if bundled is not None and bundled.images.shape[1:] == (experiment.input.channels, *experiment.input.size):
        return bundled
    stored = experiment.samples(Split.TEST)
    indices = torch.arange(len(stored))
    if not torch.equal(stored.numbers, indices):
        raise DatasetError(
            "Only some of the test images are stored in the experiment; name the data's folder with --data."
        )
    return LabelledImages(stored.images(indices), stored.labels, stored.classes, Split.TEST, stored.names)


def evaluate_on(
    experiment: Experiment, splits: Sequence[LabelledImages], device: str, reported: Sequence[Doubt] = ()
) -> None:
    """Measure every model on some splits, and print doubts on stderr that are not among the ``reported`` ones."""
    from tqdm import tqdm

    from kdviz.data.doubts import recorded_doubts
    from kdviz.studies.predictions.evaluation import evaluate

    for samples in splits:
        roles = evaluate(experiment, samples, device)
        for _ in tqdm(roles, total=len(experiment.models), desc=f"evaluate on {samples.split}", file=sys.stderr):
            pass
    evaluated = {samples.split for samples in splits}
    for doubt in recorded_doubts(experiment):
        if (doubt.is_of_data or doubt.split in evaluated) and doubt not in reported:
            print(f"kdviz: warning: {doubt.text}", file=sys.stderr)


def print_metrics(
    experiment: Experiment,
    as_json: bool,
    split: str | None = None,
    margin: float | None = None,
) -> None:
    """Print the metrics of all runs on a split, or on all splits, and the verdict if there is a margin in points."""
    from kdviz.data.doubts import recorded_doubts

    metrics = {
        role: {name: values for name, values in run.metrics.items() if split in (None, name)}
        for role, run in experiment.runs.items()
    }
    verdict = None if margin is None else verdict_on(experiment, split, margin)
    if as_json:
        doubts = [doubt for doubt in recorded_doubts(experiment) if doubt.is_of_data or split in (None, doubt.split)]
        extra = {"doubts": [doubt.to_json() | {"text": doubt.text} for doubt in doubts]}
        extra |= {} if verdict is None else {"verdict": verdict}
        print(json.dumps({"experiment": str(experiment.folder), "metrics": metrics, **extra}, allow_nan=False))
        return
    print(f"{'role':12} {'split':10} {'samples':>7} {'accuracy':>9} {'loss':>7} {'ECE':>7}")
    for role, splits in metrics.items():
        for name, values in splits.items():
            accuracy = f"{values['accuracy']:>9.2%}" if "accuracy" in values else f"{'':9}"
            measures = " ".join(
                f"{values[measure]:>7.4f}" if measure in values else f"{'':7}" for measure in ("loss", "ece")
            )
            print(f"{role:12} {name:10} {values['samples']:>7.0f} {accuracy} {measures}".rstrip())
    if verdict is not None:
        _print_verdict(verdict)


def verdict_on(experiment: Experiment, split: str | None, margin: float) -> dict[str, Any]:
    """The verdict of the page Overview on the predictions of a split, see :func:`kdviz.narrative.decision.report`.

    Args:
        experiment: An experiment with predictions.
        split: Name of the split; None for the first one with predictions.
        margin: Margin in points of accuracy.
    """
    from kdviz.narrative.decision import report
    from kdviz.narrative.overview import ExperimentSummary
    from kdviz.studies.comparison.judgement import Margins

    summary = ExperimentSummary(experiment, _cost_of(experiment), _study_of(experiment), split)
    return report(summary, Margins(accuracy=margin / 100))


def _cost_of(experiment: Experiment) -> Any:
    from kdviz.compress.cost import read_cost
    from kdviz.core.errors import ExperimentError

    try:
        cost = read_cost(experiment)
    except ExperimentError:
        return None
    return None if cost.stale else cost


def _study_of(experiment: Experiment) -> Any:
    from kdviz.core.errors import ExperimentError
    from kdviz.studies.sweep.report import read_report

    try:
        return read_report(experiment, "temperature")
    except ExperimentError:
        return None


def _print_verdict(verdict: dict[str, Any]) -> None:
    print(f"\n{verdict['sentence']}")
    for answer in verdict["answers"]:
        if answer["judgement"] is not None:
            print(f"- {answer['question']} {answer['word']}. {answer['sentence']}")
