"""The study of shifted pictures: known truths and nulls, the table against another computation, and refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from kdviz.cli import main
from kdviz.core.errors import DatasetError, ExperimentError, ModelError, SettingError, UnknownNameError
from kdviz.data.shifts.drawing import shifted
from kdviz.data.shortcuts.planting import KEY
from kdviz.experiment import load_experiment
from kdviz.models.networks import build_network
from kdviz.studies.shifts import ShiftsReport, ShiftsStudy, read_shifts_report, second_student
from kdviz.studies.shifts.report import LESS, MORE, UNKNOWN, Gain
from kdviz.studies.shifts.rows import Answers, rows_of
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, ALL, SECOND, TABLE, UNSHIFTED

COMMAND = ["--study", "shifts", "--device", "cpu", "--threads", "1"]
SHIFTS, SEVERITIES = ("dust", "fog", "rain"), (1, 3)
ROWS = 1 + len(SHIFTS) * len(SEVERITIES)
CLASSES = 10


@pytest.fixture
def samples(small_digits):
    """120 digits of 14 x 14, as a test split."""
    return small_digits.take(torch.arange(120), "test")


def report_of(experiment, answers) -> ShiftsReport:
    TABLE.write(experiment, rows_of(answers), {"pictures": len(answers.labels)})
    report = read_shifts_report(experiment)
    assert report is not None
    return report


def guesses(labels, shares, source):
    """Answers of a model that is right with a probability a row, and else names another class."""
    right = source.random((len(shares), len(labels))) < np.array(shares)[:, None]
    others = (labels + source.integers(1, CLASSES, right.shape)) % CLASSES
    return np.where(right, labels, others)


def answers_of(shares_of, count=800, seed=0):
    source = np.random.default_rng(seed)
    labels = source.integers(0, CLASSES, count)
    predicted = {role: guesses(labels, shares, source) for role, shares in shares_of.items()}
    return Answers(predicted, labels, SHIFTS, SEVERITIES)


# truths ---------------------------------------------------------------------------------------------------------------


def test_what_is_true_is_found_shift_by_shift(tiny):
    """Better in dust, worse in fog, equal in rain and without a shift."""
    kd, alone = [0.9, 0.8, 0.6, 0.4, 0.3, 0.6, 0.5], [0.9, 0.7, 0.5, 0.5, 0.4, 0.6, 0.5]
    models = {"teacher": [1.0] * ROWS, "kd_student": kd, "student": alone}
    report = report_of(tiny, answers_of(models, seed=1))
    verdicts = {shift: report.verdict(report.gain(ACCURACY, shift)) for shift in (*SHIFTS, UNSHIFTED)}
    assert verdicts == {"dust": MORE, "fog": LESS, "rain": UNKNOWN, UNSHIFTED: UNKNOWN}
    assert report.gain(ACCURACY, "dust").low < 0.1 < report.gain(ACCURACY, "dust").high
    assert report.verdict(report.gain(ACCURACY, "dust", beyond=True)) == MORE
    for shift in SHIFTS:  # of a teacher that is always right, accuracy is agreement
        assert report.gain(AGREEMENT, shift).value == report.gain(ACCURACY, shift).value


def test_a_lead_that_is_there_without_a_shift_is_not_called_one_of_the_shifts(tiny):
    models = {"teacher": [1.0] * ROWS, "kd_student": [0.8] * ROWS, "student": [0.6] * ROWS}
    report = report_of(tiny, answers_of(models))
    assert report.verdict(report.gain(ACCURACY)) == MORE
    assert report.verdict(report.gain(ACCURACY, beyond=True)) == UNKNOWN


def test_equal_models_differ_in_no_more_than_one_study_of_twenty():
    """Holm over the shifts: the share of studies in which any shift is said to differ."""
    shares, studies, said, over_all = [0.9] * ROWS, 400, 0, 0
    for seed in range(studies):
        answers = answers_of(dict.fromkeys(("teacher", "kd_student", "student"), shares), 100, seed)
        gains = [row for row in rows_of(answers) if row["less"] and row["measure"] == ACCURACY and not row["beyond"]]
        said += any(row.get("p_adjusted", 1) < 0.05 for row in gains)
        over_all += any(row["p_value"] < 0.05 for row in gains if row["shift"] == ALL and row["severity"] is None)
    bound = 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5
    assert said / studies < bound
    assert 0 < over_all / studies < bound


def test_means_are_over_severities_and_shifts_and_agreement_is_with_the_teachers_shifted_answer(tiny):
    answers = answers_of({"teacher": [0.7] * ROWS, "kd_student": [0.6] * ROWS, "student": [0.5] * ROWS}, 50)
    report, predicted = report_of(tiny, answers), answers.predicted
    right = predicted["kd_student"] == answers.labels
    same = predicted["kd_student"] == predicted["teacher"]
    assert report.share(ACCURACY, "kd_student") == pytest.approx(right[1:].mean())
    assert report.share(ACCURACY, "kd_student", UNSHIFTED) == pytest.approx(right[0].mean())
    assert report.share(ACCURACY, "kd_student", "fog") == pytest.approx(right[3:5].mean())
    assert report.share(AGREEMENT, "kd_student", "fog", 3) == pytest.approx(same[4].mean())
    assert report.share(AGREEMENT, "kd_student", ALL, 1) == pytest.approx(same[[1, 3, 5]].mean())
    assert np.isnan(report.share(AGREEMENT, "teacher"))
    assert (report.shifts, report.severities) == (list(SHIFTS), list(SEVERITIES))


@pytest.mark.parametrize(
    ("value", "p_value", "p_adjusted", "verdict"),
    [
        (0.1, 0.01, 0.04, MORE),
        (-0.1, 0.01, 0.04, LESS),
        (0.1, 0.01, 0.06, UNKNOWN),
        (0.1, 0.01, float("nan"), MORE),
        (0.1, 0.05, float("nan"), UNKNOWN),
        (0.1, float("nan"), float("nan"), UNKNOWN),  # what is unknown is not told
    ],
)
def test_a_verdict_is_by_the_p_value_of_all_shifts_together(value, p_value, p_adjusted, verdict):
    gain = Gain(ACCURACY, "fog", None, "kd_student", "student", False, value, -1, 1, p_value, p_adjusted)
    assert gain.outcome == verdict


def test_no_verdict_is_given_on_a_difference_that_two_students_alone_have_too(tiny):
    """In dust the KD student is ahead by as much as the second student alone, in fog by more, in rain behind."""
    alone, second = [0.5] * ROWS, [0.5, 0.6, 0.6, 0.4, 0.4, 0.5, 0.5]
    kd = [0.5, 0.6, 0.6, 0.8, 0.8, 0.3, 0.3]
    models = {"teacher": [1.0] * ROWS, "kd_student": kd, "student": alone, SECOND: second}
    report = report_of(tiny, answers_of(models))
    gains = [report.gain(ACCURACY, shift) for shift in SHIFTS]
    assert [gain.outcome for gain in gains] == [MORE, MORE, LESS]
    assert [report.verdict(gain) for gain in gains] == [UNKNOWN, MORE, LESS]
    rows = report.to_json()["differences"]
    assert report.gain(ACCURACY, "fog", role=SECOND).outcome == LESS
    assert {row["verdict"] for row in rows if not row["severity"]} <= {MORE, LESS, UNKNOWN}
    # Of single severities there are many, and their p-values are not those of all of them together.
    assert {row["verdict"] for row in rows if row["severity"]} == {None}


# the whole study ------------------------------------------------------------------------------------------------------


def test_the_command_writes_what_the_models_say_of_the_shifted_pictures(tiny, samples, capsys):
    tiny.write_samples([samples])
    options = ["--images", "40", "--values", "rotation,contrast", "--severities", "5,2", "--json"]
    assert main(["study", "-e", str(tiny.folder), *COMMAND, *options]) == 0
    document = json.loads(capsys.readouterr().out)
    experiment = load_experiment(tiny.folder)
    report = read_shifts_report(experiment)
    assert report.pictures == 40
    assert (report.shifts, report.severities, report.roles) == (
        ["rotation", "contrast"],
        [2, 5],
        ["teacher", "kd_student", "student"],
    )
    chosen = samples.take(torch.from_numpy(np.sort(np.random.default_rng([0, 4]).permutation(120)[:40])))
    inputs = experiment.input.normalise(shifted(chosen.images, "rotation", 5))
    with torch.no_grad():
        said = {role: run.model(inputs).argmax(1) for role, run in experiment.runs.items()}
    for role, classes in said.items():
        expected = float((classes == chosen.labels).float().mean())
        assert report.share(ACCURACY, role, "rotation", 5) == pytest.approx(expected)
    same = float((said["student"] == said["teacher"]).float().mean())
    assert report.share(AGREEMENT, "student", "rotation", 5) == pytest.approx(same)
    assert document["differences"][0]["verdict"] in (MORE, LESS, UNKNOWN)
    assert document["sentences"][-1].startswith("Intervals are over pictures")
    assert (tiny.folder / "shifts.parquet").stat().st_size < 20_000


def test_two_copies_of_one_model_differ_in_nothing(tiny, samples):
    tiny.add_run("kd_student", tiny.runs["student"].network, tiny.runs["student"].model, {}, {})
    list(ShiftsStudy(tiny, samples, ["stripe"], (3,), device="cpu").run())
    report = read_shifts_report(tiny)
    gains = [gain for gain in report.gains if not gain.beyond]
    assert {gain.value for gain in gains} == {0}
    assert {report.verdict(gain) for gain in report.gains} == {UNKNOWN}
    assert all(gain.low < 0 < gain.high for gain in gains)


def test_a_second_student_alone_is_compared_with_the_first(tiny, samples, tmp_path, capsys):
    other = load_experiment(shutil.copytree(tiny.folder, tmp_path / "other"))
    with pytest.raises(SettingError, match="name an experiment of another seed"):
        second_student(tiny, other)
    run = other.runs["student"]
    for differing in ({"label_smoothing": 0.3}, {KEY: {"kind": "patch"}}):
        changed = replace(other, runs={**other.runs, "student": replace(run, training={**run.training, **differing})})
        with pytest.raises(SettingError, match="by another recipe"):
            second_student(tiny, changed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = build_network(run.network, classes=10, channels=1, size=(14, 14)).eval()
    other.add_run("student", run.network, network, {"epochs": 0, "seed": 7}, {})
    other.save()
    tiny.write_samples([samples])
    options = ["--images", "30", "--values", "scale", "--severities", "1", "--null", str(other.folder)]
    assert main(["study", "-e", str(tiny.folder), *COMMAND, *options]) == 0
    assert "A second student alone, of another seed, less the first" in capsys.readouterr().out
    report = read_shifts_report(load_experiment(tiny.folder))
    assert report.has_second
    assert report.roles == ["teacher", "kd_student", "student"]
    gain = report.gain(ACCURACY, "scale", role=SECOND)
    shares = [report.share(ACCURACY, role, "scale") for role in (SECOND, "student")]
    assert gain.value == pytest.approx(shares[0] - shares[1])


# refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["agreement", "beyond", "second"])
def test_a_table_that_lacks_rows_is_damaged(tiny, lost):
    models = {role: [0.5] * ROWS for role in ("teacher", "kd_student", "student", SECOND)}
    rows = rows_of(answers_of(models, 50))
    is_lost = {
        "agreement": lambda row: row["measure"] == AGREEMENT,
        "beyond": lambda row: row["measure"] == AGREEMENT and row["beyond"],
        "second": lambda row: row["role"] == SECOND and row["measure"] == AGREEMENT and row["less"],
    }[lost]
    TABLE.write(tiny, [row for row in rows if not is_lost(row)], {"pictures": 50})
    with pytest.raises(ExperimentError, match="damaged"):
        read_shifts_report(tiny)


def test_scores_that_are_no_numbers_are_refused_and_nothing_is_written(tiny, samples):
    study = ShiftsStudy(tiny, samples.take(torch.arange(5)), ["scale"], [1], device="cpu")
    with torch.no_grad():
        next(tiny.runs["student"].on(torch.device("cpu")).parameters()).fill_(torch.nan)
    with pytest.raises(ModelError, match="NaN or infinite"):
        list(study.run())
    assert not tiny.has_table("shifts")


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (["--split", "bundled"], "has other classes or another input", 1),
        (["--split", "train"], "only test is kept", 2),
        (["--seed", "-1"], "must be at least 0", 2),
        (["--severities", ","], "--severities: ',' is a list without an entry", 2),
    ],
)
def test_pictures_that_are_not_there_are_refused(tiny, samples, capsys, options, said, code):
    tiny.write_samples([samples])
    command = ["study", "-e", str(tiny.folder), *COMMAND, "--images", "5", *options]
    if code == 1:
        assert main(command) == 1
    else:
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == code
    assert said in capsys.readouterr().err


def test_what_cannot_be_studied_is_refused_in_one_sentence(tiny, samples, tmp_path):
    with pytest.raises(DatasetError, match="needs at least 2 pictures, and there are 0"):
        ShiftsStudy(tiny, samples.take(torch.arange(0)))
    unlabelled = samples.take(torch.arange(3))
    unlabelled.labels[1] = -1
    with pytest.raises(DatasetError, match="some of these have none"):
        ShiftsStudy(tiny, unlabelled)
    with pytest.raises(UnknownNameError, match="Unknown shift 'snow'"):
        ShiftsStudy(tiny, samples, ["snow"])
    with pytest.raises(SettingError, match="from 1 to 5, got 6"):
        ShiftsStudy(tiny, samples, severities=(1, 6))
    folder = shutil.copytree(tiny.folder, tmp_path / "without")
    document = json.loads((folder / "experiment.json").read_text())
    document["runs"] = [run for run in document["runs"] if run["role"] != "student"]
    (folder / "experiment.json").write_text(json.dumps(document))
    with pytest.raises(ExperimentError, match="has no student"):
        ShiftsStudy(load_experiment(folder), samples)
    with pytest.raises(ExperimentError, match="has no student alone"):
        second_student(tiny, load_experiment(folder))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--values", "rotatoin"], "Did you mean 'rotation'?"),
        (["--severities", "0"], "from 1 to 5, got 0"),
    ],
)
def test_the_command_refuses_before_it_reads_a_picture(tiny, options, said, capsys):
    assert main(["study", "-e", str(tiny.folder), *COMMAND, "--data", "/none", *options]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("options", [["--null", "x"], ["--severities", "1"]])
def test_its_options_belong_to_no_other_study(tiny, options, capsys):
    with pytest.raises(SystemExit) as end:
        main(["study", "-e", str(tiny.folder), "--study", "transfer", *options])
    assert end.value.code == 2
    assert f"argument {options[0]}: only with --study shifts" in capsys.readouterr().err


def test_a_damaged_table_is_said(tiny):
    answers = answers_of(dict.fromkeys(("teacher", "kd_student", "student"), [0.5] * ROWS), 20)
    rows = [row for row in rows_of(answers) if row["shift"] != ALL]
    TABLE.write(tiny, rows, {})
    with pytest.raises(ExperimentError, match=r"shifts\.parquet of .* is damaged"):
        read_shifts_report(tiny)


def test_a_study_with_another_teacher_is_set_aside(tiny):
    TABLE.write(tiny, rows_of(answers_of(dict.fromkeys(("teacher", "kd_student", "student"), [0.5] * ROWS), 20)), {})
    tiny.add_run("teacher", tiny.runs["student"].network, tiny.runs["student"].model, {}, {})
    tiny.set_aside_tables()
    assert read_shifts_report(tiny) is None
