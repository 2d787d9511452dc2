"""Building of networks by name, with fresh weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from kdviz.core.errors import Sentence, SettingError, UnknownNameError
from kdviz.models import transformers_networks  # noqa: F401  it registers its library
from kdviz.models.narrowed import SHAPES, narrowed
from kdviz.models.networks.library import check_settings
from kdviz.models.networks.registry import LISTED, RENORMALISED, libraries, networks
from kdviz.models.networks.renormalised import Renormalised
from kdviz.models.networks.text import first_line


def build_network(
    name: str,
    *,
    classes: int,
    channels: int,
    size: tuple[int, int],
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: A name in ``networks``, or ``LIBRARY/NAME`` for any classifier of one of ``libraries``; with the suffix
            ``@renormalised``, such as ``timm/tf_efficientnet_lite2@renormalised``, a :class:`Renormalised` one, which
            changes nothing until ``between`` is called or weights are loaded. ``transformers/TYPE`` is a classifier of
            transformers, whose configuration is the setting ``config``.
        classes: Number of logits.
        channels: Number of input channels.
        size: Height and width of the input.
        settings: Further arguments of the library's builder: see ``TORCHVISION_SETTINGS`` and ``TIMM_SETTINGS``; of
            kdviz's own networks ``widths``, where :func:`~kdviz.models.networks.library.has_widths` says so; of any
            network ``shapes``, see :mod:`kdviz.models.narrowed`.

    Raises:
        UnknownNameError: There is no such network.
        SettingError: timm is needed and not installed, the network does not accept such an input, or a setting is
            unknown, of the wrong type, or not one of this network's.
    """
    if name.endswith(RENORMALISED):
        inner = name.removesuffix(RENORMALISED)
        network = build_network(inner, classes=classes, channels=channels, size=size, settings=settings)
        return Renormalised(network, channels)
    if SHAPES in settings:
        others = {key: value for key, value in settings.items() if key != SHAPES}
        whole = build_network(name, classes=classes, channels=channels, size=size, settings=others)
        return narrowed(whole, name, settings[SHAPES])
    checked = check_settings(name, settings)
    require_network(name)
    library, _, model = name.partition("/")
    if model and library in libraries:
        return libraries[library].build(model, classes, channels, checked)
    try:
        return networks[name](classes=classes, channels=channels, size=size, **checked)
    except ValueError as error:  # another number of widths than it has layers
        raise SettingError(
            "The network '{network}' cannot be built with {arguments}: {reason}",
            network=name,
            arguments=", ".join(f"{key}={value}" for key, value in checked.items()) or "its own settings",
            reason=first_line(error),
        ) from error


def require_network(name: str) -> None:
    """Check that there is a network of this name.

    Args:
        name: See :func:`kdviz.models.networks.build_network`.

    Raises:
        UnknownNameError: There is none; the text suggests the nearest, those of the libraries among them.
        SettingError: Its library is not installed.
    """
    name = name.removesuffix(RENORMALISED)
    library, _, member = name.partition("/")
    if member and library in libraries:
        names = libraries[library].names
        if names is not None and member not in names():
            raise UnknownNameError(Sentence("{library} network", library=library), member, names(), LISTED)
    elif name not in networks:
        known = [*networks, *(f"{library}/NAME" for library in libraries)]
        raise UnknownNameError("network", name, known, LISTED, [*networks, *_in_libraries()])


def _in_libraries() -> list[str]:
    """``LIBRARY/NAME`` of all networks of the libraries that are installed."""
    found = []
    for library in libraries:
        names = libraries[library].names
        try:
            found += [f"{library}/{name}" for name in (names() if names is not None else ())]
        except SettingError:  # it is not installed, and has no name to suggest
            continue
    return found
