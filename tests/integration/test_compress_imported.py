"""kdviz compress on models that were trained elsewhere: each with its own input, beside a teacher with another one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import imported
import numpy as np
import pytest
import torch
from optional import needs
from torch import Tensor, nn

from kdviz.cli import main
from kdviz.cli.common.experiment_pictures import stored_samples
from kdviz.compress.fake_quantisation import int8_network
from kdviz.compress.onnx_export import float_file
from kdviz.experiment import Run, load_experiment
from kdviz.studies.compression import making
from kdviz.studies.compression.own_form import add_file, example_of, own_inputs, own_targets
from kdviz.studies.predictions.stored_logits import stored_logits

pytestmark = needs("onnxscript", reason='needs kdviz[onnx]: pip install "kdviz[onnx]"')

OWN = ["--device", "cpu", "--threads", "1", "--images", "5", "--masks", "60"]
KD_STUDENT = replace(imported.STUDENT, role="kd_student", order=(2, 0, 3, 1))
TRAINED = ["--epochs", "3", "--batch-size", "12", "--learning-rate", "0.001"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures to train on, and others to measure on."""
    folder = tmp_path_factory.mktemp("pictures")
    for split, count, seed in (("train", 48, 100), ("val", 32, 1)):
        pictures, labels = imported.pictures(count, seed)
        for number, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True)):
            place = folder / split / imported.CLASSES[label]
            place.mkdir(parents=True, exist_ok=True)
            picture.save(place / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """An experiment as ``kdviz import`` makes it, of checkpoints in the form that a training script leaves."""
    folder = tmp_path_factory.mktemp("given")
    order = ",".join(imported.CLASSES)
    own = ",".join(imported.CLASSES[KD_STUDENT.order.index(number)] for number in range(4))
    (folder / "classes.txt").write_text(order.replace(",", "\n"))
    (folder / "own.txt").write_text(own.replace(",", "\n"))
    specs = []
    for role, given, more in (
        ("--teacher", imported.TEACHER, "size=96,resize=110"),
        ("--kd-student", KD_STUDENT, f"size=28,resize=32,mean=.4,std=.3,channels=1,classes={folder / 'own.txt'}"),
        ("--student", imported.STUDENT, "size=28,resize=32,mean=.4,std=.3,channels=1"),
    ):
        file = folder / f"{given.role}.pth"
        torch.save({"state_dict": imported.weights_of(given, 0), "epoch": 3}, file)
        specs += [role, f"{file},network={given.network},{more}"]
    out = folder / "experiment"
    arguments = ["import", "--out", str(out), "--data", str(data), "--classes", str(folder / "classes.txt")]
    assert main([*arguments, *specs, "--device", "cpu"]) == 0
    return out


@pytest.fixture
def folder(three: Path, tmp_path: Path) -> Path:
    return shutil.copytree(three, tmp_path / "experiment")


def compress(folder: Path, data: Path, *options: str) -> int:
    return main(["compress", "-e", str(folder), "--data", str(data), *OWN, *options])


@pytest.mark.slow
def test_an_imported_model_is_pruned_and_trained_on_through_its_own_input(folder, data, capsys):
    before = {role: run.sha256 for role, run in load_experiment(folder).runs.items()}
    capsys.readouterr()
    assert compress(folder, data, "--of", "kd_student", "--prune", ".3", "--as", "small", *TRAINED) == 0
    printed = capsys.readouterr().out
    experiment = load_experiment(folder)
    small, parent = (experiment.runs[role] for role in ("small", "kd_student"))
    assert before == {role: experiment.runs[role].sha256 for role in before}
    assert (small.parent, small.made_by) == ("kd_student", "prune 0.3")
    assert (small.spec, small.class_order, small.n_classes) == (parent.spec, parent.class_order, 4)
    assert small.training["temperature"] == 4  # its role says that it learned from the teacher
    assert "import" not in small.training
    assert (folder / small.weights).stat().st_size < 0.7 * (folder / parent.weights).stat().st_size

    logits = stored_logits(experiment, "validation", roles=list(experiment.runs))  # of val/, which was imported
    assert set(logits) == set(experiment.runs)
    (row,) = experiment.table("compression").to_pylist()
    labels = stored_samples(experiment).labels.numpy()
    assert row["samples"] == len(labels) == 32
    assert row["accuracy"] == pytest.approx((logits["small"].argmax(1) == labels).mean())
    assert row["accuracy"] > 0.6  # a class order that is not undone gives 0.25
    assert len(row["maps_parent"]) == 5
    assert "how 'kd_student' was trained is not known" in printed
    assert "--other-seed" not in printed


@pytest.mark.slow
def test_training_with_int8_in_mind_keeps_what_the_model_knew_and_its_file_answers_as_it_did(folder, data, monkeypatch):
    trained: list[nn.Module] = []
    monkeypatch.setattr(making, "int8_network", lambda network: trained.append(network) or int8_network(network))
    quick = ["--images", "0", "--epochs", "2", "--batch-size", "12"]
    assert compress(folder, data, "--of", "kd_student", "--int8", "--as", "plain", *quick) == 0
    assert compress(folder, data, "--of", "kd_student", "--qat", "--as", "small", *quick) == 0
    experiment = load_experiment(folder)
    run = experiment.runs["small"]
    samples = stored_samples(experiment)
    logits = stored_logits(experiment, "validation", roles=["kd_student", "plain", "small"])
    right = {role: float((values.argmax(1) == samples.labels.numpy()).mean()) for role, values in logits.items()}
    assert right["kd_student"] > 0.9
    assert right["small"] >= max(right.values()) - 1 / 32  # 32 pictures: one of them may be another one

    (fake,) = trained
    inputs = own_inputs(experiment, run, samples.images)
    with torch.no_grad():
        fake_logits, file_logits, parent_logits = (
            network(inputs) for network in (fake.eval(), run.unadapted, experiment.runs["kd_student"].unadapted)
        )
    assert (file_logits.argmax(1) == fake_logits.argmax(1)).float().mean() > 0.96
    assert (file_logits - fake_logits).abs().mean() < 0.3 * (parent_logits - fake_logits).abs().mean()
    assert (folder / run.weights).stat().st_size < 0.5 * (folder / experiment.runs["kd_student"].weights).stat().st_size


@pytest.mark.slow
def test_int8_without_training_needs_no_pictures_to_train_on(folder, data, capsys):
    assert compress(folder, data / "val", "--of", "student", "--int8") == 0
    assert "ranges of int8 are found on 32 of the pictures that are measured" in capsys.readouterr().err
    experiment = load_experiment(folder)
    run, parent = experiment.runs["student_int8"], experiment.runs["student"]
    assert run.spec == parent.spec  # grey, 28 pixels, beside a common picture in colours
    samples = stored_samples(experiment)
    inputs = experiment.input.normalise(samples.images[:8])
    with torch.no_grad():
        own, other = run.model(inputs).numpy(), parent.model(inputs).numpy()
    assert np.corrcoef(own.ravel(), other.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--of", "kd_student", "--other-seed"], "How 'kd_student' was trained is not known"),
        (
            ["--of", "external", "--int8"],
            "only the predictions are known, and only a model can be compressed; import its",
        ),
        (["--of", "file", "--prune", ".5"], "import the checkpoint that it was made from, and compress that"),
        (["--of", "kd_student", "--qat", "--data", "VAL"], "no pictures to train on beside those"),
        (["--of", "teacher", "--qat", "--teacher"], "There is no teacher to learn from beside 'teacher'"),
    ],
)
def test_one_sentence_says_what_cannot_be_done_and_what_to_do(folder, data, capsys, options, words):
    experiment = imported.with_predictions(load_experiment(folder), "external", "Somebody's", "kd_student")
    student = experiment.runs["student"]
    add_file(experiment, "file", float_file(student.unadapted, example_of(student)), student, {})
    experiment.save()
    before = (folder / "experiment.json").read_bytes()
    capsys.readouterr()
    assert compress(folder, data, *[str(data / "val") if each == "VAL" else each for each in options]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert (folder / "experiment.json").read_bytes() == before


def test_targets_of_the_experiment_become_those_of_the_networks_own_logits():
    run = Run("it", "paper_cnn", "", "", {}, {}, Path(), imported.GREY, 5, class_order=(4, 0, 2))
    assert own_targets(run, torch.tensor([0, 2, 1])).tolist() == [4, 2, 0]
    probabilities: Tensor = torch.tensor([[0.5, 0.2, 0.3]])
    assert own_targets(run, probabilities).tolist() == [pytest.approx([0.2, 0, 0.3, 0, 0.5])]
    plain = replace(run, class_order=None)
    assert own_targets(plain, probabilities) is probabilities
