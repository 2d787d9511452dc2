"""kdviz bench: speed, memory, and the number of masks that are needed."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import at_least_one, comma_list, common, set_threads, verb

if TYPE_CHECKING:
    from kdviz.bench import Measurement


def add(verbs: Any) -> None:
    parser = verb(verbs, "bench", _bench, "Measure speed, memory and how many masks are needed, against references.")
    parser.add_argument("what", choices=["rise", "train", "study", "evaluate", "app"], help="what is measured")
    parser.add_argument("--quick", action="store_true", help="within a minute or two, less exactly")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of MNIST; left away, train downloads it, and app shows shifted copies of the bundled digits",
    )
    parser.add_argument("--epochs", type=at_least_one, help="train: of each training (default: 12, quick: 2)")
    parser.add_argument(
        "--mobilenet-weights", metavar="FILE", help="torchvision's weights of MobileNetV2 (default: random ones)"
    )
    parser.add_argument(
        "--parts",
        metavar="NAME[,NAME]",
        type=comma_list(str),
        default=[],
        help="app: only these of opening, compare, stop, people, gallery, classes, sessions, memory, strain, crowd",
    )
    parser.add_argument(
        "--hour", action="store_true", help="app: watch the server's memory, and let 25 people use it, for an hour each"
    )
    parser.add_argument("--seed", type=int, default=0, help="of masks and images")
    common(parser)


def _bench(options: argparse.Namespace) -> None:
    from kdviz.bench import about, bench_app, bench_evaluate, bench_rise, bench_study, bench_train
    from kdviz.core.devices import choose_device

    set_threads(options)
    device = choose_device(options.device)
    machine, rows = about(device), []
    if not options.json:
        print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.what == "rise":
        measurements = bench_rise(device, options.quick, options.mobilenet_weights, options.seed)
    elif options.what == "train":
        measurements = bench_train(options.device, options.quick, options.data, options.epochs)
    elif options.what == "study":
        measurements = bench_study(device, options.quick, options.seed)
    elif options.what == "evaluate":
        measurements = bench_evaluate(device, options.quick, options.seed)
    else:
        measurements = bench_app(options.quick, options.parts, options.data, options.hour)
    for row in measurements:
        rows.append(row)
        print(_line(row), file=sys.stderr if options.json else sys.stdout, flush=True)  # as they come
    if options.json:
        figures = {row.key: row.value if row.value == row.value else None for row in rows}
        print(json.dumps({**machine, **figures, "details": {row.key: dict(row.details) for row in rows}}))


def _line(row: Measurement) -> str:
    from kdviz.bench.app_rows import TargetRow, line

    return line(row) if isinstance(row, TargetRow) else f"{row.value:>10.3f} {row.unit:1}  {row.text}"
