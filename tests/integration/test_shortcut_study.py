"""The study of shortcuts, from the command to the table, on models whose use of a patch is known."""

from __future__ import annotations

import json

import pytest
from patch_readers import reading_experiment

from kdviz.cli import main
from kdviz.experiment import load_experiment
from kdviz.studies.shortcuts import read_shortcut_reports
from kdviz.studies.shortcuts.table import Condition
from kdviz.studies.shortcuts.views import read_shown

COMMAND = ["--study", "shortcuts", "--split", "bundled", "--device", "cpu", "--threads", "1"]
INHERITED = {"teacher": 12, "kd_student": 8, "student": 0}


def study(folder, *options):
    return main(["study", "-e", str(folder), *COMMAND, *options])


@pytest.fixture
def readers(tmp_path, digits):
    """A teacher and a KD student that read the patch, and a student alone that has no weight there."""
    return reading_experiment(tmp_path / "readers", digits.classes, INHERITED).folder


@pytest.mark.slow
def test_maps_find_what_a_model_reads_and_nothing_where_it_reads_nothing(readers, capsys):
    assert study(readers, "--images", "96", "--masks", "200", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    (report,) = read_shortcut_reports(load_experiment(readers))
    assert (report.shortcut, report.shown_to) == ("patch", "random")
    for role in ("teacher", "kd_student"):
        use = report.role(role)
        assert use.use.low > 0.5
        assert use.flips.low > 0.7  # in some the answer was that class before
        assert use.accuracy_own.value > 0.8  # the mark alone gives the answer
        for method in report.methods:
            maps = report.maps_of(role, method)
            assert maps.auroc_used.low >= 0.95
            assert maps.inside.low > 5 * maps.area
    null = report.role("student")
    assert null.use.value == pytest.approx(0, abs=1e-6)
    assert null.flips.value == 0
    for method in report.methods:
        maps = report.maps_of("student", method)
        assert maps.auroc_used is None
        assert maps.auroc.low < 0.5 < maps.auroc.high
    assert report.difference("student").use.low > 0.5
    assert all(rise.correlation.low > 0 for rise in report.rises)
    assert any(sentence.startswith("The KD student inherits") for sentence in document["sentences"])
    assert {row["role"] for row in document["roles"]} == set(INHERITED)


def test_a_row_is_a_view_and_what_is_kept_is_made_of_the_same_pictures(readers, digits, capsys):
    assert study(readers, "--images", "6", "--method", "saliency") == 0
    experiment = load_experiment(readers)
    rows = experiment.table("shortcuts").to_pylist()
    assert len(rows) == 6 * 4 * 3
    assert {row["label"] == row["cue"] for row in rows} == {True, False}
    for row in rows:
        assert digits.labels[row["sample"]] == row["label"]
        assert row["area"] == pytest.approx(16 / 28**2)
    shown = read_shown(experiment, Condition("patch", "random"))
    assert len(shown) == 3 * 2 * 3
    kept = {(view.sample, view.cue, view.planted, view.role): view for view in shown}
    for row in rows:
        view = kept.get((row["sample"], row["cue"], row["planted"], row["role"]))
        if view is not None:
            assert view.probability == pytest.approx(row["probability"])
            assert view.values.shape == (28, 28)
    assert "KD student less student: use" in capsys.readouterr().out


@pytest.mark.slow
def test_maps_that_are_there_are_not_made_again(readers, monkeypatch):
    assert study(readers, "--images", "10", "--masks", "50") == 0
    before = (readers / "shortcuts.parquet").read_bytes()
    monkeypatch.setattr("kdviz.studies.attention.worker.make_maps", None)
    assert study(readers, "--images", "10", "--masks", "50") == 0
    assert (readers / "shortcuts.parquet").read_bytes() == before


@pytest.mark.slow
def test_conditions_stand_side_by_side_in_the_folder_of_another_experiment(readers, tiny28, tmp_path, digits):
    few = ["--images", "4", "--method", "saliency"]
    assert study(tiny28, *few, "--plant", "patch") == 0
    assert study(readers, *few, "--into", str(tiny28)) == 0
    assert study(readers, *few, "--into", str(tiny28)) == 0  # in the place of the earlier one
    assert study(readers, *few, "--into", str(tiny28), "--plant", "frame") == 0
    reports = read_shortcut_reports(load_experiment(tiny28))
    conditions = [(report.shortcut, report.shown_to, report.about["experiment"]) for report in reports]
    assert conditions == [("patch", "none", "null"), ("patch", "random", "readers"), ("frame", "none", "readers")]
    assert len(load_experiment(tiny28).table("shortcuts")) == 3 * 4 * 4 * 3
    assert not (readers / "shortcuts.parquet").exists()


@pytest.fixture
def tiny28(tmp_path, digits):
    """Models that read no patch and in whose training there was none."""
    strengths = dict.fromkeys(INHERITED, 0)
    return reading_experiment(tmp_path / "null", digits.classes, strengths, "none").folder


def test_refusals_are_one_line(tiny28, readers, tiny_folder, capsys):
    assert study(tiny28) == 1
    assert "No shortcut was planted in the training of" in capsys.readouterr().err
    assert study(readers, "--images", "1") == 1
    assert "needs at least two pictures" in capsys.readouterr().err
    for options in (["--minutes", "3"], ["--estimate"]):
        with pytest.raises(SystemExit) as end:
            study(readers, *options)
        assert end.value.code == 2
    with pytest.raises(SystemExit) as end:
        main(["study", "-e", str(readers), "--study", "models", "--plant", "patch"])
    assert end.value.code == 2
    assert "--plant and --into: only with --study shortcuts" in capsys.readouterr().err
