"""Networks of torchvision and timm."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from kdviz.core.errors import SettingError
from kdviz.models.networks.registry import NetworkLibrary, libraries, networks
from kdviz.models.networks.text import first_line

TORCHVISION_SETTINGS = {
    "transform_input": bool,
    "aux_logits": bool,
    "init_weights": bool,
    "image_size": int,
    "in_chans": int,
}
"""Further arguments of torchvision's builders, and the type of each. ``in_chans`` is kdviz's own: it replaces the first
convolution by a fresh one for that many channels."""

TIMM_SETTINGS = {"img_size": int, "global_pool": str}
"""Further arguments of timm's builders, and the type of each."""

WIDTHS = "widths"
"""Setting of kdviz's own networks: the outputs of their layers, in order, as a pruned network has fewer of them."""

_LARGEST_SETTING = 4096


@networks.register("resnet50v2_mxnet")
def resnet50v2_mxnet(classes: int = 10, channels: int = 3, size: tuple[int, int] = (224, 224)) -> nn.Module:
    """ResNet50V2 of MXNet: timm's, with batch norms on the input and after the first convolution. Needs timm.

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
    """Check the settings of a network's builder, and return them as a dict.

    Args:
        network: See :func:`build_network`.
        settings: Plain values by name, as they come from a file.

    Raises:
        SettingError: A setting is unknown or of the wrong type.
    """
    library = libraries.get(network.partition("/")[0], None)
    allowed = library.settings if library else _own_settings(network)
    if allowed is None:
        return dict(settings)
    if WIDTHS in allowed and WIDTHS in settings:
        _check_widths(network, settings[WIDTHS])
    for key, value in settings.items():
        if key not in allowed:
            names = ", ".join(allowed) or "none"
            raise SettingError(
                "The network '{network}' has no setting '{key}'; its settings are: {names}.",
                network=network,
                key=key,
                names=names,
            )
        if type(value) is not allowed[key] or (allowed[key] is int and not 1 <= value <= _LARGEST_SETTING):
            raise SettingError(
                "The setting '{key}' of the network '{network}' must be of the type {name} (whole "
                "numbers from 1 to {largest_setting}), not {value:.40}.",
                key=key,
                network=network,
                name=allowed[key].__name__,
                largest_setting=_LARGEST_SETTING,
                value=repr(value),
            )
    return dict(settings)


def has_widths(network: str) -> bool:
    """Whether a network of kdviz's own can be built in other widths, by its setting ``widths``."""
    return network in networks and WIDTHS in inspect.signature(networks[network]).parameters


def _own_settings(network: str) -> dict[str, type]:
    return {WIDTHS: list} if has_widths(network) else {}


def _check_widths(network: str, widths: Any) -> None:
    fine = isinstance(widths, list) and all(type(width) is int and 1 <= width <= _LARGEST_SETTING for width in widths)
    if not fine:
        raise SettingError(
            "The setting 'widths' of the network '{network}' must be a list of whole numbers from 1 to {largest}.",
            network=network,
            largest=_LARGEST_SETTING,
        )


def torchvision_network(name: str, classes: int, channels: int, settings: dict[str, Any]) -> nn.Module:
    """A classifier of torchvision, with fresh weights."""
    from torchvision import models

    in_channels = settings.pop("in_chans", 3)
    if channels != in_channels:
        if in_channels == 3:
            raise SettingError("torchvision's '{name}' takes 3 channels, not {channels}.", name=name, channels=channels)
        raise SettingError(
            "The setting 'in_chans' of '{name}' is {in_channels}, but the input's channels are {channels}.",
            name=name,
            in_channels=in_channels,
            channels=channels,
        )
    network = _build(models.get_model, f"torchvision/{name}", {"weights": None, "num_classes": classes}, settings)
    return network if channels == 3 else _with_channels(network, channels)


def timm_network(name: str, classes: int, channels: int, settings: dict[str, Any]) -> nn.Module:
    """A classifier of timm, with fresh weights."""
    timm = import_timm(f"timm/{name}")
    arguments = {"pretrained": False, "num_classes": classes, "in_chans": channels}
    return _build(timm.create_model, f"timm/{name}", arguments, settings)


def _build(
    create: Callable[..., nn.Module], network: str, arguments: Mapping[str, Any], settings: Mapping[str, Any]
) -> nn.Module:
    """Build the network; whatever a library raises for settings that it does not accept becomes one error."""
    try:
        return create(network.partition("/")[2], **arguments, **settings)
    except Exception as error:  # an unknown setting is a TypeError; a wrong value can be nearly any other
        if not settings:
            raise
        arguments_text = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise SettingError(
            "The network '{network}' cannot be built with {arguments}: {reason}",
            network=network,
            arguments=arguments_text,
            reason=first_line(error),
        ) from error


def _with_channels(network: nn.Module, channels: int) -> nn.Module:
    """The network with a fresh first convolution for that many channels, as is usual for grey pictures."""
    name, first_layer = next((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    shape = (
        channels,
        first_layer.out_channels,
        first_layer.kernel_size,
        first_layer.stride,
        first_layer.padding,
        first_layer.dilation,
    )
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Conv2d(*shape, bias=first_layer.bias is not None))  # pyright: ignore[reportArgumentType]
    return network


def import_timm(network: str) -> Any:
    """Import timm, which ``network`` needs.

    Raises:
        SettingError: timm is not installed.
    """
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError(
            "The network '{network}' needs timm; install it with: pip install timm", network=network
        ) from error
    return timm


def torchvision_names() -> list[str]:
    """The names of torchvision's classifiers."""
    from torchvision import models

    return models.list_models(module=models)


def timm_names() -> list[str]:
    """The names of timm's networks.

    Raises:
        SettingError: timm is not installed.
    """
    return import_timm("timm/NAME").list_models()


libraries.add(
    "torchvision",
    NetworkLibrary(
        "Any classifier of torchvision.", torchvision_network, TORCHVISION_SETTINGS, names=torchvision_names
    ),
)
libraries.add("timm", NetworkLibrary("Any classifier of timm.", timm_network, TIMM_SETTINGS, names=timm_names))
