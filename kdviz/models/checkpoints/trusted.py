"""Model files that hold code: opened only if the user at the terminal trusts the file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdviz.core.language import _
from kdviz.models.checkpoints import refusals
from kdviz.models.checkpoints.contents.state_dicts import is_no_model
from kdviz.models.checkpoints.metadata.facts import facts_of
from kdviz.models.checkpoints.model_file import ModelFile, with_weights

_MODELS = ("ema", "model_ema", "model", "net", "network", "student", "module", "state_dict")  # the best first


def open_script(path: Path) -> ModelFile:
    """Load a TorchScript archive on the CPU, for inference. Runs the code in it.

    Raises:
        ModelError: torch cannot load it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that TorchScript is deprecated
            module = torch.jit.load(path, map_location="cpu").eval()
    except Exception as error:  # the archive's own code may raise anything
        raise refusals.module_failed(path, error) from error
    return ModelFile(path, "torchscript", module=module)


def open_pickle(path: Path, size: int, key: str | None) -> ModelFile:
    """Load a file of ``torch.save`` with all objects in it. Runs whatever code the file names.

    Raises:
        ModelError: The code is missing or fails, or the file holds neither a model nor weights.
    """
    content = _unpickle(path)
    if isinstance(content, nn.Module):
        return ModelFile(path, "module", module=content.float().eval())
    if isinstance(content, dict):
        names = [key] if key else [*_MODELS, *(name for name in content if not is_no_model(str(name)))]
        key_used = next((name for name in names if isinstance(content.get(name), nn.Module)), None)
        if key_used is not None:
            others = {name: value for name, value in content.items() if not isinstance(value, nn.Module)}
            note = _("The model under '{key}' is used.", key=key_used)
            return ModelFile(path, "module", (), facts_of(others), (note,), content[key_used].float().eval())
        return with_weights(path, "torch", content, size, key)
    raise refusals.no_module(path, type(content).__name__)


def _unpickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class whose source has changed, old formats
            return torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise refusals.module_missing(path, error.name or str(error)) from error
    except Exception as error:  # the file's own code may raise anything
        raise refusals.module_failed(path, error) from error
