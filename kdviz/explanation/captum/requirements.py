"""Requirements of methods on a model: each check returns the end of a sentence that begins with the method, or None."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdviz.core.errors import Sentence

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


def needs_gradients(model: nn.Module) -> Sentence:
    """The reason against a model that gives no gradients."""
    return Sentence(
        "needs gradients and '{model_name}' gives none; use rise, occlusion or kernel_shap.",
        model_name=model_name(model),
    )


def needs_positions(model: nn.Module) -> Sentence | None:
    """Require a convolution, or tokens, which have positions too: where there are tokens there are norms of them."""
    from torch import nn

    return None if any(isinstance(module, nn.LayerNorm) for module in model.modules()) else needs_convolution(model)


def needs_convolution(model: nn.Module) -> Sentence | None:
    """Require at least one convolution."""
    from torch import nn

    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return None
    return Sentence(
        "needs a convolution and '{model_name}' has none; use rise or occlusion.", model_name=model_name(model)
    )


def needs_rules(model: nn.Module) -> Sentence | None:
    """Require that Captum has a DeepLIFT rule for every activation."""
    others = _activations(model, allowed=activations_with_rules())
    if not others:
        return None
    return Sentence(
        "has no rule for {others}, which '{model_name}' uses; use integrated_gradients.",
        others=others,
        model_name=model_name(model),
    )


def needs_relu(model: nn.Module) -> Sentence | None:
    """Require a convolution, and no activation but ReLU."""
    from torch import nn

    others = _activations(model, allowed=(nn.ReLU,)) if _activations(model) else "no nn.ReLU"
    reason = (
        Sentence(
            "is defined for ReLU and '{model_name}' has {others}; use layer_gradcam.",
            model_name=model_name(model),
            others=others,
        )
        if others
        else None
    )
    return needs_convolution(model) or reason


def _activations(model: nn.Module, allowed: tuple[type, ...] = ()) -> str:
    """Names of the activations of a model, except for ``allowed`` ones."""
    from torch import nn

    kinds = {type(module) for module in model.modules() if type(module).__module__ == nn.ReLU.__module__}
    return ", ".join(sorted(activation.__name__ for activation in kinds - set(allowed)))
