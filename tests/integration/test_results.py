"""Results as Markdown: figures of tables, and documentation that is what they say."""

from __future__ import annotations

import csv
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kdviz.cli import main
from kdviz.core.errors import ExperimentError, SettingError, UnknownNameError
from kdviz.experiment import load_experiment
from kdviz.metrics.equivalence import EQUIVALENT, judge_equivalence
from kdviz.narrative.attention.narrative import narrate
from kdviz.narrative.results.document import results, updated
from kdviz.narrative.results.sections import sections
from kdviz.narrative.shortcuts.verdicts import outcome
from kdviz.studies.attention.statistics.report import read_attention
from kdviz.studies.shortcuts import read_shortcut_reports
from kdviz.studies.sweep.transfer_values import transfer_values
from kdviz.studies.tree import read_tree_report

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
CIFAR10 = ROOT / "models" / "cifar10"
PAGES = sorted(
    path for path in (ROOT / "docs" / "results").glob("*.md") if "<!-- kdviz results: " in path.read_text("utf-8")
)


@pytest.fixture(scope="module")
def shipped():
    return load_experiment(ROOT / "models" / "mnist")


def cells(text: str) -> list[list[str]]:
    """The rows of a text's Markdown tables, without the lines of dashes."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_documentation_says_what_the_tables_say(page):
    folder = ROOT / "models" / page.stem  # of a page about another experiment than MNIST's
    experiment = load_experiment(folder if folder.is_dir() else ROOT / "models" / "mnist")
    text = page.read_text(encoding="utf-8")
    assert updated(text, experiment) == text, (
        f"old figures: kdviz report -e {experiment.folder.relative_to(ROOT)} --update {page.relative_to(ROOT)}"
    )


def test_every_result_is_in_the_documentation(shipped):
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = [name for name in sections if f"\n<!-- kdviz results: {name} -->" in text]
    expected = ["models", "temperature", "teacher-epochs", "loss", "transfer-set", "attention", "cost", "shortcuts"]
    expected += ["transfer", "shifts", "tree", "loss-shifts"]
    assert shown == expected


@pytest.mark.slow
@pytest.mark.parametrize(("data", "name", "count"), [("On MNIST's", "mnist", 3), ("On copies", "cifar10", 3)])
def test_the_readme_says_what_the_tables_say(data, name, count):
    """Each statement of what came out is one that kdviz makes of these tables, word for word."""
    part = README.read_text(encoding="utf-8").partition("\n## What came out\n")[2].partition("\n## ")[0]
    part = part.partition(f"\n{data}")[2].partition("\nOn ")[0]
    statements = [
        " ".join(statement.split()) for statement in re.findall(r"^- (.+?)(?=^- |^$)", part, re.DOTALL | re.MULTILINE)
    ]
    said = " ".join(results(load_experiment(ROOT / "models" / name)).split())
    assert len(statements) == count
    assert [statement for statement in statements if statement not in said] == []


@pytest.mark.slow
def test_what_is_said_of_cifar10_beside_mnist(shipped):
    """A quarter of the effect at T = 4, and nothing that can be told at T = 1 and T = 16."""
    other = {
        effect.value: effect.difference for effect in read_attention(load_experiment(CIFAR10), "temperature").values
    }
    here = {effect.value: effect.difference for effect in read_attention(shipped, "temperature").values}
    assert other[4].value / here[4].value == pytest.approx(0.25, abs=0.03)
    assert other[4].interval.low > 0
    assert all(other[value].interval.low < 0 < other[value].interval.high for value in (1, 16))


def test_models_have_their_own_figures(shipped):
    table = shipped.table("predictions").to_pylist()
    head, *rows = cells(results(shipped, ["models"]))
    assert head[:2] == ["model", "accuracy"]
    assert len(rows) == len(shipped.runs)
    for role, row in zip(shipped.runs, rows, strict=True):
        right = [row["label"] == row["predicted"] for row in table if (row["split"], row["role"]) == ("test", role)]
        assert row[1] == f"{100 * np.mean(right):.2f}%"


def test_a_sweep_has_its_means_over_seeds(shipped):
    rows = cells(results(shipped, ["temperature"]))
    table = shipped.table("temperature").to_pylist()
    for value in (1.0, 4.0, 64.0):
        own = [row["accuracy"] for row in table if (row["split"], row["temperature"]) == ("test", value)]
        shown = next(row for row in rows if row[0] == f"{value:g}")
        assert shown[2] == f"{100 * np.mean(own):.2f}% ± {100 * np.std(own, ddof=1):.2f}"


def test_only_what_is_there(tiny):
    with pytest.raises(ExperimentError, match="kdviz evaluate"):
        results(tiny, ["models"])
    assert results(tiny) == ""
    with pytest.raises(UnknownNameError, match="temperature"):
        results(tiny, ["temprature"])


def test_a_document_is_filled_between_its_marks(shipped):
    document = "# Mine\n\n<!-- kdviz results: cost -->\nold\n<!-- kdviz end -->\n\nand more\n"
    new = updated(document, shipped)
    assert new.startswith("# Mine\n\n<!-- kdviz results: cost -->\n")
    assert new.endswith("<!-- kdviz end -->\n\nand more\n")
    assert "old" not in new
    assert sections["cost"](shipped) in new
    assert updated(new, shipped) == new
    with pytest.raises(SettingError, match="no place for results"):
        updated("# Mine\n", shipped)


def test_the_command_leaves_a_document_alone_that_it_cannot_fill(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- kdviz results: nothing -->\n<!-- kdviz end -->\n")
    before = page.read_bytes()
    assert main(["report", "-e", str(ROOT / "models" / "mnist"), "--update", str(page)]) == 1
    assert "nothing" in capsys.readouterr().err
    assert page.read_bytes() == before
    assert main(["report", "-e", str(ROOT / "models" / "mnist"), "--update", str(tmp_path / "none.md")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_rest_of_a_document_stays_as_it_is_and_so_do_its_line_ends(tmp_path):
    page, link = tmp_path / "page.md", tmp_path / "link.md"
    page.write_bytes(b"a\r\n<!-- kdviz results: cost -->\r\nold\r\n<!-- kdviz end -->\r\nb\nc\r\n")
    page.chmod(0o640)
    link.symlink_to(page)
    assert main(["report", "-e", str(ROOT / "models" / "mnist"), "--update", str(link)]) == 0
    new = page.read_bytes()
    assert new.startswith(b"a\r\n<!-- kdviz results: cost -->\r\n")
    assert new.endswith(b"<!-- kdviz end -->\r\nb\nc\r\n")
    assert new.count(b"\n") == new.count(b"\r\n") + 1 > 10
    assert b"old" not in new
    assert link.is_symlink()
    assert stat.S_IMODE(page.stat().st_mode) == 0o640


def test_text_between_a_block_without_an_end_and_the_next_is_never_lost(shipped):
    document = "<!-- kdviz results: cost -->\n\nMine.\n\n<!-- kdviz results: models -->\n<!-- kdviz end -->\n"
    with pytest.raises(SettingError, match="'cost' of the document has no line"):
        updated(document, shipped)


def test_a_document_that_may_not_be_written_is_left_alone(tmp_path, capsys, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("<!-- kdviz results: cost -->\n<!-- kdviz end -->\n")
    before = page.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert main(["report", "-e", str(ROOT / "models" / "mnist"), "--update", str(page)]) == 1
    assert "Permission denied" in capsys.readouterr().err
    assert page.read_bytes() == before


def test_sections_are_not_asked_for_twice(tmp_path):
    with pytest.raises(SystemExit) as wrong:
        main(["report", "-e", str(ROOT / "models" / "mnist"), "--update", "page.md", "--sections", "cost"])
    assert wrong.value.code == 2


@pytest.mark.parametrize(
    ("table", "other"),
    [
        ("temperature", "study_predictions"),
        ("study_predictions", "temperature"),
        ("agreement", "attention"),
        ("cost", ""),
    ],
)
def test_a_damaged_table_is_said_and_not_left_out(tmp_path, table, other):
    folder = tmp_path / "mine"
    kept = {f"{name}.parquet" for name in (table, other)}  # those of other sections would take most of the time

    def others(_folder, names):
        return [name for name in names if name.endswith(".parquet") and name not in kept]

    shutil.copytree(ROOT / "models" / "mnist", folder, ignore=others)
    path = folder / f"{table}.parquet"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ExperimentError, match=f"{table}.parquet"):
        results(load_experiment(folder))


THREADS = """
import sys
from pathlib import Path

import pyarrow
import torch

known = len(list(Path("/proc/self/task").iterdir()))
from kdviz.cli.evaluate import verdict_on
from kdviz.narrative.results.document import results
from kdviz.experiment import load_experiment

experiment = load_experiment(sys.argv[1])
assert results(experiment)
assert verdict_on(experiment, "test", 0.5)
print(len(list(Path("/proc/self/task").iterdir())) - known)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_reading_tables_leaves_no_thread_that_could_abort_the_program():
    """One of pyarrow's that still waits at the end aborted 3 of 30 commands: "terminate called without ..."."""
    command = [sys.executable, "-c", THREADS, str(ROOT / "models" / "mnist")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["0"]


def test_what_is_said_of_losses_on_mnist():
    """Losses between explanations bring maps closer than softened targets do; what other images share is said."""
    experiment = load_experiment(ROOT / "models" / "mnist")
    report = read_attention(experiment, "loss")
    effects = {effect.value: effect for effect in report.values}
    plain, gradient, rise = "soft_targets", "soft_targets + 5 input_gradient", "soft_targets + 20 rise_maps"
    assert set(effects) == {plain, gradient, rise}
    differ = {frozenset((change.first, change.second)) for change in report.changes if change.differs}
    assert differ == {frozenset((plain, gradient)), frozenset((plain, rise))}
    agreement = {value: effect.kd.value for value, effect in effects.items()}
    said = " ".join((ROOT / "docs" / "results" / "attention.md").read_text(encoding="utf-8").split())
    short = {value: f"{number:.3f}".removeprefix("0") for value, number in agreement.items()}
    assert f"from {short[plain]} to {short[gradient]}, and `rise_maps` with weight 20 to {short[rise]};" in said
    alone = f"{effects[plain].alone.value:.3f}".removeprefix("0")
    assert f"a student without a teacher has {alone}." in said
    others = {control.value: control.difference.value for control in report.all_controls if control.kind == "other"}
    shared = [f"+{others[value]:.3f}".replace("0.", ".") for value in (plain, gradient, rise)]
    assert f"by {shared[0]} with the softened targets, {shared[1]} with `input_gradient` and {shared[2]}" in said
    left = [
        f"+{effects[value].difference.value - others[value]:.3f}".replace("0.", ".")
        for value in (plain, gradient, rise)
    ]
    assert f"left of the effects is {left[0]}, {left[1]} and {left[2]}." in said
    accuracy = {}
    for row in experiment.table("loss").to_pylist():
        if row["split"] == "test" and row["role"] == "kd_student":
            accuracy.setdefault(row["kd_loss"], []).append(row["accuracy"])
    cost = 100 * (np.mean(accuracy[plain]) - np.mean(accuracy[rise]))
    assert (
        f"Trained on maps of this very method, so that their figures mark their own work: {rise}."
        in narrate(report).limits
    )
    with (ROOT / "docs" / "results" / "attention-integrated-gradients.csv").open(encoding="utf-8") as file:
        other = {row["distillation"]: row for row in csv.DictReader(file)}
    ends = [float(other[value][end]) for value in (plain, rise, gradient) for end in ("low", "high")]
    assert [0, *ends] == sorted([0, *ends])  # all are closer, and no two intervals overlap
    assert all(float(row["other_images"]) < float(row["difference"]) / 12 for row in other.values())
    by_gradients = [f"{float(other[value]['kd_student']):.3f}".removeprefix("0") for value in (plain, rise, gradient)]
    assert "by {} with the softened targets, {} with `rise_maps` and {} with".format(*by_gradients) in said
    assert f"{float(other[plain]['student_alone']):.3f} without a teacher".removeprefix("0") in said
    readme = " ".join(README.read_text(encoding="utf-8").split())
    figures = [f"{agreement[value]:.3f}" for value in (gradient, rise, plain)]
    assert f"is {figures[0]} with `input_gradient`, which was not trained on these maps, and {figures[1]}" in readme
    assert (
        f"against {figures[2]}, and another method of maps agrees; `rise_maps` costs {cost:.2f} points of accuracy."
        in readme
    )


@pytest.mark.slow
def test_what_is_said_of_a_mark_that_only_the_students_saw():
    """With a clean teacher a student uses it less; maps that show it less are no sign that it is used less."""
    experiment = load_experiment(ROOT / "models" / "mnist")
    reports = {report.loss: report for report in read_shortcut_reports(experiment) if report.shown_to == "students"}
    rise, gradient = "soft_targets + 20 rise_maps", "soft_targets + 5 input_gradient"
    assert set(reports) == {"", rise, gradient}
    said = " ".join((ROOT / "docs" / "results" / "mnist.md").read_text(encoding="utf-8").split())
    uses = {
        loss: {role: round(100 * report.role(role).use.value) for role in ("kd_student", "student")}
        for loss, report in reports.items()
    }
    kd, alone = uses[""].values()
    assert f"the KD student uses it by {kd} points where the student alone uses it by {alone}." in said
    assert reports[""].difference("student").use.high < 0
    inside = {loss: reports[loss].maps_of("kd_student", "rise").inside.value for loss in ("", rise)}
    assert (
        f"({inside[rise]:.0%} of them lies inside, with softened targets {inside['']:.0%})".replace("%", " %") in said
    )
    assert f"*uses* it more, by {uses[rise]['kd_student']} points." in said
    beside = reports[rise].beside_soft_targets
    assert beside.use.low > 0
    assert beside.inside["rise"].high < 0
    assert outcome(reports[gradient].beside_soft_targets.use) == "cannot tell"
    assert "With `5 input_gradient` it cannot be told." in said
    with (ROOT / "docs" / "results" / "shortcut-seeds.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["loss"] == rise]
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    assert float(rows[0]["use_beside"]) == pytest.approx(beside.use.value, abs=1e-5)
    assert all(float(row["use_beside_low"]) > 0 > float(row["inside_beside_high"]) for row in rows)
    more = ["{:.1f}".format(100 * float(row["use_beside"])) for row in rows]
    less = ["{:.1f}".format(-100 * float(row["inside_beside"])) for row in rows]
    assert "the mark more by {}, {} and {} points, and".format(*more) in said
    assert "and {}, {} and {} points less of its maps lie inside; no interval holds zero.".format(*less) in said
    readme = " ".join(README.read_text(encoding="utf-8").split())
    assert "its maps show less of the mark, yet it uses the mark more, in each of three seeds" in readme
    assert (
        f"by {kd} points of probability where it changes that of the student alone by {alone}, on [CIFAR-10]" in readme
    )


@pytest.mark.slow
def test_what_is_said_of_marks_on_cifar10():
    """The maps find each use, a shortcut is inherited, and a clean teacher takes little of it away."""
    both = read_shortcut_reports(load_experiment(CIFAR10))
    reports = {str(report.shown_to): report for report in both if not report.condition.loss}
    uses = {
        shown_to: [round(100 * report.role(role).use.value) for role in ("kd_student", "student")]
        for shown_to, report in reports.items()
    }
    inherited, kept = reports["random"], reports["students"]
    said = " ".join((ROOT / "docs" / "results" / "cifar10.md").read_text(encoding="utf-8").split())
    assert f"raises that class's probability by {uses['random'][0]} points" in said
    assert inherited.difference("student").use.low > 0
    assert abs(inherited.role("student").use.high) < 0.05
    kd, alone = uses["students"]
    assert f"the KD student uses it by {kd} points where the student alone uses it by {alone}: less" in said
    assert kept.difference("student").use.high < 0
    for report in (inherited, kept):
        for role in ("teacher", "kd_student", "student"):
            maps, is_used = report.maps_of(role, "rise"), report.role(role).use.low > 0.05
            assert round(maps.auroc.value, 3) == 1 if is_used else maps.auroc.low < 0.5
            assert 0.4 < maps.inside.value < 0.6 if is_used else maps.inside.value < 0.05
    readme = " ".join(README.read_text(encoding="utf-8").split())
    assert f"#a-shortcut-that-was-planted) by {kd} and {alone};" in readme
    explained = next(report for report in both if report.condition.loss)
    less, its = explained.beside_soft_targets.use, explained.role("kd_student").use
    assert f"uses the mark by {100 * its.value:.0f} points, {-100 * less.value:.1f} less" in said
    assert less.high < 0
    assert abs(explained.beside_soft_targets.inside["rise"].value) < 0.02  # "As much of its maps lies inside"


def test_what_is_said_of_other_marks(shipped):
    said = " ".join((ROOT / "docs" / "results" / "mnist.md").read_text(encoding="utf-8").split())
    for kind, used, shown in (("frame", "5 to 8", ".50 to .61"), ("watermark", "65 to 72", ".95 to .98")):
        report = next(each for each in read_shortcut_reports(shipped) if str(each.shortcut) == kind)
        roles = ("teacher", "kd_student", "student")
        uses = sorted(round(100 * report.role(role).use.value) for role in roles)
        rocs = sorted(f"{report.maps_of(role, 'rise').auroc.value:.2f}".lstrip("0") for role in roles)
        assert (f"{uses[0]} to {uses[-1]}", f"{rocs[0]} to {rocs[-1]}") == (used, shown)
        assert f"moves the answer by {used} points" in said
        assert shown in said


def test_what_is_said_of_students_without_data(shipped):
    table, predictions = shipped.table("transfer_set"), shipped.table("study_predictions")
    by_set = {value.value: value for value in transfer_values(table, predictions)}
    lines, digits = (f"{100 * by_set[name].accuracy.value:.2f} %" for name in ("strokes", "training"))
    assert by_set["strokes"].accuracy.low > 0.97
    readme = " ".join(README.read_text(encoding="utf-8").split())
    assert f"is right in {lines} of the test digits; distilled on the training digits, in {digits}." in readme
    how_to = " ".join((ROOT / "docs" / "how-to" / "other-data.md").read_text(encoding="utf-8").split())
    assert f"a student that saw drawn lines alone is right in {lines}**" in how_to
    assert f"distilled on the training pictures it is right in {digits}." in how_to
    photographs = load_experiment(CIFAR10)
    (crops,) = transfer_values(photographs.table("transfer_set"), photographs.table("study_predictions"))
    assert f"[{100 * crops.accuracy.value:.2f} %](../results/cifar10.md" in how_to
    assert crops.above_chance


def test_what_is_said_of_trees():
    readme = " ".join(README.read_text(encoding="utf-8").split())
    assert "of depth 8 are as good with their teacher as without one, within half a point, on digits and on" in readme
    for folder in (ROOT / "models" / "mnist", CIFAR10):
        report = read_tree_report(load_experiment(folder))
        deepest = next(tree for tree in report.trees if tree.depth == 8)
        assert judge_equivalence(deepest.accuracy, 0.005).outcome == EQUIVALENT
    own = load_experiment(CIFAR10).runs["student"].metrics["test"]["accuracy"]
    for figures in (deepest.kd, deepest.alone):
        assert round(100 * (own - figures.accuracy)) == 1  # "right one point less often than the network"


def test_what_is_said_of_losses_on_cifar10():
    """No loss is shown to teach where to look, and no two differ; one training with ``decoupled`` broke down."""
    experiment = load_experiment(CIFAR10)
    report = read_attention(experiment, "loss")
    assert min(report.p_of_values) > 0.05
    assert len(report.values) == 6
    assert not any(change.differs for change in report.changes)
    assert all(effect.difference.interval.low < 0 < effect.difference.interval.high for effect in report.values)
    largest = max(report.values, key=lambda effect: effect.difference.value)
    assert largest.value == "soft_targets + 10 attention_transfer"
    (run,) = {
        row["run"] for row in experiment.table("loss").to_pylist() if (row["kd_loss"], row["seed"]) == ("decoupled", 0)
    }
    rows = [row for row in experiment.table("curves").to_pylist() if row["run"] == run]
    accuracy = {row["epoch"]: row["validation_accuracy"] for row in rows}
    assert accuracy[3] == pytest.approx(0.1)
    assert accuracy[8] > 0.6
    readme = " ".join(README.read_text(encoding="utf-8").split())
    assert "of six none is shown to, and no two differ." in readme
