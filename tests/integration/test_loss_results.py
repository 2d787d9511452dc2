"""What is said of losses between explanations and on shifted pictures, held against the shipped tables and files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from kdviz.experiment import load_experiment
from kdviz.narrative.results.document import updated
from kdviz.studies.loss_shifts import read_loss_shifts
from kdviz.studies.loss_shifts.report import REFERENCE
from kdviz.studies.shifts.report import MORE, UNKNOWN
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, UNSHIFTED

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
GRADIENT, RISE, CAM = "soft_targets + 5 input_gradient", "soft_targets + 20 rise_maps", "soft_targets + 5 grad_cam"


def said(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8").split())


def figures(name: str) -> dict[str, dict[str, str]]:
    with (RESULTS / name).open(encoding="utf-8") as file:
        return {row["loss"]: row for row in csv.DictReader(file)}


def points(row: dict[str, str], *names: str) -> list[str]:
    return [f"{100 * float(row[name]):+.2f}" for name in names]


def test_on_shifted_digits_input_gradient_is_right_more_often_and_no_single_shift_carries_it():
    experiment = load_experiment(ROOT / "models" / "mnist")
    report, text = read_loss_shifts(experiment), said(RESULTS / "mnist.md")
    gains = {loss: report.gain(ACCURACY, loss, REFERENCE) for loss in (GRADIENT, RISE)}
    assert (gains[GRADIENT].outcome, gains[RISE].outcome) == (MORE, UNKNOWN)
    assert report.gain(ACCURACY, GRADIENT, REFERENCE, UNSHIFTED).outcome == UNKNOWN
    assert {report.gain(AGREEMENT, loss, REFERENCE).outcome for loss in gains} == {MORE}
    assert {report.gain(ACCURACY, GRADIENT, REFERENCE, shift).outcome for shift in report.shifts} == {UNKNOWN}
    gain = f"{100 * gains[GRADIENT].value:.2f}"
    assert f"with shifts it is right more often by {gain} points and answers more often as its teacher does." in text
    assert f"`input_gradient` is right more often by {gain} points, but with 500 labels it cannot" in said(
        ROOT / "README.md"
    )
    document = (RESULTS / "mnist.md").read_text(encoding="utf-8")
    assert updated(document, experiment) == document


def test_with_few_labels_it_is_the_other_way_round():
    rows, text = figures("few-labels.csv"), said(RESULTS / "mnist.md")
    gradient, rise, reference = rows[GRADIENT], rows[RISE], rows[REFERENCE]
    assert (gradient["outcome"], rise["outcome"]) == ("cannot tell", "worse")
    assert (gradient["shifted_outcome"], rise["shifted_outcome"]) == (UNKNOWN, MORE)
    accuracies = ["{:.2f} %".format(100 * float(row["accuracy"])) for row in (gradient, reference, rise)]
    assert "digits {} with `5 input_gradient` against {} with the softened targets".format(*accuracies[:2]) in text
    assert "({} points, {} to {}, cannot tell)".format(*points(gradient, "less", "low", "high")) in text
    assert f"and {accuracies[2]} with `20 rise_maps`, which is worse" in text
    assert "({}, {} to {}). On shifted digits".format(*points(rise, "less", "low", "high")) in text
    shifted = "shifted_less", "shifted_low", "shifted_high"
    assert "`20 rise_maps` is right more often ({} points, {} to {})".format(*points(rise, *shifted)) in text
    assert "from the softened targets ({}, {} to {}).".format(*points(gradient, *shifted)) in text
    alone = ["{:.1f} %".format(100 * float(row["shifted"])) for row in (reference, rows["student alone"])]
    assert "than students without a teacher ({} against {}).".format(*alone) in text


def test_with_few_labels_distillation_helps_most_on_cifar10_and_one_training_with_grad_cam_failed():
    with (RESULTS / "cifar10-few-labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_loss = {
        loss: [float(row["accuracy"]) for row in rows if row["loss"] == loss] for loss in {r["loss"] for r in rows}
    }
    soft, alone, cam = (100 * np.array(by_loss[loss]) for loss in (REFERENCE, "student alone", CAM))
    text = said(RESULTS / "cifar10.md")
    assert f"{soft.mean():.2f} % with softened targets against {alone.mean():.2f} % alone" in text
    assert f"({soft.mean() - alone.mean():+.2f} points," in text
    assert f"({cam.mean():.2f} %): four" in text
    failed = cam.argmin()
    others = np.delete(cam, failed)
    assert f"right in {others.min():.1f} % to {others.max():.1f} %" in text
    assert f"stayed at {cam[failed]:.1f} %" in text
    assert (others > np.delete(soft, failed)).all()
    shifted = figures("cifar10-few-labels-shifts.csv")
    gain, more = (points(shifted[loss], "points_less", "low", "high") for loss in (REFERENCE, CAM))
    assert "by {} points ({} to {})".format(gain[0].lstrip("+"), *gain[1:]) in text
    assert "be told ({}, {} to {};".format(*more) in text
    assert float(shifted[CAM]["low"]) < 0 < float(shifted[CAM]["high"])


def test_on_cifar10_a_marked_student_uses_the_mark_less_with_grad_cam_in_both_seeds():
    with (RESULTS / "cifar10-shortcut-seeds.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["loss"] == CAM]
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert all(float(row["use_beside_high"]) < 0 for row in rows)
    less, low, high = (f"{100 * float(rows[1][f'use_beside{end}']):.1f}" for end in ("", "_low", "_high"))
    assert f"and with another seed {less.lstrip('-')} less ({low} to {high};" in said(RESULTS / "cifar10.md")


def test_on_cifar10_grad_cam_teaches_where_to_look_and_rise_maps_does_not():
    rows, text = figures("cifar10-explanation-losses.csv"), said(RESULTS / "cifar10.md")
    cam, rise = rows[CAM], rows["soft_targets + rise_maps"]
    assert (cam["accuracy_outcome"], cam["agreement_outcome"]) == ("better", "better")
    assert (rise["accuracy_outcome"], rise["agreement_outcome"]) == ("worse", "cannot tell")
    accuracy, agreement = "accuracy_less", "agreement_less"
    assert all(float(cam[f"{name}_low"]) > 0 for name in ("accuracy", "agreement"))
    for name, row in rows.items():
        assert f"| {100 * float(row['accuracy']):.2f} % |" in text
        assert f"| .{round(1000 * float(row['agreement']))} |" in text
        if name != REFERENCE:
            gain = points(row, accuracy, "accuracy_low", "accuracy_high")
            assert "{} points ({} to {})".format(*gain) in text
            values = [float(row[each]) for each in (agreement, "agreement_low", "agreement_high")]
            texts = [f"{value:+.3f}".replace("0.", ".") for value in values]
            assert "{} ({} to {})".format(*texts) in text
    readme = said(ROOT / "README.md")
    assert f"[{float(cam[agreement]):.3f}](docs/results/cifar10.md#losses-between-explanations)" in readme
    assert f"more accurate by {100 * float(cam[accuracy]):.2f} points; `rise_maps` does neither" in readme
    assert f"brings the maps closer by {float(cam[agreement]):.3f}".replace("0.", ".") in said(RESULTS / "attention.md")
    alone = -float(rows["student alone"][agreement])
    assert float(cam["agreement"]) - float(rows[REFERENCE]["agreement"]) == pytest.approx(
        float(cam[agreement]), abs=1e-4
    )
    assert f"the softened targets are {alone:.3f} above".replace("0.", ".") in text
