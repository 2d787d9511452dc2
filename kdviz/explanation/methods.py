"""The registry of saliency methods: the single description that forms, options, documentation and tests use.

A method is declared in one file, as a :class:`kdviz.explanation.method.Method`, and listed here. Reading the registry
does not import torch.
"""

from __future__ import annotations

from kdviz.core.registry import Registry
from kdviz.explanation import rise
from kdviz.explanation.captum import (
    deeplift,
    gradient_shap,
    guided_gradcam,
    integrated_gradients,
    kernel_shap,
    layer_gradcam,
    occlusion,
    saliency,
)
from kdviz.explanation.method import Method

methods: Registry[Method] = Registry("method", listed="methods")


def register_method(method: Method) -> Method:
    """Add a method to the registry, as a plugin does.

    Raises:
        ValueError: The name is taken.
    """
    return methods.add(method.name, method)


register_method(rise.METHOD)
register_method(occlusion.METHOD)
register_method(integrated_gradients.METHOD)
register_method(gradient_shap.METHOD)
register_method(saliency.METHOD)
register_method(deeplift.METHOD)
register_method(layer_gradcam.METHOD)
register_method(guided_gradcam.METHOD)
register_method(kernel_shap.METHOD)
