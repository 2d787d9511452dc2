"""kdviz profile: what each model costs."""

from __future__ import annotations

import argparse
import json
import sys
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdviz.cli.common.arguments import (
    add_experiment,
    add_reader_options,
    at_least_one,
    comma_list,
    common,
    splits_of,
    the_experiment,
    verb,
)
from kdviz.core.errors import SettingError
from kdviz.core.texts.counted import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from kdviz.compress.cost import CostEntry, CostReport
    from kdviz.experiment import Experiment


def add(verbs: Any) -> None:
    parser = verb(
        verbs,
        "profile",
        _profile,
        "Measure what each model costs (operations, parameters, file, time on this machine) and how accurate it is, "
        "in float32 and int8; writes cost.parquet.",
        writes=lambda options: None if options.out else the_experiment(options),
    )
    add_experiment(parser)
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the data; left away, the pictures that are kept or bundled are used"
    )
    add_reader_options(parser)
    parser.add_argument(
        "--batches", type=comma_list(at_least_one), help="pictures in a call (default: 1 and 256, or 8)"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of measuring times, for each number of threads")
    parser.add_argument(
        "--from",
        dest="times",
        metavar="FILE",
        help="add what an export's check.py --time has printed on another device; nothing is measured here",
    )
    parser.add_argument("--out", metavar="FILE", help="another place for the table than the experiment's folder")
    common(parser)
    parser.set_defaults(device="cpu")
    threads = next(action for action in parser._actions if action.dest == "threads")
    threads.type, threads.default, threads.help = (
        comma_list(at_least_one),
        [1],
        "CPU threads, one or several, such as 1,2",
    )


def _profile(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from kdviz.cli.common.experiment_pictures import samples_of_files
    from kdviz.compress.profile import MOST, Settings, own_samples, parted, profile, samples_of
    from kdviz.experiment import load_experiment

    experiment = load_experiment(options.experiment)
    _require_table(options.out)
    if options.times:
        _add_device(experiment, options)
        return
    samples = own_samples(experiment)
    if options.data and experiment.is_imported:
        samples = parted(samples_of_files(experiment, options, MOST))
    elif options.data:
        samples = samples_of(splits_of(experiment, options))
    settings = Settings(tuple(options.threads), tuple(options.batches or ()), options.seconds, options.device)
    table, notes_printed = None, 0
    with tqdm(total=100, desc="profile", bar_format="{desc}: {percentage:3.0f}%|{bar}|", file=sys.stderr) as bar:
        for progress in profile(experiment, samples, settings):
            bar.set_description_str(progress.doing, refresh=False)
            bar.update(round(100 * progress.share) - bar.n)
            for note in progress.notes[notes_printed:]:
                tqdm.write(f"kdviz: {note}", file=sys.stderr)
            notes_printed, table = len(progress.notes), progress.table
    assert table is not None
    _write(experiment, _with_devices(experiment, table) if options.out is None else table, options.out)
    _say(experiment, table, options)


def _require_table(out: str | None) -> None:
    """Refuse to replace what is no table, before anything is measured."""
    if out is not None and Path(out).exists() and Path(out).suffix != ".parquet":
        raise SettingError("'{out}' is there and no table of kdviz; name a new file with --out.", out=out)


def _add_device(experiment: Experiment, options: argparse.Namespace) -> None:
    """Add the rows of a device to the experiment's table."""
    from kdviz.compress.export.device_times import read_device_times, with_device_times

    rows = read_device_times(options.times, experiment)
    _write(experiment, with_device_times(experiment, rows), options.out)
    _say(experiment, rows, options)


def _with_devices(experiment: Experiment, table: pa.Table) -> pa.Table:
    """The table and the rows of other devices, which a measurement on this one leaves as they are."""
    import pyarrow as pa

    from kdviz.compress.export.device_times import device_rows

    return pa.concat_tables([table, device_rows(experiment)])


def _say(experiment: Experiment, table: pa.Table, options: argparse.Namespace) -> None:
    from kdviz.compress.cost import read_cost

    if options.json:
        print(json.dumps(_document(experiment, table)))
        return
    report = read_cost(experiment, table)
    for device in report.devices:
        _print(report.on(device))


def _write(experiment: Experiment, table: pa.Table, out: str | None) -> None:
    if out is None:
        experiment.write_table("cost", table)
        return
    from kdviz.compress.cost import table_file
    from kdviz.core.files import atomic_write

    atomic_write(out, table_file(table))


def _document(experiment: Experiment, table: pa.Table) -> dict[str, Any]:
    rows = table.drop_columns(["right"]).to_pylist()
    return {"experiment": str(experiment.folder), "rows": rows}


def _print(report: CostReport) -> None:
    from kdviz.compress.operations import left_out
    from kdviz.narrative.products.device_limits import device_limits
    from kdviz.narrative.tradeoffs import findings

    for threads in report.thread_counts:
        print(f"{counted(threads, 'thread')}, {report.machine['machine']}")
        titles = f"{'parameters':>10} {'MFLOP':>8} {'MB':>7} {'ms':>8} {'ms batch':>9} {'accuracy':>9}"
        print(f"{'role':12} {'form':10} {titles}")
        for entry in report.at(threads).entries:
            row = entry.row
            cells = [f"{entry.costs[name]:.3f}" if name in entry.costs else "" for name in ("latency", "batched")]
            print(
                f"{entry.role:12} {entry.form:10} {row['parameters'] or '':>10} {_operations(entry):>8} "
                f"{entry.costs['size']:>7.2f} {cells[0]:>8} {cells[1]:>9} {_accuracy(entry):>9}"
            )
    for sentence in [*findings(report), *device_limits(report), *left_out(report.uncounted)]:
        print(sentence)


def _operations(entry: CostEntry) -> str:
    """The number of operations, with ``>`` before it if some are not counted; empty if it is not known."""
    if "flops" not in entry.costs:
        return ""
    return f"{'>' if entry.row.get('uncounted') else ''}{entry.costs['flops']:.2f}"


def _accuracy(entry: CostEntry) -> str:
    return "–" if isnan(entry.accuracy) else f"{entry.accuracy:.2%}"
