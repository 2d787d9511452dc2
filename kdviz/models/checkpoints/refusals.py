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
    "empty": lambda path: ModelError("'{path}' is empty; please get it again.", path=path),
    "lfs": lambda path: ModelError(
        "'{path}' is only a pointer of Git LFS to the file that is meant; get the file itself with: git lfs pull.",
        path=path,
    ),
    "html": lambda path: ModelError(
        "'{path}' is a web page, as a download gives where the link leads to a page; "
        "get the file behind its download button.",
        path=path,
    ),
    "text": lambda path: ModelError(
        "'{path}' is a text file and holds no weights; save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
    ),
    "picture": lambda path: ModelError(
        "'{path}' is a picture and not a model; give the file with the weights.", path=path
    ),
    "archive": lambda path: ModelError(
        "'{path}' is a packed archive; unpack it and give the file or folder with the weights that is inside.",
        path=path,
    ),
    "hdf5": lambda path: ModelError(
        "'{path}' is an HDF5 file, as Keras writes its models and weights; convert the "
        "model to ONNX with tf2onnx, and give that.",
        path=path,
    ),
    "keras": lambda path: ModelError(
        "'{path}' is a model of Keras; convert it to ONNX with tf2onnx, or "
        "model.export(..., format='onnx'), and give that.",
        path=path,
    ),
    "tensorflow": lambda path: ModelError(
        "'{path}' is a model or checkpoint of TensorFlow; convert it to ONNX "
        "with: python -m tf2onnx.convert, and give that.",
        path=path,
    ),
    "tflite": lambda path: ModelError(
        "'{path}' is a TensorFlow Lite model; convert it to ONNX with: python -m "
        "tf2onnx.convert --tflite FILE, and give that.",
        path=path,
    ),
    "flax": lambda path: ModelError(
        "'{path}' is a checkpoint of JAX (Flax, Orbax); transformers' "
        "from_pretrained(..., from_flax=True) in its versions before 5 turns such "
        "weights into torch's, or export the model to ONNX, and give that.",
        path=path,
    ),
    "numpy": lambda path: ModelError(
        "'{path}' holds arrays of NumPy and is not a checkpoint of torch; load them "
        "into the network where they were made and save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
    ),
    "coreml": lambda path: ModelError(
        "'{path}' is a Core ML model, which runs on Apple's devices only; give the "
        "model that it was made of, or an ONNX export of that.",
        path=path,
    ),
    "gguf": lambda path: ModelError(
        "'{path}' is a GGUF or GGML file, the quantised form of llama.cpp; give the model that it was made of.",
        path=path,
    ),
    "ort": lambda path: ModelError(
        "'{path}' is in onnxruntime's own format, which nobody checks; give the ONNX file that it was made of.",
        path=path,
    ),
    "tensorrt": lambda path: ModelError(
        "'{path}' is an engine of TensorRT, which runs only on the kind of GPU that "
        "it was built on; give the ONNX file that it was made of.",
        path=path,
    ),
    "openvino": lambda path: ModelError(
        "'{path}' is a model of OpenVINO; give the ONNX file or the checkpoint that it was made of.", path=path
    ),
    "mxnet": lambda path: ModelError(
        "'{path}' holds weights of MXNet; export the model to ONNX with mx.onnx.export_model, and give that.", path=path
    ),
    "paddle": lambda path: ModelError(
        "'{path}' is a model of PaddlePaddle; convert it to ONNX with paddle2onnx, and give that.", path=path
    ),
    "caffe": lambda path: ModelError("'{path}' is a model of Caffe; convert it to ONNX, and give that.", path=path),
    "exported": lambda path: ModelError(
        "'{path}' is a program of torch.export (.pt2), and its network cannot be "
        "read back from it; save the weights of the model that it was made of with "
        "torch.save(model.state_dict(), 'weights.pt'), or export that to ONNX.",
        path=path,
    ),
    "torchscript": lambda path: NeedsCodeError(
        "'{path}' is a TorchScript archive, which holds code; load it where you "
        "trust it and save it as torch.save(model.state_dict(), 'weights.pt'), "
        "or as safetensors, or use kdviz import --trust, which lets the file run "
        "any code as you.",
        path=path,
    ),
    "old_torch": lambda path: NeedsCodeError(
        "'{path}' is in the format of torch before 0.1.10, which can only be read "
        "by running what is in it; load it where you trust it and save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
    ),
    "pickle": lambda path: NeedsCodeError(
        "'{path}' is a Python pickle that torch.save did not write, and kdviz runs no "
        "code from files; load it where you trust it and save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
    ),
    "protocol": lambda path: NeedsCodeError(
        "'{path}' was saved with another pickle protocol than torch's own, which "
        "cannot be read without running code; save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
    ),
    "distributed": lambda path: ModelError(
        "'{path}' is a checkpoint in pieces of torch.distributed; make it one "
        "file with: python -m torch.distributed.checkpoint.format_utils "
        "dcp_to_torch FOLDER weights.pt.",
        path=path,
    ),
    "deepspeed": lambda path: ModelError(
        "'{path}' is a checkpoint in pieces of DeepSpeed; make it one file with the zero_to_fp32.py that lies in it.",
        path=path,
    ),
    "experiment": lambda path: ModelError(
        "'{path}' is an experiment of kdviz and no single model; open it as it "
        "is, or give one of the weights files in it.",
        path=path,
    ),
    "lora": lambda path: ModelError(
        "'{path}' holds LoRA adapters, which are not a model without the one they were "
        "trained on; merge them with model.merge_and_unload(), and save the model that "
        "this gives.",
        path=path,
    ),
    "optimiser": lambda path: ModelError(
        "'{path}' holds the state of an optimiser and no model; give the file with "
        "the weights that was saved beside it.",
        path=path,
    ),
    "no_weights": lambda path: ModelError(
        "'{path}' holds no tensors by name; save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
    ),
    "onnx": lambda path: ModelError(
        "'{path}' is an ONNX model, whose weights cannot be read into a network; give "
        "the checkpoint that it was made of.",
        path=path,
    ),
    "zip": lambda path: ModelError(
        "'{path}' is not a checkpoint of torch; save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
    ),
    "cut": lambda path: ModelError("'{path}' is damaged or cut off; please get it again.", path=path),
    "torch": lambda path: ModelError(
        "'{path}' is damaged, or is not a checkpoint of torch; save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
    ),
    "safetensors": lambda path: ModelError(
        "'{path}' is damaged, or is not a safetensors file; please get it again.", path=path
    ),
    "index": lambda path: ModelError(
        "'{path}' is damaged, or is not the index of a checkpoint in several files; please get it again.", path=path
    ),
    "config": lambda path: ModelError(
        "'{path}' is damaged, or is not a JSON file of settings; please get it again.", path=path
    ),
}
"""Kind of file -> function that makes the error for it."""


def unreadable(path: Path, error: Exception) -> ModelError:
    reason = getattr(error, "strerror", None) or error
    return ModelError("Cannot read '{path}': {strerror}.", path=path, strerror=reason)


def unpacks_too_far(path: Path, size: float, unpacked: float) -> ModelError:
    """The error for an archive of ``size`` bytes that would unpack to ``unpacked`` bytes."""
    return ModelError(
        "'{path}' ({size:.1f} MB) would unpack to {unpacked:.0f} MB, which no checkpoint of torch "
        "does; if you trust it, load it and save it as torch.save(model.state_dict(), 'weights.pt'), "
        "or as safetensors.",
        path=path,
        size=size / 2**20,
        unpacked=unpacked / 2**20,
    )


def unknown_object(path: Path, kind: str) -> ModelError:
    return NeedsCodeError(
        "'{path}' holds a Python object ({kind}) and not only tensors, and kdviz runs no code from "
        "files; where it was made, save it as torch.save(model.state_dict(), 'weights.pt'), or as "
        "safetensors, or use kdviz import --trust, which lets the file run any code as you.",
        path=path,
        kind=kind,
    )


def whole_model(path: Path, kind: str) -> ModelError:
    return NeedsCodeError(
        "'{path}' holds a whole model (of class {kind}), which only its code can load, and kdviz runs "
        "no code from files; where it was made, save it as torch.save(model.state_dict(), "
        "'weights.pt'), or as safetensors, or use kdviz import --trust, which lets the file run any "
        "code as you.",
        path=path,
        kind=kind,
    )


def odd_entry(path: Path, name: object, kind: str) -> ModelError:
    return ModelError(
        "'{path}' holds {name!r:.100} ({kind}), which is not an ordinary tensor; save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
        name=name,
        kind=kind,
    )


def quantised(path: Path, name: str) -> ModelError:
    return ModelError(
        "'{path}' holds quantised weights (first '{name:.100}'), from which the network cannot be "
        "told; give the quantised model as ONNX, or the checkpoint from before it was quantised.",
        path=path,
        name=name,
    )


def no_such_key(path: Path, key: str, keys: Iterable[str]) -> ModelError:
    return ModelError("'{path}' holds no weights under '{key}'; it has {keys}.", path=path, key=key, keys=_listed(keys))


def module_failed(path: Path, error: Exception) -> ModelError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ModelError(
        "'{path}' cannot be loaded even with --trust: {reason:.200}; save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
        reason=reason,
    )


def module_missing(path: Path, module: str) -> ModelError:
    return ModelError(
        "'{path}' holds a whole model whose code, the Python module '{module}', cannot be imported "
        "here; run kdviz in the folder of that code, or save it as torch.save(model.state_dict(), "
        "'weights.pt'), or as safetensors.",
        path=path,
        module=module,
    )


def no_module(path: Path, kind: str) -> ModelError:
    return ModelError(
        "'{path}' holds a Python object ({kind}) and neither a model nor weights; save it as "
        "torch.save(model.state_dict(), 'weights.pt'), or as safetensors.",
        path=path,
        kind=kind,
    )


# folders --------------------------------------------------------------------------------------------------------------


def empty_folder(path: Path) -> ModelError:
    return ModelError(
        "The folder '{path}' holds no model: neither model.safetensors, pytorch_model.bin nor another "
        "checkpoint; give the file itself.",
        path=path,
    )


def several_files(path: Path, names: Iterable[str]) -> ModelError:
    return ModelError(
        "The folder '{path}' holds several checkpoints; give one of them: {names}.", path=path, names=_listed(names)
    )


def outside_folder(path: Path, name: object) -> ModelError:
    return ModelError(
        "'{path}' names {name!r:.100} as one of its files, which is not the name of a file beside it; "
        "a checkpoint in several files is one folder.",
        path=path,
        name=name,
    )


def missing_shard(path: Path, name: str) -> ModelError:
    return ModelError(
        "'{path}' needs the file '{name}' beside it, which is missing; please get it, too.", path=path, name=name
    )


def missing_tensor(path: Path, name: str, shard: str) -> ModelError:
    return ModelError(
        "'{path}' says that '{name:.100}' is in '{shard}', which is not so; please get both again.",
        path=path,
        name=name,
        shard=shard,
    )


def not_a_classifier(path: Path, kind: str) -> ModelError:
    return ModelError(
        "'{path}' holds a {kind:.100}, which is no image classifier; give a model with a "
        "classification head, such as ...ForImageClassification.",
        path=path,
        kind=kind,
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name:.80}'" for name in list(names)[:10])
