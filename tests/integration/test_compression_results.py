"""What the documentation says of compressed models, held against the tables that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdviz.experiment import load_experiment
from kdviz.metrics import Difference
from kdviz.studies.compression.report import LESS, MORE, UNKNOWN, CompressedRun, read_compression_report

ROOT = Path(__file__).resolve().parents[2]
GUIDE = " ".join((ROOT / "docs" / "how-to" / "compress.md").read_text(encoding="utf-8").split())
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def runs(name: str) -> dict[str, CompressedRun]:
    report = read_compression_report(load_experiment(ROOT / "models" / name))
    assert report is not None
    return dict(report.runs)


def points(difference: Difference | None) -> str:
    assert difference is not None
    value, low, high = (f"{100 * number:+.2f}" for number in (difference.value, difference.low, difference.high))
    return f"{value.replace('+0.00', '0.00')} ({low} to {high})"


def right(run: CompressedRun) -> str:
    return f"{100 * run.right.mean():.2f} %"


@pytest.mark.parametrize(
    ("role", "title"),
    [
        ("int8", "int8 without training"),
        ("int4", "int4 weights"),
        ("small_pruned", "pruned by 0.66"),
        ("small", "pruned by 0.66, then `--qat`"),
        ("small_labels_pruned", "pruned by 0.66 without the teacher"),
    ],
)
def test_each_row_of_mnist(role: str, title: str) -> None:
    run = runs("mnist")[role]
    of_student = run.row["bytes"] / runs("mnist")["int8"].row["parent_bytes"]
    file = f"{run.row['bytes'] / 1e6:.3f} MB | {100 * of_student:.1f} %"
    assert f"| {title} | {file} | {right(run)} | {points(run.since_root or run.accuracy)} |" in GUIDE
    if run.since_root is None and run.maps_parent is not None:
        assert f"| {100 * run.changed.mean():.2f} % | {run.maps_parent.value:.3f} |" in GUIDE


def test_the_small_file_of_mnist_is_a_quarter_of_the_int8_file_and_loses_less_than_a_fifth_of_a_point() -> None:
    made = runs("mnist")
    share = made["small"].row["bytes"] / made["int8"].row["bytes"]
    assert share < 0.25
    assert made["small"].since_root.low > -0.002  # type: ignore[union-attr]
    assert f"has {100 * share:.1f} % of the bytes of the int8 file that is not pruned" in GUIDE
    assert f"takes {100 * share:.1f} % of the int8 file's bytes and is right in {right(made['small'])}" in README


def test_what_hides_behind_equal_accuracy_on_mnist() -> None:
    taught, untaught = runs("mnist")["small_pruned"], runs("mnist")["small_labels_pruned"]
    assert len(taught.nulls) == 4
    assert (taught.answers, taught.looks) == (LESS, UNKNOWN)
    assert (untaught.looks, untaught.teacher_side) == (MORE, LESS)
    low, high = 100 * untaught.accuracy.low, 100 * untaught.accuracy.high
    assert max(-low, high) < 0.5  # as accurate as its parent, by the default margin
    for said in ("*it looks elsewhere*", "Pruned from the labels alone it is as accurate"):
        assert said in GUIDE
    assert "pruned without its teacher it is as accurate, but looks elsewhere" in README


@pytest.mark.parametrize(
    ("role", "title"),
    [
        ("kd_ptq", "int8 without training"),
        ("kd_qat", "`--qat`, 2 epochs, with the teacher"),
        ("kd_qat_labels", "`--qat`, 2 epochs, labels alone"),
        ("kd_qat6", "`--qat --epochs 6`, with the teacher"),
    ],
)
def test_each_row_of_cifar10(role: str, title: str) -> None:
    run = runs("cifar10")[role]
    beside = "" if run.beside_untrained is None else points(run.beside_untrained) + " "
    file = f"{run.row['bytes'] / 1e3:.0f} kB"
    assert f"| {title} | {file} | {right(run)} | {points(run.accuracy)} | {beside}|" in GUIDE
    assert run.beside_untrained is None or run.beside_untrained.low > 0  # "is better than int8 without it in all three"
