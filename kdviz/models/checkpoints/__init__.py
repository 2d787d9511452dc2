"""Models from elsewhere: untrusted files, and the ImageNet weights of torchvision and timm.

::

    opening        open_model_file, read_checkpoint: find out which kind a file or folder is
    reading        safetensors and torch files, within limits; inert: the objects allowed beside the tensors
    state_dicts    the models in a file; facts: what is recorded beside them
    folders        folders of timm and transformers, checkpoints in several files
    onnx_files     ONNX files; trusted: files with code, if the user trusts them
    formats        recognises files of other kinds; refusals: the messages for all of them
    recorded       network and classes as the file has them; input_facts: its input
    loading        weights into networks; pretrained: weights of torchvision and timm

Only tensors and plain values are unpickled, and no file is unpacked to much more than its size. For everything that
cannot be used, a :class:`~kdviz.core.errors.ModelError` is raised.
"""

from kdviz.models.checkpoints.contents.state_dicts import Weights
from kdviz.models.checkpoints.loading import Loaded, classifier_head, load_pretrained, load_trained
from kdviz.models.checkpoints.metadata.input_facts import recorded_input
from kdviz.models.checkpoints.metadata.recorded import recorded_classes, recorded_network
from kdviz.models.checkpoints.model_file import ModelFile
from kdviz.models.checkpoints.opening import open_model_file, read_checkpoint
from kdviz.models.checkpoints.pretrained import PretrainedInput, download_pretrained, pretrained_input

__all__ = [
    "Loaded",
    "ModelFile",
    "PretrainedInput",
    "Weights",
    "classifier_head",
    "download_pretrained",
    "load_pretrained",
    "load_trained",
    "open_model_file",
    "pretrained_input",
    "read_checkpoint",
    "recorded_classes",
    "recorded_input",
    "recorded_network",
]
