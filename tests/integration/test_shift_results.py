"""What the documentation says of shifted pictures, held against the shipped tables."""

from __future__ import annotations

from pathlib import Path

from kdviz.experiment import load_experiment
from kdviz.studies.shifts import ShiftsReport, read_shifts_report
from kdviz.studies.shifts.report import LESS, MORE, UNKNOWN, Gain
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, SECOND

ROOT = Path(__file__).resolve().parents[2]


def shipped(name: str) -> tuple[ShiftsReport, str]:
    """The study of a shipped experiment, and the page about it on one line."""
    report = read_shifts_report(load_experiment(ROOT / "models" / name))
    assert report is not None
    return report, " ".join((ROOT / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8").split())


def points(gain: Gain) -> str:
    return f"{100 * gain.value:+.2f}"


def named(report: ShiftsReport, measure: str, verdict: str) -> list[str]:
    return [name for name in report.shifts if report.verdict(report.gain(measure, name)) == verdict]


def test_on_cifar10_one_shift_differs_and_a_teacher_that_fails_is_not_followed():
    report, said = shipped("cifar10")
    assert (named(report, ACCURACY, MORE), named(report, ACCURACY, LESS)) == (["contrast"], [])
    assert f"right more often than the student alone ({points(report.gain(ACCURACY, 'contrast'))} points)." in said
    noises = named(report, AGREEMENT, LESS)
    assert noises == ["gaussian_noise", "impulse_noise"]
    rights = ["{:.1f} %".format(100 * report.share(ACCURACY, "teacher", name)) for name in noises]
    further = [points(report.gain(AGREEMENT, name)) for name in noises]
    assert "Under Gaussian and impulse noise, where the teacher itself is right in {} and {},".format(*rights) in said
    assert "answers ({} and {} points); whether it is right more or less often there".format(*further) in said
    assert {report.verdict(report.gain(ACCURACY, name)) for name in noises} == {UNKNOWN}
    assert f"with {report.pictures} pictures and one training" in said


def test_on_mnist_two_students_alone_differ_and_what_is_said_is_larger():
    report, said = shipped("mnist")
    assert report.verdict(report.gain(ACCURACY)) == UNKNOWN
    assert report.verdict(report.gain(AGREEMENT)) == MORE
    assert "on shifted digits cannot be told; that it stays closer to its teacher can." in said
    better = [points(report.gain(ACCURACY, name)) for name in ("scale", "translation")]
    assert named(report, ACCURACY, MORE) == ["scale", "translation"]
    assert "it is right more often ({} and {} points), against a light from one side,".format(*better) in said
    assert "gradient" in named(report, ACCURACY, LESS)
    assert f"which the teacher hardly minds, less often ({points(report.gain(ACCURACY, 'gradient'))})." in said
    assert report.share(ACCURACY, "teacher", "gradient") > 0.96
    for name in ("scale", "translation"):
        shares = [report.share(ACCURACY, role, name) for role in ("teacher", "student")]
        assert shares[0] > shares[1] + 0.1
    chance = [report.gain(ACCURACY, name, role=SECOND) for name in report.shifts]
    count, largest = sum(gain.outcome != UNKNOWN for gain in chance), max(abs(gain.value) for gain in chance)
    assert f"first in {count} of {len(chance)} shifts, by up to {100 * largest:.2f} points" in said
    assert f"differ surely in {count} of {len(chance)} shifts" in shipped("cifar10")[1]
