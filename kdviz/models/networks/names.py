"""Names of networks: whether there is one, before anything is read or downloaded."""

from __future__ import annotations

from kdviz.core.errors import Sentence, SettingError, UnknownNameError
from kdviz.models import transformers_networks  # noqa: F401  it registers its library
from kdviz.models.networks.registry import LISTED, RENORMALISED, libraries, networks


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
