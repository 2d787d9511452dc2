"""How a picture becomes the input of a network: as it was said, as its file says, or as its library does it.

Every field is taken from the first of these that has it:

1. what a person said;
2. for the size: what the shapes of the weights ask for, such as a ViT's position embedding;
3. what is recorded beside the weights: ``preprocessor_config.json``, ``pretrained_cfg``, a script's arguments;
4. the library's own transforms: timm's ``pretrained_cfg``, torchvision's ``Weights.DEFAULT.transforms()``, the defaults
   of transformers' image processor. Of several weights of one network of torchvision it cannot be known which a file
   holds: the default ones are those that its documentation recommends, whose transforms resize to 232 where older ones
   resize to 256, which changes accuracy by tenths of a point;
5. else guessed: 224 pixels cut out of 256, bilinear, ImageNet's mean and std. The paper's two networks learned from
   28 x 28 grey pixels in [0, 1].

A resize that belongs to another size than the one that applies is scaled in proportion, so that the same share of the
picture is cut out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdviz.core.errors import SettingError
from kdviz.models.inputs import INTERPOLATIONS, InputSpec
from kdviz.models.networks import RENORMALISED, import_timm

SOURCES = ("given", "file", "config", "library", "guessed")
"""Where an input comes from, the surest first."""

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_GUESS = {"size": (224, 224), "resize": 256, "interpolation": "bilinear", "channels": 3, **_IMAGENET}
_DIGITS = {"size": (28, 28), "resize": None, "channels": 1, "mean": (0.0,), "std": (1.0,)}
_OF_PAPER = ("paper_cnn", "paper_fc")

_Fields = Mapping[str, Any]
"""Some of ``size``, ``resize``, ``crop`` (the share of the short side that is cut out), ``squash`` (both sides are
resized), ``interpolation``, ``mean``, ``std`` and ``channels``."""

_Layer = tuple[str, _Fields]
"""Where fields come from, and the fields."""


def input_of(
    network: str,
    *,
    recorded_input: _Fields | None = None,
    given: _Fields | None = None,
    settings: Mapping[str, Any] | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> tuple[InputSpec, str]:
    """The input of a network, and where it is known from.

    Args:
        network: By name, as in :func:`kdviz.models.networks.build_network`; ``transformers/MODEL_TYPE``, ``onnx`` and
            unknown ones as well.
        recorded_input: What is recorded beside the weights: some of an :class:`InputSpec`'s fields, and ``crop`` or
            ``crop_pct``; ``source`` says whether that is ``config`` or, by default, ``file``.
        given: What a person said: ``size`` (H, W), ``resize`` (a number for the short side, (H, W), ``squash``, or
            ``none``: the smallest that covers the size), ``crop`` (the share of the short side that is cut out, timm's
            ``crop_pct``), ``interpolation``, ``mean``, ``std`` and ``channels``.
        settings: What the network is built with.
        size: Height and width that the weights ask for.
        channels: 1 or 3, as the weights ask for.

    Returns:
        The input; and the least sure of :data:`SOURCES` that its size, mean and std come from, ``given`` only where all
        three were given. A size that the weights ask for is as sure as what the file says.

    Raises:
        SettingError: What was said contradicts itself, or is out of range.
    """
    said = _said(given or {})
    recorded = dict(recorded_input or {})
    layers: list[_Layer] = [
        ("given", said),
        ("file", {"size": size, "channels": channels}),
        (str(recorded.pop("source", "file")), _plain(recorded)),
        ("library", _of_library(network.removesuffix(RENORMALISED), settings or {})),
        ("guessed", _DIGITS if network in _OF_PAPER else _GUESS),
    ]
    layers = [(source, {key: value for key, value in one.items() if _is_said(key, value)}) for source, one in layers]
    first = {key: next(_having(layers, key)) for key in ("size", "channels", "mean", "std")}
    wanted, depth = first["size"][1], first["channels"][1]
    interpolation = next(_having(layers, "interpolation"), ("", "bicubic"))[1]
    mean, std = (_spread(key, *first[key], depth) for key in ("mean", "std"))
    source = max((first[key][0] for key in ("size", "mean", "std")), key=SOURCES.index)
    resize = _resize(layers, wanted)
    return InputSpec(wanted, depth, mean, std, resize=resize, interpolation=interpolation), source


def _having(layers: Sequence[_Layer], key: str) -> Iterator[tuple[str, Any]]:
    return ((source, fields[key]) for source, fields in layers if key in fields)


def _is_said(key: str, value: Any) -> bool:
    return value is not None or key == "resize"


# what a person says ---------------------------------------------------------------------------------------------------


def _said(given: _Fields) -> _Fields:
    """What was given, checked, in the form of a layer."""
    fields = _plain(given)
    resize = fields.get("resize")
    if resize in ("squash", "none"):
        fields.pop("resize")
        fields |= {"squash": True, "crop": fields.get("crop", 1.0)} if resize == "squash" else {"resize": None}
    if "resize" in fields and "crop" in fields:
        raise SettingError("resize and crop both say how much of the picture is cut out; give one of them.")
    if not 0 < fields.get("crop", 1.0) <= 1:
        raise SettingError(f"crop is the share of the short side, above 0 and at most 1, got {fields['crop']}.")
    if fields.get("interpolation", "bicubic") not in INTERPOLATIONS:
        raise SettingError(f"interpolation is one of {', '.join(INTERPOLATIONS)}, not '{fields['interpolation']}'.")
    return fields


def _plain(fields: _Fields) -> dict[str, Any]:
    """Sizes as (H, W), means as tuples, and timm's name of the share as ours."""
    found = dict(fields)
    if "crop_pct" in found:
        found.setdefault("crop", found.pop("crop_pct"))
    if isinstance(found.get("size"), int):
        found["size"] = (found["size"], found["size"])
    for key in ("size", "mean", "std"):
        if found.get(key) is not None:
            found[key] = tuple(found[key]) if isinstance(found[key], Sequence) else (found[key],)
    if isinstance(found.get("resize"), list):
        found["resize"] = tuple(found["resize"])
    return found


def _spread(key: str, source: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One number a channel; of a grey picture the mean of those of the colours."""
    if len(values) == channels:
        return tuple(float(value) for value in values)
    if len(values) == 1:
        return (float(values[0]),) * channels
    if source == "given":
        raise SettingError(f"{key} has {len(values)} numbers, and the pictures {channels} channel; give one number.")
    return (round(sum(values) / len(values), 9),) * channels


# resize ---------------------------------------------------------------------------------------------------------------


def _resize(layers: Sequence[_Layer], size: tuple[int, int]) -> int | tuple[int, int] | None:
    """As the first layer has it that says how much of a picture is cut out."""
    for number, (_, fields) in enumerate(layers):
        if "crop" in fields:
            return _by_share(size, fields["crop"], squash=bool(fields.get("squash")))
        if "resize" in fields:
            # What a person says is meant as it is; anything else belongs to the size that is said with it, or below.
            own = size if number == 0 else next(_having(layers[number:], "size"))[1]
            return _scaled(fields["resize"], own, size)
    return None


def _by_share(size: tuple[int, int], share: float, *, squash: bool) -> int | tuple[int, int] | None:
    """timm's: both sides or the short one, made larger by the share that is cut out."""
    height, width = (math.floor(side / share) for side in size)
    if squash:
        return height, width
    if height != width and share == 1:
        return None
    return max(height, width)


def _scaled(
    resize: int | tuple[int, int] | None, own: tuple[int, int], size: tuple[int, int]
) -> int | tuple[int, int] | None:
    """A resize that belongs to the size ``own``, for another one."""
    if resize is None or own == size:
        return resize
    if isinstance(resize, tuple):
        height, width = (round(side * new / old) for side, new, old in zip(resize, size, own, strict=True))
        return height, width
    return round(resize * max(size) / max(own))


# libraries ------------------------------------------------------------------------------------------------------------


def _of_library(network: str, settings: Mapping[str, Any]) -> _Fields:
    """What the network's library says; nothing if it has no such network, or says nothing."""
    library, _, name = network.partition("/")
    if name and library == "timm":
        return _of_timm(name)
    if name and library == "torchvision":
        return _of_torchvision(name)
    if name and library == "transformers":
        return _of_transformers(name, settings.get("config") or {})
    return {}


def _of_timm(name: str) -> _Fields:
    """As ``timm.data.create_transform(**resolve_data_config(...))``."""
    import_timm(f"timm/{name}")
    from timm.data.config import resolve_data_config  # pyright: ignore[reportMissingImports]
    from timm.models import get_pretrained_cfg  # pyright: ignore[reportMissingImports]

    try:
        described = get_pretrained_cfg(name)
    except RuntimeError:  # a tag that this version does not know
        described = get_pretrained_cfg(name.partition(".")[0])
    if described is None:
        return {}
    config = resolve_data_config(pretrained_cfg=described.to_dict())
    channels, height, width = config["input_size"]
    return {
        "size": (height, width),
        "channels": channels if channels in (1, 3) else None,
        "crop": config["crop_pct"],
        "squash": config["crop_mode"] != "center",  # border pads; squeezing shows the whole picture as well
        "interpolation": config["interpolation"] if config["interpolation"] in INTERPOLATIONS else "bicubic",
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
    }


def _of_torchvision(name: str) -> _Fields:
    from torchvision import models

    try:
        weights: Any = models.get_model_weights(name)
        transforms = weights.DEFAULT.transforms()
        short, crop = transforms.resize_size[0], transforms.crop_size[0]
    except (ValueError, AttributeError):  # no such network, or no classifier
        return {}
    return {
        "size": (crop, crop),
        "channels": 3,
        "resize": short,
        "interpolation": transforms.interpolation.value,
        "mean": tuple(transforms.mean),
        "std": tuple(transforms.std),
    }


def _of_transformers(name: str, config: Mapping[str, Any]) -> _Fields:
    """The defaults of the image processor of this type of model, at the size of the model's configuration."""
    from kdviz.models.checkpoints import recorded_input  # pyright: ignore[reportAttributeAccessIssue]

    try:
        import transformers  # pyright: ignore[reportMissingImports]
        from transformers.models.auto import image_processing_auto as known  # pyright: ignore[reportMissingImports]

        made = _processor(transformers, vars(known)["IMAGE_PROCESSOR_MAPPING_NAMES"][name])
    except (ImportError, KeyError, AttributeError, TypeError):
        return {}
    found = dict(recorded_input({"preprocessor_config": made}) or {})
    side = config.get("image_size")
    size = (side, side) if isinstance(side, int) else tuple(side) if isinstance(side, (list, tuple)) else None
    if size and "size" in found and "resize" in found:
        found["resize"] = _scaled(found["resize"], found["size"], size)
    return found | ({"size": size} if size else {})


def _processor(transformers: Any, classes: Any) -> Mapping[str, Any]:
    """Of an image processor made without arguments its settings; older versions list its classes."""
    names = classes.values() if isinstance(classes, Mapping) else classes
    kind = next(getattr(transformers, name) for name in names if name and hasattr(transformers, name))
    return kind().to_dict()
