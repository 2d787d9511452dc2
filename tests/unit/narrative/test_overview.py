"""The answers of the first page, and the samples that it shows with their maps."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from cost_reports import made

from kdviz.cli import main
from kdviz.compress.cost import CostReport
from kdviz.core.errors import ExperimentError
from kdviz.experiment import load_experiment
from kdviz.figures.overlay import overlay
from kdviz.narrative import overview as module
from kdviz.narrative.decision import decision
from kdviz.narrative.overview import Answer, ExperimentSummary, answers
from kdviz.studies.comparison.judgement import Margins
from kdviz.studies.predictions.evaluation import evaluate
from kdviz.studies.predictions.mistakes import Predictions
from kdviz.studies.predictions.showcase import STORIES, choose, make, read_showcase

N = 20_000
NAMES = ("teacher", "kd_student", "student")


def findings(experiment, wrong: dict[str, slice], samples: int = N, copied: int = 0, labels=None) -> ExperimentSummary:
    """Of models that are wrong on these samples, each with a wrong class of its own.

    The KD student repeats the teacher's first ``copied`` errors.
    """
    labels = np.arange(samples) % 10 if labels is None else labels
    said = {}
    for shift, role in enumerate(NAMES):
        said[role] = labels.copy()
        said[role][wrong[role]] = (labels[wrong[role]] + 1 + shift) % 10
    errors = np.flatnonzero(said["teacher"] != labels)[:copied]
    said["kd_student"][errors] = said["teacher"][errors]
    return known(experiment, labels, said)


def known(experiment, labels: np.ndarray, said: dict[str, np.ndarray]) -> ExperimentSummary:
    summary = ExperimentSummary(experiment)
    predictions = Predictions("test", labels, said, {role: np.ones(len(labels)) for role in said})
    summary.__dict__["predictions"] = predictions
    return summary


def wrong(teacher: int, kd: int, alone: int, shared: bool = True) -> dict[str, slice]:
    """So many errors each; ``shared``: of the same samples, else of others."""
    starts = (0, 0, 0) if shared else (0, N // 3, 2 * N // 3)
    return {role: slice(at, at + count) for role, at, count in zip(NAMES, starts, (teacher, kd, alone), strict=True)}


def by_name(summary: ExperimentSummary, margins: Margins = Margins()) -> dict[str, Answer]:  # noqa: B008  frozen
    return {answer.name: answer for answer in answers(summary, margins)}


def words(summary: ExperimentSummary) -> dict[str, str]:
    return {name: answer.word for name, answer in by_name(summary).items()}


@pytest.mark.parametrize(
    ("errors", "accurate", "helped", "tone", "said"),
    [
        (
            (100, 100, 400),
            "Yes",
            "Yes",
            "good",
            "may stand in for its teacher: their accuracies are equal within 0.5 p",
        ),
        ((400, 100, 400), "Better", "Yes", "good", "may stand in for its teacher: it is more accurate."),
        ((100, 900, 1500), "No", "Yes", "bad", "no substitute for its teacher: it loses 4.00 points"),
        ((100, 210, 400), "Cannot tell", "Yes", "unknown", "less accurate than its teacher; whether by more than 0.5"),
        ((100, 110, 110), "Yes", "No", "mixed", "beside this student trained alone it is no better"),
        ((100, 900, 100), "No", "It hurt", "bad", "Do not ship the KD student: the same student trained alone is"),
    ],
)
def test_every_outcome_has_its_own_answer(tiny, errors, accurate, helped, tone, said):
    summary = findings(tiny, wrong(*errors))
    by = by_name(summary)
    assert by["accurate"].word == accurate
    assert by["helped"].word == f"{helped}, for these two"  # one seed
    assert by["helped"].sentence.startswith("With one seed this tells of these models only")
    top = decision(summary, answers(summary))
    assert top.tone == tone
    assert said in top.sentence


def test_thirty_digits_are_too_few_to_say_that_it_may_stand_in(tiny):
    """The teacher is right on 30 of 30, the KD student on 27."""
    summary = findings(tiny, {"teacher": slice(0, 0), "kd_student": slice(0, 3), "student": slice(0, 3)}, samples=30)
    said = answers(summary)
    accurate = said[0]
    judged = accurate.judgement
    assert (judged.value, judged.margin, judged.samples, judged.seeds) == (-0.1, 0.005, 30, 1)
    assert judged.low < -0.2
    assert judged.high > 0
    assert (accurate.word, accurate.tone) == ("Cannot tell", "unknown")
    needed = f"About {judged.samples_needed} samples would decide."
    assert accurate.sentence == (
        f"Cannot tell with 30 samples: -10.00 points (95 % interval {100 * judged.low:+.2f} to {100 * judged.high:+.2f}"
        f"), where up to 0.5 would count as equal. {needed}"
    )
    top = decision(summary, said)
    assert top.tone == "unknown"
    assert top.sentence == (
        "One cannot tell with 30 samples whether the KD student may stand in for its teacher, within 0.5 points of "
        f"accuracy. {needed}"
    )
    assert 60 <= judged.samples_needed <= 100  # see test_judgement
    large = decision(summary, answers(summary, Margins(accuracy=0.3)))
    assert large.sentence.startswith("The KD student may stand in for its teacher, but beside this student")
    assert "within 30.0 points" in large.sentence


@pytest.mark.parametrize("samples", [10, 30])
def test_all_right_on_a_few_samples_is_not_equal(tiny, samples):
    nobody = dict.fromkeys(NAMES, slice(0, 0))
    summary = findings(tiny, nobody, samples=samples)
    by = by_name(summary)
    assert {by[name].word for name in ("accurate", "helped", "copied")} == {"Cannot tell"}
    assert f"cannot tell with {samples} samples" in decision(summary, answers(summary)).sentence


def test_the_same_predictions_of_all_are_equal_on_many(tiny):
    summary = findings(tiny, wrong(100, 0, 0), copied=0)
    said = summary.predictions.predicted
    same = known(tiny, summary.predictions.labels, dict.fromkeys(NAMES, said["teacher"]))
    assert words(same)["accurate"] == "Yes"
    assert words(same)["helped"] == "No, for these two"
    assert words(same)["copied"] == "No more than alone"
    assert "it is no better, within 0.5 points" in decision(same, answers(same)).sentence


def test_two_seeds_of_one_recipe_are_no_effect(tiny):
    """Three models, each wrong on 3 % of its own samples with one of 9 classes: nothing helps, hurts or is copied."""
    draw = np.random.default_rng(11)
    labels = np.arange(N) % 10
    said = {role: np.where(draw.random(N) < 0.03, (labels + draw.integers(1, 10, N)) % 10, labels) for role in NAMES}
    by = by_name(known(tiny, labels, said))
    assert by["accurate"].word == "Yes"
    assert by["helped"].word == "No, for these two"
    assert by["copied"].word == "No more than alone"


# what is wrong with the models comes first ----------------------------------------------------------------------------


def test_shuffled_labels_give_no_verdict(tiny):
    draw = np.random.default_rng(12)
    labels = np.arange(2000) % 10
    summary = known(tiny, labels, {role: draw.permutation(labels) for role in NAMES})
    by = by_name(summary)
    for name in ("accurate", "helped", "copied"):
        assert (by[name].word, by[name].withheld) == ("No verdict", True)
        assert "which is not above chance (10.0%)" in by[name].sentence
    assert by["accurate"].sentence.startswith("The teacher is right on ")
    top = decision(summary, answers(summary))
    assert top.tone == "unknown"
    assert top.sentence.startswith("No verdict. The teacher is right on ")


def test_a_student_at_chance_is_no_substitute_and_that_is_said_first(tiny):
    summary = findings(tiny, wrong(100, 18_050, 100))
    by = by_name(summary)
    assert by["accurate"].word == "No"
    assert by["accurate"].sentence.startswith("The KD student is right on 9.8% of 20,000 samples, which is not above")
    assert by["copied"].word == "No verdict"
    assert decision(summary, answers(summary)).sentence.startswith("The KD student is right on 9.8%")


def test_only_a_student_alone_at_chance_leaves_the_help_to_be_told(tiny):
    by = by_name(findings(tiny, wrong(100, 100, 18_050)))
    assert by["accurate"].word == "Yes"
    assert by["helped"].word == "Yes, for these two"
    assert by["helped"].sentence.startswith("The student alone is right on 9.8%")


def test_a_class_that_is_never_predicted_is_said_first(tiny):
    summary = findings(tiny, wrong(100, 100, 400))
    said = summary.predictions.predicted
    never = known(
        tiny,
        summary.predictions.labels,
        {**said, "kd_student": np.where(said["kd_student"] == 8, 3, said["kd_student"])},
    )
    name = tiny.classes[8]
    for name_of_answer in ("accurate", "helped", "copied"):
        assert by_name(never)[name_of_answer].sentence.startswith(f"The KD student never predicts {name}.")
    assert decision(never, answers(never)).sentence.startswith(f"The KD student never predicts {name}.")


# copying --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "copied", "word"),
    [
        (1000, 600, "Yes"),
        (1000, 0, "No more than alone"),
        (1000, 20, "No more than alone"),
        (1000, 100, "Yes"),  # surely more, if by little: 10 points of 1,000 errors
        (3, 2, "Cannot tell"),
        (30, 3, "Cannot tell"),
        (0, 0, "Cannot tell"),
    ],
)
def test_copying_is_told_by_a_margin_over_the_teachers_errors(tiny, errors, copied, word):
    summary = findings(tiny, wrong(errors, 400, 400, shared=False), copied=copied)
    answer = by_name(summary)["copied"]
    assert answer.word == word
    if not errors:
        assert "The teacher makes no mistake on 20,000 samples" in answer.sentence
        return
    judged = answer.judgement
    assert (judged.unit, judged.samples, judged.margin) == ("errors", errors, 0.1)
    assert judged.value == pytest.approx(copied / errors)
    points = f"{100 * judged.value:+.2f}" if judged.value else "0.00"
    assert f"{points} points" in answer.sentence
    assert answer.sentence.startswith("With one seed this tells of these models only")
    if word == "Cannot tell":
        assert f"Cannot tell with {errors} errors" in answer.sentence
        assert "10.0 points" in answer.sentence


def test_without_a_student_alone_copying_is_not_told(tiny):
    summary = findings(tiny, wrong(100, 200, 200), copied=50)
    said = dict(summary.predictions.predicted)
    del said["student"]
    by = by_name(known(tiny, summary.predictions.labels, said))
    assert by["copied"].word == "Cannot tell"
    assert "there is no student that was trained alone" in by["copied"].sentence
    assert by["helped"].word == "Not known"


def test_the_shipped_study_tells_of_copying_over_its_seeds():
    from kdviz.studies.sweep.report import read_report

    experiment = load_experiment("mnist")
    summary = ExperimentSummary(experiment, study=read_report(experiment, "temperature"))
    copied = summary.copied
    assert copied.difference.seeds == 3
    assert copied.errors == copied.difference.samples
    rows = {(row["role"], row["value"]): row["inherited_errors"] for row in summary.study.rows}
    assert copied.kd == pytest.approx(rows["kd_student", 4.0], abs=1e-5)
    assert copied.alone == pytest.approx(rows["student", None], abs=1e-5)
    assert copied.difference.value == pytest.approx(copied.kd - copied.alone)
    assert "3 seeds" in by_name(summary)["copied"].sentence
    assert "With one seed" not in by_name(summary)["copied"].sentence


# cost -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "rounds", "word", "part"),
    [
        (2.0, 20, "Yes", "2.0 times faster on the machine it was measured on (95 % interval"),
        (1.0, 40, "Not faster", "Not faster by more than 10%"),
        (0.5, 20, "Slower", "0.5 times as fast"),
        (2.0, 4, "Cannot tell", "Cannot tell with 4 rounds whether it is faster by more than 10%"),
    ],
)
def test_cheaper_is_by_the_times_of_the_rounds(tiny, factor, rounds, word, part):
    table = made(("teacher", "onnx", factor, 9.0, 4.0, 0.9), ("kd_student", "onnx", 1.0, 5.0, 2.0, 0.9)).table
    noise = np.exp(np.random.default_rng(0).normal(0, 0.03, (2, rounds)))
    columns = table.to_pydict() | {"times_ms": [(factor * noise[0]).tolist(), noise[1].tolist()]}
    summary = ExperimentSummary(tiny, CostReport(pa.table(columns, schema=table.schema), 1))
    answer = by_name(summary)["cheaper"]
    assert answer.word == word
    assert part in answer.sentence
    assert answer.judgement.samples == rounds


# attention ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "first"), [(3, "Its maps' agreement"), (1, "With one seed this tells of these")])
def test_attention_of_one_seed_says_so_first(tiny, seeds, first):
    row = {"effect": 0.2, "low": 0.1, "high": 0.3, "images": 500, "seeds": seeds}
    summary = ExperimentSummary(tiny)
    summary.__dict__["attention"] = row
    answer = module.attention(summary)
    assert answer.word == "More than by itself"
    assert answer.sentence.startswith(first)


def test_the_headline_of_attention_is_read_from_tables_of_both_kinds(tiny):
    def table(measures: dict[str, float], **more: float) -> None:
        known = {"study": "models", "what": "difference", "part": "corrected", "value": None, "images": 9, "seeds": 3}
        rows = [
            {**known, "measure": name, "effect": effect, "low": effect, "high": effect, **more}
            for name, effect in measures.items()
        ]
        tiny.write_table("attention", pa.Table.from_pylist(rows))

    table({"spearman": 0.3, "pearson": 0.2})
    assert ExperimentSummary(tiny).attention["effect"] == 0.3
    table({"spearman": 0.3, "pearson": 0.2}, inner_low=0.1, inner_high=0.2, teachers=3)
    assert ExperimentSummary(tiny).attention["effect"] == 0.2
    assert module.attention(ExperimentSummary(tiny)).judgement.teachers == 3


# the command ----------------------------------------------------------------------------------------------------------


def test_the_command_says_the_verdict_with_its_margin(tiny, small_digits, capsys):
    tiny.write_samples([small_digits.take(torch.arange(60), "test")])
    assert main(["evaluate", "-e", str(tiny.folder), "--margin", "2", "--json", "--device", "cpu"]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert verdict["margins"]["accuracy"] == 0.02
    summary = ExperimentSummary(load_experiment(tiny.folder), split=verdict["split"])
    assert verdict["sentence"] == decision(summary, answers(summary, Margins(accuracy=0.02))).sentence
    assert [answer["name"] for answer in verdict["answers"]] == ["accurate", "cheaper", "helped", "copied", "attention"]
    accurate = verdict["answers"][0]["judgement"]
    assert accurate["margin"] == 0.02
    assert {"outcome", "value", "low", "high", "rule", "samples", "seeds", "samples_needed"} <= accurate.keys()
    assert main(["evaluate", "-e", str(tiny.folder), "--device", "cpu"]) == 0
    assert "\nNo verdict. The teacher is right on" in capsys.readouterr().out  # untrained


@pytest.mark.parametrize("margin", ["0", "0.009", "-1", "21", "nan", "half"])
def test_a_margin_that_is_none_is_wrong_usage(margin):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--margin", margin])
    assert ended.value.code == 2


def test_what_is_not_known_is_said(tiny):
    summary = ExperimentSummary(tiny)
    said = answers(summary)
    assert {answer.tone for answer in said} == {"unknown"}
    assert "It is not known yet" in decision(summary, said).sentence
    assert summary.accuracies == []
    assert len(said) == len({answer.name for answer in said}) == 5
    assert module.attention(summary) in said


def test_the_shipped_experiment_has_seeds_in_its_accuracies():
    from kdviz.studies.sweep.report import read_report

    experiment = load_experiment("mnist")
    summary = ExperimentSummary(experiment, study=read_report(experiment, "temperature"))
    by = {accuracy.role: accuracy for accuracy in summary.accuracies}
    measured = experiment.runs["kd_student"].metrics["test"]["accuracy"]
    assert (by["kd_student"].value, by["kd_student"].seeds) == (measured, 3)
    rows = [row for row in experiment.table("temperature").to_pylist() if row["split"] == "test"]
    for role, temperature in (("kd_student", 4.0), ("student", None)):  # T = 4, as it was trained
        own = [row["accuracy"] for row in rows if (row["role"], row["temperature"]) == (role, temperature)]
        assert by[role].mean == pytest.approx(np.mean(own), abs=1e-9)
    assert by["teacher"].mean is None


# the showcase ---------------------------------------------------------------------------------------------------------


def test_each_story_is_told_by_a_sample_of_its_own(tiny):
    labels = np.zeros(6, int)
    said = {
        "teacher": np.array([0, 0, 1, 0, 0, 0]),
        "kd_student": np.array([0, 1, 1, 0, 0, 0]),
        "student": np.array([1, 0, 1, 0, 0, 1]),
    }
    sure = {role: np.array([0.5, 0.5, 0.5, 0.6, 0.9, 0.9]) for role in said}
    predictions = Predictions("test", labels, said, sure)
    assert choose(predictions, np.arange(6)) == [("fixed", 5), ("lost", 1), ("inherited", 2), ("easy", 4)]
    assert choose(predictions, np.array([0, 3])) == [("fixed", 0), ("easy", 3)]  # only those with pictures


@pytest.fixture
def shown(tiny, small_digits):
    """``tiny`` with stored test samples and predictions of them."""
    test = small_digits.take(torch.arange(60), "test")
    tiny.write_samples([test])
    list(evaluate(tiny, test, device="cpu"))
    return load_experiment(tiny.folder)


def test_made_and_read_again(shown, small_digits):
    *_, table = make(shown, device="cpu", masks=64)
    shown.write_table("showcase", table)
    samples = read_showcase(load_experiment(shown.folder))
    assert samples
    for sample in samples:
        assert sample.story in STORIES
        assert sample.label == int(small_digits.labels[sample.sample])
        assert np.array_equal(np.asarray(sample.picture), small_digits.images[sample.sample, 0].numpy())
        assert list(sample.examples) == list(shown.runs)
        for role, example in sample.examples.items():
            said = shown.runs[role].model(shown.preprocess(sample.picture)).softmax(1)[0]
            assert example.predicted == int(said.argmax())
            assert example.confidence == pytest.approx(float(said.max()), abs=1e-4)
            assert example.values.shape == (14, 14)
            assert np.isnan(example.agreement) == (role == "teacher")


def test_maps_of_other_weights_are_not_shown_and_a_foreign_table_is_refused(shown):
    *_, table = make(shown, device="cpu", masks=64)
    shown.write_table("showcase", table)
    shown.runs["student"].sha256 = "0" * 64
    assert read_showcase(shown) == []
    shown.write_table("showcase", table.drop_columns(["map"]))
    with pytest.raises(ExperimentError, match="another version"):
        read_showcase(shown)


def test_the_command_makes_it(shown, capsys):
    assert main(["explain", "--showcase", "-e", str(shown.folder), "--masks", "64", "--device", "cpu"]) == 0
    assert "teacher" in capsys.readouterr().out
    assert read_showcase(load_experiment(shown.folder))


@pytest.mark.parametrize("wrong", [["--showcase", "a.png"], ["--showcase", "--out", "x.npz"], ["a.png"], []])
def test_wrong_usage_is_status_two(wrong):
    with pytest.raises(SystemExit) as ended:
        main(["explain", *wrong])
    assert ended.value.code == 2


def test_the_shipped_showcase_is_of_the_shipped_models():
    samples = read_showcase(load_experiment("mnist"))
    assert [sample.story for sample in samples] == list(STORIES)
    right = [
        {role: example.predicted == sample.label for role, example in sample.examples.items()} for sample in samples
    ]
    assert right[0] == {"teacher": True, "kd_student": True, "student": False}
    assert not any(right[2].values())
    assert all(right[3].values())


def test_zero_is_clear_and_signs_have_their_colours():
    from PIL import Image

    picture = Image.fromarray(np.full((2, 2), 100, np.uint8))
    drawn = np.asarray(overlay(picture, np.array([[0.0, 1.0], [-1.0, 0.0]]), 1.0)).astype(int)
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert drawn[0, 1, 0] > drawn[0, 1, 2] + 100  # orange
    assert drawn[1, 0, 2] > drawn[1, 0, 0] + 100  # blue
    assert overlay(picture, np.zeros((2, 2)), 0.0, side=9).size == (8, 8)
