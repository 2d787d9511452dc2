"""ImageNet weights of torchvision and timm, and the input that they were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kdviz.core.errors import ModelError, SettingError
from kdviz.models.networks import RENORMALISED, import_timm, require_network

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class PretrainedInput:
    """The input that pretrained weights were trained on: fields of an ``InputSpec`` with three channels.

    Attributes:
        size: Height and width.
        mean, std: Normalisation of values in [0, 1], one number a channel.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def pretrained_input(name: str) -> PretrainedInput:
    """The input that the pretrained weights of a network were trained on.

    Raises:
        UnknownNameError: torchvision or timm has no such network.
        SettingError: The network has no pretrained weights, or timm is not installed.
    """
    library, _, model = name.removesuffix(RENORMALISED).partition("/")
    if library == "resnet50v2_mxnet":  # the norm on its input comes after ImageNet's normalisation
        return PretrainedInput((224, 224), *_IMAGENET)
    if library == "torchvision" and model:
        preset = _torchvision_weights(model).transforms()
        return PretrainedInput((preset.crop_size[0],) * 2, tuple(preset.mean), tuple(preset.std))
    if library == "timm" and model:
        settings = _timm_settings(model)
        height, width = settings.input_size[1:]
        return PretrainedInput((height, width), tuple(settings.mean), tuple(settings.std))
    raise SettingError("The network '{name}' has no pretrained weights, and so no input that they want.", name=name)


def download_pretrained(name: str) -> dict[str, Tensor]:
    """Download the ImageNet weights of a network of torchvision or timm, or take them from the library's cache.

    Raises:
        UnknownNameError: torchvision or timm has no such network.
        SettingError: The network has no pretrained weights, or timm is not installed.
        ModelError: The weights cannot be downloaded.
    """
    library, _, model = name.removesuffix(RENORMALISED).partition("/")
    if library not in ("torchvision", "timm") or not model:
        raise SettingError(
            "There are no weights of '{name}' to download; give a file with --teacher-pretrained / "
            "--student-pretrained.",
            name=name,
        )
    weights = _torchvision_weights(model) if library == "torchvision" else _timm_settings(model)
    try:
        if library == "torchvision":
            return dict(weights.get_state_dict(progress=False, check_hash=True))
        return import_timm(name).create_model(model, pretrained=True).state_dict()
    except Exception as error:  # the libraries below raise many kinds, for a missing connection or file
        raise ModelError(
            "The pretrained weights of '{name}' cannot be downloaded; check the network, or give a "
            "file with --teacher-pretrained / --student-pretrained.",
            name=name,
        ) from error


def _torchvision_weights(model: str) -> Any:
    from torchvision import models

    require_network(f"torchvision/{model}")
    return models.get_model_weights(model).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]


def _timm_settings(model: str) -> Any:
    timm = import_timm(f"timm/{model}")
    require_network(f"timm/{model}")
    settings = timm.get_pretrained_cfg(model)
    if settings is None or not settings.has_weights:
        raise SettingError(
            "timm has no pretrained weights of '{model}'; give a file, or choose another network.", model=model
        )
    return settings
