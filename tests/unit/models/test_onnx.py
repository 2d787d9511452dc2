"""ONNX files, float and int8, as models: the shipped networks exported, quantised and explained."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optional import needs
from PIL import Image

import kdviz
from kdviz.cli import main
from kdviz.core.errors import ExperimentError, KdvizError, ModelError, SettingError
from kdviz.experiment import Experiment, load_experiment
from kdviz.models.networks import NumpyNetwork, OnnxNetwork, last_operator, parameter_count
from kdviz.saliency import RISE

REASON = "makes ONNX files: needs onnx, onnxscript and onnxruntime"
onnx = pytest.importorskip("onnx", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)
pytestmark = needs("onnxscript", reason=REASON)

from onnx import TensorProto, helper  # noqa: E402
from onnxruntime import quantization  # noqa: E402

SETTINGS: dict[str, Any] = {"n_masks": 600, "grid": 6, "precision": "float32", "device": "cpu", "seed": 3}


@pytest.fixture(scope="session")
def shipped() -> Experiment:
    return load_experiment("mnist")


@pytest.fixture(scope="session")
def inputs(shipped, digits) -> torch.Tensor:
    """200 bundled digits as the models take them."""
    return shipped.input.normalise(digits.images[:200])


class _Calibration(quantization.CalibrationDataReader):
    def __init__(self, name: str, batch: np.ndarray):
        self._batches = iter([{name: batch}])

    def get_next(self):
        return next(self._batches, None)


@pytest.fixture(scope="session")
def files(shipped, digits, tmp_path_factory) -> dict[str, Path]:
    """The student and the teacher as ONNX files: float, with a fixed batch, and int8 in both ways."""
    folder = tmp_path_factory.mktemp("onnx")
    wanted = ("student", "teacher", "student_of_one", "student_int8", "student_dynamic")
    paths = {name: folder / f"{name}.onnx" for name in wanted}
    calibration = shipped.input.normalise(digits.images[-300:])
    for role in ("student", "teacher"):
        _export(shipped.runs[role].model, calibration[:2], paths[role], ({0: torch.export.Dim("N")},))
    _export(shipped.runs["student"].model, calibration[:1], paths["student_of_one"], None)
    plain = _without_inner_shapes(paths["student"])
    int8 = quantization.QuantType.QInt8
    reader = _Calibration("images", calibration.numpy())
    kinds = {"per_channel": True, "activation_type": int8, "weight_type": int8}
    quantization.quantize_static(plain, paths["student_int8"], reader, **kinds)
    quantization.quantize_dynamic(plain, paths["student_dynamic"], weight_type=int8)
    return paths


def _without_inner_shapes(path: Path) -> Path:
    """A copy that the quantiser takes: the exporter notes a weight's shape from before it was transposed."""
    model = onnx.load(path)
    del model.graph.value_info[:]
    copied = path.with_stem(f"{path.stem}_plain")
    onnx.save(model, copied)
    return copied


def _export(network, example, path, dynamic_shapes) -> None:
    torch.onnx.export(
        network,
        (example,),
        path,
        input_names=["images"],
        output_names=["logits"],
        dynamo=True,
        dynamic_shapes=dynamic_shapes,
        external_data=False,
        verbose=False,
    )


def by_onnxruntime(path: Path, images: torch.Tensor, at_once: int) -> torch.Tensor:
    """The file's own answers, without kdviz."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (session_input,) = session.get_inputs()
    return torch.cat(
        [torch.from_numpy(session.run(None, {session_input.name: part.numpy()})[0]) for part in images.split(at_once)]
    )


def correlation(first, second) -> float:
    return float(np.corrcoef(np.ravel(first.values), np.ravel(second.values))[0, 1])


# what the file computes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_float_file_gives_torchs_logits(shipped, files, inputs, role):
    network = OnnxNetwork(files[role])
    logits = network(inputs)
    assert (logits.dtype, logits.shape) == (torch.float32, (200, 10))
    torch.testing.assert_close(logits, shipped.runs[role].model(inputs), rtol=0, atol=1e-4)


def test_a_fixed_batch_gives_what_any_batch_gives(files, inputs):
    fixed, free = OnnxNetwork(files["student_of_one"]), OnnxNetwork(files["student"])
    assert (fixed.shape[0], type(free.shape[0])) == (1, str)
    torch.testing.assert_close(fixed(inputs[:20]), free(inputs[:20]), rtol=0, atol=1e-4)


def test_int8_is_nearly_as_right_as_float_and_a_quarter_of_the_size(shipped, files, digits):
    pictures, labels = shipped.input.normalise(digits.images[:2000]), digits.labels[:2000]
    accuracy = {}
    for name in ("student", "student_int8", "student_dynamic"):
        accuracy[name] = float((OnnxNetwork(files[name])(pictures).argmax(1) == labels).float().mean())
        assert name == "student" or files[name].stat().st_size < 0.3 * files["student"].stat().st_size
    assert accuracy["student"] > 0.97
    assert min(accuracy.values()) > accuracy["student"] - 0.02


def test_dynamic_int8_answers_do_not_depend_on_the_batch(files, inputs):
    network = OnnxNetwork(files["student_dynamic"])
    torch.testing.assert_close(network(inputs), by_onnxruntime(files["student_dynamic"], inputs, 1))
    # The file itself takes its scale from the whole batch, or this would test nothing.
    assert (by_onnxruntime(files["student_dynamic"], inputs, 200) - network(inputs)).abs().max() > 1e-3


def test_threads_follow_torch(files, inputs):
    network = OnnxNetwork(files["student"])
    before = network(inputs)
    assert network._open_session().get_session_options().intra_op_num_threads == torch.get_num_threads() == 1
    torch.set_num_threads(2)
    try:
        torch.testing.assert_close(network(inputs), before)
        assert network._open_session().get_session_options().intra_op_num_threads == 2
    finally:
        torch.set_num_threads(1)


def test_copies_and_pickles_compute_the_same(files, inputs):
    network = OnnxNetwork(files["student_int8"])
    for twin in (
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        OnnxNetwork(files["student_int8"].read_bytes()),
    ):
        assert torch.equal(twin(inputs), network(inputs))


def test_what_it_says_of_itself(files):
    network = OnnxNetwork(files["student_of_one"])
    assert repr(network) == "OnnxNetwork('student_of_one.onnx', (1, 1, 28, 28))"
    assert network.differentiable is False
    assert parameter_count(network) == 0


# files of other shapes ------------------------------------------------------------------------------------------------


def model_bytes(
    nodes, shape=("N", 1, 2, 2), outputs=(("scores", TensorProto.FLOAT),), kind=TensorProto.FLOAT, tensors=(), more=()
) -> bytes:
    """A small model with the input "images"."""
    images = [helper.make_tensor_value_info("images", kind, shape), *more]
    given = [helper.make_tensor_value_info(name, type_, None) for name, type_ in outputs]
    graph = helper.make_graph(nodes, "graph", images, given, list(tensors))
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def node(name: str, *inputs: str, output: str = "scores", **attributes):
    return helper.make_node(name, inputs, [output], **attributes)


PIXELS = torch.arange(20.0).reshape(5, 1, 2, 2) / 10
FLAT = node("Flatten", "images")


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8, "N", None])
def test_any_batch_of_any_file(batch):
    assert torch.equal(OnnxNetwork(model_bytes([FLAT], (batch, 1, 2, 2)))(PIXELS), PIXELS.flatten(1))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_floats(kind):
    scores = OnnxNetwork(model_bytes([FLAT], outputs=[("scores", kind)], kind=kind))(PIXELS)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, PIXELS.flatten(1), rtol=1e-3, atol=0)


def test_the_first_output_is_taken():
    nodes = [FLAT, node("Neg", "scores", output="other")]
    outputs = [("scores", TensorProto.FLOAT), ("other", TensorProto.FLOAT)]
    assert torch.equal(OnnxNetwork(model_bytes(nodes, outputs=outputs))(PIXELS), PIXELS.flatten(1))


def test_rise_explains_a_file_directly():
    maps = RISE(OnnxNetwork(model_bytes([FLAT]))).attribute(PIXELS[4:], target=2, n_masks=200, grid=2)
    # The score is the pixel at the bottom left, under the mean of the cells on the left: Cov(f, M) / p by hand.
    expected = PIXELS[4, 0, 1, 0] * torch.tensor([[0.25, 0.125], [0.25, 0.125]])
    torch.testing.assert_close(maps[0, 0], expected, atol=2e-3, rtol=0)  # balanced masks leave little noise


def external(location: str) -> bytes:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    return model_bytes([node("Flatten", "images", output="flat"), node("Add", "flat", "w")], tensors=[weights])


REFUSED = {
    "empty": (b"", "not an ONNX model"),
    "text": (b"these are no weights\n" * 20, "not an ONNX model"),
    "garbage": (bytes(range(256)) * 4, "not an ONNX model"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an ONNX model"),
    "truncated": (model_bytes([FLAT])[:-9], "not an ONNX model"),
    "unknown operator": (model_bytes([node("Explode", "images")]), "Explode"),
    "two inputs": (
        model_bytes(
            [node("Add", "images", "mask")], more=[helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1])]
        ),
        "one input, the pictures; it has images, mask",
    ),
    "pixels of uint8": (
        model_bytes([node("Cast", "images", to=TensorProto.FLOAT)], kind=TensorProto.UINT8),
        r"must take floats .* tensor\(uint8\)",
    ),
    "vectors": (model_bytes([FLAT], ("N", 784)), r"must take floats \(N, C, H, W\).* \(N, 784\)"),
    "labels first": (
        model_bytes([node("ArgMax", "images", axis=1)], outputs=[("scores", TensorProto.INT64)]),
        r"'scores', is tensor\(int64\)",
    ),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_what_is_no_model_of_pictures_is_refused(kind, tmp_path):
    content, reason = REFUSED[kind]
    path = tmp_path / "mine.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=reason) as caught:
        OnnxNetwork(path)
    assert "mine.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_onnxruntimes_own_format_is_refused(tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "mine.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(model_bytes([FLAT]), options, providers=["CPUExecutionProvider"])
    assert onnxruntime.InferenceSession(tmp_path / "mine.ort", providers=["CPUExecutionProvider"]).get_inputs()
    with pytest.raises(ModelError, match="not an ONNX model"):
        OnnxNetwork(tmp_path / "mine.ort")


@pytest.mark.parametrize("path", ["missing.onnx", ".", "a\0b", "x" * 300])
def test_a_file_that_cannot_be_read(path):
    with pytest.raises(ModelError, match="Cannot read"):
        OnnxNetwork(path)


@pytest.mark.parametrize("shape", [(3, 1, 4, 4), (3, 3, 2, 2), (1, 2, 2), (3, 1, 2, 2, 1)], ids=str)
def test_a_wrong_input_size(shape):
    with pytest.raises(ModelError, match=r"takes \(N, 1, 2, 2\), got"):
        OnnxNetwork(model_bytes([FLAT]), "mine.onnx")(torch.zeros(shape))


def test_a_model_that_fails_or_loses_the_batch(capfd):
    reshape = helper.make_tensor("s", TensorProto.INT64, [2], [1, 8])
    with pytest.raises(ModelError, match=r"'mine\.onnx' failed"):
        OnnxNetwork(model_bytes([node("Reshape", "images", "s")], tensors=[reshape]), "mine.onnx")(PIXELS)
    with pytest.raises(ModelError, match=r"gave \(\) for a batch of 5"):
        OnnxNetwork(model_bytes([node("ReduceSum", "images", keepdims=0)]))(PIXELS)
    assert capfd.readouterr().err == ""  # onnxruntime says nothing itself


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "{folder}/weights.bin", "*/_ORT_MEM_ADDR_/*"])
def test_weights_in_another_file_are_never_read(tmp_path, monkeypatch, location):
    inside = tmp_path / "inside"
    inside.mkdir()
    for folder in (tmp_path, inside):
        np.ones(4, np.float32).tofile(folder / "weights.bin")
    path = inside / "mine.onnx"
    path.write_bytes(external(location.format(folder=tmp_path)))
    monkeypatch.chdir(inside)
    for source in (path, path.read_bytes()):
        with pytest.raises(ModelError, match="external_data=False"):
            OnnxNetwork(source)


def test_without_onnxruntime(files, shipped, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SettingError, match=r'needs onnxruntime; install it with: pip install "kdviz\[onnx\]"'):
        shipped.with_model("edge", files["student"])


def test_an_onnxruntime_that_reads_any_file_is_refused(files, monkeypatch):
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    with pytest.raises(SettingError, match=r"1\.24 or newer, not 1\.23\.2"):
        OnnxNetwork(files["student"])


# in an experiment -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_maps_of_a_float_file_are_torchs(shipped, files, digits):
    experiment = shipped.with_model("onnx_student", files["student"]).with_model("onnx_teacher", str(files["teacher"]))
    assert list(shipped.runs) == ["teacher", "kd_student", "student"]  # the original is as it was
    for sample in (0, 7):
        maps = kdviz.explain(experiment, digits.picture(sample), int(digits.labels[sample]), **SETTINGS)
        for role in ("student", "teacher"):
            assert correlation(maps[f"onnx_{role}"], maps[role]) > 0.999
            np.testing.assert_allclose(maps[f"onnx_{role}"].probabilities, maps[role].probabilities, atol=1e-5)
        assert correlation(maps["teacher"], maps["student"]) < 0.99  # two other models' maps are told apart


@pytest.mark.parametrize("name", ["student_int8", "student_dynamic"])
def test_maps_of_an_int8_file_explain_that_file(shipped, files, digits, name):
    own = NumpyNetwork(lambda pixels: by_onnxruntime(files[name], torch.from_numpy(pixels), 1).numpy())
    experiment = shipped.with_model("edge", files[name]).with_model("own", own)
    maps = kdviz.explain(experiment, digits.picture(11), 3, roles=["student", "edge", "own"], **SETTINGS)
    logits = by_onnxruntime(files[name], experiment.preprocess(digits.picture(11)), 1)
    np.testing.assert_allclose(maps["edge"].probabilities, logits.softmax(1)[0].numpy(), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(maps["edge"].values, maps["own"].values, rtol=1e-4, atol=1e-7)
    # And not those of the float model, which says nearly the same.
    assert np.abs(np.log(maps["edge"].probabilities / maps["student"].probabilities)).max() > 0.02
    assert correlation(maps["edge"], maps["student"]) > 0.9


def test_the_run_of_a_file(shipped, files):
    run = shipped.with_model("edge", files["student_int8"]).runs["edge"]
    assert (run.role, run.network) == ("edge", "onnx")
    assert run.sha256 == hashlib.sha256(files["student_int8"].read_bytes()).hexdigest()
    assert run.weights == f"edge-{run.sha256[:8]}.onnx"
    assert run.on("cpu") is run.on("cuda") is run.model  # onnxruntime computes on the CPU, wherever the input is
    assert isinstance(run.model, OnnxNetwork)
    assert not run.model.training


def small_file(tmp_path, last=(), scores="flat") -> Path:
    """A model for the experiment ``tiny``: the first ten of 14 x 14 pixels, and what ``last`` makes of them."""
    cut = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in (("a", 0), ("b", 10), ("c", 1))]
    output = "scores" if not last else "ten"
    nodes = [node("Flatten", "images", output="flat"), node("Slice", "flat", "a", "b", "c", output=output), *last]
    path = tmp_path / "small.onnx"
    path.write_bytes(model_bytes(nodes, ("N", 1, 14, 14), tensors=cut))
    return path


def test_a_saved_file_is_a_run_like_any_other(tiny, tmp_path):
    copied = tiny.with_model("edge", small_file(tmp_path))
    run = copied.runs["edge"]
    assert not list(tiny.folder.glob("*.onnx"))  # nothing is written before it is saved
    copied.save()
    read = load_experiment(tiny.folder)
    assert [path.name for path in tiny.folder.glob("*.onnx")] == [run.weights]
    assert read.to_json() == copied.to_json()
    pictures = torch.rand(4, 1, 14, 14)
    assert torch.equal(read.runs["edge"].model(pictures), pictures.flatten(1)[:, :10])
    assert "edge-" in repr(read.runs["edge"].model)
    read.save()  # once more, with the file in its place
    del read.runs["edge"]
    read.save()
    assert not list(tiny.folder.glob("*.onnx"))


def test_saving_leaves_other_onnx_files_alone(tiny):
    mine = tiny.folder / "student-export01.onnx"
    mine.write_bytes(b"mine")
    tiny.save()
    assert mine.exists()


@pytest.fixture
def with_edge(tiny, tmp_path) -> Path:
    """A folder with an ONNX run, the fourth."""
    copied = tiny.with_model("edge", small_file(tmp_path))
    copied.save()
    return copied.folder


def edit_edge(folder: Path, **changes) -> None:
    path = folder / "experiment.json"
    document = json.loads(path.read_text())
    document["runs"][3] |= changes
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "weights", ["../x.onnx", "/tmp/x.onnx", "a/x.onnx", ".onnx", "edge.safetensors", "x.ONNX", 5, ""]
)
def test_the_weights_of_an_onnx_run_are_a_plain_onnx_file(with_edge, weights):
    edit_edge(with_edge, weights=weights)
    with pytest.raises(ExperimentError, match=r"field 'runs\[3\]\.weights' must be"):
        load_experiment(with_edge)


def test_an_onnx_file_is_the_weights_of_no_other_network(with_edge):
    edit_edge(with_edge, network="paper_fc")
    with pytest.raises(ExperimentError, match=r"runs\[3\]\.weights' must be the name of a \.safetensors file"):
        load_experiment(with_edge)


def test_an_onnx_file_that_changed_or_is_missing(with_edge):
    (path,) = with_edge.glob("*.onnx")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ExperimentError, match="sha256"):
        load_experiment(with_edge)
    path.unlink()
    with pytest.raises(ExperimentError, match="edge are missing"):
        load_experiment(with_edge)


def test_a_file_in_the_folder_that_does_not_fit(with_edge, tmp_path):
    (path,) = with_edge.glob("*.onnx")
    for content, reason in ((b"text", "not an ONNX model"), (model_bytes([FLAT]), r"takes \(N, 1, 2, 2\)")):
        path.write_bytes(content)
        edit_edge(with_edge, sha256=hashlib.sha256(content).hexdigest())
        with pytest.raises(ModelError, match=reason):
            _ = load_experiment(with_edge).runs["edge"].model


def test_a_file_for_other_pictures_or_classes_is_refused_at_once(shipped, tmp_path):
    path = small_file(tmp_path)
    with pytest.raises(ModelError, match=r"takes \(N, 1, 14, 14\), got \(N, C, H, W\) = \(8, 1, 28, 28\)"):
        shipped.with_model("edge", path)
    path.write_bytes(model_bytes([FLAT], ("N", 1, "H", "W")))
    with pytest.raises(ModelError, match=r"'edge' must return logits of shape \(8, 10\), got \(8, 784\)"):
        shipped.with_model("edge", path)


def test_a_file_that_ends_with_a_softmax_gives_its_own_probabilities(tiny, tmp_path):
    run = tiny.with_model("edge", small_file(tmp_path, [node("Softmax", "ten", axis=1)])).runs["edge"]
    pictures = 5 * torch.rand(9, 1, 14, 14)
    torch.testing.assert_close(run.model(pictures).softmax(1), by_onnxruntime(tmp_path / "small.onnx", pictures, 9))
    assert not tiny.with_model("edge", small_file(tmp_path)).runs["edge"].model.returns_probabilities


@pytest.mark.parametrize("last", [[], ["Identity"], ["Flatten"]], ids=str)
def test_a_file_that_ends_with_a_sigmoid_gives_its_logits(tiny, tmp_path, last):
    plain = tiny.with_model("plain", small_file(tmp_path)).runs["plain"].model
    names = ["ten", "sure", "end"]
    chain = [
        node(kind, source, output="scores" if number == len(last) else names[number + 1])
        for number, (kind, source) in enumerate(zip(["Sigmoid", *last], names, strict=False))
    ]
    run = tiny.with_model("edge", small_file(tmp_path, chain)).runs["edge"]
    assert run.model.undoes_sigmoid
    pictures = torch.rand(9, 1, 14, 14)
    torch.testing.assert_close(run.model(pictures), plain(pictures), rtol=1e-3, atol=1e-3)
    assert not plain.undoes_sigmoid


@pytest.mark.parametrize("content", [b"", b"no model", bytes(64), b"\x3a\xff\xff\xff\xff\x0f" + bytes(9)])
def test_what_ends_a_file_that_is_none_cannot_be_told(content):
    assert last_operator(content, "scores") == ""


def test_the_last_operator_is_what_the_package_onnx_reads(files):
    for path in files.values():
        graph = onnx.load(path).graph
        makers = {name: operator for operator in graph.node for name in operator.output}
        name = graph.output[0].name
        while makers[name].op_type in ("QuantizeLinear", "DequantizeLinear", "Reshape", "Identity"):
            name = makers[name].input[0]
        assert last_operator(path.read_bytes(), graph.output[0].name) == makers[name].op_type


# command line ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(digit_file) -> list[str]:
    return ["explain", str(digit_file), "-e", "mnist", "--masks", "60", "--grid", "4", "--device", "cpu"]


@pytest.mark.slow
def test_added_files_are_compared_with_the_others(command, files, tmp_path, capsys):
    added = ["--add", f"edge={files['student_int8']}", "--add", f"float_edge={files['student']}"]
    roles = ["teacher", "kd_student", "student", "edge", "float_edge"]
    for kind in ("npz", "png", "html"):
        assert main([*command, *added, "--json", "--out", str(tmp_path / f"maps.{kind}")]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(document["images"][0]["models"]) for document in documents] == [roles] * 3
    assert len(documents[0]["images"][0]["agreement"]["pairs"]) == 10
    with np.load(tmp_path / "maps.npz") as archive:
        assert {*roles, *(f"{role}_se" for role in roles)} == set(archive)
    with Image.open(tmp_path / "maps.png") as picture:
        assert picture.width > 2 * picture.height  # six panels in a row, two rows
    assert "float edge" in (tmp_path / "maps.html").read_text()


@pytest.mark.parametrize(
    ("addition", "reason"),
    [
        ("edge.onnx", r"--add must be NAME=FILE\.onnx, got 'edge\.onnx'"),
        ("=edge.onnx", "--add must be"),
        ("edge=", "--add must be"),
        ("edge=missing.onnx", "Cannot read 'missing.onnx'"),
        ("student=student.onnx", "'student' is taken"),
        ("../up=student.onnx", "no role name"),
        ("edge=text.onnx", "'text.onnx' is not an ONNX model"),
    ],
)
def test_a_wrong_addition_is_one_line_and_exit_one(command, tmp_path, monkeypatch, capfd, addition, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.onnx").write_text("no model")
    assert main([*command, "--add", addition, "--out", "maps.npz"]) == 1
    captured = capfd.readouterr()  # onnxruntime writes past sys.stderr
    assert captured.out == ""
    assert captured.err.startswith("kdviz: ")
    assert captured.err.count("\n") == 1
    with pytest.raises(KdvizError, match=reason):
        raise KdvizError(captured.err)
    assert not (tmp_path / "maps.npz").exists()
