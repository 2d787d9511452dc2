"""kdviz explain: saliency maps of pictures, written to files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import SettingError
from kdviz.core.texts.counted import counted

if TYPE_CHECKING:
    from kdviz.experiment import Experiment
    from kdviz.saliency import SaliencyMap

from kdviz.cli.common.arguments import add_experiment, common, set_threads, the_experiment, verb

_SETTING = "setting_"  # before a setting's name among the parsed options
OUTPUTS = (".png", ".svg", ".html", ".npz")


def _setting_options() -> dict[str, tuple[str, Callable[[str], Any], str]]:
    """Option -> (setting, type, help), of all settings of all methods."""
    from kdviz.explanation.methods import methods

    texts: dict[str, dict[str, list[str]]] = {}  # setting -> what it does -> methods
    kinds: dict[str, Callable[[str], Any]] = {}
    for name in methods:
        for setting in methods[name].settings:
            kinds[setting.name] = type(setting.default)
            text = f"{setting.help.removesuffix('.')} (default {setting.default})"
            texts.setdefault(setting.name, {}).setdefault(text, []).append(name)
    return {
        name.removeprefix("n_").replace("_", "-"): (name, kinds[name], _help(texts[name], len(methods)))
        for name in texts
    }


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Name -> value of the settings that the command gives."""
    given = {name: value for name, value in vars(options).items() if name.startswith(_SETTING)}
    return {name.removeprefix(_SETTING): value for name, value in given.items()}


def _help(texts: dict[str, list[str]], count: int) -> str:
    """Each text with the methods that it is about."""
    parts = [text if len(names) == count else f"{', '.join(names)}: {text}" for text, names in texts.items()]
    return "; ".join(parts).replace("%", "%%")


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "explain",
        _explain,
        "Saliency maps of pictures by every model, into one file a picture.",
        writes=lambda options: the_experiment(options) if options.showcase else None,
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="pictures")
    add_experiment(parser)
    parser.add_argument(
        "--add",
        action="append",
        metavar="NAME=FILE.onnx",
        help="compare this ONNX model too, float or int8, under that name; can be given several times",
    )
    parser.add_argument("--method", default="rise", help="see: kdviz list methods")
    parser.add_argument("--target", metavar="CLASS", help="class to explain (default: each model's own prediction)")
    group = parser.add_argument_group("settings of methods")
    for option, (name, kind, text) in _setting_options().items():
        about: dict[str, Any] = {
            "type": kind,
            "metavar": option.replace("-", "_").upper(),
            "help": text,
            "default": argparse.SUPPRESS,
        }
        group.add_argument(f"--{option}", dest=f"{_SETTING}{name}", **about)
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="FILE.png, .svg, .html or .npz; with several pictures their names are added",
    )
    parser.add_argument(
        "--showcase",
        action="store_true",
        help="instead of pictures: explain a few telling samples of the experiment, and keep their maps in its "
        "showcase.parquet, which the app's first page shows at once",
    )
    common(parser)


def _explain(options: argparse.Namespace) -> None:
    from kdviz.experiment import load_experiment
    from kdviz.metrics import agreement

    if options.showcase:
        _showcase(options)
        return
    if not options.images or not options.out:
        options.wrong_usage("IMAGE and --out are needed, or --showcase alone")
    if Path(options.out).suffix.lower() not in OUTPUTS:
        raise SettingError("--out must end in {outputs}, got '{out}'.", outputs=", ".join(OUTPUTS), out=options.out)
    set_threads(options)
    experiment = _with_models(load_experiment(options.experiment), options.add or [])
    documents = []
    for image, out in zip(options.images, _out_files(options.images, Path(options.out)), strict=True):
        maps = _maps(experiment, image, options)
        _write_maps(maps, out, experiment)
        report = agreement(maps)
        documents.append(_explain_document(image, out, maps, report.to_json()))
        if not options.json:
            print(f"{out}\n{_describe(maps)}\n{report}")
    if options.json:
        print(json.dumps({"experiment": str(experiment.folder), "images": documents}))


def _showcase(options: argparse.Namespace) -> None:
    import pyarrow as pa
    from tqdm import tqdm

    from kdviz.experiment import load_experiment
    from kdviz.studies.predictions.showcase import STORIES, make

    if options.images or options.out or options.add:
        options.wrong_usage("--showcase chooses the pictures, and writes into the experiment's folder")
    set_threads(options)
    experiment = load_experiment(options.experiment)
    chosen = _settings(options)
    masks, seed = chosen.get("n_masks", 4000), chosen.get("seed", 0)
    table = None
    with tqdm(total=len(STORIES), desc="showcase", unit="sample", file=sys.stderr) as bar:
        for item in make(experiment, options.device, masks, seed):
            bar.update(isinstance(item, str))
            table = item if isinstance(item, pa.Table) else None
    if not isinstance(table, pa.Table):
        raise SettingError("No sample could be explained.")
    experiment.write_table("showcase", table)
    rows = _without_maps(table)
    if options.json:
        print(json.dumps({"experiment": str(experiment.folder), "rows": rows}))
        return
    for row in rows:
        agreement = "" if row["agreement"] is None else f", agreement with the teacher {row['agreement']:z.2f}"
        print(f"{row['story']:10} sample {row['sample']:<6} {row['role']:12} {row['confidence']:.1%}{agreement}")


def _without_maps(table: Any) -> list[dict[str, Any]]:
    return table.drop_columns(["map", "standard_error", "picture"]).to_pylist()


def _with_models(experiment: Experiment, additions: Sequence[str]) -> Experiment:
    """The experiment with the ONNX models of ``--add NAME=FILE.onnx``."""
    for addition in additions:
        name, _, file = addition.partition("=")
        if not (name and file):
            raise SettingError("--add must be NAME=FILE.onnx, got '{addition}'.", addition=addition)
        experiment = experiment.with_model(name, file)
    return experiment


def _maps(experiment: Experiment, image: str, options: argparse.Namespace) -> dict[str, SaliencyMap]:
    from tqdm import tqdm

    from kdviz.saliency import explain_stream

    settings = _settings(options)
    states = explain_stream(experiment, image, options.target, options.method, device=options.device, **settings)
    first = state = next(states)  # errors appear before there is a bar
    unit = "mask" if state.states else "model"
    with tqdm(total=state.total, desc=Path(image).name, unit=unit, file=sys.stderr) as bar:
        for state in chain([first], states):
            bar.update(state.n_masks - bar.n)
    for role, reason in state.incompatible.items():
        print(f"kdviz: {role} is left out: {reason}", file=sys.stderr)
    if state.stopped:
        print(
            f"kdviz: stopped after {state.n_masks:,} of {counted(state.total, 'mask')} ({state.stopped})",
            file=sys.stderr,
        )
    maps = state.maps()
    for saliency_map in maps.values():
        for doubt in saliency_map.doubts:
            print(f"kdviz: {doubt.text}", file=sys.stderr)
    return maps


def _out_files(images: Sequence[str], out: Path) -> list[Path]:
    if len(images) == 1:
        return [out]
    files: list[Path] = []
    for image in images:
        base = f"{out.stem}-{Path(image).stem}"
        names = [base, *(f"{base}-{number}" for number in range(2, len(images) + 1))]
        files.append(next(file for file in (out.with_name(name + out.suffix) for name in names) if file not in files))
    return files


def _write_maps(maps: dict[str, SaliencyMap], out: Path, experiment: Experiment) -> None:
    from kdviz.core.files import atomic_write
    from kdviz.saliency import maps_npz

    kind = out.suffix.lower()
    if kind == ".npz":
        atomic_write(out, maps_npz(maps))
        return
    from kdviz import figures  # needs plotly
    from kdviz.figures.roles import titled, titles_of

    with titled(titles_of(experiment.runs)):
        if kind == ".html":
            page = figures.comparison(maps).to_html(include_plotlyjs=True, full_html=True)
            atomic_write(out, page.encode())
        else:
            atomic_write(out, figures.comparison.file(kind[1:], maps))


def _describe(maps: dict[str, SaliencyMap]) -> str:
    return "\n".join(_describe_map(role, saliency_map) for role, saliency_map in maps.items())


def _describe_map(role: str, saliency_map: SaliencyMap) -> str:
    predicted = saliency_map.predicted
    answer = f"predicts {saliency_map.classes[predicted]} ({saliency_map.probabilities[predicted]:.1%})"
    reliability = "–" if saliency_map.is_flat else f"{saliency_map.reliability:z.3f}"
    masks = counted(saliency_map.n_masks, "mask")
    source = f" from {masks}, reliability {reliability}" if saliency_map.n_masks else ""
    return f"{role:12} {answer}; map of {saliency_map.classes[saliency_map.target]}{source}"


def _explain_document(image: str, out: Path, maps: dict[str, SaliencyMap], report: dict[str, Any]) -> dict[str, Any]:
    models = {
        role: {
            "predicted": saliency_map.classes[saliency_map.predicted],
            "confidence": float(saliency_map.probabilities[saliency_map.predicted]),
            "target": saliency_map.classes[saliency_map.target],
            "target_probability": float(saliency_map.probabilities[saliency_map.target]),
            "masks": saliency_map.n_masks,
            "reliability": None if saliency_map.is_flat else saliency_map.reliability,
            "doubts": [doubt.to_json() for doubt in saliency_map.doubts],
        }
        for role, saliency_map in maps.items()
    }
    first = next(iter(maps.values()))
    settings = {"method": first.method, **first.settings}
    return {"image": image, "out": str(out), "settings": settings, "models": models, "agreement": report}
