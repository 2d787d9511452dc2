"""Models from elsewhere: files that nobody has checked, and what torchvision and timm trained on ImageNet.

::

    opening        open_model_file, read_checkpoint: which kind a file or folder is
    reading        safetensors and torch, within limits; inert: what may lie beside the tensors
    state_dicts    the models in what was read; facts: what is written beside them
    folders        timm, transformers, checkpoints in several files
    onnx_files     ONNX; trusted: files with code, where the user trusts them
    formats        what a file of another kind is; refusals: every sentence that says so
    recorded       network and classes as the file has them; input_facts: its input
    loading        weights into networks; pretrained: those of torchvision and timm

No file is unpickled beyond tensors and plain facts, and none is unpacked to much more than its size. Everything that
cannot be used is one :class:`~kdviz.core.errors.ModelError`.
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
