"""Image classifiers of the library transformers, built from their configuration alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kdviz.core.errors import SettingError
from kdviz.models.networks.registry import NetworkLibrary, libraries

_INSTALL = 'install it with: pip install "kdviz[transformers]"'
_IGNORED = (
    "auto_map",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "_name_or_path",
    "quantization_config",
)


class TransformersClassifier(nn.Module):
    """Wrapper of a classifier of transformers with the interface of other networks.

    (N, C, H, W) -> logits (N, classes).
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(pixel_values=images).logits


def transformers_network(kind: str, classes: int, channels: int, settings: Mapping[str, Any]) -> nn.Module:
    """Build the classifier of a ``model_type``, such as ``vit``, with fresh weights.

    Only classes of the library itself are used: code elsewhere that a configuration names is ignored, and nothing is
    downloaded.

    Args:
        kind: The ``model_type`` of transformers.
        classes: Number of logits.
        channels: Number of input channels.
        settings: ``config``: the content of config.json.

    Raises:
        SettingError: transformers is not installed, has no such classifier, or rejects the configuration.
    """
    try:
        import transformers  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError(
            "The network 'transformers/{kind}' needs transformers; install it with: pip install "
            '"kdviz[transformers]"',
            kind=kind,
        ) from error
    config = settings.get("config", {})
    if not isinstance(config, Mapping):
        raise SettingError("The setting 'config' of a network of transformers must be the content of its config.json.")
    arguments = {name: value for name, value in config.items() if name not in _IGNORED and name != "model_type"}
    if arguments.get("backbone") or arguments.get("use_timm_backbone") or kind == "timm_wrapper":
        raise SettingError(
            "A '{kind}' has a backbone of another library; import that library's weights instead.", kind=kind
        )
    names = {number: f"class {number}" for number in range(classes)}
    arguments |= {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    # of a kind with several classifiers, as DeiT with and without a teacher, they name one of the library's own
    arguments["architectures"] = [name for name in _list(arguments.get("architectures")) if isinstance(name, str)]
    arguments |= {"num_channels": channels} if "num_channels" in arguments else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            auto_config = transformers.AutoConfig.for_model(kind, **arguments)
            network = transformers.AutoModelForImageClassification.from_config(auto_config, trust_remote_code=False)
    except Exception as error:  # the library raises all kinds of errors for a configuration that it does not know
        reason = str(error).strip().partition("\n")[0][:200]
        raise SettingError(
            "transformers makes no image classifier of this '{kind}': {reason}", kind=kind, reason=reason
        ) from error
    return TransformersClassifier(network)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_DESCRIPTION = "Any classifier of transformers, by its model_type; built from the setting config."
libraries.add("transformers", NetworkLibrary(_DESCRIPTION, transformers_network, settings=None))
