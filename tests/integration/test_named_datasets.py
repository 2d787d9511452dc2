"""Training on data sets by name, and on parquet files, through the command line."""

from __future__ import annotations

import json

import named_datasets as named
import pytest

from kdviz.cli import main
from kdviz.distill.recipes import dataset_for, input_for, read_splits
from kdviz.experiment import load_experiment


def output(capsys) -> str:
    return capsys.readouterr().out


def test_data_sets_of_a_library_are_listed(capsys):
    assert main(["list", "datasets", "--json"]) == 0
    listed = json.loads(output(capsys))["datasets"]
    assert "CIFAR10" in listed["torchvision/NAME"]
    assert "Hugging Face" in listed["parquet"]
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    help_text = " ".join(output(capsys).split())
    assert "torchvision/NAME (Any classification data set of torchvision" in help_text
    assert "--label-column NAME" in help_text


@pytest.mark.slow
def test_train_evaluate_and_sweep_on_cifar10(tmp_path, monkeypatch, capsys):
    named.cifar10(tmp_path / "data", monkeypatch)
    out, data = str(tmp_path / "cifar"), str(tmp_path / "data")
    # At 3 x 32 x 32, the paper's student has 19 million weights.
    fast = ["--teacher", "paper_cnn", "--student", "paper_cnn", "--epochs", "1", "--device", "cpu", "--threads", "1"]
    assert main(["train", "torchvision/CIFAR10", "--data", data, "--out", out, *fast, "--json"]) == 0
    figures = json.loads(output(capsys))["metrics"]
    assert {split: values["samples"] for split, values in figures["student"].items()} == {"validation": 9, "test": 12}
    experiment = load_experiment(out)
    assert (experiment.dataset, experiment.title, experiment.classes) == (
        "torchvision/CIFAR10",
        "CIFAR10",
        named.CIFAR_CLASSES,
    )
    dataset = dataset_for("torchvision/CIFAR10", data)
    assert experiment.input == input_for(dataset, "paper_cnn")
    training = read_splits("torchvision/CIFAR10", data, experiment.input)["train"]
    assert experiment.runs["student"].training["data"] == training.fingerprint[:16]
    assert main(["evaluate", "-e", out, "--data", data, "--device", "cpu", "--json"]) == 0
    captured = capsys.readouterr()
    again = json.loads(captured.out)["metrics"]["student"]["test"]
    assert again == pytest.approx(figures["student"]["test"], abs=1e-5)
    assert "another training split" not in captured.err
    more = ["--values", "2", "--seeds", "0", "--device", "cpu", "--threads", "1"]
    assert main(["sweep", "temperature", "-e", out, "--data", data, *more]) == 0


def test_train_on_parquet_files_by_the_names_of_their_columns(tmp_path, capsys):
    features = {"fine": named.class_label(("a", "b")), "coarse": named.class_label(("x", "y"))}
    columns = {"fine": [0, 1] * 20, "coarse": [1, 0] * 20}
    named.parquet_file(tmp_path / "data" / "train.parquet", features, img=named.pictures(0, 40, 8, 8), **columns)
    out, data = str(tmp_path / "out"), str(tmp_path / "data")
    fast = ["--teacher", "paper_cnn", "--student", "paper_fc", "--epochs", "1", "--device", "cpu", "--threads", "1"]
    assert main(["train", "parquet", "--data", data, "--out", out, *fast]) == 1
    assert "name one with --label-column" in capsys.readouterr().err
    assert main(["train", "parquet", "--data", data, "--label-column", "coarse", "--out", out, *fast]) == 0
    experiment = load_experiment(out)
    assert (experiment.classes, experiment.input.channels, experiment.input.size) == (("x", "y"), 1, (8, 8))
    assert main(["evaluate", "-e", out, "--data", data, "--label-column", "coarse", "--device", "cpu"]) == 0
    assert "another training split" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["torchvision/cifar10"], "Did you mean 'CIFAR10'"),
        (["torchvision/CelebA"], "torchvision's CelebA cannot be trained on"),
        (["torchvision/FER2013"], "torchvision cannot download it"),
        (["torchvision/CIFAR10", "--label-column", "x"], "has no option 'label_column'"),
        (["parquet"], "has no parquet files"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, text):
    assert main(["train", *arguments, "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.strip()
    assert text in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_an_unknown_library_is_wrong_usage(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "torchvisio/CIFAR10", "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "torchvision/NAME" in capsys.readouterr().err


def test_pictures_of_a_size_that_the_user_wants(tmp_path, monkeypatch):
    named.cifar10(tmp_path, monkeypatch)
    dataset = dataset_for("torchvision/CIFAR10", tmp_path, (96, 96))
    spec = input_for(dataset, dataset.recipe.student, (96, 96))
    assert (spec.size, spec.mean) == ((96, 96), (0.485, 0.456, 0.406))
    assert read_splits(dataset, tmp_path, spec)["test"].images.shape == (12, 3, 96, 96)
