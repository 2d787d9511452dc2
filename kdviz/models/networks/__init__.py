"""Architectures by name: the paper's networks, classifiers of torchvision and timm, and ONNX files and functions."""

from kdviz.models.networks.airbench import Airbench, WhiteningConv
from kdviz.models.networks.building import build_network, require_network
from kdviz.models.networks.feature_tree import tree_on_features
from kdviz.models.networks.functions import FunctionNetwork, NumpyNetwork
from kdviz.models.networks.library import (
    TIMM_SETTINGS,
    TORCHVISION_SETTINGS,
    check_settings,
    import_timm,
    resnet50v2_mxnet,
)
from kdviz.models.networks.onnx_content import last_operator, opset_of
from kdviz.models.networks.onnx_network import OnnxNetwork
from kdviz.models.networks.paper import LinearHead, PaperCNN, PaperFC, QuickDropout
from kdviz.models.networks.registry import ONNX, RENORMALISED, NetworkLibrary, libraries, networks
from kdviz.models.networks.renormalised import Renormalised
from kdviz.models.networks.scores import are_bounded, are_probabilities, parameter_count
from kdviz.models.networks.soft_tree import DEPTHS, SoftTree, tree_name
from kdviz.models.networks.sparse_linear import SparseLinear

__all__ = [
    "DEPTHS",
    "ONNX",
    "RENORMALISED",
    "TIMM_SETTINGS",
    "TORCHVISION_SETTINGS",
    "Airbench",
    "FunctionNetwork",
    "LinearHead",
    "NetworkLibrary",
    "NumpyNetwork",
    "OnnxNetwork",
    "PaperCNN",
    "PaperFC",
    "QuickDropout",
    "Renormalised",
    "SoftTree",
    "SparseLinear",
    "WhiteningConv",
    "are_bounded",
    "are_probabilities",
    "build_network",
    "check_settings",
    "import_timm",
    "last_operator",
    "libraries",
    "networks",
    "opset_of",
    "parameter_count",
    "require_network",
    "resnet50v2_mxnet",
    "tree_name",
    "tree_on_features",
]
