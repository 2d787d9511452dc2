"""kdviz export: the folder runs without kdviz, answers as the model does, is whole, and is measured elsewhere."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from alone import run_alone
from optional import needs
from PIL import Image, ImageOps
from safetensors.torch import save
from torch import nn

from kdviz.cli import main
from kdviz.compress import onnx_export
from kdviz.compress.cost import CHECK, SCHEMA, read_cost
from kdviz.compress.export import contents, folder
from kdviz.compress.export.answers import prepared
from kdviz.compress.export.contents import INSIDE, ExportSettings, export
from kdviz.compress.export.device_files import RUNTIMES, DeviceRuntime
from kdviz.compress.export.device_times import device_rows, read_device_times, with_device_times
from kdviz.compress.export.example import resizing
from kdviz.compress.export.folder import folder_files, write_folder
from kdviz.compress.profile import ProfileSamples, own_samples, parted
from kdviz.core.errors import KdvizError, ModelError, SettingError
from kdviz.core.files import ASSETS
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import PREDICTIONS, Experiment, InputSpec, load_experiment
from kdviz.experiment.run import Run
from kdviz.models.networks.onnx_content import opset_of
from kdviz.narrative.products.device_limits import device_limits
from kdviz.narrative.products.model_card import model_card

pytest.importorskip("onnxruntime", reason="makes ONNX files: needs onnx, onnxscript and onnxruntime")
pytestmark = needs("onnxscript", reason="makes ONNX files: needs onnx, onnxscript and onnxruntime")

ANSWERS = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
inputs = np.load(sys.argv[2])
np.save(sys.argv[3], session.run(None, {session.get_inputs()[0].name: inputs})[0])
"""


@pytest.fixture(scope="module", autouse=True)
def exported_once():
    """Each network is exported once for all tests: that takes most of the time of an export."""
    files: dict[tuple, bytes] = {}

    def float_file(network: nn.Module, example: torch.Tensor, opset: int | None = None) -> bytes:
        key = (type(network), save(network.state_dict()), example.shape, opset)
        if key not in files:
            files[key] = onnx_export.float_file(network, example, opset)
        return files[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "float_file", float_file)
        yield


@pytest.fixture(scope="module")
def samples(small_digits) -> ProfileSamples:
    return ProfileSamples(small_digits.take(torch.arange(300)), small_digits.images[400:450])


@pytest.fixture(scope="module")
def written(_untrained, samples, tmp_path_factory) -> Path:
    """An export of the KD student of the untrained experiment, written once."""
    made = export(load_experiment(_untrained), "kd_student", samples)
    out = tmp_path_factory.mktemp("exports") / "kd"
    write_folder(out, folder_files(made, model_card(made)))
    return out


@pytest.fixture
def copied(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copied"))


@pytest.fixture(scope="module")
def timed(written) -> str:
    """What check.py --time prints, in a process that knows only numpy and onnxruntime."""
    done = run_alone(
        written / "check.py", "--time", "--seconds", "0.05", "--batches", "1,4", "--name", "Board <b>A</b>"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def content_of(path: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(path.iterdir())}


# round trip -----------------------------------------------------------------------------------------------------------


def test_a_process_with_onnxruntime_alone_answers_as_torch_does(written, tiny, samples, tmp_path):
    (tmp_path / "answers.py").write_text(ANSWERS)
    inputs = tiny.input.normalise(samples.measured.images[:7])  # another number than any that was exported
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    files = [str(written / "model.onnx"), str(tmp_path / "inputs.npy"), str(tmp_path / "answers.npy")]
    done = run_alone(tmp_path / "answers.py", *files)
    assert done.returncode == 0, done.stderr
    expected = tiny.runs["kd_student"].model(inputs).detach().numpy()
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), expected, rtol=0, atol=1e-5)


def test_check_says_bit_for_bit_and_needs_nothing_else(copied):
    done = run_alone(copied / "check.py")
    lines = [f"{name}: 20 of 20 answers are the same, bit for bit." for name in ("model.onnx", "model_int8.onnx")]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, lines, "")
    (copied / "model_int8.onnx").write_bytes((copied / "model.onnx").read_bytes())
    done = run_alone(copied / "check.py")
    assert done.returncode == 2
    assert done.stderr == "check.py: model_int8.onnx is not the file that was exported; copy the folder again.\n"


def test_answers_of_another_machine_are_said_with_their_distance():
    spec = importlib.util.spec_from_file_location("check_of_an_export", ASSETS / "export" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    there = np.float32([[10, 0], [0, 10]])
    assert check.compared(there, there) == ("2 of 2 answers are the same, bit for bit.", True)
    text, is_same = check.compared(there + np.float32([[1e-4, 0], [0, 0]]), there)
    assert is_same
    assert text.startswith("2 of 2 answers are the same; scores differ by up to 0.0001")
    for moved in ([[0.1, 0], [0, 0]], [[-11, 0], [0, 0]], [[np.nan, 0], [0, 0]]):
        text, is_same = check.compared(there + np.float32(moved), there)
        assert not is_same
        assert "MORE than rounding explains" in text
    assert check.compared(there[:, :1], there)[1] is False


@pytest.mark.slow
def test_preprocessing_inside_gives_the_same_scores_from_pictures(tiny, samples, tmp_path):
    made = export(tiny, "kd_student", samples, ExportSettings(INSIDE, opset=18, int8=False))
    assert made.opset == opset_of(made.files[0].content) == 18
    write_folder(tmp_path / "inside", folder_files(made, model_card(made)))
    assert [file.name for file in made.files] == ["model.onnx"]
    assert made.pictures.shape == (20, 14, 14, 1)
    assert made.pictures.dtype == np.uint8
    expected = tiny.runs["kd_student"].model(tiny.input.normalise(torch.from_numpy(made.pictures).permute(0, 3, 1, 2)))
    np.testing.assert_allclose(made.files[0].answers, expected.detach().numpy(), rtol=0, atol=1e-5)
    assert made.difference == pytest.approx(np.abs(made.files[0].answers - expected.detach().numpy()).max(), abs=1e-9)
    assert run_alone(tmp_path / "inside" / "check.py").returncode == 0
    assert "uint8 (N, 14, 14, 1)" in (tmp_path / "inside" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("preprocessing", ["beside", "inside"])
def test_the_example_answers_as_the_experiment_does(copied, tiny, samples, tmp_path, preprocessing):
    made = replace(
        export(tiny, "kd_student", None, ExportSettings(preprocessing, int8=False)),
        settings=ExportSettings(preprocessing),
    )
    out = tmp_path / "out"
    write_folder(out, folder_files(made, model_card(made)))
    samples.measured.picture(5).save(tmp_path / "digit.png")
    done = run_alone(out / "example.py", str(tmp_path / "digit.png"), also=["PIL"], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    shares = tiny.runs["kd_student"].model(tiny.preprocess(tmp_path / "digit.png")).softmax(1)[0]
    best = int(shares.argmax())
    assert done.stdout.splitlines()[0] == f"{tiny.classes[best]}: {float(shares[best]):.2%}"
    script = (out / "example.py").read_text(encoding="utf-8")
    code = script.partition("labels = ")[2].splitlines()[1:]
    assert len([line for line in code if line.strip() and not line.startswith("#")]) <= 10


@pytest.mark.slow
@pytest.mark.parametrize("role", ["teacher", "kd_student"])
def test_int8_answers_otherwise_on_at_most_a_fifth_of_a_percent_of_the_bundled_digits(role):
    experiment = load_experiment("mnist")
    made = export(experiment, role, own_samples(experiment))
    floats, int8 = made.files
    assert made.samples == 4800
    assert made.difference is not None
    assert made.difference < 1e-5
    assert int8.different is not None
    assert int8.different <= contents.MOST_DIFFERENT * made.samples
    assert int8.size < 0.3 * floats.size
    assert made.notes == ()


def test_scores_are_in_the_order_of_the_labels(tiny, samples):
    run = tiny.runs["kd_student"]
    plain = export(tiny, "kd_student", samples, ExportSettings(int8=False))
    run.class_order = tuple(range(9, -1, -1))
    run.__dict__.pop("model", None)
    for preprocessing in ("beside", "inside"):
        made = export(tiny, "kd_student", samples, ExportSettings(preprocessing, int8=False))
        np.testing.assert_allclose(made.files[0].answers, plain.files[0].answers[:, ::-1], rtol=0, atol=1e-6)
        right = (9 - run.unadapted(tiny.input.normalise(samples.measured.images)).argmax(1)) == samples.measured.labels
        np.testing.assert_array_equal(made.files[0].right, right.numpy())


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec((24, 32), 3, (0.0,) * 3, (1.0,) * 3),
        InputSpec((24, 24), 3, (0.0,) * 3, (1.0,) * 3, resize=30, interpolation="bilinear"),
        InputSpec((24, 32), 3, (0.0,) * 3, (1.0,) * 3, resize=(24, 32), interpolation="lanczos"),
        InputSpec((24, 32), 1, (0.0,), (1.0,), resize=(40, 50)),
    ],
)
def test_the_example_resizes_as_the_experiment_does(spec):
    for width, height in ((61, 40), (33, 90)):
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        picture = Image.fromarray(pixels).convert("L" if spec.channels == 1 else "RGB")
        names: dict[str, Any] = {"picture": picture, "Image": Image, "ImageOps": ImageOps}
        exec("\n".join(resizing(spec)), names)
        np.testing.assert_array_equal(np.asarray(names["picture"]), np.asarray(spec.transform(picture)))


@pytest.mark.parametrize(("columns", "kept"), [(1, ["last"]), (2, []), (10, [])])
def test_a_last_layer_with_few_of_the_weights_stays_in_float32(columns, kept):
    onnx = pytest.importorskip("onnx")
    values = [np.zeros((70, 70), np.float32), np.zeros((70, columns), np.float32)]
    weights = [onnx.numpy_helper.from_array(array, name) for array, name in zip(values, ("a", "b"), strict=True)]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "a"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"], name="relu"),
        onnx.helper.make_node("MatMul", ["r", "b"], ["y"], name="last"),
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], weights))
    assert onnx_export._kept_in_float(model) == kept


# refusals -------------------------------------------------------------------------------------------------------------


class Unknown(nn.Module):
    """A network whose answer depends on an operator that ONNX does not have."""

    def forward(self, images):
        return torch.special.bessel_j0(images.flatten(1)[:, :10])


def one_sentence(error: Exception) -> str:
    text = str(error)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    ("role", "text"), [("kd_studnt", "Did you mean 'kd_student'"), ("external", "only the predictions are known")]
)
def test_roles_that_cannot_be_exported(tiny, role, text, tmp_path):
    if role == "external":
        tiny.runs[role] = replace(tiny.runs["student"], role=role, network=PREDICTIONS, weights="", sha256="")
    with pytest.raises(KdvizError, match=text) as raised:
        export(tiny, role, None)
    one_sentence(raised.value)


@pytest.mark.slow
def test_an_operator_that_onnx_lacks_is_one_sentence_and_leaves_the_earlier_folder(
    tiny_folder, copied, monkeypatch, capsys
):
    before = content_of(copied)
    monkeypatch.setattr(Run, "unadapted", Unknown().eval())
    assert main(["export", "-e", str(tiny_folder), "--of", "kd_student", "--out", str(copied)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("kdviz: torch cannot export this network to ONNX: ")
    assert len(said.splitlines()) == 1
    assert content_of(copied) == before


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_refused(tiny, samples, monkeypatch):
    floats = contents.float_file
    other = tiny.runs["student"].unadapted
    monkeypatch.setattr(contents, "float_file", lambda _network, example, opset: floats(other, example, opset))
    with pytest.raises(ModelError, match="answers otherwise than the model") as raised:
        export(tiny, "kd_student", samples, ExportSettings(int8=False))
    one_sentence(raised.value)


def test_settings_that_cannot_be_used(tiny, monkeypatch):
    for settings, text in (
        (ExportSettings(opset=9), "opset 18 to 23, got 9"),
        (ExportSettings("between"), "Unknown place of preprocessing 'between'"),
    ):
        with pytest.raises(KdvizError, match=text):
            export(tiny, "kd_student", None, settings)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(SettingError, match=r'pip install "kdviz\[onnx\]"'):
        export(tiny, "kd_student", None)


def test_without_openvino_it_is_said_before_any_work(tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    command = ["export", "-e", str(tiny_folder), "--of", "kd_student", "--out", str(tmp_path / "out"), "--openvino"]
    assert main(command) == 1
    assert 'pip install "kdviz[openvino]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.extra)
@pytest.mark.parametrize("preprocessing", ["beside", "inside"])
def test_files_of_phones_answer_as_the_model_does(tiny, samples, tmp_path, runtime, preprocessing):
    for package in runtime.packages:
        pytest.importorskip(package, reason=f"needs kdviz[{runtime.extra}]")
    tiny.runs["kd_student"].class_order = tuple(range(9, -1, -1))
    tiny.runs["kd_student"].__dict__.pop("model", None)
    few = ProfileSamples(samples.measured.take(torch.arange(40)), samples.calibration)
    settings = ExportSettings(preprocessing, int8=False, **{runtime.extra: True})
    made = export(tiny, "kd_student", few, settings)
    floats, other = made.files
    np.testing.assert_allclose(other.answers, floats.answers, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(other.right, floats.right)
    write_folder(tmp_path / "out", folder_files(made, model_card(made)))
    command = [sys.executable, str(tmp_path / "out" / "check.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"{runtime.file}: 20 of 20 answers" in done.stdout


def test_without_a_runtime_it_is_said_before_any_work(tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contents, "float_file", None)  # it would fail
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for runtime in RUNTIMES:
        command = ["export", "-e", str(tiny_folder), "--of", "student", "--out", str(tmp_path / "out")]
        assert main([*command, f"--{runtime.extra}"]) == 1
        assert f'pip install "kdviz[{runtime.extra}]"' in capsys.readouterr().err


def test_an_operator_that_a_runtime_lacks_is_one_sentence(tiny, monkeypatch):
    def fails(network, example):
        raise ValueError("no such operator\nmore")

    monkeypatch.setattr(DeviceRuntime, "require", lambda self: None)
    lacking = replace(RUNTIMES[0], make=fails)
    with pytest.raises(ModelError, match=r"^ExecuTorch cannot convert this network: no such operator$"):
        lacking.content(tiny.runs["student"], inside=False)
    tiny.runs["student"].network = "onnx"
    with pytest.raises(ModelError, match="is an ONNX file; ExecuTorch files are made of networks"):
        lacking.content(tiny.runs["student"], inside=False)


def test_folders_that_hold_something_else_are_left_alone(tiny_folder, copied, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("x")
    (copied / "times.json").write_text("{}")
    for out, text in (
        (tmp_path / "file", "is a file; name a folder"),
        (foreign, "holds no export of kdviz"),
        (tiny_folder, "holds no export of kdviz"),
        (copied, "holds what kdviz has not exported (times.json)"),
    ):
        before = content_of(out) if out.is_dir() else None
        assert main(["export", "-e", str(tiny_folder), "--of", "student", "--out", str(out)]) == 1
        assert text in capsys.readouterr().err
        assert before is None or content_of(out) == before


def test_a_place_that_cannot_be_written_is_found_before_any_work(tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contents, "float_file", None)  # it would fail
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file" / "out", tmp_path / "file" / "deep" / "out", Path("/proc/kdviz/out")):
        assert main(["export", "-e", str(tiny_folder), "--of", "student", "--out", str(out)]) == 1
        assert capsys.readouterr().err.startswith(f"kdviz: Cannot write '{out}': ")
    assert {path.name for path in tmp_path.iterdir()} == {"file", tiny_folder.name}


def test_calibration_pictures_of_one_class_are_refused(tiny, small_digits):
    threes = small_digits.take((small_digits.labels == 3).nonzero()[:60, 0])
    with pytest.raises(SettingError, match=r"all of the class '3'; .* --no-int8"):
        export(tiny, "student", parted(threes))
    made = export(tiny, "student", parted(threes), ExportSettings(int8=False))
    assert [file.name for file in made.files] == ["model.onnx"]


def test_a_model_that_sees_another_size_takes_its_own_pictures(tiny, samples):
    smaller = InputSpec((7, 7), 1, (0.1,), (0.3,), resize=(7, 7), interpolation="bilinear")
    network = new_network("paper_fc", smaller, 10, 5).eval()
    tiny.runs["small"] = Run("small", "paper_fc", "", "", {}, {}, tiny.folder, smaller, 10, picture=tiny.input)
    tiny.runs["small"].unadapted = network
    made = export(tiny, "small", samples, ExportSettings(int8=False))
    assert made.pictures.shape[1:] == (7, 7, 1)
    inputs = tiny.input.normalise(samples.measured.images)
    right = tiny.runs["small"].model(inputs).argmax(1) == samples.measured.labels
    np.testing.assert_array_equal(made.files[0].right, right.numpy())
    expected = network(torch.from_numpy(prepared(made.pictures, made.run, inside=False))).detach().numpy()
    np.testing.assert_allclose(made.files[0].answers, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fails", ["writing", "moving"])
def test_a_folder_is_written_whole_or_not_at_all(copied, monkeypatch, fails):
    before = content_of(copied)
    files = dict.fromkeys(before, b"new")
    if fails == "writing":
        files["in/another"] = b""

        def full(path: Path):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(folder, "replacing", full)
    else:
        rename = Path.rename

        def refuse(self: Path, target: Path):
            if self.name == "new":
                raise OSError(13, "Permission denied")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(KdvizError, match=r"Cannot write '.*': (No space left|Permission denied)"):
        write_folder(copied, files)
    assert content_of(copied) == before
    assert [entry.name for entry in copied.parent.iterdir()] == [copied.name]


def test_an_earlier_export_is_replaced(copied):
    record = json.loads((copied / "export.json").read_text(encoding="utf-8"))
    files = {"export.json": json.dumps({**record, "role": "new"}).encode(), "model.onnx": b"new"}
    write_folder(copied, files)
    assert content_of(copied) == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


# the card -------------------------------------------------------------------------------------------------------------


def test_the_card_says_what_is_known_and_no_more(tiny, samples):
    tiny.runs["kd_student"].training |= {"weights_from": "somewhere `a|b`"}
    tiny.runs["kd_student"].metrics["test"] = {"samples": 200.0, "accuracy": 0.9}
    made = export(tiny, "kd_student", samples, ExportSettings(int8=False))
    card = model_card(made)
    (file,) = made.files
    assert f"| `model.onnx` | `{hashlib.sha256(file.content).hexdigest()}` |" in card
    assert tiny.runs["kd_student"].sha256 in card
    assert "| test | 200 | 90.00% (85.06% to 93.43%) | not known | not known | not known | not known |" in card
    assert file.right is not None
    assert f"| `model.onnx` | 300 | {file.right.mean():.2%} (" in card
    assert "Of these weights: not known. Training began with weights from `somewhere 'a/b'`" in card
    assert "What it was trained on is not known." in card
    assert "temperature" not in card


def test_without_pictures_there_is_no_int8_and_it_is_said(tiny):
    made = export(tiny, "kd_student", None)
    assert made.invented
    assert [file.name for file in made.files] == ["model.onnx"]
    card = model_card(made)
    assert "int8 finds its ranges on pictures, and none are kept" in card
    assert "20 images of noise" in card
    assert "Its accuracy is not known" not in card or "never measured" in card


# measured elsewhere ---------------------------------------------------------------------------------------------------


@pytest.fixture
def times_file(timed, tmp_path) -> Path:
    path = tmp_path / "times.json"
    path.write_text(timed, encoding="utf-8")
    return path


def test_times_of_a_device_are_rows_of_the_cost_table(tiny, times_file, written, capsys):
    assert main(["profile", "-e", str(tiny.folder), "--from", str(times_file)]) == 0
    printed = capsys.readouterr().out
    report = read_cost(tiny)
    assert report.devices == ["Board <b>A</b>"]
    assert report.batch == 4
    assert report.stale == ()
    assert "1 thread, Board <b>A</b>" in printed
    record = json.loads((written / "export.json").read_text(encoding="utf-8"))["files"]
    for row in report.table.to_pylist():
        name = "model.onnx" if row["form"] == "onnx" else "model_int8.onnx"
        assert row["measured_by"] == CHECK
        assert row["file_bytes"] == (written / name).stat().st_size
        assert np.median(row["times_ms"]) == pytest.approx(row["latency_ms"])
        assert row["latency_low_ms"] <= row["latency_ms"] <= row["latency_high_ms"]
        assert row["rounds"] == len(row["times_ms"]) >= 9
        assert row["accuracy"] == pytest.approx(record[name]["accuracy"]["accuracy"])
        assert row["samples"] == 300
        if sys.platform == "linux":
            assert 10e6 < row["memory_bytes"] < 2e9
    assert {(row["form"], row["batch"]) for row in report.table.to_pylist()} == {
        (form, batch) for form in ("onnx", "onnx_int8") for batch in (1, 4)
    }


def test_a_device_stands_beside_this_machine_and_stays_when_this_one_is_measured_again(tiny, times_file):
    rows = read_device_times(times_file, tiny)
    own = rows.to_pylist()
    for row in own:
        row |= {"machine": "Server", "measured_by": None, "form": "torch", "latency_ms": 1.0}
    tiny.write_table("cost", pa.Table.from_pylist(own, SCHEMA))
    for _again in range(2):  # a second time takes the place of the first
        tiny.write_table("cost", with_device_times(tiny, rows))
    report = read_cost(tiny)
    assert report.devices == ["Server", "Board <b>A</b>"]
    assert {entry.form for entry in report.entries} == {"torch"}
    assert {entry.form for entry in report.on("Board <b>A</b>").entries} == {"onnx", "onnx_int8"}
    assert report.machine["machine"] == "Server"
    assert len(report.table) == len(own) + len(rows)
    assert device_rows(tiny).num_rows == len(rows)
    tiny.runs["kd_student"].sha256 = "0" * 64
    assert device_rows(tiny).num_rows == 0


def test_one_machine_measured_in_both_ways_is_two(tiny, times_file):
    rows = read_device_times(times_file, tiny).to_pylist()
    both = [*[{**row, "measured_by": None} for row in rows], *rows]
    report = read_cost(tiny, pa.Table.from_pylist(both, SCHEMA))
    assert report.devices == ["Board <b>A</b>", "Board <b>A</b> (check.py)"]


def test_how_far_from_the_limit_is_the_larger_of_two(tiny, times_file):
    table = read_device_times(times_file, tiny)
    rows = table.to_pylist()
    for row in rows:
        limits = {"arithmetic_ms": 0.5, "reading_ms": 0.25} if row["form"] == "onnx" else {}
        row |= {"latency_ms": 2.0, **dict.fromkeys(("arithmetic_ms", "reading_ms")), **limits}
    (said,) = device_limits(read_cost(tiny, pa.Table.from_pylist(rows, SCHEMA)))
    assert said == (
        "Of the KD student in float32, one picture takes 2.00 ms, 4.0 times the 0.50 ms that this processor needs at "
        "least for the arithmetic."
    )
    for row in rows:
        row["reading_ms"] = row["arithmetic_ms"] and 1.0
    (said,) = device_limits(read_cost(tiny, pa.Table.from_pylist(rows, SCHEMA)))
    assert "2.0 times the 1.00 ms that this processor needs at least to read the weights" in said


def _set(*path: str | int) -> Callable[[dict[str, Any], Any], None]:
    def change(document: dict[str, Any], value: Any) -> None:
        target: Any = document
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


FILE = ("export", "files", "model.onnx")
DAMAGES = [
    (_set("rows"), []),
    (_set("rows", 0, "times_ms"), [1.0, -1.0]),
    (_set("rows", 0, "times_ms"), [float("inf")]),
    (_set("rows", 0, "times_ms"), [10**400]),
    (_set("rows", 0, "threads"), 0),
    (_set("rows", 0, "batch"), True),
    (_set("rows", 0, "file"), "../model.onnx"),
    (_set("rows", 0, "memory_bytes"), "many"),
    (_set("rows", 0, "energy_mj"), float("nan")),
    (_set("device"), None),
    (_set("device", "machine"), "Board\n# A"),
    (_set("device", "measured"), "yesterday"),
    (_set(*FILE, "form"), "tarot"),
    (_set(*FILE, "bytes"), -1),
    (_set(*FILE, "accuracy", "right"), "?"),
    (_set(*FILE, "accuracy", "samples"), 10),
]


@pytest.mark.parametrize(("change", "value"), DAMAGES)
def test_a_damaged_measurement_is_refused_and_the_table_stays(tiny, times_file, timed, change, value, capsys):
    document = json.loads(timed)
    change(document, value)
    times_file.write_text(json.dumps(document))
    assert main(["profile", "-e", str(tiny.folder), "--from", str(times_file)]) == 1
    said = capsys.readouterr().err
    assert "is damaged: its field '" in said
    assert len(said.splitlines()) == 1
    assert not tiny.has_table("cost")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "holds no measurement of an exported model"),
        ("not JSON", "holds no measurement of an exported model"),
        ('{"a": 1}', "holds no measurement of an exported model"),
        ("[" * 100_000, "holds no measurement of an exported model"),
        (b"\xff\xfe\x00", "holds no measurement of an exported model"),
        ('{"kdviz_times": 99}', "another version of kdviz"),
        ('{"kdviz_times": 1}', "was measured with another model"),
        (None, "Cannot read"),
    ],
)
def test_files_that_are_no_measurement(tiny, tmp_path, content, text):
    path = tmp_path / "times.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingError, match=text) as raised:
        read_device_times(path, tiny)
    one_sentence(raised.value)


def test_a_measurement_of_other_weights_is_refused(tiny, times_file):
    tiny.runs["kd_student"].sha256 = "0" * 64
    with pytest.raises(SettingError, match=r"measured with another model: none of .* has its role"):
        read_device_times(times_file, tiny)


def test_an_experiment_in_memory_is_not_taken_for_another(tiny: Experiment, times_file):
    tiny.runs["kd_student"].sha256 = ""
    with pytest.raises(SettingError, match="measured with another model"):
        read_device_times(times_file, tiny)
