"""kdviz study --study shortcuts: whether models use a planted shortcut, and whether their maps show it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import LazyNames, LazyText, engine, set_threads
from kdviz.cli.common.picture_source import picture_source
from kdviz.cli.studies.regions import MASKS

if TYPE_CHECKING:
    import numpy as np

    from kdviz.data import LabelledImages
    from kdviz.data.shortcuts.planting import PlantedShortcut
    from kdviz.experiment import Experiment
    from kdviz.studies.shortcuts import ShortcutsReport, ShortcutsStudy

IMAGES = 200
"""Pictures of a study, unless another number is given."""


def add_shortcuts(parser: argparse.ArgumentParser) -> None:
    """The options of the study of shortcuts."""
    group = parser.add_argument_group("shortcuts")
    group.add_argument(
        "--plant", metavar="KIND", choices=LazyNames(shortcut_names), help=LazyText(lambda: _shortcut_help())
    )
    group.add_argument(
        "--into", metavar="DIR", help="experiment into whose tables the results go, beside those of other trainings"
    )


def shortcut_names() -> list[str]:
    """The shortcuts that can be planted, sorted."""
    from kdviz.data.shortcuts.registry import shortcuts

    return sorted(shortcuts)


def _shortcut_help() -> str:
    return f"shortcut in the pictures (default: that of the training): {', '.join(shortcut_names())}"


def study_shortcuts(options: argparse.Namespace) -> None:
    """Run the study, and print what came out."""
    from kdviz.core.errors import SettingError
    from kdviz.experiment import load_experiment
    from kdviz.studies.shortcuts import planted_in, read_shortcut_reports

    set_threads(options)
    experiment = load_experiment(options.experiment)
    planted = planted_in(experiment)
    if planted is None and options.plant is None:
        raise SettingError(
            "No shortcut was planted in the training of '{folder}'; train one with: kdviz train --plant patch, or name "
            "one with --plant, to see what it does to models that never saw it.",
            folder=experiment.folder,
        )
    into = experiment if options.into is None else load_experiment(options.into)
    if into.classes != experiment.classes:
        raise SettingError(
            "The classes of '{into}' are not those of '{folder}'.", into=into.folder, folder=experiment.folder
        )
    study = _new_study(experiment, into, planted, options)
    for (_, role), reason in study.unfit.items():
        print(f"kdviz: {role}: {reason}", file=sys.stderr)
    _show(study, options)
    reports = {report.condition: report for report in read_shortcut_reports(into)}
    _print(experiment, reports[study.condition], options.json)


def _new_study(
    experiment: Experiment, into: Experiment, planted: PlantedShortcut | None, options: argparse.Namespace
) -> ShortcutsStudy:
    from kdviz.studies.regions import region_models
    from kdviz.studies.shortcuts import ShortcutsStudy
    from kdviz.studies.shortcuts.study import NOBODY

    samples, numbers = _pictures(experiment, options)
    settings: dict[str, Any] = {"n_masks": options.masks or MASKS, "seed": options.seed}
    settings |= {"baseline": options.baseline} if options.baseline else {}
    known = planted if planted is not None and options.plant in (None, planted.kind) else None
    kind = str(options.plant) if known is None else known.kind  # one of them is there
    return ShortcutsStudy(
        experiment,
        samples,
        numbers,
        region_models(experiment),
        kind,
        NOBODY if known is None else known.shown_to,
        list(dict.fromkeys(options.method or ["rise"])),
        settings,
        into,
        options.results,
        options.device,
        options.threads or 0,
        options.chunk,
        {"share": None if known is None else known.share, "seed": options.seed, "experiment": experiment.name},
    )


def _pictures(experiment: Experiment, options: argparse.Namespace) -> tuple[LabelledImages, np.ndarray]:
    """A random choice of the pictures, in random order, and their numbers in the split."""
    import numpy as np

    from kdviz.core.errors import DatasetError

    source = picture_source(experiment, options)
    order = np.random.default_rng([options.seed, 3]).permutation(len(source.names))[: options.images]
    if len(order) < 2:
        raise DatasetError("A study of shortcuts needs at least two pictures, and there are {count}.", count=len(order))
    numbers = order if source.numbers is None else source.numbers[order]
    return source.samples_of(order.tolist()), numbers


def _show(study: ShortcutsStudy, options: argparse.Namespace) -> None:
    from tqdm import tqdm

    total = len(study.samples)
    with tqdm(total=total, desc="maps", unit="image", file=sys.stderr) as bar:
        for share in study.run(engine(options)):
            bar.update(round(share * total) - bar.n)


# results --------------------------------------------------------------------------------------------------------------


def _print(experiment: Experiment, report: ShortcutsReport, as_json: bool) -> None:
    from kdviz.narrative.products.shortcut_use import shortcut_use_sentences
    from kdviz.narrative.shortcuts.sentences import shortcut_sentences
    from kdviz.studies.compression.shortcut_use import shortcut_uses

    compressed = shortcut_uses(report)
    sentences = [*shortcut_sentences(report), *shortcut_use_sentences(compressed)]
    if as_json:
        document = {"experiment": str(experiment.folder), **report.to_json(), "sentences": sentences}
        document["compressed"] = [use.to_json() for use in compressed.uses]
        print(json.dumps(document, allow_nan=False))
        return
    print(f"{'role':16} {'accuracy':>10} {'own mark':>9} {'other mark':>10} {'flips':>22} {'use, in points':>24}")
    for role_use in report.roles:
        print(
            f"{role_use.role:16} {role_use.accuracy.value:>10.3f} {role_use.accuracy_own.value:>9.3f} "
            f"{role_use.accuracy_other.value:>10.3f} {_interval(role_use.flips):>22} {_points(role_use.use):>24}"
        )
    print(f"{'role':16} {'method':20} {'inside':>22} {'without mark':>12} {'area':>6} {'AUROC':>22} {'where used':>22}")
    for each in report.maps:
        used = "" if each.auroc_used is None else _interval(each.auroc_used)
        print(
            f"{each.role:16} {each.method:20} {_interval(each.inside):>22} {each.inside_clean.value:>12.3f} "
            f"{each.area:>6.3f} {_interval(each.auroc):>22} {used:>22}"
        )
    for difference in report.differences:
        print(f"KD student less {difference.less}: use {_points(difference.use)} points")
    print("\n".join(sentences))


def _interval(mean: Any) -> str:
    return f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]"


def _points(mean: Any) -> str:
    from kdviz.core.language import signed_interval

    value, low, high = signed_interval(100 * mean.value, 100 * mean.low, 100 * mean.high, 1)
    return f"{value} [{low}, {high}]"
