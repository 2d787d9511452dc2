"""The command line: what it writes, prints and returns."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from coloured import coloured, coloured_splits, network, plant_tree, state_of
from PIL import Image

import kdviz
import kdviz.data
from kdviz.bench import train as bench
from kdviz.cli import main
from kdviz.distill import experiment_trainer, losses, training
from kdviz.experiment import list_experiments, load_experiment
from kdviz.saliency import methods

QUICK = ["--masks", "60", "--grid", "4", "--device", "cpu"]
ROLES = ["teacher", "kd_student", "student"]


@pytest.fixture
def explain_command(tiny_folder, digit_file):
    return ["explain", str(digit_file), "-e", str(tiny_folder), *QUICK]


def only_json(capsys) -> dict:
    """The one JSON document on stdout."""
    return json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


# explain --------------------------------------------------------------------------------------------------------------


def test_npz_holds_each_models_map_and_error(explain_command, tmp_path, tiny, digit_file, capsys):
    out = tmp_path / "new folder" / "maps.npz"
    assert main([*explain_command, "--target", "3", "--seed", "5", "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    maps = kdviz.explain(tiny, digit_file, "3", n_masks=60, grid=4, seed=5)
    with np.load(out, allow_pickle=False) as archive:
        assert set(archive) == {*ROLES, *(f"{role}_se" for role in ROLES)}
        for role in ROLES:
            for name, expected in ((role, maps[role].values), (f"{role}_se", maps[role].standard_error)):
                assert (archive[name].dtype, archive[name].shape) == (np.float32, (14, 14))
                np.testing.assert_allclose(archive[name], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_png(explain_command, tmp_path):
    out = tmp_path / "maps.PNG"
    assert main([*explain_command, "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 100
        assert len(picture.convert("RGB").getcolors(10**6)) > 20


def test_svg(explain_command, tmp_path):
    out = tmp_path / "maps.svg"
    assert main([*explain_command, "--out", str(out)]) == 0
    assert "<svg" in out.read_text()
    assert "<script" not in out.read_text()


def test_html_needs_no_network(explain_command, tmp_path):
    out = tmp_path / "maps.html"
    assert main([*explain_command, "--out", str(out)]) == 0
    page = out.read_text()
    assert "plotly" in page
    assert 'src="http' not in page


def test_several_pictures_get_a_file_each(explain_command, tmp_path, digits, digit_file):
    other, same_name = tmp_path / "other.png", tmp_path / "a" / "digit.jpg"
    same_name.parent.mkdir()
    digits.picture(1).save(other)
    digits.picture(2).save(same_name)
    command = [explain_command[0], str(other), str(same_name), *explain_command[1:]]
    assert main([*command, "--out", str(tmp_path / "m.npz")]) == 0
    files = ["m-digit-2.npz", "m-digit.npz", "m-other.npz"]
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == files
    maps = {name: np.load(tmp_path / name)["student"] for name in files}
    assert not np.array_equal(maps["m-digit.npz"], maps["m-digit-2.npz"])


def test_json_is_one_document(explain_command, tmp_path, tiny, digit_file, capsys):
    assert main([*explain_command, "--json", "--target", "3", "--out", str(tmp_path / "maps.npz")]) == 0
    document = only_json(capsys)
    (image,) = document["images"]
    assert image["image"] == str(digit_file)
    assert image["out"] == str(tmp_path / "maps.npz")
    assert {"method": "rise", "n_masks": 60, "grid": 4, "seed": 0}.items() <= image["settings"].items()
    assert list(image["models"]) == ROLES
    probabilities = tiny.runs["teacher"].model(tiny.preprocess(digit_file)).softmax(1)[0]
    assert image["models"]["teacher"]["target"] == "3"
    assert image["models"]["teacher"]["target_probability"] == pytest.approx(float(probabilities[3]), rel=1e-4)
    assert image["models"]["teacher"]["predicted"] == str(int(probabilities.argmax()))
    assert len(image["agreement"]["pairs"]) == 3


def test_results_go_to_stdout_and_progress_to_stderr(explain_command, tmp_path, capsys):
    assert main([*explain_command, "--out", str(tmp_path / "maps.npz")]) == 0
    captured = capsys.readouterr()
    assert "60/60" in captured.err
    assert "60/60" not in captured.out
    assert "noise ceiling" in captured.out
    assert "teacher      predicts" in captured.out


def test_a_method_that_does_not_fit_every_model_says_which(explain_command, tmp_path, tiny, digit_file, capsys):
    out = tmp_path / "maps.npz"
    command = [*explain_command[:4], "--method", "layer_gradcam", "--target", "3", "--device", "cpu", "--out", str(out)]
    assert main(command) == 0
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if line.startswith("kdviz: ")]
    reason = "is left out: Grad-CAM needs a convolution and 'PaperFC' has none; use rise or occlusion."
    assert said == [f"kdviz: {role} {reason}" for role in ("kd_student", "student")]
    assert "student" not in captured.out
    expected = kdviz.explain(tiny, digit_file, 3, "layer_gradcam", roles=["teacher"])["teacher"]
    with np.load(out, allow_pickle=False) as archive:
        assert set(archive) == {"teacher", "teacher_se"}
        np.testing.assert_allclose(archive["teacher"], expected.values, atol=1e-5)


def test_reliability_stops_early_and_says_so(explain_command, tmp_path, capsys):
    out = str(tmp_path / "maps.npz")
    command = [*explain_command, "--masks", "60000", "--reliability", "0.9", "--target", "3", "--json", "--out", out]
    assert main(command) == 0
    captured = capsys.readouterr()
    (said,) = [line for line in captured.err.splitlines() if line.startswith("kdviz: ")]
    stopped = re.fullmatch(r"kdviz: stopped after ([\d,]+) of 60,000 masks \(settled\)", said)
    assert stopped is not None
    models = json.loads(captured.out)["images"][0]["models"]
    assert {record["masks"] for record in models.values()} == {int(stopped[1].replace(",", ""))}
    assert int(stopped[1].replace(",", "")) < 60_000
    # It looks at whole blocks, and reports all masks: a part of a block more may predict a little less.
    assert all(record["reliability"] > 0.85 for record in models.values())


def test_seconds_stop_and_say_so(explain_command, tmp_path, capsys):
    command = [*explain_command, "--masks", "200000", "--seconds", "0.05", "--out", str(tmp_path / "maps.npz")]
    assert main(command) == 0
    assert re.search(r"kdviz: stopped after [\d,]+ of 200,000 masks \(time\)", capsys.readouterr().err)


@pytest.mark.parametrize("method", ["rise", "occlusion"])
def test_a_picture_as_baseline(explain_command, tmp_path, tiny, digits, digit_file, method):
    other = tmp_path / "other.png"
    digits.picture(3).save(other)
    quick = {"n_masks": 60, "grid": 4} if method == "rise" else {}
    command = explain_command if method == "rise" else explain_command[:4]
    out = tmp_path / "maps.npz"
    given = ["--method", method, "--baseline", str(other), "--target", "3", "--device", "cpu", "--out", str(out)]
    assert main([*command, *given]) == 0
    expected = kdviz.explain(tiny, digit_file, 3, method, baseline=digits.picture(3), **quick)
    black = kdviz.explain(tiny, digit_file, 3, method, **quick)
    with np.load(out, allow_pickle=False) as archive:
        for role in ROLES:
            np.testing.assert_allclose(archive[role], expected[role].values, rtol=1e-4, atol=1e-7)
            assert not np.allclose(archive[role], black[role].values, rtol=1e-2)


def test_every_setting_of_every_method_has_an_option(capsys):
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for method in methods:
        for setting in methods[method].settings:
            option = setting.name.removeprefix("n_")
            text = told.partition(f"--{option} {option.upper()} ")[2].partition(" --")[0]
            assert re.search(rf"\b{method}\b", text), (method, option)
            assert f"(default {setting.default})" in text
            assert [choice for choice in setting.choices if not re.search(rf"\b{choice}\b", text)] == []


# errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "given", "setting"),
    [
        ("rise", ["--window", "0.2"], "window"),
        ("rise", ["--steps", "20"], "n_steps"),
        ("occlusion", ["--masks", "60"], "n_masks"),
        ("saliency", ["--baseline", "black"], "baseline"),
        ("layer_gradcam", ["--seed", "1"], "seed"),
        ("kernel_shap", ["--noise", "0.1"], "noise"),
        ("deeplift", ["--reliability", "0.9"], "reliability"),
    ],
    ids=str,
)
def test_a_setting_that_the_method_does_not_have(explain_command, tmp_path, capsys, method, given, setting):
    out = tmp_path / "maps.npz"
    assert main([*explain_command[:4], "--device", "cpu", "--method", method, *given, "--out", str(out)]) == 1
    said = one_line_error(capsys)
    assert f"Unknown setting of {methods[method].title} '{setting}'" in said
    assert all(setting.name in said for setting in methods[method].settings)
    assert not out.exists()


def one_line_error(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("kdviz: ")
    return lines[0]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (["-e", "no-such-experiment"], "Unknown experiment 'no-such-experiment'"),
        (["-e", "."], r"no experiment\.json"),
        (["--target", "ten"], "its classes are 0, 1, 2"),
        (["--target", "-1"], "its classes are 0, 1, 2"),
        (["--out", "maps.pdf"], r"\.png, \.svg, \.html, \.npz"),
        (["--out", "maps"], r"must end in"),
        (["--masks", "3"], "n_masks"),
        (["--masks", "1000000000"], "n_masks"),
        (["--grid", "0"], "grid"),
        (["--grid", "15"], "does not fit"),
        (["--probability", "nan"], "probability"),
        (["--baseline", "blak"], "Did you mean 'black'"),
        (["--estimator", "centered"], "Did you mean 'centred'"),
        (["--method", "rice"], "Did you mean 'rise'"),
        (["--seed", "-1"], "seed"),
        (["--device", "abacus"], "abacus"),
    ],
    ids=str,
)
def test_an_error_is_one_line_and_exit_one(explain_command, tmp_path, monkeypatch, capsys, changed, reason):
    monkeypatch.chdir(tmp_path)
    assert main([*explain_command, "--out", "maps.npz", *changed]) == 1
    assert re.search(reason, one_line_error(capsys))
    assert not list(tmp_path.glob("maps*"))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n broken", None])
def test_a_bad_picture_is_one_line_and_exit_one(explain_command, tmp_path, digit_file, capsys, content):
    if content is None:
        digit_file.unlink()
    else:
        digit_file.write_bytes(content)
    assert main([*explain_command, "--out", str(tmp_path / "maps.npz")]) == 1
    assert "digit.png" in one_line_error(capsys)


def test_changed_weights_are_one_line_and_exit_one(explain_command, tmp_path, tiny_folder, capsys):
    path = next(tiny_folder.glob("student-*"))
    path.write_bytes(path.read_bytes()[:-1])
    assert main([*explain_command, "--out", str(tmp_path / "maps.npz")]) == 1
    assert "sha256" in one_line_error(capsys)


def test_a_file_that_cannot_be_written_is_exit_one(explain_command, tmp_path, capsys):
    (tmp_path / "maps.npz").mkdir()
    assert main([*explain_command, "--out", str(tmp_path / "maps.npz")]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("kdviz: Cannot write")
    assert "Traceback" not in captured.err


def test_ctrl_c_is_exit_130(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("kdviz.cli.list_._list", interrupted)
    assert main(["list", "networks"]) == 130
    assert capsys.readouterr().err == "kdviz: stopped.\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["explode"],
        ["explain"],
        ["explain", "x.png"],
        ["explain", "x.png", "--out", "m.png", "--masks", "many"],
        ["explain", "x.png", "--out", "m.png", "--threads", "0"],
        ["list", "colours"],
        ["train", "imagenet", "--out", "x"],
        ["train", "mnist"],
        ["train", "mnist", "--out", "x", "--epochs", "0"],
        ["train", "mnist", "--out", "x", "--kd-epochs", "0"],
        ["train", "mnist", "--out", "x", "--loss-option", "beta"],
        ["train", "mnist", "--out", "x", "--class-weights", "equal"],
        ["train", "folder", "--out", "x", "--keep-samples", "0"],
        ["train", "folder", "--out", "x", "--train-samples", "0"],
        ["sweep", "temperature", "--seeds", "0.5"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_two(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: kdviz" in captured.err


# help and lists -------------------------------------------------------------------------------------------------------

HELP = """
import sys
from kdviz.cli import main
for command in (["--help"], ["--version"], *([verb, "--help"] for verb in sys.argv[1:])):
    try:
        main(command)
    except SystemExit as end:
        assert end.code == 0, command
heavy = {"torch", "numpy", "scipy", "streamlit", "plotly", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_does_not_wait_for_torch():
    verbs = ["app", "train", "sweep", "evaluate", "explain", "list"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", HELP, *verbs], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert kdviz.__version__ in done.stdout
    assert all(verb in done.stdout for verb in verbs)


NAMES = """
import sys
from kdviz.distill import augmentations, feature_losses, teacher_losses
print(*teacher_losses, *feature_losses, *augmentations)
assert "torch" not in sys.modules, "torch was imported"
"""


def test_names_of_losses_and_augmentations_do_not_wait_for_torch():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert {"soft_targets", "hints", "mmd", "relational", "flip", "cutmix"} <= set(done.stdout.split())


def test_the_module_is_the_command():
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "kdviz", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == f"kdviz {kdviz.__version__}\n"


@pytest.mark.parametrize(
    ("what", "some"),
    [
        ("networks", {"paper_cnn", "paper_fc", "torchvision/NAME", "timm/NAME"}),
        ("methods", {"rise"}),
        ("losses", set(losses)),
        ("datasets", {"mnist", "mnist-bundled", "mhist", "folder"}),
        ("recipes", {"hinton_2015", "fitnets", "takd", "born_again"}),
        ("augmentations", {"flip", "crop", "rotate90", "colour", "mixup", "cutmix"}),
    ],
)
def test_lists(what, some, capsys):
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert some <= {line.split()[0] for line in lines}
    assert all(len(line.split()) > 1 for line in lines)  # each says what it is
    assert main(["list", what, "--json"]) == 0
    assert some <= set(only_json(capsys)[what])


def test_one_damaged_experiment_does_not_hide_the_others(tiny_folder, monkeypatch, capsys):
    monkeypatch.setattr("kdviz.experiment.loading.MODELS", tiny_folder.parent)
    monkeypatch.setattr(list_experiments, "__defaults__", (tiny_folder.parent,))
    broken = tiny_folder.parent / "broken"
    broken.mkdir()
    (broken / "experiment.json").write_text("{}")
    assert main(["list", "experiments", "--json"]) == 0
    entries = only_json(capsys)["experiments"]
    assert entries["tiny"] == ", ".join(ROLES)
    assert "refused" in entries["broken"]


# train, evaluate, sweep -----------------------------------------------------------------------------------------------


def splits_of(digits) -> dict:
    """A stand-in for the official MNIST."""
    return {
        "train": digits.take(torch.arange(200), "train"),
        "validation": digits.take(torch.arange(200, 260), "validation"),
        "test": digits.take(torch.arange(260, 320), "test"),
    }


@pytest.fixture
def few_digits(monkeypatch, digits):
    """Both data sets of the commands, with a few bundled digits."""
    splits = splits_of(digits)
    monkeypatch.setattr(kdviz.data, "mnist", lambda *_, **__: splits)
    monkeypatch.setattr(
        "kdviz.data.bundled_digits", lambda *_: {"bundled": digits.take(torch.arange(320, 360), "bundled")}
    )
    return splits


@pytest.fixture
def few_small_digits(monkeypatch, small_digits):
    splits = splits_of(small_digits)
    monkeypatch.setattr(kdviz.data, "mnist", lambda *_, **__: splits)
    return splits


@pytest.mark.slow
def test_train_makes_an_experiment(few_digits, tmp_path, capsys):
    out = tmp_path / "mine"
    command = ["train", "mnist", "--data", "x", "--out", str(out), "--epochs", "2", "--teacher", "paper_fc"]
    assert (
        main([*command, "--teacher-epochs", "1", "--temperature", "8", "--seed", "3", "--device", "cpu", "--json"]) == 0
    )
    document = only_json(capsys)
    experiment = load_experiment(out)
    assert list(experiment.runs) == list(document["metrics"]) == ROLES
    assert experiment.classes == tuple("0123456789")
    for role, run in experiment.runs.items():
        assert set(run.metrics) == {"validation", "test", "bundled"}
        assert run.metrics["test"]["samples"] == 60
        assert document["metrics"][role] == run.metrics
        # All are of one network, so that the teacher has another seed: it would begin as the student alone.
        assert (run.training["seed"], run.training["epochs"]) == ((1003, 1) if role == "teacher" else (3, 2))
        assert run.training.get("temperature") == (8.0 if role == "kd_student" else None)
        assert run.training["train_samples"] == 200
    table = experiment.table("predictions")
    assert {"sample", "label", "role", "predicted", "confidence", "logits"} <= set(table.column_names)
    assert table.num_rows == 3 * (60 + 60 + 40)
    assert len({run.sha256 for run in experiment.runs.values()}) == 3
    assert experiment.runs["student"].metrics["test"]["accuracy"] > 0.3


@pytest.mark.slow
def test_train_with_another_loss_and_schedules(few_digits, tmp_path, capsys):
    out = tmp_path / "mine"
    command = ["train", "mnist", "--data", "x", "--out", str(out), "--epochs", "2", *TINY[2:], "--loss", "decoupled"]
    more = ["--loss-option", "other_weight=4", "--temperature", "10:1", "--alpha", "1=.9,2=.5", "--kd-epochs", "1"]
    assert main([*command, *more, "--label-smoothing", "0.1", "--class-weights", "balanced"]) == 0
    runs = load_experiment(out).runs
    record = runs["kd_student"].training
    assert (record["loss"], record["loss_options"], record["kd_epochs"]) == ("decoupled", {"other_weight": 4.0}, 1)
    assert (record["temperature"], record["alpha"]) == ("10:1", "1=.9,2=.5")
    assert [run.training["label_smoothing"] for run in runs.values()] == [0.0, 0.1, 0.1]  # a teacher has none
    assert [run.training["class_weights"] for run in runs.values()] == ["balanced"] * 3
    assert all("loss" not in runs[role].training for role in ("teacher", "student"))
    assert runs["kd_student"].sha256 != runs["student"].sha256
    assert "warning" not in capsys.readouterr().err


@pytest.mark.slow
def test_train_with_several_teachers(few_digits, tmp_path, capsys):
    out = tmp_path / "mine"
    command = ["train", "mnist", "--data", "x", "--out", str(out), "--epochs", "1", "--device", "cpu"]
    assert main([*command, "--teacher", "paper_fc,paper_fc", "--teacher-mix", "2,1"]) == 0
    runs = load_experiment(out).runs
    assert list(runs) == ["teacher", "teacher_2", "kd_student", "student"]
    assert [runs[role].training["seed"] for role in runs] == [1000, 1001, 0, 0]
    assert runs["kd_student"].training["teacher_mix"] == [2.0, 1.0]
    assert "3/4 kd_student" in capsys.readouterr().err
    assert main(["sweep", "temperature", "-e", str(out), "--data", "x", "--epochs", "1"]) == 1
    assert "several teachers" in one_line_error(capsys)


def test_doubts_are_said_once_on_stderr_before_the_training(few_digits, tmp_path, capsys):
    command = ["train", "mnist", "--data", "x", "--out", str(tmp_path / "x"), "--epochs", "1", *TINY[2:], "--json"]
    assert main([*command, "--alpha", "0"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("kdviz: warning: alpha is 0: the teacher has no influence") == 1
    assert captured.err.index("alpha is 0") < captured.err.index("1/3 teacher")
    json.loads(captured.out)


def test_a_sweep_refuses_a_teacher_of_other_classes(tiny, few_small_digits, capsys):
    tiny.classes = tuple("1023456789")
    tiny.save()
    assert main(["sweep", "temperature", "-e", str(tiny.folder), "--data", "x", "--epochs", "1"]) == 1
    assert "Class 0 is '1' for the teacher and '0' for the student" in one_line_error(capsys)


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        (["--loss", "decoupled", "--loss-option", "other_weight=4"], {"loss_options": {"other_weight": 4.0}}),
        (["--kd-epochs", "1", "--label-smoothing", "0.1"], {"kd_epochs": 1, "label_smoothing": 0.1}),
        (["--class-weights", "balanced", "--alpha", "0:1"], {"class_weights": "balanced", "alpha": "0:1"}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[0],
)
def test_a_sweep_records_every_setting(tiny, few_small_digits, capsys, more, settings):
    command = ["sweep", "temperature", "-e", str(tiny.folder), "--data", "x", "--epochs", "1", "--device", "cpu"]
    assert main([*command, "--values", "4", "--seeds", "0", *more]) == 0
    (row,) = (
        row for row in tiny.table("temperature").to_pylist() if (row["role"], row["split"]) == ("kd_student", "test")
    )
    assert json.loads(row["settings"]) == settings
    assert main([*command, "--values", "4", "--seeds", "0"]) == 1
    assert "temperature.parquet' was made with " in capsys.readouterr().err


@pytest.mark.slow
def test_training_twice_with_a_seed_gives_the_same_weights(few_digits, tmp_path):
    hashes = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        command = ["train", "mnist", "--data", "x", "--out", str(tmp_path / name), "--epochs", "1"]
        assert main([*command, "--teacher", "paper_fc", "--seed", seed, "--device", "cpu"]) == 0
        hashes.append([run.sha256 for run in load_experiment(tmp_path / name).runs.values()])
    assert hashes[0] == hashes[1]
    assert not set(hashes[0]) & set(hashes[2])


@pytest.mark.slow
def test_the_students_differ_by_the_loss_alone(few_digits, tmp_path):
    command = ["train", "mnist", "--data", "x", "--out", str(tmp_path / "x"), "--epochs", "1", "--teacher", "paper_fc"]
    assert main([*command, "--alpha", "0", "--device", "cpu"]) == 0  # the KD student's loss is then the student's
    runs = load_experiment(tmp_path / "x").runs
    assert runs["kd_student"].sha256 == runs["student"].sha256


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (["--alpha", "1.5"], "alpha"),
        (["--alpha", "1:2"], "alpha"),
        (["--temperature", "10:1:sine"], "temperature must be a number, FROM:TO"),
        (["--loss", "decoupeld"], "Did you mean 'decoupled'"),
        (["--loss-option", "beta=3"], "'soft_targets' has no option 'beta'"),
        (["--label-smoothing", "1"], "label_smoothing"),
        (["--teacher", "paper_fc,paper_cn"], "Did you mean 'paper_cnn'"),
        (["--teacher-mix", "1,2"], "one value a teacher (1), got 2"),
        (["--temperature", "0"], "temperature"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--teacher", "paper_cn"], "Did you mean 'paper_cnn'"),
        (["--student", "torchvision/resnet18"], "3 channels"),
        (["--seed", "99999999999999999999"], "seed"),
    ],
    ids=str,
)
def test_a_training_that_cannot_start_says_why(few_digits, tmp_path, capsys, changed, reason):
    command = ["train", "mnist", "--data", "x", "--out", str(tmp_path / "x"), "--epochs", "1", "--teacher", "paper_fc"]
    assert main([*command, *changed]) == 1
    captured = capsys.readouterr()
    assert reason in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
    assert not (tmp_path / "x" / "experiment.json").exists()


def test_missing_data_is_one_line(tmp_path, capsys):
    assert main(["train", "mnist", "--data", str(tmp_path), "--out", str(tmp_path / "x")]) == 1
    assert "No MNIST files" in one_line_error(capsys)


def test_evaluate(tiny_folder, few_small_digits, monkeypatch, small_digits, capsys):
    some = small_digits.take(torch.arange(50))
    monkeypatch.setattr("kdviz.data.bundled_digits", lambda *_: {"bundled": some})
    command = ["evaluate", "-e", str(tiny_folder), "--device", "cpu"]
    assert main([*command, "--json"]) == 0
    metrics = only_json(capsys)["metrics"]
    assert {role: figures["bundled"]["samples"] for role, figures in metrics.items()} == dict.fromkeys(ROLES, 50)
    assert main([*command, "--data", "x"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table, verdict = lines[1 : lines.index("")], lines[lines.index("") + 1 :]
    assert [line.split()[:3] for line in table] == [[role, "test", "60"] for role in ROLES]
    assert verdict[0].startswith("No verdict. The teacher is right on ")  # untrained
    splits = load_experiment(tiny_folder).table("predictions")["split"].to_pylist()
    assert {name: splits.count(name) for name in set(splits)} == {"bundled": 150, "test": 180}


def test_fast_copies_are_for_models_from_elsewhere(tiny_folder, capsys):
    assert main(["evaluate", "-e", str(tiny_folder), "--fast"]) == 1
    assert "--fast is for imported models" in one_line_error(capsys)


COLUMNS = {"temperature", "alpha", "seed", "split", "accuracy", "loss", "role", "ece", "same_as_teacher"}


@pytest.mark.slow
def test_sweep_continues_without_training_twice(tiny_folder, few_small_digits, monkeypatch, capsys):
    trained = []

    def counted(network, *args, **options):
        config, soft = args[3:]
        trained.append((config.seed, None if soft is None else config.temperature))
        return training.fit(network, *args, **options)

    monkeypatch.setattr("kdviz.distill.runs.fit", counted)

    def sweep(values: str, seeds: str, *more: str) -> dict:
        command = ["sweep", "temperature", "-e", str(tiny_folder), "--data", "x", "--epochs", "1", "--device", "cpu"]
        assert main([*command, "--values", values, "--seeds", seeds, "--json", *more]) == 0
        return only_json(capsys)

    sweep("1,4", "0")
    assert trained == [(0, None), (0, 1.0), (0, 4.0)]  # None: alone, without the teacher's logits
    first = load_experiment(tiny_folder).table("temperature")
    assert set(first.column_names) >= COLUMNS
    rows = first.to_pylist()
    assert len(rows) == 2 * (1 + 3)  # teacher and three students, on validation and test
    assert {(row["role"], row["temperature"]) for row in rows} == {
        ("teacher", None),
        ("student", None),
        ("kd_student", 1.0),
        ("kd_student", 4.0),
    }

    sweep("1,4", "0")
    assert len(trained) == 3
    assert load_experiment(tiny_folder).table("temperature").num_rows == 8

    document = sweep("1,4,16", "0,1")
    assert trained[3:] == [(1, None), (1, 1.0), (1, 4.0), (0, 16.0), (1, 16.0)]
    table = load_experiment(tiny_folder).table("temperature").to_pylist()
    assert all(row in table for row in rows)
    assert document["study"] == "temperature"
    summary = {(row["role"], row["value"]): row for row in document["test"]}
    own = [row["accuracy"] for row in table if row["temperature"] == 4 and row["split"] == "test"]
    assert summary["kd_student", 4.0]["seeds"] == 2
    assert summary["kd_student", 4.0]["accuracy"] == pytest.approx(np.mean(own))
    assert summary["kd_student", 4.0]["accuracy_sd"] == pytest.approx(np.std(own, ddof=1))
    assert summary["teacher", None]["seeds"] == 1
    assert document["verdict"]["value"] in (1.0, 4.0, 16.0)
    outcomes = ("beats", "does not beat", "is equivalent to", "cannot be told from")
    assert document["verdict"]["outcome"] in outcomes
    assert document["verdict"]["margin"] == document["verdict"]["equivalence"]["margin"] == 0.005
    assert document["verdict"]["sentences"][0].startswith("Distillation at T = ")

    sweep("4", "0")  # the whole table is told, not only what was asked for now
    shutil.rmtree(tiny_folder / "runs")
    sweep("1,4,16", "0,1")
    assert len(trained) == 8
    command = ["sweep", "temperature", "-e", str(tiny_folder), "--data", "x", "--epochs", "1", "--device", "cpu"]
    assert main([*command, "--alpha", "0.9"]) == 1  # its students cannot be compared with these
    assert "was made with alpha 0.5, not 0.9" in one_line_error(capsys)


@pytest.mark.parametrize(("study", "values"), [("alpha", "0.5"), ("teacher-epochs", "1"), ("loss", "dist")])
def test_every_study_can_be_swept(tiny_folder, few_small_digits, capsys, study, values):
    command = [
        "sweep",
        study,
        "-e",
        str(tiny_folder),
        "--data",
        "x",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--seeds",
        "0",
    ]
    assert main([*command, "--values", values]) == 0
    captured = capsys.readouterr()
    assert "about" in captured.err
    assert "on this machine" in captured.err
    roles = [line.split()[0] for line in captured.out.splitlines()[1:4]]
    assert sorted(roles) == ["kd_student", "student", "teacher"]
    assert "training alone" in captured.out
    assert main([*command, "--values", values, "--json"]) == 0
    assert only_json(capsys)["verdict"]["difference"]["seed_error"] is None


def test_trees_are_studied(tiny_folder, few_small_digits, capsys):
    command = ["study", "--study", "tree", "-e", str(tiny_folder), "--data", "x", "--epochs", "1", "--device", "cpu"]
    assert main([*command, "--values", "2", "--seeds", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["2", "with"], ["2", "without"]]
    assert [line.split()[0] for line in lines[4:6]] == ["linear", "linear"]
    assert main([*command, "--values", "2", "--seeds", "0", "--json"]) == 0
    document = only_json(capsys)
    assert document["outcome"] == "cannot tell"  # one seed
    assert document["about"]["config"]["temperature"] == 1.0  # the paper's, where no other one is asked for
    assert document["sentences"]
    with pytest.raises(SystemExit):
        main([*command, "--values", "deep"])
    assert "depths are whole numbers" in capsys.readouterr().err


@pytest.mark.parametrize("margin", ["0", "-1", "nan", "much", "30"])
def test_a_margin_is_points_of_accuracy(margin, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", "temperature", "--margin", margin])
    assert stopped.value.code == 2
    assert "argument --margin" in capsys.readouterr().err


def test_an_estimate_makes_no_table(tiny_folder, few_small_digits, capsys):
    command = ["sweep", "temperature", "-e", str(tiny_folder), "--data", "x", "--epochs", "3", "--device", "cpu"]
    assert main([*command, "--seeds", "0", "--values", "1,4", "--estimate"]) == 0
    assert "3 runs, 9 epochs: about" in capsys.readouterr().err
    assert not (tiny_folder / "temperature.parquet").exists()


def test_a_value_given_twice_is_trained_once(tiny_folder, few_small_digits, capsys):
    command = ["sweep", "temperature", "-e", str(tiny_folder), "--data", "x", "--epochs", "1", "--values", "4,4.0"]
    assert main([*command, "--seeds", "0,0", "--device", "cpu"]) == 0
    assert load_experiment(tiny_folder).table("temperature").num_rows == 2 * 3


def test_an_interrupted_sweep_keeps_what_it_has(tiny_folder, few_small_digits, monkeypatch, capsys):
    calls = []

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return training.fit(*args, **options)

    monkeypatch.setattr("kdviz.distill.runs.fit", interrupted)
    command = ["sweep", "temperature", "-e", str(tiny_folder), "--data", "x", "--epochs", "1", "--values", "1,4"]
    assert main([*command, "--seeds", "0", "--device", "cpu"]) == 130
    assert load_experiment(tiny_folder).table("temperature").num_rows == 2 * 3
    assert main([*command, "--seeds", "0", "--device", "cpu"]) == 0
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (["--values", "0"], "temperature"),
        (["--values", "nan"], "temperature"),
        (["--alpha", "2"], "alpha"),
    ],
    ids=str,
)
def test_a_sweep_that_cannot_start_says_why(tiny_folder, few_small_digits, capsys, changed, reason):
    assert main(["sweep", "temperature", "-e", str(tiny_folder), "--data", "x", *changed]) == 1
    assert reason in one_line_error(capsys)


@pytest.mark.parametrize(("study", "values"), [("temperature", "1,hot"), ("teacher-epochs", "1.5"), ("alpha", "half")])
def test_values_of_another_kind_are_wrong_usage(capsys, study, values):
    with pytest.raises(SystemExit) as end:
        main(["sweep", study, "--values", values])  # before any file is opened
    assert end.value.code == 2
    assert f"invalid values for {study.replace('-', '_')}: {values}" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["teacher", "kd_student"])
def test_a_sweep_needs_a_teacher_and_a_student(tiny, few_small_digits, capsys, missing):
    del tiny.runs[missing]
    tiny.save()
    assert main(["sweep", "temperature", "-e", str(tiny.folder), "--data", "x", "--epochs", "1"]) == 1
    assert missing in one_line_error(capsys)


TINY = ["--data", "x", "--teacher", "paper_fc", "--device", "cpu"]


@pytest.mark.slow
def test_a_sweep_of_another_recipe_is_not_continued(few_digits, tmp_path, capsys):
    out = tmp_path / "e"
    assert main(["train", "mnist", "--out", str(out), "--epochs", "1", *TINY]) == 0
    sweep = ["sweep", "temperature", "-e", str(out), "--data", "x", "--device", "cpu", "--values", "4", "--seeds", "0"]
    assert main([*sweep, "--epochs", "1"]) == 0
    before = (out / "temperature.parquet").read_bytes()
    capsys.readouterr()
    assert main([*sweep, "--epochs", "2"]) == 1
    assert "was made with epochs 1, not 2" in capsys.readouterr().err
    assert (out / "temperature.parquet").read_bytes() == before


@pytest.mark.slow
def test_training_again_sets_the_tables_of_another_teacher_aside(few_digits, tmp_path):
    out = tmp_path / "e"
    train = ["train", "mnist", "--out", str(out), "--epochs", "1", *TINY]
    assert main(train) == 0
    assert (
        main(
            [
                "sweep",
                "temperature",
                "-e",
                str(out),
                "--data",
                "x",
                "--device",
                "cpu",
                "--values",
                "4",
                "--seeds",
                "0",
                "--epochs",
                "1",
            ]
        )
        == 0
    )
    for table in ("temperature", "curves", "study_predictions"):
        assert (out / f"{table}.parquet").exists()
    study = (out / "temperature.parquet").read_bytes()
    assert main([*train, "--seed", "5"]) == 0
    for table in ("temperature", "curves", "study_predictions"):
        assert not (out / f"{table}.parquet").exists()
        assert len(list(out.glob(f"{table}-of-*.parquet"))) == 1
    (kept,) = out.glob("temperature-of-*.parquet")
    assert kept.read_bytes() == study


def test_an_unwritable_folder_fails_before_the_training(few_digits, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert main(["train", "mnist", "--out", str(tmp_path / "file" / "e"), "--epochs", "1", *TINY]) == 1
    error = capsys.readouterr().err
    assert "Cannot write into" in error
    assert "1/3 teacher" not in error


def test_an_unwritable_folder_of_curves_is_one_line(tiny_folder, few_small_digits, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    command = ["sweep", "temperature", "-e", str(tiny_folder), "--data", "x", "--epochs", "1", "--device", "cpu"]
    pytest.importorskip("tensorboard")
    more = ["--values", "4", "--seeds", "0", "--tensorboard", str(tmp_path / "file" / "curves")]
    assert main([*command, *more]) == 1
    assert "Cannot write into" in capsys.readouterr().err.splitlines()[-1]


# folders of images ----------------------------------------------------------------------------------------------------

NETWORKS = ["--teacher", "torchvision/squeezenet1_1", "--student", "torchvision/mobilenet_v2"]
BRIEF = [
    "--size",
    "32",
    "--epochs",
    "1",
    "--teacher-epochs",
    "1",
    "--batch-size",
    "8",
    "--device",
    "cpu",
    "--threads",
    "1",
]
FRESH = ["--no-pretrained", *NETWORKS, *BRIEF]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A folder of 24 + 12 + 12 coloured pictures."""
    return plant_tree(tmp_path_factory.mktemp("tree") / "photos", coloured_splits())


@pytest.fixture(scope="module")
def trained_photos(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "photos"
    more = ["--teacher-epochs", "2", "--keep-samples", "12"]
    assert main(["train", "folder", "--data", str(tree), "--out", str(out), *FRESH, *more, "--json"]) == 0
    return out


@pytest.fixture
def photos(trained_photos, tmp_path):
    """A copy of the experiment that ``train folder`` made of them."""
    return Path(shutil.copytree(trained_photos, tmp_path / "photos"))


@pytest.fixture(scope="module")
def polyps(tmp_path_factory):
    """MHIST's layout, with 24 + 12 pictures."""
    folder = tmp_path_factory.mktemp("polyps")
    rows = ["Image Name,Majority Vote Label,Number of Annotators who Selected SSA (Out of 7),Partition"]
    for partition, count in (("train", 24), ("test", 12)):
        samples = coloured(count, count, classes=("HP", "SSA"))
        for number, label in enumerate(samples.labels.tolist()):
            name = f"MHIST_{partition}{number:02}.png"
            (folder / "images").mkdir(exist_ok=True)
            samples.picture(number).save(folder / "images" / name)
            rows.append(f"{name},{samples.classes[label]},{5 * label + number % 2},{partition}")
    (folder / "annotations.csv").write_text("\n".join(rows))
    return folder


def test_train_on_a_folder(photos, tree):
    experiment = load_experiment(photos)
    assert (experiment.dataset, experiment.classes) == ("folder", ("blue", "green", "red"))
    assert (experiment.input.size, experiment.input.channels, experiment.input.mean[0]) == ((32, 32), 3, 0.485)
    assert {role: run.network for role, run in experiment.runs.items()} == {
        "teacher": "torchvision/squeezenet1_1",
        "kd_student": "torchvision/mobilenet_v2",
        "student": "torchvision/mobilenet_v2",
    }
    for role, run in experiment.runs.items():
        assert {split: values["samples"] for split, values in run.metrics.items()} == {"validation": 12, "test": 12}
        assert (run.training["epochs"], run.training["unfreeze"]) == (2 if role == "teacher" else 1, "all")
    stored = experiment.samples("test")
    assert len(stored) == 12
    assert experiment.table("predictions").num_rows == 3 * 24


@pytest.mark.slow
def test_train_on_mhist(polyps, tmp_path, capsys):
    out = tmp_path / "m"
    assert main(["train", "mhist", "--data", str(polyps), "--out", str(out), *FRESH, "--json"]) == 0
    document = only_json(capsys)
    experiment = load_experiment(out)
    assert (experiment.dataset, experiment.classes) == ("mhist", ("HP", "SSA"))
    assert {values["test"]["samples"] for values in document["metrics"].values()} == {12}
    assert experiment.runs["student"].training["train_samples"] == 20  # 85 % of 24, of each class
    assert main(["evaluate", "-e", str(out), "--data", str(polyps), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[:3] for line in lines[1 : lines.index("")]]  # the verdict follows
    assert shown == [[role, "test", "12"] for role in ROLES]


def test_evaluate_with_the_folder_or_with_what_is_kept(photos, tree, capsys):
    metrics = {}
    before = load_experiment(photos).runs["student"].metrics["test"]
    for more in ([], ["--data", str(tree)]):
        assert main(["evaluate", "-e", str(photos), "--device", "cpu", "--json", *more]) == 0
        metrics[len(more)] = only_json(capsys)["metrics"]
    assert metrics[0] == metrics[2]
    assert metrics[0]["student"]["test"] == pytest.approx(before, abs=1e-5)


@pytest.mark.slow
def test_splits_by_groups_are_made_again(tree, tmp_path, capsys):
    folder, csv = tmp_path / "photos", tmp_path / "groups.csv"
    shutil.copytree(tree / "train", folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    csv.write_text("\n".join(["file,group", *(f"{name},{int(name[-7:-4]) // 6}" for name in names)]))
    out, groups = tmp_path / "e", ["--groups", str(csv)]
    assert main(["train", "folder", "--data", str(folder), "--out", str(out), *FRESH, *groups]) == 0
    experiment = load_experiment(out)
    metrics = experiment.runs["student"].metrics["test"]
    capsys.readouterr()
    command = ["evaluate", "-e", str(out), "--data", str(folder), "--device", "cpu", "--json"]
    assert main([*command, *groups]) == 0
    captured = capsys.readouterr()
    assert "warning" not in captured.err
    assert json.loads(captured.out)["metrics"]["student"]["test"] == pytest.approx(metrics, abs=1e-5)
    sweep = ["sweep", "temperature", "-e", str(out), "--data", str(folder), "--estimate", "--device", "cpu"]
    for again in (command, [*sweep, "--values", "4", "--seeds", "0"]):
        assert main(again) == 0
        assert "has another training split than" in capsys.readouterr().err


def test_evaluate_without_the_folder_needs_the_whole_test_split(photos, capsys):
    experiment = load_experiment(photos)
    experiment.write_samples(list(coloured_splits().values()), 5)
    assert main(["evaluate", "-e", str(photos), "--device", "cpu"]) == 1
    assert "Only some of the test images are stored" in one_line_error(capsys)
    (photos / "samples.parquet").unlink()
    assert main(["evaluate", "-e", str(photos), "--device", "cpu"]) == 1
    assert "samples.parquet" in one_line_error(capsys)


@pytest.mark.slow
def test_explain_a_photo(photos, tree, tmp_path, capsys):
    image, out = next((tree / "test" / "red").iterdir()), tmp_path / "maps.npz"
    command = ["explain", str(image), "-e", str(photos), *QUICK, "--target", "red", "--out", str(out)]
    assert main([*command, "--json"]) == 0
    assert list(only_json(capsys)["images"][0]["models"]) == ROLES
    with np.load(out, allow_pickle=False) as archive:
        assert all(archive[role].shape == (32, 32) for role in ROLES)


@pytest.mark.slow
@pytest.mark.parametrize(("study", "values"), [("temperature", "2,4"), ("teacher-epochs", "1,2")])
def test_sweep_on_a_folder(photos, tree, tmp_path, capsys, study, values):
    command = ["sweep", study, "-e", str(photos), "--data", str(tree), "--device", "cpu", "--threads", "1"]
    more = ["--values", values, "--seeds", "0", "--json"]
    curves = tmp_path / "curves"
    if study == "temperature":
        pytest.importorskip("tensorboard")
        more += ["--tensorboard", str(curves)]
    assert main([*command, *more]) == 0
    captured = capsys.readouterr()
    runs, epochs = (3, 3) if study == "temperature" else (4, 5)  # one epoch each, as the KD student; a teacher has two
    assert f"{runs} runs, {epochs} epochs: about" in captured.err
    document = json.loads(captured.out)
    assert {row["role"] for row in document["test"]} == set(ROLES)
    assert document["verdict"]["sentences"]
    table = load_experiment(photos).table(study.replace("-", "_"))
    assert {row["epochs"] for row in table.to_pylist() if row["role"] != "teacher"} == {1}
    if study == "temperature":
        assert len(list(curves.glob("*/events.out.tfevents.*"))) == 3
    assert main([*command, *more[:4]]) == 0  # nothing is left to do
    shown = capsys.readouterr()
    assert "epochs: about" not in shown.err
    assert "training alone" in shown.out


@pytest.mark.slow
def test_studies_of_frozen_backbones_take_their_heads(tree, tmp_path, capsys):
    out = tmp_path / "e"
    files = []
    for name in ("resnet18", "shufflenet_v2_x0_5"):
        files.append(str(tmp_path / f"{name}.pt"))
        torch.save(network(f"torchvision/{name}", 5, classes=7).state_dict(), files[-1])
    command = ["train", "folder", "--data", str(tree), "--out", str(out), *BRIEF, "--teacher", "torchvision/resnet18"]
    more = ["--student", "torchvision/shufflenet_v2_x0_5", "--teacher-weights", files[0], "--student-weights", files[1]]
    assert main([*command, *more]) == 0
    runs = load_experiment(out).runs
    assert [run.training["unfreeze"] for run in runs.values()] == ["head"] * 3
    assert [run.training["weights_from"] for run in runs.values()] == ["resnet18.pt", *["shufflenet_v2_x0_5.pt"] * 2]
    capsys.readouterr()
    sweep = ["sweep", "temperature", "-e", str(out), "--data", str(tree), "--device", "cpu", "--seeds", "0,1"]
    assert main([*sweep, "--values", "4", "--json"]) == 0
    rows = {(row["role"], row["value"]): row["accuracy"] for row in only_json(capsys)["test"]}
    assert rows["teacher", None] == pytest.approx(runs["teacher"].metrics.get("test", {}).get("accuracy"), abs=1e-6)


@pytest.mark.slow
def test_few_labels_pseudo_labels_and_more_images(tree, tmp_path, capsys):
    extra = plant_tree(tmp_path / "extra", {"more": coloured(6, 99, "more")})
    out = tmp_path / "few"
    command = ["train", "folder", "--data", str(tree), "--out", str(out), *FRESH, "--train-samples", "9"]
    assert main([*command, "--pseudo-labels", "0", "--unlabelled", str(extra)]) == 0
    training = {role: run.training for role, run in load_experiment(out).runs.items()}
    assert [record["train_samples"] for record in training.values()] == [9, 24 + 6, 9]
    assert [record["labelled"] for record in training.values()] == [9] * 3


@pytest.mark.slow
def test_a_teacher_of_its_own_kind(tree, tmp_path):
    out = tmp_path / "self"
    assert main(["train", "folder", "--data", str(tree), "--out", str(out), *FRESH, "--teacher", "self"]) == 0
    runs = load_experiment(out).runs
    assert {run.network for run in runs.values()} == {"torchvision/mobilenet_v2"}
    assert [run.training["seed"] for run in runs.values()] == [1000, 0, 0]


@pytest.mark.slow
def test_a_teacher_that_is_trained_already(photos, tree, tmp_path):
    teacher = load_experiment(photos).runs["teacher"]
    out = tmp_path / "again"
    command = ["train", "folder", "--data", str(tree), "--out", str(out), *FRESH]
    assert main([*command, "--teacher-checkpoint", str(photos / teacher.weights)]) == 0
    again = load_experiment(out).runs["teacher"]
    assert again.sha256 == teacher.sha256
    assert again.training == {"weights_from": teacher.weights, "trained": False}


@pytest.mark.slow
def test_logits_in_place_of_a_teacher(tree, tmp_path, capsys):
    names = [path.relative_to(tree).as_posix() for path in sorted(tree.glob("train/*/*.png"))]
    path = tmp_path / "logits.npz"
    np.savez(path, sample=np.array(names), logits=np.random.default_rng(0).normal(size=(24, 3)))
    out = tmp_path / "e"
    command = ["train", "folder", "--data", str(tree), "--out", str(out), "--no-pretrained", *NETWORKS[2:], *BRIEF]
    assert main([*command, "--teacher-logits", str(path)]) == 0
    assert list(load_experiment(out).runs) == ["kd_student", "student"]
    capsys.readouterr()
    sweep = ["sweep", "temperature", "-e", str(out), "--data", str(tree), "--epochs", "1"]
    assert main(sweep) == 1
    assert "has no teacher, which a study needs" in one_line_error(capsys)
    image = next((tree / "test" / "red").iterdir())
    assert main(["explain", str(image), "-e", str(out), *QUICK, "--out", str(tmp_path / "maps.npz")]) == 0
    assert main(["evaluate", "-e", str(out), "--data", str(tree), "--device", "cpu"]) == 0
    for more in (["--teacher", "torchvision/resnet18"], ["--teacher-checkpoint", "x.pt"]):
        assert main([*command, "--teacher-logits", str(path), *more]) == 1
        assert "not both" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_augmentation_and_features_from_the_command_line(tree, tmp_path):
    out = tmp_path / "e"
    command = ["train", "folder", "--data", str(tree), "--out", str(out), *FRESH, "--augment", "flip,mixup"]
    assert main([*command, "--feature-loss", "hints", "--feature-weight", "0.5"]) == 0
    record = load_experiment(out).runs["kd_student"].training
    assert (record["augment"], record["feature_loss"], record["feature_weight"]) == ("flip,mixup", "hints", 0.5)


def bad_tree(tmp_path, tree, what) -> Path:
    """A folder that is no data set."""
    folder = tmp_path / "data"
    if what == "one class":
        shutil.copytree(tree / "train" / "red", folder / "train" / "red")
    elif what == "no classes":
        shutil.copytree(tree / "train" / "red", folder)
    elif what == "empty":
        folder.mkdir()
    elif what == "broken":
        shutil.copytree(tree, folder)
        (folder / "train" / "red" / "002.png").write_bytes(b"broken")
    return folder


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("missing", "There is no folder"),
        ("one class", "has one class only, 'red'; add a folder of another"),
        ("no classes", "has images, but not in class folders"),
        ("empty", "has no images"),
        ("broken", "1 of 24 images in"),
    ],
)
def test_a_folder_that_is_no_data_set(tmp_path, tree, capsys, what, reason):
    folder = bad_tree(tmp_path, tree, what)
    assert main(["train", "folder", "--data", str(folder), "--out", str(tmp_path / "e"), *FRESH]) == 1
    assert reason in one_line_error(capsys)
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("dataset", ["folder", "mhist"])
def test_data_that_is_not_downloaded(tmp_path, capsys, dataset):
    assert main(["train", dataset, "--out", str(tmp_path / "e"), *FRESH]) == 1
    assert f"The data set '{dataset}' is not downloaded; name its folder with --data." in one_line_error(capsys)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (["--student", "torchvision/mobilenet_v22"], "Did you mean 'mobilenet_v2'"),
        (["--teacher", "torchvision/resnet81"], "Did you mean 'resnet18'"),
        (["--student", "resnet18"], "Unknown network 'resnet18'"),
        (["--teacher-weights", "a.pt,b.pt"], "--teacher-pretrained needs one file a teacher (1), got 2"),
        (["--teacher-weights", "missing.pt"], "Cannot read 'missing.pt'"),
        (["--student-weights", "missing.pt"], "Cannot read 'missing.pt'"),
        (["--teacher-checkpoint", "missing.pt"], "Cannot read 'missing.pt'"),
        (
            ["--teacher-checkpoint", "x.pt", "--teacher", "paper_cnn,paper_fc"],
            "--teacher-checkpoint is one trained teacher",
        ),
        (["--teacher-logits", "missing.npz"], "not both"),
        (["--pseudo-labels", "1"], "pseudo_labels must be at least 0 and below 1"),
        (["--pseudo-labels", "-0.5"], "pseudo_labels must be at least 0 and below 1"),
        (["--pseudo-labels", "0.9"], "pseudo_labels need images without labels"),
        (["--unlabelled", "TREE"], "Unlabelled images are used with pseudo_labels"),
        (["--unlabelled", "missing", "--pseudo-labels", "0.9"], "There are no images in 'missing'"),
        (["--train-samples", "2"], "must be 3 to 24, got 2"),
        (["--train-samples", "99"], "must be 3 to 24, got 99"),
        (["--unfreeze", "some"], "trainable must be all, head or a number of stages"),
        (["--teacher-unfreeze", "some"], "trainable must be all, head or a number of stages"),
        (["--augment", "flop"], "Did you mean 'flip'"),
        (["--augment", "flip,flip"], "named twice"),
        (["--feature-loss", "hint"], "Did you mean 'hints'"),
        (["--feature-loss", "hints", "--student-layer", "featurs"], "Did you mean"),
        (["--size", "8"], "does not take images of 8 x 8 pixels"),
        (["--size", "5000"], "4096"),
        (["--groups", "missing.csv"], "missing.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_training_of_photos_that_cannot_start_says_why(tree, tmp_path, monkeypatch, capsys, changed, reason):
    monkeypatch.chdir(tmp_path)
    changed = [str(tree) if part == "TREE" else part for part in changed]
    assert main(["train", "folder", "--data", str(tree), "--out", "e", *FRESH, *changed]) == 1
    captured = capsys.readouterr()
    said = captured.err.splitlines()[-1]
    assert said.startswith("kdviz: ")
    assert reason in said
    assert captured.out == ""
    assert not Path("e", "experiment.json").exists()
    assert "1/3 teacher" not in captured.err


def test_an_error_in_the_middle_comes_after_the_bar(tree, tmp_path, monkeypatch, capsys):
    calls = []

    def fit(*args, **more):
        calls.append(1)
        if len(calls) == 2:
            raise kdviz.KdvizError("Stopped.")
        return training.fit(*args, **more)

    monkeypatch.setattr(experiment_trainer, "fit", fit)
    assert main(["train", "folder", "--data", str(tree), "--out", str(tmp_path / "e"), *FRESH]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "kdviz: Stopped."


def test_weights_that_hold_code_are_refused(tree, tmp_path, capsys):
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has others that it prefers
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    command = ["train", "folder", "--data", str(tree), "--out", str(tmp_path / "e"), *FRESH]
    for option in ("--teacher-checkpoint", "--teacher-pretrained", "--student-pretrained"):
        assert main([*command, option, str(path)]) == 1
        assert "is a TorchScript archive, which holds code" in one_line_error(capsys)


def test_a_checkpoint_of_other_classes_is_one_line(tree, tmp_path, capsys):
    torch.save(state_of(network("torchvision/squeezenet1_1", classes=1000)), tmp_path / "imagenet.pt")
    command = ["train", "folder", "--data", str(tree), "--out", str(tmp_path / "e"), *FRESH]
    assert main([*command, "--teacher-checkpoint", str(tmp_path / "imagenet.pt")]) == 1
    assert "of a classifier of 1000 classes, and here there are 3; use it as pretrained" in one_line_error(capsys)


# bench ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_bench_train_is_one_document(monkeypatch, digits, capsys):
    parts = {"train": digits.take(torch.arange(100)), "validation": digits.take(torch.arange(100, 130))}
    monkeypatch.setattr(bench, "_few_digits", lambda: {**parts, "test": digits.take(torch.arange(130, 160))})
    assert main(["bench", "train", "--quick", "--epochs", "1", "--device", "cpu", "--json"]) == 0
    document = only_json(capsys)
    assert document["speed_ratio"] > 0
    assert document["details"]["speed_ratio"]["epochs"] == 1
    assert {"device", "threads", "torch", "accuracy_difference_students"} <= set(document)
    assert main(["bench", "train", "--quick", "--epochs", "1", "--device", "cpu"]) == 0
    assert "usual loop / kdviz" in capsys.readouterr().out
