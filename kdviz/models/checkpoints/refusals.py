"""The messages with which files are refused: each says what the file is, and what to do.

Each is a function of the path, so that all of them can be translated by their templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from kdviz.core.errors import ModelError

_SAVE = "save it as torch.save(model.state_dict(), 'weights.pt'), or as safetensors"
_TRUST = "kdviz import --trust, which lets the file run any code as you"


class NeedsCodeError(ModelError):
    """The file can only be opened by running the code in it."""


FOREIGN: dict[str, Callable[[Path], ModelError]] = {
    "empty": lambda path: ModelError(f"'{path}' is empty; please get it again."),
    "lfs": lambda path: ModelError(
        f"'{path}' is only a pointer of Git LFS to the file that is meant; get the file itself with: git lfs pull."
    ),
    "html": lambda path: ModelError(
        f"'{path}' is a web page, as a download gives where the link leads to a page; get the file behind its "
        "download button."
    ),
    "text": lambda path: ModelError(f"'{path}' is a text file and holds no weights; {_SAVE}."),
    "picture": lambda path: ModelError(f"'{path}' is a picture and not a model; give the file with the weights."),
    "archive": lambda path: ModelError(
        f"'{path}' is a packed archive; unpack it and give the file or folder with the weights that is inside."
    ),
    "hdf5": lambda path: ModelError(
        f"'{path}' is an HDF5 file, as Keras writes its models and weights; convert the model to ONNX with tf2onnx, "
        "and give that."
    ),
    "keras": lambda path: ModelError(
        f"'{path}' is a model of Keras; convert it to ONNX with tf2onnx, or model.export(..., format='onnx'), and give "
        "that."
    ),
    "tensorflow": lambda path: ModelError(
        f"'{path}' is a model or checkpoint of TensorFlow; convert it to ONNX with: python -m tf2onnx.convert, and "
        "give that."
    ),
    "tflite": lambda path: ModelError(
        f"'{path}' is a TensorFlow Lite model; convert it to ONNX with: python -m tf2onnx.convert --tflite FILE, and "
        "give that."
    ),
    "flax": lambda path: ModelError(
        f"'{path}' is a checkpoint of JAX (Flax, Orbax); transformers' from_pretrained(..., from_flax=True) in its "
        "versions before 5 turns such weights into torch's, or export the model to ONNX, and give that."
    ),
    "numpy": lambda path: ModelError(
        f"'{path}' holds arrays of NumPy and is not a checkpoint of torch; load them into the network where they were "
        f"made and {_SAVE}."
    ),
    "coreml": lambda path: ModelError(
        f"'{path}' is a Core ML model, which runs on Apple's devices only; give the model that it was made of, or an "
        "ONNX export of that."
    ),
    "gguf": lambda path: ModelError(
        f"'{path}' is a GGUF or GGML file, the quantised form of llama.cpp; give the model that it was made of."
    ),
    "ort": lambda path: ModelError(
        f"'{path}' is in onnxruntime's own format, which nobody checks; give the ONNX file that it was made of."
    ),
    "tensorrt": lambda path: ModelError(
        f"'{path}' is an engine of TensorRT, which runs only on the kind of GPU that it was built on; give the ONNX "
        "file that it was made of."
    ),
    "openvino": lambda path: ModelError(
        f"'{path}' is a model of OpenVINO; give the ONNX file or the checkpoint that it was made of."
    ),
    "mxnet": lambda path: ModelError(
        f"'{path}' holds weights of MXNet; export the model to ONNX with mx.onnx.export_model, and give that."
    ),
    "paddle": lambda path: ModelError(
        f"'{path}' is a model of PaddlePaddle; convert it to ONNX with paddle2onnx, and give that."
    ),
    "caffe": lambda path: ModelError(f"'{path}' is a model of Caffe; convert it to ONNX, and give that."),
    "exported": lambda path: ModelError(
        f"'{path}' is a program of torch.export (.pt2), and its network cannot be read back from it; save the weights "
        "of the model that it was made of with torch.save(model.state_dict(), 'weights.pt'), or export that to ONNX."
    ),
    "torchscript": lambda path: NeedsCodeError(
        f"'{path}' is a TorchScript archive, which holds code; load it where you trust it and {_SAVE}, or use {_TRUST}."
    ),
    "old_torch": lambda path: NeedsCodeError(
        f"'{path}' is in the format of torch before 0.1.10, which can only be read by running what is in it; load it "
        f"where you trust it and {_SAVE}."
    ),
    "pickle": lambda path: NeedsCodeError(
        f"'{path}' is a Python pickle that torch.save did not write, and kdviz runs no code from files; load it where "
        f"you trust it and {_SAVE}."
    ),
    "protocol": lambda path: NeedsCodeError(
        f"'{path}' was saved with another pickle protocol than torch's own, which cannot be read without running code; "
        f"{_SAVE}."
    ),
    "distributed": lambda path: ModelError(
        f"'{path}' is a checkpoint in pieces of torch.distributed; make it one file with: python -m "
        "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pt."
    ),
    "deepspeed": lambda path: ModelError(
        f"'{path}' is a checkpoint in pieces of DeepSpeed; make it one file with the zero_to_fp32.py that lies in it."
    ),
    "experiment": lambda path: ModelError(
        f"'{path}' is an experiment of kdviz and no single model; open it as it is, or give one of the weights "
        "files in it."
    ),
    "lora": lambda path: ModelError(
        f"'{path}' holds LoRA adapters, which are not a model without the one they were trained on; merge them with "
        "model.merge_and_unload(), and save the model that this gives."
    ),
    "optimiser": lambda path: ModelError(
        f"'{path}' holds the state of an optimiser and no model; give the file with the weights that was saved beside "
        "it."
    ),
    "no_weights": lambda path: ModelError(f"'{path}' holds no tensors by name; {_SAVE}."),
    "onnx": lambda path: ModelError(
        f"'{path}' is an ONNX model, whose weights cannot be read into a network; give the checkpoint that it was "
        "made of."
    ),
    "zip": lambda path: ModelError(f"'{path}' is not a checkpoint of torch; {_SAVE}."),
    "cut": lambda path: ModelError(f"'{path}' is damaged or cut off; please get it again."),
    "torch": lambda path: ModelError(f"'{path}' is damaged, or is not a checkpoint of torch; {_SAVE}."),
    "safetensors": lambda path: ModelError(f"'{path}' is damaged, or is not a safetensors file; please get it again."),
    "index": lambda path: ModelError(
        f"'{path}' is damaged, or is not the index of a checkpoint in several files; please get it again."
    ),
    "config": lambda path: ModelError(f"'{path}' is damaged, or is not a JSON file of settings; please get it again."),
}
"""Kind of file -> function that makes the error for it."""


def unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(f"Cannot read '{path}': {getattr(error, 'strerror', None) or error}.")


def unpacks_too_far(path: Path, size: float, unpacked: float) -> ModelError:
    """The error for an archive of ``size`` bytes that would unpack to ``unpacked`` bytes."""
    return ModelError(
        f"'{path}' ({size / 2**20:.1f} MB) would unpack to {unpacked / 2**20:.0f} MB, which no checkpoint of torch "
        f"does; if you trust it, load it and {_SAVE}."
    )


def unknown_object(path: Path, kind: str) -> ModelError:
    return NeedsCodeError(
        f"'{path}' holds a Python object ({kind}) and not only tensors, and kdviz runs no code from files; where it "
        f"was made, {_SAVE}, or use {_TRUST}."
    )


def whole_model(path: Path, kind: str) -> ModelError:
    return NeedsCodeError(
        f"'{path}' holds a whole model (of class {kind}), which only its code can load, and kdviz runs no code from "
        f"files; where it was made, {_SAVE}, or use {_TRUST}."
    )


def odd_entry(path: Path, name: object, kind: str) -> ModelError:
    return ModelError(f"'{path}' holds {name!r:.100} ({kind}), which is not an ordinary tensor; {_SAVE}.")


def quantised(path: Path, name: str) -> ModelError:
    return ModelError(
        f"'{path}' holds quantised weights (first '{name:.100}'), from which the network cannot be told; give the "
        "quantised model as ONNX, or the checkpoint from before it was quantised."
    )


def no_such_key(path: Path, key: str, keys: Iterable[str]) -> ModelError:
    return ModelError(f"'{path}' holds no weights under '{key}'; it has {_listed(keys)}.")


def module_failed(path: Path, error: Exception) -> ModelError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ModelError(f"'{path}' cannot be loaded even with --trust: {reason:.200}; {_SAVE}.")


def module_missing(path: Path, module: str) -> ModelError:
    return ModelError(
        f"'{path}' holds a whole model whose code, the Python module '{module}', cannot be imported here; run kdviz in "
        f"the folder of that code, or {_SAVE}."
    )


def no_module(path: Path, kind: str) -> ModelError:
    return ModelError(f"'{path}' holds a Python object ({kind}) and neither a model nor weights; {_SAVE}.")


# folders --------------------------------------------------------------------------------------------------------------


def empty_folder(path: Path) -> ModelError:
    return ModelError(
        f"The folder '{path}' holds no model: neither model.safetensors, pytorch_model.bin nor another checkpoint; "
        "give the file itself."
    )


def several_files(path: Path, names: Iterable[str]) -> ModelError:
    return ModelError(f"The folder '{path}' holds several checkpoints; give one of them: {_listed(names)}.")


def outside_folder(path: Path, name: object) -> ModelError:
    return ModelError(
        f"'{path}' names {name!r:.100} as one of its files, which is not the name of a file beside it; a checkpoint in "
        "several files is one folder."
    )


def missing_shard(path: Path, name: str) -> ModelError:
    return ModelError(f"'{path}' needs the file '{name}' beside it, which is missing; please get it, too.")


def missing_tensor(path: Path, name: str, shard: str) -> ModelError:
    return ModelError(f"'{path}' says that '{name:.100}' is in '{shard}', which is not so; please get both again.")


def not_a_classifier(path: Path, kind: str) -> ModelError:
    return ModelError(
        f"'{path}' holds a {kind:.100}, which is no image classifier; give a model with a classification head, such as "
        "...ForImageClassification."
    )


# ONNX -----------------------------------------------------------------------------------------------------------------


def channels_last(path: Path, shape: str) -> ModelError:
    return ModelError(
        f"The ONNX model '{path}' takes {shape}, with the channels last; convert it with its channels first, (N, C, H, "
        "W), as tf2onnx does with --inputs-as-nchw."
    )


def wrong_channels(path: Path, shape: str) -> ModelError:
    return ModelError(f"The ONNX model '{path}' takes {shape}; only pictures with 1 or 3 channels can be given to it.")


def wrong_scores(path: Path, shape: str) -> ModelError:
    return ModelError(
        f"The ONNX model '{path}' gives {shape} first, and not one row of scores a picture, (N, classes); export it "
        "with its scores as its first output."
    )


def new_opset(path: Path, opset: int) -> ModelError:
    return ModelError(
        f"The ONNX model '{path}' is of opset {opset}, which the installed onnxruntime does not know; export it with "
        "opset_version=17, or install a newer onnxruntime."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name:.80}'" for name in list(names)[:10])
