"""Recipe files: their keys are the options of kdviz train, and what is given beside them counts more."""

from __future__ import annotations

import argparse

import pytest

from kdviz.cli import _parser, main
from kdviz.cli.common.recipe_files import RecipeFile, defaults, recipe_options, shipped_recipes
from kdviz.cli.common.training_options import recipe
from kdviz.core.errors import SettingError

TRAIN = ["train", "mnist", "--out", "unused"]


def parsed(*arguments: str) -> dict:
    return vars(_parser().parse_args([*TRAIN, *arguments]))


def settings(*arguments: str) -> dict:
    ignored = ("recipe", "run", "wrong_usage")
    return {name: value for name, value in parsed(*arguments).items() if name not in ignored}


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "mine.toml") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


EVERY_KIND = """
teacher = ["paper_cnn", "paper_fc"]
student = "paper_fc"
temperature = "10:1:cosine"
alpha = 1
epochs = 3
learning-rate = 1e-2
teacher_mixture = [2, 1]
loss = "decoupled"
loss-option = { target_weight = 2, other_weight = 4.5 }
class-weights = "balanced"
no-pretrained = true
mutual = false
trainable = 2
"""
THE_SAME = [
    *("--teacher", "paper_cnn,paper_fc", "--student", "paper_fc", "--temperature", "10:1:cosine", "--alpha", "1"),
    *("--epochs", "3", "--learning-rate", "1e-2", "--teacher-mixture", "2,1", "--loss", "decoupled"),
    *("--loss-option", "target_weight=2", "--loss-option", "other_weight=4.5", "--class-weights", "balanced"),
    *("--no-pretrained", "--trainable", "2"),
]


def test_a_recipe_is_what_the_same_options_are(write):
    assert settings("--recipe", write(EVERY_KIND)) == settings(*THE_SAME)
    assert settings(*THE_SAME) != settings()


def test_the_command_line_counts_more_wherever_it_stands(write):
    file = write('temperature = 8\nepochs = 3\nloss = "dist"\nloss-option = { inter_weight = 1, intra_weight = 2 }')
    beside = ["--temperature", "4", "--loss-option", "intra_weight=7"]
    before, after = settings(*beside, "--recipe", file), settings(f"--recipe={file}", *beside)
    assert before == after
    assert (before["temperature"], before["epochs"]) == (4.0, 3)
    assert dict(before["loss_option"]) == {"inter_weight": 1.0, "intra_weight": 7.0}
    assert dict(settings("--recipe", file)["loss_option"]) == {"inter_weight": 1.0, "intra_weight": 2.0}


@pytest.mark.parametrize("dash", ["-", "_"])
def test_another_loss_on_the_command_line_leaves_the_options_of_the_recipes_loss(write, dash):
    """Nothing on a command line could take them away, and the other loss does not know them."""
    text = 'loss = "decoupled"\nloss-option = { target_weight = 2 }\nfeature-loss = "hints"\nfeature-weight = 3'
    file = write(text.replace("-", dash))
    other = settings("--recipe", file, "--loss", "dist", "--feature-loss=relational")
    assert (other["loss"], other["loss_option"], other["feature_weight"]) == ("dist", [], 1.0)
    same = settings("--recipe", file, "--loss", "decoupled")
    assert (dict(same["loss_option"]), same["feature_weight"]) == ({"target_weight": 2.0}, 3.0)


def test_a_byte_order_mark_is_none_of_the_recipe(write):
    assert settings("--recipe", write(b"\xef\xbb\xbfepochs = 3\n"))["epochs"] == 3


def test_a_recipe_that_is_nested_too_deeply_is_one_sentence(write, capsys):
    file = write(f"epochs = {'[' * 5000}{']' * 5000}")
    assert main([*TRAIN, "--recipe", file]) == 1
    assert capsys.readouterr().err.strip().endswith("is nested too deeply.")


def test_a_recipe_may_name_the_data_set(write, capsys):
    file = write('dataset = "mnist"')
    assert _parser().parse_args(["train", "--out", "x", "--recipe", file]).dataset == "mnist"
    assert _parser().parse_args(["train", "folder", "--out", "x", "--recipe", file]).dataset == "folder"
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--out", "x"])
    assert stopped.value.code == 2
    assert "DATASET" in capsys.readouterr().err


def test_every_option_but_those_of_one_command_may_stand_in_a_recipe():
    (verbs,) = (each for each in _parser()._actions if isinstance(each, argparse._SubParsersAction))
    parser = verbs.choices["train"]
    options = {name[2:] for name in parser._option_string_actions if name.startswith("--")}
    beside = {"help", "recipe", "out", "json", *OPPOSITES}
    assert recipe_options(parser).keys() == options - beside | {"dataset"}


OPPOSITES = {"no-mutual": "mutual", "pretrained": "no-pretrained"}
"""Options that take back what a recipe switches on."""


@pytest.mark.parametrize("option", OPPOSITES)
def test_what_a_recipe_switches_on_the_command_line_can_switch_off(write, option):
    file = write(f"{OPPOSITES[option]} = true")
    assert settings("--recipe", file) != settings() == settings("--recipe", file, f"--{option}")
    with pytest.raises(SettingError, match="no option"):
        settings("--recipe", write(f"{option} = true"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("epoks = 3", ["'epoks'", "no option of kdviz train", "did you mean 'epochs'"]),
        ('out = "elsewhere"', ["'out'", "no option"]),
        ('epochs = "many"', ["epochs = 'many'", "a whole number of at least 1"]),
        ("epochs = 0", ["epochs = 0", "at least 1"]),
        ("epochs = 1.5", ["epochs = 1.5", "a whole number"]),
        ("epochs = true", ["epochs = true", "a whole number"]),
        ("epochs = [1, 2]", ["epochs = [1, 2]", "a whole number"]),
        ('learning-rate = "fast"', ["learning-rate = 'fast'", "a number"]),
        ("student = 2020-01-01", ["student = ", "a text"]),
        ('student = ["paper_fc"]', ["student = ['paper_fc']", "a text"]),
        ("mutual = 1", ["mutual = 1", "true or false"]),
        ('class-weights = "equal"', ["class-weights = 'equal'", "none, balanced"]),
        ('dataset = "imagenet"', ["dataset = 'imagenet'", "mnist"]),
        ('loss-option = "beta=8"', ["loss-option = 'beta=8'", "a table of numbers"]),
        ('loss-option = { beta = "x" }', ["loss-option", "a table of numbers"]),
        ("teacher = [true]", ["teacher = [True]", "a list"]),
        ("unfreeze = 1\ntrainable = 2", ["'trainable' twice"]),
        ("epochs = 1\nepochs = 2", ["no TOML file"]),
        ("epochs 3", ["no TOML file"]),
        (b"student = '\xff'", ["no TOML file"]),
        ("[about]\nauthor = 'me'", ["[about]", "title, paper, differs"]),
        ("about = 3", ["[about]"]),
    ],
)
def test_a_wrong_recipe_is_one_sentence(write, tmp_path, capsys, text, parts):
    out = tmp_path / "out"
    assert main(["train", "mnist", "--out", str(out), "--recipe", write(text)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("kdviz: ")
    assert all(part in error for part in parts), error
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("missing.toml", "cannot be read: No such file"),
        ("hinton_2005", "Did you mean 'hinton_2015'"),
    ],
)
def test_a_recipe_that_is_not_there_is_one_sentence(capsys, name, part):
    assert main([*TRAIN, "--recipe", name]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert part in error


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_a_configuration(name):
    file = shipped_recipes()[name]
    assert file.title
    assert file.paper
    options = _parser().parse_args([*TRAIN, "--recipe", name])
    config = recipe(options, options.dataset, trainable="all")
    by_option = {"loss-option": "loss_options", "feature-option": "feature_options"}
    of_others = ("teacher", "student", "assistants", "generations", "generation-start", "mutual", "dataset")
    for key, value in file.values.items():
        if key in of_others or key == "teacher-epochs":
            continue
        assert getattr(config, by_option.get(key, key.replace("-", "_"))) == value, key


def test_recipes_are_listed_with_their_papers(capsys):
    assert main(["list", "recipes"]) == 0
    listed = capsys.readouterr().out
    for name, file in shipped_recipes().items():
        assert f"\n{name} " in f"\n{listed}"
        assert file.paper in listed
    assert {
        "hinton_2015",
        "takd",
        "mutual_learning",
        "born_again",
        "crd",
        "reviewkd",
        "e2kd",
    } <= shipped_recipes().keys()


def test_values_of_a_recipe_are_read_by_the_parser_that_is_given():
    parser = argparse.ArgumentParser(prog="kdviz other")
    parser.add_argument("--epochs", type=int)
    assert defaults(parser, RecipeFile("r", {"epochs": 3})) == {"epochs": 3}
    with pytest.raises(SettingError, match="no option of kdviz other"):
        defaults(parser, RecipeFile("r", {"alpha": 1}))
