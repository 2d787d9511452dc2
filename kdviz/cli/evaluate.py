"""kdviz evaluate."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import DatasetError

if TYPE_CHECKING:
    from kdviz.data import LabelledImages
    from kdviz.data.doubts import Doubt
    from kdviz.experiment import Experiment

from kdviz.cli.common.arguments import add_experiment, add_groups, common, set_threads, splits_of, verb


def add(verbs: Any) -> None:
    parser = verb(verbs, "evaluate", _evaluate, "Measure every model of an experiment on a test set.")
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
    add_groups(parser)
    common(parser)


def margin(text: str) -> float:
    """Points of accuracy, from 0.01, the least that sentences show, to 20; as in the app's address."""
    value = float(text)
    if not 0.01 <= value <= 20:
        raise argparse.ArgumentTypeError(f"must be from 0.01 to 20 points, got {text}")
    return value


def _evaluate(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment

    set_threads(options)
    experiment = load_experiment(options.experiment)
    if experiment.is_imported:
        split = _evaluate_files(experiment, options) if options.data else _known_split(experiment)
    else:
        samples = _held_out(experiment, options)
        split = samples.split
        evaluate_on(experiment, [samples], options.device)
    print_metrics(experiment, options.json, split, options.margin)


def _evaluate_files(experiment: Experiment, options: argparse.Namespace) -> str:
    """Measure the given models on pictures in files, each through its own transforms; returns the split's name."""
    from tqdm import tqdm

    from kdviz.cli.common.given import picture_files
    from kdviz.data.doubts import known
    from kdviz.studies.predictions.file_evaluation import evaluate_files

    files = picture_files(experiment, options.data)
    with tqdm(total=len(files), desc="evaluate", unit="picture", file=sys.stderr) as bar:
        for done in evaluate_files(experiment, files, options.device):
            bar.update(done - bar.n)
    for doubt in known(experiment):
        print(f"kdviz: warning: {doubt.text}", file=sys.stderr)
    return files.split


def _known_split(experiment: Experiment) -> str:
    """The split on which imported models were measured, each through its own transforms and on all of its pictures: the
    pictures that are kept are fewer, and show them only as the common picture does.

    Raises:
        DatasetError: They were not measured.
    """
    splits = [split for run in experiment.runs.values() for split in run.metrics]
    if not splits:
        raise DatasetError(f"'{experiment.folder}' was imported without pictures; name some with --data.")
    print("kdviz: these are the figures of the import; measure on other pictures with --data", file=sys.stderr)
    return splits[0]


def _held_out(experiment: Experiment, options: argparse.Namespace) -> LabelledImages:
    """The test split; without its folder, the digits that come with kdviz or the samples that the experiment keeps."""
    import torch

    from kdviz.data import LabelledImages
    from kdviz.data.registry import bundled_samples

    if options.data:
        return splits_of(experiment, options)["test"]
    bundled = bundled_samples(experiment.dataset)
    if bundled is not None and bundled.images.shape[1:] == (experiment.input.channels, *experiment.input.size):
        return bundled
    stored = experiment.samples("test")
    every = torch.arange(len(stored))
    if not torch.equal(stored.numbers, every):
        raise DatasetError(
            "Only some of the test images are stored in the experiment; name the data's folder with --data."
        )
    return LabelledImages(stored.images(every), stored.labels, stored.classes, "test", stored.names)


def evaluate_on(
    experiment: Experiment, splits: Sequence[LabelledImages], device: str, said: Sequence[Doubt] = ()
) -> None:
    """Measure every model on the splits, and say on stderr what looks wrong and was not said before."""
    from tqdm import tqdm

    from kdviz.data.doubts import known
    from kdviz.studies.predictions.evaluation import evaluate

    for samples in splits:
        roles = evaluate(experiment, samples, device)
        for _ in tqdm(roles, total=len(experiment.models), desc=f"evaluate on {samples.split}", file=sys.stderr):
            pass
    measured = {samples.split for samples in splits}
    for doubt in known(experiment):
        if (doubt.is_of_data or doubt.split in measured) and doubt not in said:
            print(f"kdviz: warning: {doubt.text}", file=sys.stderr)


def print_metrics(
    experiment: Experiment,
    as_json: bool,
    split: str | None = None,
    margin: float | None = None,
) -> None:
    """The metrics of all runs on a split (None: on every one), and with a margin in points the verdict on it."""
    from kdviz.data.doubts import known

    metrics = {
        role: {name: values for name, values in run.metrics.items() if split in (None, name)}
        for role, run in experiment.runs.items()
    }
    verdict = None if margin is None else verdict_on(experiment, split, margin)
    if as_json:
        doubts = [one for one in known(experiment) if one.is_of_data or split in (None, one.split)]
        more = {"doubts": [one.to_json() | {"text": one.text} for one in doubts]}
        more |= {} if verdict is None else {"verdict": verdict}
        print(json.dumps({"experiment": str(experiment.folder), "metrics": metrics, **more}, allow_nan=False))
        return
    print(f"{'role':12} {'split':10} {'samples':>7} {'accuracy':>9} {'loss':>7} {'ECE':>7}")
    for role, splits in metrics.items():
        for name, values in splits.items():
            accuracy = f"{values['accuracy']:>9.2%}" if "accuracy" in values else f"{'':9}"
            others = " ".join(f"{values[one]:>7.4f}" if one in values else f"{'':7}" for one in ("loss", "ece"))
            print(f"{role:12} {name:10} {values['samples']:>7.0f} {accuracy} {others}".rstrip())
    if verdict is not None:
        _print_verdict(verdict)


def verdict_on(experiment: Experiment, split: str | None, margin: float) -> dict[str, Any]:
    """What Overview says of the predictions of a split, as :func:`kdviz.narrative.decision.report` gives it.

    Args:
        experiment: With predictions.
        split: Its name; None: the first that the predictions have.
        margin: In points of accuracy.
    """
    from kdviz.narrative.decision import report
    from kdviz.narrative.overview import ExperimentSummary
    from kdviz.studies.comparison.judgement import Margins

    found = ExperimentSummary(experiment, _cost_of(experiment), _study_of(experiment), split)
    return report(found, Margins(accuracy=margin / 100))


def _cost_of(experiment: Experiment) -> Any:
    from kdviz.compress.cost import read_cost
    from kdviz.core.errors import ExperimentError

    try:
        found = read_cost(experiment)
    except ExperimentError:
        return None
    return None if found.stale else found


def _study_of(experiment: Experiment) -> Any:
    from kdviz.core.errors import ExperimentError
    from kdviz.studies.sweep.report import read_report

    try:
        return read_report(experiment, "temperature")
    except ExperimentError:
        return None


def _print_verdict(verdict: dict[str, Any]) -> None:
    print(f"\n{verdict['sentence']}")
    for one in verdict["answers"]:
        if one["judgement"] is not None:
            print(f"- {one['question']} {one['word']}. {one['sentence']}")
