"""kdviz export: a model as one folder to hand over."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import add_experiment, add_reader_options, at_least_one, splits_of, the_out, verb
from kdviz.core.texts.counted import counted

if TYPE_CHECKING:
    from kdviz.compress.export.contents import Export
    from kdviz.compress.profile import ProfileSamples
    from kdviz.experiment import Experiment


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "export",
        _export,
        "Export a model as one folder to hand over: ONNX files in float32 and int8, labels, a model card, an example, "
        "and a check that runs with nothing but Python, numpy and onnxruntime.",
        writes=the_out,
    )
    add_experiment(parser)
    parser.add_argument("--of", metavar="ROLE", required=True, help="role of the model, such as kd_student")
    parser.add_argument("--out", metavar="DIR", required=True, help="the folder; an earlier export there is replaced")
    parser.add_argument(
        "--preprocessing",
        choices=("beside", "inside"),
        default="beside",
        help="inside: the files take uint8 pictures (N, H, W, C), and scale and normalise them; beside: they take "
        "normalised floats (N, C, H, W)",
    )
    parser.add_argument("--opset", type=at_least_one, help="version of ONNX's operators (default: the exporter's)")
    parser.add_argument("--no-int8", dest="int8", action="store_false", help="leave the int8 file away")
    parser.add_argument("--openvino", action="store_true", help="add a file for OpenVINO (kdviz[openvino])")
    parser.add_argument("--executorch", action="store_true", help="add a file for ExecuTorch (kdviz[executorch])")
    parser.add_argument("--litert", action="store_true", help="add a file for LiteRT (kdviz[litert])")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of the data, for int8 and the figures; left away, the pictures that are kept or bundled are used",
    )
    add_reader_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def _export(options: argparse.Namespace) -> None:
    from kdviz.compress.export.contents import ExportSettings, export, model_of
    from kdviz.compress.export.device_files import RUNTIMES
    from kdviz.compress.export.folder import folder_files, require_replaceable, write_folder
    from kdviz.compress.export.openvino_files import require_openvino
    from kdviz.experiment import load_experiment
    from kdviz.narrative.products.model_card import model_card

    experiment = load_experiment(options.experiment)
    model_of(experiment, options.of)
    require_replaceable(options.out)
    if options.openvino:
        require_openvino()
    for runtime in RUNTIMES:
        if getattr(options, runtime.extra):
            runtime.require()
    chosen = (options.openvino, options.executorch, options.litert)
    settings = ExportSettings(options.preprocessing, options.opset, options.int8, *chosen)
    made = export(experiment, options.of, _samples(experiment, options), settings)
    write_folder(options.out, folder_files(made, model_card(made)))
    for note in made.notes:
        print(f"kdviz: {note}", file=sys.stderr)
    if options.json:
        print(json.dumps(_document(options.out, made)))
    else:
        _print(options.out, made)


def _samples(experiment: Experiment, options: argparse.Namespace) -> ProfileSamples | None:
    from kdviz.cli.common.experiment_pictures import samples_of_files
    from kdviz.compress.profile import MOST, own_samples, parted, samples_of

    if options.data and experiment.is_imported:
        return parted(samples_of_files(experiment, options, MOST))
    if options.data:
        return samples_of(splits_of(experiment, options))
    return own_samples(experiment)


def _document(out: str, made: Export) -> dict[str, Any]:
    from kdviz.compress.export.folder import record

    return {"folder": out, **record(made, made.more), "notes": list(map(str, made.notes))}


def _print(out: str, made: Export) -> None:
    for file in made.files:
        accuracy = "" if file.right is None else f", {file.right.mean():.2%} of {counted(made.samples, 'sample')} right"
        others = "" if not file.different else f", {counted(file.different, 'answer')} other than in float32"
        print(f"{out}/{file.name}: {file.size / 1e6:.2f} MB{accuracy}{others}")
    print(f"Check it where it is to run: python {out}/check.py")
