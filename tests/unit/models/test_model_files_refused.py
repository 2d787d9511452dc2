"""Files that are no checkpoint of a classifier: each is named for what it is, with the way out, in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import STUDENT, Small, saved
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from kdviz.core.errors import ModelError
from kdviz.models.checkpoints import open_model_file, read_checkpoint


def refusal(path: Path, **how) -> str:
    with pytest.raises(ModelError) as caught:
        open_model_file(path, **how)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert path.name in text
    return text


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


def tarred(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    return file.getvalue()


def arrays() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "JPEG")
    return file.getvalue()


def msgpack(tensors: dict) -> bytes:
    """As flax.serialization.msgpack_serialize writes a dictionary."""
    return pytest.importorskip("msgpack").packb(tensors)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"
FILES: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "empty": ("a.pth", lambda: b"", "is empty", "get it again"),
    "a pointer of Git LFS": ("model.safetensors", lambda: LFS, "only a pointer of Git LFS", "git lfs pull"),
    "a web page": ("a.pth", lambda: b"\n<!DOCTYPE html><html><head>", "is a web page", "download button"),
    "a web page, other letters": ("a.onnx", lambda: b"<HTML lang='en'>", "is a web page", "download button"),
    "text": ("a.pth", lambda: "epoch 1: 0.5 ± 0.1\n".encode() * 40, "is a text file", "torch.save"),
    "JSON": ("a.safetensors", lambda: json.dumps({"a": 1}).encode(), "is a text file", "safetensors"),
    "a picture": ("a.pt", picture, "is a picture", "give the file with the weights"),
    "HDF5": ("a.h5", lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "is an HDF5 file", "tf2onnx"),
    "Keras": ("a.keras", lambda: zipped("metadata.json", "config.json", "model.weights.h5"), "of Keras", "ONNX"),
    "TensorFlow": ("frozen.pb", lambda: b"\n\x1c\n\x05input\x12\x0b" + b"\0" * 9, "of TensorFlow", "tf2onnx"),
    "a part of TensorFlow": ("m.ckpt.data-00000-of-00001", lambda: b"\x00\x01" * 99, "of TensorFlow", "tf2onnx"),
    "TFLite": ("a.tflite", lambda: b"\x1c\0\0\0TFL3" + b"\0" * 99, "TensorFlow Lite", "--tflite"),
    "Flax": ("flax_model.msgpack", lambda: msgpack({"params": {"kernel": b"x"}}), "of JAX", "ONNX"),
    "Flax, other name": ("checkpoint_5", lambda: msgpack({"params": {"kernel": b"\xff"}}), "of JAX", "ONNX"),
    "NumPy": ("a.npz", arrays, "holds arrays of NumPy and is not a checkpoint of torch", "torch.save"),
    "NumPy, one": ("a.npy", lambda: b"\x93NUMPY\1\0", "holds arrays of NumPy", "torch.save"),
    "Core ML": ("a.mlmodel", lambda: b"\x08\x04\x12\x10" + b"\0" * 9, "Core ML", "ONNX"),
    "GGUF": ("a.gguf", lambda: b"GGUF\x03\0\0\0", "GGUF", "that it was made of"),
    "onnxruntime's": ("a.ort", lambda: b"\x18\0\0\0ORTM" + b"\0" * 9, "onnxruntime's own format", "ONNX file"),
    "TensorRT": ("a.engine", lambda: b"ftrt\0\0", "an engine of TensorRT", "ONNX file"),
    "OpenVINO": ("a.xml", lambda: b'<?xml version="1.0"?>\n<net name="x" version="11">', "OpenVINO", "checkpoint"),
    "MXNet": ("a.params", lambda: b"\x12\x01\0\0\0\0\0\0\0\0", "weights of MXNet", "ONNX"),
    "Paddle": ("a.pdparams", lambda: pickle.dumps({"a": 1}), "PaddlePaddle", "paddle2onnx"),
    "gzip": ("a.pth.gz", lambda: gzip.compress(b"x"), "packed archive", "unpack it"),
    "tar": ("a.tar", lambda: tarred("model.pth"), "packed archive", "unpack it"),
    "zip": ("a.zip", lambda: zipped("run/best.pth", "run/log.txt"), "packed archive", "unpack it"),
    "zip without weights": ("a.zip", lambda: zipped("a.txt"), "is not a checkpoint of torch", "torch.save"),
    "torch before zip": ("a.pth", lambda: tarred("sys_info"), "torch before 0.1.10", "torch.save"),
    "a pickle": ("a.pkl", lambda: pickle.dumps({"a": 1}), "is a Python pickle that torch.save did not", "torch.save"),
    "nonsense": ("a.pth", lambda: bytes(range(128, 256)), "is not a checkpoint of torch", "torch.save"),
    "a broken ONNX": ("a.onnx", lambda: b"\x08\x07\x12\x04abcd:\x05", "is not an ONNX model", ""),
}


@pytest.mark.parametrize("kind", list(FILES))
def test_files_of_another_kind(tmp_path, kind):
    name, content, what, way_out = FILES[kind]
    (tmp_path / name).write_bytes(content())
    text = refusal(tmp_path / name)
    assert what in text
    assert way_out in text


def test_what_torch_export_writes(tmp_path):
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "a.pt2")
    assert "is a program of torch.export" in refusal(tmp_path / "a.pt2")


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_files_that_are_cut_off(tmp_path, ending, share):
    path = tmp_path / f"a{ending}"
    torch.save(STUDENT, path) if ending == ".pt" else save_file(STUDENT, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "is damaged" in refusal(path)


def optimiser() -> dict:
    network = Small()
    made = torch.optim.AdamW(network.parameters())
    network(torch.rand(2, 3, 3, 3)).sum().backward()
    made.step()
    return made.state_dict()


def quantised() -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch will no longer make such tensors; people have files of them
        weight = torch.quantize_per_tensor(STUDENT["conv.weight"], 0.1, 0, torch.qint8)
    return {**STUDENT, "conv.weight": weight}


def adapters() -> dict:
    names = ("lora_A.weight", "lora_B.weight")
    return {f"base_model.model.vit.layer.0.query.{name}": torch.rand(4, 4) for name in names}


CONTENTS: dict[str, tuple[Callable[[], object], str]] = {
    "an optimiser": (optimiser, "the state of an optimiser and no model"),
    "an optimiser under a key": (lambda: {"optimizer": optimiser(), "epoch": 1}, "the state of an optimiser"),
    "quantised": (quantised, "holds quantised weights (first 'conv.weight')"),
    "quantised, packed": (lambda: {"fc.scale": torch.rand(1), "fc._packed_params._packed_params": None}, "quantised"),
    "quantised, of GPTQ": (lambda: {"fc.qweight": torch.zeros(2, 2, dtype=torch.int32)}, "quantised weights"),
    "sparse": (lambda: {**STUDENT, "fc.weight": torch.eye(3).to_sparse()}, "'fc.weight' (torch.sparse_coo on cpu)"),
    "adapters": (adapters, "merge_and_unload"),
    "facts only": (lambda: {"epoch": 1, "lr": 0.1}, "no tensors by name"),
    "a text": (lambda: "weights", "no tensors by name"),
    "a whole model": (Small, "holds a whole model (of class checkpoint_files.Small)"),
    "a model under a key": (lambda: {"model": Small(), "epoch": 1}, "a Python object (checkpoint_files.Small)"),
    "arguments with a function": (lambda: {"model": STUDENT, "loss": np.mean}, "a Python object (numpy.mean)"),
}


@pytest.mark.parametrize("kind", list(CONTENTS))
def test_checkpoints_without_usable_weights(tmp_path, kind):
    content, reason = CONTENTS[kind]
    assert reason in refusal(saved(tmp_path, content()))


def test_objects_have_two_ways_out(tmp_path):
    for content in (Small(), {"state_dict": STUDENT, "hyper_parameters": {"net": nn.Flatten()}}):
        text = refusal(saved(tmp_path, content))
        assert "save it as torch.save(model.state_dict(), 'weights.pt')" in text
        assert "kdviz import --trust, which lets the file run any code as you" in text


def test_another_pickle_protocol(tmp_path):
    assert "with another pickle protocol" in refusal(saved(tmp_path, STUDENT, pickle_protocol=4))


def test_adapters_in_safetensors(tmp_path):
    save_file(adapters(), tmp_path / "adapter_model.safetensors")
    assert "LoRA" in refusal(tmp_path / "adapter_model.safetensors")


def test_a_file_that_is_not_there(tmp_path):
    assert "Cannot read" in refusal(tmp_path / "nowhere.pth")
    with pytest.raises(ModelError, match="Cannot read"):
        read_checkpoint(f"{tmp_path}/a\0b.pth")
