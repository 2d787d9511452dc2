"""Models that only their own code can build: run if the user trusts the code, and stored as ONNX files."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.core.files import from_home

CONSEQUENCE = "--trust runs code from the file with all your rights: use it only for files of which you know the maker"


def network_from_code(code: str, classes: int | None, *, trust: bool) -> nn.Module:
    """Build the network of ``FILE.py:NAME``.

    Args:
        code: A Python file, and the name of a module class or a function in it.
        classes: Number of classes to pass, if NAME has such an argument.
        trust: Whether the user trusts the code.

    Raises:
        SettingError: The code is not trusted, or there is no such file or name.
        ModelError: The code fails, or returns no module.
    """
    file, _, name = code.rpartition(":")
    path = from_home(file)
    if not file or not name or not path.is_file():
        raise SettingError("'{code}' must be FILE.py:NAME, a Python file and a class or function in it.", code=code)
    if not trust:
        raise SettingError(
            "'{name}' is code, which is run only with --trust (--trust runs code from the file with "
            "all your rights: use it only for files of which you know the maker).",
            name=path.name,
        )
    builder = getattr(_module(path), name, None)
    if not callable(builder):
        raise SettingError("'{file}' has no class or function '{name}'.", file=path.name, name=name)
    try:
        network = builder(**_arguments(builder, classes))
    except Exception as error:  # foreign code may raise anything
        raise ModelError(
            "'{name}' in '{file}' failed: {reason}", name=name, file=path.name, reason=_first_line(error)
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            "'{name}' in '{file}' made {kind}, which is no torch.nn.Module.",
            name=name,
            file=path.name,
            kind=type(network).__name__,
        )
    return network


def _module(path: Path) -> Any:
    name = f"kdviz_code_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingError("'{name}' is no Python file.", name=path.name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look up their module
    sys.path.insert(0, str(path.parent.resolve()))  # for its own imports
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # foreign code may raise anything
        raise ModelError("'{file}' failed: {reason}", file=path.name, reason=_first_line(error)) from error
    finally:
        sys.path.pop(0)
    return module


def _arguments(builder: Any, classes: int | None) -> dict[str, int]:
    if classes is None:
        return {}
    try:
        names = inspect.signature(builder).parameters
    except (TypeError, ValueError):
        return {}
    return next(({name: classes} for name in ("num_classes", "n_classes", "classes") if name in names), {})


def as_onnx(network: nn.Module, channels: int, size: tuple[int, int]) -> bytes:
    """Export a module to the content of an ONNX file, which can be opened without its code.

    Raises:
        SettingError: A package is missing.
        ModelError: torch cannot export the module.
    """
    from kdviz.compress.onnx_export import float_file

    example = torch.zeros(2, channels, *size)
    network = network.cpu().float().eval()
    return float_file(network, example)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
