"""Moved modules: their old names work until the next release, with a warning that gives the new name."""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

MOVED = {
    "kdviz.checkpoints": "kdviz.models.checkpoints",
    "kdviz.datasets.folders": "kdviz.data.readers.folders",
    "kdviz.datasets.mhist": "kdviz.data.readers.mhist",
    "kdviz.datasets.mnist": "kdviz.data.readers.mnist",
    "kdviz.datasets": "kdviz.data",
    "kdviz.errors": "kdviz.core.errors",
    "kdviz.execution": "kdviz.core.jobs",
    "kdviz.files": "kdviz.core.files",
    "kdviz.identify": "kdviz.models.identify",
    "kdviz.images": "kdviz.core.images",
    "kdviz.inputs": "kdviz.models.inputs",
    "kdviz.language": "kdviz.core.language",
    "kdviz.networks": "kdviz.models.networks",
    "kdviz.registry": "kdviz.core.registry",
    "kdviz.samples_store": "kdviz.data.store",
}
"""Old name -> new name."""


class MovedModules(MetaPathFinder, Loader):
    """Finds modules by their old names, and returns those of the new names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a moved module; None for any other."""
        return ModuleSpec(fullname, self) if _new_name(fullname) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module under its new name.

        Warns:
            DeprecationWarning: Always.
        """
        new = _new_name(spec.name)
        assert new is not None  # checked by find_spec
        warnings.warn(f"{spec.name} is now {new}; the old name goes with the next release.", DeprecationWarning, 2)
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the module's own specification; its code is not run again."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def _new_name(old: str) -> str | None:
    for prefix, new in MOVED.items():
        if old == prefix or old.startswith(f"{prefix}."):
            return new + old.removeprefix(prefix)
    return None


def install() -> None:
    """Make ``import`` find the old names."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())  # before the finder that would load a second copy of a submodule


def warn_renamed(old: str, new: str) -> None:
    """Warn that a public name has been renamed.

    Args:
        old: The former name, as its user wrote it.
        new: The present name.

    Warns:
        DeprecationWarning: Always, for the line that used the name.
    """
    warnings.warn(f"{old} is now {new}; the old name goes with the next release.", DeprecationWarning, stacklevel=3)


def renamed(module: str, names: dict[str, str]) -> Callable[[str], Any]:
    """Make a module's ``__getattr__`` that finds renamed attributes, with a warning.

    Args:
        module: Name of the module.
        names: Old name -> new name.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        text = f"{module}.{name} is now {names[name]}; the old name goes with the next release."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], names[name])

    return find


def renamed_arguments(**names: str) -> Callable[[T], T]:
    """Make a decorator that takes keyword arguments by their old names, with a warning.

    An argument that is given by both names is a TypeError, as Python makes it for a repeated one. Of a dataclass the
    attributes are found by their old names, too. It stands above ``@dataclass``.

    Args:
        **names: Old name -> new name.
    """

    def decorate(called: T) -> T:
        is_class = isinstance(called, type)
        function: Any = called.__init__ if is_class else called
        title = getattr(called, "__name__", repr(called))

        @functools.wraps(function)
        def call(*positional: Any, **keywords: Any) -> Any:
            for old in names.keys() & keywords.keys():
                if names[old] in keywords:
                    text = f"{title}() got the argument '{names[old]}' twice, once by its old name '{old}'"
                    raise TypeError(text)
                warn_renamed(f"The argument {old}", names[old])
                keywords[names[old]] = keywords.pop(old)
            return function(*positional, **keywords)

        if not is_class:
            return call  # type: ignore[return-value]  # takes what the function takes
        called.__init__ = call
        for old, new in names.items():
            setattr(called, old, property(functools.partial(_read_renamed, old=old, new=new)))
        return called

    return decorate


def _read_renamed(owner: object, *, old: str, new: str) -> Any:
    warn_renamed(f"{type(owner).__name__}.{old}", new)
    return getattr(owner, new)
