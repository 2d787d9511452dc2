"""Network and classes as a file records them in :attr:`~kdviz.models.checkpoints.ModelFile.recorded`.

The file is untrusted: values that are not as they should be count as not recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdviz.models.networks import networks

_SCOPES = (
    "args",
    "config",
    "cfg",
    "hyper_parameters",
    "hparams",
    "opt",
    "options",
    "params",
    "pretrained_cfg",
    "model_args",
    "model_config",
    "datamodule_hyper_parameters",
    "data",
    "meta",
    "dataset_meta",
    "model",
    "MODEL",
    "DATA",
)
"""Dictionaries in which training scripts save such facts, nested at most twice."""

_NETWORK = ("architecture", "arch", "model_name", "model", "network", "net", "backbone", "encoder", "type", "name")
_CLASSES = ("id2label", "label_names", "class_names", "classes", "class_to_idx", "labels", "categories", "label2id")
_MOST_CLASSES = 100_000


# network --------------------------------------------------------------------------------------------------------------


def recorded_network(recorded: Mapping[str, Any]) -> str | None:
    """The name of the network that a file records; None if it records none.

    A folder's ``config.json`` says which library it is from: ``timm/resnet18``, or ``transformers/vit``, whose details
    are in ``recorded["config"]``. Elsewhere there is only a name, such as ``args.model`` or ``arch``. If both
    torchvision and timm have a network of that name, such as ``resnet50``, it is returned without a library, which the
    names of the tensors then decide; if one of them has it, with that library; if neither has it, it is ignored.

    >>> recorded_network({"arch": "resnet50"})
    'resnet50'
    >>> recorded_network({"config": {"model_type": "vit"}})
    'transformers/vit'
    """
    config = mapping_of(recorded.get("config"))
    architecture = _text(config.get("architecture")) or _text(
        mapping_of(config.get("pretrained_cfg")).get("architecture")
    )
    # timm_wrapper is transformers' class for timm's networks.
    if architecture and config.get("model_type", "timm_wrapper") == "timm_wrapper":
        return f"timm/{architecture.partition('.')[0]}"
    if _text(config.get("model_type")):
        return f"transformers/{config['model_type']}"
    names = (_text(scope.get(name)) for scope in scopes_of(recorded) for name in _NETWORK)
    return next((network for name in names if name and (network := _qualified_name(name))), None)


def _qualified_name(name: str) -> str | None:
    """A name as :func:`recorded_network` returns it; None if no library has such a network."""
    library, _, bare = name.rpartition("/")
    if library in ("timm", "hf_hub:timm", "hf-hub:timm"):
        return f"timm/{bare.partition('.')[0]}"
    if library == "torchvision":
        return name
    if name in networks:
        return name
    libraries = [library for library in ("torchvision", "timm") if name.partition(".")[0] in _networks_of(library)]
    if len(libraries) == 2 and "." not in name:
        return name
    return f"{libraries[-1]}/{name.partition('.')[0]}" if libraries else None


def _networks_of(library: str) -> Sequence[str]:
    if library == "torchvision":
        from torchvision import models

        return models.list_models(module=models)
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError:
        return ()
    return timm.list_models()


# classes --------------------------------------------------------------------------------------------------------------


def recorded_classes(recorded: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The class names that a file records, in the model's order; None if it records none.

    Read from ``id2label``, ``label_names``, ``class_names``, ``classes``, ``class_to_idx``, ``labels`` and similar
    keys: a list of texts, or a dictionary between names and numbers from 0 on. Placeholders (``LABEL_0``) are ignored.

    >>> recorded_classes({"class_to_idx": {"dog": 1, "cat": 0}})
    ('cat', 'dog')
    """
    for scope in scopes_of(recorded):
        lowered = {name.lower(): value for name, value in scope.items()}
        for name in _CLASSES:
            classes = _classes(lowered.get(name))
            if classes:
                return classes
    return None


def _classes(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, Mapping):
        value = _in_order(value)
    if not isinstance(value, (list, tuple)) or not 1 < len(value) <= _MOST_CLASSES:
        return None
    if not all(isinstance(name, str) and name for name in value):
        return None
    return None if value[0] == "LABEL_0" or len(set(value)) < len(value) else tuple(value)


def _in_order(names: Mapping[str, Any]) -> list[str] | None:
    """Names in the order of their numbers, from number -> name or name -> number; None unless those are 0, 1, 2, ..."""
    pairs = [(_index(key), value) for key, value in names.items()]
    if any(index is None or not isinstance(value, str) for index, value in pairs):
        pairs = [(_index(value), key) for key, value in names.items()]
    if sorted(index for index, _ in pairs if index is not None) != list(range(len(pairs))):
        return None
    return [str(name) for _, name in sorted(pairs, key=lambda pair: pair[0] or 0)]


def _index(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 8 else None


# readers --------------------------------------------------------------------------------------------------------------


def scopes_of(recorded: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The dictionaries that may hold a fact, the outermost first: ``recorded`` itself, and those in it."""
    yield recorded
    inner = [mapping_of(recorded.get(name)) for name in _SCOPES]
    yield from (scope for scope in inner if scope)
    for scope in inner:
        yield from (nested for name in _SCOPES if (nested := mapping_of(scope.get(name))))


def mapping_of(value: Any) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
