"""Networks of torchvision and timm."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.models.networks.registry import networks
from kdviz.models.networks.text import first_line

TORCHVISION_SETTINGS = {
    "transform_input": bool,
    "aux_logits": bool,
    "init_weights": bool,
    "image_size": int,
    "in_chans": int,
}
"""What else torchvision's builders are told, and the kind of each. ``in_chans`` is kdviz's: it makes the first
convolution anew for so many channels."""

TIMM_SETTINGS = {"img_size": int, "global_pool": str}
"""Likewise for timm's."""

_SETTINGS = {"torchvision": TORCHVISION_SETTINGS, "timm": TIMM_SETTINGS}
_LARGEST_SETTING = 4096


@networks.register("resnet50v2_mxnet")
def resnet50v2_mxnet(classes: int = 10, channels: int = 3, size: tuple[int, int] = (224, 224)) -> nn.Module:
    """ResNet50V2 as MXNet has it: timm's, with norms on the input and after the first convolution. Needs timm.

    (N, C, H, W) -> logits (N, classes).

    Raises:
        SettingError: timm is not installed.
    """
    timm = import_timm("resnet50v2_mxnet")
    network = timm.create_model("resnetv2_50", pretrained=False, num_classes=classes, in_chans=channels)
    layers = {
        "norm0": nn.BatchNorm2d(channels),
        "conv": network.stem.conv,
        "norm": timm.layers.BatchNormAct2d(network.stem.conv.out_channels),
        "pool": network.stem.pool,
    }
    network.stem = nn.Sequential(OrderedDict(layers))
    return network


def check_settings(network: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network's builder, if they are among those that may be given.

    Args:
        network: See :func:`build_network`.
        settings: Plain values by name, as they come from a file.

    Raises:
        SettingError: One is unknown or not of its kind.
    """
    known = _SETTINGS.get(network.partition("/")[0], {})
    for key, value in settings.items():
        if key not in known:
            listed = ", ".join(known) or "none"
            raise SettingError(f"The network '{network}' has no setting '{key}'; its settings are: {listed}.")
        if type(value) is not known[key] or (known[key] is int and not 1 <= value <= _LARGEST_SETTING):
            raise SettingError(
                f"The setting '{key}' of the network '{network}' must be of the type {known[key].__name__} (whole "
                f"numbers from 1 to {_LARGEST_SETTING}), not {value!r:.40}."
            )
    return dict(settings)


def torchvision_network(name: str, classes: int, channels: int, settings: dict[str, Any]) -> nn.Module:
    """A classifier of torchvision, with fresh weights."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownNameError("torchvision network", name, known)
    taken = settings.pop("in_chans", 3)
    if channels != taken:
        if taken == 3:
            raise SettingError(f"torchvision's '{name}' takes 3 channels, not {channels}.")
        raise SettingError(f"The setting 'in_chans' of '{name}' is {taken}, but the input's channels are {channels}.")
    network = _built(models.get_model, f"torchvision/{name}", {"weights": None, "num_classes": classes}, settings)
    return network if channels == 3 else _with_channels(network, channels)


def timm_network(name: str, classes: int, channels: int, settings: dict[str, Any]) -> nn.Module:
    """A classifier of timm, with fresh weights."""
    timm = import_timm(f"timm/{name}")
    if name not in timm.list_models():
        raise UnknownNameError("timm network", name, timm.list_models())
    arguments = {"pretrained": False, "num_classes": classes, "in_chans": channels}
    return _built(timm.create_model, f"timm/{name}", arguments, settings)


def _built(
    create: Callable[..., nn.Module], network: str, arguments: Mapping[str, Any], settings: Mapping[str, Any]
) -> nn.Module:
    """The network; whatever a library says of settings that it does not take is one error."""
    try:
        return create(network.partition("/")[2], **arguments, **settings)
    except Exception as error:  # an unknown setting is a TypeError; a wrong value can be nearly any other
        if not settings:
            raise
        given = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise SettingError(f"The network '{network}' cannot be built with {given}: {first_line(error)}") from error


def _with_channels(network: nn.Module, channels: int) -> nn.Module:
    """The network with a fresh first convolution for so many channels, as people change torchvision's for grey."""
    name, first = next((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    shape = (channels, first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Conv2d(*shape, bias=first.bias is not None))  # pyright: ignore[reportArgumentType]
    return network


def import_timm(network: str) -> Any:
    """The library timm, which ``network`` needs.

    Raises:
        SettingError: It is not installed.
    """
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError(f"The network '{network}' needs timm; install it with: pip install timm") from error
    return timm
