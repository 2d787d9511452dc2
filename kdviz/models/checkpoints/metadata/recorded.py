"""What a file itself says of its network and its classes: :attr:`~kdviz.models.checkpoints.ModelFile.recorded`, read.

Everything here comes from a file that nobody has checked: what is not as it should be counts as not recorded.
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
"""Dictionaries in which training scripts write such facts, in two levels at most."""

_NETWORK = ("architecture", "arch", "model_name", "model", "network", "net", "backbone", "encoder", "type", "name")
_CLASSES = ("id2label", "label_names", "class_names", "classes", "class_to_idx", "labels", "categories", "label2id")
_MOST_CLASSES = 100_000


# network --------------------------------------------------------------------------------------------------------------


def recorded_network(recorded: Mapping[str, Any]) -> str | None:
    """The network that a file says it is of.

    A folder's ``config.json`` says from which library it is: ``timm/resnet18``, or ``transformers/vit``, where
    ``recorded["config"]`` has the rest. Elsewhere there is only a name, such as ``args.model`` or ``arch``. Where both
    torchvision and timm have a network of that name, as both have a ``resnet50``, it is given without a library, for
    the names of the tensors to decide; where one has it, with that one's; where none has it, it is not given.

    >>> recorded_network({"arch": "resnet50"})
    'resnet50'
    >>> recorded_network({"config": {"model_type": "vit"}})
    'transformers/vit'
    """
    config = mapping_of(recorded.get("config"))
    described = _text(config.get("architecture")) or _text(mapping_of(config.get("pretrained_cfg")).get("architecture"))
    if (
        described and config.get("model_type", "timm_wrapper") == "timm_wrapper"
    ):  # transformers' class for timm's networks
        return f"timm/{described.partition('.')[0]}"
    if _text(config.get("model_type")):
        return f"transformers/{config['model_type']}"
    names = (_text(scope.get(name)) for scope in scopes_of(recorded) for name in _NETWORK)
    return next((known for name in names if name and (known := _known(name))), None)


def _known(name: str) -> str | None:
    """A name as :func:`recorded_network` gives it; None when no library has such a network."""
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
    """The names of the classes in the model's own order, as a file has them; None where it has none.

    From ``id2label``, ``label_names``, ``class_names``, ``classes``, ``class_to_idx``, ``labels`` and the like: a list
    of texts, or a dictionary between names and numbers from 0 on. Placeholders (``LABEL_0``) are not names.

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
    """Names by their numbers, of number -> name or name -> number; None unless the numbers are 0, 1, 2 and so on."""
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
    """The dictionaries that may hold a fact, the outermost first: itself, and those for settings in it."""
    yield recorded
    inner = [mapping_of(recorded.get(name)) for name in _SCOPES]
    yield from (scope for scope in inner if scope)
    for scope in inner:
        yield from (deeper for name in _SCOPES if (deeper := mapping_of(scope.get(name))))


def mapping_of(value: Any) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
