"""Requirements of methods on a model: each check returns the end of a sentence that begins with the method, or None."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_RULES = ("ReLU", "ReLU6", "ELU", "LeakyReLU", "Sigmoid", "Tanh", "Softplus", "Softmax")  # Captum's for DeepLIFT


def model_name(model: nn.Module) -> str:
    """Name of the network's class; for a network behind an adapter, of the network behind it."""
    from kdviz.models.inputs import AdaptedNetwork

    return type(model.network if isinstance(model, AdaptedNetwork) else model).__name__


def activations_with_rules() -> tuple[type[nn.Module], ...]:
    """Activations for which Captum has a rule."""
    from torch import nn

    return tuple(getattr(nn, name) for name in _RULES)


def needs_gradients(model: nn.Module) -> str:
    """The reason against a model that gives no gradients."""
    return f"needs gradients and '{model_name(model)}' gives none; use rise, occlusion or kernel_shap."


def needs_positions(model: nn.Module) -> str | None:
    """Require a convolution, or tokens, which have positions too: where there are tokens there are norms of them."""
    from torch import nn

    return None if any(isinstance(module, nn.LayerNorm) for module in model.modules()) else needs_convolution(model)


def needs_convolution(model: nn.Module) -> str | None:
    """Require at least one convolution."""
    from torch import nn

    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return None
    return f"needs a convolution and '{model_name(model)}' has none; use rise or occlusion."


def needs_rules(model: nn.Module) -> str | None:
    """Require that Captum has a DeepLIFT rule for every activation."""
    others = _activations(model, allowed=activations_with_rules())
    if not others:
        return None
    return f"has no rule for {others}, which '{model_name(model)}' uses; use integrated_gradients."


def needs_relu(model: nn.Module) -> str | None:
    """Require a convolution, and no activation but ReLU."""
    from torch import nn

    others = _activations(model, allowed=(nn.ReLU,)) if _activations(model) else "no nn.ReLU"
    reason = f"is defined for ReLU and '{model_name(model)}' has {others}; use layer_gradcam." if others else None
    return needs_convolution(model) or reason


def _activations(model: nn.Module, allowed: tuple[type, ...] = ()) -> str:
    """Names of the activations of a model, except for ``allowed`` ones."""
    from torch import nn

    kinds = {type(module) for module in model.modules() if type(module).__module__ == nn.ReLU.__module__}
    return ", ".join(sorted(activation.__name__ for activation in kinds - set(allowed)))
