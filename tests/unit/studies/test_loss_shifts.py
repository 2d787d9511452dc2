"""Losses on shifted pictures: known truths and nulls, the table against another computation, sentences, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sweeps import small_splits

from kdviz.cli import main
from kdviz.core.errors import DatasetError, ExperimentError, SettingError, UnknownNameError
from kdviz.core.language import LANGUAGES, speaking
from kdviz.core.vocabulary import Role
from kdviz.data.shifts.drawing import shifted
from kdviz.distill.storage.run_files import weights_of
from kdviz.experiment import load_experiment
from kdviz.models.networks import build_network
from kdviz.narrative.loss_shifts import alone_sentence, limit_sentences, loss_sentences, loss_shift_sentences
from kdviz.narrative.results.document import results
from kdviz.narrative.results.sections import sections
from kdviz.studies.attention import StudyModel
from kdviz.studies.loss_shifts import LossShiftsReport, LossShiftsStudy, read_loss_shifts
from kdviz.studies.loss_shifts.report import REFERENCE, LossGain, compared
from kdviz.studies.loss_shifts.rows import ALONE, StudentAnswers, rows_of
from kdviz.studies.loss_shifts.table import TABLE
from kdviz.studies.shifts.report import LESS, MORE, UNKNOWN
from kdviz.studies.shifts.rows import Answers
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, ALL, UNSHIFTED

SHIFTS, SEVERITIES = ("dust", "fog"), (1, 3)
CONDITIONS = 1 + len(SHIFTS) * len(SEVERITIES)
SEEDS, CLASSES, NAN = 3, 10, float("nan")
LOSSES = (REFERENCE, "a loss")


def answers_of(shares, pictures=600, seed=0, spread=0.0):
    """Answers of students that are right with a probability a loss and condition, which varies by seed."""
    source = np.random.default_rng(seed)
    labels = source.integers(0, CLASSES, pictures)
    predicted, keys = {Role.TEACHER: np.tile(labels, (CONDITIONS, 1))}, {}
    for loss, by_condition in shares.items():
        keys[loss] = [f"{loss} {number}" for number in range(SEEDS)]
        for key in keys[loss]:
            right = source.random((CONDITIONS, pictures)) < np.array(by_condition)[:, None] + source.normal(0, spread)
            wrong = (labels + source.integers(1, CLASSES, right.shape)) % CLASSES
            predicted[key] = np.where(right, labels, wrong)
    return StudentAnswers(Answers(predicted, labels, SHIFTS, SEVERITIES), keys)


def report_of(experiment, students) -> LossShiftsReport:
    about = {"pictures": len(students.answers.labels), "seeds": list(range(SEEDS)), "shifts": list(SHIFTS)}
    TABLE.write(experiment, rows_of(students), about)
    report = read_loss_shifts(experiment)
    assert report is not None
    return report


def level(*shares):
    """The chance of a right answer without a shift, in dust and in fog."""
    return [shares[0], *np.repeat(shares[1:], len(SEVERITIES))]


# truths ---------------------------------------------------------------------------------------------------------------


def test_what_is_true_is_found_by_loss_and_by_shift(tiny):
    """One loss is better in dust and worse in fog, another one is better everywhere alike; alone all is worse."""
    shares = {REFERENCE: level(0.9, 0.7, 0.7), "mixed": level(0.9, 0.8, 0.5), "more": level(0.97, 0.77, 0.77)}
    report = report_of(tiny, answers_of({**shares, ALONE: level(0.8, 0.5, 0.5)}))
    outcomes = {
        (loss, shift): report.gain(ACCURACY, loss, REFERENCE, shift).outcome
        for loss in ("mixed", "more")
        for shift in SHIFTS
    }
    assert outcomes == {("mixed", "dust"): MORE, ("mixed", "fog"): LESS, ("more", "dust"): MORE, ("more", "fog"): MORE}
    assert report.gain(ACCURACY, "more", REFERENCE, beyond=True).outcome == UNKNOWN
    assert report.gain(ACCURACY, "mixed", REFERENCE, "dust", beyond=True).outcome == MORE
    assert report.gain(ACCURACY, REFERENCE, Role.STUDENT).outcome == MORE
    assert report.losses[0] == REFERENCE
    # Of a teacher that is always right, the teacher's answers are the right ones.
    for loss in report.losses:
        assert report.share(AGREEMENT, loss) == report.share(ACCURACY, loss)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.03], ids=["of pictures alone", "of seeds, too"])
def test_of_equal_losses_something_is_told_in_no_more_than_one_study_of_twenty(spread):
    shares, studies, said = {loss: level(0.7, 0.7, 0.7) for loss in (*LOSSES, "b", ALONE)}, 120, {}
    for seed in range(studies):
        rows = [row for row in rows_of(answers_of(shares, 60, seed, spread)) if row.get("p_adjusted") is not None]
        for less in (REFERENCE, Role.STUDENT):
            for is_single in (False, True):
                own = [row for row in rows if (row["less"], row["measure"]) == (less, ACCURACY)]
                family = [row for row in own if not row["beyond"]]
                told = any(row["p_adjusted"] < 0.05 for row in family if (row["shift"] != ALL) == is_single)
                said[less, is_single] = said.get((less, is_single), 0) + told
    bound = 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5
    assert max(said.values()) / studies < bound
    assert sum(said.values()) > 0


def test_means_are_over_seeds_severities_and_pictures_and_differences_are_paired(tiny):
    students = answers_of({loss: level(0.8, 0.6, 0.5) for loss in (*LOSSES, ALONE)}, 40)
    report, answers = report_of(tiny, students), students.answers

    def right(loss, rows):
        return np.mean([(answers.predicted[key][rows] == answers.labels).mean() for key in students.keys[loss]])

    dust, shifts = slice(1, 3), slice(1, None)
    assert report.share(ACCURACY, "a loss", "dust") == pytest.approx(right("a loss", dust))
    assert report.share(ACCURACY, None, UNSHIFTED) == pytest.approx(right(ALONE, slice(0, 1)))
    difference = right("a loss", shifts) - right(REFERENCE, shifts)
    assert report.gain(ACCURACY, "a loss", REFERENCE).value == pytest.approx(difference)
    unshifted = right("a loss", slice(0, 1)) - right(REFERENCE, slice(0, 1))
    assert report.gain(ACCURACY, "a loss", REFERENCE, beyond=True).value == pytest.approx(difference - unshifted)
    assert report.share(ACCURACY, None, ALL, Role.TEACHER) == 1.0
    with pytest.raises(KeyError):
        report.share(AGREEMENT, None, ALL, Role.TEACHER)


# the whole study ------------------------------------------------------------------------------------------------------


def students_of(tiny, losses=LOSSES, seeds=(0, 1)):
    """A teacher, and untrained students of each loss and alone."""

    def model(key, role, value, seed):
        torch.manual_seed(len(key) + seed)
        network = build_network("paper_fc", classes=CLASSES, channels=1, size=tiny.input.size)
        return StudyModel(key, role, "paper_fc", weights_of(network), "teacher", "loss", value, seed)

    kd = [model(f"{loss}, seed {seed}", Role.KD_STUDENT, loss, seed) for loss in losses for seed in seeds]
    alone = [model(f"alone, seed {seed}", Role.STUDENT, None, seed) for seed in seeds]
    return [model("teacher", Role.TEACHER, None, 0), *kd, *alone]


@pytest.fixture
def samples(small_digits):
    return small_digits.take(torch.arange(30), "test")


def test_the_study_asks_every_student_about_the_same_shifted_pictures(tiny, samples):
    models = students_of(tiny)
    states = list(LossShiftsStudy(tiny, samples, models, ("rotation",), (5, 2)).run())
    assert states == sorted(states)
    assert states[-1] == 1.0
    report = read_loss_shifts(load_experiment(tiny.folder))
    assert (report.pictures, report.seeds, report.shifts) == (30, 2, ["rotation"])

    def classes(model, images):
        with torch.no_grad():
            return model.build(tiny.input, CLASSES)(tiny.input.normalise(images)).argmax(1)

    students = [model for model in models if model.value == "a loss"]
    for measure, share in ((ACCURACY, samples.labels), (AGREEMENT, None)):
        hits = []
        for severity in (2, 5):
            images = shifted(samples.images, "rotation", severity, 0)
            wanted = classes(models[0], images) if share is None else share
            hits += [(classes(model, images) == wanted).double().mean().item() for model in students]
        assert report.share(measure, "a loss") == pytest.approx(np.mean(hits))


def test_what_cannot_be_compared_is_refused(tiny, samples):
    with pytest.raises(SettingError, match="compares others with soft_targets"):
        LossShiftsStudy(tiny, samples, students_of(tiny, ("a", "b")))
    with pytest.raises(SettingError, match="compares others with soft_targets"):
        LossShiftsStudy(tiny, samples, students_of(tiny, (REFERENCE,)))
    with pytest.raises(SettingError, match="at least 2 seeds"):
        LossShiftsStudy(tiny, samples, students_of(tiny, seeds=(4,)))
    with pytest.raises(SettingError, match="not trained with the same seeds"):
        LossShiftsStudy(tiny, samples, students_of(tiny)[:-1] + students_of(tiny, seeds=(0, 1, 2))[-1:])
    with pytest.raises(UnknownNameError):
        LossShiftsStudy(tiny, samples, students_of(tiny), ("hail",))
    with pytest.raises(SettingError):
        LossShiftsStudy(tiny, samples, students_of(tiny), (), (6,))
    with pytest.raises(DatasetError, match="at least 2 pictures"):
        LossShiftsStudy(tiny, samples.take(torch.arange(1), "test"), students_of(tiny))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--values", "dist"], "compares others with soft_targets"),
        (["--values", "soft_targets,dist", "--seeds", "0"], "at least 2 seeds"),
        (["--severities", "7"], "7"),
    ],
)
def test_the_command_refuses_before_anything_is_trained(tiny, monkeypatch, small_digits, options, said, capsys):
    monkeypatch.setattr("kdviz.cli.studies.loss_shifts.splits_of", lambda *_: small_splits(small_digits))
    assert main(["study", "-e", str(tiny.folder), "--study", "loss-shifts", *options]) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tiny.folder.glob("**/weights.safetensors"))


def test_a_table_that_lacks_something_is_damaged(tiny):
    students = answers_of({loss: level(0.8, 0.6, 0.5) for loss in (*LOSSES, ALONE)}, 40)
    rows = rows_of(students)
    TABLE.write(tiny, [row for row in rows if row["less"] != REFERENCE], {})
    with pytest.raises(ExperimentError, match=r"loss_shifts\.parquet .*--study loss-shifts"):
        read_loss_shifts(tiny)
    TABLE.write(tiny, [row for row in rows if row["role"] != Role.TEACHER], {})
    with pytest.raises(ExperimentError):
        read_loss_shifts(tiny)
    TABLE.write(tiny, [{**row, "value": None} for row in rows], {})
    with pytest.raises(ExperimentError):
        read_loss_shifts(tiny)


# sentences ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "p_value", "p_adjusted", "outcome"),
    [
        (0.1, 0.01, 0.04, MORE),
        (-0.1, 0.01, 0.04, LESS),
        (0.1, 0.01, 0.06, UNKNOWN),
        (0.1, NAN, NAN, UNKNOWN),
    ],
)
def test_a_loss_is_judged_by_the_p_value_of_all_losses(value, p_value, p_adjusted, outcome):
    assert LossGain(ACCURACY, ALL, "a", "b", False, value, -1, 1, p_value, p_adjusted).outcome == outcome


def test_each_sentence_says_what_its_numbers_allow(tiny):
    shares = {REFERENCE: level(0.9, 0.7, 0.7), "mixed": level(0.9, 0.85, 0.4), "same": level(0.9, 0.7, 0.7)}
    report = report_of(tiny, answers_of({**shares, ALONE: level(0.8, 0.5, 0.5)}))
    beginnings = {
        MORE: "On shifted pictures students of {} are right more often",
        LESS: "On shifted pictures students of {} are right less often",
        UNKNOWN: "Whether students of {} are right more or less often",
    }
    for loss in ("mixed", "same"):
        right, beyond, by_shift, same = loss_sentences(report, loss)
        gain = report.gain(ACCURACY, loss, REFERENCE)
        assert right.startswith(beginnings[gain.outcome].format(loss))
        assert f"{100 * gain.value:+.2f}" in right or f"{100 * gain.value:+.1f}" in right
        assert f"{report.share(ACCURACY, loss):.1%}".rstrip("%") in right
        assert ("cannot be told" in beyond) == (report.gain(ACCURACY, loss, REFERENCE, beyond=True).outcome == UNKNOWN)
        assert ("more often right with dust; less often right with fog" in by_shift) == (loss == "mixed")
        assert ("none of 2 shifts" in by_shift) == (loss == "same")
        assert ("cannot be told" in same) == (report.gain(AGREEMENT, loss, REFERENCE).outcome == UNKNOWN)
    assert "is right more often on shifted pictures than without a teacher" in alone_sentence(report)
    assert "3 seeds and 600 pictures" in limit_sentences(report)[1]
    for language in LANGUAGES:
        with speaking(language):
            assert all("{" not in sentence for sentence in loss_shift_sentences(report))


def test_the_results_have_a_row_for_each_loss(tiny):
    report_of(tiny, answers_of({loss: level(0.8, 0.6, 0.5) for loss in (*LOSSES, ALONE)}))
    text = results(tiny, ["loss-shifts"])
    assert all(f"| {name} |" in text for name in (*LOSSES, "student alone"))
    assert text.strip() in results(tiny)
    tiny.folder.joinpath("loss_shifts.parquet").unlink()
    with pytest.raises(ExperimentError, match="makes one"):
        sections["loss-shifts"](tiny)


def test_the_document_in_json_has_every_verdict(tiny):
    report = report_of(tiny, answers_of({loss: level(0.8, 0.6, 0.5) for loss in (*LOSSES, ALONE)}))
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["study"] == "loss-shifts"
    assert {row["verdict"] for row in document["differences"]} <= {MORE, LESS, UNKNOWN}
    assert compared(report) == [(REFERENCE, Role.STUDENT), ("a loss", REFERENCE)]
