"""Registries of everything that has a name: networks, data sets, losses, methods.

A registry is the only description of its entries: the command line, the app and the documentation are derived from it.
It is filled when it is first read, first with the built-in entries, then with those of plugins.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Generic, TypeVar

from kdviz.core.errors import UnknownNameError
from kdviz.core.plugins import load_plugins

Entry = TypeVar("Entry")
Default = TypeVar("Default")


class Registry(Generic[Entry]):
    """A mapping from names to entries. A second entry of the same name is a programming error.

    Args:
        kind: Kind of the entries, for error messages.
        package: The package whose modules register the built-in entries, all imported when the registry is first read.
            Empty: they are registered by the module that makes the registry.
        one_per_file: Whether each module of ``package`` registers one entry with the module's name, and is imported
            only when that entry is read: names are then known without importing what entries need, such as torch.
        listed: What ``kdviz list`` is told to list the names; empty: it does not.

    >>> colours = Registry[str]("colour")
    >>> colours.add("red", "#f00")
    '#f00'
    >>> colours["red"]
    '#f00'
    >>> colours["rde"]
    Traceback (most recent call last):
    ...
    kdviz.core.errors.UnknownNameError: Unknown colour 'rde'. Did you mean 'red'? Known: red.
    """

    def __init__(self, kind: str, package: str = "", *, one_per_file: bool = False, listed: str = ""):
        self.kind, self.listed = kind, listed
        self._package, self._one_per_file = package, one_per_file
        self._entries: dict[str, Entry | None] = {}  # None: not imported yet
        self._filled = not package

    def add(self, name: str, entry: Entry) -> Entry:
        """Register ``entry`` and return it.

        Raises:
            ValueError: The name is taken.
        """
        self._fill()
        if name in self._entries and not self._awaits(name):
            raise ValueError(f"{self.kind} '{name}' is already registered")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Decorator form of :meth:`add`."""
        return lambda entry: self.add(name, entry)

    def get(self, name: str, default: Default = None) -> Entry | Default:
        """The entry of this name, or ``default``."""
        is_known = name in self._read()
        return self[name] if is_known else default

    def is_taken(self, name: str) -> bool:
        """Whether the name has an entry so far, without reading the plugins: for what is itself being registered."""
        self._fill()
        return name in self._entries

    def import_built_in(self) -> None:
        """Import the modules of all built-in entries, without reading the plugins."""
        self._fill()
        for name in [name for name, entry in self._entries.items() if entry is None]:
            importlib.import_module(f"{self._package}.{name}")

    def __getitem__(self, name: str) -> Entry:
        """The entry of this name.

        Raises:
            UnknownNameError: There is no such entry; the text suggests the closest name.
        """
        entries = self._read()
        if name not in entries:
            raise UnknownNameError(self.kind, name, entries, self.listed)
        if entries[name] is None:
            importlib.import_module(f"{self._package}.{name}")
        entry = entries[name]
        assert entry is not None, f"{self._package}.{name} registers no {self.kind} of its name"
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self._read()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._read()))  # a copy, since the dictionary may grow meanwhile

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> dict[str, Entry | None]:
        self._fill()
        load_plugins()
        return self._entries

    def _fill(self) -> None:
        """Register the built-in entries, before those of plugins, which cannot take their names."""
        if self._filled:
            return
        self._filled = True
        for module in _modules(self._package):
            if self._one_per_file:
                self._entries.setdefault(module, None)
            else:
                importlib.import_module(f"{self._package}.{module}")

    def _awaits(self, name: str) -> bool:
        """Whether the entry is still to be registered, by a module that is being imported now."""
        return self._entries[name] is None and f"{self._package}.{name}" in sys.modules


def _modules(package: str) -> list[str]:
    """Names of the public modules of a package, found without importing it."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    assert folders is not None, f"{package} is no package"
    return [module.name for module in pkgutil.iter_modules(folders) if not module.name.startswith("_")]
