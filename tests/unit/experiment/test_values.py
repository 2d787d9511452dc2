"""Bounds of experiment.json: what no page, table or figure could take is refused, by field and in one sentence."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_experiment import at, edit, replace_weights

from kdviz.app import library
from kdviz.core.errors import ExperimentError
from kdviz.distill.config import TEACHER_SETTINGS, TrainingConfig
from kdviz.experiment import Experiment, load_experiment
from kdviz.experiment.training_record import wrong_setting
from kdviz.experiment.values import LARGEST, MOST_RUNS, is_number, is_whole, record_problem, shown, text_problem
from kdviz.narrative.results.document import results
from kdviz.studies.comparison.inventory import glance

HALF = "\ud800"  # of a pair: no file in UTF-8 can hold it
HUGE = 10**4000


def nested(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [0, -3, 2.5, LARGEST, -LARGEST])
def test_numbers(value):
    assert is_number(value)


@pytest.mark.parametrize("value", [True, None, "1", HUGE, float("nan"), float("inf"), 1e300, [1]])
def test_what_is_no_number(value):
    assert not is_number(value)
    assert not is_whole(value)


@pytest.mark.parametrize("text", [HALF, "a\0b", "a\x1b[2J", "a\x9fb", "\ufffe", "a\nb", "a\u2028b", "x" * 21])
def test_texts_that_cannot_be_shown(text):
    assert text_problem(text, 20) is not None
    assert shown(text).isprintable()


@pytest.mark.parametrize("text", ["", "a b", "数字", "🐈", "$\\frac{$", "=1+1", "<b>", "é"])
def test_texts_that_can_be_shown(text):
    assert text_problem(text, 20) is None
    assert shown(text) == text


@pytest.mark.parametrize(
    ("record", "place", "reason"),
    [
        ({"a": {"b": [1, HUGE]}}, ".a.b[1]", "finite"),
        ({"a": HALF}, ".a", "character"),
        ({"a": [{HALF: 1}]}, ".a[0]", "character"),
        ({"a": nested(20)}, "", "nested"),
        ({"a": nested(100_000)}, "", "nested"),
        ({"a": [0] * 30_000}, "", "at most 20000 values"),
    ],
    ids=["number", "text", "name", "nested", "deep", "many"],
)
def test_the_first_value_out_of_bounds_is_named(record, place, reason):
    problem = record_problem(record)
    assert problem is not None
    assert problem[0].startswith(place)
    assert reason in problem[1]


def test_a_record_in_bounds():
    assert record_problem({"a": [1, None, True, {"b": "text\nof two lines"}], "c": {}}) is None


def test_what_a_training_writes_is_accepted():
    config = TrainingConfig(temperature="1:4", teacher_mixture=(0.5, 0.5), kd_epochs=3)
    record = json.loads(json.dumps(config.to_json()))
    assert set(TEACHER_SETTINGS) <= record.keys()
    assert wrong_setting(record) is None
    assert wrong_setting({**record, "a plugin's": {"any": ["thing"]}}) is None


WRONG_SETTINGS = [
    *[(name, value) for name in ("epochs", "batch_size", "train_samples") for value in ("3", 2.5, -1, None, True, [3])],
    *[(name, value) for name in ("temperature", "alpha") for value in (None, [4], {}, True, -1, "a\nb")],
    *[(name, value) for name in ("loss", "augment", "optimizer", "data", "unfreeze") for value in (None, 3, [], {})],
    *[("learning_rate", value) for value in ("0.1", None, -1)],
    *[("loss_options", value) for value in ([], {"a": "b"}, {"a": None})],
    *[("teacher_mix", value) for value in ({}, ["a"], 3)],
    *[("taught_by", value) for value in ("teacher", [1])],
    *[("planted", value) for value in (None, {}, [], {"kind": 3}, {"kind": "x", "share": 2}, {"kind": "x", "y": 1})],
    *[("import", value) for value in (None, "file", {"file": 3})],
    *[(name, value) for name in ("seed", "kd_epochs") for value in ("0", 2**40, -1)],
    ("continues", 1),
    ("doubts", {}),
]


@pytest.mark.parametrize(("name", "value"), WRONG_SETTINGS)
def test_a_setting_of_another_kind_is_named(tiny_folder, name, value):
    edit(tiny_folder, at("runs", 1, "training", {name: value}))
    with pytest.raises(ExperimentError, match=rf"field 'runs\[1\]\.training\.{name}' must be"):
        load_experiment(tiny_folder)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("title", at("title", HALF)),
        ("title", at("title", "x" * 20_000)),
        ("classes[3]", at("classes", 3, HALF)),
        ("classes[3]", at("classes", 3, "a\nb")),
        ("input.std", at("input", "std", [1e-320])),
        ("input.mean", at("input", "mean", [1e12])),
        ("runs[1].training'", at("runs", 1, "training", {HALF: 1})),
        ("runs[1].training.note", at("runs", 1, "training", {"note": HUGE})),
        ("runs[1].metrics.test.?", at("runs", 1, "metrics", {"test": {HALF: 1}})),
        ("runs[1].metrics.test.accuracy", at("runs", 1, "metrics", {"test": {"accuracy": 5}})),
        ("runs[1].metrics.test.samples", at("runs", 1, "metrics", {"test": {"samples": -5}})),
        ("picture_source.site", at("picture_source", {"dataset": "x", "site": HALF})),
        ("opening_pictures[0]", at("opening_pictures", [HALF])),
        ("format", at("format", HALF)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_output_takes_is_refused_by_name(tiny_folder, field, change):
    edit(tiny_folder, change)
    with pytest.raises(ExperimentError) as caught:
        load_experiment(tiny_folder)
    text = str(caught.value)
    text.encode()  # it can be printed
    assert f"field '{field}" in text
    assert len(text) < 400 + len(str(tiny_folder))
    assert glance(tiny_folder) is None


def test_more_runs_than_can_be_compared(tiny_folder):
    def repeat(document):
        first = document["runs"][0]
        document["runs"] = [{**first, "role": f"run_{number}"} for number in range(MOST_RUNS + 1)]

    edit(tiny_folder, repeat)
    with pytest.raises(ExperimentError, match=r"field 'runs' must have at most 50 runs"):
        load_experiment(tiny_folder)
    edit(tiny_folder, lambda document: document["runs"].pop())
    assert len(load_experiment(tiny_folder).runs) == MOST_RUNS


def test_a_document_that_no_memory_should_hold(tiny_folder, monkeypatch):
    monkeypatch.setattr("kdviz.experiment.checking.MOST_BYTES", 2**20)
    edit(tiny_folder, at("more", "x" * 2**20))
    with pytest.raises(ExperimentError, match="larger than 1 MB"):
        load_experiment(tiny_folder)


def test_what_could_not_be_opened_again_is_not_written(tiny):
    before = (tiny.folder / "experiment.json").read_bytes()
    tiny.runs["student"].training["epochs"] = [3]
    with pytest.raises(ExperimentError, match=r"runs\[2\]\.training\.epochs"):
        tiny.save()
    assert (tiny.folder / "experiment.json").read_bytes() == before


def test_a_record_of_a_training_that_just_ended_is_written(tiny):
    tiny.runs["student"].training |= TrainingConfig(teacher_mixture=(0.5, 0.5)).to_json()  # a tuple, in memory
    tiny.save()
    assert load_experiment(tiny.folder).runs["student"].training["teacher_mix"] == [0.5, 0.5]


def test_classes_are_refused_before_a_training(tmp_path, tiny):
    classes = ("a", f"folder-{HALF}")
    with pytest.raises(ExperimentError, match=r"field 'classes\[1\]'"):
        Experiment(tmp_path / "new", "folder", classes, tiny.input, {}).check()
    Experiment(tmp_path / "new", "folder", ("a", "b"), tiny.input, {}).check()


def test_weights_that_are_not_finite(tiny_folder):
    path = next(tiny_folder.glob("student-*"))
    state = load_file(path)
    name = next(iter(state))
    state[name] = torch.full_like(state[name], float("nan"))
    save_file(state, path)
    replace_weights(tiny_folder, path.read_bytes(), number=2)
    with pytest.raises(ExperimentError, match=f"'{name}' in .* not finite"):
        _ = load_experiment(tiny_folder).runs["student"].model


def test_a_title_in_a_list(tiny_folder):
    assert library.title("mine", tiny_folder) == "Tiny (mine)"
    for title in (HALF, ["x"], 5):
        edit(tiny_folder, at("title", title))
        assert library.title("mine", tiny_folder) == "mine"
    (tiny_folder / "experiment.json").write_text("[" * 100_000)
    assert library.title("mine", tiny_folder) == "mine"


def test_a_report_of_a_schedule_and_of_metrics_without_a_number_of_samples(tiny):
    tiny.runs["kd_student"].training |= {"temperature": "1:21:learned", "alpha": 0.5}
    for run in tiny.runs.values():
        run.metrics["test"] = {"accuracy": 0.5}
    text = results(tiny, ["models"])
    assert "On the test images:" in text
    assert "T = 1:21:learned, alpha = 0.5" in text
