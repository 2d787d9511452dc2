"""Files that hold a whole model: ONNX, checked when opened; TorchScript and pickles, only where they are trusted."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import torch
from checkpoint_files import STUDENT, Small, saved
from torch import nn

from kdviz.core.errors import ModelError
from kdviz.models.checkpoints import open_model_file, read_checkpoint, recorded_classes


def refusal(path: Path, **how) -> str:
    with pytest.raises(ModelError) as caught:
        open_model_file(path, **how)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# trusted --------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # torch will no longer make such files; people have them
def test_torchscript(tmp_path):
    network = Small().eval()
    torch.jit.trace(network, torch.rand(1, 3, 3, 3)).save(str(tmp_path / "a.pt"))
    text = refusal(tmp_path / "a.pt")
    assert "is a TorchScript archive, which holds code" in text
    assert "kdviz import --trust, which lets the file run any code as you" in text
    read = open_model_file(tmp_path / "a.pt", trust=True)
    assert (read.kind, read.weights) == ("torchscript", ())
    images = torch.rand(2, 3, 3, 3)
    torch.testing.assert_close(read.module(images), network(images))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_model(tmp_path, zipped):
    network = Small().eval()
    path = saved(tmp_path, network, _use_new_zipfile_serialization=zipped)
    refusal(path)
    read = open_model_file(path, trust=True)
    assert (read.kind, read.weights, read.module.training) == ("module", (), False)
    images = torch.rand(2, 3, 3, 3)
    torch.testing.assert_close(read.module(images), network(images))


def test_a_pickled_model_under_a_key(tmp_path):
    """As YOLOv5 and its kin save it: models in half precision, the average beside them."""
    path = saved(tmp_path, {"epoch": 3, "model": Small(3).half(), "ema": Small(5).half(), "names": ["a", "b"]})
    read = open_model_file(path, trust=True)
    assert read.module.fc.out_features == 5
    assert read.module.fc.weight.dtype == torch.float32
    assert read.recorded == {"epoch": 3, "names": ["a", "b"]}
    assert read.notes == ("The model under 'ema' is used.",)
    assert open_model_file(path, key="model", trust=True).module.fc.out_features == 3


def test_weights_beside_an_object(tmp_path):
    path = saved(tmp_path, {"state_dict": STUDENT, "hyper_parameters": {"net": nn.Flatten(), "lr": 0.1}})
    read = open_model_file(path, trust=True)
    assert (read.kind, read.module, read.weights[0].key) == ("torch", None, "state_dict")
    assert read.recorded == {"hyper_parameters": {"lr": 0.1}}


def test_trust_changes_nothing_for_tensors(tmp_path):
    read = open_model_file(saved(tmp_path, STUDENT), trust=True)
    assert (read.kind, read.module) == ("torch", None)


def test_a_model_whose_code_is_missing(tmp_path):
    module = types.ModuleType("mynet")
    made = type("TinyNet", (nn.Linear,), {"__module__": "mynet"})
    module.TinyNet = made
    sys.modules["mynet"] = module
    try:
        path = saved(tmp_path, made(2, 2))
    finally:
        del sys.modules["mynet"]
    assert "of class mynet.TinyNet" in refusal(path)
    assert "the Python module 'mynet', cannot be imported here" in refusal(path, trust=True)


class _Failing:
    def __reduce__(self):
        return int, ("not a number",)


def test_a_file_that_fails_although_it_is_trusted(tmp_path):
    assert "cannot be loaded even with --trust: invalid literal" in refusal(
        saved(tmp_path, [len, _Failing()]), trust=True
    )
    assert "holds a Python object (list) and neither" in refusal(saved(tmp_path, [len]), trust=True)


# ONNX -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


def _file(onnx, folder, *, shape=("N", 3, 4, 4), kind=1, scores=("N", 3), opset=17, inputs=1, external=False) -> Path:
    """A file of one operator: the sum over H and W, which is (N, C)."""
    helper = onnx.helper
    first = "cast" if kind != 1 else "x0"
    nodes = [helper.make_node("Cast", ["x0"], ["cast"], to=1)] if kind != 1 else []
    axes = helper.make_tensor("axes", 7, [2], [2, 3]) if len(shape) == 4 else helper.make_tensor("axes", 7, [1], [1])
    nodes.append(helper.make_node("ReduceSum", [first, "axes"], ["y"], keepdims=int(len(scores) == 4)))
    if external:
        axes.ClearField("int64_data")
        axes.data_location = onnx.TensorProto.EXTERNAL
        axes.external_data.add(key="location", value="weights.bin")
    given = [helper.make_tensor_value_info(f"x{number}", kind, shape) for number in range(inputs)]
    graph = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("y", 1, scores)], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_an_onnx_file(onnx, tmp_path):
    read = open_model_file(_file(onnx, tmp_path))
    assert (read.kind, read.weights, read.module) == ("onnx", (), None)
    assert read.recorded == {"input_shape": [None, 3, 4, 4], "output_shape": [None, 3], "opset": 17}
    renamed = (tmp_path / "model.onnx").rename(tmp_path / "model")  # it is known by its content
    assert open_model_file(renamed).kind == "onnx"
    with pytest.raises(ModelError, match="is an ONNX model, whose weights cannot be read"):
        read_checkpoint(renamed)


def test_an_onnx_file_in_a_folder_of_transformers(onnx, tmp_path):
    """As optimum exports it: the file beside the settings of its model."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "id2label": {"0": "a", "1": "b", "2": "c"}}))
    _file(onnx, tmp_path)
    read = open_model_file(tmp_path)
    assert (read.kind, read.path, read.recorded["opset"]) == ("onnx", tmp_path, 17)
    assert recorded_classes(read.recorded) == ("a", "b", "c")


ONNX = {
    "the wrong rank": ({"shape": ("N", 12)}, "must take floats (N, C, H, W)"),
    "channels last": ({"shape": ("N", 4, 4, 3), "scores": ("N", 4)}, "with the channels last; convert it"),
    "five channels": ({"shape": ("N", 5, 4, 4), "scores": ("N", 5)}, "only pictures with 1 or 3 channels"),
    "bytes": ({"kind": 2}, "its input is tensor(uint8)"),
    "two inputs": ({"inputs": 2}, "must have one input, the pictures; it has x0, x1"),
    "maps": ({"scores": ("N", 3, 1, 1)}, "gives (N, 3, 1, 1) first, and not one row of scores a picture"),
    "too new": ({"opset": 99}, "is of opset 99, which the installed onnxruntime does not know"),
    "weights elsewhere": ({"external": True}, "external_data=False"),
}


@pytest.mark.parametrize("kind", list(ONNX))
def test_onnx_files_that_do_not_fit(onnx, tmp_path, kind):
    how, reason = ONNX[kind]
    assert reason in refusal(_file(onnx, tmp_path, **how))
