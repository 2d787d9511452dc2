"""kdviz study --study regions: whether models look at regions that people drew."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import engine, set_threads
from kdviz.cli.common.picture_source import picture_source
from kdviz.core.texts.counted import counted

if TYPE_CHECKING:
    from kdviz.experiment import Experiment
    from kdviz.studies.regions import RegionPictures, RegionsReport

MASKS = 2000
"""For one picture."""

QUICK_MASKS = 1000
"""Of a study whose time is limited."""


def add_regions(parser: argparse.ArgumentParser) -> None:
    """The options of the study of regions."""
    group = parser.add_argument_group("regions")
    group.add_argument(
        "--regions",
        metavar="DIR|FILE",
        help="regions that people drew: masks (PNG of the pictures' names, or NAME_mask.png beside them), boxes in a "
        "CSV file, COCO or Label Studio JSON, Pascal VOC or CVAT XML",
    )
    group.add_argument(
        "--tolerance", metavar="PX", type=_pixels, default=0.0, help="by which the pointing game may miss (default 0)"
    )


def _pixels(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def study_regions(options: argparse.Namespace) -> None:
    """Run the study, and print what came out."""
    from kdviz.experiment import load_experiment
    from kdviz.studies.regions import RegionsStudy, read_regions_report, region_models

    set_threads(options)
    experiment = load_experiment(options.experiment)
    models, names = region_models(experiment), list(dict.fromkeys(options.method or ["rise"]))
    if options.minutes:
        _limit(experiment, models, names, options)
    pictures, about = _pictures(experiment, options)
    settings: dict[str, Any] = {"n_masks": options.masks or MASKS, "seed": options.seed}
    settings |= {"baseline": options.baseline} if options.baseline else {}
    study = RegionsStudy(
        experiment,
        pictures,
        models,
        names,
        settings,
        options.results,
        options.device,
        options.threads or 0,
        options.chunk,
        options.tolerance,
        about,
    )
    for (_, role), reason in study.unfit.items():
        print(f"kdviz: {role}: {reason}", file=sys.stderr)
    _show(study, options)
    report = read_regions_report(experiment)
    assert report is not None  # it was written just now
    _print(experiment, report, options.json)


def _limit(experiment: Experiment, models: list[Any], names: list[str], options: argparse.Namespace) -> None:
    """Set the number of masks and of pictures to what fits into ``--minutes``."""
    from kdviz.studies.attention.budget import affordable_images

    if names != ["rise"]:
        options.wrong_usage("argument --minutes: only the time of RISE is known beforehand; use --images")
    options.masks = options.masks or QUICK_MASKS
    spec, classes, seconds = experiment.input, len(experiment.classes), 60 * options.minutes
    images = affordable_images(models, spec, classes, options.masks, seconds, options.device)
    options.images = min(images, options.images)


def _show(study: Any, options: argparse.Namespace) -> None:
    from tqdm import tqdm

    total = len(study.pictures)
    with tqdm(total=total, desc="maps", unit="image", file=sys.stderr) as bar:
        for share in study.run(engine(options)):
            bar.update(round(share * total) - bar.n)


# pictures -------------------------------------------------------------------------------------------------------------


def _pictures(experiment: Experiment, options: argparse.Namespace) -> tuple[RegionPictures, dict[str, Any]]:
    """The pictures of the study, and what was left out."""
    from kdviz.data.regions import read_regions
    from kdviz.studies.regions import choose_pictures

    source = picture_source(experiment, options)
    regions = read_regions(options.regions, source.sizes)
    pictures = choose_pictures(
        source.names, regions, source.samples_of, source.shares_of, options.images, options.seed, source.numbers
    )
    for note in regions.notes:
        print(f"kdviz: {note}", file=sys.stderr)
    if pictures.empty:
        verb = "is" if pictures.empty == 1 else "are"
        regions_text = counted(pictures.empty, "region")
        print(f"kdviz: {regions_text} {verb} empty in what the models see, and left out", file=sys.stderr)
    about = {"of": len(source.names), "missing": regions.missing, "unknown": len(regions.unknown)}
    return pictures, {**about, "empty": pictures.empty, "seed": options.seed}


# results --------------------------------------------------------------------------------------------------------------


def _print(experiment: Experiment, report: RegionsReport, as_json: bool) -> None:
    from kdviz.narrative.regions import region_sentences

    sentences = region_sentences(report)
    if as_json:
        document = {"experiment": str(experiment.folder), **report.to_json(), "sentences": sentences}
        print(json.dumps(document, allow_nan=False))
        return
    _print_rows("", [(entry.role, entry) for entry in report.roles])
    _print_rows("KD student less", [(entry.less, entry) for entry in report.differences], "+")
    print("\n".join(sentences))


def _print_rows(title: str, rows: Sequence[tuple[str, Any]], sign: str = "") -> None:
    """A table of means, by model, method and the answers that count."""
    if not rows:
        return
    print(f"{title or 'role':16} {'method':20} {'answers':8} {'images':>6}", end=" ")
    print(f"{'energy inside':>24} {'pointing game':>24}", end="")
    print("" if title else f" {'area':>6} {'by place':>8}")
    for role, entry in rows:
        if entry.energy.pictures:
            print(f"{role:16} {entry.method:20} {entry.subset:8} {entry.energy.pictures:>6}", end=" ")
            print(f"{_interval(entry.energy, sign):>24} {_interval(entry.pointing, sign):>24}", end="")
            by_place = "" if title or math.isnan(entry.by_place) else f"{entry.by_place:.3f}"
            print("" if title else f" {entry.area:>6.3f} {by_place:>8}")


def _interval(mean: Any, sign: str = "") -> str:
    if math.isnan(mean.low):
        return f"{mean.value:{sign}.3f}"
    return f"{mean.value:{sign}.3f} [{mean.low:{sign}.3f}, {mean.high:{sign}.3f}]"
