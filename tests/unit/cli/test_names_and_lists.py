"""What every command says of mistyped names, empty texts and lists with empty entries."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from kdviz.cli import _parser, main
from kdviz.cli.common.arguments import comma_list, comma_list_or_none, name_or_none, names_or_none
from kdviz.cli.common.recipe_files import RecipeFile, defaults
from kdviz.core.errors import KdvizError, SettingError, UnknownNameError, nearest
from kdviz.core.texts.comma_lists import entries
from kdviz.distill.augment import Augment


def commands() -> dict[str, argparse.ArgumentParser]:
    (verbs,) = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(verbs.choices)


def options_with_a_value(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings and action.nargs != 0]


def refusal(capsys: pytest.CaptureFixture[str], parse: Callable[[list[str]], Any], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse(list(arguments))
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


FIRST = {"get": ["mnist"], "train": ["mnist"], "sweep": ["alpha"], "bench": ["rise"], "list": ["losses"]}
"""Positional arguments without which a parser would stop earlier."""


@pytest.mark.parametrize("form", [("{}", ""), ("{}", "  "), ("{}=",)], ids=str)
def test_no_option_takes_an_empty_text(capsys, form):
    checked = 0
    for verb, parser in commands().items():
        for action in options_with_a_value(parser):
            option = action.option_strings[-1]
            said = refusal(capsys, parser.parse_args, *FIRST.get(verb, []), *(part.format(option) for part in form))
            assert option in said, (verb, said)
            assert "is given an empty text; leave it away, or give it a value" in said
            checked += 1
    assert checked > 250


def test_no_command_takes_an_empty_text_in_place_of_a_name(capsys):
    for arguments in ([""], ["get", ""], ["train", "", "--out", "x"], ["explain", "", "--out", "x.png"], ["list", ""]):
        assert "is given an empty text" in refusal(capsys, main, *arguments)
    assert "--temperature: is given an empty text" in refusal(capsys, main, "train", "mnist", "--temperature=")


LISTS = ("list", "names", "names_or_none")


def test_no_list_takes_an_empty_entry(capsys):
    checked = []
    for verb, parser in commands().items():
        for action in options_with_a_value(parser):
            if getattr(action.type, "__name__", "") not in LISTS:
                continue
            option = action.option_strings[-1]
            for text in (",", " , ", "1,,2", "1,2,", ",1"):
                said = refusal(capsys, parser.parse_args, *FIRST.get(verb, []), option, text)
                assert ("has an empty entry" if "1" in text else "is a list without an entry") in said
            checked.append((verb, option))
    assert {("sweep", "--values"), ("sweep", "--seeds"), ("tune", "--losses"), ("bench", "--parts")} <= set(checked)
    assert {("train", "--augment"), ("study", "--severities"), ("profile", "--threads")} <= set(checked)


def test_entries():
    assert entries(" a , b") == ["a", "b"]
    for text in ("", ",", " , ", "a,", ",a", "a,,b"):
        with pytest.raises(SettingError):
            entries(text)
    with pytest.raises(SettingError, match="'flip,' has an empty entry"):
        Augment("flip,", 2)
    assert comma_list(int)("1, 2") == [1, 2]


def test_what_can_be_taken_back_is_by_a_word():
    assert comma_list_or_none(str)("none") == []
    assert names_or_none("none") == name_or_none("none") == ""
    assert names_or_none("flip, crop") == "flip,crop"


def of_recipe(**values: Any) -> dict[str, Any]:
    return defaults(commands()["train"], RecipeFile("mine", values))


@pytest.mark.parametrize("key", ["temperature", "teacher", "student", "epochs", "data", "loss"])
def test_a_recipe_has_no_empty_text(key):
    with pytest.raises(KdvizError, match=f"has {key} = ''; it must be"):
        of_recipe(**{key: ""})


def test_a_recipe_may_say_that_there_is_none():
    assert of_recipe(augment="") == {"augment": ""} == of_recipe(augment="none")
    assert of_recipe(assistants=[]) == {"assistants": []}


# names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "mnst", "--out", "x"], "'mnist'"),
        (["train", "cifar10", "--out", "x"], "'torchvision/CIFAR10'"),
        (["train", "mnist", "--out", "x", "--plant", "pach"], "'patch'"),
        (["sweep", "los"], "'loss'"),
        (["study", "--study", "shift"], "'shifts'"),
        (["list", "networs"], "'networks'"),
        (["trian"], "'train'"),
    ],
    ids=str,
)
def test_a_mistyped_choice_is_suggested(capsys, arguments, expected):
    said = refusal(capsys, main, *arguments)
    assert f"Did you mean {expected}" in said
    assert "Known: " in said


@pytest.mark.parametrize(
    ("arguments", "expected", "listed"),
    [
        (["--teacher", "paper_cn"], "'paper_cnn'", "networks"),
        (["--teacher", "mobilenet_v2"], "'torchvision/mobilenet_v2'", "networks"),
        (["--teacher", "torchvison/resnet18"], "'torchvision/resnet18'", "networks"),
        (["--student", "torchvision/resnet81"], "'resnet18'", "networks"),
        (["--assistants", "paper_fcc"], "'paper_fc'", "networks"),
        (["--teacher", "tiypo"], "", "networks"),
        (["--loss", "decopled"], "'decoupled'", "losses"),
        (["--feature-loss", "hint"], "'hints'", "losses"),
        (["--augment", "flop"], "'flip'", "augmentations"),
        (["--optimizer", "adm"], "'adam'", "optimizers"),
        (["--learning-rate-schedule", "cosin"], "'cosine'", "schedules"),
        (["--transfer-set", "noisee"], "'noise'", "transfer-sets"),
        (["--recipe", "fitnet"], "'fitnets'", "recipes"),
    ],
    ids=str,
)
def test_a_mistyped_name_of_a_training_is_suggested(capsys, tmp_path, arguments, expected, listed):
    out = tmp_path / "new" / "e"
    assert main(["train", "mnist", "--data", str(tmp_path), "--out", str(out), *arguments]) == 1  # before data are read
    said = capsys.readouterr().err
    assert not expected or f"Did you mean {expected}" in said
    assert f"kdviz list {listed}" in said
    assert "weights" not in said
    assert not out.parent.exists()
    assert main(["list", listed]) == 0


def test_other_names_are_suggested(capsys, tmp_path):
    for arguments, expected in (
        (["evaluate", "-e", "mnst"], "Did you mean 'mnist'"),
        (["study", "--method", "rice"], "Did you mean 'rise'"),
        (["tune", "--objectives", "accurcy"], "Did you mean 'accuracy'"),
        (["export", "--of", "kd_studnt", "--out", str(tmp_path / "x")], "Did you mean 'kd_student'"),
    ):
        assert main(arguments) == 1
        assert expected in capsys.readouterr().err


def test_only_near_names_are_suggested_and_few():
    assert len(nearest("resnet", [f"resnet{number}" for number in range(20)])) == 3
    assert nearest("zzz", ["rise", "saliency"]) == []
    error = UnknownNameError("thing", "zzz", [f"thing{number:04d}" for number in range(2000)], "things")
    assert "and others, 2,000 in all (all: kdviz list things)" in str(error)
    assert len(str(error)) < 1000


# --out ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "more"),
    [
        ("train", ["mnist", "--student", "typo"]),
        ("import", ["--teacher", "missing.pt"]),
        ("export", ["--of", "student"]),
    ],
)
def test_what_is_no_experiment_is_not_replaced(capsys, monkeypatch, tmp_path, verb, more):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    (other / "sub").mkdir()
    monkeypatch.chdir(other)
    for out in ("/", ".", str(other), str(other / "thesis.tex")):
        assert main([verb, *more, "--out", out]) == 1
        said = capsys.readouterr().err
        assert "--out" in said or "is a file" in said, said
        assert "typo" not in said
    assert sorted(path.name for path in other.iterdir()) == ["sub", "thesis.tex"]


def test_a_table_of_costs_replaces_no_other_file(capsys, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    assert main(["profile", "-e", "mnist", "--out", str(tmp_path / "README.md")]) == 1
    assert "no table of kdviz" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["study", "--baseline", "blak"], 1, "Did you mean 'black'"),
        (["study", "--baseline", "1.5"], 1, "grey level goes from 0 to 1"),
        (["study", "--study", "shortcuts", "--plant", "patch", "--baseline", "blak"], 1, "Did you mean 'black'"),
        (["study", "--split", "tset"], 2, "argument --split: there are train, validation, test"),
        (["study", "--study", "loss-shifts", "--split", "tset"], 2, "argument --split: there are"),
        (["study", "--values", "1,two"], 2, "argument --values: invalid values for temperature"),
        (["study", "--study", "loss", "--values", "soft_targts"], 1, "Did you mean 'soft_targets'"),
        (["study", "--optimizer", "adm"], 1, "Did you mean 'adam'"),
        (["study", "--study", "tree", "--optimizer", "adm"], 1, "Did you mean 'adam'"),
        (["study", "--device", "cdua"], 1, "There is no device 'cdua' here"),
        (["sweep", "temperature", "--optimizer", "adm"], 1, "Did you mean 'adam'"),
        (["federated", "--optimizer", "adm"], 1, "Did you mean 'adam'"),
        (["compress", "--prune", ".5", "--optimizer", "adm"], 1, "Did you mean 'adam'"),
    ],
)
def test_a_mistyped_name_is_refused_before_any_data_are_read(tiny, capsys, monkeypatch, command, status, words):
    def reads(*_arguments, **_options):
        raise AssertionError("data were read")

    for run in tiny.runs.values():
        run.training = {"epochs": 1}
    tiny.save()
    monkeypatch.setattr("kdviz.distill.recipes.read_splits", reads)
    verb, *options = command
    try:
        ended = main([verb, *options, "-e", str(tiny.folder)])
    except SystemExit as stopped:
        ended = stopped.code
    assert ended == status
    assert words in capsys.readouterr().err
